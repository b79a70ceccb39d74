// drivers/virtio_blk on a device made of software: right bytes whatever order it answers in; lies, silence and death
// end in a reset or in EIO, and nothing is given back while the device may still write to it.
#include "drivers/virtio_blk/disk.h"

#include "tests/drivers/block/trials.h"
#include "tests/drivers/virtio/model_device.h"

using tests::model_virtio;
using trials::data;
using lie = tests::model_virtio::lie;

namespace {

// A disk on a model, known to the block layer while this lives.
struct rig {
    model_virtio* device = nullptr;
    block::device_ref on;

    rig(unsigned queues, ktime::ns timeout) {
        auto made = mem::make_box<model_virtio>(trials::disk_sectors, queues);
        if (!made || !made->content) return;
        device = made.get();
        auto disk = virtio_blk::disk::create(mem::box<virtio::transport>(made.release()), timeout);
        if (!disk) return;
        auto added = block::add_disk(*std::move(disk), trials::model_family);
        if (added) on = *std::move(added);
    }
    ~rig() {
        if (on) block::remove_disk(on->on());
    }
    explicit operator bool() const { return bool(on); }
};

} // namespace

SELFTEST(virtio, bytes_go_to_the_device_and_come_back_uncopied) {
    for (unsigned queues : {1u, 4u})
        trials::bytes_go_and_come_back_uncopied<rig>(queues);
}

SELFTEST(virtio, all_cpus_use_it_at_once) {
    for (unsigned queues : {1u, 2u, 4u})
        trials::all_cpus_use_it_at_once<rig>(queues);
}

SELFTEST(virtio, a_request_that_gets_no_answer_is_tried_again_after_a_reset) {
    trials::silence_ends_in_a_second_try<rig>();
}

SELFTEST(virtio, a_device_that_never_answers_ends_in_eio) {
    trials::silence_for_good_ends_in_eio<rig>();
}

SELFTEST(virtio, pages_of_a_device_that_does_not_stop_stay_in_quarantine) {
    trials::pages_stay_in_quarantine_until_it_stops<rig>();
}

SELFTEST(virtio, an_error_of_the_device_is_eio) {
    rig r(4, trials::long_timeout);
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
        rig r(4, trials::long_timeout);
        data d;
        REQUIRE(r && d.make(3));
        EXPECT(block::write(*r.on, 0, d.from).status);
        const unsigned before = r.device->resets.load();
        r.device->next_lie = how;
        EXPECT(block::read(*r.on, 0, d.to).status);
        EXPECT(block::read(*r.on, 0, d.to).status);
        EXPECT(d.same());
        trials::wait_until([&] { return r.device->resets.load() > before; });
    }
}

SELFTEST(virtio, a_device_that_makes_no_sense_is_refused) {
    struct {
        unsigned offset;
        k::u64 value;
        unsigned width;
    } constexpr nonsense[] = {{0, 0, 8}, {0, ~0ull, 8}, {20, 0, 4}, {20, 513, 4}, {20, 1 << 20, 4}, {34, 0, 2}};
    for (const auto& n : nonsense) {
        auto made = mem::make_box<model_virtio>(trials::disk_sectors);
        REQUIRE(made);
        made->put(n.offset, n.value, n.width);
        auto disk = virtio_blk::disk::create(mem::box<virtio::transport>(made.release()), trials::long_timeout);
        EXPECT(!disk);
    }
    for (k::u64 missing : {virtio::feature_version_1, virtio::feature_indirect, virtio::feature_event_index}) {
        auto made = mem::make_box<model_virtio>(trials::disk_sectors);
        REQUIRE(made);
        made->features &= ~missing;
        auto disk = virtio_blk::disk::create(mem::box<virtio::transport>(made.release()), trials::long_timeout);
        EXPECT(!disk && disk.error() == k::error::opnotsupp);
    }
}

SELFTEST(virtio, what_leaves_gives_everything_back_at_the_latest_when_it_is_gone) {
    trials::what_is_pulled_out_ends_in_eio<rig>();
    trials::what_leaves_and_does_not_stop_gives_back_when_it_is_gone<rig>();
}
