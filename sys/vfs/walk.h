// Walking paths.
//
// A walk runs in one critical section, takes no lock and holds nothing until it has arrived; only where a directory
// does not know all its names it holds what it stands on and asks the file system. Symbolic links, mounts and ".." are
// followed as POSIX has them (path resolution, IEEE 1003.1 4.13); ".." does not lead out of the root.
#pragma once

#include "sys/vfs/access.h"
#include "sys/vfs/mount.h"

namespace vfs {

constexpr std::size_t longest_path = 4096; // the zero at the end included
constexpr unsigned most_links_followed = 40;

// Whose eyes a path is seen with.
struct view {
    const subject& who;
    const place& root;
    const place& start; // of a path that does not begin with a slash
};

// What a path leads to.
struct found {
    mount_use in;
    vnode_ref node;
    name_ref called; // null: the root of a mount, or a magic link's target

    explicit operator bool() const { return static_cast<bool>(node); }
};

// What memory of a process is mapped from, where that was found by a path. No other backing is made in this kernel.
class mapped : public vm::backing {
  public:
    virtual const found& what() const noexcept = 0;

  protected:
    ~mapped() = default;
};

// The directory in which the last name of a path stands or would stand.
struct spot {
    mount_use in;
    vnode_ref parent;
    k::u8 length = 0;
    bool wants_directory = false; // a slash was behind it
    // "." and ".." and the root have no name that could be made or removed: length is 0 then, and `what` says which.
    enum class special : k::u8 { none, dot, dot_dot, root } what = special::none;
    char text[longest_name];

    std::string_view name() const noexcept { return {text, length}; }
    directory& dir() const noexcept { return parent->as_directory(); }
};

enum class last_link : k::u8 { follow, keep };

// ENOENT (also of an empty path), ENOTDIR, ELOOP, ENAMETOOLONG, EACCES, ENOMEM. Thread context; sleeps only if a file
// system must be asked.
k::result<found> find(const view& v, std::string_view path, last_link last = last_link::follow) noexcept;
// Calls see(node) with what a path leads to, in a critical section: it need not be held for that. The errors of find().
k::status look_at(const view& v, std::string_view path, last_link last, void (*see)(const vnode& n, void* argument),
                  void* argument) noexcept;
template <class See> k::status look_at(const view& v, std::string_view path, last_link last, See see) noexcept {
    return look_at(
        v, path, last, [](const vnode& n, void* argument) { (*static_cast<See*>(argument))(n); }, &see);
}
// The last name is not looked at, or only to see whether it is a link to follow: then it is the last name of that; a
// magic link is left to the caller.
k::result<spot> find_spot(const view& v, std::string_view path, last_link last = last_link::keep) noexcept;
// What has a name in a directory; the permission to search it is the caller's to check. ENOENT, ENOMEM.
k::result<found> look_up(mount& in, directory& at, std::string_view text) noexcept;

// The path of a node from `root` on, written backwards into the end of `to`; what cannot be reached from there begins
// "(unreachable)". ERANGE. A name that was removed has " (deleted)" behind it.
k::result<std::string_view> path_of(const place& root, mount& in, vnode& node, const name* called,
                                    std::span<char> to) noexcept;
// The same of what was found; of a file that no directory has ever named, what it is called.
k::result<std::string_view> path_of(const place& root, const found& what, std::span<char> to) noexcept;

} // namespace vfs
