#include "sys/ext/store.h"

namespace ext {

namespace {

// Those that write to their devices.
struct {
    lwkt::spinlock lock;
    store* first GUARDED_BY(lock) = nullptr;
} writers;

} // namespace

k::result<store_ref> store::create(volume_ref on) noexcept {
    auto* made = mem::make<store>(std::move(on));
    if (!made) return k::error::nomem;
    return store_ref(made);
}

store::~store() {
    lwkt::spin_guard guard(lock_);
    for (inode* first : table_)
        kassert(!first);
}

inode_ref store::find(u32 number) noexcept {
    lwkt::spin_guard guard(lock_);
    for (inode* i = bucket_of(number); i; i = i->next)
        if (i->number == number) return inode_ref::to(*i);
    return {};
}

k::result<inode_ref> store::get(u32 number) noexcept {
    if (!on_->is_inode(number)) return on_->damaged("a name leads to the inode", number);
    if (inode_ref there = find(number)) return there;
    lwkt::sleep_hold hold(loading_);
    if (inode_ref there = find(number)) return there;
    inode_ref made = TRY(inode::load(*this, number));
    lwkt::spin_guard guard(lock_);
    inode*& first = bucket_of(number);
    made->next = first;
    first = made.share().release();
    return made;
}

vfs::vnode_ref store::node_of(inode& of) noexcept {
    lwkt::spin_guard guard(lock_);
    return of.node ? vfs::vnode_ref::to_living(*of.node) : vfs::vnode_ref();
}

void store::set_node(inode& of, vfs::vnode& node) noexcept {
    lwkt::spin_guard guard(lock_);
    of.node = &node;
}

void store::add(inode_ref fresh, vfs::vnode& node) noexcept {
    lwkt::spin_guard guard(lock_);
    inode*& first = bucket_of(fresh->number);
    fresh->node = &node;
    fresh->next = first;
    first = fresh.release();
}

namespace {

attributes of_node(const vfs::vnode& n) noexcept {
    constexpr auto any = std::memory_order_relaxed;
    return {.mode = n.mode.load(any),
            .uid = n.uid.load(any),
            .gid = n.gid.load(any),
            .links = n.links.load(any),
            .size = n.size.load(std::memory_order_acquire),
            .accessed_ns = n.accessed_ns.load(any),
            .modified_ns = n.modified_ns.load(any),
            .changed_ns = n.changed_ns.load(any)};
}

} // namespace

// In any context: what is left to do is done by who writes.
void store::node_gone(vfs::vnode& node) noexcept {
    lwkt::spin_guard guard(lock_);
    for (inode* i = bucket_of(node.inode); i; i = i->next) {
        if (i->node != &node) continue;
        i->node = nullptr;
        i->parting = of_node(node);
        i->has_parting = true;
    }
}

attributes store::now(inode& of) noexcept {
    if (const vfs::vnode_ref n = node_of(of)) return of_node(*n);
    {
        lwkt::spin_guard guard(lock_);
        if (of.node) return of_node(*of.node); // it is just going; a parting is of one before it
        if (of.has_parting) return of.parting;
    }
    return of.recorded();
}

inode_ref store::next_of(unsigned bucket, u32 after) noexcept {
    lwkt::spin_guard guard(lock_);
    inode* best = nullptr;
    for (inode* i = table_[bucket]; i; i = i->next)
        if (i->number > after && (!best || i->number < best->number)) best = i;
    return best ? inode_ref::to(*best) : inode_ref();
}

void store::forget_unused(bool dirty_ones) noexcept {
    for (unsigned b = 0; b < buckets; b++) {
        inode* gone = nullptr;
        {
            lwkt::spin_guard guard(lock_);
            for (inode** at = &table_[b]; *at;) {
                inode* const i = *at;
                const bool has_more = i->is_dirty() || i->is_orphan || i->has_changed();
                if (i->node || i->has_parting || !i->is_unused() || (has_more && !dirty_ones)) {
                    at = &i->next;
                    continue;
                }
                *at = i->next;
                i->next = std::exchange(gone, i);
            }
        }
        while (gone) {
            inode* const i = std::exchange(gone, gone->next);
            i->let_go_of_pages();
            (void)inode_ref(i);
        }
    }
}

// What the last vnode said is what the record says, or will never be written.
void store::drop_stored_partings() noexcept {
    for_each([&](inode& i) NO_THREAD_SAFETY_ANALYSIS {
        attributes last;
        {
            lwkt::spin_guard guard(lock_);
            if (i.node || !i.has_parting || !i.parting.links) return;
            last = i.parting;
        }
        if (!on_->read_only() && i.is_to_be_stored(last)) return;
        lwkt::spin_guard guard(lock_);
        if (!i.node && i.has_parting && i.parting == last) i.has_parting = false;
    });
}

void store::trim() noexcept {
    (void)write_all(nullptr, false); // what fails is told by who syncs
    drop_stored_partings();
    forget_unused();
    on_->blocks_in_memory().forget();
}

// --- Writing

bool store::is_gone(inode& of, bool open_ones) noexcept {
    lwkt::spin_guard guard(lock_);
    if (of.erased) return false;
    if (!of.node) return !of.named || (of.has_parting && !of.parting.links);
    return open_ones && (!of.named || !of.node->links.load(std::memory_order_relaxed));
}

void store::erase_gone(bool open_ones) noexcept {
    lwkt::sleep_hold hold(erasing_);
    if (on_->read_only()) return;
    for_each([&](inode& i) NO_THREAD_SAFETY_ANALYSIS {
        if (!is_gone(i, open_ones)) return;
        bool open;
        inode_ref table_hold;
        {
            // Its number may be somebody else's in a moment.
            lwkt::spin_guard guard(lock_);
            open = i.node;
            for (inode** at = &bucket_of(i.number); *at; at = &(*at)->next) {
                if (*at != &i) continue;
                *at = i.next;
                table_hold = inode_ref(&i);
                break;
            }
        }
        if (!open) i.let_go_of_pages();
        if (!i.erase()) {
            failed_.store(true, std::memory_order_relaxed);
            if (!i.erased && table_hold) { // the list of orphans knows it: it is tried again
                lwkt::spin_guard guard(lock_);
                inode*& first = bucket_of(i.number);
                i.next = first;
                first = table_hold.release();
            }
        }
        if (open) i.let_go_of_pages();
    });
}

k::status store::write_pages(bool patient) noexcept {
    k::status outcome;
    for_each([&](inode& i) {
        if (!i.is_dirty() || is_gone(i, false)) return;
        if (const k::status done = i.write_back(now(i).size, patient); !done && outcome) outcome = done;
    });
    if (!outcome) failed_.store(true, std::memory_order_relaxed);
    return outcome;
}

void store::keep_within_limits() noexcept {
    const u64 promised = on_->promised_pages(), most = vm::promise_limit() / 8;
    if (promised > most / 2 && !hurries_.exchange(true, std::memory_order_relaxed)) writer_.wake_all();
    if (promised > most) (void)write_pages(false);
    if (vm::memory_is_short()) for_each([](inode& i) { i.forget_clean_pages(); });
}

k::result<u64> store::write_as_change(inode* only, bool patient) noexcept {
    if (on_->read_only()) return u64{0};
    k::status outcome;
    if (!only)
        outcome = write_pages(patient);
    else if (const k::status done = only->write_back(now(*only).size, true); !done)
        outcome = done;
    bool wanted = false;
    for_each([&](inode& i) { wanted |= i.is_to_be_stored(now(i)) || (is_gone(i, true) && !i.is_orphan); });
    if (!wanted && on_->is_clean()) return outcome ? k::result<u64>(0) : k::result<u64>(outcome.error());
    change by = TRY(change::begin(*on_));
    for_each([&](inode& i) NO_THREAD_SAFETY_ANALYSIS {
        const attributes a = now(i);
        if (is_gone(i, true)) {
            lwkt::sleep_hold hold(i.map_lock);
            if (const k::status noted = i.become_orphan(by, true); !noted && outcome) outcome = noted;
        }
        const k::status stored = i.store_record(by, a);
        if (!stored && outcome) outcome = stored;
        (void)by.keep_within_limits(); // what fails is seen again below
        lwkt::spin_guard guard(lock_);
        if (stored && !i.node && i.has_parting && i.parting == a && a.links) i.has_parting = false;
    });
    const k::status written = by.write_changed();
    if (outcome && !written) outcome = written;
    if (outcome) return on_->changes();
    failed_.store(true, std::memory_order_relaxed);
    return outcome.error();
}

k::status store::sync(inode* only) noexcept {
    const k::status written = write_all(only, true);
    const bool failed_before = failed_.exchange(false, std::memory_order_relaxed);
    if (!on_->read_only()) TRY(on_->device().cache().sync());
    TRY(written);
    return failed_before || on_->is_damaged() ? k::status(k::error::io) : k::status();
}

k::status store::settle(bool open_ones) noexcept {
    erase_gone(open_ones);
    (void)write_pages(false); // what fails is seen again below
    const u64 changes = TRY(write_as_change(nullptr, false));
    return changes ? on_->say_clean(changes) : k::status();
}

// --- The writer

k::status store::start_writing() noexcept {
    store_ref held = store_ref::to(*this);
    {
        lwkt::spin_guard guard(writers.lock);
        next_writing_ = std::exchange(writers.first, this);
    }
    const k::status spawned =
        lwkt::spawn("ext writer", arch::cpu::id(), lwkt::normal_priority, write_for_ever, held.get());
    if (!spawned)
        stop_writing();
    else
        (void)held.release();
    return spawned;
}

void store::stop_writing() noexcept {
    lwkt::spin_guard guard(writers.lock);
    store** at = &writers.first;
    while (*at != this)
        at = &(*at)->next_writing_;
    *at = next_writing_;
}

void store::wait_for_ends(const block::device& on) noexcept {
    const auto is_written = [&] {
        lwkt::spin_guard guard(writers.lock);
        const store* s = writers.first;
        while (s && &s->on_->device() != &on)
            s = s->next_writing_;
        return s != nullptr;
    };
    while (is_written())
        lwkt::sleep_for(ktime::millisecond);
}

void store::end() noexcept {
    ends_.store(true, std::memory_order_release);
    writer_.wake_all();
}

void store::write_for_ever(void* of) noexcept {
    constexpr ktime::ns between = 2 * ktime::second, soon = 50 * ktime::millisecond;
    store_ref it(static_cast<store*>(of));
    bool ends = false;
    while (!ends) {
        (void)it->writer_.wait(
            [&] { return it->ends_.load(std::memory_order_acquire) || it->hurries_.load(std::memory_order_relaxed); },
            ktime::after(between));
        ends = it->ends_.load(std::memory_order_acquire);
        (void)it->settle(ends); // what fails is told by who syncs
        it->keep_within_limits();
        it->drop_stored_partings();
        it->forget_unused();
        it->hurries_.store(false, std::memory_order_relaxed); // last: what could not be written waits for its time
    }
    it->stop_writing();
    // Inodes hold the store, and it holds them: until the last pages are let go of.
    for (;;) {
        it->drop_partings();
        it->forget_unused(true);
        if (!it->next_of_all()) return;
        lwkt::sleep_for(soon);
    }
}

inode_ref store::next_of_all() noexcept {
    for (unsigned b = 0; b < buckets; b++)
        if (inode_ref i = next_of(b, 0)) return i;
    return {};
}

// Nothing is written any more: what could not be is lost.
void store::drop_partings() noexcept {
    lwkt::spin_guard guard(lock_);
    for (inode* first : table_)
        for (inode* i = first; i; i = i->next)
            i->has_parting = false;
}

} // namespace ext
