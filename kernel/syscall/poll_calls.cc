// Waiting for files: poll, select and epoll.
#include "kernel/files/epoll.h"
#include "kernel/files/poll.h"
#include "kernel/proc/clock.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/file_arguments.h"
#include "kernel/syscall/wait_arguments.h"

namespace syscalls {

namespace {

using files::callers_limit;
using files::epoll;
using files::epoll_event;
using files::polled;
using proc::time_spec;
using proc::time_value;
using vm::user_pointer;

// Memory for `count` objects for the length of a call, here if there are few. T needs no destructor run unless make()
// was called.
template <class T, std::size_t few> class call_array {
  public:
    call_array() = default;
    ~call_array() {
        for (T& item : all())
            item.~T();
        if (at_ != here_) mem::free(at_);
    }
    call_array(const call_array&) = delete;
    call_array& operator=(const call_array&) = delete;

    // Once. ENOMEM.
    k::status make(std::size_t count) noexcept {
        if (count > few) {
            auto* memory = static_cast<std::byte*>(mem::allocate(count * sizeof(T)));
            if (!memory) return k::error::nomem;
            at_ = memory;
        }
        for (; count_ < count; count_++)
            new (at_ + count_ * sizeof(T)) T();
        return {};
    }
    std::span<T> all() noexcept { return {reinterpret_cast<T*>(at_), count_}; }

  private:
    alignas(T) std::byte here_[few * sizeof(T)];
    std::byte* at_ = here_;
    std::size_t count_ = 0;
};

// --- poll
// -------------------------------------------------------------------------------------------------------------

struct poll_entry {
    int fd;
    k::u16 wanted;
    k::u16 found;
};

k::result<k::u64> poll(user_pointer<poll_entry> at, k::u64 count, ktime::ns deadline) {
    if (count > callers_limit()) return k::error::inval;
    call_array<poll_entry, 8> entries;
    call_array<polled, 8> all;
    TRY(entries.make(count));
    TRY(all.make(count));
    TRY(at.read_array(callers_memory(), entries.all()));
    for (std::size_t i = 0; i < count; i++) {
        const poll_entry& e = entries.all()[i];
        polled& p = all.all()[i];
        if (e.fd < 0) continue;
        p.what = files::callers_table().get(e.fd);
        p.wanted = e.wanted;
        if (!p.what) p.found = files::poll_invalid;
    }
    const k::u64 ready = TRY(files::wait_for_any(all.all(), deadline));
    for (std::size_t i = 0; i < count; i++)
        entries.all()[i].found = static_cast<k::u16>(all.all()[i].found);
    TRY(at.write_array(callers_memory(), entries.all()));
    return ready;
}

k::result<k::u64> sys_poll(user_pointer<poll_entry> at, k::u64 count, int timeout_ms) {
    const relative_wait wait(timeout_ms < 0 ? ktime::forever
                                            : ktime::after(static_cast<k::u64>(timeout_ms) * ktime::millisecond));
    return wait.finish(poll(at, count, wait.deadline()));
}

k::result<k::u64> sys_ppoll(user_pointer<poll_entry> at, k::u64 count, user_pointer<time_spec> timeout,
                            user_pointer<const k::u64> mask, k::u64 mask_bytes) {
    const relative_wait wait(TRY(deadline_after(timeout)));
    TRY(set_call_mask(mask, mask_bytes));
    auto outcome = end_call_mask(wait.finish(poll(at, count, wait.deadline())));
    write_remaining(timeout, wait.deadline());
    return outcome;
}

// --- select
// -----------------------------------------------------------------------------------------------------------

// The three sets of a call: bits of descriptors, read in and written back.
class descriptor_sets {
  public:
    static constexpr unsigned sets = 3;

    descriptor_sets(int count, const user_pointer<k::u64> (&at)[sets]) noexcept
        : bits_(static_cast<k::u64>(count)), words_((bits_ + 63) / 64), at_{at[0], at[1], at[2]} {}

    k::status read() noexcept {
        TRY(words_of_all_.make(words_ * sets));
        for (unsigned i = 0; i < sets; i++)
            if (at_[i]) TRY(at_[i].read_array(callers_memory(), set(i)));
        return {};
    }
    k::status write() noexcept {
        for (unsigned i = 0; i < sets; i++)
            if (at_[i]) TRY(at_[i].write_array(callers_memory(), set(i)));
        return {};
    }
    // A bit a set.
    unsigned wanted(k::u64 fd) noexcept {
        unsigned mask = 0;
        for (unsigned i = 0; i < sets; i++)
            mask |= static_cast<unsigned>(set(i)[fd / 64] >> (fd % 64) & 1) << i;
        return mask;
    }
    void clear() noexcept { std::ranges::fill(words_of_all_.all(), 0); }
    void add(unsigned which, k::u64 fd) noexcept { set(which)[fd / 64] |= k::u64{1} << (fd % 64); }
    k::u64 bits() const noexcept { return bits_; }

  private:
    std::span<k::u64> set(unsigned which) noexcept { return words_of_all_.all().subspan(which * words_, words_); }

    const k::u64 bits_, words_;
    const user_pointer<k::u64> at_[sets];
    call_array<k::u64, 3 * 16> words_of_all_; // 1024 descriptors
};

// What makes a descriptor of each set ready, and what is asked of the file.
constexpr k::u32 select_ready[descriptor_sets::sets] = {
    files::poll_in | files::poll_read_normal | files::poll_read_band | files::poll_hangup | files::poll_error,
    files::poll_out | files::poll_write_normal | files::poll_write_band | files::poll_error,
    files::poll_priority,
};

struct selected {
    k::u64 fd = 0;
    unsigned wanted = 0; // a bit a set
};

k::result<k::u64> select(int count, descriptor_sets& sets, ktime::ns deadline) {
    TRY(sets.read());
    std::size_t watched = 0;
    for (k::u64 fd = 0; fd < sets.bits(); fd++)
        watched += sets.wanted(fd) != 0;
    call_array<selected, 8> which;
    call_array<polled, 8> all;
    TRY(which.make(watched));
    TRY(all.make(watched));
    std::size_t next = 0;
    for (k::u64 fd = 0; fd < static_cast<k::u64>(count) && next < watched; fd++) {
        const unsigned wanted = sets.wanted(fd);
        if (!wanted) continue;
        polled& p = all.all()[next];
        which.all()[next++] = {fd, wanted};
        p.what = files::callers_table().get(static_cast<int>(fd));
        if (!p.what) return k::error::badf;
        for (unsigned i = 0; i < descriptor_sets::sets; i++)
            if (wanted >> i & 1) p.wanted |= select_ready[i];
    }
    TRY(files::wait_for_any(all.all(), deadline));
    sets.clear();
    k::u64 ready = 0;
    for (std::size_t n = 0; n < watched; n++)
        for (unsigned i = 0; i < descriptor_sets::sets; i++)
            if ((which.all()[n].wanted >> i & 1) && (all.all()[n].found & select_ready[i])) {
                sets.add(i, which.all()[n].fd);
                ready++;
            }
    TRY(sets.write());
    return ready;
}

k::result<k::u64> select_until(int count, user_pointer<k::u64> in, user_pointer<k::u64> out, user_pointer<k::u64> other,
                               ktime::ns deadline) {
    if (count < 0) return k::error::inval;
    descriptor_sets sets(std::min(count, static_cast<int>(callers_limit())), {in, out, other});
    return select(static_cast<int>(sets.bits()), sets, deadline);
}

k::result<k::u64> sys_select(int count, user_pointer<k::u64> in, user_pointer<k::u64> out, user_pointer<k::u64> other,
                             user_pointer<time_value> timeout) {
    ktime::ns fresh = ktime::forever;
    if (timeout) fresh = ktime::after(TRY(TRY(timeout.read(callers_memory())).to_ns()));
    const relative_wait wait(fresh);
    auto outcome = wait.finish(select_until(count, in, out, other, wait.deadline()));
    if (timeout) (void)timeout.write(callers_memory(), time_value::of(remaining(wait.deadline())));
    return outcome;
}

struct mask_argument {
    user_pointer<const k::u64> mask;
    k::u64 bytes;
};

k::result<k::u64> sys_pselect6(int count, user_pointer<k::u64> in, user_pointer<k::u64> out, user_pointer<k::u64> other,
                               user_pointer<time_spec> timeout, user_pointer<const mask_argument> mask) {
    const relative_wait wait(TRY(deadline_after(timeout)));
    if (mask) {
        const mask_argument m = TRY(mask.read(callers_memory()));
        TRY(set_call_mask(m.mask, m.bytes));
    }
    auto outcome = end_call_mask(wait.finish(select_until(count, in, out, other, wait.deadline())));
    write_remaining(timeout, wait.deadline());
    return outcome;
}

// --- epoll
// ------------------------------------------------------------------------------------------------------------

k::result<k::u64> sys_epoll_create1(bits flags) {
    if (flags.value & ~k::u64{files::open_cloexec}) return k::error::inval;
    return static_cast<k::u64>(TRY(files::give_to_caller(TRY(epoll::create()), flags.value & files::open_cloexec)));
}

k::result<k::u64> sys_epoll_create(int size) {
    if (size <= 0) return k::error::inval;
    return sys_epoll_create1({0});
}

k::result<k::u64> sys_epoll_ctl(fd of, int what, fd target, user_pointer<const epoll_event> event) {
    enum : int { add = 1, remove = 2, change = 3 };
    // Before anything else, as in Linux: the event may be bad.
    epoll_event wanted{};
    if (what != remove) wanted = TRY(event.read(callers_memory()));
    file_use f = TRY(files::callers_file(of.number));
    files::file_ref watched = files::callers_table().get(target.number);
    if (!watched) return k::error::badf;
    epoll* e = files::epoll_of(*f);
    if (!e || watched.get() == f.get()) return k::error::inval;
    switch (what) {
    case add: TRY(e->add(*watched, target.number, wanted)); return 0;
    case remove: TRY(e->remove(*watched, target.number)); return 0;
    case change: TRY(e->change(*watched, target.number, wanted)); return 0;
    default: return k::error::inval;
    }
}

// Reports what is ready, in pieces that fit on the stack.
k::result<k::u64> report(epoll& e, user_pointer<epoll_event> to, k::u64 most) {
    epoll_event events[32];
    k::u64 done = 0;
    for (k::u32 left = e.listed(); left && done < most;) {
        const auto room = std::span(events).first(std::min(most - done, k::u64{std::size(events)}));
        const std::size_t count = e.harvest(room, left);
        if (!(to + done).write_array(callers_memory(), room.first(count))) {
            if (done) break;
            return k::error::fault;
        }
        done += count;
    }
    return done;
}

k::result<k::u64> epoll_wait(fd of, user_pointer<epoll_event> to, int most, ktime::ns deadline) {
    constexpr int most_events = 0x7fff'ffff / static_cast<int>(sizeof(epoll_event));
    file_use f = TRY(files::callers_file(of.number));
    if (most <= 0 || most > most_events) return k::error::inval;
    epoll* e = files::epoll_of(*f);
    if (!e) return k::error::inval;
    for (;;) {
        if (const k::u64 count = TRY(report(*e, to, static_cast<k::u64>(most)))) return count;
        if (deadline <= ktime::now()) return 0;
        const k::status woken = e->sleep_until_ready(deadline);
        if (woken) continue;
        if (woken.error() == k::error::timedout) return report(*e, to, static_cast<k::u64>(most));
        return woken.error();
    }
}

ktime::ns deadline_of(int timeout_ms) {
    return timeout_ms < 0 ? ktime::forever : ktime::after(static_cast<k::u64>(timeout_ms) * ktime::millisecond);
}

k::result<k::u64> sys_epoll_wait(fd of, user_pointer<epoll_event> to, int most, int timeout_ms) {
    const relative_wait wait(deadline_of(timeout_ms));
    return wait.finish(epoll_wait(of, to, most, wait.deadline()));
}

k::result<k::u64> sys_epoll_pwait(fd of, user_pointer<epoll_event> to, int most, int timeout_ms,
                                  user_pointer<const k::u64> mask, k::u64 mask_bytes) {
    const relative_wait wait(deadline_of(timeout_ms));
    TRY(set_call_mask(mask, mask_bytes));
    return end_call_mask(wait.finish(epoll_wait(of, to, most, wait.deadline())));
}

k::result<k::u64> sys_epoll_pwait2(fd of, user_pointer<epoll_event> to, int most, user_pointer<time_spec> timeout,
                                   user_pointer<const k::u64> mask, k::u64 mask_bytes) {
    const relative_wait wait(TRY(deadline_after(timeout)));
    TRY(set_call_mask(mask, mask_bytes));
    return end_call_mask(wait.finish(epoll_wait(of, to, most, wait.deadline())));
}

constexpr entry entries[] = {
    call<sys_poll>(7, "poll"),
    call<sys_select>(23, "select"),
    call<sys_epoll_create>(213, "epoll_create"),
    call<sys_epoll_wait>(232, "epoll_wait"),
    call<sys_epoll_ctl>(233, "epoll_ctl", ends, "EPOLLEXCLUSIVE wakes all"),
    call<sys_pselect6>(270, "pselect6"),
    call<sys_ppoll>(271, "ppoll"),
    call<sys_epoll_pwait>(281, "epoll_pwait"),
    call<sys_epoll_create1>(291, "epoll_create1"),
    call<sys_epoll_pwait2>(441, "epoll_pwait2"),
};

} // namespace

constinit const std::span<const entry> poll_calls = entries;

} // namespace syscalls
