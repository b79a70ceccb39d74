// The futex call and the lists of locks that outlive their holders.
#include "kernel/proc/current.h"
#include "kernel/proc/futex_queue.h"
#include "kernel/proc/group.h"
#include "kernel/syscall/calls.h"

namespace syscalls {

namespace {

using proc::current;
using proc::current_space;
using proc::thread;
using proc::time_spec;
using vm::user_pointer;
namespace futexes = proc::futexes;

enum operation : k::u32 {
    op_wait = 0,
    op_wake = 1,
    op_requeue = 3,
    op_cmp_requeue = 4,
    op_wake_op = 5,
    op_wait_bitset = 9,
    op_wake_bitset = 10,

    flag_private = 128,
    flag_realtime = 256,
};

// The call's arguments, as they are for all operations.
struct request {
    xio::user_address first;
    k::u32 value;
    k::u64 fourth; // a time-out's address, or a count
    xio::user_address second;
    k::u32 third_value;
    bool known_private;
};

// When a wait ends. WAIT has a duration, WAIT_BITSET a time.
k::result<ktime::ns> deadline_of(thread& t, const request& r, bool relative, bool realtime) {
    if (!r.fourth) return ktime::forever;
    const time_spec given = TRY(user_pointer<const time_spec>(r.fourth).read(current_space()));
    const ktime::ns time = TRY(given.to_ns());
    if (relative) return deadline_of_call(t, ktime::after(time));
    return realtime ? proc::monotonic_of(time) : time;
}

k::result<k::u64> wait(const request& r, k::u32 bits, bool relative, bool realtime) {
    if (!bits) return k::error::inval;
    thread& t = current();
    const ktime::ns deadline = TRY(deadline_of(t, r, relative, realtime));
    const k::status done = proc::futex_wait(current_space(), r.first, r.known_private, r.value, bits, deadline);
    if (done) return 0;
    if (done.error() == k::error::intr && r.fourth) {
        if (relative) t.restart_deadline = deadline;
        t.signals.end_call_after_handler();
    }
    return done.error();
}

// A count as Linux reads it: waking none wakes one.
k::u64 at_least_one(k::u32 count) {
    return static_cast<k::u64>(std::max(static_cast<int>(count), 1));
}

k::result<k::u64> wake(const request& r, k::u32 bits) {
    if (!bits) return k::error::inval;
    const auto key = TRY(proc::futex_key(current_space(), r.first, r.known_private));
    return futexes::wake(key, at_least_one(r.value), bits);
}

k::result<k::u64> requeue(const request& r, bool compares) {
    const int wakes = static_cast<int>(r.value), moves = static_cast<int>(r.fourth);
    if (wakes < 0 || moves < 0) return k::error::inval;
    const auto from = TRY(proc::futex_key(current_space(), r.first, r.known_private));
    const auto to = TRY(proc::futex_key(current_space(), r.second, r.known_private));
    bool as_expected = true;
    k::u64 count = 0;
    auto move_if = [&](auto expected) {
        futexes::woken_list woken;
        futexes::two_buckets locks(futexes::bucket_of(from), futexes::bucket_of(to));
        as_expected = expected();
        if (!as_expected) return;
        count = futexes::take_locked(from, static_cast<k::u64>(wakes), proc::any_bit, woken);
        count += futexes::requeue_locked(from, to, static_cast<k::u64>(moves));
    };
    if (compares)
        TRY(current_space().with_word(r.first, arch::user_read, [&](std::atomic_ref<k::u32> word) {
            move_if([&] { return word.load() == r.third_value; });
        }));
    else
        move_if([] { return true; });
    if (!as_expected) return k::error::again;
    return count;
}

// What WAKE_OP does to the second word, packed into a number.
struct word_operation {
    explicit word_operation(k::u32 code)
        : what(code >> 28 & 7), compares(code >> 24 & 15), operand(sign_extended(code >> 12)),
          compared(sign_extended(code)) {
        if (code >> 31) operand = k::i32{1} << (operand & 31);
    }
    static k::i32 sign_extended(k::u32 twelve_bits) { return static_cast<k::i32>(twelve_bits << 20) >> 20; }

    bool valid() const { return what <= 4 && compares <= 5; }
    k::u32 apply(std::atomic_ref<k::u32> word) const {
        const auto by = static_cast<k::u32>(operand);
        switch (what) {
        case 0: return word.exchange(by);
        case 1: return word.fetch_add(by);
        case 2: return word.fetch_or(by);
        case 3: return word.fetch_and(~by);
        default: return word.fetch_xor(by);
        }
    }
    bool holds(k::u32 old) const {
        const auto value = static_cast<k::i32>(old);
        switch (compares) {
        case 0: return value == compared;
        case 1: return value != compared;
        case 2: return value < compared;
        case 3: return value <= compared;
        case 4: return value > compared;
        default: return value >= compared;
        }
    }

    k::u32 what, compares;
    k::i32 operand, compared;
};

k::result<k::u64> wake_op(const request& r) {
    const word_operation operation(r.third_value);
    if (!operation.valid()) return k::error::nosys;
    const auto first = TRY(proc::futex_key(current_space(), r.first, r.known_private));
    const auto second = TRY(proc::futex_key(current_space(), r.second, r.known_private));
    k::u64 count = 0;
    TRY(current_space().with_word(r.second, arch::user_read | arch::user_write, [&](std::atomic_ref<k::u32> word) {
        futexes::woken_list woken;
        futexes::two_buckets locks(futexes::bucket_of(first), futexes::bucket_of(second));
        const bool both = operation.holds(operation.apply(word));
        count = futexes::take_locked(first, at_least_one(r.value), proc::any_bit, woken);
        if (both)
            count += futexes::take_locked(second, at_least_one(static_cast<k::u32>(r.fourth)), proc::any_bit, woken);
    }));
    return count;
}

k::result<k::u64> sys_futex(k::u64 first, bits flags, k::u32 value, k::u64 fourth, k::u64 second, k::u32 third_value) {
    const auto code = static_cast<k::u32>(flags.value);
    const request r{first, value, fourth, second, third_value, (code & flag_private) != 0};
    const bool realtime = code & flag_realtime;
    const k::u32 what = code & ~k::u32{flag_private | flag_realtime};
    if (realtime && what != op_wait_bitset) return k::error::nosys;
    switch (what) {
    case op_wait: return wait(r, proc::any_bit, true, false);
    case op_wait_bitset: return wait(r, third_value, false, realtime);
    case op_wake: return wake(r, proc::any_bit);
    case op_wake_bitset: return wake(r, third_value);
    case op_requeue: return requeue(r, false);
    case op_cmp_requeue: return requeue(r, true);
    case op_wake_op: return wake_op(r);
    default: return k::error::nosys; // among them all with priority inheritance
    }
}

constexpr k::u64 robust_head_bytes = 24;

k::result<k::u64> sys_set_robust_list(k::u64 head, k::u64 bytes) {
    if (bytes != robust_head_bytes) return k::error::inval;
    current().robust_list = head;
    return 0;
}

k::result<k::u64> sys_get_robust_list(int id, user_pointer<k::u64> head, user_pointer<k::u64> bytes) {
    k::u64 found;
    if (id == 0) {
        found = current().robust_list;
    } else {
        lwkt::token_hold hold(proc::tree);
        thread* t = proc::find_thread(id);
        if (!t) return k::error::srch;
        if (&t->owner != &proc::current_process() && !proc::current_process().who.privileged()) return k::error::perm;
        found = t->robust_list;
    }
    TRY(bytes.write(current_space(), robust_head_bytes));
    TRY(head.write(current_space(), found));
    return 0;
}

constexpr entry entries[] = {
    call<sys_futex>(202, "futex", restarts, "priority inheritance is ENOSYS"),
    call<sys_set_robust_list>(273, "set_robust_list"),
    call<sys_get_robust_list>(274, "get_robust_list"),
};

} // namespace

constinit const std::span<const entry> futex_calls = entries;

} // namespace syscalls
