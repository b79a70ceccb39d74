// Faults: a bad address in copy_catching() ends the copy; anywhere else it ends the machine.
#include "arch/host/host_priv.h"

#include <csignal>
#include <sys/mman.h>
#include <ucontext.h>

extern "C" const char host_copy_begin[];
extern "C" const char host_copy_end[];

namespace arch {

namespace {

void on_fault(int, siginfo_t* info, void* where) {
    greg_t* registers = static_cast<ucontext_t*>(where)->uc_mcontext.gregs;
    auto pc = static_cast<std::uintptr_t>(registers[REG_RIP]);
    if (pc == reinterpret_cast<std::uintptr_t>(host_copy_begin)) {
        registers[REG_RIP] = reinterpret_cast<greg_t>(host_copy_end);
        return;
    }
    host::report("\nfault at address %p, pc %p, sp %p\n", info->si_addr, reinterpret_cast<void*>(pc),
                 reinterpret_cast<void*>(registers[REG_RSP]));
    host::die_at("a bad memory access", pc, static_cast<std::uintptr_t>(registers[REG_RBP]));
}

} // namespace

void host::make_faults() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    // A backtrace may itself meet a bad address and catch it: the handler must be able to nest.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int signal : {SIGSEGV, SIGBUS})
        if (sigaction(signal, &action, nullptr) != 0) cpu::die("sigaction failed");
}

void host::give_signal_stack() {
    constexpr std::size_t size = 256 * 1024;
    void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    stack_t stack = {.ss_sp = p, .ss_flags = 0, .ss_size = size};
    if (p == MAP_FAILED || sigaltstack(&stack, nullptr) != 0) cpu::die("no stack for signal handlers");
}

} // namespace arch
