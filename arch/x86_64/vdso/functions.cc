// The vDSO: a shared object that every process has mapped and libc finds by AT_SYSINFO_EHDR. It reads the clocks from
// the page before it (arch/common/user_clock.h) and leaves to a system call whatever that page does not tell.
//
// It runs in user mode at any address: no data of its own, no relocation, nothing else linked in (vdso.lds).
#include "arch/common/user_clock.h"

namespace {

using arch::user_clock;
using std::int64_t, std::uint32_t, std::uint64_t, std::uintptr_t;

// Linux's.
struct time_spec {
    int64_t seconds, nanoseconds;
};
struct time_value {
    int64_t seconds, microseconds;
};
struct time_zone {
    int minutes_west, summer_time;
};

constexpr uint64_t billion = 1'000'000'000;
constexpr long call_gettimeofday = 96, call_time = 201, call_clock_gettime = 228, call_clock_getres = 229;
constexpr long call_getcpu = 309;

// Sets of clock numbers. Coarse clocks and those of alarms are as good as the others.
constexpr uint32_t realtime_clocks = 1u << 0 | 1u << 5 | 1u << 8 | 1u << 11;
constexpr uint32_t monotonic_clocks = 1u << 1 | 1u << 4 | 1u << 6 | 1u << 7 | 1u << 9;
constexpr int clock_realtime = 0;

bool is_in(uint32_t set, int clock) {
    return static_cast<unsigned>(clock) < 32 && (set >> clock & 1);
}

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden"))); // from the linker

const volatile user_clock& page() {
    return *reinterpret_cast<const volatile user_clock*>(reinterpret_cast<uintptr_t>(__ehdr_start) -
                                                         arch::user_clock_bytes);
}

template <class A, class B> long system_call(long number, A first, B second, void* third = nullptr) {
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
    return result;
}

// Not before what the program has done before, or one thread could see another's later reading be the smaller.
uint64_t read_cycles() {
    uint32_t low, high;
    asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return uint64_t{high} << 32 | low;
}

// Nanoseconds of a clock. False: the kernel is to be asked, because it knows better or is just changing the page.
bool read_clock(int clock, uint64_t& ns) {
    const bool realtime = is_in(realtime_clocks, clock);
    if (!realtime && !is_in(monotonic_clocks, clock)) return false;
    const uint32_t before = page().sequence;
    if ((before & 1) || !page().readable) return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    ns = arch::ns_of_cycles(read_cycles(), page().zero_cycles, page().ns_per_cycle);
    if (realtime) ns += page().realtime_offset;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return page().sequence == before;
}

} // namespace

#define VDSO_FUNCTION extern "C" __attribute__((visibility("default")))

VDSO_FUNCTION int __vdso_clock_gettime(int clock, time_spec* to) {
    uint64_t ns;
    if (!read_clock(clock, ns)) return static_cast<int>(system_call(call_clock_gettime, clock, to));
    to->seconds = static_cast<int64_t>(ns / billion);
    to->nanoseconds = static_cast<int64_t>(ns % billion);
    return 0;
}

VDSO_FUNCTION int __vdso_clock_getres(int clock, time_spec* to) {
    if (!is_in(realtime_clocks | monotonic_clocks, clock))
        return static_cast<int>(system_call(call_clock_getres, clock, to));
    if (to) *to = {0, 1};
    return 0;
}

VDSO_FUNCTION int __vdso_gettimeofday(time_value* to, time_zone* zone) {
    uint64_t ns;
    if (!read_clock(clock_realtime, ns)) return static_cast<int>(system_call(call_gettimeofday, to, zone));
    if (to) *to = {static_cast<int64_t>(ns / billion), static_cast<int64_t>(ns % billion / 1000)};
    if (zone) *zone = {};
    return 0;
}

VDSO_FUNCTION int64_t __vdso_time(int64_t* to) {
    uint64_t ns;
    if (!read_clock(clock_realtime, ns)) return system_call(call_time, to, nullptr);
    const auto seconds = static_cast<int64_t>(ns / billion);
    if (to) *to = seconds;
    return seconds;
}

VDSO_FUNCTION int __vdso_getcpu(uint32_t* cpu, uint32_t* node, void*) {
    if (!page().cpu_readable) return static_cast<int>(system_call(call_getcpu, cpu, node));
    uint32_t number;
    asm volatile("rdtscp" : "=c"(number) : : "eax", "edx");
    if (cpu) *cpu = number;
    if (node) *node = 0;
    return 0;
}
