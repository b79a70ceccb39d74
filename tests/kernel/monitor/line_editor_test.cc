// kernel/monitor/line_editor: the line against a model, and what a terminal shows against the line.
#include "kernel/monitor/line_editor.h"

#include "kernel/lib/random.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"

using monitor::line_editor;
using outcome = line_editor::outcome;

namespace {

// The last row of a terminal.
class terminal final : public k::text_sink {
  public:
    terminal() { erase_from(0); }
    void put(std::string_view text) override {
        for (char c : text)
            put(c);
    }
    std::string_view row() const { return {cells_, line_editor::columns}; }
    std::size_t column() const { return column_; }
    unsigned bells() const { return bells_; }
    unsigned rows_left() const { return rows_left_; }
    bool confused() const { return confused_; } // something came that would wrap or is not understood

  private:
    void put(char c) {
        if (escape_ || c == '\x1b') return put_escape(c);
        switch (c) {
        case '\n': new_row(); break;
        case '\a': bells_++; break;
        case '\b': column_ ? void(column_--) : void(confused_ = true); break;
        default:
            if (c < ' ' || c > '~' || column_ + 1 >= line_editor::columns)
                confused_ = true;
            else
                cells_[column_++] = c;
        }
    }
    void new_row() {
        rows_left_++;
        column_ = 0;
        erase_from(0);
    }
    void put_escape(char c) {
        constexpr std::string_view erase_to_end = "\x1b[K";
        if (c != erase_to_end[escape_]) confused_ = true;
        escape_ = (escape_ + 1) % erase_to_end.size();
        if (!escape_) erase_from(column_);
    }
    void erase_from(std::size_t column) { std::fill(cells_ + column, std::end(cells_), ' '); }

    char cells_[line_editor::columns];
    std::size_t column_ = 0;
    std::size_t escape_ = 0; // characters of the sequence seen
    unsigned bells_ = 0, rows_left_ = 0;
    bool confused_ = false;
};

// Does the terminal show the prompt, then the part of the line around the cursor and then nothing?
bool shows(const terminal& screen, const line_editor& editor) {
    constexpr std::size_t margin = line_editor::prompt.size();
    if (screen.confused() || !screen.row().starts_with(line_editor::prompt) || screen.column() < margin) return false;
    const std::size_t before_cursor = screen.column() - margin;
    if (before_cursor > editor.cursor()) return false;
    std::string_view shown = screen.row().substr(margin);
    const std::string_view expected = editor.line().substr(editor.cursor() - before_cursor, line_editor::width);
    return shown.starts_with(expected) && shown.find_first_not_of(' ', expected.size()) == std::string_view::npos;
}

// A line editor without a terminal: shifting characters about in an array.
class model {
  public:
    std::string_view line() const { return {text_, length_}; }
    std::size_t cursor() const { return cursor_; }

    bool insert(char c) {
        if (length_ == sizeof(text_)) return false;
        for (std::size_t i = length_++; i > cursor_; i--)
            text_[i] = text_[i - 1];
        text_[cursor_++] = c;
        return true;
    }
    void erase_at() {
        if (cursor_ == length_) return;
        length_--;
        for (std::size_t i = cursor_; i < length_; i++)
            text_[i] = text_[i + 1];
    }
    void erase_before() {
        if (!cursor_) return;
        cursor_--;
        erase_at();
    }
    void erase_start() {
        while (cursor_)
            erase_before();
    }
    void erase_word() {
        while (cursor_ && text_[cursor_ - 1] == ' ')
            erase_before();
        while (cursor_ && text_[cursor_ - 1] != ' ')
            erase_before();
    }
    void left() { cursor_ -= cursor_ != 0; }
    void right() { cursor_ += cursor_ != length_; }
    void home() { cursor_ = 0; }
    void end() { cursor_ = length_; }

    void begin() { length_ = cursor_ = age_ = 0; }
    void enter() {
        const bool blank = line().find_first_not_of(' ') == std::string_view::npos;
        if (blank || (count_ && line() == kept(1))) return;
        for (std::size_t i = count_ < history ? count_++ : history - 1; i > 0; i--)
            kept_[i] = kept_[i - 1];
        keep(kept_[0]);
    }
    void older() {
        if (age_ == count_) return;
        if (!age_) keep(draft_);
        recall(kept_[age_++]);
    }
    void newer() {
        if (!age_) return;
        age_--;
        recall(age_ ? kept_[age_ - 1] : draft_);
    }

  private:
    static constexpr std::size_t history = 16;
    struct copy {
        char text[256];
        std::size_t length;
    };
    std::string_view kept(std::size_t age) const { return {kept_[age - 1].text, kept_[age - 1].length}; }
    void keep(copy& into) { into.length = line().copy(into.text, sizeof(into.text)); }
    void recall(const copy& from) {
        length_ = cursor_ = std::string_view(from.text, from.length).copy(text_, sizeof(text_));
    }

    char text_[256] = {};
    std::size_t length_ = 0, cursor_ = 0;
    copy kept_[history] = {}, draft_ = {};
    std::size_t count_ = 0, age_ = 0;
};

// An editor and its terminal; too large for a stack.
struct session {
    line_editor editor;
    terminal screen;

    session() { editor.begin(screen); }
    // Types and says what came of the last byte.
    outcome type(std::string_view bytes) {
        outcome last = outcome::more;
        for (char c : bytes)
            last = editor.feed(c, screen);
        return last;
    }
    void enter(std::string_view line) {
        type(line);
        EXPECT_EQ(type("\r"), outcome::finished);
        EXPECT_EQ(editor.line(), line);
        editor.begin(screen);
    }
    void type_many(char c, unsigned count) {
        for (unsigned i = 0; i < count; i++)
            editor.feed(c, screen);
    }
};

struct keystroke {
    std::string_view bytes;
    void (model::*operation)();
};

constexpr keystroke keystrokes[] = {
    {"\x7f", &model::erase_before}, {"\b", &model::erase_before}, {"\x1b[3~", &model::erase_at},
    {"\x15", &model::erase_start},  {"\x17", &model::erase_word}, {"\x1b[D", &model::left},
    {"\x1bOD", &model::left},       {"\x1b[C", &model::right},    {"\x01", &model::home},
    {"\x1b[H", &model::home},       {"\x05", &model::end},        {"\x1b[4~", &model::end},
    {"\x1b[A", &model::older},      {"\x1b[B", &model::newer},
};

} // namespace

SELFTEST(line_editor, a_typed_line_is_shown_and_comes_back) {
    const auto s = mem::make_box<session>();
    REQUIRE(s);
    EXPECT_EQ(s->type("selftest xio.*"), outcome::more);
    EXPECT(shows(s->screen, s->editor));
    EXPECT_EQ(s->type("\r"), outcome::finished);
    EXPECT_EQ(s->editor.line(), "selftest xio.*");
    EXPECT_EQ(s->screen.rows_left(), 1u);
    EXPECT_EQ(s->screen.column(), 0u);
}

SELFTEST(line_editor, mistakes_are_mended) {
    const auto s = mem::make_box<session>();
    REQUIRE(s);
    s->enter("kept"); // begins a new line each time
    s->type("hexx\x7f\x7flp\r");
    EXPECT_EQ(s->editor.line(), "help");
    s->editor.begin(s->screen);
    s->type("one two  three  \x17");
    EXPECT_EQ(s->editor.line(), "one two  ");
    s->type("\x17");
    EXPECT_EQ(s->editor.line(), "one ");
    s->type("\x1b[D\x1b[D\x15");
    EXPECT_EQ(s->editor.line(), "e ");
    s->type("\x05x\x01y");
    EXPECT_EQ(s->editor.line(), "ye x");
    s->type("\x1b[3~");
    EXPECT_EQ(s->editor.line(), "y x");
    EXPECT(shows(s->screen, s->editor));
}

SELFTEST(line_editor, cancel_gives_the_line_up_and_does_not_keep_it) {
    const auto s = mem::make_box<session>();
    REQUIRE(s);
    s->enter("first");
    EXPECT_EQ(s->type("secret\x03"), outcome::cancelled);
    s->editor.begin(s->screen);
    EXPECT_EQ(s->editor.line(), "");
    s->type("\x1b[A");
    EXPECT_EQ(s->editor.line(), "first");
    EXPECT(shows(s->screen, s->editor));
}

SELFTEST(line_editor, a_full_line_rings_and_stays_as_it_is) {
    const auto s = mem::make_box<session>();
    REQUIRE(s);
    s->type_many('y', 256);
    EXPECT_EQ(s->screen.bells(), 0u);
    s->type_many('z', 3000);
    EXPECT_EQ(s->screen.bells(), 3000u);
    EXPECT_EQ(s->editor.line().size(), 256u);
    EXPECT_EQ(s->editor.line().find('z'), std::string_view::npos);
    EXPECT(shows(s->screen, s->editor));
    EXPECT_EQ(s->type("\r"), outcome::finished);
}

SELFTEST(line_editor, a_long_line_is_shown_around_the_cursor) {
    const auto s = mem::make_box<session>();
    REQUIRE(s);
    for (unsigned i = 0; i < 200; i++) {
        s->type_many(static_cast<char>('a' + i % 26), 1);
        EXPECT(shows(s->screen, s->editor));
    }
    for (unsigned i = 0; i < 200; i++) {
        s->type("\x1b[D");
        EXPECT(shows(s->screen, s->editor));
    }
    EXPECT_EQ(s->editor.cursor(), 0u);
    s->type("\x05");
    EXPECT(shows(s->screen, s->editor));
    EXPECT_EQ(s->editor.cursor(), 200u);
}

SELFTEST(line_editor, history_is_walked_and_the_draft_is_kept) {
    const auto s = mem::make_box<session>();
    REQUIRE(s);
    s->enter("one");
    s->enter("two");
    s->enter("two"); // said twice, kept once
    s->enter("   "); // and nothing is not kept
    s->type("draft\x1b[A");
    EXPECT_EQ(s->editor.line(), "two");
    s->type("\x1b[A");
    EXPECT_EQ(s->editor.line(), "one");
    s->type("\x1b[A"); // there is no older one
    EXPECT_EQ(s->editor.line(), "one");
    EXPECT_EQ(s->screen.bells(), 1u);
    s->type("\x1b[B\x1b[B");
    EXPECT_EQ(s->editor.line(), "draft");
    s->type("\x1b[B");
    EXPECT_EQ(s->editor.line(), "draft");
    EXPECT(shows(s->screen, s->editor));
}

SELFTEST(line_editor, editing_a_recalled_line_leaves_history_alone) {
    const auto s = mem::make_box<session>();
    REQUIRE(s);
    s->enter("original");
    s->type("\x1b[A and more\r");
    EXPECT_EQ(s->editor.line(), "original and more");
    s->editor.begin(s->screen);
    s->type("\x1b[A\x1b[A");
    EXPECT_EQ(s->editor.line(), "original");
}

SELFTEST(line_editor, agrees_with_a_model_under_random_keys) {
    const auto s = mem::make_box<session>();
    const auto m = mem::make_box<model>();
    REQUIRE(s && m);
    k::random random(selftest::seed());
    for (unsigned step = 0; step < 30'000 && !selftest::failed(); step++) {
        const k::u64 dice = random.below(100);
        if (dice < 60) { // in runs, so that lines grow beyond the screen and to their limit
            for (k::u64 i = random.below(40); i > 0; i--) {
                const char c = random.below(5) ? static_cast<char>('!' + random.below(94)) : ' ';
                const unsigned bells = s->screen.bells();
                s->editor.feed(c, s->screen);
                EXPECT_EQ(m->insert(c), bells == s->screen.bells());
            }
        } else if (dice < 97) {
            const keystroke& pressed = keystrokes[random.below(std::size(keystrokes))];
            EXPECT_EQ(s->type(pressed.bytes), outcome::more);
            (*m.*pressed.operation)();
        } else {
            const bool finish = random.below(2);
            EXPECT_EQ(s->type(finish ? "\r\n" : "\x03"), finish ? outcome::more : outcome::cancelled);
            EXPECT_EQ(s->editor.line(), m->line());
            if (finish) m->enter();
            m->begin();
            s->editor.begin(s->screen);
        }
        EXPECT_EQ(s->editor.line(), m->line());
        EXPECT_EQ(s->editor.cursor(), m->cursor());
        EXPECT(shows(s->screen, s->editor));
    }
}

SELFTEST(line_editor, random_bytes_leave_line_and_terminal_in_step) {
    const auto s = mem::make_box<session>();
    REQUIRE(s);
    k::random random(selftest::seed());
    for (unsigned i = 0; i < 100'000 && !selftest::failed(); i++) {
        const char c = random.below(3) ? static_cast<char>(random.next()) : "\x1b[O;1~ADa"[random.below(9)];
        const outcome came = s->editor.feed(c, s->screen);
        EXPECT(s->editor.line().size() <= 256 && s->editor.cursor() <= s->editor.line().size());
        if (came != outcome::more) s->editor.begin(s->screen);
        EXPECT(shows(s->screen, s->editor));
    }
}
