// kernel/monitor/commands: how texts of commands are taken apart, and what a boot module may hold.
#include "kernel/monitor/commands.h"

#include "kernel/lib/random.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"

#include <algorithm>

namespace {

struct large_module {
    char text[8192];
};

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

bool refused_with(std::string_view module, k::error e) {
    auto text = monitor::command_text(bytes_of(module));
    return !text && text.error() == e;
}

bool accepted_as(std::string_view module, std::string_view expected) {
    auto text = monitor::command_text(bytes_of(module));
    return text && *text == expected;
}

} // namespace

SELFTEST(monitor, every_command_has_a_name_of_its_own_and_help) {
    for (const monitor::command& c : monitor::all_commands()) {
        EXPECT_EQ(monitor::find_command(c.name), &c);
        EXPECT(!c.help.empty() && c.run);
        EXPECT_EQ(c.arguments.empty(), c.most_words == 0);
    }
}

SELFTEST(monitor, only_whole_names_are_commands) {
    EXPECT(monitor::find_command("help"));
    for (std::string_view wrong : {"", "hel", "helpp", "HELP", "help ", "no-such-command"})
        EXPECT(!monitor::find_command(wrong));
}

SELFTEST(monitor, the_last_command_decides) {
    EXPECT(monitor::run_commands("echo of the monitor's test"));
    EXPECT(!monitor::run_commands("no-such-command"));
    EXPECT(!monitor::run_commands("uptime; no-such-command"));
    EXPECT(monitor::run_commands("no-such-command\nuptime"));
}

SELFTEST(monitor, nothing_between_separators_is_nothing_to_do) {
    EXPECT(monitor::run_commands(""));
    EXPECT(monitor::run_commands(" \t\r\n ;; \n"));
    EXPECT(monitor::run_commands(";uptime;"));
    EXPECT(!monitor::run_commands("no-such-command ; \n"));
}

SELFTEST(monitor, too_many_arguments_are_refused) {
    EXPECT(monitor::run_commands("  uptime  \r"));
    EXPECT(!monitor::run_commands("uptime now"));
    EXPECT(!monitor::run_commands("poweroff fail twice"));
    EXPECT(!monitor::run_commands("poweroff perhaps"));
    EXPECT(monitor::run_commands("echo as many words as you like"));
}

SELFTEST(monitor, commands_that_show_state_succeed) {
    EXPECT(monitor::run_commands("threads"));
    EXPECT(monitor::run_commands("ports"));
    EXPECT(monitor::run_commands("cpus"));
    EXPECT(monitor::run_commands("pages"));
    EXPECT(monitor::run_commands("xio"));
}

SELFTEST(monitor, a_modules_text_is_trimmed) {
    EXPECT(accepted_as("help", "help"));
    EXPECT(accepted_as(" \t\r\n echo a  b \r\n\n", "echo a  b"));
    EXPECT(accepted_as("echo one\r\necho two\n", "echo one\r\necho two"));
}

SELFTEST(monitor, a_module_without_a_command_is_refused) {
    EXPECT(refused_with("", k::error::noent));
    EXPECT(refused_with(" \r\n\t ", k::error::noent));
}

SELFTEST(monitor, a_module_with_unprintable_characters_is_refused) {
    EXPECT(refused_with(std::string_view("help\0", 5), k::error::inval));
    EXPECT(refused_with("echo \x01"
                        "exec-end 0",
                        k::error::inval)); // marks cannot be forged
    EXPECT(refused_with("echo \x1b[2J", k::error::inval));
    EXPECT(refused_with("echo \x7f", k::error::inval));
    EXPECT(refused_with("echo \xc3\xa9", k::error::inval));
}

SELFTEST(monitor, a_module_is_bounded) {
    const auto module = mem::make_box<large_module>();
    REQUIRE(module);
    std::ranges::fill(module->text, 'x');
    const std::string_view all(module->text, sizeof(module->text));
    EXPECT(accepted_as(all.substr(0, 4096), all.substr(0, 4096)));
    EXPECT(refused_with(all.substr(0, 4097), k::error::toobig));
    EXPECT(refused_with(all, k::error::toobig));
}

SELFTEST(monitor, random_modules_are_refused_or_printable) {
    k::random random(selftest::seed());
    for (unsigned round = 0; round < 20'000; round++) {
        char module[16];
        const std::size_t length = random.below(sizeof(module) + 1);
        for (std::size_t i = 0; i < length; i++)
            module[i] = static_cast<char>(round % 2 ? random.next() : ' ' + random.below(100));
        auto text = monitor::command_text(bytes_of({module, length}));
        if (!text) continue;
        for (char c : *text)
            EXPECT((c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t');
    }
}
