// Physical memory: a memfd whose offsets are physical addresses, mapped once as the direct map.
//
// It has a hole in the middle and does not begin at 0, so that no test passes by luck of a simple
// layout. Touching the hole, or anything below the base, is a fault as on a real machine.
#include "arch/host/host_priv.h"

#include <sys/mman.h>
#include <unistd.h>

namespace arch {

int host::memory_file = -1;
std::byte* host::direct_base;

extern "C" std::size_t host_copy_catching(void* to, const void* from, std::size_t bytes);

namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;
constexpr paddr ram_base = 1 * mebibyte;
constexpr std::uint64_t hole_size = 16 * mebibyte;

// Where the direct map is asked for: the same address each time makes runs comparable. Linux may choose another.
constexpr std::uintptr_t wished_direct_base = 0x7ea0'0000'0000;

region ram[2];

std::byte* reserve_addresses(std::size_t bytes, std::uintptr_t wish) {
    void* p = mmap(reinterpret_cast<void*>(wish), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) cpu::die("no address space");
    return static_cast<std::byte*>(p);
}

} // namespace

void host::make_memory(std::uint64_t bytes) {
    std::uint64_t half = bytes / 2 & ~(mebibyte - 1);
    ram[0] = {ram_base, half};
    ram[1] = {ram_base + half + hole_size, bytes - half};
    std::uint64_t end = ram[1].base + ram[1].size;

    memory_file = memfd_create("nutcracker-memory", MFD_CLOEXEC);
    if (memory_file < 0 || ftruncate(memory_file, static_cast<off_t>(end)) != 0) cpu::die("no memory file");
    direct_base = reserve_addresses(end, wished_direct_base);
    for (const region& r : ram) {
        void* p = mmap(direct_base + r.base, r.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory_file,
                       static_cast<off_t>(r.base));
        if (p == MAP_FAILED) cpu::die("cannot map the direct map");
        madvise(p, r.size, MADV_DONTDUMP); // a core file tells of the kernel, not of its memory's size
    }
}

std::span<const region> memory::regions() noexcept {
    return ram;
}

std::uint64_t memory::frame_limit() noexcept {
    return (ram[1].base + ram[1].size) >> page_shift;
}

bool bus::is_device_memory(paddr pa, std::uint64_t bytes) noexcept {
    constexpr std::uint64_t limit = std::uint64_t{1} << 46;
    if (bytes == 0 || bytes > limit || pa > limit - bytes) return false;
    for (const region& r : ram)
        if (pa < r.base + r.size && r.base < pa + bytes) return false;
    return true;
}

void* memory::map_page_array(std::size_t element_bytes) {
    std::byte* array = reserve_addresses(frame_limit() * element_bytes, 0);
    for (const region& r : ram) {
        std::uintptr_t first = (r.base >> page_shift) * element_bytes & ~(page_size - 1);
        std::uintptr_t end = ((r.base + r.size) >> page_shift) * element_bytes;
        if (mprotect(array + first, end - first, PROT_READ | PROT_WRITE) != 0) return nullptr;
    }
    return array;
}

std::size_t memory::copy_catching(void* to, const void* from, std::size_t bytes) noexcept {
    return host_copy_catching(to, from, bytes);
}

bool memory::protect_direct(paddr pa, std::size_t bytes, bool writable) noexcept {
    if (mprotect(direct(pa), bytes, PROT_READ | (writable ? PROT_WRITE : 0)) == 0) return true;
    // Linux ran out of mappings. Not to protect costs only a check; not to give back would fault a good write.
    if (writable) cpu::die("cannot make the direct map writable again");
    return false;
}

} // namespace arch
