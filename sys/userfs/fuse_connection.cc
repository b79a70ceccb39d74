#include "sys/userfs/fuse_connection.h"

#include "kernel/lwkt/trace.h"
#include "sys/userfs/server.h"

#include <cstring>

namespace vfs::fuse {

namespace {

constexpr unsigned most_posted = 4096;
constexpr k::i32 was_ended = 1; // in the place of an answer's error, which is never above 0

// Errors that mean what they say, of some requests.
bool is_meant(opcode asked, k::error said) noexcept {
    switch (asked) {
    case opcode::set_extended:
    case opcode::get_extended:
    case opcode::list_extended:
    case opcode::remove_extended:
        return said == k::error::nodata || said == k::error::range || said == k::error::opnotsupp;
    case opcode::allocate:
    case opcode::seek: return said == k::error::opnotsupp;
    default: return false;
    }
}

} // namespace

connection::~connection() {
    lwkt::spin_guard guard(lock_);
    kassert(waiting_.empty() && asked_.empty());
}

// --- The file system's side

k::status connection::begin(const asker& who, k::u64 most_read) noexcept {
    const init_question wanted{.major = major_version,
                               .minor = minor_version,
                               .most_ahead = most_pages << arch::page_shift,
                               .flags = async_read | big_writes | no_open_needed | parallel_directories | page_count |
                                        no_open_directory_needed | fuse::lists_with_nodes | fuse::lists_as_is_useful};
    request_ref init = TRY(request::make({.opcode = opcode::init,
                                          .arguments = std::as_bytes(std::span(&wanted, 1)),
                                          .how = taking::at_most,
                                          .most = sizeof(init_answer)}));
    phase before = phase::unused;
    if (!phase_.compare_exchange_strong(before, phase::starting, std::memory_order_acq_rel)) return k::error::inval;
    who_ = who;
    most_read_ = std::max<k::u64>(most_read, arch::page_size);
    (void)queue(std::move(init)); // closed meanwhile: so will be told who asks
    return {};
}

k::status connection::start(ktime::ns deadline) noexcept {
    bool killed = false;
    const bool in_time = starting_.wait(
        [&] { return now_in() != phase::starting || (killed = who_.killed && who_.killed()); }, deadline);
    if (!in_time) return k::error::timedout;
    switch (now_in()) {
    case phase::running: return {};
    case phase::starting: return k::error::intr;
    case phase::refused: return k::error::connrefused;
    default: return k::error::notconn;
    }
}

// False: it is over, or too much that was wanted back has not been read.
bool connection::queue(request_ref r) noexcept {
    auto* head = reinterpret_cast<request_head*>(r->head_);
    head->bytes += static_cast<k::u32>(r->payload.size());
    const k::u32 uid = head->uid, gid = head->gid;
    if (who_.identify) who_.identify(*head);
    if (r->is_for_another_) head->uid = uid, head->gid = gid;
    trace::note(trace::event::message_put, reinterpret_cast<k::u64>(r.get()), r->payload.size(), "fuse");
    {
        lwkt::spin_guard guard(lock_);
        if (now_in() == phase::over || (r->has_number_ && retrieved_ >= most_retrieved)) return false;
        if (!r->has_number_) r->unique_ = last_unique_ += unique_step;
        head->unique = r->unique_;
        if (r->posted_) posted_++;
        if (r->has_number_) retrieved_++;
        r->stage_.store(request::stage::waits, std::memory_order_relaxed);
        if (r->has_answer_) {
            about_.insert(*r);
            about_others_ += r->other_ != 0;
        }
        waiting_.push_back(*r.release());
    }
    readers_.wake_one();
    changed();
    return true;
}

bool connection::take_place() noexcept {
    unsigned seen = asked_count_.load(std::memory_order_relaxed);
    while (seen < most_asked)
        if (asked_count_.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) return true;
    return false;
}

k::status connection::wait_for_place(ktime::ns deadline) noexcept {
    if (take_place()) [[likely]]
        return {};
    bool taken = false, killed = false;
    const bool in_time = askers_.wait(
        [&] {
            killed = who_.killed && who_.killed();
            return killed || now_in() == phase::over || (taken = take_place());
        },
        deadline);
    if (taken) return {};
    askers_.wake_one(); // it may have been this one's turn
    return !in_time ? k::error::timedout : killed ? k::error::intr : k::error::notconn;
}

k::status connection::ask(request& r, ktime::ns deadline) noexcept {
    TRY(start(deadline));
    TRY(wait_for_place(deadline));
    r.counted_ = true;
    if (r.counts_) r.asked_at_ = ktime::now();
    if (!queue(request_ref::to(r))) {
        asked_count_.fetch_sub(1, std::memory_order_relaxed);
        return k::error::notconn;
    }
    bool told = false;
    for (;;) {
        bool done = false, killed = false;
        const bool in_time = r.waiter_.wait(
            [&] {
                done = r.stage_.load(std::memory_order_acquire) == request::stage::done;
                killed = !done && who_.killed && who_.killed();
                return done || killed || (!told && who_.signalled && who_.signalled());
            },
            deadline);
        if (done) break;
        const bool leaves = killed || !in_time;
        if (leaves && abandon(r)) return killed ? k::error::intr : k::error::timedout;
        if (leaves) { // the answer is there, but for a moment
            r.waiter_.wait([&] { return r.stage_.load(std::memory_order_acquire) == request::stage::done; });
            break;
        }
        told = true;
        interrupt(r);
    }
    if (r.error_ == was_ended) return k::error::notconn;
    if (!r.error_) return {};
    const auto said = static_cast<k::error>(-r.error_);
    if (said == k::error::xdev || (said == k::error::intr && told)) return said;
    if (is_meant(r.opcode_, said)) return said;
    if (said == k::error::opnotsupp) return k::error::inval; // not of this file; ENOSYS: it never does it
    return userfs::believable(said);
}

bool connection::post(request_ref r) noexcept {
    r->posted_ = true;
    if (now_in() != phase::running || is_full()) return false;
    return queue(std::move(r));
}

bool connection::is_full() noexcept {
    lwkt::spin_guard guard(lock_);
    return posted_ >= most_posted;
}

bool connection::is_asked_about(k::u64 node) noexcept {
    lwkt::spin_guard guard(lock_);
    if (about_.find(node) != about_.end()) return true;
    return about_others_ && std::ranges::any_of(about_, [node](const request& r) { return r.other_ == node; });
}

ktime::ns connection::unanswered_since(k::u64 node) noexcept {
    ktime::ns since = ktime::forever;
    if (!left_count_.load(std::memory_order_acquire)) [[likely]]
        return since;
    lwkt::spin_guard guard(lock_);
    const auto [first, last] = about_.equal_range(node);
    for (auto at = first; at != last; ++at)
        if (at->is_left_) since = std::min(since, at->asked_at_);
    return since;
}

// It is in no list any more; the list's hold is the caller's to let go of.
void connection::forget_locked(request& r) noexcept {
    if (r.queued_.is_linked()) waiting_.erase(waiting_.iterator_to(r));
    if (r.by_number_.is_linked()) asked_.erase(asked_.iterator_to(r));
    if (r.by_node_.is_linked()) {
        about_.erase(about_.iterator_to(r));
        about_others_ -= r.other_ != 0;
    }
    if (r.interrupting_.is_linked()) interrupting_.erase(interrupting_.iterator_to(r));
    if (std::exchange(r.posted_, false)) {
        posted_--;
        if (r.has_number_) retrieved_--;
    }
    if (std::exchange(r.is_left_, false)) left_count_.fetch_sub(1, std::memory_order_relaxed);
    if (std::exchange(r.counted_, false)) asked_count_.fetch_sub(1, std::memory_order_release);
}

void connection::finish(request& r, k::i32 error) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        r.settled_ = true;
    }
    if (r.abandoned_ && !error) undo(r);
    r.error_ = error;
    r.stage_.store(request::stage::done, std::memory_order_release);
    r.waiter_.wake_all();
    askers_.wake_one();
    if (r.next_) post_regardless(std::move(r.next_));
}

// Who asked waits no longer: what was not taken yet will not be. False: it will be done at once.
bool connection::abandon(request& r) noexcept {
    request_ref unasked;
    {
        lwkt::spin_guard guard(lock_);
        if (r.settled_) return false;
        r.abandoned_ = true;
        if (r.queued_.is_linked()) {
            forget_locked(r);
            unasked = request_ref(&r);
        } else if (r.counts_ && r.by_number_.is_linked()) { // else its answer is being taken
            r.is_left_ = true;
            left_count_.fetch_add(1, std::memory_order_release);
        }
    }
    if (unasked)
        askers_.wake_one();
    else
        interrupt(r);
    return true;
}

void connection::post_regardless(k::result<request_ref> r) noexcept {
    if (!r) return;
    (*r)->posted_ = true;
    (void)queue(*std::move(r));
}

void connection::interrupt(request& r) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (!interrupts_ || r.to_interrupt_) return;
        r.to_interrupt_ = true; // when it is taken, if it was not yet
        if (!r.by_number_.is_linked()) return;
        interrupting_.push_back(r);
    }
    readers_.wake_one();
    changed();
}

void connection::end(request_ref last, bool politely) noexcept {
    list gone;
    {
        lwkt::spin_guard guard(lock_);
        const phase before = phase_.exchange(phase::over, std::memory_order_acq_rel);
        if (before == phase::over && politely) return;
        const auto take_out = [&](request& r) NO_THREAD_SAFETY_ANALYSIS {
            r.settled_ = true; // who waits for it waits on until it is done below
            forget_locked(r);
            gone.push_back(r);
        };
        while (!asked_.empty())
            take_out(*asked_.begin());
        for (auto at = waiting_.begin(); at != waiting_.end();) {
            request& r = *at++;
            if (!politely || !r.posted_) take_out(r);
        }
        if (politely && last && before == phase::running) {
            last_unique_ += unique_step;
            reinterpret_cast<request_head*>(last->head_)->unique = last->unique_ = last_unique_;
            waiting_.push_back(*last.release());
        }
    }
    while (!gone.empty()) {
        request_ref r(&gone.front());
        gone.pop_front();
        finish(*r, was_ended);
    }
    starting_.wake_all();
    readers_.wake_all();
    askers_.wake_all();
    changed();
}

} // namespace vfs::fuse
