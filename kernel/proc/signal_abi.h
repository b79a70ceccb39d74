// Signals as Linux programs for x86-64 see them: numbers, sets, actions, siginfo. Values only.
#pragma once

#include "kernel/lib/types.h"

#include <bit>
#include <cstddef>

namespace proc {

enum signal_number : int {
    sig_hup = 1,
    sig_int = 2,
    sig_quit = 3,
    sig_ill = 4,
    sig_trap = 5,
    sig_abrt = 6,
    sig_bus = 7,
    sig_fpe = 8,
    sig_kill = 9,
    sig_usr1 = 10,
    sig_segv = 11,
    sig_usr2 = 12,
    sig_pipe = 13,
    sig_alrm = 14,
    sig_term = 15,
    sig_stkflt = 16,
    sig_chld = 17,
    sig_cont = 18,
    sig_stop = 19,
    sig_tstp = 20,
    sig_ttin = 21,
    sig_ttou = 22,
    sig_urg = 23,
    sig_xcpu = 24,
    sig_xfsz = 25,
    sig_vtalrm = 26,
    sig_prof = 27,
    sig_winch = 28,
    sig_io = 29,
    sig_pwr = 30,
    sig_sys = 31,
    sig_rt_min = 32, // and above: each sending is delivered, in order
    sig_max = 64,
};

constexpr bool is_signal(k::i64 number) noexcept {
    return number >= 1 && number <= sig_max;
}

// The ABI's sigset_t: bit n - 1 is signal n.
class signal_set {
  public:
    constexpr signal_set() = default;
    constexpr explicit signal_set(k::u64 bits) : bits_(bits) {}
    template <class... Numbers> static constexpr signal_set of(Numbers... numbers) {
        return signal_set(((k::u64{1} << (numbers - 1)) | ... | 0));
    }

    constexpr k::u64 bits() const { return bits_; }
    constexpr bool empty() const { return bits_ == 0; }
    constexpr bool has(int number) const { return bits_ >> (number - 1) & 1; }
    constexpr void add(int number) { bits_ |= k::u64{1} << (number - 1); }
    constexpr void remove(int number) { bits_ &= ~(k::u64{1} << (number - 1)); }
    constexpr int lowest() const { return bits_ ? std::countr_zero(bits_) + 1 : 0; } // 0: empty
    constexpr signal_set without(signal_set other) const { return signal_set(bits_ & ~other.bits_); }
    friend constexpr signal_set operator|(signal_set a, signal_set b) { return signal_set(a.bits_ | b.bits_); }
    friend constexpr signal_set operator&(signal_set a, signal_set b) { return signal_set(a.bits_ & b.bits_); }
    friend constexpr bool operator==(signal_set, signal_set) = default;

  private:
    k::u64 bits_ = 0;
};
static_assert(sizeof(signal_set) == 8);

constexpr signal_set every_signal{~k::u64{0}};
constexpr signal_set uncatchable_signals = signal_set::of(sig_kill, sig_stop);
constexpr signal_set stop_signals = signal_set::of(sig_stop, sig_tstp, sig_ttin, sig_ttou);
constexpr signal_set ignored_by_default = signal_set::of(sig_chld, sig_cont, sig_urg, sig_winch);
// What an instruction can cause: delivered before all others.
constexpr signal_set fault_signals = signal_set::of(sig_segv, sig_bus, sig_ill, sig_trap, sig_fpe, sig_sys);

// struct sigaction as rt_sigaction takes it.
struct signal_action {
    static constexpr k::u64 handler_default = 0, handler_ignore = 1;

    k::u64 handler = handler_default; // else a user address
    k::u64 flags = 0;                 // action_flag bits
    k::u64 restorer = 0;              // the return address of the handler
    signal_set mask{};
};
static_assert(sizeof(signal_action) == 32);

enum action_flag : k::u64 {
    sa_no_child_stop = 1,
    sa_no_child_wait = 2,
    sa_siginfo = 4,
    sa_restorer = 0x0400'0000,
    sa_on_stack = 0x0800'0000,
    sa_restart = 0x1000'0000,
    sa_nodefer = 0x4000'0000,
    sa_reset_hand = 0x8000'0000,
};

// si_code: who says so.
enum signal_code : k::i32 {
    si_user = 0,
    si_kernel = 0x80,
    si_queue = -1,
    si_timer = -2,
    si_tkill = -6,

    ill_opcode = 2,  // SIGILL
    fpe_int_div = 1, // SIGFPE
    fpe_flt_inv = 7,
    fpe_flt_unknown = 14,
    segv_map_error = 1, // SIGSEGV
    segv_access = 2,
    bus_alignment = 1, // SIGBUS
    bus_address = 2,
    trap_breakpoint = 1, // SIGTRAP
    trap_trace = 2,

    cld_exited = 1, // SIGCHLD
    cld_killed = 2,
    cld_dumped = 3,
    cld_trapped = 4,
    cld_stopped = 5,
    cld_continued = 6,
};

// The part of siginfo_t that is ever used. User memory gets 128 bytes, the rest zeroes.
struct signal_info {
    k::i32 number;
    k::i32 error;
    k::i32 code; // signal_code, or a user's own, negative
    k::i32 mark; // the kernel's own: from_timer or 0. User memory gets 0 and is not believed
    union {
        struct {
            k::i32 pid;
            k::u32 uid;
            k::u64 value;
        } sender; // kill, tkill, sigqueue
        struct {
            k::i32 id;
            k::i32 overrun;
            k::u64 value;
        } timer;
        struct {
            k::i32 pid;
            k::u32 uid;
            k::i32 status;
            k::i32 pad;
            k::i64 user_ticks, system_ticks; // of 1/100 s
        } child;
        struct {
            k::u64 address;
            k::u16 lsb;
        } fault;
        k::u64 words[4];
    };

    static constexpr k::i32 from_timer = 1; // of timer_create: an overrun is to be filled in

    static constexpr signal_info of_kernel(int number) noexcept { return {number, 0, si_kernel, 0, {}}; }
    static constexpr signal_info of_fault(int number, k::i32 code, k::u64 address) noexcept {
        signal_info info{number, 0, code, 0, {}};
        info.fault.address = address;
        return info;
    }
    static constexpr signal_info of_sender(int number, k::i32 code, int pid, k::u32 uid, k::u64 value = 0) noexcept {
        signal_info info{number, 0, code, 0, {}};
        info.sender.pid = pid;
        info.sender.uid = uid;
        info.sender.value = value;
        return info;
    }
};
static_assert(sizeof(signal_info) == 48);
constexpr std::size_t user_signal_info_bytes = 128;

// stack_t of sigaltstack.
struct alternate_stack {
    static constexpr k::i32 on_stack = 1, disabled = 2;
    static constexpr k::u32 auto_disarm = 1u << 31;

    k::u64 base = 0;
    k::i32 flags = disabled;
    k::i32 pad = 0;
    k::u64 bytes = 0;

    constexpr bool usable() const { return bytes != 0; }
    constexpr bool contains(k::u64 stack_pointer) const {
        return stack_pointer > base && stack_pointer - base <= bytes;
    }
};
static_assert(sizeof(alternate_stack) == 24);
constexpr k::u64 least_alternate_stack = 2048;

} // namespace proc
