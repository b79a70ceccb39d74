// arch::user_map: a user address space without a CPU that knows it. Copies walk the tables in software.
//
// Rule: a page is looked up and copied in one critical section. Whoever unmaps a page and asks this CPU to forget
// it has its answer after the copy, as with interrupts on a real machine.
#include "arch/host/host_priv.h"

#include <algorithm>

namespace arch {

extern "C" std::size_t host_copy_catching(void* to, const void* from, std::size_t bytes);

namespace {

// Calls each(address in the direct map, bytes) page by page, as far as the map allows `wanted`. Returns what is left.
template <class Each>
std::size_t for_each_page(const user_map& map, vaddr va, std::size_t bytes, unsigned wanted, Each each) {
    while (bytes) {
        cpu::critical_enter();
        const user_mapping found = map.find(va);
        const bool good = (found.access & wanted) != 0;
        const std::size_t offset = va & (page_size - 1), size = std::min<std::size_t>(bytes, page_size - offset);
        if (good) each(static_cast<std::byte*>(memory::direct(found.frame)) + offset, size);
        cpu::critical_exit();
        if (!good) break;
        va += size;
        bytes -= size;
    }
    return bytes;
}

// Not to be seen by a sanitizer: threads of a program may race for their memory, and that is their affair.
void zero_unseen(std::byte* to, std::size_t bytes) {
    asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(0) : "memory");
}

} // namespace

void user_map::activate() noexcept {
    host::cpu_state& me = *host::this_cpu();
    user_map* before = me.loaded_map;
    if (before == this) return;
    active_.fetch_or(1u << me.id);
    me.loaded_map = this;
    if (before) before->active_.fetch_and(~(1u << me.id));
}

void user_map::deactivate() noexcept {
    host::cpu_state& me = *host::this_cpu();
    user_map* before = me.loaded_map;
    me.loaded_map = nullptr;
    if (before) before->active_.fetch_and(~(1u << me.id));
}

void user_map::leave(user_map& map) noexcept {
    if (host::this_cpu()->loaded_map == &map) deactivate();
}

std::size_t user_map::copy_in(void* to, vaddr from, std::size_t bytes) noexcept {
    auto* at = static_cast<std::byte*>(to);
    return for_each_page(*this, from, bytes, user_read, [&](const std::byte* page, std::size_t size) {
        host_copy_catching(at, page, size);
        at += size;
    });
}

std::size_t user_map::copy_out(vaddr to, const void* from, std::size_t bytes) noexcept {
    auto* at = static_cast<const std::byte*>(from);
    return for_each_page(*this, to, bytes, user_write, [&](std::byte* page, std::size_t size) {
        host_copy_catching(page, at, size);
        at += size;
    });
}

std::size_t user_map::zero_out(vaddr to, std::size_t bytes) noexcept {
    return for_each_page(*this, to, bytes, user_write, zero_unseen);
}

void user_context::reset(std::uint64_t entry, std::uint64_t stack) noexcept {
    registers_ = {};
    registers_.rip = entry;
    registers_.rsp = stack;
    thread_pointer_ = 0;
}

user_exit user_context::run() noexcept {
    cpu::die("user code cannot run in this port");
}

} // namespace arch
