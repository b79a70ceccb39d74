// vfs::vnode: a file, whatever it is and however many names it has. Read vfs.h first.
//
// Attributes are single words that anybody may read at any time; a stat() may see one of two changes that are made at
// the same moment. What is in a directory is changed on the directory's home CPU only, by messages (vop.h), and read by
// everybody in critical sections (lwkt/grace.h). A regular file's bytes are its object's pages, guarded by that; the
// writers' lock keeps whole writes and changes of size apart.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/grace.h"
#include "kernel/lwkt/sleep_lock.h"
#include "kernel/time/callout.h"
#include "sys/vm/object.h"

namespace vfs {

class directory;
class file_system;
class name;
class vnode;
struct found;
struct place;

// The values of stat's st_mode.
enum class node_type : k::u32 {
    fifo = 0010000,
    character = 0020000,
    directory = 0040000,
    block = 0060000,
    regular = 0100000,
    link = 0120000,
    socket = 0140000,
};
constexpr k::u32 permission_bits = 07777;
enum mode_bit : k::u32 { set_user = 04000, set_group = 02000, sticky = 01000 };

// What a new node is made with.
struct node_attributes {
    node_type type;
    k::u32 mode = 0; // permission_bits
    k::u32 uid = 0, gid = 0;
    k::u64 device = 0; // of a character or block node
};

enum class claim_kind : k::i32 { writing = 1, running = -1 };

// What other parts of the kernel keep with a node while somebody uses it: the pipe of a fifo, a socket, locks,
// watchers, attributes.
class attachment : public k::counted<attachment> {
  public:
    virtual ~attachment() = default;
    virtual void last_holder_left() noexcept = 0;
    // The node goes; its attributes are still there. Does not sleep.
    virtual void node_gone(const vnode&) noexcept {}
};
enum class attachment_kind : k::u8 { channel, locks, watchers, attributes };
constexpr unsigned attachment_kinds = 4;

class vnode : public k::counted<vnode>, lwkt::retirable {
  public:
    vnode(file_system& fs, k::u64 inode, const node_attributes& a) noexcept;
    virtual ~vnode() = default;
    void last_holder_left() noexcept;

    // --- Immutable.
    file_system& fs;
    const k::u64 inode;
    const node_type type;
    const k::u64 device;

    // --- Attributes.
    std::atomic<k::u32> mode; // permission_bits
    std::atomic<k::u32> uid, gid;
    std::atomic<k::u32> links;
    std::atomic<bool> awaits_name = false; // made without one (O_TMPFILE): link() may give it its first
    // What was stored into it and could not be kept: how often, and the last time's error in the lowest 8 bits. Who has
    // it open compares, and is told once.
    std::atomic<k::u32> losses = 0;
    static constexpr k::error loss_of(k::u32 losses) noexcept { return static_cast<k::error>(losses & 0xff); }
    std::atomic<k::u64> size = 0;
    std::atomic<k::u64> accessed_ns, modified_ns, changed_ns; // since 1970

    // Of one in a program (sys/userfs): its number there, and until when (ktime::now()) what was told of it holds.
    k::u64 number_there = 0;
    std::atomic<k::u64> told_until_ns = ~k::u64{0};
    // Is it to be asked for again (file_system::ask_again)?
    bool is_told_old() const noexcept {
        const k::u64 until = told_until_ns.load(std::memory_order_relaxed);
        return ~until && until <= ktime::now();
    }

    // How many have it open for writing, or, below zero, run it: see `claim`.
    std::atomic<k::i32> claims = 0;

    // What F_ADD_SEALS has promised; the values are kernel/files' business.
    std::atomic<k::u32> seals = 0;

    // The CPU on which it is changed. See vop.h.
    std::atomic<unsigned> home;
    std::atomic<k::u32> visits = 0; // operations in a row that came from one other CPU, and which: file_system.cc

    bool is(node_type t) const noexcept { return type == t; }
    k::u32 whole_mode() const noexcept { return static_cast<k::u32>(type) | mode.load(std::memory_order_relaxed); }
    inline directory& as_directory() noexcept;

    // The pages of a regular file; null of others.
    vm::object* pages() const noexcept { return pages_.get(); }
    // Held by who writes or changes the size, across sleep: by writers_hold.
    lwkt::sleep_lock writers;
    // Of a file in a program: what is cached of it is old, and whoever lets go of that lock has it forgotten.
    std::atomic<bool> cache_is_old = false;
    virtual void forget_old() noexcept {}

    // The text of a symbolic link; empty of others. Never changes.
    virtual std::string_view link_text() const noexcept { return {}; }
    // A link that leads to a thing, not by a text (/proc/self/fd/1), and where to. ENOTSUP: to what has no node. May
    // sleep.
    virtual bool is_magic() const noexcept { return false; }
    virtual k::status jump(found& to) noexcept { return (void)to, k::error::noent; }
    // What readlink(2) says of a link, seen from a root; `room` may be used for it. ERANGE.
    virtual k::result<std::string_view> read_link(const place& root, std::span<char> room) noexcept {
        return (void)root, (void)room, link_text();
    }
    // A file whose bytes are made when it is read (procfs): it has no pages, and its size says nothing.
    virtual bool is_made_on_reading() const noexcept { return false; }

    // --- A regular file in a program (sys/userfs): they do nothing for others. All may sleep; all but the first two
    // hold the writers' lock. Has what was stored into mappings kept there. What cannot be is lost, and counted in
    // `losses`; EINTR, ENOMEM, ETIMEDOUT: it is still here, for another time.
    virtual k::status write_back() noexcept { return {}; }
    // Much will be read: pages that are missing may come together. The writers' lock is not held.
    virtual void bring_in(k::u64 offset, k::u64 bytes) noexcept { (void)offset, (void)bytes; }
    // Bytes are there by now that were not written here; or (not `certain`) some of them, perhaps.
    virtual void written_there(k::u64 offset, k::u64 bytes, bool certain) noexcept {
        (void)offset, (void)bytes, (void)certain;
    }
    // Has bytes kept there that were written here. If that fails they are forgotten here.
    virtual k::status store_there(k::u64 offset, k::u64 bytes) noexcept {
        return (void)offset, (void)bytes, k::status();
    }
    // Has it made longer or shorter there, before it is here.
    virtual k::status resize_there(k::u64 bytes) noexcept { return (void)bytes, k::status(); }
    // fallocate(2), with its mode; then what is here of it is as it is there. EOPNOTSUPP.
    virtual k::status allocate_there(k::u32 mode, k::u64 offset, k::u64 bytes) noexcept {
        return (void)mode, (void)offset, (void)bytes, k::status(k::error::opnotsupp);
    }

    // "Something was read / the bytes changed / the attributes changed now." Like Linux's relatime, reading is noted
    // when the file has changed since, or once a day.
    void touch_accessed() noexcept {
        const k::u64 last = accessed_ns.load(std::memory_order_relaxed);
        if (last > modified_ns.load(std::memory_order_relaxed) && last > changed_ns.load(std::memory_order_relaxed) &&
            arch::clock::cycles() < day_is_over_.load(std::memory_order_relaxed)) [[likely]]
            return;
        note_access();
    }
    void touch_modified() noexcept;
    void touch_changed() noexcept;

    // What somebody attached; `make` is called if there is none: () -> k::ref<attachment>, null without memory. Thread
    // context; it may be called in vain, when two make one at the same time.
    template <class Make> k::ref<attachment> attached(attachment_kind kind, Make make) noexcept {
        if (auto there = find_attached(kind)) return there;
        return attach(kind, make());
    }
    k::ref<attachment> find_attached(attachment_kind kind) noexcept;
    // Is something attached? A cheap look.
    bool has_attached(attachment_kind kind) const noexcept {
        return attached_[static_cast<unsigned>(kind)].load(std::memory_order_acquire) != nullptr;
    }

  protected:
    // Its last holder has left; nothing of it has gone. Any context.
    virtual void going() noexcept {}
    void set_pages(k::ref<vm::object> pages) noexcept { pages_ = std::move(pages); }

  private:
    void note_access() noexcept;
    k::ref<attachment> attach(attachment_kind kind, k::ref<attachment> what) noexcept;
    void go() noexcept;

    std::atomic<k::u64> day_is_over_ = 0; // by the CPU's counter, which is cheaper to look at than a clock
    k::ref<vm::object> pages_;            // set before anybody else sees the node
    // Set once each; they go with the node.
    std::atomic<attachment*> attached_[attachment_kinds] = {};
};

using vnode_ref = k::ref<vnode>;

// Who has a file open for writing and who runs it keep each other out.
class claim {
  public:
    claim() = default;
    // ETXTBSY.
    static k::result<claim> take(vnode& of, claim_kind kind) noexcept;
    claim(claim&& other) noexcept : of_(std::move(other.of_)), kind_(other.kind_) {}
    claim& operator=(claim&& other) noexcept {
        std::swap(of_, other.of_);
        std::swap(kind_, other.kind_);
        return *this;
    }
    ~claim() {
        if (of_) of_->claims.fetch_sub(static_cast<k::i32>(kind_), std::memory_order_release);
    }

  private:
    claim(vnode& of, claim_kind kind) noexcept : of_(vnode_ref::to(of)), kind_(kind) {}

    vnode_ref of_;
    claim_kind kind_ = claim_kind::writing;
};

// Now, as nodes note it.
k::u64 now_ns() noexcept;

} // namespace vfs
