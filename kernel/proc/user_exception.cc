#include "kernel/proc/user_exception.h"

#include "kernel/proc/process.h"

#include <bit>
#include <cstring>

namespace proc {

namespace {

// The x86 vectors.
enum vector : k::u8 {
    divide = 0,
    debug = 1,
    breakpoint = 3,
    overflow = 4,
    bound_range = 5,
    invalid_opcode = 6,
    segment_not_present = 11,
    stack_segment = 12,
    general_protection = 13,
    float_error = 16,
    alignment = 17,
    vector_float = 19,
};

// Which floating-point error it was, from the state's status and masks: the first in the order of their bits that is
// not masked. si_code of SIGFPE.
int float_error_code(thread& t, bool of_vectors) {
    const auto image = t.user.save_float();
    if (image.size() < 28) return fpe_flt_unknown;
    k::u16 control, status;
    k::u32 mxcsr;
    std::memcpy(&control, image.data(), sizeof(control));
    std::memcpy(&status, image.data() + 2, sizeof(status));
    std::memcpy(&mxcsr, image.data() + 24, sizeof(mxcsr));
    const k::u32 raised = (of_vectors ? mxcsr & ~(mxcsr >> 7) : status & ~k::u32{control}) & 0x3f;
    constexpr int codes[] = {fpe_flt_inv, 5, 3, 4, 5, 6}; // invalid, denormal, division, overflow, underflow, inexact
    return raised ? codes[std::countr_zero(raised)] : fpe_flt_unknown;
}

} // namespace

void handle_exception(thread& t, const arch::user_exit& why) noexcept {
    constexpr int trap_trace = 2, bus_alignment = 1;
    const k::u64 at = t.user.registers().rip;
    switch (why.vector) {
    case divide: return fault_signal(sig_fpe, fpe_int_div, at);
    case debug: return fault_signal(sig_trap, trap_trace, at);
    case breakpoint: return fault_signal(sig_trap, si_kernel, 0);
    case invalid_opcode: return fault_signal(sig_ill, ill_opcode, at);
    case float_error: return fault_signal(sig_fpe, float_error_code(t, false), at);
    case vector_float: return fault_signal(sig_fpe, float_error_code(t, true), at);
    case alignment: return fault_signal(sig_bus, bus_alignment, at);
    case segment_not_present:
    case stack_segment: return fault_signal(sig_bus, si_kernel, 0);
    default: return fault_signal(sig_segv, si_kernel, 0);
    }
}

} // namespace proc
