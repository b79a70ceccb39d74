// The monitor's commands and how a line of them is run. They print on the log.
#pragma once

#include "kernel/lib/result.h"

#include <cstddef>
#include <span>
#include <string_view>

namespace monitor {

struct command {
    std::string_view name;
    std::string_view arguments; // as `help` shows them
    unsigned most_words;        // that may stand behind the name
    std::string_view help;
    bool (*run)(std::string_view arguments); // without blanks around them; true: success
};

constexpr std::size_t longest_module = 4096;

std::span<const command> all_commands();
const command* find_command(std::string_view name); // null: there is none

// Runs commands that are separated by ; or newlines, all of them in order. True if the last one succeeded, or
// there was none. Thread context.
bool run_commands(std::string_view text);

// A boot module's bytes as a text of commands. E2BIG if it is too long, EINVAL if a character in it is neither
// printable ASCII nor a blank, ENOENT if there is nothing but blanks.
k::result<std::string_view> command_text(std::span<const std::byte> module);

} // namespace monitor
