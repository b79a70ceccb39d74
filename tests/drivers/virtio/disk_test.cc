// drivers/virtio_blk on a device made of software: right bytes whatever order it answers in; lies, silence and death
// end in a reset or in EIO, and nothing is given back while the device may still write to it.
#include "drivers/virtio_blk/disk.h"

#include "drivers/block/registry.h"
#include "kernel/lwkt/sleep_lock.h"
#include "tests/drivers/virtio/model_device.h"
#include "tests/support/page_set.h"
#include "tests/support/threads.h"

using tests::model_virtio;
using lie = tests::model_virtio::lie;

namespace {

constexpr k::u64 page = arch::page_size;
constexpr ktime::ns short_timeout = 100 * ktime::millisecond;

// A disk on a model, known to the block layer while this lives.
struct rig {
    model_virtio* device = nullptr;
    block::device_ref on;

    explicit rig(unsigned queues = model_virtio::most_queues, ktime::ns timeout = short_timeout) {
        auto made = mem::make_box<model_virtio>(1024, queues);
        if (!made || !made->content) return;
        device = made.get();
        auto disk = virtio_blk::disk::create(mem::box<virtio::transport>(made.release()), timeout);
        if (!disk) return;
        auto added = block::add_disk(*std::move(disk), {.prefix = "model", .major = 240});
        if (added) on = *std::move(added);
    }
    ~rig() {
        if (on) block::remove_disk(on->on());
    }
    explicit operator bool() const { return bool(on); }
};

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
    bool same() {
        support::buffer seen(12 * page);
        return seen && from.read(0, seen.bytes()) && support::same_bytes(seen.bytes(), bytes.bytes());
    }
};

} // namespace

SELFTEST(virtio, bytes_go_to_the_device_and_come_back_uncopied) {
    for (unsigned queues : {1u, 4u}) {
        rig r(queues);
        data d;
        REQUIRE(r && d.make(1));
        const k::u64 before = xio::read_ledger().copied[static_cast<unsigned>(xio::reason::bounced)];
        for (unsigned round = 0; round < 20; round++)
            EXPECT(block::write(*r.on, round * 6 * page, d.from).status);
        EXPECT(block::flush(*r.on));
        for (unsigned i = 0; i < 12; i++)
            std::memset(d.pages.data(i), 0, page);
        EXPECT(block::read(*r.on, 19 * 6 * page, d.to).status);
        EXPECT(d.same());
        EXPECT_EQ(xio::read_ledger().copied[static_cast<unsigned>(xio::reason::bounced)], before);
        EXPECT_EQ(r.device->resets.load(), 1u); // the first one
    }
}

SELFTEST(virtio, all_cpus_use_it_at_once) {
    for (unsigned queues : {1u, 2u, 4u}) {
        rig r(queues, 10 * ktime::second);
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
}

SELFTEST(virtio, an_error_of_the_device_is_eio) {
    rig r;
    data d;
    REQUIRE(r && d.make(2));
    r.device->next_lie = lie::error;
    const xio::moved m = block::read(*r.on, 0, d.to);
    EXPECT(!m.status && m.status.error() == k::error::io);
    EXPECT_EQ(m.bytes, 0u);
    r.device->next_lie = lie::too_short; // "done", but not all of it was written
    EXPECT(!block::read(*r.on, 0, d.to).status);
    EXPECT(block::read(*r.on, 0, d.to).status);
}

SELFTEST(virtio, a_device_that_lies_is_reset_and_asked_again) {
    for (lie how : {lie::wrong_place, lie::place_twice, lie::too_long, lie::index_far_ahead}) {
        rig r;
        data d;
        REQUIRE(r && d.make(3));
        EXPECT(block::write(*r.on, 0, d.from).status);
        const unsigned before = r.device->resets.load();
        r.device->next_lie = how;
        EXPECT(block::read(*r.on, 0, d.to).status);
        EXPECT(block::read(*r.on, 0, d.to).status);
        EXPECT(d.same());
        const ktime::ns deadline = ktime::after(5 * ktime::second);
        while (r.device->resets.load() == before && ktime::now() < deadline)
            lwkt::sleep_for(ktime::millisecond);
        EXPECT(r.device->resets.load() > before);
    }
}

SELFTEST(virtio, a_request_that_gets_no_answer_is_tried_again_after_a_reset) {
    rig r;
    data d;
    REQUIRE(r && d.make(4));
    EXPECT(block::write(*r.on, 0, d.from).status);
    r.device->next_lie = lie::silence;
    REQUIRE(support::run_aside([&] { EXPECT(block::read(*r.on, 0, d.to).status); },
                               [&] {
                                   const ktime::ns deadline = ktime::after(5 * ktime::second);
                                   while (r.device->resets.load() < 2 && ktime::now() < deadline)
                                       lwkt::sleep_for(ktime::millisecond);
                                   r.device->next_lie = lie::none;
                               }));
    EXPECT(d.same());
    EXPECT(r.device->resets.load() >= 2u);
}

SELFTEST(virtio, a_device_that_never_answers_ends_in_eio) {
    rig r;
    data d;
    REQUIRE(r && d.make(5));
    r.device->next_lie = lie::silence;
    const xio::moved m = block::read(*r.on, 0, d.to);
    EXPECT(!m.status && m.status.error() == k::error::io);
    EXPECT_EQ(busdma::pages_in_quarantine(), 0u); // it stopped when it was reset
    r.device->next_lie = lie::none;
    EXPECT(block::read(*r.on, 0, d.to).status);
}

SELFTEST(virtio, pages_of_a_device_that_does_not_stop_stay_in_quarantine) {
    data d;
    REQUIRE(d.make(6));
    {
        rig r;
        REQUIRE(r);
        r.device->next_lie = lie::silence;
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

SELFTEST(virtio, a_device_that_makes_no_sense_is_refused) {
    struct {
        unsigned offset;
        k::u64 value;
        unsigned width;
    } constexpr nonsense[] = {{0, 0, 8}, {0, ~0ull, 8}, {20, 0, 4}, {20, 513, 4}, {20, 1 << 20, 4}, {34, 0, 2}};
    for (const auto& n : nonsense) {
        auto made = mem::make_box<model_virtio>(1024);
        REQUIRE(made);
        made->put(n.offset, n.value, n.width);
        auto disk = virtio_blk::disk::create(mem::box<virtio::transport>(made.release()), short_timeout);
        EXPECT(!disk);
    }
    for (k::u64 missing : {virtio::feature_version_1, virtio::feature_indirect, virtio::feature_event_index}) {
        auto made = mem::make_box<model_virtio>(1024);
        REQUIRE(made);
        made->features &= ~missing;
        auto disk = virtio_blk::disk::create(mem::box<virtio::transport>(made.release()), short_timeout);
        EXPECT(!disk && disk.error() == k::error::opnotsupp);
    }
}
