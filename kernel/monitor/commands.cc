#include "kernel/monitor/commands.h"

#include "arch/machine.h"
#include "kernel/bench/bench.h"
#include "kernel/lib/log.h"
#include "kernel/lib/text.h"
#include "kernel/monitor/commands_priv.h"
#include "kernel/selftest/selftest.h"
#include "kernel/time/callout.h"

#include <algorithm>

namespace monitor {

namespace {

constexpr unsigned any_number = ~0u;
constexpr std::string_view blanks = " \t\r\n";

bool help(std::string_view) {
    for (const command& c : all_commands()) {
        char synopsis[32];
        k::buffer_sink text(synopsis);
        k::format_to(text, "{} {}", c.name, c.arguments);
        k::log("{:<18} {}\n", text.view(), c.help);
    }
    return true;
}

bool echo(std::string_view text) {
    k::log("{}\n", text);
    return true;
}

bool uptime(std::string_view) {
    const ktime::ns up = ktime::now();
    k::log("up {}.{:03} s\n", up / ktime::second, up % ktime::second / ktime::millisecond);
    return true;
}

bool panic(std::string_view) {
    k::panic("asked for by the monitor");
}

bool reboot(std::string_view) {
    arch::cpu::reboot();
    __builtin_unreachable();
}

bool poweroff(std::string_view how) {
    if (!how.empty() && how != "fail") {
        k::log("usage: poweroff [fail]\n");
        return false;
    }
    arch::cpu::power_off(how.empty() ? arch::exit_status::success : arch::exit_status::failure);
    __builtin_unreachable();
}

constexpr command commands[] = {
    {"help", "", 0, "lists the commands", help},
    {"selftest", "[GLOB]", 1, "runs the self-tests whose names fit and prints TAP", selftest::run_matching},
    {"bench", "[GLOB]", 1, "runs the benchmarks whose names fit", bench::run_matching},
    {"threads", "", 0, "lists the threads of all CPUs", show_threads},
    {"ports", "", 0, "lists the ports that have names, and how many messages wait at each", show_ports},
    {"cpus", "", 0, "shows what each CPU has done since it started", show_cpus},
    {"pages", "", 0, "shows who holds the memory", show_pages},
    {"xio", "", 0, "shows the copy ledger", show_xio},
    {"uptime", "", 0, "tells the time since boot", uptime},
    {"echo", "[TEXT]", any_number, "prints its arguments", echo},
    {"panic", "", 0, "ends the kernel the hard way, with a backtrace of every CPU", panic},
    {"reboot", "", 0, "resets the machine", reboot},
    {"poweroff", "[fail]", 1, "switches the machine off, as a success or a failure", poweroff},
};

std::string_view without_blanks_around(std::string_view text) {
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) + 1 - first);
}

unsigned count_words(std::string_view text) {
    unsigned count = 0;
    while (!k::next_word(text).empty())
        count++;
    return count;
}

bool run_command(std::string_view name, std::string_view arguments) {
    const command* c = find_command(name);
    if (!c) {
        k::log("{}: no such command; try help\n", name.substr(0, 64));
        return false;
    }
    if (count_words(arguments) > c->most_words) {
        k::log("usage: {}{}{}\n", c->name, c->arguments.empty() ? "" : " ", c->arguments);
        return false;
    }
    return c->run(arguments);
}

} // namespace

std::span<const command> all_commands() {
    return commands;
}

const command* find_command(std::string_view name) {
    const auto* found = std::ranges::find(commands, name, &command::name);
    return found == std::end(commands) ? nullptr : found;
}

bool run_commands(std::string_view text) {
    bool good = true;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of(";\n"), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::string_view name = k::next_word(line);
        if (!name.empty()) good = run_command(name, without_blanks_around(line));
    }
    return good;
}

k::result<std::string_view> command_text(std::span<const std::byte> module) {
    if (module.size() > longest_module) return k::error::toobig;
    const std::string_view text(reinterpret_cast<const char*>(module.data()), module.size());
    const auto fits = [](char c) { return (c >= ' ' && c <= '~') || blanks.find(c) != std::string_view::npos; };
    if (!std::ranges::all_of(text, fits)) return k::error::inval;
    const std::string_view trimmed = without_blanks_around(text);
    if (trimmed.empty()) return k::error::noent;
    return trimmed;
}

} // namespace monitor
