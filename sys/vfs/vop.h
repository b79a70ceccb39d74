// Operations on vnodes, as messages. Each has its arguments and results as members; where payload moves it is an xio.
//
// An operation runs on the home CPU of its first node, without sleeping there, so that it is alone: no lock guards what
// is in a directory. If it concerns other nodes too, they are brought to that home first. Memory that it needs is its
// sender's to allocate before.
#pragma once

#include "kernel/lwkt/port.h"
#include "sys/vfs/name.h"

namespace vfs {

struct vop : lwkt::msg {
    static constexpr unsigned most_nodes = 3;

    // Those that it changes; null: fewer.
    std::array<vnode*, most_nodes> nodes{};

    // Does the work, on their home CPU. Must not sleep. The status becomes the message's.
    virtual k::status run() noexcept = 0;

    // What the file system keeps elsewhere changes first; then run() must not fail. Called with its lock `changing`
    // held, for those that say so; may sleep.
    virtual bool is_kept() const noexcept { return false; }
    virtual k::status keep(file_system& in) noexcept { return (void)in, k::status(); }

    // Is this the home of all of them? The index of one that lives elsewhere; most_nodes: none.
    unsigned first_elsewhere() const noexcept {
        const unsigned here = arch::cpu::id();
        for (unsigned i = 0; i < most_nodes; i++)
            if (nodes[i] && nodes[i]->home.load(std::memory_order_acquire) != here) return i;
        return most_nodes;
    }

  protected:
    ~vop() = default;
};

// Puts a name into a directory, for a new node or one more for an old one. EEXIST; ENOENT: the directory was removed;
// EMLINK; ENOMEM.
struct vop_add final : vop {
    vop_add(directory& in, name_ref what) noexcept : fresh(std::move(what)) { nodes[0] = &in; }
    k::status run() noexcept override;
    bool is_kept() const noexcept override { return true; }
    k::status keep(file_system& in) noexcept override;
    name_ref fresh; // shared with the directory if it succeeds
};

// Takes the name out that has this text and, if `expected` is not null, leads to that node. ENOENT; EISDIR or ENOTDIR
// if a directory is not `wanted` or is; ENOTEMPTY; EBUSY: something is mounted on it. `removed` is the name. `remains`
// (of a directory): see directory::die().
struct vop_remove final : vop {
    vop_remove(directory& in, const name_text& t, vnode& what, bool want_directory, name_ref remains) noexcept
        : text(t), expected(what), directory_wanted(want_directory), last(std::move(remains)) {
        nodes = {&in, what.is(node_type::directory) ? &what : nullptr};
    }
    k::status run() noexcept override;
    bool is_kept() const noexcept override { return true; }
    k::status keep(file_system& in) noexcept override;
    const name_text& text;
    vnode& expected;
    const bool directory_wanted;
    name_ref last;
    name_ref removed;
};

// Renames: from.text, which leads to `moved`, goes, and `fresh` (made for the same node) comes; what had its text and
// is `replaced` (null: nothing had) goes. With `swapped` (made for `replaced`, in the old place) they change places.
// `remains` (if `replaced` is a directory and goes): see directory::die(). ENOENT, EEXIST: the directories are not as
// they were when the caller looked (try again); ENOTEMPTY, EBUSY.
struct vop_rename final : vop {
    vop_rename(directory& from_in, const name_text& text, vnode& what, directory& to_in, name_ref becomes,
               vnode* instead_of, name_ref swap, name_ref remains) noexcept
        : from_text(text), moved(what), replaced(instead_of), fresh(std::move(becomes)), swapped(std::move(swap)),
          last(std::move(remains)) {
        nodes = {&from_in, &from_in == &to_in ? nullptr : &to_in,
                 instead_of && instead_of->is(node_type::directory) ? instead_of : nullptr};
    }
    k::status run() noexcept override;
    bool is_kept() const noexcept override { return true; }
    k::status keep(file_system& in) noexcept override;
    directory& from() const noexcept { return nodes[0]->as_directory(); }
    directory& to() const noexcept { return nodes[1] ? nodes[1]->as_directory() : from(); }
    const name_text& from_text;
    vnode& moved;
    vnode* replaced; // null: nothing has the name
    name_ref fresh, swapped, last;
    name_ref removed[2]; // the old names, for the caller to let go of

  private:
    void go_to(directory& in, name_ref& n, vnode& what) noexcept;
};

// Keeps what a look-up found in a directory that is not complete: a name, or that there is none.
struct vop_remember final : vop {
    vop_remember(directory& in, name_ref what) noexcept : fresh(std::move(what)) { nodes[0] = &in; }
    k::status run() noexcept override;
    name_ref fresh;
    name_ref forgotten; // made room for it
};

// Takes a name out of a directory that is not complete, as if nobody had looked for it; what it leads to stays. Null:
// whichever has that text; else another one of that text, that came meanwhile, stays.
struct vop_forget final : vop {
    vop_forget(directory& in, const name_text& t, const name* which) noexcept : text(t), expected(which) {
        nodes[0] = &in;
    }
    k::status run() noexcept override;
    const name_text& text;
    const name* const expected;
    name_ref forgotten;
};

// Takes names out of a directory that is not complete, from a place on: those that nobody holds, if nobody holds what
// they lead to either, and it is no directory. They are looked for again when they are wanted. Some at a time: until it
// has forgotten none.
struct vop_evict final : vop {
    static constexpr unsigned most = 64;
    explicit vop_evict(directory& in) noexcept { nodes[0] = &in; }
    k::status run() noexcept override;
    k::u64 place = 0;
    unsigned count = 0;
    name_ref forgotten[most]; // for the caller to let go of
};

// Reads names from a place on into `text` and `found`, as many as fit.
struct vop_list final : vop {
    struct entry {
        k::u64 place;
        name_ref what;
    };
    vop_list(directory& in, k::u64 from, std::span<entry> to) noexcept : place(from), found(to) { nodes[0] = &in; }
    k::status run() noexcept override;
    k::u64 place;
    std::span<entry> found;
    unsigned count = 0;
};

// Makes room for two more names in directories. ENOMEM.
struct vop_make_room final : vop {
    explicit vop_make_room(const vop& before) noexcept { nodes = before.nodes; }
    explicit vop_make_room(directory& in) noexcept { nodes[0] = &in; }
    k::status run() noexcept override;
};

// Something is mounted on a directory. ENOENT: it was removed.
struct vop_cover final : vop {
    explicit vop_cover(directory& what) noexcept { nodes[0] = &what; }
    k::status run() noexcept override;
    bool is_kept() const noexcept override { return true; } // so that it is not removed from the disk meanwhile
};

// Has a node live on another CPU.
struct vop_move_home final : vop {
    vop_move_home(vnode& what, unsigned to) noexcept : cpu(to) { nodes[0] = &what; }
    k::status run() noexcept override {
        nodes[0]->home.store(cpu, std::memory_order_release);
        return {};
    }
    const unsigned cpu;
};

} // namespace vfs
