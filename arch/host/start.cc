// Making the machine out of a process, and its boot data: command line, modules, entropy.
#include "arch/host/host_priv.h"

#include <algorithm>
#include <cstdlib>
#include <pthread.h>
#include <sys/random.h>

namespace arch {

namespace {

char command_line_text[1024];
std::size_t command_line_length;

void append_to_command_line(std::string_view text) {
    if (text.empty()) return;
    std::size_t room = sizeof command_line_text - command_line_length;
    if (text.size() + 1 > room) cpu::die("the command line is too long");
    if (command_line_length != 0) command_line_text[command_line_length++] = ' ';
    std::copy(text.begin(), text.end(), command_line_text + command_line_length);
    command_line_length += text.size();
}

unsigned long number_from_environment(const char* name, unsigned long otherwise, unsigned long least,
                                      unsigned long most) {
    const char* text = std::getenv(name);
    if (text == nullptr || *text == '\0') return otherwise;
    char* end;
    unsigned long value = std::strtoul(text, &end, 10);
    if (*end != '\0' || value < least || value > most) {
        host::report("%s=%s: a number from %lu to %lu is wanted\n", name, text, least, most);
        std::_Exit(1);
    }
    return value;
}

void make_machine(const host::options& how) {
    static bool made = false;
    if (made) cpu::die("a process holds one machine only");
    made = true;

    constexpr std::uint64_t mebibyte = 1024 * 1024;
    host::make_clock();
    host::make_faults();
    host::make_memory(number_from_environment("NUTCRACKER_MEM", 128, 16, 65536) * mebibyte);
    host::make_kernel_map();
    host::make_console(how.console_output);
    append_to_command_line(how.command_line);
    if (const char* more = std::getenv("NUTCRACKER_CMDLINE")) append_to_command_line(more);
    host::cpu_count = static_cast<unsigned>(number_from_environment("NUTCRACKER_CPUS", 4, 1, max_cpus));
    host::start_timer();
    if (how.console_input) host::read_standard_input();
}

void* boot_cpu(void*) {
    host::become_cpu(0);
    upcall::boot();
}

} // namespace

void host::start(const options& how) {
    make_machine(how);
    start_helper(boot_cpu);
}

void host::become_boot_cpu(const options& how) {
    make_machine(how);
    become_cpu(0);
}

std::string_view boot::command_line() noexcept {
    return {command_line_text, command_line_length};
}

std::uint64_t boot::entropy() noexcept {
    std::uint64_t value = 0;
    if (getrandom(&value, sizeof value, 0) != sizeof value) cpu::die("getrandom failed");
    return value;
}

} // namespace arch
