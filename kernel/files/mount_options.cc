#include "kernel/files/mount_options.h"

#include "kernel/lib/text.h"

namespace files {

std::optional<k::u32> parse_octal(std::string_view text, std::size_t digits) noexcept {
    k::u32 value = 0;
    if (text.empty() || text.size() > digits) return std::nullopt;
    for (char c : text) {
        if (c < '0' || c > '7') return std::nullopt;
        value = value * 8 + static_cast<k::u32>(c - '0');
    }
    return value;
}

std::optional<ktime::ns> parse_patience(std::string_view text) noexcept {
    constexpr ktime::ns most = 86'400 * ktime::second;
    const bool in_ms = text.ends_with("ms");
    if (in_ms) text.remove_suffix(2);
    const ktime::ns unit = in_ms ? ktime::millisecond : ktime::second;
    const auto number = k::parse_number(text);
    if (!number || !*number || *number > most / unit) return std::nullopt;
    return *number * unit;
}

} // namespace files
