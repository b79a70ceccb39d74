#include "kernel/proc/init.h"

#include "arch/machine.h"
#include "drivers/block/registry.h"
#include "kernel/files/console.h"
#include "kernel/files/root.h"
#include "kernel/lib/log.h"
#include "kernel/lib/text.h"
#include "kernel/proc/current.h"
#include "kernel/proc/exec.h"
#include "kernel/proc/exit.h"
#include "kernel/proc/fork.h"
#include "kernel/proc/user_loop.h"
#include "sys/ext/ext.h"

#include <algorithm>

namespace proc {

namespace {

// Texts of the kernel's own for the first exec.
class kernel_texts final : public exec_texts {
  public:
    kernel_texts(std::span<const std::string_view> arguments, std::span<const std::string_view> environment) noexcept
        : arguments_(arguments), environment_(environment) {}
    k::status add_arguments(argument_list& to, bool skip_first) noexcept override {
        return add_all(to, arguments_.subspan(skip_first ? 1 : 0));
    }
    k::status add_environment(argument_list& to) noexcept override { return add_all(to, environment_); }

  private:
    static k::status add_all(argument_list& to, std::span<const std::string_view> texts) noexcept {
        for (const std::string_view text : texts)
            TRY(to.add(text));
        return {};
    }
    std::span<const std::string_view> arguments_, environment_;
};

// The first exec needs a user thread to run in: this is what it does before it has a program.
struct first_exec {
    std::string_view path;
    kernel_texts texts;
    lwkt::completion done{};
};

k::status open_console_files(thread& t) {
    for (int fd = 0; fd < 3; fd++)
        TRY(t.files->install_at(fd, TRY(files::open_console()), false, 3));
    return {};
}

[[noreturn]] void power_off(bool good) {
    ext::finish_all();
    (void)block::write_all_back();
    arch::cpu::power_off(good ? arch::exit_status::success : arch::exit_status::failure);
    __builtin_unreachable();
}

void become_init(thread& t, void* argument) {
    auto& what = *static_cast<first_exec*>(argument);
    k::status outcome = open_console_files(t);
    if (outcome) {
        constexpr vfs::subject root_user{0, 0, {}};
        const k::ref<places> where = t.owner.where();
        const vfs::view v{root_user, where->root, where->directory};
        outcome = exec(t, {v, what.path}, what.texts);
    }
    if (!outcome) {
        k::log("init: cannot run {}: {}\n", k::printable(what.path), outcome.error());
        power_off(false);
    }
    what.done.signal();
}

} // namespace

k::status start_init(std::string_view path, std::span<const std::string_view> arguments,
                     std::span<const std::string_view> environment) noexcept {
    if (!arch::user_context::supported()) return k::error::nosys;
    first_exec what{path, kernel_texts(arguments, environment)};
    k::ref<thread> first = TRY(make_first_process(TRY(files::first_places())));
    first->before_start = become_init;
    first->before_start_argument = &what;
    if (!start_thread(std::move(first))) k::panic("no memory for the first process");
    what.done.wait();
    return {};
}

void init_has_ended(int status) noexcept {
    if (status & 0x7f)
        k::log("init was killed by signal {}\n", status & 0x7f);
    else
        k::log("init has ended with status {}\n", status >> 8 & 0xff);
    power_off(!status);
}

} // namespace proc
