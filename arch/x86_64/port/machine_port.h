// The x86-64 port's side of arch/machine.h: the classes that the kernel calls, all static.
//
// Rule: what the kernel does millions of times a second is inline here and touches nothing but GS
// and the time-stamp counter; the rest lives in arch/x86_64/{boot,cpu,mm,dev}.
#pragma once

#include "arch/common/crc32c.h"
#include "arch/common/fresh_stack.h"
#include "arch/common/user_clock.h"
#include "arch/common/user_tables.h"
#include "arch/x86_64/mm/layout.h"

namespace arch {

constexpr std::size_t stack_size_factor = 1;

class cpu {
  public:
    static cpu_local& local() noexcept {
        cpu_local* here;
        asm volatile("movq %%gs:%c1, %0" : "=r"(here) : "i"(offsetof(cpu_local, self)));
        return *here;
    }
    static void* thread() noexcept {
        void* running;
        asm volatile("movq %%gs:%c1, %0" : "=r"(running) : "i"(offsetof(cpu_local, thread)));
        return running;
    }
    static void* kernel() noexcept {
        void* data;
        asm volatile("movq %%gs:%c1, %0" : "=r"(data) : "i"(offsetof(cpu_local, kernel)));
        return data;
    }
    static unsigned id() noexcept {
        unsigned number;
        asm volatile("movl %%gs:%c1, %0" : "=r"(number) : "i"(offsetof(cpu_local, id)));
        return number;
    }

    // One instruction: an interrupt sees the depth before it or after it, and a preempted thread
    // never carries the counter of a CPU that it has left.
    static void critical_enter() noexcept {
        asm volatile("incl %%gs:%c0" : : "i"(offsetof(cpu_local, critical)) : "memory", "cc");
    }
    static bool critical_leave() noexcept {
        bool outermost, waiting;
        asm volatile("decl %%gs:%c1" : "=@ccz"(outermost) : "i"(offsetof(cpu_local, critical)) : "memory");
        if (!outermost) return false;
        asm volatile("cmpl $0, %%gs:%c1" : "=@ccnz"(waiting) : "i"(offsetof(cpu_local, pending)) : "memory");
        return waiting;
    }

    // As one piece of assembler that changes no register, whatever happens in it: the fast path of whoever
    // uses critical sections need not save anything around the call that is nearly never made.
    static void critical_exit() noexcept {
        asm volatile("decl %%gs:%c0\n\t"
                     "jnz 1f\n\t"
                     "cmpl $0, %%gs:%c1\n\t"
                     "je 1f\n\t"
                     "call arch_deliver_events\n"
                     "1:"
                     :
                     : "i"(offsetof(cpu_local, critical)), "i"(offsetof(cpu_local, pending))
                     : "memory", "cc");
    }

    static bool interrupts_disable() noexcept {
        std::uint64_t flags;
        asm volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
        return flags & (1u << 9);
    }
    static void interrupts_off() noexcept { asm volatile("cli" : : : "memory"); }
    static void interrupts_restore(bool enabled) noexcept {
        if (enabled) asm volatile("sti" : : : "memory");
    }
    static void relax() noexcept { asm volatile("pause" : : : "memory"); }

    static void wait_for_event() noexcept;
    static unsigned count() noexcept;
    static bool start(unsigned id, vaddr stack_top);
    static void send_ipi(unsigned id) noexcept;
    [[noreturn]] static void die(std::string_view why);
    [[noreturn]] static void power_off(exit_status status);
    [[noreturn]] static void reboot();
    static std::string_view model() noexcept;
    static bool has_crc32c() noexcept;
    static std::uint64_t crc32c(std::uint64_t state, std::uint64_t word) noexcept { return crc32c_after(state, word); }
};

class user_map : public user_tables {
  public:
    static void set_table_source(paddr (*take)(), void (*give)(paddr)) noexcept;
    bool create();
    void destroy() noexcept;
    void activate() noexcept;
    static void deactivate() noexcept;
    std::uint32_t active() const noexcept { return active_.load(); }
    static void leave(user_map& map) noexcept;
    static void flush_here(vaddr va, std::size_t pages) noexcept;
    std::size_t copy_in(void* to, vaddr from, std::size_t bytes) noexcept;
    std::size_t copy_out(vaddr to, const void* from, std::size_t bytes) noexcept;
    std::size_t zero_out(vaddr to, std::size_t bytes) noexcept;

  private:
    std::atomic<std::uint32_t> active_{0};
};

class user_context {
  public:
    static bool supported() noexcept { return true; }
    static std::size_t memory_needed() noexcept;
    void attach(std::span<std::byte> memory) noexcept;
    user_registers& registers() noexcept { return registers_; }
    void reset(std::uint64_t entry, std::uint64_t stack) noexcept;
    void copy(const user_context& other) noexcept;
    user_exit run() noexcept;
    bool may_go_on() noexcept {
        if (registers_.rflags & ~flags_plain_) [[unlikely]]
            return false;
        if (!in_registers_) [[unlikely]]
            enter_registers();
        return true;
    }
    std::uint64_t thread_pointer() const noexcept { return thread_pointer_; }
    void set_thread_pointer(std::uint64_t address) noexcept;
    std::span<const std::byte> save_float() noexcept;
    bool load_float(std::span<const std::byte> image) noexcept;
    static std::uint64_t float_features() noexcept;
    static std::span<const std::byte> vdso() noexcept;
    static void describe_clock(user_clock& page) noexcept;

  private:
    friend class context;

    // What sysretq can load: arithmetic's flags, DF, AC, ID, and those that user code always has.
    static constexpr std::uint64_t flags_plain_ = 0x240ed7;

    bool may_sysret() const noexcept;
    bool put_right() noexcept;
    void enter_registers() noexcept;
    void leave_registers() noexcept;
    void forget_registers() noexcept;

    // The first two are where cpu/user_entry.S expects them.
    alignas(16) user_registers registers_;
    void* kernel_stack_;           // while in user mode: the stack pointer of who called run()
    std::byte* float_image_;       // an XSAVE area
    std::uint64_t thread_pointer_; // FS base
    bool in_registers_;            // this CPU's floating-point registers and FS base are this context's
    unsigned float_cpu_;           // the CPU whose registers may still be the same as float_image_
};

class context {
  public:
    void prepare(vaddr stack, std::size_t size, void (*entry)(void*), void* argument) noexcept {
        stack_pointer_ = fresh_stack(stack, size, entry, argument);
        map_ = nullptr;
        user_ = nullptr;
    }
    static void switch_to(context& from, context& to, leaving how) noexcept {
        if (from.user_) [[unlikely]]
            leave_user(*from.user_, how);
        if (to.map_) [[unlikely]]
            to.map_->activate();
        arch_switch_stacks(&from.stack_pointer_, to.stack_pointer_);
    }
    void retire() noexcept { stack_pointer_ = nullptr; }
    void adopt(vaddr, std::size_t) noexcept {} // the first switch away saves all there is
    void set_user(user_map* map, user_context* user) noexcept;
    bool has_map() const noexcept { return map_; }

  private:
    static void leave_user(user_context& user, leaving how) noexcept;

    void* stack_pointer_ = nullptr;
    user_map* map_ = nullptr;
    user_context* user_ = nullptr;
};

class clock {
  public:
    static std::uint64_t cycles() noexcept {
        std::uint32_t low, high;
        asm volatile("rdtsc" : "=a"(low), "=d"(high));
        return std::uint64_t{high} << 32 | low;
    }
    // The fence: the counter is read after what was done before, by programs too (vdso/functions.cc).
    static std::uint64_t now_ns() noexcept {
        asm volatile("lfence" : : : "memory");
        return ns_of_cycles(cycles(), at_handover_, ns_per_cycle_);
    }
    static std::uint64_t since_handover_ns() noexcept { return now_ns(); }
    static std::uint64_t wall_seconds() noexcept; // dev/rtc.cc
    static std::uint64_t cycles_hz() noexcept { return cycles_hz_; }
    static void arm(std::uint64_t deadline_ns) noexcept;
    static void disarm() noexcept;

    static void describe(user_clock& page) noexcept {
        page.zero_cycles = at_handover_;
        page.ns_per_cycle = ns_per_cycle_;
    }

    // For dev/clock.cc only: the boot loader's hand-over is time zero.
    static void set_zero(std::uint64_t cycles_at_handover) noexcept { at_handover_ = cycles_at_handover; }
    static void set_rate(std::uint64_t hz) noexcept {
        cycles_hz_ = hz;
        ns_per_cycle_ = (std::uint64_t{1'000'000'000} << 32) / hz;
    }

  private:
    static inline std::uint64_t at_handover_;
    static inline std::uint64_t ns_per_cycle_; // 32.32 fixed point; 0 (time stands still) until calibrated
    static inline std::uint64_t cycles_hz_;
};

class memory {
  public:
    static std::span<const region> regions() noexcept;
    static std::uint64_t frame_limit() noexcept;
    static void* map_page_array(std::size_t element_bytes);
    static void* direct(paddr pa) noexcept { return reinterpret_cast<void*>(x86::direct_base + pa); }
    static paddr physical(const void* from) noexcept { return reinterpret_cast<vaddr>(from) - x86::direct_base; }
    static std::size_t copy_catching(void* to, const void* from, std::size_t bytes) noexcept;
    static bool protect_direct(paddr pa, std::size_t bytes, bool writable) noexcept;
    static void zero_page(void* page) noexcept;
    static void poison(void*, std::size_t) noexcept {} // no memory checker here
    static void unpoison(void*, std::size_t) noexcept {}
};

// Of `bytes` from `va` on, what is user memory at all is tried.
inline std::size_t user_map::copy_in(void* to, vaddr from, std::size_t bytes) noexcept {
    const std::size_t good = from < user_end ? std::min<std::size_t>(bytes, user_end - from) : 0;
    return memory::copy_catching(to, reinterpret_cast<const void*>(from), good) + (bytes - good);
}
inline std::size_t user_map::copy_out(vaddr to, const void* from, std::size_t bytes) noexcept {
    const std::size_t good = to < user_end ? std::min<std::size_t>(bytes, user_end - to) : 0;
    return memory::copy_catching(reinterpret_cast<void*>(to), from, good) + (bytes - good);
}

class kernel_map {
  public:
    static vaddr base() noexcept { return x86::kernel_map_base; }
    static std::size_t size() noexcept { return x86::kernel_map_size; }
    static void set_table_source(paddr (*source)()) noexcept;
    static bool reserve(vaddr va, std::size_t pages);
    static void map(vaddr va, paddr pa, access may) noexcept;
    static paddr physical(vaddr va) noexcept;
    static void unmap(vaddr va, std::size_t pages) noexcept;
    static void flush(vaddr va, std::size_t pages) noexcept;
};

class console {
  public:
    static void write(std::string_view text) noexcept;
    static std::size_t read(std::span<char> buffer) noexcept;
};

class interrupts {
  public:
    static interrupt_message message(unsigned cpu, unsigned number) noexcept;
    static std::uint64_t take() noexcept;
    static void raise(unsigned cpu, unsigned number) noexcept;
};

class bus {
  public:
    static std::span<const pci_window> pci_windows() noexcept;
    static std::span<const iommu_unit> iommu_units() noexcept;
    static bool is_device_memory(paddr pa, std::uint64_t bytes) noexcept;
    static bool has_ports() noexcept { return true; }
    static std::uint32_t read_port(std::uint16_t port, unsigned width) noexcept;
    static void write_port(std::uint16_t port, unsigned width, std::uint32_t value) noexcept;
};

class boot {
  public:
    static std::string_view command_line() noexcept;
    static std::span<const boot_module> modules() noexcept;
    static std::uint64_t entropy() noexcept;
};

} // namespace arch
