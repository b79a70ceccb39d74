#include "kernel/syscall/table.h"

#include "kernel/selftest/selftest.h"
#include "kernel/syscall/calls.h"

using namespace syscalls;

SELFTEST(syscall_table, finds_every_entry_by_its_number) {
    EXPECT(!find(most_calls));
    EXPECT(!find(~k::u64{0}));
    for (const std::span<const entry> part : {process_calls, credential_calls, limit_calls, sched_calls, misc_calls,
                                              memory_calls, file_calls, signal_calls, time_calls, futex_calls})
        for (const entry& e : part)
            EXPECT(find(e.number) == &e);
}

SELFTEST(syscall_table, parts_are_sorted_and_entries_complete) {
    for (const std::span<const entry> part : {process_calls, credential_calls, limit_calls, sched_calls, misc_calls}) {
        int last = -1;
        for (const entry& e : part) {
            EXPECT(static_cast<int>(e.number) > last);
            EXPECT(e.run && !e.name.empty() && e.arguments <= most_arguments);
            last = e.number;
        }
    }
}

SELFTEST(syscall_table, knows_what_arguments_are) {
    const entry* execve = find(59);
    REQUIRE(execve);
    EXPECT_EQ(execve->arguments, 3);
    EXPECT(execve->kinds[0] == kind::text && execve->kinds[1] == kind::address);
    const entry* wait4 = find(61);
    REQUIRE(wait4);
    EXPECT(wait4->after_signal == restarts);
    EXPECT(wait4->kinds[0] == kind::number && wait4->kinds[2] == kind::hexadecimal);
}
