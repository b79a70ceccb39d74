#include "kernel/monitor/keys.h"

#include <algorithm>
#include <utility>

namespace monitor {

namespace {

constexpr char escape_character = 0x1b;
constexpr k::u8 delete_character = 0x7f;

constexpr k::u8 control(char letter) {
    return static_cast<k::u8>(letter & 0x1f);
}

key_kind control_key(k::u8 byte) {
    switch (byte) {
    case '\r':
    case '\n': return key_kind::enter;
    case '\b':
    case delete_character: return key_kind::erase_before;
    case control('A'): return key_kind::home;
    case control('C'): return key_kind::cancel;
    case control('E'): return key_kind::end;
    case control('U'): return key_kind::erase_start;
    case control('W'): return key_kind::erase_word;
    default: return key_kind::unknown;
    }
}

// ESC [ x and ESC O x.
key_kind lettered_key(k::u8 letter) {
    switch (letter) {
    case 'A': return key_kind::older;
    case 'B': return key_kind::newer;
    case 'C': return key_kind::right;
    case 'D': return key_kind::left;
    case 'F': return key_kind::end;
    case 'H': return key_kind::home;
    default: return key_kind::unknown;
    }
}

// ESC [ n ~
key_kind numbered_key(unsigned number) {
    switch (number) {
    case 1:
    case 7: return key_kind::home;
    case 3: return key_kind::erase_at;
    case 4:
    case 8: return key_kind::end;
    default: return key_kind::unknown;
    }
}

} // namespace

key key_decoder::feed(char c) {
    const auto byte = static_cast<k::u8>(c);
    const bool after_return = std::exchange(after_return_, c == '\r');
    if (c == '\n' && after_return) return {key_kind::none};
    if (c == escape_character) {
        state_ = state::escape;
        return {key_kind::none};
    }
    if (byte < ' ' || byte >= delete_character) {
        state_ = state::plain;
        return {control_key(byte)};
    }
    switch (state_) {
    case state::plain: return {key_kind::character, c};
    case state::escape:
        state_ = c == '[' ? state::parameters : c == 'O' ? state::application : state::plain;
        first_parameter_ = true;
        number_ = 0;
        return {state_ == state::plain ? key_kind::unknown : key_kind::none};
    case state::application: state_ = state::plain; return {lettered_key(byte)};
    case state::parameters: return feed_parameter(byte);
    }
    return {key_kind::unknown};
}

key key_decoder::feed_parameter(k::u8 byte) {
    if (byte >= '@') { // ends the sequence
        state_ = state::plain;
        return {byte == '~' ? numbered_key(number_) : lettered_key(byte)};
    }
    if (byte < '0' || byte > '9')
        first_parameter_ = false;
    else if (first_parameter_)
        number_ = std::min(number_ * 10 + (byte - '0'), 1000u);
    return {key_kind::none};
}

} // namespace monitor
