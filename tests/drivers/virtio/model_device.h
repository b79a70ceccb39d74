// A virtio disk made of software, for tests: it reads the rings that the driver wrote, answers in any order, and lies
// where it is told to.
#pragma once

#include "drivers/virtio/queue.h"
#include "kernel/lib/random.h"
#include "kernel/lwkt/sleep_lock.h"
#include "kernel/lwkt/thread.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"

namespace tests {

class model_virtio final : public virtio::transport {
  public:
    enum class lie : k::u8 { none, wrong_place, place_twice, too_long, too_short, index_far_ahead, error, silence };
    static constexpr unsigned most_queues = 4;

    explicit model_virtio(k::u64 sectors, unsigned queues = most_queues) : content(sectors * 512), queues_(queues) {
        put(0, sectors, 8);
        put(12, 20, 4);
        put(20, 512, 4);
        put(34, queues, 2);
        (void)lwkt::spawn("model device", 0, lwkt::normal_priority, body, this);
    }
    ~model_virtio() override {
        ends_ = true;
        (void)ended_.wait();
    }
    support::buffer content;
    std::atomic<lie> next_lie = lie::none; // for the next answer, once; silence lasts until it is changed
    std::atomic<bool> stops = true;        // does a reset reach it?
    std::atomic<bool> is_there = true;     // false: it was pulled out, and all registers read as ones
    std::atomic<unsigned> resets = 0, answers = 0, notifications = 0;
    k::u64 features = virtio::feature_version_1 | virtio::feature_indirect | virtio::feature_event_index | 1 << 2 |
                      1 << 6 | 1 << 9 | 1 << 12;
    void silence(bool on) { next_lie = on ? lie::silence : lie::none; }
    void put(unsigned offset, k::u64 value, unsigned width) { std::memcpy(config_ + offset, &value, width); }

    k::u64 device_features() noexcept override { return is_there ? features : ~k::u64{0}; }
    void set_driver_features(k::u64 f) noexcept override {
        if (is_there) EXPECT_EQ(f & ~features, 0u);
    }
    k::u8 status() noexcept override { return is_there ? status_.load() : k::u8{0xff}; }
    void set_status(k::u8 bits) noexcept override {
        if (!is_there) return;
        if (bits == 0) {
            resets++;
            if (!stops) return;
            lwkt::sleep_hold hold(working_);
            for (queue_state& q : state_)
                q.on = false;
        }
        status_ = bits;
    }
    k::u32 read_config(unsigned offset, unsigned width) noexcept override {
        k::u32 value = 0;
        if (offset + width <= sizeof(config_)) std::memcpy(&value, config_ + offset, width);
        return value;
    }
    k::u8 config_generation() noexcept override { return 0; }
    unsigned queue_count() noexcept override { return queues_; }
    k::u16 queue_size(unsigned q) noexcept override { return q < queues_ ? 64 : 0; }
    k::status start_queue(unsigned q, k::u16 size, const virtio::queue_place& where, unsigned cpu,
                          lwkt::interrupt_handler handler, void* argument) noexcept override {
        auto line = lwkt::interrupt::connect(cpu, handler, argument);
        if (!line) return line.error();
        lwkt::sleep_hold hold(working_);
        state_[q].line = *std::move(line);
        state_[q].size = size;
        state_[q].where = where;
        state_[q].seen = state_[q].used = 0;
        state_[q].on = true;
        return {};
    }
    void notify(unsigned) noexcept override { notifications++; }

  private:
    struct queue_state {
        bool on = false;
        k::u16 size = 0, seen = 0, used = 0;
        virtio::queue_place where{};
        lwkt::interrupt line;
    };
    void forget_queues() noexcept override {
        for (queue_state& q : state_)
            q.line = {};
    }
    template <class T> static T& at(arch::paddr pa) { return *static_cast<T*>(arch::memory::direct(pa)); }

    static void body(void* self) {
        auto& d = *static_cast<model_virtio*>(self);
        k::random random(selftest::seed());
        while (!d.ends_.load()) {
            bool worked = false;
            {
                lwkt::sleep_hold hold(d.working_);
                for (queue_state& q : d.state_)
                    if (q.on && (d.status_ & virtio::status_driver_ok)) worked |= d.serve(q, random);
            }
            if (!worked) lwkt::sleep_for(50 * ktime::microsecond);
        }
        d.ended_.signal();
    }

    // Takes what is there, some of it, and answers in any order.
    bool serve(queue_state& q, k::random& random) {
        if (next_lie == lie::silence) return false;
        const k::u16 available = std::atomic_ref(at<k::u16>(q.where.available + 2)).load(std::memory_order_acquire);
        k::u16 places[64];
        unsigned count = 0;
        while (q.seen != available && count < 64)
            places[count++] = at<k::u16>(q.where.available + 4 + 2 * (q.seen++ % q.size));
        // Tell me at the next.
        std::atomic_ref(at<k::u16>(q.where.used + 4 + 8 * q.size)).store(q.seen, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!count) return false;
        for (unsigned i = count; i > 1; i--)
            std::swap(places[i - 1], places[random.below(i)]);
        for (unsigned i = 0; i < count; i++)
            answer(q, places[i]);
        return true;
    }

    void answer(queue_state& q, k::u16 place) {
        const lie how = next_lie.exchange(lie::none);
        const auto head = at<virtio::descriptor>(q.where.descriptors + 16 * place);
        EXPECT(head.flags == virtio::flag_indirect);
        const unsigned parts = head.bytes / 16;
        const auto part = [&](unsigned i) -> const virtio::descriptor& {
            return at<virtio::descriptor>(head.address + 16 * i);
        };
        const auto type = at<k::u32>(part(0).address);
        k::u64 offset = at<k::u64>(part(0).address + 8) * 512;
        k::u32 written = 1;
        bool good = how != lie::error;
        for (unsigned i = 1; i + 1 < parts && good && type <= 1; i++) {
            const virtio::descriptor& d = part(i);
            EXPECT_EQ(bool(d.flags & virtio::flag_device_writes), type == 0);
            good = offset <= content.size() && d.bytes <= content.size() - offset;
            if (!good) break;
            auto* memory = &at<std::byte>(d.address);
            if (type == 0)
                std::memcpy(memory, content.data() + offset, d.bytes), written += d.bytes;
            else
                std::memcpy(content.data() + offset, memory, d.bytes);
            offset += d.bytes;
        }
        at<k::u8>(part(parts - 1).address) = good ? 0 : 1;
        if (how == lie::too_long) written = 1 << 30;
        if (how == lie::too_short) written = 1;
        put_used(q, how == lie::wrong_place ? k::u32{q.size} : k::u32{place}, written);
        if (how == lie::place_twice) put_used(q, place, written);
        if (how == lie::index_far_ahead) std::atomic_ref(at<k::u16>(q.where.used + 2)).fetch_add(1000);
        answers++;
        q.line.raise();
    }
    void put_used(queue_state& q, k::u32 place, k::u32 written) {
        at<k::u32>(q.where.used + 4 + 8 * (q.used % q.size)) = place;
        at<k::u32>(q.where.used + 8 + 8 * (q.used % q.size)) = written;
        q.used++;
        std::atomic_ref(at<k::u16>(q.where.used + 2)).store(q.used, std::memory_order_release);
    }

    std::byte config_[64] = {};
    const unsigned queues_;
    std::atomic<k::u8> status_ = 0;
    queue_state state_[most_queues];
    lwkt::sleep_lock working_;
    std::atomic<bool> ends_ = false;
    lwkt::completion ended_;
};

} // namespace tests
