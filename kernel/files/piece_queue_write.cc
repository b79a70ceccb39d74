// Writing to a queue of pieces: what is little is copied behind what is there, what is much is lent.
#include "kernel/files/piece_queue.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "sys/vm/loan.h"

namespace files {

namespace {

// Shorter writes are copied without asking.
k::u64 least_lent() {
    return vm::thresholds().stable_one_cpu;
}

// Is it worth asking for a loan of that many bytes?
bool lendable(const xio::source& from, k::u64 bytes) {
    if (bytes < least_lent()) return false;
    if (from.binding() == xio::binding::pages) return from.promise() == xio::stability::stable;
    return vm::worth_lending(static_cast<vm::space&>(from.memory()), bytes);
}

// The room with which a write of so many bytes goes on.
k::u64 need_of(k::u64 bytes, bool to_lend) {
    return to_lend ? least_lent() : std::min(bytes, piece_queue::atomic_bytes);
}

} // namespace

void piece_queue::delivery::append(piece* p) noexcept {
    (last ? last->next : first) = p;
    last = p;
    (p->page ? copied : lent) += p->bytes();
    padding += p->padding;
}

// A piece with an empty page: the spare one, or a fresh one; null without memory.
piece_queue::piece* piece_queue::empty_piece() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (piece* p = std::exchange(spare_, nullptr)) return p;
    }
    auto made = mem::make_box<piece>();
    if (!made) return nullptr;
    made->page = vm::user_page(vm::fill::any); // users may not take the kernel's last pages
    return made->page ? made.release() : nullptr;
}

k::result<piece_queue::permit> piece_queue::begin_write(k::u64 need, bool to_lend, ktime::ns until) noexcept {
    for (;;) {
        {
            lwkt::spin_guard guard(lock_);
            if (!takes_more_locked()) return k::error::pipe;
            if (!writing_) {
                if (const k::u64 room = room_locked(to_lend); room >= need) {
                    writing_ = true;
                    return permit{room, last_ && last_->has_room() ? last_ : nullptr};
                }
                if (until == at_once) return k::error::again;
            }
            least_need_ = writers_waiting_++ ? std::min(least_need_, need) : need;
        }
        if (until == at_once) {
            TRY(wait_for_another(end::writing));
            continue;
        }
        const k::status woken = proc::sleep(
            writable_,
            [&] {
                lwkt::spin_guard guard(lock_);
                return !takes_more_locked() || (!writing_ && room_locked(to_lend) >= need);
            },
            until);
        lwkt::spin_guard guard(lock_);
        writers_waiting_--;
        if (!woken) return too_late(woken);
    }
}

// Who would not wait for bytes or room, waits for another thread at the same end.
k::status piece_queue::wait_for_another(end at) noexcept {
    const bool reads = at == end::reading;
    const k::status woken = proc::sleep(reads ? readable_ : writable_, [&] {
        lwkt::spin_guard guard(lock_);
        return reads ? !reading_ : !writing_;
    });
    lwkt::spin_guard guard(lock_);
    (reads ? readers_waiting_ : writers_waiting_)--;
    return woken;
}

void piece_queue::end_write(const delivery& what) noexcept {
    garbage drained;
    bool wake_readers, wake_writers;
    {
        lwkt::spin_guard guard(lock_);
        if (what.grown) last_->end += what.grown;
        if (what.first) {
            if (what.first->with) cargoes_++;
            (last_ ? last_->next : first_) = what.first;
            last_ = what.last;
        }
        copied_ += what.copied;
        lent_ += what.lent;
        padding_ += what.padding;
        writing_ = false;
        is_over_locked() ? drop_all_locked(drained) : tidy_locked(drained);
        wake_readers = readers_waiting_ != 0;
        wake_writers = writers_waiting_ != 0;
    }
    if (wake_readers) readable_.wake_all();
    if (wake_writers) writable_.wake_all();
    read_watch_->notify(poll_can_read);
}

piece_queue::demand piece_queue::demand_of(const xio::source& from) noexcept {
    const bool to_lend = lendable(from, from.size());
    return {need_of(from.size(), to_lend), to_lend};
}

k::status piece_queue::wait_for_room(demand what) noexcept {
    TRY(begin_write(what.bytes, what.to_lend, ktime::forever));
    end_write({});
    return {};
}

// Copies into the room at the end of `last`, if there is one, and then into fresh pages.
k::status piece_queue::copy_in(piece* last, const xio::source& from, k::u64 offset, k::u64 bytes,
                               delivery& into) noexcept {
    if (last) {
        const k::u64 part = std::min(bytes, arch::page_size - last->end);
        const xio::moved m = from.read_some(offset, {last->data() + last->end, part});
        into.grown = into.copied = m.bytes;
        if (!m.status) return m.status.error();
        offset += part;
        bytes -= part;
    }
    while (bytes) {
        piece* p = empty_piece();
        if (!p) return k::error::nomem;
        const k::u64 part = std::min(bytes, k::u64{arch::page_size});
        const xio::moved m = from.read_some(offset, {p->data(), part});
        p->end = m.bytes;
        m.bytes ? into.append(p) : mem::destroy(p);
        if (!m.status) return m.status.error();
        offset += part;
        bytes -= part;
    }
    return {};
}

k::status piece_queue::copy_packets(const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept {
    while (bytes) {
        piece* p = empty_piece();
        if (!p) return k::error::nomem;
        const k::u64 part = std::min(bytes, k::u64{arch::page_size});
        const xio::moved m = from.read_some(offset, {p->data(), part});
        if (!m.status) { // no packet that is a part of one
            mem::destroy(p);
            return m.status.error();
        }
        p->end = part;
        p->packet = true;
        p->padding = static_cast<k::u32>(arch::page_size - part);
        into.append(p);
        offset += part;
        bytes -= part;
    }
    return {};
}

k::status piece_queue::lend(const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept {
    xio::source part = TRY(from.slice(offset, bytes));
    auto made = mem::make_box<piece>();
    if (!made) return k::error::nomem;
    if (part.binding() == xio::binding::range)
        part = TRY(vm::bind_source(static_cast<vm::space&>(part.memory()), part, xio::stability::stable));
    made->lent.keep(std::move(part));
    made->end = bytes;
    into.append(made.release());
    return {};
}

// The first piece of a write, with a cargo.
k::status piece_queue::load(cargo& with, const xio::source& from, k::u64 bytes, bool to_lend, delivery& into) noexcept {
    auto box = mem::make_box<cargo>();
    if (!box) return k::error::nomem;
    k::status moved = k::error::again;
    if (to_lend) moved = lend(from, 0, bytes, into);
    if (!moved) moved = copy_in(nullptr, from, 0, std::min(bytes, atomic_bytes), into);
    if (into.first) {
        *box = std::move(with);
        into.first->with = std::move(box);
    }
    return moved;
}

k::result<k::u64> piece_queue::write_with(cargo& with, xio::source& from, ktime::ns until) noexcept {
    const k::u64 total = from.size();
    if (!total) return 0;
    const bool to_lend = lendable(from, total);
    const permit room = TRY(begin_write(need_of(total, to_lend), to_lend, until));
    delivery fresh;
    const k::status moved = load(with, from, std::min(total, room.room), to_lend, fresh);
    end_write(fresh);
    const k::u64 done = fresh.copied + fresh.lent;
    if (!moved) return xio::moved{done, moved}.as_result();
    return write(from, until, done);
}

k::result<k::u64> piece_queue::write(xio::source& from, ktime::ns until, k::u64 done) noexcept {
    const k::u64 total = from.size();
    bool may_lend = true;
    while (done < total) {
        const k::u64 left = total - done;
        const bool to_lend = may_lend && lendable(from, left);
        auto room = begin_write(need_of(left, to_lend), to_lend, until);
        if (!room) {
            if (done) return done;
            return room.error();
        }
        delivery fresh;
        const k::u64 bytes = std::min(left, room->room);
        const k::status moved =
            to_lend ? lend(from, done, bytes, fresh) : copy_in(room->last, from, done, bytes, fresh);
        end_write(fresh);
        done += fresh.copied + fresh.lent;
        if (moved) continue;
        if (to_lend) {
            may_lend = false; // for lack of memory, or because of a bad address: copying will find out how far it goes
            continue;
        }
        if (done) return done;
        return moved.error();
    }
    return total;
}

k::result<k::u64> piece_queue::write_packets(xio::source& from, ktime::ns until) noexcept {
    for (k::u64 done = 0; done < from.size();) {
        auto room = begin_write(arch::page_size, false, until);
        if (!room) {
            if (done) return done;
            return room.error();
        }
        delivery fresh;
        const k::u64 bytes = std::min(from.size() - done, k::align_down(room->room, k::u64{arch::page_size}));
        const k::status moved = copy_packets(from, done, bytes, fresh);
        end_write(fresh);
        done += fresh.copied;
        if (moved) continue;
        if (done) return done;
        return moved.error();
    }
    return from.size();
}

} // namespace files
