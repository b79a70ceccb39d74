// The list of events: what is noted, and that nothing is while it is off.
#include "kernel/lwkt/trace.h"

#include "kernel/lwkt/grace.h"
#include "kernel/selftest/selftest.h"
#include "sys/caps/caps.h"
#include "tests/kernel/lwkt/crew.h"

namespace {

// The lines that have a word.
class line_counter final : public k::text_sink {
  public:
    explicit line_counter(std::string_view word) : word_(word) {}
    void put(std::string_view text) override {
        for (char c : text) {
            if (c == '\n') {
                if (std::string_view(line_, used_).find(word_) != std::string_view::npos) count_++;
                used_ = 0;
            } else if (used_ < sizeof(line_)) {
                line_[used_++] = c;
            }
        }
    }
    unsigned count() const { return count_; }

  private:
    std::string_view word_;
    char line_[120];
    std::size_t used_ = 0;
    unsigned count_ = 0;
};

unsigned lines_with(std::string_view word) {
    line_counter lines(word);
    trace::put(lines);
    return lines.count();
}

void forget() {
    trace::clear();
    lwkt::wait_for_readers();
}

} // namespace

SELFTEST(trace, nothing_is_noted_while_it_is_off) {
    trace::note(trace::event::fault, 1, 2, "nobody");
    EXPECT_EQ(lines_with(""), 0u);
    REQUIRE(trace::start(64));
    trace::stop();
    trace::note(trace::event::fault, 1, 2, "nobody");
    EXPECT_EQ(lines_with("nobody"), 0u);
    forget();
}

SELFTEST(trace, what_was_noted_stays_until_it_is_cleared) {
    REQUIRE(trace::start(64));
    trace::note(trace::event::dma_loaded, 0x1000, 3, "a-name-that-is-longer-than-there-is-room");
    trace::stop();
    EXPECT_EQ(lines_with(" dma 0x1000 0x3 a-name-that-is-longer"), 1u);
    EXPECT(!trace::start(64)); // it would be lost
    forget();
    EXPECT_EQ(lines_with(""), 0u);
}

SELFTEST(trace, the_oldest_are_written_over) {
    REQUIRE(trace::start(64));
    {
        lwkt::critical here;
        for (unsigned i = 0; i < 200; i++)
            trace::note(trace::event::lent, i, 0, "row");
    }
    trace::stop();
    EXPECT(lines_with("row") <= 64);
    EXPECT_EQ(lines_with(" lent 0x0 0x0 row"), 0u);
    EXPECT_EQ(lines_with(" lent 0xc7 0x0 row"), 1u);
    EXPECT(lines_with(" lost 0x") >= 1); // and that is told
    forget();
}

SELFTEST(trace, a_name_breaks_no_line) {
    REQUIRE(trace::start(64));
    trace::note(trace::event::switched, 1, 2, "a\n0 1 put 1 2 \x7f");
    trace::stop();
    EXPECT_EQ(lines_with(" switch 0x1 0x2 a?0 1 put 1 2 ?"), 1u);
    forget();
}

SELFTEST(trace, a_message_is_put_and_got_and_replied) {
    auto s = caps::service::create({.name = "traced"});
    REQUIRE(s);
    auto serve = [&](unsigned) {
        while (auto a = (*s)->get())
            (void)(*s)->reply(*a);
    };
    lwkt_test::crew server;
    REQUIRE(server.start(arch::cpu::count() - 1, serve));
    auto c = caps::client::connect({.name = "traced"});
    auto m = caps::message::create();
    REQUIRE(c && m);
    REQUIRE(trace::start(1024));
    EXPECT((*c)->call(*m));
    trace::stop();
    EXPECT_EQ(lines_with(" put "), 1u);
    EXPECT_EQ(lines_with(" got "), 1u);
    EXPECT_EQ(lines_with(" reply "), 1u);
    EXPECT(lines_with(" switch ") >= 1);
    if (arch::cpu::count() > 1) EXPECT(lines_with(" ipi ") + lines_with(" taken ") >= 1);
    (*s)->close();
    server.join();
    forget();
}
