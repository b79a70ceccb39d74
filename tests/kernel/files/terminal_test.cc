// kernel/files/terminal: what is typed and what a program then reads, what the terminal shows, and who sleeps how long.
#include "kernel/files/terminal.h"

#include "kernel/files/poll.h"
#include "kernel/lib/random.h"
#include "kernel/proc/signal_abi.h"
#include "tests/kernel/files/io.h"
#include "tests/kernel/lwkt/crew.h"

using files::file_ref;
using files::line_discipline;
using files::termios;
using k::error;
using ktime::millisecond;
using lwkt_test::crew;
using tests::text_read;

namespace {

class screen final : public files::terminal_device {
  public:
    void show(std::string_view bytes) noexcept override {
        for (char c : bytes)
            if (used_ < sizeof(text_)) text_[used_++] = c;
    }
    // What was shown since the last look.
    std::string_view look() {
        const std::string_view seen(text_ + looked_, used_ - looked_);
        looked_ = used_;
        return seen;
    }

  private:
    char text_[2048];
    std::size_t used_ = 0, looked_ = 0;
};

// A terminal on the heap, opened.
struct desk {
    struct parts {
        screen shown;
        files::terminal tty{shown};
    };
    mem::box<parts> at = mem::make_box<parts>();
    file_ref open;

    explicit desk(k::u32 flags = files::open_read_write | files::open_nonblock) {
        if (!at) return;
        auto opened = files::open_terminal(at->tty, flags, 1);
        if (opened) open = *std::move(opened);
    }
    explicit operator bool() const { return static_cast<bool>(open); }
    std::string_view type(std::string_view keys) {
        at->tty.typed(keys);
        return at->shown.look();
    }
    std::string_view print(std::string_view text) {
        EXPECT_EQ(tests::write_text(*open, text).value_or(0), text.size());
        return at->shown.look();
    }
    template <class Change> void set(Change change) {
        termios now = at->tty.settings();
        change(now);
        at->tty.set(now, false);
    }
    void raw(k::u8 minimum, k::u8 time) {
        set([&](termios& t) {
            t.local = 0;
            t.input = 0;
            t.characters[files::char_minimum] = minimum;
            t.characters[files::char_time] = time;
        });
    }
};

} // namespace

SELFTEST(files, a_line_is_read_when_it_is_finished) {
    desk d;
    REQUIRE(d);
    EXPECT(d.type("hel") == "hel");
    EXPECT_EQ(text_read(*d.open).why, error::again);
    EXPECT_EQ(d.open->ready(), files::poll_can_write);
    EXPECT(d.type("lo\rnext") == "lo\r\nnext");
    EXPECT_EQ(d.open->ready(), files::poll_can_read | files::poll_can_write);
    EXPECT(text_read(*d.open, 3).view() == "hel");
    EXPECT(text_read(*d.open).view() == "lo\n");
    EXPECT_EQ(text_read(*d.open).why, error::again);
    d.type("\nthird\n");
    EXPECT(text_read(*d.open).view() == "next\n"); // one line at a time
    EXPECT(text_read(*d.open).view() == "third\n");
}

SELFTEST(files, lines_are_edited_on_the_screen_too) {
    desk d;
    REQUIRE(d);
    EXPECT(d.type("ab\x7f") == "ab\b \b");
    EXPECT(d.type("\x7f\x7f") == "\b \b"); // no further than the start
    EXPECT(d.type("one two_3 \x17") == "one two_3 \b \b\b \b\b \b\b \b\b \b\b \b");
    EXPECT(d.type("x\x15") == "x\b \b\b \b\b \b\b \b\b \b");
    EXPECT(d.type("\x01\x7f") == "^A\b \b\b \b");
    EXPECT(d.type("a\tb\x7f\x7f") == "a\tb\b \b\b \b\b \b\b \b\b \b\b \b\b \b\b \b");
    EXPECT(d.type("\xc3\xa9\x7f") == "\xc3\xa9\b \b"); // two bytes, one character
    EXPECT(d.type("\x16\x03") == "^\b^C");             // taken as it is
    EXPECT(d.type("\x12") == "^R\r\na^C");
    EXPECT(d.type("\n") == "\r\n");
    EXPECT(text_read(*d.open).view() == "a\x03\n");
}

SELFTEST(files, erasing_stops_at_what_a_program_wrote) {
    desk d;
    REQUIRE(d);
    EXPECT(d.print("name\t") == "name\t");
    EXPECT(d.type("a\tb\x15") == "a\tb\b \b\b \b\b \b\b \b\b \b\b \b\b \b\b \b\b \b");
}

SELFTEST(files, an_end_of_file_ends_a_read) {
    desk d;
    REQUIRE(d);
    EXPECT(d.type("ab\x04").size() == 2);
    EXPECT(text_read(*d.open).view() == "ab");
    EXPECT_EQ(text_read(*d.open).why, error::again);
    d.type("\x04x\n");
    const text_read end(*d.open);
    EXPECT(end.bytes == 0 && end.why == error{});
    EXPECT(text_read(*d.open).view() == "x\n");
}

SELFTEST(files, keys_make_signals_and_drop_the_line) {
    line_discipline* l = mem::make<line_discipline>();
    REQUIRE(l);
    char text[64];
    k::buffer_sink echo(text);
    EXPECT_EQ(l->type('a', echo), 0);
    EXPECT_EQ(l->type(3, echo), int{proc::sig_int});
    EXPECT_EQ(l->type(28, echo), int{proc::sig_quit});
    EXPECT_EQ(l->type(26, echo), int{proc::sig_tstp});
    EXPECT(echo.view() == "a^C^\\^Z");
    EXPECT_EQ(l->type('\n', echo), 0);
    char line[8];
    EXPECT_EQ(l->take(line).bytes, 1u);
    termios now = l->settings();
    now.local &= ~files::local_signals;
    l->set(now);
    EXPECT_EQ(l->type(3, echo), 0);
    mem::destroy(l);
}

SELFTEST(files, output_is_processed_as_settings_say) {
    desk d;
    REQUIRE(d);
    EXPECT(d.print("a\nb\r\n") == "a\r\nb\r\r\n");
    d.set([](termios& t) { t.output |= files::output_tab_blanks | files::output_no_cr_at_0; });
    EXPECT(d.print("\r12\t|") == "12      |");
    d.set([](termios& t) { t.output = 0; });
    EXPECT(d.print("\n\t") == "\n\t");
}

SELFTEST(files, raw_input_comes_as_it_is) {
    desk d;
    REQUIRE(d);
    d.raw(1, 0);
    EXPECT(d.type("a\r\x03\x04\x7f") == "");
    EXPECT(text_read(*d.open).view() == "a\r\x03\x04\x7f");
    // A line in the making can be read when the mode changes.
    d.set([](termios& t) { t = files::default_termios; });
    d.type("half");
    d.raw(1, 0);
    EXPECT(text_read(*d.open).view() == "half");
    d.type("more");
    d.set([](termios& t) { t = files::default_termios; });
    EXPECT(text_read(*d.open).view() == "more");
}

SELFTEST(files, raw_reads_wait_as_vmin_and_vtime_say) {
    desk d(files::open_read_write);
    REQUIRE(d);
    d.raw(0, 0);
    EXPECT_EQ(text_read(*d.open).bytes, 0u);
    d.raw(0, 1);
    const ktime::ns before = ktime::now();
    EXPECT_EQ(text_read(*d.open).bytes, 0u);
    EXPECT(ktime::now() - before >= 100 * millisecond);
    d.type("q");
    EXPECT(text_read(*d.open).view() == "q");
    d.raw(4, 1);
    d.type("ab");
    EXPECT(text_read(*d.open).view() == "ab"); // after a pause
    d.raw(3, 0);
    auto typist = [&](unsigned) {
        for (const char* key : {"x", "y", "z"}) {
            lwkt::sleep_for(millisecond);
            d.at->tty.typed(key);
        }
    };
    crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, typist));
    EXPECT(text_read(*d.open).view() == "xyz");
}

SELFTEST(files, a_stopped_terminal_holds_writers) {
    desk d(files::open_read_write);
    REQUIRE(d);
    d.type("\x13");
    EXPECT_EQ(d.open->ready(), 0u);
    std::atomic<bool> written = false;
    auto writer = [&](unsigned) {
        EXPECT(tests::write_text(*d.open, "later"));
        written = true;
    };
    crew c;
    REQUIRE(c.start(arch::cpu::count() - 1, writer));
    lwkt::sleep_for(2 * millisecond);
    EXPECT(!written.load());
    d.at->tty.typed("\x11");
    c.join();
    EXPECT(d.at->shown.look() == "later");
}

SELFTEST(files, a_flood_of_keys_fills_the_line_and_no_more) {
    desk d;
    REQUIRE(d);
    d.set([](termios& t) { t.local &= ~files::local_echo; });
    for (unsigned i = 0; i < 2 * line_discipline::capacity / 64; i++)
        d.at->tty.typed("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    EXPECT_EQ(d.open->ready(), files::poll_can_write);
    d.at->tty.typed("\n");
    k::u64 bytes = 0;
    for (;;) {
        const text_read some(*d.open);
        if (!some.bytes) break;
        bytes += some.bytes;
    }
    EXPECT_EQ(bytes, line_discipline::capacity);
    d.at->tty.typed("ok\n");
    EXPECT(text_read(*d.open).view() == "ok\n");
}

SELFTEST(files, any_keys_in_any_mode_do_no_harm) {
    desk d;
    REQUIRE(d);
    k::random random(selftest::seed());
    for (unsigned i = 0; i < 4000; i++) {
        char keys[4];
        for (char& c : keys)
            c = static_cast<char>(random.below(3) ? random.below(128) : random.below(256));
        d.at->tty.typed({keys, sizeof(keys)});
        if (random.below(50) == 0)
            d.set([&](termios& t) {
                t.local = static_cast<k::u32>(random.next());
                t.input = static_cast<k::u32>(random.next());
                t.output = static_cast<k::u32>(random.next());
            });
        if (random.below(20) == 0) (void)text_read(*d.open, 1 + random.below(100));
    }
    d.at->tty.set(files::default_termios, true);
    d.at->tty.typed("fine\n");
    EXPECT(text_read(*d.open).view() == "fine\n");
}
