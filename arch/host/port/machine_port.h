// The host port: the machine interface inside an ordinary Linux process.
//
// A CPU is a pthread, physical memory is a memfd, an IPI is a bit and a wake-up. Nothing interrupts a
// CPU: events are latched by other pthreads and delivered where the kernel asks for them. "Interrupts
// disabled" is therefore a flag that keeps critical_leave() and relax() from delivering.
#pragma once

#include "arch/common/crc32c.h"
#include "arch/common/user_clock.h"
#include "arch/common/user_tables.h"
#include "arch/host/port/cpu_state.h"
#include "arch/host/port/sanitizers.h"

namespace arch {

// Kernel stacks are this many times as large as the kernel would otherwise make them: instrumented frames are big.
constexpr std::size_t stack_size_factor = host::sanitized ? 4 : 1;

struct cpu {
    static cpu_local& local() noexcept { return *host::this_cpu(); }
    static void* thread() noexcept { return host::this_cpu()->thread; }
    static void* kernel() noexcept { return host::this_cpu()->kernel; }
    static unsigned id() noexcept { return host::this_cpu()->id; }

    static void critical_enter() noexcept { ++host::this_cpu()->critical; }
    static bool critical_leave() noexcept {
        host::cpu_state& me = *host::this_cpu();
        --me.critical;
        return host::events_due(me);
    }

    static void critical_exit() noexcept {
        if (critical_leave()) [[unlikely]]
            upcall::deliver_events();
    }

    static bool interrupts_disable() noexcept {
        host::cpu_state& me = *host::this_cpu();
        bool were_on = me.interrupts_on;
        me.interrupts_on = false;
        return were_on;
    }
    static void interrupts_off() noexcept { (void)interrupts_disable(); }
    // Delivers nothing: what came meanwhile stays latched till the next critical section ends.
    static void interrupts_restore(bool enabled) noexcept { host::this_cpu()->interrupts_on = enabled; }

    static void relax() noexcept;
    static void wait_for_event() noexcept;
    static unsigned count() noexcept;
    static bool start(unsigned id, vaddr stack_top);
    static void send_ipi(unsigned id) noexcept;
    [[noreturn]] static void die(std::string_view why);
    [[noreturn]] static void power_off(exit_status status);
    [[noreturn]] static void reboot();
    static std::string_view model() noexcept { return "a Linux process"; }
    static bool has_crc32c() noexcept { return __builtin_cpu_supports("sse4.2"); }
    static std::uint64_t crc32c(std::uint64_t state, std::uint64_t word) noexcept { return crc32c_after(state, word); }
};

// Nobody but this port's software walks the tables.
class user_map : public user_tables {
  public:
    static void set_table_source(paddr (*take)(), void (*give)(paddr)) noexcept { set_frame_source({take, give}); }
    void destroy() noexcept;
    void activate() noexcept;
    static void deactivate() noexcept;
    std::uint32_t active() const noexcept { return active_.load(); }
    static void leave(user_map& map) noexcept;
    static void flush_here(vaddr, std::size_t) noexcept {} // translations are looked up each time
    std::size_t copy_in(void* to, vaddr from, std::size_t bytes) noexcept;
    std::size_t copy_out(vaddr to, const void* from, std::size_t bytes) noexcept;
    std::size_t zero_out(vaddr to, std::size_t bytes) noexcept;

  private:
    std::atomic<std::uint32_t> active_{0};
};

// This port cannot run user code: registers are kept, and that is all.
class user_context {
  public:
    static bool supported() noexcept { return false; }
    static std::size_t memory_needed() noexcept { return 0; }
    void attach(std::span<std::byte>) noexcept {}
    user_registers& registers() noexcept { return registers_; }
    void reset(std::uint64_t entry, std::uint64_t stack) noexcept;
    void copy(const user_context& other) noexcept { *this = other; }
    user_exit run() noexcept;
    bool may_go_on() noexcept { return false; }
    std::uint64_t thread_pointer() const noexcept { return thread_pointer_; }
    void set_thread_pointer(std::uint64_t address) noexcept { thread_pointer_ = address; }
    std::span<const std::byte> save_float() noexcept { return {}; }
    bool load_float(std::span<const std::byte>) noexcept { return false; }
    static std::uint64_t float_features() noexcept { return 0; }
    static std::span<const std::byte> vdso() noexcept { return {}; }
    static void describe_clock(user_clock&) noexcept {}

  private:
    user_registers registers_{};
    std::uint64_t thread_pointer_ = 0;
};

// A fiber: a saved stack pointer, and what the sanitizers want to know about the stack.
class context {
  public:
    void prepare(vaddr stack, std::size_t size, void (*entry)(void*), void* argument) noexcept;
    static void switch_to(context& from, context& to, leaving how) noexcept;
    void retire() noexcept;
    // With a stack on which the caller does not stand (0 and 0, say), the one on which the CPU began is meant.
    void adopt(vaddr stack, std::size_t size) noexcept;
    void set_user(user_map* map, user_context*) noexcept;
    bool has_map() const noexcept { return map_; }

  private:
    static void begin(void* self);

    void* saved_sp_ = nullptr;
    user_map* map_ = nullptr;
    vaddr stack_ = 0;
    std::size_t size_ = 0;
    void (*entry_)(void*) = nullptr;
    void* argument_ = nullptr;
    void* fake_stack_ = nullptr; // AddressSanitizer's
    void* fiber_ = nullptr;      // ThreadSanitizer's
    bool owns_fiber_ = false;    // made by prepare(), not the pthread's own
};

struct clock {
    static std::uint64_t now_ns() noexcept;
    static std::uint64_t cycles() noexcept { return __builtin_ia32_rdtsc(); }
    static std::uint64_t cycles_hz() noexcept;
    // May latch event_timer once more for a deadline that was replaced at the very moment it passed.
    static void arm(std::uint64_t deadline_ns) noexcept;
    static void disarm() noexcept;
    static std::uint64_t since_handover_ns() noexcept { return now_ns(); }
    static std::uint64_t wall_seconds() noexcept;
};

namespace host {
extern std::byte* direct_base; // the direct map's address of physical 0
}

struct memory {
    static std::span<const region> regions() noexcept;
    static std::uint64_t frame_limit() noexcept;
    static void* map_page_array(std::size_t element_bytes);
    static void* direct(paddr pa) noexcept { return host::direct_base + pa; }
    static paddr physical(const void* p) noexcept {
        return static_cast<paddr>(static_cast<const std::byte*>(p) - host::direct_base);
    }
    static std::size_t copy_catching(void* to, const void* from, std::size_t bytes) noexcept;
    static void zero_page(void* page) noexcept { __builtin_memset(page, 0, page_size); }
    static bool protect_direct(paddr pa, std::size_t bytes, bool writable) noexcept;

    // Tell AddressSanitizer that nobody may touch these bytes / that they are good again.
    static void poison([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef HOST_ADDRESS_SANITIZER
        __asan_poison_memory_region(p, bytes);
#endif
    }
    static void unpoison([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef HOST_ADDRESS_SANITIZER
        __asan_unpoison_memory_region(p, bytes);
#endif
    }
};

struct kernel_map {
    static vaddr base() noexcept;
    static std::size_t size() noexcept;
    static void set_table_source(paddr (*)()) noexcept {} // Linux keeps the page tables
    static bool reserve(vaddr, std::size_t) { return true; }
    static void map(vaddr va, paddr pa, access may) noexcept;
    static paddr physical(vaddr va) noexcept;
    static void unmap(vaddr va, std::size_t pages) noexcept;
    static void flush(vaddr, std::size_t) noexcept {} // and forgets translations on every CPU
};

struct console {
    static void write(std::string_view text) noexcept;
    static std::size_t read(std::span<char> buffer) noexcept;
};

// Devices are other parts of the kernel here (tests), which raise() their interrupts; they have no messages to write.
struct interrupts {
    static interrupt_message message(unsigned cpu, unsigned number) noexcept {
        return {0xfee0'0000 | cpu << 12, number};
    }
    static std::uint64_t take() noexcept { return host::this_cpu()->devices.exchange(0, std::memory_order_acquire); }
    static void raise(unsigned cpu, unsigned number) noexcept;
};

struct bus {
    static std::span<const pci_window> pci_windows() noexcept { return {}; }
    static std::span<const iommu_unit> iommu_units() noexcept { return {}; }
    static bool is_device_memory(paddr pa, std::uint64_t bytes) noexcept;
    static bool has_ports() noexcept { return false; }
    static std::uint32_t read_port(std::uint16_t, unsigned) noexcept { return ~std::uint32_t{0}; }
    static void write_port(std::uint16_t, unsigned, std::uint32_t) noexcept {}
};

struct boot {
    static std::string_view command_line() noexcept;
    static std::span<const boot_module> modules() noexcept { return {}; }
    static std::uint64_t entropy() noexcept;
};

} // namespace arch
