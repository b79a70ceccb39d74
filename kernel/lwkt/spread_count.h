// A count of users that many CPUs change all the time and hardly anybody reads: each CPU counts for itself, and only
// who wants to know whether anybody is left has it gathered into one word. A user may come on one CPU and leave on
// another.
#pragma once

#include "kernel/lwkt/critical.h"
#include "kernel/lwkt/grace.h"

namespace lwkt {

class spread_count {
  public:
    spread_count() = default;
    spread_count(const spread_count&) = delete;
    spread_count& operator=(const spread_count&) = delete;

    // One more user. While the count is spread by anybody, in a critical section or not; once gathered, only by who
    // keeps another user from leaving.
    void add() noexcept {
        critical section;
        if (gathered_.load(std::memory_order_acquire)) [[unlikely]]
            together_.fetch_add(1, std::memory_order_relaxed);
        else
            change_local(1);
    }
    // One less. True: the count is gathered, and this was the last.
    bool drop() noexcept {
        critical section;
        if (gathered_.load(std::memory_order_acquire)) [[unlikely]]
            return together_.fetch_sub(1, std::memory_order_acq_rel) == 1;
        change_local(-1);
        return false;
    }

    // Gathers; from here on drop() tells of the last one. How many there are. Not twice. Thread context, sleeps.
    k::i64 gather() noexcept {
        together_.store(bias, std::memory_order_relaxed);
        gathered_.store(true, std::memory_order_release);
        wait_for_readers(); // nobody counts for a CPU any more
        k::i64 sum = 0;
        for (auto& c : here_)
            sum += c.n.load(std::memory_order_relaxed);
        return together_.fetch_add(sum - bias, std::memory_order_acq_rel) + sum - bias;
    }
    // Undoes gather(), as long as the caller keeps a user from leaving. Thread context.
    void spread() noexcept {
        for (auto& c : here_)
            c.n.store(0, std::memory_order_relaxed);
        gathered_.store(false, std::memory_order_release);
        wait_for_readers(); // nobody changes the word any more
        critical section;
        change_local(together_.load(std::memory_order_acquire));
    }

  private:
    static constexpr k::i64 bias = k::i64{1} << 40; // so that nobody seems to be the last while it is summed up

    void change_local(k::i64 by) noexcept {
        auto& n = here_[arch::cpu::id()].n;
        n.store(n.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
    }

    struct counter {
        std::atomic<k::i64> n = 0;
        k::u64 distance[7]; // no two in one cache line
    };
    counter here_[arch::max_cpus];
    std::atomic<k::i64> together_ = 0;
    std::atomic<bool> gathered_ = false;
};

} // namespace lwkt
