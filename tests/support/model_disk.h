// A disk in memory for tests: it answers late and in any order, or not at all, and fails where it is told to.
#pragma once

#include "drivers/block/registry.h"
#include "kernel/lib/random.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/lwkt/thread.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"

namespace support {

class model_disk final : public block::disk {
  public:
    model_disk(k::u64 sectors, bool answers_late) noexcept
        : late(answers_late), content(sectors << block::sector_shift) {
        properties_.sectors = sectors;
        properties_.has_flush = true;
        limits_ = {.segments = 8, .segment_bytes = 8192};
    }
    explicit operator bool() const { return bool(content); }

    const bool late;
    buffer content;
    std::atomic<k::u64> bad_sector = ~k::u64{0}; // requests that touch it fail
    std::atomic<bool> writes_fail = false;
    std::atomic<k::u64> reads = 0, writes = 0, flushes = 0, most_waiting = 0;
    std::atomic<bool> holds = false; // answers nothing for now
    // Sectors begin with numbers, which must not fall: how often one did.
    std::atomic<bool> watches_numbers = false;
    std::atomic<k::u64> fallen = 0;

    block::disk_properties& change_properties() { return properties_; }
    busdma::tag& change_limits() { return limits_; }

    const block::disk_properties& properties() const noexcept override { return properties_; }
    const busdma::tag& limits() const noexcept override { return limits_; }
    std::string_view driver() const noexcept override { return "a model"; }
    void last_holder_left() noexcept override { mem::destroy(this); }

    void start(block::request& r) noexcept override {
        EXPECT_EQ(r.cpu, arch::cpu::id());
        EXPECT(arch::cpu::local().critical != 0);
        if (!late) return serve(r);
        lwkt::spin_guard guard(lock_);
        waiting_.push_back(r);
        most_waiting = std::max(most_waiting.load(), ++count_);
    }

    // Answers what waits, in any order, until told to end. One thread, of any CPU.
    void answer(k::u64 seed) {
        k::random random(seed);
        while (!ends_.load()) {
            block::request* r = holds.load() ? nullptr : take(random);
            if (r) {
                lwkt::critical section;
                serve(*r);
            } else {
                lwkt::sleep_for(50 * ktime::microsecond);
            }
        }
    }
    void end() { ends_ = true; }

  private:
    block::request* take(k::random& random) {
        lwkt::spin_guard guard(lock_);
        if (waiting_.empty()) return nullptr;
        auto at = waiting_.begin();
        for (k::u64 skip = random.below(count_); skip; skip--)
            ++at;
        block::request& r = *at;
        waiting_.erase(at);
        count_--;
        return &r;
    }
    void serve(block::request& r) {
        const k::u64 at = r.sector << block::sector_shift, bytes = r.bytes();
        const k::u64 bad = bad_sector.load();
        k::status done;
        if (r.what == block::operation::flush) {
            flushes++;
        } else if (at > content.size() || bytes > content.size() - at) {
            selftest::fail(k::where::here(), "a request beyond the disk: sector {}, {} bytes", r.sector, bytes);
            done = k::error::io;
        } else if (bad >= r.sector && bad < r.sector + r.length()) {
            done = k::error::io;
        } else if (r.what == block::operation::read) {
            reads++;
            done = r.into.write(0, content.bytes().subspan(at, bytes));
        } else {
            writes++;
            done = writes_fail.load() ? k::status(k::error::io) : take(r, content.bytes().subspan(at, bytes));
        }
        block::complete(r, done);
    }

    k::status take(block::request& r, std::span<std::byte> to) {
        if (!watches_numbers.load()) return r.from.read(0, to);
        for (k::u64 at = 0; at < to.size(); at += block::sector_bytes) {
            const auto number = [&] { return *reinterpret_cast<const k::u64*>(to.data() + at); };
            const k::u64 before = number();
            if (auto done = r.from.read(at, to.subspan(at, block::sector_bytes)); !done) return done;
            fallen += number() < before;
        }
        return {};
    }

    block::disk_properties properties_;
    busdma::tag limits_;
    lwkt::spinlock lock_;
    block::request_list waiting_;
    k::u64 count_ = 0;
    std::atomic<bool> ends_ = false;
};

// A model disk that is known to the block layer as long as this lives, with the thread that answers, if it needs one.
class known_disk {
  public:
    explicit known_disk(k::u64 sectors, bool late = false, unsigned cpu = 0) {
        auto* made = mem::make<model_disk>(sectors, late);
        if (!made) return;
        k::ref<block::disk> held(made);
        if (!*made) return;
        if (late && !lwkt::spawn("model disk", cpu, lwkt::normal_priority, answer, this)) return;
        model_ = made;
        answers_.store(late);
        auto added = block::add_disk(std::move(held), {.prefix = "model", .major = 240});
        if (added) device_ = *std::move(added);
    }
    ~known_disk() {
        if (!model_) return;
        if (answers_) {
            model_->end();
            (void)ended_.wait();
        }
        block::remove_disk(*model_);
    }
    known_disk(const known_disk&) = delete;
    explicit operator bool() const { return bool(device_); }
    model_disk* operator->() const { return model_; }
    block::device& device() const { return *device_; }

  private:
    static void answer(void* argument) {
        auto& self = *static_cast<known_disk*>(argument);
        while (!self.answers_.load())
            lwkt::sleep_for(50 * ktime::microsecond);
        self.model_->answer(selftest::seed());
        self.ended_.signal();
    }
    model_disk* model_ = nullptr;
    std::atomic<bool> answers_ = false;
    lwkt::completion ended_;
    block::device_ref device_;
};

} // namespace support
