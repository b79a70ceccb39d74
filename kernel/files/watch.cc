#include "kernel/files/watch.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"

#include <cstring>

namespace files {

watch::watch(k::ref<event_queue> queue, k::ref<vfs::attachment> node, k::u32 wanted) noexcept
    : to(std::move(queue)), at(std::move(node)), mask(wanted) {}

void watch::last_holder_left() noexcept {
    mem::destroy(this);
}

// --- The queue

// The text follows it in memory.
struct event_queue::event {
    event* next;
    int number; // of the watch; -1: some were lost
    k::u32 mask, cookie;
    k::u32 length; // of the text

    char* text_room() noexcept { return reinterpret_cast<char*>(this + 1); }
    std::string_view text() noexcept { return {text_room(), length}; }
    // Room of the text as the reader gets it: with at least one zero behind, or none at all.
    k::u32 text_bytes() const noexcept { return length ? k::align_up(length + 1, 16u) : 0; }
    k::u64 bytes() const noexcept { return sizeof(record) + text_bytes(); }
    bool says(int n, k::u32 m, k::u32 c, std::string_view t) noexcept {
        return number == n && mask == m && cookie == c && text() == t;
    }

    // struct inotify_event.
    struct record {
        k::i32 number;
        k::u32 mask, cookie, length;
    };
    k::status write_to(xio::sink& to, k::u64 offset) noexcept {
        std::byte room[sizeof(record) + k::align_up(vfs::longest_name + 1, std::size_t{16})] = {};
        const record head{number, mask, cookie, text_bytes()};
        std::memcpy(room, &head, sizeof(head));
        std::memcpy(room + sizeof(head), text_room(), length);
        return to.write(offset, {room, bytes()});
    }
};

event_queue::~event_queue() {
    while (event* e = first_) {
        first_ = e->next;
        mem::free(e);
    }
}

void event_queue::last_holder_left() noexcept {
    mem::destroy(this);
}

void event_queue::append_locked(event& e) noexcept {
    e.next = nullptr;
    (last_ ? last_->next : first_) = &e;
    last_ = &e;
    count_++;
    bytes_ += e.bytes();
}

void event_queue::put(const watch& from, k::u32 mask, std::string_view text, k::u32 cookie,
                      lwkt::wake_list& woken) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (closed_ || overflowed_) return; // what comes behind an overflow is lost with it, until that is read
        if (last_ && last_->says(from.number, mask, cookie, text)) return;
        void* at = count_ < most_events ? mem::allocate(sizeof(event) + text.size()) : nullptr;
        if (at) {
            auto* e = new (at) event{nullptr, from.number, mask, cookie, static_cast<k::u32>(text.size())};
            text.copy(e->text_room(), text.size());
            append_locked(*e);
        } else {
            overflowed_ = true;
        }
    }
    woken.take_all(readers_);
    watched_.notify(poll_can_read, woken);
}

// The first event, if it fits. An overflow stands behind all others.
event_queue::event* event_queue::take(k::u64 room, bool& too_long) noexcept {
    lwkt::spin_guard guard(lock_);
    event* e = first_;
    too_long = e && e->bytes() > room;
    if (!e || too_long) return nullptr;
    first_ = e->next;
    if (!first_) last_ = nullptr;
    count_--;
    bytes_ -= e->bytes();
    return e;
}

k::result<k::u64> event_queue::read(xio::sink& to, bool nonblocking) noexcept {
    if (to.size() < sizeof(event::record)) return k::error::inval;
    if (!ready()) {
        if (nonblocking) return k::error::again;
        TRY(proc::sleep(readers_, [this] { return ready() != 0; }));
    }
    k::u64 done = 0;
    bool too_long = false;
    while (event* e = take(to.size() - done, too_long)) {
        const k::status written = e->write_to(to, done);
        const k::u64 size = e->bytes();
        mem::free(e);
        if (!written && !done) return written.error();
        if (!written) return done;
        done += size;
    }
    if (!too_long && to.size() - done >= sizeof(event::record) && take_overflow()) {
        const k::status written = to.write_value(done, event::record{-1, watch_overflow, 0, 0});
        if (!written && !done) return written.error();
        if (written) done += sizeof(event::record);
    }
    if (done) return done;
    return too_long ? k::error::inval : k::error::again;
}

// Is it time to tell that some were lost?
bool event_queue::take_overflow() noexcept {
    lwkt::spin_guard guard(lock_);
    return !first_ && std::exchange(overflowed_, false);
}

k::u64 event_queue::bytes() noexcept {
    lwkt::spin_guard guard(lock_);
    return bytes_ + (overflowed_ ? sizeof(event::record) : 0);
}

k::u32 event_queue::ready() noexcept {
    lwkt::spin_guard guard(lock_);
    return first_ || overflowed_ ? poll_can_read : 0;
}

k::status event_queue::enrol(watch& w) noexcept {
    lwkt::spin_guard guard(lock_);
    if (watches_ == most_watches || last_number_ == 0x7fff'ffff) return k::error::nospc;
    w.number = ++last_number_;
    watches_++;
    by_number_.insert(by_number_.end(), w);
    return {};
}

void event_queue::strike_off(watch& w) noexcept {
    lwkt::spin_guard guard(lock_);
    by_number_.erase(by_number_.iterator_to(w));
    watches_--;
}

k::ref<watch> event_queue::find(int number) noexcept {
    k::ref<watch> there = find_from(number);
    return there && there->number == number ? std::move(there) : k::ref<watch>();
}

k::ref<watch> event_queue::find_from(int number) noexcept {
    lwkt::spin_guard guard(lock_);
    const auto found = by_number_.lower_bound(number);
    return found == by_number_.end() ? k::ref<watch>() : k::ref<watch>::to(*found);
}

void event_queue::close() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        closed_ = true;
    }
    while (k::ref<watch> w = find_from(0))
        node_watchers::end(*w);
}

// --- The node's

node_watchers::~node_watchers() {
    lwkt::spin_guard guard(lock_);
    kassert(list_.empty());
}

void node_watchers::last_holder_left() noexcept {
    mem::destroy(this);
}

watch* node_watchers::find_locked(const event_queue& to) noexcept {
    for (watch& w : list_)
        if (w.to.get() == &to) return &w;
    return nullptr;
}

k::ref<watch> node_watchers::end_locked(watch& w, lwkt::wake_list& woken) noexcept {
    w.to->put(w, watch_ended, {}, 0, woken);
    w.to->strike_off(w);
    list_.erase(list_.iterator_to(w));
    return k::ref<watch>(&w);
}

// Ends one that has had its event; false: there is none.
bool node_watchers::end_spent() noexcept {
    lwkt::wake_list woken;
    k::ref<watch> ended;
    lwkt::spin_guard guard(lock_);
    for (watch& w : list_) {
        if (!w.spent) continue;
        ended = end_locked(w, woken);
        return true;
    }
    return false;
}

void node_watchers::happened(k::u32 event, std::string_view text, k::u32 cookie) noexcept {
    bool spent = false;
    {
        lwkt::wake_list woken;
        lwkt::spin_guard guard(lock_);
        for (watch& w : list_) {
            if (w.spent || !(w.mask & event & all_watch_events)) continue;
            if (w.mask & event & watch_not_unlinked) continue;
            w.to->put(w, event & ~k::u32{vfs::event_of_unlinked}, text, cookie, woken);
            if (w.mask & watch_once) spent = w.spent = true;
        }
    }
    while (spent)
        spent = end_spent();
}

void node_watchers::node_gone(const vfs::vnode& node) noexcept {
    const k::u32 why =
        node.links.load(std::memory_order_relaxed) ? k::u32{watch_unmounted} : k::u32{vfs::event_delete_self};
    for (;;) {
        lwkt::wake_list woken;
        k::ref<watch> ended;
        lwkt::spin_guard guard(lock_);
        if (list_.empty()) return;
        watch& w = list_.front();
        if (why == watch_unmounted || (w.mask & why)) w.to->put(w, why, {}, 0, woken);
        ended = end_locked(w, woken);
    }
}

k::result<int> node_watchers::add(event_queue& to, k::u32 mask) noexcept {
    static_assert(k::u32{watch_not_unlinked} == k::u32{vfs::event_of_unlinked});
    constexpr k::u32 kept = all_watch_events | watch_once | watch_not_unlinked;
    k::ref<watch> fresh(mem::make<watch>(k::ref<event_queue>::to(to), k::ref<vfs::attachment>::to(*this), mask & kept));
    if (!fresh) return k::error::nomem;
    lwkt::spin_guard guard(lock_);
    if (watch* there = find_locked(to)) {
        if (mask & watch_only_fresh) return k::error::exist;
        there->mask = (mask & watch_add_bits ? there->mask : 0) | (mask & kept);
        return there->number;
    }
    TRY(to.enrol(*fresh));
    list_.push_back(*fresh);
    return fresh.release()->number;
}

void node_watchers::end(watch& w) noexcept {
    auto& at = static_cast<node_watchers&>(*w.at);
    lwkt::wake_list woken;
    k::ref<watch> ended;
    lwkt::spin_guard guard(at.lock_);
    for (const watch& there : at.list_) {
        if (&there != &w) continue;
        ended = at.end_locked(w, woken);
        return;
    }
}

k::result<int> add_watch(vfs::vnode& on, event_queue& to, k::u32 mask) noexcept {
    auto there =
        on.attached(vfs::attachment_kind::watchers, [] { return k::ref<vfs::attachment>(mem::make<node_watchers>()); });
    if (!there) return k::error::nomem;
    return static_cast<node_watchers&>(*there).add(to, mask);
}

} // namespace files
