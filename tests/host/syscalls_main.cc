// nutcracker-syscalls: prints docs/syscalls.md from the system call table.
#include "kernel/syscall/table.h"

#include <cstdio>
#include <string>

namespace {

const char* name_of(syscalls::kind k) {
    switch (k) {
    case syscalls::kind::number: return "number";
    case syscalls::kind::hexadecimal: return "bits";
    case syscalls::kind::descriptor: return "fd";
    case syscalls::kind::text: return "text";
    case syscalls::kind::address: return "address";
    }
    return "?";
}

std::string arguments_of(const syscalls::entry& e) {
    std::string text;
    for (unsigned i = 0; i < e.arguments; i++)
        text += (i ? ", " : "") + std::string(name_of(e.kinds[i]));
    return text;
}

const char* restarts_of(const syscalls::entry& e) {
    switch (e.after_signal) {
    case syscalls::restarts: return "yes";
    case syscalls::starts_over: return "always";
    case syscalls::ends: return "";
    }
    return "?";
}

constexpr const char* head_of_page = R"(# System calls

Printed from the table (`kernel/syscall/table.h`) by `nutcracker-syscalls`, which the host port builds; a test
compares. Numbers, arguments and error numbers are Linux's for x86-64. A number that is not here answers ENOSYS and
leaves a line in the log, the first ten times and then once a second. The option `strace` (or `strace=PID`) on the
kernel's command line shows each call on the serial line.

"Restarts": begins anew after a signal handler with SA_RESTART ("always": after any); the others answer EINTR then.

| number | name | arguments | restarts | left out |
| ---: | --- | --- | --- | --- |)";

} // namespace

int main() {
    syscalls::initialise();
    std::puts(head_of_page);
    unsigned count = 0;
    for (unsigned number = 0; number < syscalls::own_calls + syscalls::most_own_calls; number++) {
        const syscalls::entry* e = syscalls::find(number);
        if (!e) continue;
        count++;
        std::printf("| %u | %.*s | %s | %s | %.*s |\n", number, static_cast<int>(e->name.size()), e->name.data(),
                    arguments_of(*e).c_str(), restarts_of(*e), static_cast<int>(e->note.size()), e->note.data());
    }
    std::printf("\n%u calls.\n", count);
}
