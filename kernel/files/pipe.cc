#include "kernel/files/pipe.h"

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
    return to_lend ? least_lent() : std::min(bytes, pipe::atomic_bytes);
}

} // namespace

// --- Pieces
// ----------------------------------------------------------------------------------------------------------

pipe::garbage::~garbage() {
    while (piece* p = first_) {
        first_ = p->next;
        mem::destroy(p);
    }
}

void pipe::delivery::append(piece* p) noexcept {
    (last ? last->next : first) = p;
    last = p;
    (p->page ? copied : lent) += p->bytes();
}

// A piece with an empty page: the spare one, or a fresh one; null without memory.
pipe::piece* pipe::empty_piece() noexcept {
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
bool pipe::may_reuse(const piece& p) noexcept {
    return p.page->holds.only(vm::hold::reference);
}

void pipe::unlink_first_locked(garbage& drained) noexcept {
    piece* p = first_;
    first_ = p->next;
    if (!first_) last_ = nullptr;
    p->next = nullptr;
    if (p->page && !spare_ && may_reuse(*p)) {
        p->begin = p->end = 0;
        spare_ = p;
    } else {
        drained.add(p);
    }
}

// Takes out pieces that were read to their ends, but leaves the last one where a writer may be appending to it. A page
// that stays begins anew.
void pipe::tidy_locked(garbage& drained) noexcept {
    while (first_ && !first_->bytes()) {
        if (first_ == last_) {
            if (writing_) return;
            if (first_->page && may_reuse(*first_)) {
                first_->begin = first_->end = 0;
                return;
            }
        }
        unlink_first_locked(drained);
    }
}

void pipe::drop_all_locked(garbage& drained) noexcept {
    while (first_)
        unlink_first_locked(drained);
    copied_ = lent_ = 0;
}

void pipe::consume_locked(k::u64 bytes, garbage& drained) noexcept {
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

pipe::view pipe::front_locked() const noexcept {
    if (!bytes_locked()) return {};
    // A drained piece stands before others only while a writer is at it, and goes when that has published
    // (end_write()).
    kassert(first_ && first_->bytes());
    return {first_, first_->begin, first_->bytes()};
}

// --- Writing
// ----------------------------------------------------------------------------------------------------------

k::result<pipe::permit> pipe::begin_write(k::u64 need, bool to_lend, bool nonblocking) noexcept {
    for (;;) {
        {
            lwkt::spin_guard guard(lock_);
            if (!readers_.now) return k::error::pipe;
            if (!writing_) {
                if (const k::u64 room = room_locked(to_lend); room >= need) {
                    writing_ = true;
                    return permit{room, last_ && last_->has_room() ? last_ : nullptr};
                }
                if (nonblocking) return k::error::again;
            }
            least_need_ = writers_waiting_++ ? std::min(least_need_, need) : need;
        }
        const k::status woken = proc::sleep(writable_, [&] {
            lwkt::spin_guard guard(lock_);
            return !readers_.now || (!writing_ && (nonblocking || room_locked(to_lend) >= need));
        });
        lwkt::spin_guard guard(lock_);
        writers_waiting_--;
        if (!woken) return woken.error();
    }
}

void pipe::end_write(const delivery& what) noexcept {
    garbage drained;
    bool wake_readers, wake_writers;
    {
        lwkt::spin_guard guard(lock_);
        if (what.grown) last_->end += what.grown;
        if (what.first) {
            (last_ ? last_->next : first_) = what.first;
            last_ = what.last;
        }
        copied_ += what.copied;
        lent_ += what.lent;
        writing_ = false;
        is_over_locked() ? drop_all_locked(drained) : tidy_locked(drained);
        wake_readers = readers_waiting_ != 0;
        wake_writers = writers_waiting_ != 0;
    }
    if (wake_readers) readable_.wake_all();
    if (wake_writers) writable_.wake_all();
    read_watch_.notify(poll_can_read);
}

pipe::demand pipe::demand_of(const xio::source& from) noexcept {
    const bool to_lend = lendable(from, from.size());
    return {need_of(from.size(), to_lend), to_lend};
}

k::status pipe::wait_for_room(demand what) noexcept {
    TRY(begin_write(what.bytes, what.to_lend, false));
    end_write({});
    return {};
}

// Copies into the room at the end of `last`, if there is one, and then into fresh pages.
k::status pipe::copy_in(piece* last, const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept {
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

k::status pipe::lend(const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept {
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

k::result<k::u64> pipe::write(xio::source& from, bool nonblocking) noexcept {
    const k::u64 total = from.size();
    bool may_lend = true;
    for (k::u64 done = 0; done < total;) {
        const k::u64 left = total - done;
        const bool to_lend = may_lend && lendable(from, left);
        auto room = begin_write(need_of(left, to_lend), to_lend, nonblocking);
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

// --- Reading
// ----------------------------------------------------------------------------------------------------------

k::result<pipe::view> pipe::begin_read(bool nonblocking) noexcept {
    for (;;) {
        {
            lwkt::spin_guard guard(lock_);
            if (!reading_) {
                const view front = front_locked();
                if (front.from) {
                    reading_ = true;
                    return front;
                }
                if (!writers_.now) return view{};
                if (nonblocking) return k::error::again;
            }
            readers_waiting_++;
        }
        const k::status woken = proc::sleep(readable_, [&] {
            lwkt::spin_guard guard(lock_);
            return !reading_ && (bytes_locked() || !writers_.now || nonblocking);
        });
        lwkt::spin_guard guard(lock_);
        readers_waiting_--;
        if (!woken) return woken.error();
    }
}

pipe::view pipe::end_read(k::u64 bytes, bool go_on) noexcept {
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
    write_watch().notify(poll_can_write);
    return next;
}

k::result<k::u64> pipe::read(xio::sink& to, bool nonblocking) noexcept {
    if (to.empty()) return 0;
    k::u64 done = 0;
    k::status bad;
    for (view part = TRY(begin_read(nonblocking)); part.from;) {
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
        done += m.bytes;
        bad = m.status;
        part = end_read(m.bytes, m.status && done < to.size());
    }
    if (!done && !bad) return bad.error();
    return done;
}

// Bytes of the first piece as a source of their own. A page to which a writer may still append is not lent out.
k::result<xio::source> pipe::as_source(const view& part, k::u64 bytes) noexcept {
    if (!part.from->page) return part.from->lent.slice(part.begin, bytes);
    bool whole;
    {
        lwkt::spin_guard guard(lock_);
        whole = bytes == first_->bytes() && !first_->has_room();
    }
    if (whole) return xio::source::over_run(part.from->page.get(), part.begin, bytes);
    return xio::source::copy_of({bytes_of(part.from->page) + part.begin, bytes});
}

k::result<xio::source> pipe::take(k::u64 most, bool nonblocking) noexcept {
    const view part = TRY(begin_read(nonblocking));
    if (!part.from) return xio::source();
    const k::u64 bytes = std::min(part.bytes, most);
    auto taken = as_source(part, bytes);
    end_read(taken ? bytes : 0, false);
    return taken;
}

void pipe::give_back(xio::source bytes) noexcept {
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
    read_watch_.notify(poll_can_read);
}

// False, and this is somebody who waits: the first piece is being read.
bool pipe::try_put_first(piece* p) noexcept {
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

k::result<k::ref<pipe>> pipe::create(sort what) noexcept {
    auto* made = mem::make<pipe>(what);
    if (!made) return k::error::nomem;
    return k::ref<pipe>(made);
}

pipe::pipe(sort what) noexcept : sort_(what), inode_(fresh_inode()) {
    if (what == sort::fifo) readers_ = writers_ = {0, 0};
}

pipe::~pipe() {
    garbage drained;
    lwkt::spin_guard guard(lock_);
    drop_all_locked(drained);
    if (spare_) drained.add(spare_);
}

void pipe::last_holder_left() noexcept {
    mem::destroy(this);
}

pipe::attendance pipe::reader_came() noexcept {
    lwkt::spin_guard guard(lock_);
    readers_.now++;
    readers_.ever++;
    return writers_;
}

pipe::attendance pipe::writer_came() noexcept {
    lwkt::spin_guard guard(lock_);
    writers_.now++;
    writers_.ever++;
    return readers_;
}

pipe::attendance pipe::readers() noexcept {
    lwkt::spin_guard guard(lock_);
    return readers_;
}

pipe::attendance pipe::writers() noexcept {
    lwkt::spin_guard guard(lock_);
    return writers_;
}

void pipe::reader_left() noexcept {
    garbage drained;
    {
        lwkt::spin_guard guard(lock_);
        if (--readers_.now) return;
        if (is_over_locked() && !writing_) drop_all_locked(drained); // else end_write() does
    }
    writable_.wake_all();
    write_watch().notify(poll_error | poll_can_write);
}

void pipe::writer_left() noexcept {
    garbage drained;
    {
        lwkt::spin_guard guard(lock_);
        if (--writers_.now) return;
        if (is_over_locked()) drop_all_locked(drained);
    }
    readable_.wake_all();
    read_watch_.notify(poll_hangup | poll_can_read);
}

k::u32 pipe::ready_to_read(k::u32 writers_before) noexcept {
    lwkt::spin_guard guard(lock_);
    const bool at_end = !writers_.now && writers_.ever != writers_before;
    return (bytes_locked() ? poll_can_read : 0) | (at_end ? poll_hangup : 0);
}

k::u32 pipe::ready_to_write() noexcept {
    lwkt::spin_guard guard(lock_);
    return (room_locked(false) >= atomic_bytes ? poll_can_write : 0) | (readers_.now ? 0 : poll_error);
}

k::u64 pipe::bytes() noexcept {
    lwkt::spin_guard guard(lock_);
    return bytes_locked();
}

k::u64 pipe::capacity() noexcept {
    lwkt::spin_guard guard(lock_);
    return capacity_;
}

k::result<k::u64> pipe::set_capacity(k::u64 bytes) noexcept {
    if (bytes > most_capacity) return k::error::perm;
    bytes = std::bit_ceil(std::max(bytes, k::u64{arch::page_size}));
    {
        lwkt::spin_guard guard(lock_);
        if (copied_ > bytes) return k::error::busy;
        capacity_ = bytes;
    }
    writable_.wake_all();
    write_watch().notify(poll_can_write);
    return bytes;
}

} // namespace files
