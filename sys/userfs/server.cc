#include "sys/userfs/server.h"

#include "kernel/mem/slab.h"
#include "sys/vfs/vnode.h"

#include <algorithm>
#include <boost/intrusive/list.hpp>
#include <cstring>

namespace vfs::userfs {

k::error believable(k::error said) noexcept {
    switch (said) {
    case k::error::perm:
    case k::error::noent:
    case k::error::nxio:
    case k::error::toobig:
    case k::error::nomem:
    case k::error::acces:
    case k::error::busy:
    case k::error::exist:
    case k::error::nodev:
    case k::error::notdir:
    case k::error::isdir:
    case k::error::inval:
    case k::error::fbig:
    case k::error::nospc:
    case k::error::rofs:
    case k::error::mlink:
    case k::error::nametoolong:
    case k::error::nosys:
    case k::error::notempty: return said;
    case k::error::opnotsupp: return k::error::nosys; // the other says of a link that it leads to no node
    default: return k::error::io;
    }
}

k::status server::wait_for_left(k::u64 node, bool patient) noexcept {
    for (; may_still_change(node); lwkt::sleep_for(ktime::millisecond * 5)) {
        if (!patient) return k::error::busy;
        if (caller_is_killed()) return k::error::intr;
    }
    return {};
}

namespace {

k::result<xio::source> copy_of(std::string_view text) noexcept {
    if (text.empty()) return xio::source();
    return xio::source::copy_of(std::as_bytes(std::span(text)));
}

bool tells_of_node(const question& q) noexcept {
    return q.head.operation == operation::look_up || q.head.operation == operation::make;
}

// A question that the server has and whose asker is gone.
struct left_question : boost::intrusive::list_base_hook<> {
    k::u64 node = 0, other = 0;
    bool counts = false, tells = false; // tells: its answer tells of a node
    caps::message_id id{};
    ktime::ns since = 0;
    caps::message_ref answer; // when it is there
};
using left_questions = boost::intrusive::list<left_question>;

constexpr ktime::ns glance = 100 * ktime::millisecond;

// A service, which is asked by messages.
class service_server final : public server {
  public:
    service_server(caps::client_ref to, const userfs_options& o) noexcept
        : client_(std::move(to)), timeout_(o.timeout), interrupted_(o.interrupted) {}
    ~service_server() override {
        lwkt::spin_guard guard(left_lock_);
        left_.clear_and_dispose([](left_question* l) { mem::destroy(l); });
    }
    void last_holder_left() noexcept override {
        client_->close();
        mem::destroy(this);
    }

    k::status tell(question& q) noexcept override {
        TRY(ask(q));
        return {};
    }
    k::result<node_told> ask_node(question& q) noexcept override {
        const auto said = TRY(ask_value<attributes>(q));
        return said.node ? k::result<node_told>(node_told{.of = said}) : k::error::io;
    }
    k::result<userfs::state> ask_state(question& q) noexcept override { return ask_value<userfs::state>(q); }
    k::result<std::size_t> ask_text(question& q, std::span<std::byte> to) noexcept override;
    k::result<xio::source> read(k::u64 node, k::u64 offset, k::u64 bytes) noexcept override;
    bool say(question& q) noexcept override;
    std::size_t forget(std::span<const forgotten> which) noexcept override;
    void say_last(question& q) noexcept override {
        (void)say(q);
        give_up();
    }
    void give_up() noexcept override {
        given_up_.store(true, std::memory_order_relaxed);
        client_->close(); // wakes who waits
        dirty.over();
    }
    bool is_over() const noexcept override { return is_given_up(); }
    bool caller_is_killed() const noexcept override { return interrupted_ && interrupted_(); }
    ktime::ns patience() const noexcept override { return timeout_; }
    bool may_still_change(k::u64 node) noexcept override;

  private:
    k::result<caps::message_ref> write_down(question& q) noexcept;
    k::result<caps::message_id> put(const caps::message_ref& m, const caps::waiting& how) noexcept;
    // Asks, and waits. The answer is the caller's alone.
    k::result<caps::message_ref> ask(question& q) noexcept;
    template <class T> k::result<T> ask_value(question& q) noexcept {
        auto said = TRY(ask(q))->value<T>();
        if (!said) return k::error::io;
        return said;
    }
    // False: it has to be waited for; the caller must not go.
    bool leave(const question& q, caps::message_id id, ktime::ns since) noexcept;
    // An answer that nobody waits for any more. What it tells of is forgotten.
    void throw_away(caps::message& answer, bool tells) noexcept;
    // Lets go of those that are answered by now. Gives up a server that is silent for too long.
    void look_at_left() noexcept;
    template <class Wanted> bool is_any_left(Wanted wanted) noexcept {
        lwkt::spin_guard guard(left_lock_);
        return std::ranges::any_of(left_, wanted);
    }
    bool is_given_up() const noexcept { return given_up_.load(std::memory_order_relaxed); }

    const caps::client_ref client_;
    const ktime::ns timeout_;
    bool (*const interrupted_)();
    std::atomic<bool> given_up_ = false;
    std::atomic<unsigned> left_count_ = 0; // changed under the lock
    lwkt::spinlock left_lock_;
    left_questions left_ GUARDED_BY(left_lock_);
};

k::result<caps::message_ref> service_server::write_down(question& q) noexcept {
    caps::message_ref m = TRY(caps::message::create());
    q.head.now_ns = now_ns();
    std::size_t end = sizeof(request);
    for (unsigned i = 0; i < 2; i++)
        end += q.head.text_bytes[i] = static_cast<k::u16>(q.texts[i].size());
    if (!q.bytes.empty()) TRY(m->add(std::move(q.bytes)));
    const bool fits = end <= caps::most_inline;
    if (fits) {
        std::byte* to = m->room().data() + sizeof(request);
        for (std::string_view text : q.texts) {
            std::memcpy(to, text.data(), text.size());
            to += text.size();
        }
    } else {
        const xio::source first = TRY(copy_of(q.texts[0])), second = TRY(copy_of(q.texts[1]));
        TRY(m->add(TRY(xio::source::append(first, second))));
    }
    std::memcpy(m->room().data(), &q.head, sizeof(request));
    m->set_bytes(static_cast<unsigned>(fits ? end : sizeof(request)));
    return m;
}

// What is answered of what was left makes room, but only when it is looked at.
k::result<caps::message_id> service_server::put(const caps::message_ref& m, const caps::waiting& how) noexcept {
    for (;;) {
        const ktime::ns until = std::min(how.deadline, ktime::after(glance));
        auto id = client_->put(m.share(), {until, how.interrupted});
        if (id || id.error() != k::error::timedout || until == how.deadline) return id;
        look_at_left();
    }
}

k::result<caps::message_ref> service_server::ask(question& q) noexcept {
    look_at_left();
    if (is_given_up()) return k::error::notconn;
    const ktime::ns begun = ktime::now();
    caps::message_ref m = TRY(write_down(q));
    const caps::waiting how{.deadline = ktime::after(timeout_), .interrupted = interrupted_};
    auto id = put(m, how);
    auto answer = id ? client_->get(*id, how) : k::result<caps::message_ref>(id.error());
    if (!answer && answer.error() == k::error::intr && id) {
        if (leave(q, *id, begun)) return k::error::intr;
        answer = client_->get(*id, {.deadline = how.deadline});
    }
    if (!answer) {
        if (answer.error() == k::error::nomem) return k::error::nomem;
        if (answer.error() == k::error::intr) return k::error::intr;
        const bool silent = answer.error() == k::error::timedout && !is_given_up();
        give_up();
        return silent ? k::error::timedout : k::error::notconn;
    }
    client_->done(**answer);
    if (!(*answer)->answered()) {
        give_up();
        return k::error::notconn;
    }
    if (const k::status said = (*answer)->result(); !said) return believable(said.error());
    return answer;
}

// Others may have threads that are quicker, and be asked about the same node next.
bool service_server::leave(const question& q, caps::message_id id, ktime::ns since) noexcept {
    look_at_left();
    auto outcome = client_->abort(id, false);
    if (!outcome || *outcome != caps::abort_outcome::flagged) { // nobody has it, or it is answered
        if (auto answer = client_->get(id, {.deadline = caps::at_once})) throw_away(**answer, tells_of_node(q));
        return true;
    }
    auto* const left = mem::make<left_question>();
    if (!left) return false;
    left->node = q.head.node, left->other = q.head.other, left->counts = counts(q);
    left->tells = tells_of_node(q);
    left->id = id, left->since = since;
    lwkt::spin_guard guard(left_lock_);
    left_.push_back(*left);
    left_count_.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void service_server::throw_away(caps::message& answer, bool tells) noexcept {
    client_->done(answer);
    if (!tells || !answer.answered() || !answer.result()) return;
    auto said = answer.value<attributes>();
    if (!said || !said->node) return;
    question q{.head = {.operation = operation::forget, .node = said->node, .bytes = 1}};
    (void)say(q);
}

void service_server::look_at_left() noexcept {
    if (!left_count_.load(std::memory_order_relaxed)) [[likely]]
        return;
    left_questions answered;
    bool is_silent = false;
    {
        lwkt::spin_guard guard(left_lock_);
        const ktime::ns now = ktime::now();
        for (auto at = left_.begin(); at != left_.end();) {
            left_question& l = *at++;
            auto answer = client_->get(l.id, {.deadline = caps::at_once});
            if (!answer && answer.error() == k::error::again) {
                is_silent |= now - l.since >= timeout_;
                continue;
            }
            if (answer) l.answer = *std::move(answer);
            left_.erase(left_.iterator_to(l));
            answered.push_back(l);
            left_count_.fetch_sub(1, std::memory_order_relaxed);
        }
    }
    answered.clear_and_dispose([this](left_question* l) {
        if (l->answer) throw_away(*l->answer, l->tells);
        mem::destroy(l);
    });
    if (is_silent) give_up();
}

bool service_server::may_still_change(k::u64 node) noexcept {
    look_at_left();
    return left_count_.load(std::memory_order_relaxed) &&
           is_any_left([node](const left_question& l) { return l.counts && l.node == node; });
}

std::size_t service_server::forget(std::span<const forgotten> which) noexcept {
    look_at_left();
    if (left_count_.load(std::memory_order_relaxed)) {
        const auto first = std::ranges::find_if(which, [this](const forgotten& f) {
            return is_any_left([&](const left_question& l) { return l.node == f.node || l.other == f.node; });
        });
        which = which.first(static_cast<std::size_t>(first - which.begin()));
    }
    return server::forget(which);
}

bool service_server::say(question& q) noexcept {
    if (is_given_up()) return true; // nobody is there to mind
    auto m = write_down(q);
    return m && client_->post(*std::move(m));
}

k::result<xio::source> service_server::read(k::u64 node, k::u64 offset, k::u64 bytes) noexcept {
    question q{.head = {.operation = operation::read, .node = node, .offset = offset, .bytes = bytes}};
    const caps::message_ref m = TRY(ask(q));
    if (!m->items()) return xio::source(); // the end
    xio::source got = TRY(m->source(0).has_value() ? m->source(0) : k::result<xio::source>(k::error::io));
    if (got.size() > bytes) return k::error::io;
    return got;
}

k::result<std::size_t> service_server::ask_text(question& q, std::span<std::byte> to) noexcept {
    const caps::message_ref m = TRY(ask(q));
    if (!m->items()) {
        if (m->text().size() > to.size()) return k::error::io;
        std::memcpy(to.data(), m->text().data(), m->text().size());
        return m->text().size();
    }
    auto from = m->source(0);
    if (!from || from->size() > to.size()) return k::error::io;
    TRY(from->read(0, to.first(from->size())));
    return static_cast<std::size_t>(from->size());
}

} // namespace

k::result<server_ref> connect(const userfs_options& options) noexcept {
    const caps::waiting how{.deadline = ktime::after(options.timeout), .interrupted = options.interrupted};
    const caps::wish whom{.name = options.service, .waits = options.waits};
    auto made = mem::make<service_server>(TRY(caps::client::connect(whom, how)), options);
    if (!made) return k::error::nomem;
    return server_ref(made);
}

} // namespace vfs::userfs
