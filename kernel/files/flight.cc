#include "kernel/files/flight.h"

#include "kernel/files/unix_socket_collector.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/process.h"

#include <boost/intrusive/set.hpp>

namespace files {

// --- What a user has in flight
// --------------------------------------------------------------------------------------------

// It lives while the user has something in flight.
struct flight_account {
    using hook = boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;
    hook link;
    k::u32 user;
    k::u64 files = 0;

    struct by_user {
        using type = k::u32;
        type operator()(const flight_account& a) const { return a.user; }
    };
};

namespace {

using account_set = boost::intrusive::set<
    flight_account, boost::intrusive::member_hook<flight_account, flight_account::hook, &flight_account::link>,
    boost::intrusive::key_of_value<flight_account::by_user>, boost::intrusive::constant_time_size<false>>;

struct account_table {
    lwkt::spinlock lock;
    account_set users GUARDED_BY(lock);
};

account_table* accounts; // immutable after boot

// Charges a user. ETOOMANYREFS: more than `most` are in flight already; ENOMEM.
k::result<flight_account*> charge(k::u32 user, k::u32 files, k::u64 most) noexcept {
    auto fresh = mem::make_box<flight_account>();
    account_table& table = *accounts;
    lwkt::spin_guard guard(table.lock);
    auto at = table.users.find(user);
    if (at == table.users.end()) {
        if (!fresh) return k::error::nomem;
        fresh->user = user;
        at = table.users.insert(*fresh.release()).first;
    }
    if (at->files > most) return k::error::toomanyrefs;
    at->files += files;
    return &*at;
}

void discharge(flight_account& of, k::u32 files) noexcept {
    account_table& table = *accounts;
    mem::box<flight_account> empty;
    lwkt::spin_guard guard(table.lock);
    of.files -= files;
    if (of.files) return;
    table.users.erase(table.users.iterator_to(of));
    empty = mem::box<flight_account>(&of);
}

} // namespace

// --- Flights
// --------------------------------------------------------------------------------------------------------------

k::status flight::initialise() noexcept {
    accounts = mem::make<account_table>();
    return accounts ? k::status() : k::error::nomem;
}

flight_hold flight::make(std::span<file_ref> what) noexcept {
    void* at = mem::allocate(sizeof(flight) + what.size_bytes());
    if (!at) return {};
    auto* made = new (at) flight;
    for (file_ref& f : what) {
        made->has_sockets_ |= f->kind() == file_kind::socket;
        new (made->files().data() + made->count_++) file_ref(std::move(f));
    }
    return flight_hold(made);
}

k::result<flight_hold> flight::create(std::span<file_ref> what) noexcept {
    kassert(!what.empty() && what.size() <= most);
    const proc::process& p = proc::current_process();
    const proc::identity user = p.who.user();
    const k::u64 limit = user.effective == 0 ? ~k::u64{0} : p.limits.soft(proc::resource::files);
    flight_account* account = TRY(charge(user.real, static_cast<k::u32>(what.size()), limit));
    flight_hold made = make(what);
    if (!made) {
        discharge(*account, static_cast<k::u32>(what.size()));
        return k::error::nomem;
    }
    made->paid_by_ = account;
    made->landed_ = false;
    if (made->has_sockets_) collector::take_off(*made);
    return made;
}

void flight::land() noexcept {
    if (std::exchange(landed_, true)) return;
    if (has_sockets_) collector::land(*this);
    discharge(*std::exchange(paid_by_, nullptr), count_);
}

void flight::destroy(flight* f) noexcept {
    f->land();
    for (file_ref& one : f->files())
        one.~file_ref();
    mem::free(f);
}

flight_hold flight_hold::copy() const noexcept {
    if (!flight_) return {};
    file_ref some[flight::most];
    const auto share = [&] {
        std::size_t count = 0;
        for (const file_ref& f : flight_->files())
            some[count++] = f.share();
    };
    flight_->has_sockets() ? collector::while_idle(share) : share();
    return flight::make({some, flight_->files().size()});
}

void flight_hold::discard(flight* f) noexcept {
    // What has landed is some thread's own: closing that goes no further than one socket.
    f->has_sockets() && !f->landed_ ? collector::take_over(f) : flight::destroy(f);
}

flight_list::~flight_list() {
    while (flight* f = first_) {
        first_ = f->next;
        (void)flight_hold(f);
    }
}

} // namespace files
