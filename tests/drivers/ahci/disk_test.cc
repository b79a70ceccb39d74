// drivers/ahci on a controller made of software: the same trials as every disk, and what only AHCI can get wrong.
#include "drivers/ahci/disk.h"

#include "tests/drivers/ahci/model_controller.h"
#include "tests/drivers/block/trials.h"

using tests::model_ahci;
using trials::data;
using lie = tests::model_ahci::lie;
using log_lie = tests::model_ahci::log_lie;

namespace {

k::result<k::ref<block::disk>> disk_on(mem::box<model_ahci> model, ktime::ns timeout) {
    auto host = ahci::host::create(mem::box<ahci::host_port>(model.release()), 0);
    if (!host) return host.error();
    return ahci::disk::create(*std::move(host), 0, timeout);
}

// A disk on a model, known to the block layer while this lives. It takes as many commands at once as it is told.
struct rig {
    model_ahci* device = nullptr;
    block::device_ref on;

    rig(unsigned depth, ktime::ns timeout, bool keeps_log = false) {
        auto made = mem::make_box<model_ahci>(trials::disk_sectors, depth);
        if (!made || !made->content) return;
        if (keeps_log) made->keep_log();
        device = made.get();
        auto disk = disk_on(std::move(made), timeout);
        if (!disk) return;
        auto added = block::add_disk(*std::move(disk), trials::model_family);
        if (added) on = *std::move(added);
    }
    ~rig() {
        if (on) block::remove_disk(on->on());
    }
    explicit operator bool() const { return bool(on); }
};

bool is_eio(k::status s) {
    return !s && s.error() == k::error::io;
}

} // namespace

SELFTEST(ahci, bytes_go_to_the_device_and_come_back_uncopied) {
    for (unsigned depth : {1u, 4u, 32u})
        trials::bytes_go_and_come_back_uncopied<rig>(depth);
}

SELFTEST(ahci, all_cpus_use_it_at_once) {
    for (unsigned depth : {1u, 2u, 32u})
        trials::all_cpus_use_it_at_once<rig>(depth);
}

SELFTEST(ahci, a_request_that_gets_no_answer_is_tried_again_after_a_reset) {
    trials::silence_ends_in_a_second_try<rig>();
}

SELFTEST(ahci, a_device_that_never_answers_ends_in_eio) {
    trials::silence_for_good_ends_in_eio<rig>();
}

SELFTEST(ahci, pages_of_a_device_that_does_not_stop_stay_in_quarantine) {
    trials::pages_stay_in_quarantine_until_it_stops<rig>();
}

// Commands are queued as deep as both sides take it, a flush goes alone, and so does everything on a disk that cannot.
SELFTEST(ahci, commands_are_queued_where_both_can) {
    for (unsigned depth : {1u, 3u, 32u}) {
        rig r(depth, 10 * ktime::second);
        REQUIRE(r);
        r.device->queued = r.device->alone = 0;
        std::atomic<unsigned> wrong = 0;
        support::run_everywhere([&](unsigned cpu) {
            support::buffer bytes(4096);
            auto from = xio::source::over_kernel(bytes.bytes());
            if (!bytes || !from) return void(wrong++);
            for (unsigned round = 0; round < 20; round++) {
                if (!block::write(*r.on, (cpu % 16 * 32 + round % 4 * 8) * 512, *from).status) wrong++;
                if (!block::flush(*r.on)) wrong++;
            }
        });
        EXPECT_EQ(wrong.load(), 0u);
        EXPECT_EQ(r.device->flushes.load(), 20u * arch::cpu::count());
        EXPECT(depth > 1 ? r.device->queued.load() == r.device->flushes.load() : r.device->queued.load() == 0u);
        EXPECT_EQ(r.device->resets.load(), 1u);
    }
}

namespace {

// One bad sector among many good ones: only who asks for it gets EIO, and however often.
void an_error_strikes_only_one(rig& r) {
    r.device->bad_sector = 501;
    std::atomic<unsigned> wrong = 0, failed = 0;
    support::run_everywhere([&](unsigned cpu) {
        support::buffer bytes(4096);
        auto to = xio::sink::over_kernel(bytes.bytes());
        if (!bytes || !to) return void(wrong++);
        for (unsigned round = 0; round < 10; round++) {
            if (!block::read(*r.on, cpu % 16 * 8 * 512, *to).status) wrong++;
            if (cpu) continue;
            const xio::moved m = block::read(*r.on, 496 * 512, *to);
            if (is_eio(m.status) && !m.bytes) failed++;
        }
    });
    EXPECT_EQ(wrong.load(), 0u);
    EXPECT_EQ(failed.load(), 10u);
}

} // namespace

SELFTEST(ahci, an_error_strikes_only_the_request_that_has_it) {
    for (unsigned depth : {1u, 32u}) {
        rig r(depth, 10 * ktime::second);
        data d;
        REQUIRE(r && d.make(2));
        an_error_strikes_only_one(r);
        EXPECT(block::write(*r.on, 0, d.from).status);
        EXPECT(r.device->resets.load() > 1u);
        EXPECT_EQ(r.device->logs_read.load(), 0u);
    }
}

// The log names the one; the others are queued again, and the disk need not be reset.
SELFTEST(ahci, a_log_says_which_command_failed) {
    rig r(32, 10 * ktime::second, true);
    data d;
    REQUIRE(r && d.make(2));
    r.device->alone = 0;
    an_error_strikes_only_one(r);
    EXPECT_EQ(r.device->logs_read.load(), 10u);
    EXPECT_EQ(r.device->alone.load(), 10u); // the logs: nothing was tried alone
    EXPECT_EQ(r.device->resets.load(), 1u); // the first one
    EXPECT(block::write(*r.on, 0, d.from).status);
}

// What the log says is believed only if it can be so.
SELFTEST(ahci, a_log_that_lies_is_not_believed) {
    for (log_lie how : {log_lie::other_tag, log_lie::not_queued, log_lie::bad_sum, log_lie::refused}) {
        rig r(32, 10 * ktime::second, true);
        data d;
        REQUIRE(r && d.make(2));
        r.device->how_log_lies = how;
        an_error_strikes_only_one(r);
        EXPECT_EQ(r.device->logs_read == 0, how == log_lie::refused);
        EXPECT(r.device->resets.load() > 1u);
        EXPECT(block::write(*r.on, 0, d.from).status);
    }
}

SELFTEST(ahci, a_device_that_lies_is_reset_and_asked_again) {
    for (lie how : {lie::strange_tag, lie::link_error, lie::error}) {
        rig r(8, trials::long_timeout);
        data d;
        REQUIRE(r && d.make(3));
        EXPECT(block::write(*r.on, 0, d.from).status);
        const unsigned before = r.device->resets.load();
        d.forget();
        r.device->next_lie = how;
        EXPECT(block::read(*r.on, 0, d.to).status);
        EXPECT(block::read(*r.on, 0, d.to).status);
        EXPECT(d.same());
        trials::wait_until([&] { return r.device->resets.load() > before; });
    }
}

// What went alone is good only if the device says so, and has moved all of it.
SELFTEST(ahci, what_it_does_not_confirm_is_eio) {
    for (lie how : {lie::no_fis, lie::too_short}) {
        rig r(1, trials::long_timeout);
        data d;
        REQUIRE(r && d.make(4));
        r.device->next_lie = how;
        EXPECT(is_eio(block::read(*r.on, 0, d.to).status));
        EXPECT(block::read(*r.on, 0, d.to).status);
    }
}

SELFTEST(ahci, bytes_at_odd_places_bounce_and_arrive) {
    rig r(32, trials::long_timeout);
    support::page_set<2> pages;
    REQUIRE(r && pages.allocate());
    const std::span<std::byte> out(pages.data(0) + 33, 3 * 512), in(pages.data(1) + 1, 3 * 512);
    support::fill_pattern(out, 8);
    auto from = xio::source::over_run(pages[0], 33, 3 * 512);
    auto to = xio::sink::over_run(pages[1], 1, 3 * 512);
    REQUIRE(from && to);
    const k::u64 before = trials::bounced_bytes();
    EXPECT(block::write(*r.on, 512, *from).status);
    EXPECT(block::read(*r.on, 512, *to).status);
    EXPECT(support::has_pattern(in, 8));
    EXPECT_EQ(trials::bounced_bytes() - before, 2u * 3 * 512);
}

SELFTEST(ahci, a_durable_write_says_so_and_a_discard_is_taken) {
    for (unsigned depth : {1u, 32u}) {
        rig r(depth, trials::long_timeout);
        data d;
        REQUIRE(r && d.make(7));
        EXPECT(block::write(*r.on, 0, d.from, true).status);
        EXPECT(r.device->forced.load() >= 1u);
        EXPECT_EQ(r.device->flushes.load(), 0u);
        EXPECT(block::flush(*r.on));
        EXPECT_EQ(r.device->flushes.load(), 1u);
        EXPECT(block::discard(*r.on, 0, 64 * 512));
    }
}

SELFTEST(ahci, a_disk_that_is_pulled_out_of_its_bay_ends_in_eio) {
    rig r(32, trials::long_timeout);
    data d;
    REQUIRE(r && d.make(9));
    EXPECT(block::write(*r.on, 0, d.from).status);
    r.device->silence(true);
    REQUIRE(support::run_aside([&] { EXPECT(is_eio(block::read(*r.on, 0, d.to).status)); },
                               [&] {
                                   lwkt::sleep_for(2 * ktime::millisecond);
                                   r.device->unplug();
                               }));
    EXPECT(is_eio(block::write(*r.on, 0, d.from).status));
    EXPECT(is_eio(block::flush(*r.on)));
    EXPECT_EQ(busdma::pages_in_quarantine(), 0u);
}

SELFTEST(ahci, a_device_that_makes_no_sense_is_refused) {
    const auto refused = [](auto change) {
        auto made = mem::make_box<model_ahci>(trials::disk_sectors, 32u);
        if (!made) return false;
        change(*made);
        return !disk_on(std::move(made), trials::long_timeout);
    };
    EXPECT(!refused([](model_ahci&) {}));
    EXPECT(refused([](model_ahci& m) { m.is_there = false; }));
    EXPECT(refused([](model_ahci& m) { m.is_plugged = false; }));
    EXPECT(refused([](model_ahci& m) { m.signature = 0xeb14'0101; })); // a CD
    EXPECT(refused([](model_ahci& m) { m.say(0, 1 << 15); }));
    EXPECT(refused([](model_ahci& m) { m.say(49, 0); }));
    EXPECT(refused([](model_ahci& m) { m.say(83, 0xffff); }));
    EXPECT(refused([](model_ahci& m) { m.say(100, 0); }));
    EXPECT(refused([](model_ahci& m) { m.say(103, 0xffff); }));
    for (unsigned words : {0u, 128u, 300u, 4096u, 0x8000'0000u})
        EXPECT(refused([&](model_ahci& m) {
            m.say(106, 1 << 14 | 1 << 12);
            m.say(117, static_cast<k::u16>(words));
            m.say(118, static_cast<k::u16>(words >> 16));
        }));
}

SELFTEST(ahci, what_leaves_gives_everything_back_at_the_latest_when_it_is_gone) {
    trials::what_is_pulled_out_ends_in_eio<rig>();
    trials::what_leaves_and_does_not_stop_gives_back_when_it_is_gone<rig>();
}
