#include "kernel/files/locks.h"

#include "kernel/lwkt/spinlock.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"

namespace files {

namespace {

constexpr k::u32 most_locks = 4096; // on one file: they are looked through one by one

struct held_lock : byte_lock {
    held_lock* next = nullptr;
};

// Locks without a place: memory to make some of, and what is to be freed once no spinlock is held.
class lock_stack {
  public:
    lock_stack() = default;
    lock_stack(const lock_stack&) = delete;
    ~lock_stack() {
        while (held_lock* l = pop())
            mem::destroy(l);
    }
    bool fill(unsigned count) noexcept {
        for (; count; count--) {
            auto* made = mem::make<held_lock>();
            if (!made) return false;
            push(made);
        }
        return true;
    }
    void push(held_lock* l) noexcept {
        l->next = first_;
        first_ = l;
    }
    held_lock* pop() noexcept {
        held_lock* l = first_;
        if (l) first_ = l->next;
        return l;
    }

  private:
    held_lock* first_ = nullptr;
};

// The locks of one kind on one file, in no order. Those of one owner never meet, and touch only where their modes
// differ.
class lock_list {
  public:
    const byte_lock* in_the_way_of(const byte_lock& wanted) const noexcept {
        if (wanted.mode == lock_mode::none) return nullptr;
        const held_lock* lowest = nullptr;
        for (const held_lock* l = first_; l; l = l->next)
            if (l->excludes(wanted) && (!lowest || l->first < lowest->first)) lowest = l;
        return lowest;
    }
    // The owner's locks become what is wanted in its range. `spare` has two, and gets what is left over.
    void apply(byte_lock wanted, lock_stack& spare) noexcept;
    bool drop(const void* owner, lock_stack& out) noexcept;
    k::u32 count() const noexcept { return count_; }
    // Would one lock become two?
    bool splits(const byte_lock& wanted) const noexcept {
        for (const held_lock* l = first_; l; l = l->next)
            if (l->owner == wanted.owner && l->first < wanted.first && l->last > wanted.last) return true;
        return false;
    }

  private:
    void insert(const byte_lock& what, lock_stack& spare) noexcept {
        held_lock* l = spare.pop();
        static_cast<byte_lock&>(*l) = what;
        l->next = first_;
        first_ = l;
        count_++;
    }
    static bool touches(const byte_lock& a, const byte_lock& b) noexcept {
        return a.meets(b) || a.last + 1 == b.first || b.last + 1 == a.first;
    }

    held_lock* first_ = nullptr;
    k::u32 count_ = 0;
};

void lock_list::apply(byte_lock wanted, lock_stack& spare) noexcept {
    byte_lock behind; // of one that is split
    for (held_lock** at = &first_; *at;) {
        held_lock& l = **at;
        const bool same = l.mode == wanted.mode;
        if (l.owner != wanted.owner || !(same ? touches(l, wanted) : l.meets(wanted))) {
            at = &l.next;
            continue;
        }
        if (same) {
            wanted.first = std::min(wanted.first, l.first);
            wanted.last = std::max(wanted.last, l.last);
        } else {
            const byte_lock whole = l;
            if (whole.last > wanted.last) {
                behind = whole;
                behind.first = wanted.last + 1;
            }
            if (whole.first < wanted.first) {
                l.last = wanted.first - 1;
                at = &l.next;
                continue;
            }
        }
        *at = l.next;
        count_--;
        spare.push(&l);
    }
    if (behind.mode != lock_mode::none) insert(behind, spare);
    if (wanted.mode != lock_mode::none) insert(wanted, spare);
}

bool lock_list::drop(const void* owner, lock_stack& out) noexcept {
    const k::u32 before = count_;
    for (held_lock** at = &first_; held_lock* l = *at;) {
        if (l->owner != owner) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        count_--;
        out.push(l);
    }
    return count_ != before;
}

// --- Who waits for whom

class node_locks;

// A process that waits for another's lock, from the time that it was found in the way until it is given back.
struct waiting {
    const void* owner;
    const node_locks* at;
    const void* for_owner; // null: for nobody, and about to look again
    waiting* next;
};
lwkt::spinlock waiting_lock;
waiting* all_waiting GUARDED_BY(waiting_lock) = nullptr;

// Does it wait, perhaps through others, for `me`? Of a process whose threads wait for several, one counts.
bool waits_for_locked(const void* it, const void* me) noexcept REQUIRES(waiting_lock) {
    constexpr unsigned longest_chain = 32;
    for (unsigned i = 0; i < longest_chain; i++) {
        const waiting* w = all_waiting;
        while (w && (w->owner != it || !w->for_owner))
            w = w->next;
        if (!w) return false;
        it = w->for_owner;
        if (it == me) return true;
    }
    return false;
}

// The owner has given something back here: who waits for it may not do so any more.
void stop_waiting_for(const void* owner, const node_locks& at) noexcept {
    lwkt::spin_guard guard(waiting_lock);
    for (waiting* w = all_waiting; w; w = w->next)
        if (w->for_owner == owner && w->at == &at) w->for_owner = nullptr;
}

class waiting_entry {
  public:
    waiting_entry(const void* owner, const node_locks& at) noexcept : entry_{owner, &at, nullptr, nullptr} {}
    waiting_entry(const waiting_entry&) = delete;
    ~waiting_entry() { leave(); }
    // False: it would wait for ever.
    bool wait_for(const void* owner) noexcept {
        lwkt::spin_guard guard(waiting_lock);
        if (waits_for_locked(owner, entry_.owner)) return false;
        entry_.for_owner = owner;
        if (std::exchange(listed_, true)) return true;
        entry_.next = all_waiting;
        all_waiting = &entry_;
        return true;
    }
    void leave() noexcept {
        if (!std::exchange(listed_, false)) return;
        lwkt::spin_guard guard(waiting_lock);
        waiting** at = &all_waiting;
        while (*at != &entry_)
            at = &(*at)->next;
        *at = entry_.next;
    }

  private:
    waiting entry_;
    bool listed_ = false;
};

// --- The locks of a node

class node_locks final : public vfs::attachment {
  public:
    void last_holder_left() noexcept override { mem::destroy(this); }

    k::status set(lock_kind kind, const byte_lock& wanted, bool wait) noexcept;
    byte_lock blocking(const byte_lock& wanted) noexcept {
        lwkt::spin_guard guard(lock_);
        const byte_lock* there = ranges_.in_the_way_of(wanted);
        return there ? *there : byte_lock();
    }
    void drop(const void* owner) noexcept {
        lock_stack out;
        {
            lwkt::spin_guard guard(lock_);
            const bool ranges = ranges_.drop(owner, out), whole = whole_.drop(owner, out);
            if (!ranges && !whole) return;
        }
        stop_waiting_for(owner, *this);
        changed_.wake_all();
    }

  private:
    lock_list& list_of(lock_kind kind) noexcept REQUIRES(lock_) { return kind == lock_kind::ranges ? ranges_ : whole_; }
    k::status attempt(lock_kind kind, const byte_lock& wanted, lock_stack& spare, waiting_entry* waiter) noexcept;

    lwkt::spinlock lock_;
    lock_list ranges_ GUARDED_BY(lock_), whole_ GUARDED_BY(lock_);
    lwkt::wait_queue changed_; // where those sleep whom a lock is in the way of
};

k::status node_locks::attempt(lock_kind kind, const byte_lock& wanted, lock_stack& spare,
                              waiting_entry* waiter) noexcept {
    lwkt::spin_guard guard(lock_);
    lock_list& list = list_of(kind);
    if (const byte_lock* other = list.in_the_way_of(wanted)) {
        if (waiter && other->by_process && !waiter->wait_for(other->owner)) return k::error::deadlk;
        return k::error::again;
    }
    if (waiter) waiter->leave();
    if (list.count() + 2 > most_locks && (wanted.mode != lock_mode::none || list.splits(wanted)))
        return k::error::nolck;
    list.apply(wanted, spare);
    return {};
}

k::status node_locks::set(lock_kind kind, const byte_lock& wanted, bool wait) noexcept {
    lock_stack spare;
    if (!spare.fill(2)) return k::error::nomem;
    waiting_entry waiter(wanted.owner, *this);
    waiting_entry* const watched = wait && wanted.by_process ? &waiter : nullptr;
    k::status done = attempt(kind, wanted, spare, watched);
    if (!done && done.error() == k::error::again && kind == lock_kind::whole) {
        // BSD's way of changing a lock: the old one goes first, or two that share could wait for each other.
        byte_lock nothing = wanted;
        nothing.mode = lock_mode::none;
        if (attempt(kind, nothing, spare, nullptr)) changed_.wake_all();
    }
    if (!done && done.error() == k::error::again && wait) {
        TRY(proc::sleep(changed_, [&] {
            // Once only: it is asked more than once.
            if (!done && done.error() == k::error::again) done = attempt(kind, wanted, spare, watched);
            return done || done.error() != k::error::again;
        }));
    }
    if (done && wanted.mode != lock_mode::exclusive) { // something may have become free, or shared
        stop_waiting_for(wanted.owner, *this);
        changed_.wake_all();
    }
    return done;
}

k::ref<vfs::attachment> make_node_locks() noexcept {
    return k::ref<vfs::attachment>(mem::make<node_locks>());
}

} // namespace

k::status set_lock(vfs::vnode& of, lock_kind kind, const byte_lock& wanted, bool wait) noexcept {
    if (wanted.mode == lock_mode::none && !of.has_attached(vfs::attachment_kind::locks)) return {};
    auto locks = of.attached(vfs::attachment_kind::locks, make_node_locks);
    if (!locks) return k::error::nomem;
    return static_cast<node_locks&>(*locks).set(kind, wanted, wait);
}

byte_lock blocking_lock(vfs::vnode& of, const byte_lock& wanted) noexcept {
    auto locks = of.find_attached(vfs::attachment_kind::locks);
    return locks ? static_cast<node_locks&>(*locks).blocking(wanted) : byte_lock();
}

void drop_locks_slow(vfs::vnode& of, const void* owner) noexcept {
    if (auto locks = of.find_attached(vfs::attachment_kind::locks)) static_cast<node_locks&>(*locks).drop(owner);
}

} // namespace files
