// Kernel virtual space outside the direct map: address ranges, thread stacks with a guard page, and windows
// that show scattered pages at contiguous addresses.
//
// Two kinds of arena. The shared one, under a spinlock, holds stacks: they are used by whichever CPU owns the
// thread, so all CPUs forget a range before it is used again. Each CPU has one of its own for windows: only
// that CPU ever looks through a window, so closing it costs a local invalidation and no message.
#pragma once

#include "kernel/lib/annotations.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/mem/page.h"

namespace mem {

// A range of addresses, free or taken. Free ranges are in address order; a taken one is its own memory for
// being freed, so that freeing cannot fail.
struct va_range {
    vm::page::hook link;
    arch::vaddr base;
    std::size_t pages;
};

// First fit over address-ordered free ranges, which merge. Whoever owns the arena serialises.
class va_arena {
  public:
    [[nodiscard]] bool initialise(arch::vaddr base, std::size_t pages);
    va_range* allocate(std::size_t pages); // null: no space or no memory
    void release(va_range* range);

  private:
    using list =
        boost::intrusive::list<va_range, boost::intrusive::member_hook<va_range, vm::page::hook, &va_range::link>,
                               boost::intrusive::constant_time_size<false>>;
    list free_;
};

// A thread's stack: pages of its own above a guard page.
class stack {
  public:
    stack() = default;
    stack(stack&& other) noexcept : range_(std::exchange(other.range_, nullptr)) {}
    stack& operator=(stack&& other) noexcept {
        std::swap(range_, other.range_);
        return *this;
    }
    // Thread context: tells all CPUs to forget the addresses and waits for them.
    ~stack();

    static constexpr std::size_t pages = 4 * arch::stack_size_factor;
    static constexpr std::size_t size = pages * arch::page_size;
    static k::result<stack> create();

    explicit operator bool() const { return range_ != nullptr; }
    arch::vaddr base() const { return range_->base + arch::page_size; } // lowest usable address

  private:
    explicit stack(va_range* range) : range_(range) {}
    va_range* range_ = nullptr;
};

// Several pages at contiguous addresses, on this CPU only. Created and destroyed on the same CPU, by a thread
// that is not handed over in between.
class window {
  public:
    window() = default;
    window(window&& other) noexcept : range_(std::exchange(other.range_, nullptr)), cpu_(other.cpu_) {}
    window& operator=(window&& other) noexcept {
        std::swap(range_, other.range_);
        std::swap(cpu_, other.cpu_);
        return *this;
    }
    ~window();

    static k::result<window> create(std::size_t pages);
    // Shows frame `pa` as page `index`; each index once.
    void show(std::size_t index, arch::paddr pa, arch::access may);
    void* data() const { return reinterpret_cast<void*>(range_->base); }

  private:
    explicit window(va_range* range) : range_(range) {}
    va_range* range_ = nullptr;
    unsigned cpu_ = arch::cpu::id();
};

// A device's registers, uncached, for any CPU. The caller knows that they are there (arch::bus::is_device_memory) and
// that nobody else has them.
class register_window {
  public:
    register_window() = default;
    register_window(register_window&& other) noexcept
        : range_(std::exchange(other.range_, nullptr)), in_page_(other.in_page_), bytes_(other.bytes_) {}
    register_window& operator=(register_window&& other) noexcept {
        std::swap(range_, other.range_);
        std::swap(in_page_, other.in_page_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~register_window(); // thread context, as of a stack

    // ENOMEM; EINVAL: nothing, or more than 16 MiB. Thread context.
    static k::result<register_window> create(arch::paddr pa, std::size_t bytes);

    explicit operator bool() const { return range_ != nullptr; }
    std::size_t size() const { return bytes_; }
    // A register. It lies inside; whoever asks for one at an offset that a device named has checked that.
    template <class T> volatile T& at(std::size_t offset) const {
        kassert(offset <= bytes_ && sizeof(T) <= bytes_ - offset && offset % alignof(T) == 0);
        return *reinterpret_cast<volatile T*>(range_->base + in_page_ + offset);
    }

  private:
    register_window(va_range* range, std::size_t in_page, std::size_t bytes)
        : range_(range), in_page_(in_page), bytes_(bytes) {}
    va_range* range_ = nullptr;
    std::size_t in_page_ = 0, bytes_ = 0;
};

// Divides kernel virtual space between the arenas. Boot CPU, after the pages. False: no memory.
bool initialise_kernel_space();

} // namespace mem
