#include "kernel/main/main.h"

#include "arch/machine.h"
#include "kernel/bench/bench.h"
#include "kernel/lib/log.h"
#include "kernel/lib/text.h"
#include "kernel/monitor/monitor.h"
#include "kernel/selftest/selftest.h"

#include <algorithm>
#include <array>

namespace {

constexpr std::array<std::string_view, 4> known_options = {"selftest", "selftest.wait", "bench", "seed"};

// GRUB's and other people's habits may add words; they are named and left alone.
void name_unknown_options(std::string_view line) {
    for (std::string_view word = k::next_word(line); !word.empty(); word = k::next_word(line)) {
        const std::string_view name = word.substr(0, word.find('='));
        if (std::ranges::find(known_options, name) != known_options.end()) continue;
        k::log("option {} is not known, ignored\n", k::printable(name));
    }
}

void choose_seed(std::string_view line) {
    const auto text = k::find_option(line, "seed");
    const auto seed = text ? k::parse_number(*text) : std::nullopt;
    if (text && !seed) k::log("option seed={}: not a number, ignored\n", k::printable(*text));
    selftest::set_seed(seed.value_or(arch::boot::entropy()));
}

[[noreturn]] void power_off(bool good) {
    arch::cpu::power_off(good ? arch::exit_status::success : arch::exit_status::failure);
    __builtin_unreachable();
}

} // namespace

void kernel_main(void*) {
    const std::string_view line = arch::boot::command_line();
    k::log("boot: {} us since the loader's hand-over\n", arch::clock::since_handover_ns() / 1000);
    name_unknown_options(line);
    choose_seed(line);
    if (k::find_option(line, "selftest.wait")) selftest::serve_requests();
    if (const auto glob = k::find_option(line, "selftest")) power_off(selftest::run_matching(*glob));
    if (const auto glob = k::find_option(line, "bench")) power_off(bench::run_matching(*glob));
    for (const arch::boot_module& m : arch::boot::modules())
        if (m.name == "exec") power_off(monitor::run_module(m.bytes));
    monitor::interact();
}
