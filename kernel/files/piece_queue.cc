#include "kernel/files/piece_queue.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "sys/vm/loan.h"

namespace files {

namespace {

std::byte* bytes_of(const vm::page_ref& page) {
    return static_cast<std::byte*>(page.data());
}

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

// What a wait that ended without success answers.
k::error too_late(const k::status& woken) {
    return woken.error() == k::error::timedout ? k::error::again : woken.error();
}

} // namespace

// --- Pieces
// ----------------------------------------------------------------------------------------------------------

piece_queue::garbage::~garbage() {
    while (piece* p = first_) {
        first_ = p->next;
        mem::destroy(p);
    }
}

void piece_queue::delivery::append(piece* p) noexcept {
    (last ? last->next : first) = p;
    last = p;
    (p->page ? copied : lent) += p->bytes();
    padding += p->padding;
}

// A page that begins anew.
void piece_queue::empty_locked(piece& p) noexcept {
    p.begin = p.end = 0;
    p.packet = false;
    padding_ -= std::exchange(p.padding, 0);
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

// --- Writing
// ----------------------------------------------------------------------------------------------------------

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
        const xio::moved m = from.read_some(offset, {bytes_of(last->page) + last->end, part});
        into.grown = into.copied = m.bytes;
        if (!m.status) return m.status.error();
        offset += part;
        bytes -= part;
    }
    while (bytes) {
        piece* p = empty_piece();
        if (!p) return k::error::nomem;
        const k::u64 part = std::min(bytes, k::u64{arch::page_size});
        const xio::moved m = from.read_some(offset, {bytes_of(p->page), part});
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
        const xio::moved m = from.read_some(offset, {bytes_of(p->page), part});
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

// --- Reading
// ----------------------------------------------------------------------------------------------------------

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
            m = to.write_some(done, {bytes_of(part.from->page) + part.begin, bytes});
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
    return xio::source::copy_of({bytes_of(part.from->page) + part.begin, bytes});
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
