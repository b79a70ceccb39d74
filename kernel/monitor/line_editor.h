// The line editor: a terminal's bytes in, the text that keeps the terminal in step out. It knows no console.
//
// A line that is longer than the terminal is wide is shown in part, around the cursor, so that it never wraps
// and the cursor is moved by backspaces alone. The terminal needs no more than BS, BEL and "erase to the end of
// the line".
#pragma once

#include "kernel/lib/format.h"
#include "kernel/monitor/keys.h"
#include "kernel/monitor/line_history.h"
#include "kernel/monitor/line_text.h"

namespace monitor {

class line_editor {
  public:
    static constexpr std::string_view prompt = "nutcracker> ";
    static constexpr std::size_t columns = 80; // of the terminal
    // Characters shown. The last column stays empty, and before it is room for ^C.
    static constexpr std::size_t width = columns - prompt.size() - 3;

    enum class outcome : k::u8 { more, finished, cancelled };

    // Starts an empty line.
    void begin(k::text_sink& echo);

    // Takes a byte. After `finished`, line() is what was entered, and after that or `cancelled` comes begin().
    outcome feed(char c, k::text_sink& echo);

    std::string_view line() const { return line_.view(); }
    std::size_t cursor() const { return cursor_; } // before which character of line() it stands

  private:
    outcome apply(key pressed, k::text_sink& echo);
    void insert(char c, k::text_sink& echo);
    void erase(std::size_t from, std::size_t to, k::text_sink& echo);
    void move(std::size_t to, k::text_sink& echo);
    void recall(std::size_t age, k::text_sink& echo);
    std::size_t word_start() const;

    void show(std::size_t changed, k::text_sink& echo);
    void move_on_screen(std::size_t column, k::text_sink& echo);

    key_decoder decoder_;
    line_history history_;
    line_text line_;
    line_text draft_; // what was being entered when the history was called for
    std::size_t cursor_ = 0;
    std::size_t age_ = 0; // of the line recalled; 0: the draft
    // What the terminal shows after the prompt.
    std::size_t first_ = 0;  // the first character of the line that is shown
    std::size_t shown_ = 0;  // how many are
    std::size_t column_ = 0; // where the terminal's cursor stands
};

} // namespace monitor
