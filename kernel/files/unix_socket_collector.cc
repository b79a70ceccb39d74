#include "kernel/files/unix_socket_collector.h"

#include "kernel/files/unix_socket.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

using verdict = collected::verdict;

constexpr ktime::ns look_again = ktime::second;      // while something is in flight
constexpr ktime::ns pause = 10 * ktime::millisecond; // between two looks, whoever asks

struct fleet {
    lwkt::sleep_lock lock;
    boost::intrusive::list<unix_socket,
                           boost::intrusive::member_hook<unix_socket, lwkt::list_hook, &unix_socket::flight_link>,
                           boost::intrusive::constant_time_size<false>>
        sockets GUARDED_BY(lock);
    std::atomic<bool> any = false; // in `sockets`

    lwkt::spinlock left_lock;
    flight* left GUARDED_BY(left_lock) = nullptr; // that nobody will receive
    std::atomic<bool> asked = false;
    lwkt::wait_queue called;
};
fleet* all; // immutable after boot

// Calls visit(unix_socket&) for each socket in a flight.
template <class Visit> void for_each_socket(flight& f, Visit visit) noexcept {
    if (!f.has_sockets()) return;
    for (file_ref& one : f.files())
        if (unix_socket* s = unix_socket_of(*one)) visit(*s);
}

} // namespace

lwkt::sleep_lock& collector::lock() noexcept {
    return all->lock;
}

void collector::take_off(flight& f) noexcept {
    lwkt::sleep_hold hold(all->lock);
    for (file_ref& one : f.files())
        if (unix_socket* s = unix_socket_of(*one); s && s->flying.in_flight++ == 0) all->sockets.push_back(*s);
    if (!all->any.exchange(true)) all->called.wake_one();
}

void collector::land(flight& f) noexcept {
    lwkt::sleep_hold hold(all->lock);
    for (file_ref& one : f.files())
        if (unix_socket* s = unix_socket_of(*one); s && --s->flying.in_flight == 0)
            all->sockets.erase(all->sockets.iterator_to(*s));
    all->any.store(!all->sockets.empty());
}

void collector::take_over(flight* f) noexcept {
    {
        lwkt::spin_guard guard(all->left_lock);
        f->next = all->left;
        all->left = f;
    }
    all->called.wake_one();
}

void collector::look_soon() noexcept {
    if (!all->any.load(std::memory_order_relaxed)) return;
    if (!all->asked.exchange(true)) all->called.wake_one();
}

void collector::let_go() noexcept {
    for (;;) {
        flight* f;
        {
            lwkt::spin_guard guard(all->left_lock);
            f = all->left;
            if (!f) return;
            all->left = f->next;
        }
        flight::destroy(f);
        lwkt::yield(); // others want the CPU too
    }
}

void collector::look() noexcept {
    flight_list garbage;
    lwkt::sleep_hold hold(all->lock);
    for (unix_socket& s : all->sockets) {
        s.flying.unseen = s.flying.in_flight;
        s.flying.is = s.open_file()->holders() == s.flying.in_flight ? verdict::suspect : verdict::reachable;
    }
    for (unix_socket& s : all->sockets)
        if (s.flying.is == verdict::suspect)
            s.for_each_flight(
                [](flight& f) { for_each_socket(f, [](unix_socket& aboard) { aboard.flying.unseen--; }); });
    // Those that can be received, and what waits in them, and so on.
    unix_socket* found = nullptr;
    const auto find = [&](unix_socket& s) {
        if (s.flying.is != verdict::suspect) return;
        s.flying.is = verdict::found;
        s.flying.next_found = std::exchange(found, &s);
    };
    for (unix_socket& s : all->sockets)
        if (s.flying.unseen) find(s);
    while (unix_socket* s = found) {
        found = s->flying.next_found;
        s->for_each_flight([&](flight& f) { for_each_socket(f, find); });
    }
    for (unix_socket& s : all->sockets)
        if (s.flying.is == verdict::suspect) s.take_flights(garbage);
}

void collector::run(void*) noexcept {
    for (;;) {
        const auto has_work = [] {
            lwkt::spin_guard guard(all->left_lock);
            return all->left || all->asked.load();
        };
        // Woken also when the first one takes off, to begin with the deadlines.
        bool due = false;
        while (!due && !has_work()) {
            const bool any = all->any.load();
            const bool woken = all->called.wait([&] { return has_work() || (!any && all->any.load()); },
                                                any ? ktime::after(look_again) : ktime::forever);
            due = !woken && any;
        }
        let_go();
        if (!all->asked.exchange(false) && !due) continue;
        look();
        let_go();
        lwkt::sleep_for(pause);
    }
}

k::status collector::start() noexcept {
    all = mem::make<fleet>();
    if (!all) return k::error::nomem;
    return lwkt::spawn("collector", 0, lwkt::normal_priority, run, nullptr);
}

} // namespace files
