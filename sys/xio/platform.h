// All that sys/xio asks of its surroundings. A foreign tree that wants to host sys/xio alone supplies
// this header; nothing else in this folder includes anything from outside but kernel/lib.
//
// It is about pages: an array of them per contiguous run (page + n is the n-th after it), pins, addresses. A
// page may be part of a larger block that is pinned as a whole through its head.
#pragma once

#include "arch/machine.h"
#include "kernel/lwkt/critical.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/mem/kernel_space.h"
#include "kernel/mem/page.h"
#include "kernel/mem/slab.h"
#include "kernel/time/callout.h"

namespace xio::platform {

using page = vm::page;
using physical_address = arch::paddr;
constexpr std::size_t page_size = arch::page_size;

enum class pin_kind : k::u8 { source, sink };
constexpr vm::hold hold_of(pin_kind kind) {
    return kind == pin_kind::source ? vm::hold::source_pin : vm::hold::sink_pin;
}

// The block that a page is pinned with: its head, and how many pages it has.
inline page* block_head(page* p) noexcept {
    return vm::head_of(p);
}
inline std::size_t block_pages(const page* head) noexcept {
    return std::size_t{1} << head->order();
}

// Is the page a block of its own?
inline bool stands_alone(const page* p) noexcept {
    return p->place == 0;
}

// Pins a block that somebody holds. False when its count is full.
[[nodiscard]] inline bool pin(page* head, pin_kind kind) noexcept {
    return head->holds.try_add(hold_of(kind));
}
// Ends a pin; the last hold of any kind frees the block.
inline void unpin(page* head, pin_kind kind) noexcept {
    vm::drop(head, hold_of(kind));
}
// Is one pin of this kind all that holds the block?
inline bool pinned_alone(const page* head, pin_kind kind) noexcept {
    return head->holds.only(hold_of(kind));
}

// A fresh page, its reference the caller's; null without memory.
inline page* allocate_page() noexcept {
    return vm::allocate_page(vm::page_use::buffer, vm::fill::any);
}
// Gives up the caller's reference.
inline void release_page(page* p) noexcept {
    vm::drop(vm::head_of(p), vm::hold::reference);
}

inline physical_address physical(const page* p) noexcept {
    return vm::physical(p);
}
// Where the kernel sees the page, and the pages after it in the same run.
inline std::byte* direct(const page* p) noexcept {
    return static_cast<std::byte*>(vm::direct(p));
}
// The page behind an address of the direct map or the kernel heap.
inline page* page_of(const void* address) noexcept {
    return vm::page_of(address);
}

// May the page be made read-only while it is lent? Not what the kernel keeps small objects in.
inline bool guardable(const page* p) noexcept {
    return p->use == vm::page_use::buffer || p->use == vm::page_use::object || p->use == vm::page_use::test;
}
inline bool protect(const page* p, bool writable) noexcept {
    return arch::memory::protect_direct(vm::physical(p), page_size, writable);
}
inline k::u32& guard_count(page* p) noexcept {
    return p->guarded;
}
inline k::u32 sink_pins(page* p) noexcept {
    return vm::head_of(p)->holds.count(vm::hold::sink_pin);
}
using spinlock = lwkt::spinlock;
using spin_guard = lwkt::spin_guard;

// Small memory for lists; null without memory. May be freed on any CPU.
inline void* allocate(std::size_t bytes) noexcept {
    return mem::allocate(bytes);
}
inline void free(void* at) noexcept {
    mem::free(at);
}

// Has the CPU an instruction for CRC-32C? Then that gives the register after eight more bytes.
inline bool has_crc32c() noexcept {
    return arch::cpu::has_crc32c();
}
inline k::u64 crc32c_after(k::u64 state, k::u64 word) noexcept {
    return arch::cpu::crc32c(state, word);
}

inline k::u64 now_ns() noexcept {
    return ktime::now();
}

// One T a CPU; local() in a critical section.
template <class T> using per_cpu = lwkt::per_cpu<T>;
using critical = lwkt::critical;
inline unsigned cpu_count() noexcept {
    return arch::cpu::count();
}

// A view of scattered pages at contiguous addresses: create(pages), show(index, address, access), data().
using window = mem::window;
using access = arch::access;

} // namespace xio::platform
