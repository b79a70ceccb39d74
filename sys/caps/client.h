// caps::client: a connection to a service, and what was sent over it and not yet fetched.
#pragma once

#include "sys/caps/id_table.h"
#include "sys/caps/terms.h"

namespace caps {

class service;

constexpr k::u32 most_outstanding = 128; // requests of a client, put and not fetched

// Whom somebody wants to talk to, and who that is.
struct wish {
    std::string_view name;
    k::u8 seeks = same_user | same_group | anybody; // access bits; one must hold and be among the service's
    bool waits = false;                             // for the service to appear
    int pid = 0;
    k::u32 uid = 0, gid = 0;
    std::span<const k::u32> groups{}; // all of them
};

enum class abort_outcome : k::u8 {
    replied, // the reply is there: fetch it
    removed, // nobody had taken it
    flagged, // the server has it and is told; the reply is its business
    ended,   // (a hard one) the server has it, and its reply will go nowhere
};

class client : public k::counted<client> {
  public:
    // Of the kernel's own. EINVAL: the name; ENOENT, EACCES: no such service, or none that fits; ECONNREFUSED: it does
    // not want this client; ECONNRESET: it went meanwhile; ENOMEM; and as in `waiting`. Thread context, may block.
    static k::result<k::ref<client>> connect(const wish& w, const waiting& how = {}) noexcept;
    void last_holder_left() noexcept;

    // All of the following: thread context, any CPU, any number of threads. A message that is passed has been filled in
    // and is idle.

    // Puts a request and waits for the reply, which stands in the same message then. Errors: EAGAIN (at_once, and the
    // queue is full), EINTR, ETIMEDOUT, ENOTCONN: nobody has taken it, and it is the caller's; ECONNRESET: the service
    // closed meanwhile; EOPNOTSUPP: a sink in it, and a process serves; ECANCELED, ETIMEDOUT with an empty `m`: the
    // wait was interrupted or took too long when the server had it already, which keeps the message and whose reply
    // will go nowhere.
    k::status call(message_ref& m, const waiting& how = {}) noexcept;
    // Puts a request. EAGAIN (at_once, and there are too many), EINTR, ETIMEDOUT, ENOTCONN, EOPNOTSUPP, ENOMEM.
    k::result<message_id> put(message_ref m, const waiting& how = {}) noexcept;
    // Puts a request whose reply goes nowhere, and which stays when this client closes. EAGAIN: there are too many;
    // ENOTCONN, EOPNOTSUPP. Does not block.
    k::status post(message_ref m) noexcept;
    // The reply to one request, or to any (0), which may also have come back for another reason (message::answered()).
    // done() or put_back() follow. EINVAL: no such request; ENOTCONN: nothing is on the way; and as in `waiting`.
    k::result<message_ref> get(message_id which = 0, const waiting& how = {}) noexcept;
    void put_back(message_ref m) noexcept;
    // The reply is understood: its id is spent, and the server hears of it if it wanted to.
    void done(message& m) noexcept;
    // Wants a request back. What was removed comes as a reply with ECANCELED. A `hard` one ends it in any case but
    // `replied`: there will be no reply to fetch; if the server may be filling a sink of it, it waits until that is
    // over (then as in `waiting`; ask again). EINVAL: no such request.
    k::result<abort_outcome> abort(message_id which, bool hard, const waiting& how = {}) noexcept;
    // Wants to hear no more of a request. EINVAL.
    k::status dispose(message_id which) noexcept;

    // Disposes of everything. Once or more often.
    void close() noexcept;

    service& at() const noexcept { return *service_; }
    // What get() and put() would do now; a client that found the queue full waits until half of it is free.
    struct readiness {
        bool reply, room, closed;
    };
    readiness ready() noexcept;

    explicit client(k::ref<service> of) noexcept;
    virtual ~client();
    // Introduces itself to the service. For connect() and whoever derives from it, with what find() gave.
    static k::result<k::ref<service>> find(const wish& w, const waiting& how) noexcept;
    k::status open(const wish& w, const waiting& how) noexcept;

  protected:
    // As service::changed().
    virtual void changed(change) noexcept {}

  private:
    friend class service;

    bool is_answered_here(message& m) noexcept;
    k::status refused(k::status why) noexcept;
    k::status wait_for(message_ref& m, const waiting& how, lwkt::successor& server) noexcept;
    bool try_get(message_id which, message_ref& out, k::status& failed) noexcept;
    // Under the service's lock: a request is of no interest any more / the server that has it is told so.
    void drop_locked(message& m, message_ref& gone) noexcept;
    void flag_locked(message& m) noexcept;
    k::result<abort_outcome> abort_now(message_id which, bool hard, message_ref& gone) noexcept;

    const k::ref<service> service_; // whose lock guards the following
    lwkt::list_hook service_link_, hungry_link_;
    bool is_listed_ = false, is_hungry_ = false;
    bool closed_ = false;
    id_table outstanding_{most_outstanding};
    boost::intrusive::list<message, boost::intrusive::member_hook<message, lwkt::list_hook, &message::reply_link_>,
                           boost::intrusive::constant_time_size<false>>
        replies_;
    lwkt::wait_queue arrivals_;
};

using client_ref = k::ref<client>;

} // namespace caps
