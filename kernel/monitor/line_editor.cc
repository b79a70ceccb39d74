#include "kernel/monitor/line_editor.h"

#include <algorithm>

namespace monitor {

namespace {

constexpr std::string_view bell = "\a";
constexpr std::string_view erase_to_end = "\x1b[K";

} // namespace

void line_editor::begin(k::text_sink& echo) {
    line_.assign("");
    cursor_ = age_ = first_ = shown_ = column_ = 0;
    echo.put(prompt);
}

line_editor::outcome line_editor::feed(char c, k::text_sink& echo) {
    return apply(decoder_.feed(c), echo);
}

line_editor::outcome line_editor::apply(key pressed, k::text_sink& echo) {
    switch (pressed.kind) {
    case key_kind::none: break;
    case key_kind::character: insert(pressed.character, echo); break;
    case key_kind::enter:
        echo.put("\n");
        history_.add(line());
        return outcome::finished;
    case key_kind::cancel: echo.put("^C\n"); return outcome::cancelled;
    case key_kind::erase_before: erase(cursor_ - std::min<std::size_t>(cursor_, 1), cursor_, echo); break;
    case key_kind::erase_at: erase(cursor_, std::min(cursor_ + 1, line_.length()), echo); break;
    case key_kind::erase_word: erase(word_start(), cursor_, echo); break;
    case key_kind::erase_start: erase(0, cursor_, echo); break;
    case key_kind::left: move(cursor_ - std::min<std::size_t>(cursor_, 1), echo); break;
    case key_kind::right: move(std::min(cursor_ + 1, line_.length()), echo); break;
    case key_kind::home: move(0, echo); break;
    case key_kind::end: move(line_.length(), echo); break;
    case key_kind::older: recall(age_ + 1, echo); break;
    case key_kind::newer: recall(age_ - 1, echo); break; // of the draft there is no newer: too large an age
    case key_kind::unknown: echo.put(bell); break;
    }
    return outcome::more;
}

void line_editor::insert(char c, k::text_sink& echo) {
    if (!line_.insert(cursor_, c)) return echo.put(bell);
    cursor_++;
    show(cursor_ - 1, echo);
}

void line_editor::erase(std::size_t from, std::size_t to, k::text_sink& echo) {
    if (from == to) return echo.put(bell);
    line_.erase(from, to);
    cursor_ = from;
    show(from, echo);
}

void line_editor::move(std::size_t to, k::text_sink& echo) {
    cursor_ = to;
    show(line_.length(), echo);
}

void line_editor::recall(std::size_t age, k::text_sink& echo) {
    if (age > history_.count()) return echo.put(bell);
    if (age_ == 0) draft_ = line_;
    age_ = age;
    line_.assign(age ? history_.recall(age) : draft_.view());
    cursor_ = line_.length();
    first_ = 0;
    show(0, echo);
}

// Where the word before the cursor begins, the blanks behind it included.
std::size_t line_editor::word_start() const {
    const std::string_view before = line().substr(0, cursor_);
    const std::size_t last = before.find_last_not_of(' ');
    if (last == std::string_view::npos) return 0;
    const std::size_t blank = before.find_last_of(' ', last);
    return blank == std::string_view::npos ? 0 : blank + 1;
}

// Brings the terminal in step with a line whose characters from `changed` on are new.
void line_editor::show(std::size_t changed, k::text_sink& echo) {
    std::size_t from = std::max(changed, first_);
    if (cursor_ < first_ || cursor_ > first_ + width) { // half a screen at once: redrawing is rare
        first_ = cursor_ - std::min(cursor_, width / 2);
        from = first_;
    }
    const std::size_t visible = std::min(line_.length() - first_, width);
    from = std::min(from - first_, visible);
    if (from < visible || visible < shown_) {
        move_on_screen(from, echo);
        echo.put(line().substr(first_ + from, visible - from));
        column_ = visible;
        if (visible < shown_) echo.put(erase_to_end);
        shown_ = visible;
    }
    move_on_screen(cursor_ - first_, echo);
}

// To the right by writing again what stands there.
void line_editor::move_on_screen(std::size_t column, k::text_sink& echo) {
    for (; column_ > column; column_--)
        echo.put("\b");
    echo.put(line().substr(first_ + column_, column - column_));
    column_ = column;
}

} // namespace monitor
