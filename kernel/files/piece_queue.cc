#include "kernel/files/piece_queue.h"

#include "kernel/mem/slab.h"

namespace files {

// What a wait that ended without success answers.
k::error piece_queue::too_late(const k::status& woken) noexcept {
    return woken.error() == k::error::timedout ? k::error::again : woken.error();
}

// --- Pieces
// ----------------------------------------------------------------------------------------------------------

piece_queue::garbage::~garbage() {
    while (piece* p = first_) {
        first_ = p->next;
        mem::destroy(p);
    }
}

// A page that begins anew.
void piece_queue::empty_locked(piece& p) noexcept {
    p.begin = p.end = 0;
    p.packet = false;
    padding_ -= std::exchange(p.padding, 0);
}

// Nobody was given the page as a source.
bool piece_queue::may_reuse(const piece& p) noexcept {
    return p.page->holds.only(vm::hold::reference);
}

void piece_queue::unlink_first_locked(garbage& drained) noexcept {
    piece* p = first_;
    first_ = p->next;
    if (!first_) last_ = nullptr;
    p->next = nullptr;
    if (p->with) cargoes_--;
    if (p->page && !spare_ && !p->with && may_reuse(*p)) {
        empty_locked(*p);
        spare_ = p;
    } else {
        padding_ -= p->padding;
        drained.add(p);
    }
}

// Takes out pieces that were read to their ends, but leaves the last one where a writer may be appending to it. A page
// that stays begins anew.
void piece_queue::tidy_locked(garbage& drained) noexcept {
    while (first_ && !first_->bytes()) {
        if (first_ == last_) {
            if (writing_) return;
            if (first_->page && !first_->with && may_reuse(*first_)) {
                empty_locked(*first_);
                return;
            }
        }
        unlink_first_locked(drained);
    }
}

void piece_queue::drop_all_locked(garbage& drained) noexcept {
    while (first_)
        unlink_first_locked(drained);
    copied_ = lent_ = 0;
}

// --- The ends
// ----------------------------------------------------------------------------------------------------------

piece_queue::piece_queue(pollable& read_watch, pollable& write_watch, ends of) noexcept
    : ends_(of), read_watch_(&read_watch), write_watch_(&write_watch) {
    if (of == ends::come_and_go) readers_ = writers_ = {0, 0};
}

piece_queue::~piece_queue() {
    garbage drained;
    lwkt::spin_guard guard(lock_);
    drop_all_locked(drained);
    if (spare_) drained.add(spare_);
}

piece_queue::attendance piece_queue::reader_came() noexcept {
    lwkt::spin_guard guard(lock_);
    readers_.now++;
    readers_.ever++;
    return writers_;
}

piece_queue::attendance piece_queue::writer_came() noexcept {
    lwkt::spin_guard guard(lock_);
    writers_.now++;
    writers_.ever++;
    return readers_;
}

piece_queue::attendance piece_queue::readers() noexcept {
    lwkt::spin_guard guard(lock_);
    return readers_;
}

piece_queue::attendance piece_queue::writers() noexcept {
    lwkt::spin_guard guard(lock_);
    return writers_;
}

void piece_queue::reader_left() noexcept {
    garbage drained;
    {
        lwkt::spin_guard guard(lock_);
        if (--readers_.now) return;
        if (is_over_locked() && !writing_) drop_all_locked(drained); // else end_write() does
    }
    writable_.wake_all();
    write_watch_->notify(poll_error | poll_can_write);
}

void piece_queue::writer_left() noexcept {
    garbage drained;
    {
        lwkt::spin_guard guard(lock_);
        if (--writers_.now) return;
        if (is_over_locked()) drop_all_locked(drained);
    }
    readable_.wake_all();
    read_watch_->notify(poll_hangup | poll_can_read);
}

void piece_queue::shut() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        shut_ = true;
    }
    readable_.wake_all();
    writable_.wake_all();
    read_watch_->notify(poll_hangup | poll_read_hangup | poll_can_read);
    write_watch_->notify(poll_hangup | poll_error | poll_can_write);
}

k::u32 piece_queue::ready_to_read(k::u32 writers_before) noexcept {
    lwkt::spin_guard guard(lock_);
    const bool at_end = shut_ || (!writers_.now && writers_.ever != writers_before);
    return (bytes_locked() ? poll_can_read : 0) | (at_end ? poll_hangup : 0);
}

k::u32 piece_queue::ready_to_write() noexcept {
    lwkt::spin_guard guard(lock_);
    return (room_locked(false) >= atomic_bytes ? poll_can_write : 0) | (takes_more_locked() ? 0 : poll_error);
}

k::u64 piece_queue::bytes() noexcept {
    lwkt::spin_guard guard(lock_);
    return bytes_locked();
}

k::u64 piece_queue::capacity() noexcept {
    lwkt::spin_guard guard(lock_);
    return capacity_;
}

k::status piece_queue::set_capacity(k::u64 bytes) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (copied_ + padding_ > bytes) return k::error::busy;
        capacity_ = bytes;
    }
    writable_.wake_all();
    write_watch_->notify(poll_can_write);
    return {};
}

void piece_queue::take_flights(flight_list& to) noexcept {
    lwkt::spin_guard guard(lock_);
    for (piece* p = first_; p; p = p->next)
        if (p->with && p->with->files) to.add(std::move(p->with->files));
}

} // namespace files
