// The vDSO: code of the kernel's that every program has mapped, and the page before it, from which that code reads the
// clocks without a system call. libc finds it by AT_SYSINFO_EHDR.
//
// Both are objects of the kernel's own, the same frames in all spaces. Nobody may write to the page of the clocks, and
// who writes to the code (a debugger, after mprotect) gets a private copy.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/time/callout.h"
#include "sys/vm/space.h"

namespace proc {

// Makes the objects. Boot, before the first exec, with all CPUs running. Where the port has no such code or memory is
// out, programs do without.
void initialise_vdso() noexcept;
// The kernel's option `novdso`. Boot, before the above.
void switch_vdso_off() noexcept;

// Maps both into a new space, at `wish` if there is room. Gives the address of the code, which begins with its ELF
// header; 0: there is none. ENOMEM. Thread context.
k::result<xio::user_address> map_vdso(vm::space& into, xio::user_address wish) noexcept;

// Stores an offset of the time of day, the kernel's too, so that system calls and programs' own readings
// change at the same moment. ENOMEM: nothing has changed. Thread context.
k::status change_realtime_offset(ktime::ns to) noexcept;

} // namespace proc
