// What the driver of a disk must stand, whatever the device is: tests for a Rig, which puts a driver on a device made
// of software. A Rig(queues, timeout) has `on` (the disk), `device` with silence(bool), stops (does a reset reach it?)
// and resets (how often it was reset), and is false without memory.
#pragma once

#include "drivers/block/hardware_disk.h"
#include "drivers/block/registry.h"
#include "kernel/lwkt/sleep_lock.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"
#include "tests/support/threads.h"

namespace trials {

constexpr k::u64 page = arch::page_size;
constexpr k::u64 disk_sectors = 1024;
// Where the end of a request's time is waited for, and where it must not come however busy the machine is: the device
// is a thread, which may wait for its turn.
constexpr ktime::ns short_timeout = 500 * ktime::millisecond, long_timeout = 30 * ktime::second;
constexpr block::disk_family model_family{.prefix = "model", .major = 240};

// Twelve pages that lie apart, and what is in them.
struct data {
    support::page_set<12> pages;
    xio::source from;
    xio::sink to;
    support::buffer bytes{12 * page};

    bool make(k::u64 seed) {
        if (!pages.allocate() || !bytes) return false;
        auto f = xio::source::over_pages(pages.span(), 0, 12 * page);
        auto t = xio::sink::over_pages(pages.span(), 0, 12 * page);
        if (!f || !t) return false;
        from = *std::move(f);
        to = *std::move(t);
        support::fill_pattern(bytes.bytes(), seed);
        return bool(to.write(0, bytes.bytes()));
    }
    void forget() {
        for (unsigned i = 0; i < 12; i++)
            std::memset(pages.data(i), 0, page);
    }
    bool same() {
        support::buffer seen(12 * page);
        return seen && from.read(0, seen.bytes()) && support::same_bytes(seen.bytes(), bytes.bytes());
    }
};

inline k::u64 bounced_bytes() {
    return xio::read_ledger().copied[static_cast<unsigned>(xio::reason::bounced)];
}

template <class Done> void wait_until(Done done) {
    const ktime::ns deadline = ktime::after(60 * ktime::second);
    while (!done() && ktime::now() < deadline)
        lwkt::sleep_for(ktime::millisecond);
    EXPECT(done());
}

template <class Rig> void bytes_go_and_come_back_uncopied(unsigned queues) {
    Rig r(queues, long_timeout);
    data d;
    REQUIRE(r && d.make(1));
    const k::u64 before = bounced_bytes();
    for (unsigned round = 0; round < 20; round++)
        EXPECT(block::write(*r.on, round * 6 * page, d.from).status);
    EXPECT(block::flush(*r.on));
    d.forget();
    EXPECT(block::read(*r.on, 19 * 6 * page, d.to).status);
    EXPECT(d.same());
    EXPECT_EQ(bounced_bytes(), before);
    EXPECT_EQ(r.device->resets.load(), 1u); // the first one
}

template <class Rig> void all_cpus_use_it_at_once(unsigned queues) {
    Rig r(queues, long_timeout);
    REQUIRE(r);
    std::atomic<unsigned> wrong = 0;
    support::run_everywhere([&](unsigned cpu) {
        support::buffer out(8 * 512), in(8 * 512);
        if (!out || !in) return void(wrong++);
        k::random random(selftest::seed() + cpu);
        for (unsigned round = 0; round < 50; round++) {
            const k::u64 at = (cpu % 16 * 64 + random.below(56)) * 512;
            support::fill_pattern(out.bytes(), random.next());
            auto from = xio::source::over_kernel(out.bytes());
            auto to = xio::sink::over_kernel(in.bytes());
            if (!from || !to) return void(wrong++);
            if (!block::write(*r.on, at, *from).status || !block::read(*r.on, at, *to).status) wrong++;
            if (!support::same_bytes(out.bytes(), in.bytes())) wrong++;
        }
    });
    EXPECT_EQ(wrong.load(), 0u);
}

template <class Rig> void silence_ends_in_a_second_try() {
    Rig r(4, short_timeout);
    data d;
    REQUIRE(r && d.make(4));
    EXPECT(block::write(*r.on, 0, d.from).status);
    d.forget();
    r.device->silence(true);
    REQUIRE(support::run_aside([&] { EXPECT(block::read(*r.on, 0, d.to).status); },
                               [&] {
                                   wait_until([&] { return r.device->resets.load() >= 2; });
                                   r.device->silence(false);
                               }));
    EXPECT(d.same());
}

template <class Rig> void silence_for_good_ends_in_eio() {
    Rig r(4, short_timeout);
    data d;
    REQUIRE(r && d.make(5));
    r.device->silence(true);
    const xio::moved m = block::read(*r.on, 0, d.to);
    EXPECT(!m.status && m.status.error() == k::error::io);
    EXPECT_EQ(busdma::pages_in_quarantine(), 0u); // it stopped when it was reset
    r.device->silence(false);
    EXPECT(block::read(*r.on, 0, d.to).status);
}

template <class Rig> void pages_stay_in_quarantine_until_it_stops() {
    data d;
    REQUIRE(d.make(6));
    {
        Rig r(4, short_timeout);
        REQUIRE(r);
        r.device->silence(true);
        r.device->stops = false;
        auto to = d.to.slice(0, 5 * page);
        REQUIRE(to);
        EXPECT(!block::read(*r.on, 0, *to).status);
        EXPECT_EQ(busdma::pages_in_quarantine(), 5u);
        *to = xio::sink();
        // It is dead: nothing more is tried.
        EXPECT(!block::read(*r.on, 0, d.to).status);
        EXPECT(!block::flush(*r.on));
        r.device->stops = true; // or its end could not be waited for
    }
    EXPECT_EQ(busdma::pages_in_quarantine(), 0u);
}

// The whole device is gone: its registers read as ones, and what was under way is never answered.
template <class Rig> void what_is_pulled_out_ends_in_eio() {
    const auto is_eio = [](k::status s) { return !s && s.error() == k::error::io; };
    for (bool told : {false, true}) { // by who saw it go; else a request times out
        Rig r(4, told ? long_timeout : short_timeout);
        data d;
        REQUIRE(r && d.make(9));
        EXPECT(block::write(*r.on, 0, d.from).status);
        r.device->silence(true);
        REQUIRE(support::run_aside([&] { EXPECT(is_eio(block::read(*r.on, 0, d.to).status)); },
                                   [&] {
                                       lwkt::sleep_for(2 * ktime::millisecond);
                                       r.device->is_there = false;
                                       if (told) static_cast<block::hardware_disk&>(r.on->on()).leave();
                                   }));
        EXPECT(is_eio(block::write(*r.on, 0, d.from).status));
        EXPECT(is_eio(block::flush(*r.on)));
        if (told) static_cast<block::hardware_disk&>(r.on->on()).leave(); // once more does no harm
        EXPECT_EQ(busdma::pages_in_quarantine(), 0u);
    }
}

// One that does not stop when it is to leave, and is torn out then: its pages come back.
template <class Rig> void what_leaves_and_does_not_stop_gives_back_when_it_is_gone() {
    Rig r(4, long_timeout);
    data d;
    REQUIRE(r && d.make(10));
    auto& disk = static_cast<block::hardware_disk&>(r.on->on());
    r.device->silence(true);
    r.device->stops = false;
    auto to = d.to.slice(0, 5 * page);
    REQUIRE(to);
    REQUIRE(support::run_aside([&] { EXPECT(!block::read(*r.on, 0, *to).status); },
                               [&] {
                                   wait_until([&] {
                                       const block::statistics now = r.on->read_statistics();
                                       return now.submitted != now.completed;
                                   });
                                   lwkt::sleep_for(20 * ktime::millisecond); // and the device has it
                                   disk.leave();
                               }));
    EXPECT_EQ(busdma::pages_in_quarantine(), 5u);
    r.device->is_there = false;
    disk.leave();
    EXPECT_EQ(busdma::pages_in_quarantine(), 0u);
    r.device->stops = true;
}

} // namespace trials
