// From a terminal's bytes to keys: control characters and the escape sequences of a VT100 and its descendants.
// Any bytes may come. A control character ends an unfinished sequence and counts, so that ^C and Enter always work.
#pragma once

#include "kernel/lib/types.h"

namespace monitor {

enum class key_kind : k::u8 {
    none, // a sequence is not complete yet, or the second half of CR LF
    character,
    enter,
    cancel,       // ^C
    erase_before, // backspace or DEL
    erase_at,     // Delete
    erase_word,   // ^W
    erase_start,  // ^U: all before the cursor
    left,
    right,
    home,
    end,
    older, // up
    newer, // down
    unknown,
};

struct key {
    key_kind kind;
    char character = 0; // of key_kind::character: printable ASCII
};

class key_decoder {
  public:
    key feed(char c);

  private:
    enum class state : k::u8 { plain, escape, application, parameters };

    key feed_parameter(k::u8 byte);

    state state_ = state::plain;
    bool after_return_ = false;    // the byte before was CR
    bool first_parameter_ = false; // of ESC [ 1 ; 2 ~ the 1, which says what key it is
    unsigned number_ = 0;
};

} // namespace monitor
