// Names of unix-domain sockets, as struct sockaddr_un has them: a path, an abstract name (its first byte is zero), or
// none.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/lib/result.h"

#include <boost/intrusive/set.hpp>
#include <string_view>

namespace files {

constexpr k::u16 family_unspecified = 0, family_unix = 1;

// The part of an address behind the family.
struct socket_text {
    static constexpr std::size_t most = 108;
    k::u8 length = 0; // 0: no name
    char bytes[most];

    std::string_view text() const noexcept { return {bytes, length}; }
    bool is_abstract() const noexcept { return length && !bytes[0]; }
    // A path ends before the first zero byte.
    std::string_view path() const noexcept { return text().substr(0, std::min(text().find('\0'), text().size())); }
};

class unix_socket;

// A name that sockets and messages share. Never changes.
class socket_name final : public k::counted<socket_name> {
  public:
    static k::result<k::ref<socket_name>> create(const socket_text& what) noexcept; // ENOMEM
    void last_holder_left() noexcept;

    const socket_text what;
    explicit socket_name(const socket_text& w) noexcept : what(w) {}

  private:
    friend class abstract_names;
    using hook = boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;
    hook link_; // in the table of abstract names, under its lock
    unix_socket* owner_ = nullptr;
};
using socket_name_ref = k::ref<socket_name>;

// Abstract names, of the whole machine.
class abstract_names {
  public:
    // Boot, once. ENOMEM.
    static k::status initialise() noexcept;
    // Until remove(). EADDRINUSE.
    static k::status add(unix_socket& s, socket_name& name) noexcept;
    static void remove(socket_name& name) noexcept;
    static k::ref<unix_socket> find(const socket_text& name) noexcept;
    // A name that nobody has, five digits. ENOSPC, ENOMEM.
    static k::result<socket_name_ref> add_any(unix_socket& s) noexcept;

  private:
    struct table;
    static table* all_; // immutable after boot
};

// Paths: the node of a socket has its socket attached. Thread context of a process; the errors of the walk.
class path_names {
  public:
    // Makes the node. EADDRINUSE.
    static k::status add(unix_socket& s, const socket_text& path) noexcept;
    // The node stays, but leads to nobody.
    static void remove(unix_socket& s) noexcept;
    // EACCES; ECONNREFUSED: nobody has it any more.
    static k::result<k::ref<unix_socket>> find(const socket_text& path) noexcept;
};

} // namespace files
