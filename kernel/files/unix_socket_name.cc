#include "kernel/files/unix_socket_name.h"

#include "kernel/files/paths.h"
#include "kernel/files/unix_socket.h"
#include "sys/vfs/edit.h"

namespace files {

k::result<socket_name_ref> socket_name::create(const socket_text& what) noexcept {
    auto* made = mem::make<socket_name>(what);
    if (!made) return k::error::nomem;
    return socket_name_ref(made);
}

void socket_name::last_holder_left() noexcept {
    mem::destroy(this);
}

// --- Abstract names
// ---------------------------------------------------------------------------------------------------

struct abstract_names::table {
    struct by_text {
        using type = std::string_view;
        type operator()(const socket_name& n) const { return n.what.text(); }
    };
    lwkt::spinlock lock;
    boost::intrusive::set<socket_name,
                          boost::intrusive::member_hook<socket_name, socket_name::hook, &socket_name::link_>,
                          boost::intrusive::key_of_value<by_text>, boost::intrusive::constant_time_size<false>>
        names GUARDED_BY(lock);
    std::atomic<k::u32> next_number = 0;
};

constinit abstract_names::table* abstract_names::all_ = nullptr;

k::status abstract_names::initialise() noexcept {
    all_ = mem::make<table>();
    return all_ ? k::status() : k::error::nomem;
}

k::status abstract_names::add(unix_socket& s, socket_name& name) noexcept {
    table& t = *all_;
    lwkt::spin_guard guard(t.lock);
    name.owner_ = &s;
    if (!t.names.insert(name).second) return k::error::addrinuse;
    return {};
}

void abstract_names::remove(socket_name& name) noexcept {
    table& t = *all_;
    lwkt::spin_guard guard(t.lock);
    t.names.erase(t.names.iterator_to(name));
}

k::ref<unix_socket> abstract_names::find(const socket_text& name) noexcept {
    table& t = *all_;
    lwkt::spin_guard guard(t.lock);
    auto at = t.names.find(name.text());
    return at == t.names.end() ? k::ref<unix_socket>() : k::ref<unix_socket>::to(*at->owner_);
}

k::result<socket_name_ref> abstract_names::add_any(unix_socket& s) noexcept {
    constexpr unsigned digits = 5;
    constexpr k::u32 numbers = 1u << (4 * digits);
    for (k::u32 tries = 0; tries < numbers; tries++) {
        const k::u32 number = all_->next_number.fetch_add(1, std::memory_order_relaxed) % numbers;
        socket_text text;
        text.bytes[text.length++] = '\0';
        for (unsigned at = digits; at--;)
            text.bytes[text.length++] = "0123456789abcdef"[number >> (4 * at) & 15];
        socket_name_ref name = TRY(socket_name::create(text));
        if (add(s, *name)) return name;
    }
    return k::error::nospc;
}

// --- Paths
// ------------------------------------------------------------------------------------------------------------

namespace {

// What leads from a node to its socket.
class socket_place final : public vfs::attachment {
  public:
    explicit socket_place(unix_socket& s) noexcept : at_(&s) {}
    void last_holder_left() noexcept override { mem::destroy(this); }

    void clear() noexcept {
        lwkt::spin_guard guard(lock_);
        at_ = nullptr;
    }
    k::ref<unix_socket> get() noexcept {
        lwkt::spin_guard guard(lock_);
        return at_ ? k::ref<unix_socket>::to(*at_) : k::ref<unix_socket>();
    }

  private:
    lwkt::spinlock lock_;
    unix_socket* at_ GUARDED_BY(lock_);
};

} // namespace

k::status path_names::add(unix_socket& s, const socket_text& path) noexcept {
    constexpr k::u32 everybody = 0777;
    auto* place = mem::make<socket_place>(s);
    if (!place) return k::error::nomem;
    k::ref<vfs::attachment> mine(place);
    eyes as;
    const vfs::view v = as.from_here();
    const vfs::spot where = TRY(vfs::find_spot(v, path.path()));
    auto made = vfs::make(
        v, where,
        {.type = vfs::node_type::socket, .mode = without_umask(everybody), .uid = as.who().uid, .gid = as.who().gid});
    if (!made) return made.error() == k::error::exist ? k::error::addrinuse : made.error();
    (void)made->node->attached(vfs::attachment_kind::channel, [&] { return mine.share(); });
    s.node_ = *std::move(made);
    s.attached_ = std::move(mine);
    return {};
}

void path_names::remove(unix_socket& s) noexcept {
    if (s.attached_) static_cast<socket_place&>(*s.attached_).clear();
    s.attached_ = {};
    s.node_ = {};
}

k::result<k::ref<unix_socket>> path_names::find(const socket_text& path) noexcept {
    eyes as;
    const vfs::found at = TRY(vfs::find(as.from_here(), path.path()));
    TRY(vfs::check(*at.node, as.who(), vfs::may_write));
    if (!at.node->is(vfs::node_type::socket)) return k::error::connrefused;
    k::ref<vfs::attachment> place = at.node->find_attached(vfs::attachment_kind::channel);
    k::ref<unix_socket> found;
    if (place) found = static_cast<socket_place&>(*place).get();
    if (!found) return k::error::connrefused;
    return found;
}

} // namespace files
