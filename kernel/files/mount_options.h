// The text of options that mount(2) gets: names with commas between them, some with values.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/time/callout.h"

#include <optional>
#include <string_view>

namespace files {

struct mount_option {
    std::string_view name;
    std::string_view value; // empty also where there is no equals sign
};

// read(option) of each, until one is refused: its error.
template <class Read> k::status read_options(std::string_view text, Read read) noexcept {
    while (!text.empty()) {
        const std::string_view one = text.substr(0, text.find(','));
        const std::size_t name_bytes = std::min(one.find('='), one.size());
        if (!one.empty())
            TRY(read(mount_option{one.substr(0, name_bytes), one.substr(std::min(name_bytes + 1, one.size()))}));
        text.remove_prefix(std::min(one.size() + 1, text.size()));
    }
    return {};
}

// Of at most so many octal digits.
std::optional<k::u32> parse_octal(std::string_view text, std::size_t digits) noexcept;
// How long to wait for a program, not 0 and at most a day: in seconds, or in milliseconds with ms behind it.
std::optional<ktime::ns> parse_patience(std::string_view text) noexcept;

} // namespace files
