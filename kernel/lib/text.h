// Text helpers: matching, splitting and numbers. Input may be hostile; nothing here allocates.
#pragma once

#include "kernel/lib/types.h"

#include <optional>
#include <string_view>

namespace k {

// Shell-like: * any run, ? any one character; several patterns separated by commas match if one does.
bool glob_match(std::string_view pattern, std::string_view text);

// The part of a foreign text that may be shown: up to the first byte that is not printable ASCII, at most 64.
std::string_view printable(std::string_view text);

// Takes the first word (blanks separate) off `line`. Empty when there is none.
std::string_view next_word(std::string_view& line);

// The value of NAME=VALUE in a command line of words; "" for a bare NAME; nothing if it is not there.
std::optional<std::string_view> find_option(std::string_view line, std::string_view name);

// Decimal, or hexadecimal after 0x, in either case. Nothing if any character is wrong or the value does not fit.
std::optional<u64> parse_number(std::string_view text);

} // namespace k
