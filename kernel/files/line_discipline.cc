#include "kernel/files/line_discipline.h"

#include "kernel/proc/signal_abi.h"

#include <algorithm>

namespace files {

namespace {

constexpr k::u32 tab_width = 8;

bool is_control(char c) {
    return static_cast<k::u8>(c) < 32 || c == 127;
}
bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           static_cast<k::u8>(c) >= 0x80;
}
// The second and later bytes of a UTF-8 character.
bool continues_character(char c) {
    return (static_cast<k::u8>(c) & 0xc0) == 0x80;
}

} // namespace

void line_discipline::mark(k::u32 index, bool on) noexcept {
    k::u64& word = marks_[index % capacity / 64];
    const k::u64 bit = k::u64{1} << (index % 64);
    word = on ? word | bit : word & ~bit;
}

void line_discipline::set(const termios& to) noexcept {
    const bool was_canonical = canonical();
    settings_ = to;
    const bool mode_changes = canonical() != was_canonical;
    if (!(to.input & input_flow)) stopped_ = false;
    if (!mode_changes) return;
    std::ranges::fill(marks_, 0);
    if (head_ != tail_) mark(head_ - 1, true);
    line_ = head_;
    literal_ = false;
    start_column_ = column_;
}

void line_discipline::drop_input() noexcept {
    std::ranges::fill(marks_, 0);
    tail_ = line_ = head_;
    literal_ = false;
    start_column_ = column_;
}

line_discipline::taken line_discipline::take(std::span<char> to) noexcept {
    taken sum{0, false};
    const bool lines = canonical();
    while (tail_ != end_of_readable() && !sum.line_ended) {
        const bool ends = lines && marked(tail_);
        const bool is_byte = !ends || at(tail_);
        if (is_byte) {
            if (sum.bytes == to.size()) break;
            to[sum.bytes++] = at(tail_);
        }
        mark(tail_++, false);
        sum.line_ended = ends;
    }
    return sum;
}

// --- Input
// ------------------------------------------------------------------------------------------------------------

int line_discipline::signal_of(char c) const noexcept {
    if (!local(local_signals)) return 0;
    if (is(c, char_interrupt)) return proc::sig_int;
    if (is(c, char_quit)) return proc::sig_quit;
    if (is(c, char_suspend)) return proc::sig_tstp;
    return 0;
}

int line_discipline::type(char c, k::text_sink& echo) noexcept {
    if (settings_.local & local_external) {
        append(c, echo);
        return 0;
    }
    if (settings_.input & input_strip) c &= 0x7f;
    if (literal_) {
        literal_ = false;
        append(c, echo);
        return 0;
    }
    if (settings_.input & input_flow) {
        const bool stop = is(c, char_stop);
        if (stop || is(c, char_start)) {
            // Where both are the same character it switches.
            stopped_ = stop && !(stopped_ && is(c, char_start));
            return 0;
        }
        if (settings_.input & input_any_starts) stopped_ = false;
    }
    if (const int signal = signal_of(c)) {
        if (!local(local_no_flush)) drop_input();
        stopped_ = false;
        if (local(local_echo)) show(c, echo);
        start_column_ = column_;
        return signal;
    }
    if (c == '\r') {
        if (settings_.input & input_ignore_cr) return 0;
        if (settings_.input & input_cr_to_nl) c = '\n';
    } else if (c == '\n' && (settings_.input & input_nl_to_cr)) {
        c = '\r';
    }
    if (!canonical() || !edit(c, echo)) append(c, echo);
    return 0;
}

// A byte with a meaning in the canonical mode. False: it has none.
bool line_discipline::edit(char c, k::text_sink& echo) noexcept {
    if (is(c, char_erase)) {
        erase_character(echo);
    } else if (is(c, char_kill)) {
        erase_line(echo);
    } else if (local(local_extended) && is(c, char_erase_word)) {
        erase_word(echo);
    } else if (local(local_extended) && is(c, char_literal)) {
        literal_ = true;
        if (local(local_echo) && local(local_echo_control)) {
            put('^', echo);
            put('\b', echo);
        }
    } else if (local(local_extended) && local(local_echo) && is(c, char_reprint)) {
        show(c, echo);
        reprint(echo);
    } else if (c == '\n' || is(c, char_end) || is(c, char_line_end) ||
               (local(local_extended) && is(c, char_line_end_2))) {
        end_line(c, echo);
    } else {
        return false;
    }
    return true;
}

void line_discipline::end_line(char c, k::text_sink& echo) noexcept {
    const bool end_of_file = c != '\n' && is(c, char_end);
    if (head_ - tail_ >= capacity) return; // one place is kept for the end of a line that fills the ring
    if (c == '\n') {
        if (local(local_echo) || local(local_echo_nl)) put_processed('\n', echo);
    } else if (!end_of_file && local(local_echo)) {
        show(c, echo);
    }
    at(head_) = end_of_file ? '\0' : c;
    mark(head_++, true);
    line_ = head_;
    start_column_ = column_;
}

void line_discipline::append(char c, k::text_sink& echo) noexcept {
    if (full()) {
        if (settings_.input & input_bell) echo.put("\a");
        return;
    }
    if (head_ == line_) start_column_ = column_;
    at(head_) = c;
    mark(head_++, false);
    if (local(local_echo)) show(c, echo);
    if (!canonical()) line_ = head_;
}

void line_discipline::erase_character(k::text_sink& echo) noexcept {
    if (head_ == line_) return;
    do
        head_--;
    while ((settings_.input & input_utf8) && head_ != line_ && continues_character(at(head_)));
    if (!local(local_echo)) return;
    if (local(local_echo_erase))
        show_back(column_after(head_), echo);
    else
        show(static_cast<char>(settings_.characters[char_erase]), echo);
}

void line_discipline::erase_word(k::text_sink& echo) noexcept {
    const k::u32 before = head_;
    while (head_ != line_ && !is_word(at(head_ - 1)))
        head_--;
    while (head_ != line_ && is_word(at(head_ - 1)))
        head_--;
    if (head_ != before && local(local_echo)) show_back(column_after(head_), echo);
}

void line_discipline::erase_line(k::text_sink& echo) noexcept {
    if (head_ == line_) return;
    head_ = line_;
    if (!local(local_echo)) return;
    if (local(local_erase_line) && local(local_echo_erase)) {
        show_back(start_column_, echo);
    } else {
        show(static_cast<char>(settings_.characters[char_kill]), echo);
        if (local(local_echo_kill)) put_processed('\n', echo);
        start_column_ = column_;
    }
}

void line_discipline::reprint(k::text_sink& echo) noexcept {
    put_processed('\n', echo);
    start_column_ = column_;
    for (k::u32 i = line_; i != head_; i++)
        show(at(i), echo);
}

// --- What the terminal shows
// -----------------------------------------------------------------------------------------

// Columns that a byte of the line takes, as show() shows it, if it begins there.
k::u32 line_discipline::width_at(k::u32 index, k::u32 column) noexcept {
    const char c = at(index);
    if (c == '\t') return tab_width - column % tab_width;
    if (is_control(c)) return local(local_echo_control) ? 2 : 0;
    return (settings_.input & input_utf8) && continues_character(c) ? 0 : 1;
}

// The column behind the line being edited, were `end` its end.
k::u32 line_discipline::column_after(k::u32 end) noexcept {
    k::u32 column = start_column_;
    for (k::u32 i = line_; i != end; i++)
        column += width_at(i, column);
    return column;
}

// Takes the characters behind a column away.
void line_discipline::show_back(k::u32 column, k::text_sink& to) noexcept {
    while (column_ > column) {
        to.put("\b \b");
        column_--;
    }
}

void line_discipline::show(char c, k::text_sink& to) noexcept {
    if (is_control(c) && c != '\t' && c != '\n' && local(local_echo_control)) {
        put('^', to);
        put(static_cast<char>(c ^ 0x40), to);
    } else {
        put_processed(c, to);
    }
}

void line_discipline::put(char c, k::text_sink& to) noexcept {
    to.put({&c, 1});
    if (c == '\r')
        column_ = 0;
    else if (c == '\b')
        column_ -= column_ != 0;
    else if (c == '\t')
        column_ += tab_width - column_ % tab_width;
    else if (!is_control(c) && !((settings_.input & input_utf8) && continues_character(c)))
        column_++;
}

void line_discipline::put_processed(char c, k::text_sink& to) noexcept {
    const k::u32 how = settings_.output;
    if (!(how & output_process)) return put(c, to);
    if (c == '\r') {
        if ((how & output_no_cr_at_0) && column_ == 0) return;
        if (how & output_cr_to_nl) c = '\n';
    }
    if (c == '\n') {
        if (how & output_nl_to_crnl) put('\r', to);
        if (how & output_nl_returns) column_ = 0;
    }
    if (c == '\t' && (how & output_tab_mask) == output_tab_blanks) {
        const k::u32 blanks = tab_width - column_ % tab_width;
        for (k::u32 i = 0; i < blanks; i++)
            put(' ', to);
        return;
    }
    put(c, to);
}

void line_discipline::print(std::string_view text, k::text_sink& to) noexcept {
    for (char c : text)
        put_processed(c, to);
    if (head_ == line_) start_column_ = column_;
}

} // namespace files
