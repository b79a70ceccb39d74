// Messages that carry sources between threads of any CPUs: nothing is copied on the way, and the pages come back when
// the last of them lets go.
#include "kernel/lwkt/port.h"
#include "kernel/selftest/selftest.h"
#include "sys/xio/checksum.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"
#include "tests/support/threads.h"

using xio::source;

namespace {

constexpr k::u64 page = xio::platform::page_size;

enum command : k::u32 { take, let_go, leave };

// What is handed round.
struct parcel : lwkt::msg {
    source payload;
    k::u32 sum = 0; // what the bytes were when they were sent
    unsigned hops = 0;
};

// A thread with a port that looks at what it gets, hands a part of it on to the next station and keeps the
// rest for a while.
class station {
  public:
    station(unsigned cpu, station* next) : inbox_(cpu), next_(next) {}

    [[nodiscard]] bool open() {
        open_ = bool(lwkt::spawn(
            "station", inbox_.cpu(), lwkt::normal_priority, [](void* me) { static_cast<station*>(me)->work(); }, this));
        return open_;
    }
    k::status call(command what, parcel& p) {
        p.command = what;
        return inbox_.call(p);
    }
    void close() {
        if (!open_) return;
        parcel last;
        EXPECT(call(leave, last));
        gone_.wait();
        open_ = false;
    }
    ~station() { close(); }

  private:
    static constexpr unsigned shelves = 4;

    void work() {
        for (;;) {
            auto& p = static_cast<parcel&>(*inbox_.wait());
            const auto what = p.command;
            lwkt::reply(p, serve(p));
            if (what == leave) return gone_.signal();
        }
    }
    k::status serve(parcel& p) {
        EXPECT_EQ(arch::cpu::id(), inbox_.cpu());
        if (p.command != take) {
            for (source& kept : kept_)
                kept = source();
            return {};
        }
        if (xio::crc32c(p.payload) != p.sum) return k::error::io;
        if (next_ && p.hops) {
            parcel onward;
            onward.payload = TRY(p.payload.slice(p.payload.size() / 4, p.payload.size() / 2));
            onward.sum = xio::crc32c(onward.payload);
            onward.hops = p.hops - 1;
            TRY(next_->call(take, onward));
        }
        source& shelf = kept_[used_++ % shelves];
        shelf = source(); // the oldest goes
        shelf = std::move(p.payload);
        return {};
    }

    lwkt::port inbox_;
    station* next_;
    lwkt::completion gone_;
    source kept_[shelves];
    unsigned used_ = 0;
    bool open_ = false;
};

} // namespace

SELFTEST(xio, a_message_carries_pages_to_other_cpus_and_nothing_is_copied) {
    const unsigned cpus = arch::cpu::count();
    const k::u64 pages_before = support::test_pages_in_use();
    station third(2 % cpus, nullptr), second(1 % cpus, &third);
    REQUIRE(third.open() && second.open());
    support::page_set<16> pages;
    REQUIRE(pages.allocate());
    for (unsigned i = 0; i < 16; i++)
        support::fill_pattern({pages.data(i), page}, i);
    xio::payer payer;
    const xio::ledger before = xio::read_ledger();
    parcel p;
    {
        auto made = source::over_pages(pages.span(), 0, 16 * page, {payer});
        REQUIRE(made);
        p.payload = std::move(*made);
    }
    p.sum = xio::crc32c(p.payload);
    p.hops = 1;
    EXPECT(second.call(take, p));
    EXPECT(p.payload.empty()); // the receiver has it
    pages.drop_all();
    EXPECT_EQ(payer.source_pages(), 16u);
    EXPECT_EQ(support::test_pages_in_use(), pages_before + 16);
    parcel sign;
    EXPECT(second.call(let_go, sign)); // the third still has its slice
    EXPECT_EQ(payer.source_pages(), 16u);
    EXPECT_EQ(support::test_pages_in_use(), pages_before + 16);
    EXPECT(third.call(let_go, sign));
    EXPECT_EQ(payer.source_pages(), 0u);
    EXPECT_EQ(support::test_pages_in_use(), pages_before);
    EXPECT_EQ(xio::read_ledger().copied_bytes(), before.copied_bytes());
}

SELFTEST(xio, only_explicit_reads_of_a_message_are_in_the_ledger) {
    support::page_set<4> pages;
    REQUIRE(pages.allocate());
    auto lent = source::over_pages(pages.span(), 0, 4 * page);
    REQUIRE(lent);
    const xio::ledger before = xio::read_ledger();
    REQUIRE(support::run_on(arch::cpu::count() - 1, [&] {
        source mine = lent->clone();
        k::u64 header[4];
        EXPECT(mine.read(page - 16, std::as_writable_bytes(std::span(header))));
        EXPECT(mine.read_value<k::u16>(0));
    }));
    const xio::ledger after = xio::read_ledger();
    EXPECT_EQ(after.copied_bytes() - before.copied_bytes(), 34u);
    constexpr auto why = unsigned(xio::reason::kernel_read);
    EXPECT_EQ(after.copied[why] - before.copied[why], 34u);
}

namespace {

constexpr unsigned max_stations = arch::max_cpus;

// Sends random sources to random stations.
struct sender {
    station* const* stations;
    unsigned count;
    k::u64 seed;
    lwkt::completion* done;

    void work() {
        k::random random(seed);
        for (unsigned round = 0; round < 60 && !selftest::failed(); round++) {
            support::page_set<12> pages;
            if (!pages.allocate(1 + random.below(12))) return selftest::fail(k::where::here(), "no pages");
            for (std::size_t i = 0; i < pages.size(); i++)
                support::fill_pattern({pages.data(i), page}, random.next());
            const k::u64 offset = random.below(page), bytes = random.below(pages.size() * page - offset) + 1;
            auto lent = source::over_pages(pages.span(), offset, bytes);
            if (!lent) return selftest::fail(k::where::here(), "no source: {}", lent.error());
            const unsigned first = static_cast<unsigned>(random.below(count));
            parcel p;
            p.sum = xio::crc32c(*lent);
            p.hops = static_cast<unsigned>(random.below(count));
            p.payload = random.below(2) ? lent->clone() : std::move(*lent);
            EXPECT(stations[first]->call(take, p));
            if (random.below(8) == 0) EXPECT(stations[random.below(count)]->call(let_go, p));
        }
    }
};

} // namespace

SELFTEST(xio, random_messages_between_all_cpus_keep_every_byte_and_every_page) {
    const unsigned cpus = arch::cpu::count(), count = std::max(cpus, 3u);
    const k::u64 pages_before = support::test_pages_in_use(), copied = xio::read_ledger().copied_bytes();
    mem::box<station> stations[max_stations];
    station* addresses[max_stations];
    // Each hands on to the one made before, so that no two wait for each other.
    for (unsigned i = 0; i < count; i++) {
        stations[i] = mem::make_box<station>(i % cpus, i ? stations[i - 1].get() : nullptr);
        REQUIRE(stations[i] && stations[i]->open());
        addresses[i] = stations[i].get();
    }
    lwkt::completion done(count);
    sender senders[max_stations];
    for (unsigned i = 0; i < count; i++) {
        senders[i] = {addresses, count, selftest::seed() + i, &done};
        auto started = lwkt::spawn(
            "sender", i % cpus, lwkt::normal_priority,
            [](void* argument) {
                auto& me = *static_cast<sender*>(argument);
                lwkt::completion& done = *me.done;
                me.work();
                done.signal();
            },
            &senders[i]);
        EXPECT(started);
        if (!started) done.signal();
    }
    done.wait();
    for (unsigned i = count; i-- > 0;)
        stations[i]->close();
    EXPECT_EQ(support::test_pages_in_use(), pages_before);
    EXPECT_EQ(xio::read_ledger().copied_bytes(), copied);
}
