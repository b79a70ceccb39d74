// vfs::file_system: one instance of a file system, wherever it is mounted, with its ports and threads.
//
// Operations are messages (vop.h) to the port of the CPU on which they must run. The port runs them in the sender's
// context when it is on that CPU; else a thread of the file system runs them there, at most one a CPU, made when it is
// first needed.
#pragma once

#include "kernel/lwkt/port.h"
#include "sys/vfs/name.h"

#include <optional>

namespace vfs {

struct subject;
struct vop;
struct vop_rename;
class extended_names;

// Where a file system keeps its names and bytes: in the kernel's objects alone, or also on a disk or in a program,
// where each change is made first.
enum class keeping : k::u8 { here, disk, program };

// Who may do what there: as the attributes say; whatever the program lets him; nothing.
enum class access_rule : k::u8 { usual, programs, nobody };

// What statfs() says.
struct file_system_state {
    k::u64 block_bytes, blocks, free_blocks;
    k::u64 nodes, free_nodes;
};

class file_system : public k::counted<file_system>, lwkt::retirable {
  public:
    virtual ~file_system() = default;
    void last_holder_left() noexcept;

    directory& root() const noexcept { return static_cast<directory&>(*root_); }
    k::u64 device() const noexcept { return device_; } // st_dev

    // --- What a file system is; all in thread context.
    virtual std::string_view type() const noexcept = 0;
    virtual k::u32 magic() const noexcept = 0; // statfs's f_type
    virtual file_system_state state() noexcept = 0;
    // A node without a name. `text`: of a link. ENOSPC, ENOMEM; EROFS: nothing can be made here. May sleep.
    virtual k::result<vnode_ref> make_node(const node_attributes&, std::string_view text) noexcept {
        return (void)text, k::error::rofs;
    }
    // What a directory that is not complete has under a name. ENOENT. May sleep. `cache`: may the answer be kept? A
    // directory that may not must be a fresh one each time.
    virtual k::result<vnode_ref> look_up(directory& in, std::string_view text, bool& cache) noexcept {
        return (void)in, (void)text, (void)cache, k::error::noent;
    }
    class opened;
    // The entries of such a directory from `place` on: put(place, text, type, inode) until it returns false. May sleep.
    class lister {
      public:
        virtual bool put(k::u64 next_place, std::string_view text, node_type type, k::u64 inode) noexcept = 0;
        // What is kept with the directory that is being read; null: nothing.
        virtual opened* with() const noexcept { return nullptr; }

      protected:
        ~lister() = default;
    };
    virtual k::status list(directory& in, k::u64 place, lister& to) noexcept {
        return (void)in, (void)place, (void)to, k::error::notdir;
    }
    // Bytes of a node that is made on reading. May sleep.
    virtual k::result<k::u64> read_made(vnode& node, k::u64 offset, xio::sink& to) noexcept {
        return (void)node, (void)offset, (void)to, k::error::inval;
    }
    virtual k::result<k::u64> write_made(vnode& node, const xio::source& from) noexcept {
        return (void)node, (void)from, k::error::acces;
    }
    // --- Extended attributes, by their whole names ("user.x"); the rights are looked at before (extended.h). All may
    // sleep. EOPNOTSUPP: none are kept, or none of that kind; ENODATA: it has none of that name.
    // The length of a value, which stands in `to` if that is not empty. ERANGE: it is too short.
    virtual k::result<k::u64> get_extended(vnode& of, std::string_view name, std::span<std::byte> to) noexcept {
        return (void)of, (void)name, (void)to, k::error::opnotsupp;
    }
    // Sets one, or takes it away. EEXIST, ENODATA: as the flags (extended_flag) want; ENOSPC, EROFS, EIO, ENOMEM.
    virtual k::status set_extended(vnode& of, std::string_view name, std::optional<std::span<const std::byte>> value,
                                   unsigned flags) noexcept {
        return (void)of, (void)name, (void)value, (void)flags, k::status(k::error::opnotsupp);
    }
    virtual k::status list_extended(vnode& of, extended_names& to) noexcept { return (void)of, (void)to, k::status(); }

    // --- Of one in a program (sys/userfs). All may sleep. Of the directories concerned the `asking` lock is held.
    bool is_in_program() const noexcept { return keeping_ == keeping::program; }
    // Until when an answer may be believed, if the program tells of nothing by itself meanwhile: `news` is how often it
    // had when it was asked.
    struct belief {
        k::u64 until = ~k::u64{0};
        k::u64 news = 0;
    };
    virtual k::u64 news() noexcept { return 0; }
    // Sets until when something may be believed (vnode::told_until_ns, name::valid_until), which is to say that it may
    // not be before that. What it is of must be where news would find it by now: else what comes between is lost.
    virtual void believe(std::atomic<k::u64>& set, const belief& as) noexcept {
        set.store(as.until, std::memory_order_relaxed);
    }
    // What has a name there. ENOENT. `known`: what had it before (null: nothing, or that is not known), which may be
    // the answer again. `how`: how far the answer may be believed, ENOENT too; all other errors are none.
    virtual k::result<vnode_ref> look_up_there(directory& in, std::string_view text, vnode* known,
                                               belief& how) noexcept {
        bool cache = true;
        return (void)known, (void)how, look_up(in, text, cache);
    }
    // `how`: how far its name may be believed.
    virtual k::result<vnode_ref> make_there(directory& in, std::string_view text, const node_attributes& a,
                                            std::string_view link_text, belief& how) noexcept {
        return (void)in, (void)text, (void)how, make_node(a, link_text);
    }
    virtual k::status link_there(vnode& what, directory& in, std::string_view text) noexcept {
        return (void)what, (void)in, (void)text, k::status();
    }
    virtual k::status remove_there(directory& in, std::string_view text, vnode& what) noexcept {
        return (void)in, (void)text, (void)what, k::status();
    }
    virtual k::status rename_there(directory& from, std::string_view from_text, directory& to, std::string_view to_text,
                                   unsigned flags) noexcept {
        return (void)from, (void)from_text, (void)to, (void)to_text, (void)flags, k::status();
    }
    // May what is known of names be wrong by now, and its program be the one who knows?
    virtual bool names_grow_old() const noexcept { return false; }
    // What was told of a node is asked for again if it is too old. No lock is held.
    virtual k::status ask_again(vnode& of) noexcept { return (void)of, k::status(); }
    // What a program keeps with a file or directory that is open; null: nothing. Goes without waiting.
    class opened : public k::counted<opened> {
      public:
        virtual ~opened() = default;
        virtual void last_holder_left() noexcept = 0;
        // A descriptor is closed: what the program says of that.
        virtual k::status flush() noexcept { return {}; }
        // Of a file whose bytes are not cached (else EOPNOTSUPP).
        virtual bool bypasses_cache() const noexcept { return false; }
        virtual k::result<k::u64> read(k::u64 offset, xio::sink& to) noexcept {
            return (void)offset, (void)to, k::error::opnotsupp;
        }
        virtual k::result<k::u64> write(k::u64 offset, const xio::source& from) noexcept {
            return (void)offset, (void)from, k::error::opnotsupp;
        }
    };
    using opened_ref = k::ref<opened>;
    // `flags`: open(2)'s that stay with the file.
    virtual k::result<opened_ref> open(vnode& what, k::u32 flags) noexcept {
        return (void)what, (void)flags, opened_ref();
    }
    // Does a node keep its number there when it gets a second name? If not the new name is looked up again.
    virtual bool names_share_nodes() const noexcept { return true; }
    // Whom it lets in. Any context.
    virtual access_rule rule(const subject& who) const noexcept { return (void)who, access_rule::usual; }
    // Where rule() leaves it to the program: may that be done with a node (access.h's wishes)? EACCES; whatever it
    // says.
    virtual k::status may_there(vnode& of, const subject& who, unsigned wishes) noexcept {
        return (void)of, (void)who, (void)wishes, k::status();
    }
    // The first byte of a file from one on that is kept, or is not (fuse::seek_kind): where the program says that it
    // is. ENXIO: none; EOPNOTSUPP: it does not say.
    virtual k::result<k::u64> find_there(vnode& of, k::u64 from, bool kept) noexcept {
        return (void)of, (void)from, (void)kept, k::error::opnotsupp;
    }
    // Attributes that are to become others; no lock is held.
    struct new_attributes;
    virtual k::status change_there(vnode& of, const new_attributes& to) noexcept {
        return (void)of, (void)to, k::status();
    }
    // Whatever waits for an answer from elsewhere ends, and nothing is asked any more (umount -f). False: nothing
    // waits.
    virtual bool give_up() noexcept { return false; }
    // It will not be used any more: the last call, in thread context. Does not block: others' memory goes in the same
    // thread.
    virtual void ending() noexcept {}

    // --- Of one on a disk. All may sleep.
    bool is_on_disk() const noexcept { return keeping_ == keeping::disk; }
    // Some bytes of a file will be read: it may bring them in.
    virtual void will_read(vnode& node, k::u64 offset, k::u64 bytes) noexcept { (void)node, (void)offset, (void)bytes; }
    // A name comes, goes, or changes, by an operation that will be run when these have succeeded; `changing` is held.
    // ENOSPC, EIO, ENOMEM with nothing changed; ENOTEMPTY: of a directory.
    virtual k::status keep_added(directory& in, std::string_view text, vnode& node) noexcept {
        return (void)in, (void)text, (void)node, k::status(k::error::rofs);
    }
    virtual k::status keep_removed(directory& in, std::string_view text, vnode& node) noexcept {
        return (void)in, (void)text, (void)node, k::status(k::error::rofs);
    }
    virtual k::status keep_renamed(const vop_rename& op) noexcept { return (void)op, k::status(k::error::rofs); }
    // A file has another size, and lost the pages behind it / some of its pages are zeroes again. Its writers' lock is
    // held. (Of one in a program, too.)
    virtual k::status resized(vnode& node, k::u64 bytes) noexcept { return (void)node, (void)bytes, k::status(); }
    virtual k::status punched(vnode& node, k::u64 first_page, k::u64 pages) noexcept {
        return (void)node, (void)first_page, (void)pages, k::status();
    }
    // Room for a range of a file, which reads as before. EOPNOTSUPP: only by making the pages dirty.
    virtual k::status reserve(vnode& node, k::u64 first_page, k::u64 pages) noexcept {
        return (void)node, (void)first_page, (void)pages, k::status(k::error::opnotsupp);
    }
    // The first page of a file, from one on, whose bytes are kept (`wanted`), or for which nothing is kept, in memory
    // or there; none: one behind the end. EIO, ENOMEM.
    virtual k::result<k::u64> next_kept(vnode& node, k::u64 page, bool wanted) noexcept {
        return node.pages()->next_resident(page, wanted);
    }
    // What was written before, to a file or (null) to all, is where it will be found after the power went. EIO.
    virtual k::status sync(vnode* node) noexcept { return (void)node, k::status(); }
    // 512-byte sectors that a node has there. Any context.
    virtual k::u64 sectors(const vnode& node) const noexcept { return (void)node, 0; }
    // Held while names are looked up or changed, there and here, so that both say the same.
    lwkt::sleep_lock changing;

    // A node's last holder has left; its memory goes by itself.
    virtual void node_gone(vnode&) noexcept {}
    // Can nothing be changed in it, through whichever mount?
    bool is_read_only() const noexcept { return read_only_.load(std::memory_order_relaxed); }
    void set_read_only(bool to) noexcept { read_only_.store(to, std::memory_order_relaxed); }
    // Could it be written, if somebody asked for that?
    virtual bool may_be_written() const noexcept { return true; }
    // Are its names only there while they are looked at? Then nothing can be renamed, linked or removed in it.
    virtual bool is_virtual() const noexcept { return false; }

    // Has an operation done where it must be done, and waits for that. Thread context, no token held that it needs.
    k::status call(vop& op) noexcept;

    k::u64 fresh_inode() noexcept;
    // Held by who renames: no directory changes its place meanwhile.
    lwkt::sleep_lock renaming;

  protected:
    explicit file_system(keeping where = keeping::here) noexcept;
    // Once, before it is used. It holds the root; the root's node holds nothing of it.
    void set_root(vnode_ref root) noexcept { root_ = std::move(root); }
    // Takes all names out of all directories, so that the nodes go. Nobody uses the file system any more.
    void drop_names() noexcept;

  private:
    struct service; // the port of a CPU
    static lwkt::begun begin(lwkt::port& p, lwkt::msg& m);
    static void serve(void* argument);
    k::result<service*> service_of(unsigned cpu) noexcept;
    k::status call_here(vop& op) noexcept;
    k::status bring_together(vop& op) noexcept;
    void note_visit(vnode& n) noexcept;

    vnode_ref root_;
    const k::u64 device_;
    const keeping keeping_;
    std::atomic<bool> read_only_ = false;
    std::atomic<service*> services_[arch::max_cpus] = {};
    lwkt::sleep_lock starting_; // of services
    lwkt::sleep_lock moving_;   // of directories from one home to another
    struct counter {
        std::atomic<k::u64> next = 0;
        k::u64 distance[7]; // no two in one cache line
    };
    counter inodes_[arch::max_cpus];
};

// What stays is not set.
struct file_system::new_attributes {
    std::optional<k::u32> mode = {}, uid = {}, gid = {}; // permission_bits
    std::optional<k::u64> accessed_ns = {}, modified_ns = {};
    bool accessed_now = false, modified_now = false; // they are the time of this call, and not one that was given
};

// Held by who asks for names that are kept elsewhere, or changes them; nothing of others.
class names_hold {
  public:
    explicit names_hold(directory& in) noexcept;
    names_hold(directory& one, directory& other) noexcept;

  private:
    std::optional<lwkt::sleep_hold> first_, second_;
};

using file_system_ref = k::ref<file_system>;

} // namespace vfs
