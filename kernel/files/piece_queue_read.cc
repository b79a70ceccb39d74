// Reading from a queue of pieces: bytes, or what carries them.
#include "kernel/files/piece_queue.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "sys/vm/loan.h"

namespace files {

void piece_queue::consume_locked(k::u64 bytes, garbage& drained) noexcept {
    piece& p = *first_;
    p.begin += bytes;
    if (p.page) {
        copied_ -= bytes;
    } else {
        p.lent.forget_before(p.begin);
        lent_ -= bytes;
    }
    tidy_locked(drained);
}

piece_queue::view piece_queue::front_locked() const noexcept {
    if (!bytes_locked()) return {};
    // A drained piece stands before others only while a writer is at it, and goes when that has published
    // (end_write()).
    kassert(first_ && first_->bytes());
    return {first_, first_->begin, first_->bytes()};
}

k::result<piece_queue::view> piece_queue::begin_read(ktime::ns until) noexcept {
    for (;;) {
        {
            lwkt::spin_guard guard(lock_);
            if (!reading_) {
                const view front = front_locked();
                if (front.from) {
                    reading_ = true;
                    return front;
                }
                if (!more_may_come_locked()) return view{};
                if (until == at_once) return k::error::again;
            }
            readers_waiting_++;
        }
        if (until == at_once) {
            TRY(wait_for_another(end::reading));
            continue;
        }
        const k::status woken = proc::sleep(
            readable_,
            [this] {
                lwkt::spin_guard guard(lock_);
                return !reading_ && (bytes_locked() || !more_may_come_locked());
            },
            until);
        lwkt::spin_guard guard(lock_);
        readers_waiting_--;
        if (!woken) return too_late(woken);
    }
}

piece_queue::view piece_queue::end_read(k::u64 bytes, bool go_on) noexcept {
    garbage drained;
    bool wake_readers, wake_writers;
    view next{};
    {
        lwkt::spin_guard guard(lock_);
        consume_locked(bytes, drained);
        if (go_on) next = front_locked();
        reading_ = next.from != nullptr;
        wake_readers = !reading_ && readers_waiting_;
        wake_writers = writers_waiting_ && std::max(room_locked(false), room_locked(true)) >= least_need_;
    }
    if (wake_readers) readable_.wake_all();
    if (wake_writers) writable_.wake_all();
    write_watch_->notify(poll_can_write);
    return next;
}

// Ends a reading without taking anything.
void piece_queue::end_peek() noexcept {
    bool wake_readers;
    {
        lwkt::spin_guard guard(lock_);
        reading_ = false;
        wake_readers = readers_waiting_ != 0;
    }
    if (wake_readers) readable_.wake_all();
}

// Without `how`, all that has a cargo loses it.
template <bool HasHow>
k::result<k::u64> piece_queue::read_pieces(xio::sink& to, ktime::ns until, receiving* how) noexcept {
    if (to.empty()) return 0;
    k::u64 done = 0;
    k::status bad;
    for (view part = TRY(begin_read(until)); part.from;) {
        if (HasHow && (done || how->going_on) && !how->goes_on_to(part.from->with.get())) {
            end_peek();
            break;
        }
        const k::u64 bytes = std::min(part.bytes, to.size() - done);
        xio::moved m;
        if (part.from->page) {
            m = to.write_some(done, {part.from->data() + part.begin, bytes});
        } else {
            const xio::source lent = std::move(part.from->lent.slice(part.begin, bytes)).value();
            xio::sink rest = std::move(to.slice(done, bytes)).value();
            m = rest.binding() == xio::binding::range ? vm::deliver(static_cast<vm::space&>(rest.memory()), rest, lent)
                                                      : xio::copy_some(lent, rest);
        }
        if (part.from->packet) [[unlikely]] {
            // All of it goes, or nothing.
            end_read(m.status ? part.bytes : 0, false);
            if (m.status) done += m.bytes;
            bad = m.status;
            break;
        }
        if (HasHow && part.from->with && m.bytes) how->unload(*part.from->with);
        done += m.bytes;
        bad = m.status;
        const bool go_on = m.status && done < to.size() && !(HasHow && how->files);
        part = HasHow && how->peek ? peek_on(part, go_on) : end_read(m.bytes, go_on);
    }
    if (!done && !bad) return bad.error();
    return done;
}

k::result<k::u64> piece_queue::read(xio::sink& to, ktime::ns until) noexcept {
    return read_pieces<false>(to, until, nullptr);
}

k::result<k::u64> piece_queue::receive(xio::sink& to, receiving& how) noexcept {
    return read_pieces<true>(to, how.until, &how);
}

// Goes on to what follows a piece that was looked at, or ends the reading.
piece_queue::view piece_queue::peek_on(const view& seen, bool go_on) noexcept {
    view next{};
    if (go_on) {
        lwkt::spin_guard guard(lock_);
        if (piece* p = seen.from->next; p && p->bytes()) next = {p, p->begin, p->bytes()};
    }
    if (!next.from) end_peek();
    return next;
}

// Bytes of the first piece as a source of their own. A page to which a writer may still append is not lent out.
k::result<xio::source> piece_queue::as_source(const view& part, k::u64 bytes) noexcept {
    if (!part.from->page) return part.from->lent.slice(part.begin, bytes);
    bool whole;
    {
        lwkt::spin_guard guard(lock_);
        whole = bytes == first_->bytes() && !first_->has_room();
    }
    if (whole) return xio::source::over_run(part.from->page.get(), part.begin, bytes);
    return xio::source::copy_of({part.from->data() + part.begin, bytes});
}

k::result<xio::source> piece_queue::take(k::u64 most, bool nonblocking) noexcept {
    const view part = TRY(begin_read(patience(nonblocking)));
    if (!part.from) return xio::source();
    const k::u64 bytes = std::min(part.bytes, most);
    auto taken = as_source(part, bytes);
    end_read(taken ? bytes : 0, false);
    return taken;
}

k::result<xio::source> piece_queue::peek(k::u64 most, bool nonblocking) noexcept {
    const view part = TRY(begin_read(patience(nonblocking)));
    if (!part.from) return xio::source();
    auto seen = as_source(part, std::min(part.bytes, most));
    end_read(0, false);
    return seen;
}

void piece_queue::give_back(xio::source bytes) noexcept {
    auto made = mem::make_box<piece>();
    if (!made || bytes.empty()) return;
    made->end = bytes.size();
    made->lent.keep(std::move(bytes));
    while (!try_put_first(made.get())) {
        readable_.wait([this] {
            lwkt::spin_guard guard(lock_);
            return !reading_;
        });
        lwkt::spin_guard guard(lock_);
        readers_waiting_--;
    }
    (void)made.release();
    readable_.wake_all();
    read_watch_->notify(poll_can_read);
}

// False, and this is somebody who waits: the first piece is being read.
bool piece_queue::try_put_first(piece* p) noexcept {
    lwkt::spin_guard guard(lock_);
    if (reading_) {
        readers_waiting_++;
        return false;
    }
    lent_ += p->end;
    p->next = first_;
    first_ = p;
    if (!last_) last_ = p;
    return true;
}

} // namespace files
