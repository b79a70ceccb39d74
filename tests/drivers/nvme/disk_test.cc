// drivers/nvme on a controller made of software: the same trials as every disk, and what only NVMe can get wrong.
#include "drivers/nvme/disk.h"

#include "tests/drivers/block/trials.h"
#include "tests/drivers/nvme/model_controller.h"

using tests::model_nvme;
using trials::data;
using lie = tests::model_nvme::lie;

namespace {

k::result<k::ref<block::disk>> disk_on(mem::box<model_nvme> model, ktime::ns timeout) {
    return nvme::disk::create(mem::box<nvme::port>(model.release()), timeout);
}

// What a controller offers for telling it where bytes lie: page lists only, descriptors of any bytes, or of words.
constexpr unsigned offers[] = {0, 1, 2};

// A disk on a model, known to the block layer while this lives.
struct rig {
    model_nvme* device = nullptr;
    block::device_ref on;

    rig(unsigned queues, ktime::ns timeout, unsigned offer = 0) {
        auto made = mem::make_box<model_nvme>(trials::disk_sectors, queues);
        if (!made || !made->content) return;
        device = made.get();
        device->offer_descriptors(offer);
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
struct described_rig : rig {
    described_rig(unsigned queues, ktime::ns timeout) : rig(queues, timeout, 1) {}
};

} // namespace

SELFTEST(nvme, bytes_go_to_the_device_and_come_back_uncopied) {
    for (unsigned queues : {1u, 4u}) {
        trials::bytes_go_and_come_back_uncopied<rig>(queues);
        trials::bytes_go_and_come_back_uncopied<described_rig>(queues);
    }
}

SELFTEST(nvme, all_cpus_use_it_at_once) {
    for (unsigned queues : {1u, 2u, 4u}) {
        trials::all_cpus_use_it_at_once<rig>(queues);
        trials::all_cpus_use_it_at_once<described_rig>(queues);
    }
}

SELFTEST(nvme, a_request_that_gets_no_answer_is_tried_again_after_a_reset) {
    trials::silence_ends_in_a_second_try<rig>();
    trials::silence_ends_in_a_second_try<described_rig>();
}

SELFTEST(nvme, a_device_that_never_answers_ends_in_eio) {
    trials::silence_for_good_ends_in_eio<rig>();
}

SELFTEST(nvme, pages_of_a_device_that_does_not_stop_stay_in_quarantine) {
    trials::pages_stay_in_quarantine_until_it_stops<rig>();
}

SELFTEST(nvme, an_error_of_the_device_is_eio) {
    rig r(4, trials::long_timeout);
    data d;
    REQUIRE(r && d.make(2));
    r.device->next_lie = lie::error;
    const xio::moved m = block::read(*r.on, 0, d.to);
    EXPECT(!m.status && m.status.error() == k::error::io);
    EXPECT_EQ(m.bytes, 0u);
    EXPECT(block::read(*r.on, 0, d.to).status);
}

SELFTEST(nvme, a_device_that_lies_is_reset_and_asked_again) {
    for (lie how : {lie::wrong_id, lie::wrong_queue, lie::twice}) {
        rig r(4, trials::long_timeout);
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

namespace {

// Page lists: pieces must join at pages, descriptors of words at those. What does not lie so goes through a bounce
// page, and arrives.
void bytes_that_lie_anyhow_arrive(unsigned offer) {
    rig r(2, trials::long_timeout, offer);
    const k::u64 bounced_before = trials::bounced_bytes();
    support::page_set<8> pages;
    support::buffer bytes(4 * trials::page), seen(4 * trials::page);
    REQUIRE(r && pages.allocate() && bytes && seen);
    k::random random(selftest::seed());
    for (unsigned round = 0; round < 60; round++) {
        // Up to four pieces with odd beginnings and ends that make whole sectors together.
        xio::sink to;
        k::u64 total = 0;
        const unsigned pieces = 1 + static_cast<unsigned>(random.below(4));
        for (unsigned i = 0; i < pieces; i++) {
            const k::u64 offset = random.below(3) ? random.below(4000) : 0;
            k::u64 length = 1 + random.below(trials::page - offset);
            if (i + 1 == pieces) length = 512 - total % 512;
            if (offset + length > trials::page) length = 0; // as it stands, it would not end on a sector
            if (!length) break;
            auto piece = xio::sink::over_run(pages[2 * i], offset, length);
            REQUIRE(piece);
            auto both = xio::sink::append(to, *piece);
            REQUIRE(both);
            to = *std::move(both);
            total += length;
        }
        const k::u64 whole = total / 512 * 512;
        if (!whole) continue;
        auto part = to.slice(0, whole);
        REQUIRE(part);
        const k::u64 at = random.below(900) * 512;
        support::fill_pattern(bytes.first(whole), round);
        REQUIRE(part->write(0, bytes.first(whole)));
        support::buffer as_written(whole);
        REQUIRE(as_written);
        auto from = xio::source::copy_of(bytes.first(whole));
        REQUIRE(from);
        EXPECT(block::write(*r.on, at, *from).status);
        std::memset(pages.data(0), 0, trials::page);
        EXPECT(block::read(*r.on, at, *part).status);
        auto filled = part->size();
        EXPECT_EQ(filled, whole);
        std::memcpy(seen.data(), r.device->content.data() + at, whole);
        EXPECT(support::same_bytes(seen.first(whole), bytes.first(whole)));
        support::buffer read_back(whole);
        REQUIRE(read_back);
        auto plain = xio::sink::over_kernel(read_back.bytes());
        REQUIRE(plain);
        EXPECT(block::read(*r.on, at, *plain).status);
        EXPECT(support::same_bytes(read_back.bytes(), bytes.first(whole)));
    }
    EXPECT_EQ(r.device->page_lists == 0, offer != 0);
    EXPECT_EQ(r.device->descriptors == 0, offer == 0);
    EXPECT_EQ(trials::bounced_bytes() == bounced_before, offer == 1);
}

} // namespace

SELFTEST(nvme, bytes_that_lie_anyhow_arrive) {
    for (unsigned offer : offers)
        bytes_that_lie_anyhow_arrive(offer);
}

// What lies together is told of at once; pieces of pages go as they lie.
SELFTEST(nvme, descriptors_are_few_and_nothing_bounces) {
    for (unsigned offer : {1u, 2u}) {
        rig r(1, trials::long_timeout, offer);
        vm::page_ref block = support::allocate_block(3);
        support::page_set<6> pages;
        REQUIRE(r && block && pages.allocate());
        const k::u64 before = trials::bounced_bytes();
        const unsigned told_before = r.device->descriptors; // partitions were looked for
        auto together = xio::source::over_run(block.get(), 64, 7 * trials::page);
        REQUIRE(together);
        EXPECT(block::write(*r.on, 0, *together).status);
        EXPECT_EQ(r.device->descriptors - told_before, 1u);
        xio::sink apart;
        for (unsigned i = 0; i < pages.size(); i++) {
            auto piece = xio::sink::over_run(pages[i], 4 + 100 * i, 512);
            REQUIRE(piece);
            auto both = xio::sink::append(apart, *piece);
            REQUIRE(both);
            apart = *std::move(both);
        }
        EXPECT(block::read(*r.on, 512, apart).status);
        EXPECT_EQ(r.device->descriptors - told_before, 7u);
        EXPECT_EQ(trials::bounced_bytes(), before);
        for (unsigned i = 0; i < pages.size(); i++)
            EXPECT(support::same_bytes({pages.data(i) + 4 + 100 * i, 512},
                                       {r.device->content.data() + 512 * (i + 1), 512}));
    }
}

// No request is longer than the controller takes, however few descriptors tell of it: the model looks.
SELFTEST(nvme, what_is_longer_than_it_takes_goes_in_parts) {
    for (unsigned offer : offers) {
        rig r(1, trials::long_timeout, offer);
        vm::page_ref block = support::allocate_block(5);
        REQUIRE(r && block);
        for (k::u64 offset : {0u, 512u}) {
            const std::span<std::byte> bytes(static_cast<std::byte*>(vm::direct(block.get())) + offset,
                                             31 * trials::page);
            support::fill_pattern(bytes, offset + offer);
            auto from = xio::source::over_run(block.get(), offset, bytes.size());
            REQUIRE(from);
            EXPECT(block::write(*r.on, 0, *from).status);
            EXPECT(support::same_bytes(bytes, r.device->content.bytes().first(bytes.size())));
        }
    }
}

// What it says of descriptors that nobody knows of is as if it offered none.
SELFTEST(nvme, an_offer_that_makes_no_sense_is_not_taken) {
    rig r(1, trials::long_timeout, 3);
    data d;
    REQUIRE(r && d.make(11));
    EXPECT(block::write(*r.on, 0, d.from).status);
    EXPECT_EQ(r.device->descriptors.load(), 0u);
    EXPECT(r.device->page_lists.load() != 0);
}

SELFTEST(nvme, a_durable_write_says_so) {
    rig r(1, trials::long_timeout);
    data d;
    REQUIRE(r && d.make(7));
    EXPECT(block::write(*r.on, 0, d.from, true).status);
    EXPECT(r.device->forced.load() >= 1u);
    EXPECT_EQ(r.device->flushes.load(), 0u);
    EXPECT(block::flush(*r.on));
    EXPECT_EQ(r.device->flushes.load(), 1u);
}

SELFTEST(nvme, a_device_that_makes_no_sense_is_refused) {
    const auto refused = [](auto change) {
        auto made = mem::make_box<model_nvme>(trials::disk_sectors);
        if (!made) return false;
        change(*made);
        return !disk_on(std::move(made), trials::long_timeout);
    };
    EXPECT(refused([](model_nvme& m) { m.capabilities = 127; }));                                // no usual commands
    EXPECT(refused([](model_nvme& m) { m.capabilities = k::u64{1} << 37 | 7; }));                // short queues
    EXPECT(refused([](model_nvme& m) { m.capabilities |= k::u64{2} << 48 | k::u64{2} << 52; })); // large pages only
    EXPECT(refused([](model_nvme& m) { m.capabilities |= k::u64{15} << 32; })); // doorbells out of sight
    EXPECT(refused([](model_nvme& m) { m.next_lie = lie::never_ready; }));
    EXPECT(refused([](model_nvme& m) { m.said_of_name_space.blocks = 0; }));
    EXPECT(refused([](model_nvme& m) { m.said_of_name_space.blocks = ~k::u64{0}; }));
    for (k::u32 form : {0u, 8u << 16, 13u << 16, 255u << 16, 9u << 16 | 8u})
        EXPECT(refused([&](model_nvme& m) { m.said_of_name_space.form = form; }));
}

SELFTEST(nvme, what_leaves_gives_everything_back_at_the_latest_when_it_is_gone) {
    trials::what_is_pulled_out_ends_in_eio<rig>();
    trials::what_leaves_and_does_not_stop_gives_back_when_it_is_gone<rig>();
}
