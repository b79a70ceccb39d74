// The timer wheel: levels of 64 slots, each level 64 times coarser than the one below. A callout goes into the
// finest level that reaches its deadline and moves down when its slot comes up. A bit map a level finds the
// next slot that holds anything, so neither an empty wheel nor a far deadline costs ticks.
#include "kernel/time/callout.h"

#include "kernel/lwkt/critical.h"
#include "kernel/mem/slab.h"

#include <algorithm>
#include <bit>

namespace ktime {

namespace {

constexpr unsigned tick_shift = 16; // 65.536 us
constexpr unsigned slot_bits = 6;
constexpr unsigned slots = 1u << slot_bits;
constexpr unsigned levels = 7; // 2^(16 + 42) ns: nine years; what is due later comes back to the last level

constexpr k::u64 tick_of(ns at) {
    return at >> tick_shift;
}

} // namespace

// Owned by one CPU, in a critical section.
class wheel {
  public:
    void insert(callout& c) {
        const k::u64 distance = c.tick_ > now_ ? c.tick_ - now_ : 1;
        const auto level = std::min<unsigned>((std::bit_width(distance) - 1) / slot_bits, levels - 1);
        // The last level holds what lies beyond it in its farthest slot.
        const k::u64 reach = std::min<k::u64>(distance, (k::u64{1} << (slot_bits * levels)) - 1);
        c.level_ = static_cast<k::u8>(level);
        c.slot_ = static_cast<k::u8>(((now_ + reach) >> (slot_bits * level)) % slots);
        slot(level, c.slot_).push_back(c);
        occupied_[level] |= k::u64{1} << c.slot_;
    }

    void remove(callout& c) {
        list& l = slot(c.level_, c.slot_);
        l.erase(l.iterator_to(c));
        if (l.empty()) occupied_[c.level_] &= ~(k::u64{1} << c.slot_);
    }

    // Tells the machine when to interrupt next.
    void program() {
        const k::u64 next = next_tick();
        if (next == programmed_) return;
        programmed_ = next;
        if (next == none)
            arch::clock::disarm();
        else
            arch::clock::arm(next << tick_shift);
    }

    // Starts the wheel's time, when nothing is in it, at the present.
    void catch_up(k::u64 tick) {
        if (next_tick() == none) now_ = std::max(now_, tick);
    }

    void run(k::u64 tick) {
        programmed_ = none;
        for (k::u64 next = next_tick(); next <= tick; next = next_tick()) {
            now_ = next;
            turn();
        }
        now_ = std::max(now_, tick);
        program();
    }

  private:
    using list =
        boost::intrusive::list<callout,
                               boost::intrusive::member_hook<callout, decltype(callout::link_), &callout::link_>,
                               boost::intrusive::constant_time_size<false>>;
    static constexpr k::u64 none = ~k::u64{0};

    list& slot(unsigned level, unsigned index) { return slots_[level][index]; }

    // The first tick after now_ at which some slot comes up.
    k::u64 next_tick() const {
        k::u64 next = none;
        for (unsigned level = 0; level < levels; level++) {
            if (!occupied_[level]) continue;
            const k::u64 position = now_ >> (slot_bits * level);
            const auto from = static_cast<int>((position + 1) % slots);
            const auto steps = static_cast<k::u64>(std::countr_zero(std::rotr(occupied_[level], from))) + 1;
            next = std::min(next, (position + steps) << (slot_bits * level));
        }
        return next;
    }

    // now_ has reached a slot's time: runs what is due and moves the rest of coarser slots down.
    void turn() {
        for (unsigned level = 0; level < levels; level++) {
            if (level && now_ % (k::u64{1} << (slot_bits * level))) break;
            const auto index = static_cast<unsigned>((now_ >> (slot_bits * level)) % slots);
            list due;
            due.swap(slot(level, index));
            occupied_[level] &= ~(k::u64{1} << index);
            while (!due.empty()) {
                callout& c = due.front();
                due.pop_front();
                if (c.tick_ > now_) {
                    insert(c);
                    continue;
                }
                // A function may arm any callout, this one too, and may cancel others: those still in
                // `due` must be findable, so they go back into the slot first.
                slot(level, index).splice(slot(level, index).end(), due);
                if (!slot(level, index).empty()) occupied_[level] |= k::u64{1} << index;
                c.armed_ = false;
                c.run_(c);
                due.swap(slot(level, index));
                occupied_[level] &= ~(k::u64{1} << index);
            }
        }
    }

    k::u64 now_ = 0; // ticks whose slots have been run
    k::u64 programmed_ = none;
    k::u64 occupied_[levels] = {};
    list slots_[levels][slots];
};

namespace {

lwkt::per_cpu<wheel*> wheels;

wheel& local_wheel() {
    return *wheels.local();
}

} // namespace

bool make_wheel() noexcept {
    wheels.local() = mem::make<wheel>();
    return wheels.local();
}

void callout::arm(ns deadline) noexcept {
    lwkt::critical section;
    kassert(!armed_);
    wheel& w = local_wheel();
    w.catch_up(tick_of(now()));
    armed_ = true;
    cpu_ = arch::cpu::id();
    deadline_ = deadline;
    tick_ = tick_of(std::min(deadline, forever >> 1)) + 1; // rounded up: never early
    w.insert(*this);
    w.program();
}

bool callout::cancel() noexcept {
    lwkt::critical section;
    if (!armed_) return false;
    kassert(cpu_ == arch::cpu::id());
    wheel& w = local_wheel();
    w.remove(*this);
    armed_ = false;
    w.program(); // the last one gone: no interrupt any more
    return true;
}

void run_due_callouts() noexcept {
    local_wheel().run(tick_of(now()));
}

} // namespace ktime
