// kernel/proc/signals: what is pending, what is taken in which order, what masks and actions do to it, against a model
// that keeps plain lists. Threads and processes are only as real as signals need them: an attention word each.
#include "kernel/proc/signals.h"

#include "kernel/lib/random.h"
#include "kernel/proc/thread.h"
#include "kernel/selftest/selftest.h"

using proc::process_signals;
using proc::signal_action;
using proc::signal_info;
using proc::signal_queue;
using proc::signal_set;
using proc::thread_signals;

namespace {

constexpr int rt = proc::sig_rt_min;

signal_info numbered(int number, k::u64 value) {
    return signal_info::of_sender(number, proc::si_queue, 1, 0, value);
}

struct member {
    member(process_signals& of, int id) : signals(of, nullptr, id, attention) {}
    std::atomic<k::u32> attention = 0;
    thread_signals signals;
    bool told() const { return attention.load() & proc::attention_signal; }
};

struct taken {
    int number;
    k::u64 value;
};

struct family {
    process_signals all{nullptr};
    member first{all, 1};
    member second{all, 2};

    taken take(member& m, signal_set wanted = proc::every_signal) {
        signal_info info{};
        const int number = all.take(m.signals, wanted, info);
        return {number, number ? info.sender.value : 0};
    }
    void set_handler(int number, k::u64 handler) {
        EXPECT(all.set_action(number, signal_action{.handler = handler}, nullptr));
    }
};

constexpr k::u64 some_handler = 0x1000;

} // namespace

SELFTEST(signals, a_standard_signal_is_pending_once_with_the_first_word) {
    family f;
    EXPECT(f.all.post(numbered(proc::sig_usr1, 1)));
    EXPECT(f.all.post(numbered(proc::sig_usr1, 2)));
    const taken got = f.take(f.first);
    EXPECT_EQ(got.number, int{proc::sig_usr1});
    EXPECT_EQ(got.value, 1u);
    EXPECT_EQ(f.take(f.first).number, 0);
}

SELFTEST(signals, real_time_signals_come_as_often_as_sent_and_the_lowest_number_first) {
    family f;
    for (k::u64 i = 0; i < 3; i++)
        EXPECT(f.all.post_to(f.first.signals, numbered(rt + 1, i)));
    EXPECT(f.all.post_to(f.first.signals, numbered(rt, 9)));
    EXPECT(f.all.post_to(f.first.signals, numbered(proc::sig_usr1, 7)));
    EXPECT_EQ(f.take(f.first).value, 7u);
    EXPECT_EQ(f.take(f.first).value, 9u);
    for (k::u64 i = 0; i < 3; i++) {
        const taken got = f.take(f.first);
        EXPECT_EQ(got.number, rt + 1);
        EXPECT_EQ(got.value, i);
    }
    EXPECT_EQ(f.take(f.first).number, 0);
}

SELFTEST(signals, a_fault_comes_before_all_others) {
    family f;
    EXPECT(f.all.post_to(f.first.signals, numbered(proc::sig_hup, 0)));
    f.all.force(f.first.signals, signal_info::of_fault(proc::sig_segv, proc::segv_access, 0x1234));
    signal_info info{};
    EXPECT_EQ(f.all.take(f.first.signals, proc::every_signal, info), int{proc::sig_segv});
    EXPECT_EQ(info.fault.address, 0x1234u);
    EXPECT_EQ(f.take(f.first).number, int{proc::sig_hup});
}

SELFTEST(signals, a_fault_cannot_be_blocked_or_ignored) {
    family f;
    f.set_handler(proc::sig_segv, signal_action::handler_ignore);
    f.first.signals.set_blocked(proc::every_signal);
    f.all.force(f.first.signals, signal_info::of_fault(proc::sig_segv, proc::segv_access, 0));
    EXPECT(f.first.told());
    EXPECT(!f.first.signals.blocked().has(proc::sig_segv));
    EXPECT_EQ(f.all.action_of(proc::sig_segv).handler, k::u64{signal_action::handler_default});
}

SELFTEST(signals, kill_and_stop_cannot_be_blocked_or_caught) {
    family f;
    f.first.signals.set_blocked(proc::every_signal);
    EXPECT_EQ(f.first.signals.blocked().bits(), proc::every_signal.without(proc::uncatchable_signals).bits());
    EXPECT(!f.all.set_action(proc::sig_kill, signal_action{.handler = some_handler}, nullptr));
    EXPECT(!f.all.set_action(proc::sig_stop, signal_action{.handler = some_handler}, nullptr));
}

SELFTEST(signals, beyond_the_limit_sigqueue_fails_and_kill_leaves_a_bare_bit) {
    family f;
    while (f.all.post(numbered(rt, 0), proc::posting::must_queue)) {
    }
    EXPECT(f.all.post(numbered(rt + 1, 5)));
    EXPECT(f.all.post(numbered(proc::sig_usr1, 5), proc::posting::must_queue));
    const taken standard = f.take(f.first);
    EXPECT_EQ(standard.number, int{proc::sig_usr1});
    EXPECT_EQ(standard.value, 0u); // nothing was kept of it
    int count = 0;
    while (f.take(f.first, signal_set::of(rt)).number)
        count++;
    EXPECT_EQ(count, 64);
    EXPECT_EQ(f.take(f.first).number, rt + 1);
    EXPECT(f.all.post(numbered(rt, 0), proc::posting::must_queue)); // there is room again
}

SELFTEST(signals, a_thread_that_blocks_a_signal_leaves_it_to_another) {
    family f;
    EXPECT(f.all.post(numbered(proc::sig_usr1, 0)));
    EXPECT(f.first.told() && !f.second.told());
    f.first.signals.set_blocked(signal_set::of(proc::sig_usr1));
    EXPECT(!f.first.told() && f.second.told());
}

SELFTEST(signals, a_thread_that_leaves_hands_on_what_it_was_chosen_for) {
    process_signals all{nullptr};
    member second{all, 2};
    {
        member first{all, 1};
        second.signals.set_blocked(proc::every_signal);
        EXPECT(all.post(numbered(proc::sig_usr1, 0)));
        EXPECT(all.post_to(first.signals, numbered(rt, 0)));
        EXPECT(first.told() && !second.told());
        second.signals.set_blocked({});
        EXPECT(second.told()); // unblocking finds it anyhow
        signal_info info;
        EXPECT_EQ(all.take(second.signals, signal_set::of(proc::sig_usr2), info), 0);
        EXPECT(second.told());
    }
    signal_info info;
    EXPECT_EQ(all.take(second.signals, proc::every_signal, info), int{proc::sig_usr1});
    EXPECT_EQ(all.take(second.signals, proc::every_signal, info), 0); // the thread's own went with it
}

SELFTEST(signals, stop_and_continue_cancel_each_other) {
    family f;
    f.first.signals.set_blocked(proc::every_signal);
    f.second.signals.set_blocked(proc::every_signal);
    EXPECT(f.all.post(numbered(proc::sig_tstp, 0)));
    EXPECT(f.all.post_to(f.first.signals, numbered(proc::sig_ttin, 0)));
    EXPECT(f.all.post(numbered(proc::sig_cont, 0)));
    EXPECT_EQ(f.all.pending(f.first.signals).bits(), signal_set::of(proc::sig_cont).bits());
    EXPECT(f.all.post(numbered(proc::sig_tstp, 0)));
    EXPECT_EQ(f.all.pending(f.first.signals).bits(), signal_set::of(proc::sig_tstp).bits());
}

SELFTEST(signals, ignoring_a_signal_discards_it_unless_it_is_sent_blocked) {
    family f;
    EXPECT(f.all.post(numbered(proc::sig_usr1, 0)));
    f.set_handler(proc::sig_usr1, signal_action::handler_ignore);
    EXPECT(f.all.pending(f.first.signals).empty());
    EXPECT(f.all.post(numbered(proc::sig_usr1, 0)));
    EXPECT(f.all.pending(f.first.signals).empty());
    f.first.signals.set_blocked(signal_set::of(proc::sig_usr1));
    EXPECT(f.all.post(numbered(proc::sig_usr1, 0)));
    EXPECT(f.all.pending(f.first.signals).has(proc::sig_usr1));
}

SELFTEST(signals, a_temporary_mask_ends_with_the_old_one) {
    family f;
    f.first.signals.set_blocked(signal_set::of(proc::sig_usr1));
    f.second.signals.set_blocked(proc::every_signal);
    f.first.signals.set_temporary_mask(signal_set::of(proc::sig_usr2));
    EXPECT(f.all.post(numbered(proc::sig_usr1, 0)));
    EXPECT(f.first.told());
    f.first.signals.end_temporary_mask();
    EXPECT(!f.first.told());
    EXPECT_EQ(f.first.signals.blocked().bits(), signal_set::of(proc::sig_usr1).bits());
}

SELFTEST(signals, exec_keeps_what_is_ignored_and_forgets_handlers) {
    family f;
    f.set_handler(proc::sig_usr1, signal_action::handler_ignore);
    f.set_handler(proc::sig_usr2, some_handler);
    f.all.reset_for_exec();
    EXPECT_EQ(f.all.action_of(proc::sig_usr1).handler, k::u64{signal_action::handler_ignore});
    EXPECT_EQ(f.all.action_of(proc::sig_usr2).handler, k::u64{signal_action::handler_default});
}

SELFTEST(signals, waiting_takes_what_is_blocked_and_gives_up_at_the_deadline) {
    family f;
    f.first.signals.set_blocked(proc::every_signal);
    f.second.signals.set_blocked(proc::every_signal);
    EXPECT(f.all.post(numbered(rt, 3)));
    signal_info info{};
    auto got = f.all.wait_for(f.first.signals, signal_set::of(rt), ktime::forever, info);
    REQUIRE(got);
    EXPECT_EQ(*got, rt);
    EXPECT_EQ(info.sender.value, 3u);
    auto none = f.all.wait_for(f.first.signals, signal_set::of(rt), ktime::after(ktime::millisecond), info);
    EXPECT(!none && none.error() == k::error::again);
    EXPECT(!f.first.told());
}

// --- Against a model.

namespace {

constexpr int numbers[] = {proc::sig_usr1, proc::sig_segv, proc::sig_chld, proc::sig_term, rt, rt + 1, proc::sig_max};
constexpr unsigned number_count = std::size(numbers);

// A queue as a list in order of sending.
struct model_queue {
    static constexpr unsigned most = 64;
    taken items[most];
    unsigned count = 0;

    bool has(int number) const {
        return std::any_of(items, items + count, [&](const taken& t) { return t.number == number; });
    }
    void push(taken t) {
        if (t.number < rt && has(t.number)) return;
        items[count++] = t;
    }
    void discard(int number) {
        count = static_cast<unsigned>(
            std::remove_if(items, items + count, [&](const taken& t) { return t.number == number; }) - items);
    }
    taken take(signal_set wanted) {
        auto best = items + count;
        auto rank = [](int number) { return proc::fault_signals.has(number) ? number - 100 : number; };
        for (auto at = items; at != items + count; at++)
            if (wanted.has(at->number) && (best == items + count || rank(at->number) < rank(best->number))) best = at;
        if (best == items + count) return {0, 0};
        const taken got = *best;
        std::copy(best + 1, items + count, best);
        count--;
        return got;
    }
    signal_set pending() const {
        signal_set set;
        for (unsigned i = 0; i < count; i++)
            set.add(items[i].number);
        return set;
    }
};

struct model {
    model_queue shared, own[2];
    signal_set blocked[2];
    k::u64 handler[proc::sig_max + 1] = {};

    bool ignored(int number) const {
        return handler[number] == signal_action::handler_ignore ||
               (handler[number] == signal_action::handler_default && proc::ignored_by_default.has(number));
    }
    unsigned total() const { return shared.count + own[0].count + own[1].count; }
};

signal_set random_set(k::random& random) {
    signal_set set;
    for (int n : numbers)
        if (random.below(3) == 0) set.add(n);
    return set;
}

void random_step(family& f, model& m, k::random& random, k::u64 value) {
    const unsigned who = static_cast<unsigned>(random.below(2));
    member& thread = who ? f.second : f.first;
    const int number = numbers[random.below(number_count)];
    switch (random.below(m.total() < 50 ? 8 : 3)) {
    case 0:
    case 1: {
        const signal_set wanted = random.below(2) ? proc::every_signal.without(m.blocked[who]) : random_set(random);
        taken expected = m.own[who].take(wanted);
        if (!expected.number) expected = m.shared.take(wanted);
        const taken got = f.take(thread, wanted);
        EXPECT_EQ(got.number, expected.number);
        EXPECT_EQ(got.value, expected.value);
        break;
    }
    case 2:
        m.blocked[who] = random_set(random);
        thread.signals.set_blocked(m.blocked[who]);
        break;
    case 3:
        if (random.below(4)) break;
        m.handler[number] = random.below(3); // default, ignore, a handler
        f.set_handler(number, m.handler[number]);
        if (m.ignored(number)) {
            m.shared.discard(number);
            m.own[0].discard(number);
            m.own[1].discard(number);
        }
        break;
    case 4:
    case 5:
        EXPECT(f.all.post(numbered(number, value)));
        if (!m.ignored(number) || m.blocked[0].has(number)) m.shared.push({number, value});
        break;
    default:
        EXPECT(f.all.post_to(thread.signals, numbered(number, value)));
        if (!m.ignored(number) || m.blocked[who].has(number)) m.own[who].push({number, value});
    }
}

// Whoever would take something has been told; what the process got, by one at least.
void check(family& f, const model& m) {
    member* members[2] = {&f.first, &f.second};
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(f.all.pending(members[i]->signals).bits(), (m.own[i].pending() | m.shared.pending()).bits());
        if (!m.own[i].pending().without(m.blocked[i]).empty()) EXPECT(members[i]->told());
    }
    for (int n : numbers) {
        if (!m.shared.has(n)) continue;
        const bool takers = !m.blocked[0].has(n) || !m.blocked[1].has(n);
        const bool told = (!m.blocked[0].has(n) && f.first.told()) || (!m.blocked[1].has(n) && f.second.told());
        EXPECT(!takers || told);
    }
}

} // namespace

SELFTEST(signals, agree_with_a_model_under_random_operations) {
    k::random random(selftest::seed());
    for (int round = 0; round < 20 && !selftest::failed(); round++) {
        family f;
        model m;
        for (k::u64 step = 1; step < 500 && !selftest::failed(); step++) {
            random_step(f, m, random, step);
            check(f, m);
        }
    }
}
