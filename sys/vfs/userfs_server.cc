#include "sys/vfs/userfs_server.h"

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

namespace {

k::result<xio::source> copy_of(std::string_view text) noexcept {
    if (text.empty()) return xio::source();
    return xio::source::copy_of(std::as_bytes(std::span(text)));
}

// A write of what was stored into a mapping whose asker is gone.
struct left_write : boost::intrusive::list_base_hook<> {
    k::u64 node = 0;
    caps::message_id id{};
    ktime::ns since = 0;
};

// A service, which is asked by messages.
class service_server final : public server {
  public:
    service_server(caps::client_ref to, const userfs_options& o) noexcept
        : client_(std::move(to)), timeout_(o.timeout), interrupted_(o.interrupted) {}
    ~service_server() override {
        lwkt::spin_guard guard(left_lock_);
        left_.clear_and_dispose([](left_write* w) { mem::destroy(w); });
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
    bool may_still_write(k::u64 node) noexcept override;

  private:
    k::result<caps::message_ref> write_down(question& q) noexcept;
    // Asks, and waits. The answer is the caller's alone.
    k::result<caps::message_ref> ask(question& q) noexcept;
    template <class T> k::result<T> ask_value(question& q) noexcept {
        auto said = TRY(ask(q))->value<T>();
        if (!said) return k::error::io;
        return said;
    }
    left_write* find_left(k::u64 node) noexcept {
        lwkt::spin_guard guard(left_lock_);
        const auto at = std::ranges::find(left_, node, &left_write::node);
        return at == left_.end() ? nullptr : &*at;
    }
    bool is_given_up() const noexcept { return given_up_.load(std::memory_order_relaxed); }

    const caps::client_ref client_;
    const ktime::ns timeout_;
    bool (*const interrupted_)();
    std::atomic<bool> given_up_ = false;
    lwkt::spinlock left_lock_;
    // No two are of the same node, whose file's writers' lock is held by whoever puts one in, finds it or takes it out.
    boost::intrusive::list<left_write> left_ GUARDED_BY(left_lock_);
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

k::result<caps::message_ref> service_server::ask(question& q) noexcept {
    if (is_given_up()) return k::error::notconn;
    mem::box<left_write> left;
    if (q.was_stored && !(left = mem::make_box<left_write>())) return k::error::nomem;
    const ktime::ns begun = ktime::now();
    caps::message_ref m = TRY(write_down(q));
    const caps::waiting how{.deadline = ktime::after(timeout_), .interrupted = interrupted_};
    auto id = client_->put(m.share(), how);
    auto answer = id ? client_->get(*id, how) : k::result<caps::message_ref>(id.error());
    if (!answer) {
        if (answer.error() == k::error::nomem) return k::error::nomem;
        if (answer.error() == k::error::intr) {
            if (id && left) {
                left->node = q.head.node, left->id = *id, left->since = begun;
                lwkt::spin_guard guard(left_lock_);
                left_.push_back(*left.release());
            } else if (id) {
                (void)client_->dispose(*id);
            }
            return k::error::intr;
        }
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

bool service_server::may_still_write(k::u64 node) noexcept {
    left_write* const left = find_left(node);
    if (!left) return false;
    auto answer = client_->get(left->id, {.deadline = caps::at_once});
    if (answer)
        client_->done(**answer);
    else if (answer.error() == k::error::again && ktime::now() - left->since < timeout_)
        return true;
    else
        give_up();
    {
        lwkt::spin_guard guard(left_lock_);
        left_.erase(left_.iterator_to(*left));
    }
    mem::destroy(left);
    return false;
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
