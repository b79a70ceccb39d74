#include "kernel/lib/text.h"

#include <algorithm>

namespace k {

namespace {

// Iterative, with one point to come back to: linear in practice, quadratic at worst.
bool match_one(std::string_view pattern, std::string_view text) {
    std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] == text[t] && pattern[p] != '*'))) {
            p++;
            t++;
        } else if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*')
        p++;
    return p == pattern.size();
}

} // namespace

bool glob_match(std::string_view pattern, std::string_view text) {
    for (;;) {
        const std::size_t comma = pattern.find(',');
        if (match_one(pattern.substr(0, comma), text)) return true;
        if (comma == std::string_view::npos) return false;
        pattern.remove_prefix(comma + 1);
    }
}

std::string_view printable(std::string_view text) {
    std::size_t length = 0;
    while (length < text.size() && length < 64 && text[length] >= ' ' && text[length] <= '~')
        length++;
    return text.substr(0, length);
}

std::string_view next_word(std::string_view& line) {
    constexpr std::string_view blanks = " \t\r\n";
    const std::size_t start = line.find_first_not_of(blanks);
    if (start == std::string_view::npos) return line = {};
    const std::size_t end = std::min(line.find_first_of(blanks, start), line.size());
    const std::string_view word = line.substr(start, end - start);
    line.remove_prefix(end);
    return word;
}

std::optional<std::string_view> find_option(std::string_view line, std::string_view name) {
    for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
        if (!word.starts_with(name)) continue;
        word.remove_prefix(name.size());
        if (word.empty()) return "";
        if (word.front() == '=') return word.substr(1);
    }
    return {};
}

std::optional<u64> parse_number(std::string_view text) {
    u64 base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        base = 16;
        text.remove_prefix(2);
    }
    if (text.empty()) return {};
    u64 value = 0;
    for (char c : text) {
        u64 digit;
        if (c >= '0' && c <= '9')
            digit = static_cast<u64>(c - '0');
        else if (base == 16 && c >= 'a' && c <= 'f')
            digit = static_cast<u64>(c - 'a' + 10);
        else if (base == 16 && c >= 'A' && c <= 'F')
            digit = static_cast<u64>(c - 'A' + 10);
        else
            return {};
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value)) return {};
    }
    return value;
}

} // namespace k
