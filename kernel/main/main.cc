#include "kernel/main/main.h"

#include "arch/machine.h"
#include "drivers/drivers.h"
#include "drivers/nvme/disk.h"
#include "drivers/pci/hot_plug.h"
#include "kernel/bench/bench.h"
#include "kernel/files/caps_file.h"
#include "kernel/files/echo_service.h"
#include "kernel/files/root.h"
#include "kernel/files/stored_file.h"
#include "kernel/files/unix_socket.h"
#include "kernel/lib/log.h"
#include "kernel/lib/text.h"
#include "kernel/lwkt/trace.h"
#include "kernel/mem/slab.h"
#include "kernel/monitor/monitor.h"
#include "kernel/proc/init.h"
#include "kernel/proc/load_average.h"
#include "kernel/proc/start_stack.h"
#include "kernel/proc/vdso.h"
#include "kernel/selftest/selftest.h"
#include "kernel/syscall/dispatch.h"
#include "kernel/syscall/table.h"
#include "sys/vm/loan.h"
#include "sys/vm/reaper.h"

#include <algorithm>
#include <array>

namespace {

constexpr std::array<std::string_view, 11> known_options = {"selftest", "selftest.wait", "bench",     "seed",
                                                            "init",     "strace",        "norandom",  "novdso",
                                                            "trace",    "tear_out",      "nvme.lists"};

// Calls visit(word) for each option that the kernel does not know.
template <class Visit> void for_unknown_options(std::string_view line, Visit visit) {
    for (std::string_view word = k::next_word(line); !word.empty(); word = k::next_word(line))
        if (std::ranges::find(known_options, word.substr(0, word.find('='))) == known_options.end()) visit(word);
}

// GRUB's and other people's habits may add words; they are named and left alone.
void name_unknown_options(std::string_view line) {
    for_unknown_options(line, [](std::string_view word) {
        k::log("option {} is not known, ignored\n", k::printable(word.substr(0, word.find('='))));
    });
}

void set_user_options(std::string_view line) {
    if (k::find_option(line, "norandom")) proc::switch_randomisation_off();
    if (k::find_option(line, "novdso")) proc::switch_vdso_off();
    if (const auto pid = k::find_option(line, "strace"))
        syscalls::trace(pid->empty() ? 0 : static_cast<int>(k::parse_number(*pid).value_or(0)));
}

std::span<const std::byte> module_bytes(std::string_view name) {
    const auto modules = arch::boot::modules();
    const auto found = std::ranges::find(modules, name, &arch::boot_module::name);
    return found == modules.end() ? std::span<const std::byte>() : found->bytes;
}

// Starts the first process. Its environment is what the kernel was told and does not know: the options, and the module
// `exec` as a variable of that name.
void run_init(std::string_view line) {
    struct texts {
        char command[4096];
        std::string_view environment[32];
    };
    auto memory = mem::make_box<texts>();
    if (!memory) k::panic("no memory for init's environment");
    unsigned count = 0;
    for_unknown_options(line, [&](std::string_view word) {
        if (count < std::size(memory->environment) - 1) memory->environment[count++] = word;
    });
    if (const auto command = module_bytes("exec"); !command.empty()) {
        k::buffer_sink text(memory->command);
        text.put("exec=");
        text.put({reinterpret_cast<const char*>(command.data()), command.size()});
        memory->environment[count++] = text.view();
    }
    proc::initialise_vdso();
    const std::string_view path = k::find_option(line, "init").value_or("/init");
    const std::string_view arguments[] = {path};
    const k::status started = proc::start_init(path, arguments, {memory->environment, count});
    if (!started) k::log("init: {}\n", started.error());
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

// The monitor, where one ends who has brought no programs, has commands for both.
bool arch::upcall::runs_tests() noexcept {
    const std::string_view line = arch::boot::command_line();
    constexpr std::string_view asking[] = {"selftest", "selftest.wait", "bench"};
    return !files::has_boot_archive() ||
           std::ranges::any_of(asking, [&](std::string_view name) { return k::find_option(line, name).has_value(); });
}

void kernel_main(void*) {
    const std::string_view line = arch::boot::command_line();
    k::log("boot: {} us since the loader's hand-over\n", arch::clock::since_handover_ns() / 1000);
    choose_seed(line);
    vm::start_reaper();
    vm::calibrate_loans();
    if (!files::start_caps()) k::panic("no memory for services");
    syscalls::initialise();
    if (!lwkt::start_freeing_retired()) k::panic("no memory for the thread that frees");
    const bool has_files = files::has_boot_archive();
    proc::start_load_average();
    if (k::find_option(line, "tear_out")) pci::tear_out_when_asked();
    if (k::find_option(line, "nvme.lists")) nvme::disk::keep_to_page_lists();
    drivers::start();
    if (!files::start_echo_service()) k::panic("no memory for the kernel's service");
    if (!files::start_sockets()) k::panic("no memory for sockets");
    if (!files::make_root() || !files::make_place_for_memory_files()) k::panic("no memory for the first files");
    set_user_options(line);
    if (k::find_option(line, "trace") && !::trace::start()) k::log("trace: no memory\n");
    if (!has_files) name_unknown_options(line);
    if (k::find_option(line, "selftest.wait")) selftest::serve_requests();
    if (const auto glob = k::find_option(line, "selftest")) power_off(selftest::run_matching(*glob));
    if (const auto glob = k::find_option(line, "bench")) power_off(bench::run_matching(*glob));
    if (has_files) return run_init(line);
    if (const auto command = module_bytes("exec"); !command.empty()) power_off(monitor::run_module(command));
    monitor::interact();
}
