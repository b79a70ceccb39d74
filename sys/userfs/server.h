// Whom a file system in a program asks, and what may be believed of the answers: the seam between what files are
// (userfs.cc, nodes.h, pages.cc) and how their program is spoken to. There are two: messages to a service (here), and
// Linux's FUSE device (fuse_server.h).
//
// Any thread context; all of it blocks until the answer is there, the mount's time is over, or the server is given up.
// Errors of the server's come as they may be passed on, EIO in the place of those that mean something else here;
// ETIMEDOUT, ENOTCONN, ENOMEM; EINTR: the running thread ends, and the answer will go nowhere.
#pragma once

#include "sys/caps/caps.h"
#include "sys/userfs/dirty.h"
#include "sys/userfs/protocol.h"
#include "sys/userfs/userfs.h"
#include "sys/vfs/access.h"
#include "sys/vfs/file_system.h"

namespace vfs::fuse {
class listener;
}

namespace vfs::userfs {

struct node_told;

// Who hears, while a list is asked for, what its names lead to: each is the answer to a look-up, with all that follows.
class list_hearer {
  public:
    virtual void heard(std::string_view name, const node_told& of) noexcept = 0;

  protected:
    ~list_hearer() = default;
};

// What is asked, beside the request itself.
struct question {
    request head{};
    std::string_view texts[2] = {};
    xio::source bytes = {};                          // of a write
    file_system::opened* with = nullptr;             // of a list
    list_hearer* hearer = nullptr;                   // of a list, where may_hear()
    bool accessed_now = false, modified_now = false; // of a change: the times are that of the call
    bool was_stored = false;                         // of a write: into mappings, some time ago, by whomever
    ktime::ns patience = ktime::forever;             // of what was stored: how long each question may take. ETIMEDOUT
};

// Does it change the bytes of a file? If it were done late, after what was asked behind it, they would be wrong.
inline bool counts(const question& q) noexcept {
    return q.head.operation == operation::write || (q.head.operation == operation::change && q.head.what & change_size);
}

// What was told of a node. What only FUSE tells has values that say nothing here.
struct node_told {
    static constexpr k::u64 not_told = ~k::u64{0};
    attributes of{};
    k::u64 shown = 0;                  // what stat shows as its number, if that is not of.node
    k::u64 sectors = not_told;         // of 512 bytes, that it has there
    k::u64 until_ns = ~k::u64{0};      // as ktime::now(): what was told holds until then,
    k::u64 name_until_ns = ~k::u64{0}; // and the name; also of no node, whose number is 0
};

// A node that the kernel has forgotten, and how many answers told of it.
struct forgotten {
    k::u64 node, answers;
};

class server : public k::counted<server> {
  public:
    virtual ~server() = default;
    virtual void last_holder_left() noexcept = 0;

    virtual k::status tell(question& q) noexcept = 0;
    // Of mount, look_up, make; of look_up it may be none.
    virtual k::result<node_told> ask_node(question& q) noexcept = 0;
    virtual k::result<userfs::state> ask_state(question& q) noexcept = 0;
    // The text of a link, or the entries of a list, into `to`: what is looked at does not change. EIO: it is longer.
    virtual k::result<std::size_t> ask_text(question& q, std::span<std::byte> to) noexcept = 0;
    // May a list go on from one place to another? A service's only forwards.
    virtual bool may_go_on(k::u64 from, k::u64 to) const noexcept {
        constexpr k::u64 most = ~k::u64{0} >> 2;
        return to > from && to <= most;
    }
    // Is a list from a place on useful with what its names lead to?
    virtual bool may_hear(file_system::opened* with, k::u64 place) const noexcept {
        return (void)with, (void)place, false;
    }
    // Bytes of a node, from a page's start on: at most as many as asked for, fewer at the end; zeroes may follow them
    // to the end of a page.
    virtual k::result<xio::source> read(k::u64 node, k::u64 offset, k::u64 bytes) noexcept = 0;

    // Says something whose answer does not matter. False: it could not be put. Does not block.
    virtual bool say(question& q) noexcept = 0;
    // Says that some nodes are forgotten; how many of them, from the first on: the others later. Does not block.
    virtual std::size_t forget(std::span<const forgotten> which) noexcept {
        std::size_t said = 0;
        for (; said < which.size(); said++) {
            question q{
                .head = {.operation = operation::forget, .node = which[said].node, .bytes = which[said].answers}};
            if (!say(q)) break;
        }
        return said;
    }
    // Says something without waiting for an answer; nothing is asked any more after that. Does not block.
    virtual void say_last(question& q) noexcept = 0;
    // Nothing is asked any more; who waits hears ENOTCONN. Once or more often.
    virtual void give_up() noexcept = 0;
    // Is nothing asked any more? Any context.
    virtual bool is_over() const noexcept = 0;
    // Does the running thread end, so that it waits for nothing? Any context.
    virtual bool caller_is_killed() const noexcept = 0;
    // How long the kernel waits by itself.
    virtual ktime::ns patience() const noexcept { return 30 * ktime::second; }
    // Was a question that counts left by who asked it, and may still be done?
    virtual bool may_still_change(k::u64 node) noexcept { return (void)node, false; }
    // Until there is none: one that is done later must not be done after what comes now. EBUSY, if not patient; EINTR.
    k::status wait_for_left(k::u64 node, bool patient) noexcept;
    // By what a node can be written, for as long as that is held; null: nothing is needed. Does not block.
    virtual file_system::opened_ref writer_of(k::u64 node) noexcept { return (void)node, file_system::opened_ref(); }
    // What was stored into mappings of its files.
    dirty_files dirty{*this};

    // What a program is told of open files and of attributes that grow old; a service is not.
    virtual k::result<file_system::opened_ref> open(vnode& node, k::u32 flags) noexcept {
        return (void)node, (void)flags, file_system::opened_ref();
    }
    virtual k::result<node_told> ask_again(vnode& node) noexcept { return (void)node, k::error::nosys; }
    // As file_system's and vnode's calls of these names; EOPNOTSUPP: never.
    virtual k::status may_there(k::u64 node, const subject& who, unsigned wishes) noexcept {
        return (void)node, (void)who, (void)wishes, k::status();
    }
    virtual k::result<k::u64> find_there(k::u64 node, k::u64 from, bool kept) noexcept {
        return (void)node, (void)from, (void)kept, k::error::opnotsupp;
    }
    virtual k::status allocate(k::u64 node, k::u32 mode, k::u64 offset, k::u64 bytes) noexcept {
        return (void)node, (void)mode, (void)offset, (void)bytes, k::status(k::error::opnotsupp);
    }
    // Who hears what the program tells by itself, if it does. Until say_last().
    virtual void listen(file_system& in, fuse::listener& to) noexcept { (void)in, (void)to; }
    // Extended attributes, as file_system's calls of these names; a service has none. The list: names, each with a
    // zero behind it.
    virtual k::result<k::u64> get_extended(k::u64 node, std::string_view name, std::span<std::byte> to) noexcept {
        return (void)node, (void)name, (void)to, k::error::opnotsupp;
    }
    virtual k::status set_extended(k::u64 node, std::string_view name, std::optional<std::span<const std::byte>> value,
                                   unsigned flags) noexcept {
        return (void)node, (void)name, (void)value, (void)flags, k::status(k::error::opnotsupp);
    }
    virtual k::result<k::u64> list_extended(k::u64 node, std::span<std::byte> to) noexcept {
        return (void)node, (void)to, 0;
    }
    // Is a directory to be made lasting by itself? (SYNC of a service is about files.)
    virtual bool syncs_directories() const noexcept { return false; }
    // May what it said of names be wrong by now?
    virtual bool names_grow_old() const noexcept { return false; }
    // Does a node keep its number when it gets a second name?
    virtual bool names_share_nodes() const noexcept { return true; }
    virtual access_rule rule(const subject& who) const noexcept { return (void)who, access_rule::usual; }
};

using server_ref = k::ref<server>;

// The service of that name. The errors of make_userfs().
k::result<server_ref> connect(const userfs_options& options) noexcept;

// An error of a server's, as it may be passed on. Some numbers steer the kernel itself (look again, elsewhere,
// interrupted).
k::error believable(k::error said) noexcept;

} // namespace vfs::userfs
