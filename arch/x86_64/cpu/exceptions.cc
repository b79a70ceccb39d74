#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/die.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/cpu/traps.h"
#include "arch/x86_64/cpu/vectors.h"
#include "arch/x86_64/mm/page_table.h"
#include "kernel/lib/format.h"

#include <array>

namespace {

// An instruction that may fault on an address, and where to go on if it does (mm/copy_catching.S).
struct fault_fixup {
    k::u64 at, go_on;
};

} // namespace

extern "C" const fault_fixup fault_fixups_start[], fault_fixups_end[];

namespace arch::x86 {

namespace {

constexpr u8 vector_general_protection = 13;

constexpr std::array<std::string_view, 32> names = {
    "divide error",
    "debug exception",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack segment fault",
    "general protection fault",
    "page fault",
    "exception 15",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualization exception",
    "control protection exception",
    "exception 22",
    "exception 23",
    "exception 24",
    "exception 25",
    "exception 26",
    "exception 27",
    "hypervisor injection",
    "VMM communication",
    "security exception",
    "exception 31",
};

// A page fault or, for an address that is not canonical, a general protection fault.
bool fix_up(trap_frame& frame) {
    if (frame.from_user()) return false;
    if (frame.vector != vector_page_fault && frame.vector != vector_general_protection) return false;
    for (const fault_fixup* fixup = fault_fixups_start; fixup != fault_fixups_end; fixup++) {
        if (fixup->at != frame.rip) continue;
        frame.rip = fixup->go_on;
        return true;
    }
    return false;
}

// The CPU could not push a frame for some other exception: usually there was no stack left to push it on.
bool is_stack_overflow(const trap_frame& frame) {
    return frame.vector == vector_double_fault && !is_mapped(frame.rsp - 8);
}

} // namespace

void handle_exception(trap_frame& frame) {
    if (fix_up(frame)) return;
    if (frame.vector == vector_nmi && machine_is_dying()) stop_this_cpu(frame);

    char text[160];
    k::buffer_sink sink(text);
    if (is_stack_overflow(frame))
        k::format_to(sink, "kernel stack overflow");
    else
        k::format_to(sink, "{}", names[frame.vector]);
    k::format_to(sink, ", error code {:x}", frame.error_code);
    if (frame.vector == vector_page_fault || frame.vector == vector_double_fault)
        k::format_to(sink, ", address {:x}", read_cr2());
    die_at(sink.view(), frame);
}

} // namespace arch::x86
