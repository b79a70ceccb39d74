// caps::service: a name, a queue of requests, and a table of those that were taken and not yet replied to.
#pragma once

#include "kernel/lwkt/spinlock.h"
#include "kernel/mem/slab.h"
#include "sys/caps/client.h"

#include <boost/intrusive/set.hpp>

namespace caps {

enum class arrival_kind : k::u8 {
    request,    // to be replied to
    connection, // to be replied to: somebody wants to be a client
    aborted,    // of a request that was taken: the client wants it back, or is gone; the reply is still due
    fetched,    // the client has the reply (or will never fetch it) that asked for a receipt
};

// Something told to a server besides requests.
struct notice {
    notice(arrival_kind what, message_id of) noexcept : kind(what), id(of) {}
    arrival_kind kind;
    message_id id;
    notice* next = nullptr;
};

struct arrival {
    arrival_kind kind = arrival_kind::request;
    message_id id = 0;
    message_ref what;      // of the first two
    mem::box<notice> news; // of the others
};

class service : public k::counted<service> {
  public:
    // A service of the kernel's. EINVAL: the name; EEXIST; ENOMEM.
    static k::result<k::ref<service>> create(const terms& t) noexcept;
    void last_holder_left() noexcept;

    // --- For the server: thread context, any CPU, any number of threads.
    // The next thing that came, taken from the queue. ENOTCONN: it was closed; and as in `waiting`.
    k::result<arrival> get(const waiting& how = {}) noexcept {
        lwkt::successor nobody;
        return get_as(stage::taken, how, nobody);
    }
    // The same, and until cancel_reply() nobody can reply to it: whoever makes up its name neither.
    k::result<arrival> get_claimed(const waiting& how = {}) noexcept {
        lwkt::successor nobody;
        return get_as(stage::replying, how, nobody);
    }
    // The same by a thread that has replied, to whoever is its successor since.
    k::result<arrival> get(const waiting& how, lwkt::successor& next) noexcept {
        return get_as(stage::taken, how, next);
    }
    k::result<arrival> get_claimed(const waiting& how, lwkt::successor& next) noexcept {
        return get_as(stage::replying, how, next);
    }
    // Puts what get() or get_claimed() gave back at the front, as if it had not been taken; a client that wanted its
    // request back meanwhile has it then.
    void put_back(arrival what) noexcept;
    // Claims the right to reply to a request: from then on nobody else can, and the message's contents are the
    // caller's to write. Whatever the request carried and the server did not take over goes with clear(). EINVAL: there
    // is no such request (any more).
    k::result<message_ref> begin_reply(message_id id) noexcept;
    // Gives the claim up.
    void cancel_reply(message& m) noexcept;
    // Replies. ECANCELED: nobody wanted it any more, and its contents are gone. With a `receipt` the server hears when
    // the client has fetched it, or never will. With `next`: a thread that waits for it runs when the caller sleeps.
    k::status reply(message_ref m, k::status result, mem::box<notice> receipt = {},
                    lwkt::successor* next = nullptr) noexcept;
    static mem::box<notice> receipt_for(message_id id) noexcept { // empty: no memory
        return mem::make_box<notice>(arrival_kind::fetched, id);
    }
    // All in one for threads of the kernel's that got `a`; the message's contents are the reply.
    k::status reply(arrival& a, k::status result = {}, lwkt::successor* next = nullptr) noexcept;

    // Ends it: see caps.h. Its name is free. Once or more often; thread context.
    void close() noexcept;

    // --- Any context.
    std::string_view name() const noexcept { return {name_, name_bytes_}; }
    k::u32 uid() const noexcept { return uid_; }
    k::u32 gid() const noexcept { return gid_; }
    void* owner() const noexcept { return owner_; }
    // What get() would do now: can it, would it fail?
    bool has_arrivals() noexcept;
    bool is_closed() const noexcept { return closed_.load(); }

    explicit service(const terms& t) noexcept;
    virtual ~service();
    // Makes it known. For create() and whoever derives from it. As create().
    k::status open() noexcept;

  protected:
    // After something changed, under no lock; in the context of whoever changed it (thread, perhaps critical).
    virtual void changed(change) noexcept {}

  private:
    friend class client;
    friend class name_table; // names_priv.h
    using queue =
        boost::intrusive::list<message, boost::intrusive::member_hook<message, lwkt::list_hook, &message::server_link_>,
                               boost::intrusive::constant_time_size<true>>;

    // For clients.
    // Whoever is woken is the caller's successor.
    k::status submit(message& m, client* owner, const waiting& how, lwkt::successor& next) noexcept {
        const k::status put = try_submit(m, owner, next);
        if (put) [[likely]]
            changed(change::request);
        if (put || put.error() != k::error::again || how.deadline == at_once || how.only_if_room) return put;
        return submit_later(m, owner, how, next);
    }
    k::status submit_later(message& m, client* owner, const waiting& how, lwkt::successor& next) noexcept;
    k::status try_submit(message& m, client* owner, lwkt::successor& next) noexcept;
    bool has_room_locked(const client* owner) const noexcept REQUIRES(lock_);
    // The queue is full: the client, unless it is in its own way, hears when half of it is free.
    void note_hungry_locked(client& c) noexcept REQUIRES(lock_);
    k::status abandon(message_ref& m, k::error why) noexcept;
    void tell_receipt(message& m) noexcept REQUIRES(lock_);

    // A thread in get(). Whoever hands it a request, or wants it to look what came, takes it out of the list first.
    // `roused`: it slept then, and whoever woke it is done with this.
    struct server {
        stage as;
        arrival* out;
        std::atomic<bool> listed = false;
        bool has_it = false, roused = false; // `out` is filled in
        server* next = nullptr;
        lwkt::single_waiter sleep{};
    };
    k::result<arrival> get_as(stage as, const waiting& how, lwkt::successor& next) noexcept;
    k::status get_into(arrival& out, stage as, const waiting& how, lwkt::successor& next) noexcept;
    bool try_get(stage as, arrival& out, k::status& failed) noexcept;
    bool try_get_locked(stage as, arrival& out, k::status& failed) noexcept REQUIRES(lock_);
    void take_locked(message_ref m, stage as, arrival& out) noexcept REQUIRES(lock_);
    bool enlist(server& here) noexcept;
    bool dismiss(server& here) noexcept;
    void note_got(const arrival& a) const noexcept;
    server& unlist_first() noexcept REQUIRES(lock_);
    void rouse(lwkt::successor& next) noexcept REQUIRES(lock_);
    // Who hears that there is room, once the lock was let go.
    struct vacancy {
        bool senders = false, hungry = false;
    };
    vacancy vacancy_locked() const noexcept REQUIRES(lock_);
    void tell_of_room(vacancy to) noexcept;
    void tell_hungry() noexcept;
    // Something came that was not handed to anybody.
    void tell_of_arrival() noexcept;
    // What a change of the queue or of a message makes necessary, once the lock was let go.
    struct aftermath {
        message_ref answered; // a thread waits in call()
        k::ref<client> informed;
        vacancy room;
        bool arrived = false;
    };
    void settle(aftermath& what) noexcept;
    void settle_now(aftermath& what, lwkt::successor* next) noexcept;
    k::status send(message_ref m, k::status result, lwkt::successor* next, message_id unclaimed = 0) noexcept;
    k::status send_elsewhere(message& m, k::status result) noexcept;
    void return_locked(message_ref m, k::status result, aftermath& then, bool answered = false) noexcept
        REQUIRES(lock_);
    bool return_next(aftermath& then, k::u32& from) noexcept;
    void tell(notice* n) noexcept REQUIRES(lock_);
    message_ref pop() noexcept REQUIRES(lock_);
    void pend(int more) noexcept REQUIRES(lock_) {
        pending_.store(pending_.load(std::memory_order_relaxed) + static_cast<k::u32>(more));
    }
    void unqueue(message& m) noexcept REQUIRES(lock_);

    // Immutable.
    char name_[longest_name + 1];
    k::u8 name_bytes_ = 0;
    const k::u8 admits_;
    const bool exclusive_, sinks_, asks_;
    const k::u32 uid_, gid_, most_queued_;
    const begin_function begin_;
    void* const owner_;

    // The name table's.
    boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> name_link_;
    bool named_ = false;

    lwkt::spinlock lock_;
    queue queue_ GUARDED_BY(lock_);
    id_table taken_ GUARDED_BY(lock_);
    notice* first_notice_ GUARDED_BY(lock_) = nullptr;
    notice* last_notice_ GUARDED_BY(lock_) = nullptr;
    // Changed under the lock, looked at without.
    std::atomic<bool> closed_ = false;
    std::atomic<k::u32> pending_ = 0;             // what get() would find: requests, notices, the end
    server* servers_ GUARDED_BY(lock_) = nullptr; // those in get(): listed while nothing is pending
    k::u32 senders_waiting_ GUARDED_BY(lock_) = 0;
    boost::intrusive::list<client, boost::intrusive::member_hook<client, lwkt::list_hook, &client::service_link_>,
                           boost::intrusive::constant_time_size<false>>
        clients_ GUARDED_BY(lock_);
    // Those that saw a full queue, to be told when it no longer is.
    boost::intrusive::list<client, boost::intrusive::member_hook<client, lwkt::list_hook, &client::hungry_link_>,
                           boost::intrusive::constant_time_size<false>>
        hungry_ GUARDED_BY(lock_);
    lwkt::wait_queue room_;
};

using service_ref = k::ref<service>;

// Boot, once, before anything here is used.
void initialise() noexcept;

} // namespace caps
