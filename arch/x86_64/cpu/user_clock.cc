// What the port knows about clocks that programs read by themselves.
#include "arch/machine.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/smp.h"

extern "C" const std::byte arch_vdso[], arch_vdso_end[];

namespace arch {

std::span<const std::byte> user_context::vdso() noexcept {
    return {arch_vdso, arch_vdso_end};
}

void user_context::describe_clock(user_clock& page) noexcept {
    clock::describe(page);
    page.readable = x86::time_stamps_agree();
    page.cpu_readable = x86::features.rdtscp;
}

} // namespace arch
