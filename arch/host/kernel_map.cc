// Kernel virtual space: a large reservation of addresses in which pages of the memory file come and go.
//
// Linux keeps the real page tables but does not let us read them, so `mapped` is a table of our own.
#include "arch/host/host_priv.h"

#include <sys/mman.h>

namespace arch {

namespace {

constexpr std::size_t map_size = std::size_t{4} << 30;
constexpr std::uintptr_t wished_base = 0x7e90'0000'0000; // as for the direct map

std::byte* map_base;

// The frame mapped at each page; 0, where there is no memory, means none. Whoever maps, unmaps or asks owns the range.
std::uint32_t mapped[map_size >> page_shift];

std::uint32_t& frame_at(vaddr va) {
    return mapped[(va - kernel_map::base()) >> page_shift];
}

void* at(vaddr va) {
    return reinterpret_cast<void*>(va);
}

} // namespace

void host::make_kernel_map() {
    void* p = mmap(at(wished_base), map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) cpu::die("no address space for the kernel map");
    map_base = static_cast<std::byte*>(p);
}

vaddr kernel_map::base() noexcept {
    return reinterpret_cast<vaddr>(map_base);
}

std::size_t kernel_map::size() noexcept {
    return map_size;
}

void kernel_map::map(vaddr va, paddr pa, access may) noexcept {
    if (frame_at(va) != 0) cpu::die("kernel_map: a page is mapped over another");
    int protection = PROT_READ | (may == access::read ? 0 : PROT_WRITE);
    void* p = mmap(at(va), page_size, protection, MAP_SHARED | MAP_FIXED, host::memory_file, static_cast<off_t>(pa));
    if (p == MAP_FAILED) cpu::die("Linux refuses another mapping (see vm.max_map_count)");
    memory::unpoison(at(va), page_size);
    frame_at(va) = static_cast<std::uint32_t>(pa >> page_shift);
}

paddr kernel_map::physical(vaddr va) noexcept {
    return paddr{frame_at(va)} << page_shift | (va & (page_size - 1));
}

void kernel_map::unmap(vaddr va, std::size_t pages) noexcept {
    // Under AddressSanitizer the range may still carry the poison of the stack that stood there.
    memory::unpoison(at(va), pages * page_size);
    void* p =
        mmap(at(va), pages * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (p == MAP_FAILED) cpu::die("Linux refuses to unmap");
    for (std::size_t i = 0; i < pages; ++i)
        frame_at(va + i * page_size) = 0;
}

} // namespace arch
