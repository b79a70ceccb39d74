// How the machine ends: in order, or with a reason and the backtrace of every CPU.
#include "arch/host/host_priv.h"

#include <algorithm>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <execinfo.h>
#include <pthread.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

namespace arch {

namespace {

constexpr int backtrace_signal = SIGUSR2;

std::atomic<bool> dying;
std::atomic<std::uint32_t> answered; // CPUs that have printed their backtrace
std::atomic<void (*)(exit_status)> power_off_hook;

[[noreturn]] void stand_still() {
    for (;;)
        pause();
}

void sleep_ms(long ms) {
    timespec rest = {0, ms * 1'000'000};
    nanosleep(&rest, nullptr);
}

// Runs on each of the other CPUs, which never go on: what they do next would only confuse the picture.
void on_backtrace_signal(int, siginfo_t*, void* where) {
    greg_t* registers = static_cast<ucontext_t*>(where)->uc_mcontext.gregs;
    if (host::cpu_state* me = host::this_cpu()) host::report("CPU %u:\n", me->id);
    host::print_backtrace(static_cast<std::uintptr_t>(registers[REG_RIP]),
                          static_cast<std::uintptr_t>(registers[REG_RBP]));
    answered.fetch_add(1);
    stand_still();
}

// One after another, so that their lines do not mix. ThreadSanitizer delays signals to a CPU that
// is busy or asleep, so a CPU may stay silent.
void print_other_cpus() {
    struct sigaction action = {};
    action.sa_sigaction = on_backtrace_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(backtrace_signal, &action, nullptr);
    for (host::cpu_state& each : host::cpu_states) {
        if (!each.running.load(std::memory_order_acquire) || each.pthread == pthread_self()) continue;
        std::uint32_t before = answered.load();
        if (pthread_kill(each.pthread, backtrace_signal) != 0) continue;
        for (int waited_ms = 0; answered.load() == before && waited_ms < 100; ++waited_ms)
            sleep_ms(1);
    }
}

} // namespace

void host::report(const char* format, ...) noexcept {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = std::vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    auto bytes = static_cast<std::size_t>(std::clamp(length, 0, static_cast<int>(sizeof line) - 1));
    if (write(STDERR_FILENO, line, bytes) < 0) return; // nobody to tell
}

// Follows the frame pointers, which every kernel object keeps. The chain of a broken stack leads anywhere,
// so each frame is read with copy_catching.
void host::print_backtrace(std::uintptr_t pc, std::uintptr_t frame) noexcept {
    constexpr int most = 48;
    void* calls[most];
    int count = 0;
    calls[count++] = reinterpret_cast<void*>(pc);
    while (count < most && frame != 0 && frame % sizeof(void*) == 0) {
        std::uintptr_t record[2]; // the caller's frame, the return address
        if (memory::copy_catching(record, reinterpret_cast<void*>(frame), sizeof record) != 0) break;
        if (record[1] == 0) break;
        calls[count++] = reinterpret_cast<void*>(record[1]);
        if (record[0] <= frame) break; // stacks grow down: callers lie above
        frame = record[0];
    }
    backtrace_symbols_fd(calls, count, STDERR_FILENO);
}

void host::die_at(std::string_view why, std::uintptr_t pc, std::uintptr_t frame) noexcept {
    cpu_state* me = this_cpu();
    // The second CPU to die waits for the first; a CPU that dies while dying has nothing to add.
    if (dying.exchange(true)) {
        if (me == nullptr || me->running.exchange(false)) stand_still();
        std::abort();
    }
    if (me != nullptr) me->running.store(false);
    report("\nnutcracker died: %.*s\n", static_cast<int>(why.size()), why.data());
    if (me != nullptr) report("CPU %u, critical depth %u, pending %#x:\n", me->id, me->critical, me->pending.load());
    print_backtrace(pc, frame);
    print_other_cpus();
    std::fflush(nullptr);
    std::abort();
}

void cpu::die(std::string_view why) {
    host::die_at(why, reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)),
                 *static_cast<std::uintptr_t*>(__builtin_frame_address(0)));
}

void host::on_power_off(void (*hook)(exit_status)) {
    power_off_hook.store(hook);
}

void cpu::power_off(exit_status status) {
    if (auto* hook = power_off_hook.load()) {
        hook(status);
        stand_still();
    }
    std::fflush(nullptr);
    _exit(status == exit_status::success ? 0 : 1);
}

void cpu::reboot() {
    power_off(exit_status::success);
}

} // namespace arch
