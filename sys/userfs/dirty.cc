#include "sys/userfs/dirty.h"

#include "kernel/lib/log.h"
#include "sys/userfs/nodes.h"
#include "sys/vfs/data.h"

namespace vfs::userfs {

namespace {

constexpr ktime::ns between = 2 * ktime::second; // how long a page stays dirty, about
constexpr ktime::ns soon = ktime::second;        // until it is tried again
constexpr unsigned most_failures = 30;           // of a file system that nobody has mounted or in use
constexpr ktime::ns glance = 100 * ktime::millisecond;

// Any mount may have a few.
constexpr k::u64 least_pages = 16;
k::u64 most_of_one() noexcept {
    return vm::promise_limit() / 32;
}
k::u64 most_of_all() noexcept {
    return vm::promise_limit() / 8;
}

constexpr k::u64 pages_for(k::u64 bytes) {
    return k::align_up(bytes, k::u64{arch::page_size}) >> arch::page_shift;
}

struct {
    std::atomic<k::u64> pages = 0; // of all servers
    lwkt::spinlock lock;
    dirty_files* first GUARDED_BY(lock) = nullptr; // whose threads run: those hold their servers
    k::u64 started GUARDED_BY(lock) = 0;
} everywhere;

} // namespace

// --- The pager's side

// Who stores into a mapping may be about to lose it, and its file with it.
file_pages::owner file_pages::node() noexcept {
    lwkt::critical section;
    file_node* n = file_.load(std::memory_order_acquire);
    file_system_ref fs = n ? file_system_ref::to_living(n->fs) : file_system_ref();
    vnode_ref node = fs ? vnode_ref::to_living(*n) : vnode_ref();
    return {std::move(fs), std::move(node)};
}

k::status file_pages::reserve(k::u64, k::u64 count) noexcept {
    return server_->dirty.reserve(*this, count);
}

void file_pages::charge(k::i64 pages) noexcept {
    server_->dirty.charge(*this, pages);
}

bool dirty_files::take(k::u64 pages) noexcept {
    const k::u64 here = pages_.fetch_add(pages, std::memory_order_relaxed) + pages;
    const k::u64 all = everywhere.pages.fetch_add(pages, std::memory_order_relaxed) + pages;
    if (here <= least_pages || (here <= most_of_one() && all <= most_of_all())) return true;
    pages_.fetch_sub(pages, std::memory_order_relaxed);
    everywhere.pages.fetch_sub(pages, std::memory_order_relaxed);
    return false;
}

// Another mount's pages may be those that are too many, so it looks by itself, too.
k::status dirty_files::wait_for_room(k::u64 pages) noexcept {
    if (take(pages)) [[likely]]
        return {};
    bool taken = false, killed = false;
    const auto is_settled = [&] {
        return (killed = server_.caller_is_killed()) || server_.is_over() || (taken = take(pages));
    };
    const ktime::ns deadline = ktime::after(server_.patience());
    do
        hurry();
    while (!room_.wait(is_settled, std::min(deadline, ktime::after(glance))) && ktime::now() < deadline);
    if (taken) return {};
    return killed ? k::error::intr : k::error::io;
}

void dirty_files::list(file_pages& of, file_node& n, k::u64 pages) noexcept {
    file_system::opened_ref by;
    {
        lwkt::spin_guard guard(lock_); // while it is listed it stays so, as something of it is dirty
        if (n.turn.load(std::memory_order_relaxed)) {
            of.dirty.fetch_add(pages, std::memory_order_relaxed);
            return;
        }
    }
    by = server_.writer_of(n.number_there);
    lwkt::spin_guard guard(lock_);
    of.dirty.fetch_add(pages, std::memory_order_relaxed);
    if (n.turn.load(std::memory_order_relaxed)) return;
    n.turn.store(++last_turn_, std::memory_order_relaxed);
    n.written_by = std::move(by);
    files_.insert(n);
    listed_.fetch_add(1, std::memory_order_relaxed);
    (void)vnode_ref::to(n).release();
    if (!fs_) fs_ = file_system_ref::to(n.fs);
}

k::status dirty_files::reserve(file_pages& of, k::u64 pages) noexcept {
    const file_pages::owner held = of.node();
    if (!held.node || server_.is_over()) return k::error::io;
    TRY(wait_for_room(pages));
    auto& n = static_cast<file_node&>(*held.node);
    list(of, n, pages);
    const k::status runs = start_writer();
    if (runs) return runs;
    charge(of, -static_cast<k::i64>(pages));
    settle(n);
    return runs;
}

void dirty_files::charge(file_pages& of, k::i64 pages) noexcept {
    if (!pages) return;
    const auto more = static_cast<k::u64>(pages);
    of.dirty.fetch_add(more, std::memory_order_release);
    pages_.fetch_add(more, std::memory_order_relaxed);
    everywhere.pages.fetch_add(more, std::memory_order_relaxed);
    if (pages < 0) room_.wake_all();
}

void dirty_files::settle(file_node& n) noexcept {
    if (!n.turn.load(std::memory_order_relaxed)) return;
    vnode_ref node; // of which the caller has another
    file_system::opened_ref by;
    file_system_ref fs; // of which the caller has another, or the node's users
    bool was_last = false;
    {
        lwkt::spin_guard guard(lock_);
        if (!n.turn.load(std::memory_order_relaxed) || n.dirty_pages()) return;
        files_.erase(files_.iterator_to(n));
        n.turn.store(0, std::memory_order_relaxed);
        node = vnode_ref(&n);
        std::swap(by, n.written_by);
        was_last = listed_.fetch_sub(1, std::memory_order_relaxed) == 1;
        if (was_last) std::swap(fs, fs_);
    }
    if (was_last) writer_.wake_all();
}

void dirty_files::note_loss(file_node& n, k::error why) noexcept {
    const k::u32 before = n.losses.load(std::memory_order_relaxed);
    n.losses.store(((before >> 8) + 1) << 8 | (static_cast<k::u32>(why) & 0xff), std::memory_order_release);
    {
        lwkt::spin_guard guard(lock_);
        if (std::exchange(said_, true)) return;
    }
    k::log("{}: what was stored into a mapping of file {} is lost ({})\n", n.fs.type(), n.inode, k::name_of(why));
}

// --- Writing

vnode_ref dirty_files::next(k::u64& turn, k::u64 last) noexcept {
    lwkt::spin_guard guard(lock_);
    const auto at = files_.upper_bound(turn);
    if (at == files_.end() || (turn = turn_of()(*at)) > last) return {};
    return vnode_ref::to(static_cast<file_node&>(*at));
}

// From `turn` on, which says then behind which file to go on: of one that a program does not take the next one is not
// kept waiting for ever.
k::status dirty_files::write_all(k::u64& turn) noexcept {
    const file_system_ref held = holds(); // nodes go before it does
    if (!held) return {};
    k::u64 last;
    {
        lwkt::spin_guard guard(lock_);
        last = last_turn_;
    }
    k::status outcome;
    while (const vnode_ref node = next(turn, last)) {
        const k::status done = static_cast<file_node&>(*node).write_back_in_time();
        if (!done && outcome) outcome = done;
        if (!done && done.error() == k::error::timedout) return outcome;
    }
    turn = 0;
    return outcome;
}

void dirty_files::hurry() noexcept {
    hurries_.store(true, std::memory_order_relaxed);
    writer_.wake_all();
}

// The thread does it. Who waits may be the program itself, which has time then to be asked before it counts as silent.
k::status dirty_files::wait_until_clean() noexcept {
    const ktime::ns deadline = ktime::after(server_.patience() / 2);
    bool clean = false, killed = false;
    const auto is_settled = [&] {
        return (clean = !listed_.load(std::memory_order_relaxed)) || (killed = server_.caller_is_killed());
    };
    do
        hurry();
    while (!writer_.wait(is_settled, std::min(deadline, ktime::after(glance))) && ktime::now() < deadline);
    return clean ? k::status() : killed ? k::error::intr : k::error::timedout;
}

k::status file_node::write_back() noexcept {
    k::status done;
    if (dirty_pages()) {
        const writers_hold hold(*this);
        done = write_dirty(true);
    }
    server_->dirty.settle(*this);
    return done;
}

k::status file_node::write_back_in_time() noexcept {
    k::status done;
    if (dirty_pages()) {
        const writers_attempt hold(*this);
        if (!hold) return k::error::busy;
        done = write_dirty(false);
    }
    server_->dirty.settle(*this);
    return done;
}

// What somebody is just bringing in has not been stored into yet, and is not waited for.
k::status file_node::write_dirty(bool patient) noexcept {
    if (!dirty_pages()) return {};
    TRY(server_->wait_for_left(number_there, patient));
    vm::object& cache = *pages();
    const k::u64 bytes = size.load(std::memory_order_acquire), end = pages_for(bytes);
    k::status outcome;
    bool wrote = false;
    for (k::u64 at = 0; (at = cache.next_dirty(at, end, true)) < end;) {
        const k::u64 most = std::min(cache.next_dirty(at, end, false), at + (most_moved >> arch::page_shift));
        const k::u64 until = cache.next_in_memory(at, most, false);
        if (until == at) {
            at++;
            continue;
        }
        const k::status done = write_stored(at, until - at, bytes, patient);
        if (!done && dirty_is_kept(done.error())) return done;
        if (!done && outcome) outcome = done;
        if (done) wrote = true;
        at = until;
    }
    if (wrote) touch_modified();
    return outcome;
}

bool file_node::dirty_is_kept(k::error why) const noexcept {
    return why == k::error::intr || why == k::error::nomem || (why == k::error::timedout && !server_->is_over());
}

// Pages are clean before they are lent: who stores into one from then on makes it dirty again.
k::status file_node::write_stored(k::u64 first, k::u64 count, k::u64 end, bool patient) noexcept {
    note_sectors(node_told::not_told);
    const k::u64 offset = first << arch::page_shift;
    question q{.head = {.operation = operation::write,
                        .node = number_there,
                        .offset = offset,
                        .bytes = std::min(count << arch::page_shift, end - offset)},
               .was_stored = true,
               .patience = patient ? ktime::forever : server_->patience()};
    // While they are on their way they count as dirty: whoever wants them kept waits for that.
    server_->dirty.charge(pager_, static_cast<k::i64>(count));
    pages()->clean(first, count);
    const k::status done = store_piece(q);
    if (!done && !(dirty_is_kept(done.error()) && pages()->soil(first, count)))
        server_->dirty.note_loss(*this, done.error());
    server_->dirty.charge(pager_, -static_cast<k::i64>(count));
    return done;
}

// --- The thread

void dirty_files::set_writer(writer now) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        now_.store(now, std::memory_order_relaxed);
    }
    writer_.wake_all();
}

// Nobody counts on a thread before it is there.
k::status dirty_files::start_writer() noexcept {
    for (;;) {
        {
            lwkt::spin_guard guard(lock_);
            const writer seen = now_.load(std::memory_order_relaxed);
            if (seen == writer::runs) return {};
            if (seen == writer::none) {
                now_.store(writer::starts, std::memory_order_relaxed);
                break;
            }
        }
        writer_.wait([&] { return now_.load(std::memory_order_relaxed) != writer::starts; });
    }
    server_ref held = server_ref::to(server_);
    come_in();
    const k::status spawned =
        lwkt::spawn("userfs writer", arch::cpu::id(), lwkt::normal_priority, write_for_ever, this);
    if (spawned) {
        (void)held.release();
        return {};
    }
    go_out();
    set_writer(writer::none);
    return spawned;
}

void dirty_files::come_in() noexcept {
    lwkt::spin_guard guard(everywhere.lock);
    started_ = ++everywhere.started;
    next_ = std::exchange(everywhere.first, this);
}

void dirty_files::go_out() noexcept {
    lwkt::spin_guard guard(everywhere.lock);
    dirty_files** at = &everywhere.first;
    while (*at != this)
        at = &(*at)->next_;
    *at = next_;
}

void dirty_files::write_for_ever(void* of) noexcept {
    auto* it = static_cast<dirty_files*>(of);
    const server_ref held(&it->server_);
    it->write_while_dirty();
}

void dirty_files::write_while_dirty() noexcept {
    set_writer(writer::runs);
    unsigned failures = 0;
    for (k::u64 turn = 0;;) {
        (void)writer_.wait(
            [&] {
                return !listed_.load(std::memory_order_relaxed) || hurries_.load(std::memory_order_relaxed) ||
                       server_.is_over();
            },
            ktime::after(between));
        hurries_.store(false, std::memory_order_relaxed);
        const file_system_ref fs = holds(); // before it is written: it may be the last to hold it
        const k::status done = write_all(turn);
        if (done) failures = 0;
        // Nobody can force it off any more, nor close what he has of it.
        constexpr unsigned ours = 2;
        if (!done && ++failures && fs && fs->holders() <= ours &&
            (done.error() == k::error::timedout || failures >= most_failures))
            server_.give_up();
        // What is behind one that was not taken has its turn at once.
        if (!done && !turn)
            (void)writer_.wait([&] { return !listed_.load(std::memory_order_relaxed); }, ktime::after(soon));
        else if (!done)
            hurries_.store(true, std::memory_order_relaxed);
        if (listed_.load(std::memory_order_relaxed)) continue;
        go_out();
        {
            lwkt::spin_guard guard(lock_);
            if (files_.empty()) {
                now_.store(writer::none, std::memory_order_relaxed);
                return;
            }
        }
        come_in(); // somebody was quicker, and did not start another
    }
}

void dirty_files::write_everything() noexcept {
    for (k::u64 last = 0;;) {
        server_ref held;
        {
            lwkt::spin_guard guard(everywhere.lock);
            dirty_files* next = nullptr;
            for (dirty_files* d = everywhere.first; d; d = d->next_)
                if (d->started_ > last && (!next || d->started_ < next->started_)) next = d;
            if (!next) return;
            last = next->started_;
            held = server_ref::to(next->server_);
        }
        (void)held->dirty.wait_until_clean();
    }
}

} // namespace vfs::userfs

namespace vfs {

void write_back_programs() noexcept {
    userfs::dirty_files::write_everything();
}

} // namespace vfs
