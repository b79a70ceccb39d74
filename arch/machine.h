// The machine interface: all that the kernel asks of the machine below it.
//
// Two ports stand side by side. arch/x86_64 is QEMU or real hardware; arch/host is an ordinary
// Linux process in which physical memory is a memfd and a CPU is a pthread. The build puts one
// port's folder on the include path and that port's machine_port.h defines the classes below,
// all of static functions, so that a call costs nothing. The concepts at the end say what a port
// must offer; one that lacks an operation fails to compile on the line that names it.
// docs/porting.md walks through arch/host as the example.
//
// Interrupts. The kernel does not run its own code in interrupt handlers. A port's handler
// acknowledges the device, latches an `event` in cpu_local::pending and, if the interrupted code was
// not in a critical section, calls upcall::deliver_events(). A critical section is a counter that
// keeps events latched; leaving the last one delivers them. A port without real interrupts (host)
// only latches, and events are delivered when a critical section ends, in cpu::relax() and in
// cpu::wait_for_event(). Code must therefore never spin without calling cpu::relax().
#pragma once

#include "arch/common/user_clock.h"
#include "arch/common/user_registers.h"

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace arch {

using paddr = std::uint64_t;  // a physical address
using vaddr = std::uintptr_t; // a virtual address

constexpr std::size_t page_shift = 12;
constexpr std::size_t page_size = std::size_t{1} << page_shift;
constexpr unsigned max_cpus = 16;

// User addresses are those below. The last page of the lower half is left out: an instruction at its end would make
// the CPU return to a non-canonical address.
constexpr vaddr user_end = 0x7fff'ffff'f000;
constexpr std::size_t large_page_size = std::size_t{2} << 20;
static_assert(user_clock_bytes == page_size);

// What an interrupt leaves behind for deliver_events(), as bits of cpu_local::pending.
enum event : std::uint32_t {
    event_ipi = 1u << 0,     // another CPU put something into an IPI queue of this one
    event_timer = 1u << 1,   // clock::arm()'s deadline has passed
    event_console = 1u << 2, // console input is waiting
    event_resched = 1u << 3, // a thread that preempts became ready (set by the scheduler itself)
    event_device = 1u << 4,  // interrupts of devices came: interrupts::take() says which
};

// The part of a CPU's state that its port and the kernel share. A port keeps its own data behind
// it. Only the owning CPU touches it, except `pending` in a port where others latch events.
struct cpu_local {
    cpu_local* self;                    // this very address: how x86-64 finds it through GS
    void* kernel;                       // the kernel's per-CPU structure
    void* thread;                       // the running thread
    std::uint32_t id;                   // dense, 0 is the boot CPU
    std::uint32_t critical;             // depth of critical sections; 0 lets events in
    std::atomic<std::uint32_t> pending; // latched events
    std::atomic<std::uint64_t> devices; // latched interrupts of devices, a bit a number
};

// What a device writes to memory to interrupt a CPU (MSI).
struct interrupt_message {
    std::uint64_t address; // 0: no such message reaches the CPU
    std::uint32_t data;
};
constexpr unsigned device_interrupts = 64; // that a CPU can tell apart

// Where the configuration space of a PCI segment's buses lies in memory: 1 MiB a bus, that of `first_bus` at `base`.
struct pci_window {
    paddr base;
    std::uint16_t segment;
    std::uint8_t first_bus, last_bus;
};

// A unit that can stand between the functions of a PCI segment and memory (VT-d), and whether it does for all of them.
struct iommu_unit {
    paddr registers;
    std::uint16_t segment;
    bool serves_all;
};

// A run of physical memory, page aligned.
struct region {
    paddr base;
    std::uint64_t size;
};

// A file that the boot loader brought, in the direct map. It stays as long as the kernel runs.
struct boot_module {
    std::string_view name;
    std::span<const std::byte> bytes;
};

// What a kernel mapping allows. There is none that is both writable and executable. `device` is read_write, uncached.
enum class access : std::uint8_t { read, read_write, device };

// How a machine ends.
enum class exit_status : std::uint8_t { success, failure };

// Why a switch happens is the scheduler's affair; the port is told only whether the thread that
// is left will ever run again.
enum class leaving : std::uint8_t { for_now, for_good };

class user_context;

// The kernel's side: functions that a port calls.
namespace upcall {
// Will self-tests or benchmarks of the kernel's run? If not, a port may use their memory for something else. Asked
// once, before memory is shared out, when boot::command_line() and the names of boot::modules() are known.
bool runs_tests() noexcept;
// The boot CPU, on its boot stack, critical depth 1, memory::regions() known, one CPU running.
[[noreturn]] void boot();
// A CPU started by cpu::start(), on the stack that was given there, critical depth 1.
[[noreturn]] void boot_secondary();
// Events are pending and the critical depth is 0. Called with interrupts enabled or disabled,
// returns in the same state. May switch threads (preemption) before it returns.
void deliver_events();
// User code has made a system call. Of registers() the call's number and arguments, rip, rsp and rflags are good; what
// functions preserve (rbx, rbp, r12 to r15) is in the CPU still, and the rest a system call destroys anyway. Called
// with interrupts enabled, on the stack of who called run(). True, with interrupts off, if user code is to go on at
// once with rax as it is then and nothing else changed; user.may_go_on() must have said so after interrupts went off.
// Else false, with interrupts enabled: run() returns, with all registers in place.
bool system_call(user_context& user) noexcept asm("arch_upcall_system_call");
} // namespace upcall

class user_map;

// Version 14 breaks the lines of a requires expression.
// clang-format off
template <class Cpu>
concept cpu_operations = requires(unsigned id, vaddr stack, std::string_view why, exit_status status,
                                  bool enabled, std::uint64_t state, std::uint64_t word) {
    // This CPU. The reference is good until the thread may move, that is within a critical section.
    { Cpu::local() } noexcept -> std::same_as<cpu_local&>;
    { Cpu::thread() } noexcept -> std::same_as<void*>;
    { Cpu::kernel() } noexcept -> std::same_as<void*>;
    { Cpu::id() } noexcept -> std::same_as<unsigned>;
    // Adds one to this CPU's critical depth / takes one away and says whether events wait now at depth 0.
    { Cpu::critical_enter() } noexcept -> std::same_as<void>;
    { Cpu::critical_leave() } noexcept -> std::same_as<bool>;
    // Takes one away and, at depth 0, delivers the events that wait. The same as critical_leave() and
    // upcall::deliver_events(), but a port can make it cost its caller no register.
    { Cpu::critical_exit() } noexcept -> std::same_as<void>;
    // Stops interrupts on this CPU and says whether they were enabled / puts that state back.
    { Cpu::interrupts_disable() } noexcept -> std::same_as<bool>;
    { Cpu::interrupts_off() } noexcept -> std::same_as<void>; // where they are known to be enabled
    { Cpu::interrupts_restore(enabled) } noexcept -> std::same_as<void>;
    { Cpu::relax() } noexcept -> std::same_as<void>; // in every spin loop
    // Called in a critical section by the idle thread: sleeps until `pending` is not 0; may wake early.
    { Cpu::wait_for_event() } noexcept -> std::same_as<void>;
    // CPUs found, the boot CPU included, at most max_cpus; ids below this number are valid.
    { Cpu::count() } noexcept -> std::same_as<unsigned>;
    // Starts CPU `id` on the given stack top, in upcall::boot_secondary(). False if it does not come up.
    { Cpu::start(id, stack) } -> std::same_as<bool>;
    // Latches event_ipi on CPU `id`. Any context.
    { Cpu::send_ipi(id) } noexcept -> std::same_as<void>;
    // Prints the reason, the registers and a backtrace of every CPU, and ends the machine as failed. Any context.
    { Cpu::die(why) } -> std::same_as<void>;
    { Cpu::power_off(status) } -> std::same_as<void>; // does not return
    { Cpu::reboot() } -> std::same_as<void>;          // does not return
    { Cpu::model() } noexcept -> std::same_as<std::string_view>;
    // Has it an instruction for CRC-32C? Then that gives the register after eight more bytes.
    { Cpu::has_crc32c() } noexcept -> std::same_as<bool>;
    { Cpu::crc32c(state, word) } noexcept -> std::same_as<std::uint64_t>;
};

// A thread's saved machine state. `prepare` makes a fresh stack start at entry(argument) with
// critical depth as the scheduler set it; `switch_to` saves here and resumes there. Called in a
// critical section with interrupts enabled. `retire` frees what a port attached to a context that will
// never run again; its stack must not be in use any more.
template <class Context>
concept context_operations = requires(Context& from, Context& to, const Context& seen, vaddr stack, std::size_t size, void (*entry)(void*),
                                      void* argument, leaving how, user_map* map, user_context* user) {
    { to.prepare(stack, size, entry, argument) } noexcept -> std::same_as<void>;
    { Context::switch_to(from, to, how) } noexcept -> std::same_as<void>;
    { from.retire() } noexcept -> std::same_as<void>;
    // Turns the running boot flow of a CPU, on this stack, into a context that can be switched from.
    { from.adopt(stack, size) } noexcept -> std::same_as<void>;
    // Of a thread with a life in user mode: the map to load and the state to keep whenever it is switched to or from;
    // null for neither. For the running thread's own context, in a critical section; takes effect at once.
    { from.set_user(map, user) } noexcept -> std::same_as<void>;
    { seen.has_map() } noexcept -> std::same_as<bool>; // was it given one?
};

// A checked build (AddressSanitizer and the like) makes frames larger: stacks grow by this factor.
template <std::size_t Factor>
concept stack_factor = Factor >= 1 && Factor <= 16;

template <class Clock>
concept clock_operations = requires(std::uint64_t deadline_ns) {
    { Clock::now_ns() } noexcept -> std::same_as<std::uint64_t>; // monotonic since boot, the same on all CPUs
    { Clock::cycles() } noexcept -> std::same_as<std::uint64_t>; // fine-grained; one an instruction under -icount
    { Clock::cycles_hz() } noexcept -> std::same_as<std::uint64_t>;
    // Latches event_timer on this CPU once now_ns() has reached the deadline; replaces the deadline before.
    { Clock::arm(deadline_ns) } noexcept -> std::same_as<void>;
    { Clock::disarm() } noexcept -> std::same_as<void>;
    { Clock::since_handover_ns() } noexcept -> std::same_as<std::uint64_t>; // since the boot loader's hand-over
    // Seconds since 1970 by the machine's own calendar; 0: it has none. Slow, for the boot.
    { Clock::wall_seconds() } noexcept -> std::same_as<std::uint64_t>;
};

template <class Memory>
concept memory_operations = requires(paddr pa, const void* from, void* to, std::size_t bytes, bool writable) {
    // Usable RAM: sorted, page aligned, not overlapping, without what the kernel's image, its boot
    // modules and the page array occupy. To be read after map_page_array().
    { Memory::regions() } noexcept -> std::same_as<std::span<const region>>;
    // One past the highest frame number in any region.
    { Memory::frame_limit() } noexcept -> std::same_as<std::uint64_t>;
    // Gives an array of `bytes`-sized elements indexed by frame number, zeroed, backed by memory
    // only where there are usable frames. Called once, first of all. Null if memory is too small.
    { Memory::map_page_array(bytes) } -> std::same_as<void*>;
    // The direct map: every frame of RAM at a fixed address, readable and writable, never executable.
    { Memory::direct(pa) } noexcept -> std::same_as<void*>;
    { Memory::physical(from) } noexcept -> std::same_as<paddr>; // of a direct-map address
    // Copies bytes between any two addresses of which one may be bad. Returns the count not copied:
    // 0, or what was left at the first byte that faulted. Neither sleeps nor calls the pager.
    { Memory::copy_catching(to, from, bytes) } noexcept -> std::same_as<std::size_t>;
    // Fills one page with zeroes, in the fastest way there is. Any context, no critical section needed.
    { Memory::zero_page(to) } noexcept -> std::same_as<void>;
    // Debug builds: takes write permission away from frames in the direct map on every CPU, or gives
    // it back. False where the port's direct map cannot do it.
    { Memory::protect_direct(pa, bytes, writable) } noexcept -> std::same_as<bool>;
    // Tells a memory checker that a direct-map range must not / may be touched. Nothing without a checker.
    { Memory::poison(to, bytes) } noexcept -> std::same_as<void>;
    { Memory::unpoison(to, bytes) } noexcept -> std::same_as<void>;
};

// Kernel virtual space outside the direct map: stacks and windows over scattered pages.
template <class Kernel_map>
concept kernel_map_operations = requires(vaddr va, paddr pa, access may, std::size_t pages, paddr (*table)()) {
    { Kernel_map::base() } noexcept -> std::same_as<vaddr>;
    { Kernel_map::size() } noexcept -> std::same_as<std::size_t>;
    // Where page tables get their frames: a zeroed frame, or 0 when memory is out.
    { Kernel_map::set_table_source(table) } noexcept -> std::same_as<void>;
    // Makes sure that page tables exist for the range, so that map() cannot fail. False: out of memory.
    { Kernel_map::reserve(va, pages) } -> std::same_as<bool>;
    // Maps one page of a reserved range that is not mapped. No TLB work is needed.
    { Kernel_map::map(va, pa, may) } noexcept -> std::same_as<void>;
    // The frame mapped at an address that map() gave one to.
    { Kernel_map::physical(va) } noexcept -> std::same_as<paddr>;
    // Unmaps what is mapped of the range and forgets it in this CPU's TLB only; other CPUs need flush() before reuse.
    { Kernel_map::unmap(va, pages) } noexcept -> std::same_as<void>;
    { Kernel_map::flush(va, pages) } noexcept -> std::same_as<void>; // this CPU's TLB
};

// A user address space's page table. Whoever uses one serialises what changes it, except for what is said to be any
// CPU's. A permission is that of the entry and of all levels above it; protect_all() takes writing away at the
// top, and enter() pushes that down along its own path only.
template <class User_map>
concept user_map_operations = requires(User_map& m, const User_map& seen, vaddr va, paddr pa, paddr (*frame_of)(std::size_t),
                                       unsigned may, std::size_t pages, bool* stale,
                                       void* to, const void* from, std::size_t bytes, paddr (*take)(), void (*give)(paddr)) {
    // Where tables get zeroed frames (0: memory is out) and where they give them back. Once, at boot.
    { User_map::set_table_source(take, give) } noexcept -> std::same_as<void>;
    { m.create() } -> std::same_as<bool>; // an empty map. False: out of memory
    // Gives all tables back. No CPU has the map loaded.
    { m.destroy() } noexcept -> std::same_as<void>;
    // Maps one page, in the place of what was there. `may` is user_access bits, not 0. False: no frame for a
    // table, and nothing of other pages has changed for the worse (they may have lost writing).
    { m.enter(va, pa, may) } noexcept -> std::same_as<bool>;
    // The same with so many pages at consecutive addresses, frame_of(n) being the nth one's frame; false: some of them.
    // `stale` becomes true if a CPU may remember another translation of one; null: then nobody has to forget it.
    { m.enter_run(va, pages, frame_of, may, stale) } noexcept -> std::same_as<bool>;
    // Maps large_page_size at once; both aligned to it. Tables below go. False: no frame, or this CPU cannot.
    { m.enter_large(va, pa, may) } noexcept -> std::same_as<bool>;
    { seen.find(va) } noexcept -> std::same_as<user_mapping>;
    // Removes what is mapped of the range; of a large mapping that reaches into it, all. True if there was something.
    { m.remove(va, pages) } noexcept -> std::same_as<bool>;
    // Takes writing away from the range, of large mappings that reach into it as a whole. True if any may have had it.
    { m.write_protect(va, pages) } noexcept -> std::same_as<bool>;
    // Takes writing away from everything; costs the same however much is mapped. True if any may have had it.
    { m.write_protect_all() } noexcept -> std::same_as<bool>;
    // Loads the map on this CPU and notes it in active(). Critical section.
    { m.activate() } noexcept -> std::same_as<void>;
    // Leaves this CPU without any user map / without this one, if it is loaded. Critical section or IPI function.
    { User_map::deactivate() } noexcept -> std::same_as<void>;
    { User_map::leave(m) } noexcept -> std::same_as<void>;
    { seen.active() } noexcept -> std::same_as<std::uint32_t>; // a bit a CPU. Any CPU
    // Forgets this CPU's translations of a range, or of all user addresses (pages 0), whatever map is loaded.
    // Critical section or IPI function.
    { User_map::flush_here(va, pages) } noexcept -> std::same_as<void>;
    // Copies between kernel and user memory through the map of the running thread, which is this one. Returns the
    // bytes not copied: 0, or what was left at the first that is not mapped so. Any address and length. Does not sleep.
    { m.copy_in(to, va, bytes) } noexcept -> std::same_as<std::size_t>;
    { m.copy_out(va, from, bytes) } noexcept -> std::same_as<std::size_t>;
    { m.zero_out(va, bytes) } noexcept -> std::same_as<std::size_t>;
};

// A thread's life in user mode. Owned by the thread.
template <class User_context>
concept user_context_operations = requires(User_context& u, const User_context& other, std::span<std::byte> memory,
                                           std::uint64_t address, user_clock& page) {
    { User_context::supported() } noexcept -> std::same_as<bool>; // false: this port cannot run user code
    { User_context::memory_needed() } noexcept -> std::same_as<std::size_t>; // for floating-point state
    { u.attach(memory) } noexcept -> std::same_as<void>; // that much, any alignment, for as long as u lives
    { u.registers() } noexcept -> std::same_as<user_registers&>;
    // Fresh registers and floating-point state: starts at `entry` with this stack pointer.
    { u.reset(address, address) } noexcept -> std::same_as<void>;
    // Copies everything from another context that is not in user mode; its owner runs this.
    { u.copy(other) } noexcept -> std::same_as<void>;
    // Runs user code until it traps, but not for system calls that upcall::system_call() was content with. Serves
    // interrupts (latches and delivers events) before it returns. Registers that user code may not have are put right
    // first: whatever registers() says, the kernel is safe.
    { u.run() } noexcept -> std::same_as<user_exit>;
    // For upcall::system_call(), with interrupts off: makes the CPU ready for user code, if it can go on at once.
    { u.may_go_on() } noexcept -> std::same_as<bool>;
    { other.thread_pointer() } noexcept -> std::same_as<std::uint64_t>; // FS base
    { u.set_thread_pointer(address) } noexcept -> std::same_as<void>; // below user_end
    // The floating-point state as an XSAVE image of the standard form / takes one over; false: it is not a good one.
    { u.save_float() } noexcept -> std::same_as<std::span<const std::byte>>;
    { u.load_float(std::span<const std::byte>{}) } noexcept -> std::same_as<bool>;
    // The features (XCR0) that such an image can hold.
    { User_context::float_features() } noexcept -> std::same_as<std::uint64_t>;
    // A shared object for programs, that reads the page before itself; it stays where it is. Empty: there is none.
    { User_context::vdso() } noexcept -> std::same_as<std::span<const std::byte>>;
    // Fills in of that page, which is zeroes, what the machine knows: all but the sequence and the time of day. All
    // CPUs run.
    { User_context::describe_clock(page) } noexcept -> std::same_as<void>;
};

template <class Console>
concept console_operations = requires(std::string_view text, std::span<char> buffer) {
    // Writes all of it, in order, waiting for the device if it must. Any context, but not from two at
    // once: the log serialises.
    { Console::write(text) } noexcept -> std::same_as<void>;
    // Takes what input is there, up to the buffer's size. Does not wait. event_console tells of more.
    { Console::read(buffer) } noexcept -> std::same_as<std::size_t>;
};

// Interrupts of devices, which come as messages. Who uses which number is the kernel's affair (kernel/lwkt/interrupt.h).
template <class Interrupts>
concept interrupt_operations = requires(unsigned cpu, unsigned number) {
    // What a device is told to write so that a number, below device_interrupts, and event_device are latched on a CPU.
    { Interrupts::message(cpu, number) } noexcept -> std::same_as<interrupt_message>;
    // The numbers latched on this CPU since the last call, a bit each. Critical section.
    { Interrupts::take() } noexcept -> std::same_as<std::uint64_t>;
    // The same as if a device had written that message. Any context.
    { Interrupts::raise(cpu, number) } noexcept -> std::same_as<void>;
};

// Where devices are. A machine without any has no windows and no ports.
template <class Bus>
concept bus_operations = requires(paddr pa, std::uint64_t bytes, std::uint16_t port, unsigned width,
                                  std::uint32_t value) {
    { Bus::pci_windows() } noexcept -> std::same_as<std::span<const pci_window>>;
    { Bus::iommu_units() } noexcept -> std::same_as<std::span<const iommu_unit>>;
    // Could registers of a device lie there: an address that CPUs have, and nothing of it RAM?
    { Bus::is_device_memory(pa, bytes) } noexcept -> std::same_as<bool>;
    // I/O ports; width in bytes: 1, 2 or 4. Any context.
    { Bus::has_ports() } noexcept -> std::same_as<bool>;
    { Bus::read_port(port, width) } noexcept -> std::same_as<std::uint32_t>;
    { Bus::write_port(port, width, value) } noexcept -> std::same_as<void>;
};

template <class Boot>
concept boot_operations = requires {
    { Boot::command_line() } noexcept -> std::same_as<std::string_view>;
    { Boot::modules() } noexcept -> std::same_as<std::span<const boot_module>>;
    { Boot::entropy() } noexcept -> std::same_as<std::uint64_t>; // not secret: seeds tests and caches
};

// clang-format on

} // namespace arch

#include "machine_port.h"

static_assert(arch::cpu_operations<arch::cpu>);
static_assert(arch::context_operations<arch::context>);
static_assert(arch::clock_operations<arch::clock>);
static_assert(arch::memory_operations<arch::memory>);
static_assert(arch::kernel_map_operations<arch::kernel_map>);
static_assert(arch::user_map_operations<arch::user_map>);
static_assert(arch::user_context_operations<arch::user_context>);
static_assert(arch::console_operations<arch::console>);
static_assert(arch::interrupt_operations<arch::interrupts>);
static_assert(arch::bus_operations<arch::bus>);
static_assert(arch::boot_operations<arch::boot>);
static_assert(arch::stack_factor<arch::stack_size_factor>);
