#include "kernel/lib/format.h"

#include <algorithm>
#include <iterator>

namespace k {

namespace {

// What stands between a pair of braces.
struct spec {
    bool hexadecimal = false;
    bool prefix = false; // 0x before a hexadecimal number
    bool left = false;
    char fill = ' ';
    unsigned width = 0;
};

spec parse_spec(std::string_view text) {
    spec s;
    if (!text.empty() && text.front() == ':') text.remove_prefix(1);
    if (!text.empty() && (text.front() == '<' || text.front() == '>')) {
        s.left = text.front() == '<';
        text.remove_prefix(1);
    }
    if (!text.empty() && text.front() == '0') {
        s.fill = '0';
        text.remove_prefix(1);
    }
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
        s.width = std::min(s.width * 10 + static_cast<unsigned>(text.front() - '0'), 200u);
        text.remove_prefix(1);
    }
    s.prefix = text == "x";
    s.hexadecimal = s.prefix || text == "X";
    return s;
}

// Blanks go outside of sign and prefix, zeros between them and the digits and never behind.
void put_padded(text_sink& sink, std::string_view front, std::string_view text, const spec& s) {
    auto pad = [&](char fill) {
        for (std::size_t i = front.size() + text.size(); i < s.width; i++)
            sink.put({&fill, 1});
    };
    const bool zeros = s.fill == '0' && !s.left;
    if (!s.left && !zeros) pad(' ');
    sink.put(front);
    if (zeros) pad('0');
    sink.put(text);
    if (s.left) pad(' ');
}

void put_number(text_sink& sink, u64 value, bool negative, const spec& s) {
    char digits[24];
    char* at = std::end(digits);
    const unsigned base = s.hexadecimal ? 16 : 10;
    do {
        *--at = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    put_padded(sink, negative ? "-" : s.prefix ? "0x" : "", {at, static_cast<std::size_t>(std::end(digits) - at)}, s);
}

void put_argument(text_sink& sink, const format_arg& arg, spec s) {
    switch (arg.type()) {
    case format_arg::kind::unsigned_number: return put_number(sink, arg.number(), false, s);
    case format_arg::kind::signed_number: {
        if (s.hexadecimal) return put_number(sink, arg.bits(), false, s);
        const bool negative = static_cast<i64>(arg.number()) < 0;
        return put_number(sink, negative ? 0 - arg.number() : arg.number(), negative, s);
    }
    case format_arg::kind::boolean: return put_padded(sink, "", arg.number() ? "true" : "false", s);
    case format_arg::kind::character: {
        const char c = static_cast<char>(arg.number());
        return put_padded(sink, "", {&c, 1}, s);
    }
    case format_arg::kind::pointer: {
        s.hexadecimal = s.prefix = true;
        return put_number(sink, arg.number(), false, s);
    }
    case format_arg::kind::text: return put_padded(sink, "", arg.text(), s);
    }
}

} // namespace

void buffer_sink::put(std::string_view text) {
    const std::size_t count = std::min(text.size(), buffer_.size() - used_);
    std::copy_n(text.data(), count, buffer_.data() + used_);
    used_ += count;
}

void format_with(text_sink& sink, std::string_view format, format_args args) {
    std::size_t next = 0;
    while (!format.empty()) {
        const std::size_t open = format.find_first_of("{}");
        sink.put(format.substr(0, open));
        if (open == std::string_view::npos) return;
        format.remove_prefix(open);
        if (format.starts_with("{{") || format.front() == '}') {
            sink.put(format.substr(0, 1));
            format.remove_prefix(format.starts_with("{{") || format.starts_with("}}") ? 2 : 1);
            continue;
        }
        const std::size_t close = format.find('}');
        if (close == std::string_view::npos || next >= args.size()) return sink.put(format);
        put_argument(sink, args[next++], parse_spec(format.substr(1, close - 1)));
        format.remove_prefix(close + 1);
    }
}

} // namespace k
