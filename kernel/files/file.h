// files::file: an open file, whatever it is: what a descriptor refers to. Read this header first of kernel/files.
//
// Payload comes and goes as an xio in the binding state `range` (or any stronger one); an implementation binds it only
// if the bytes must outlive the call (a lending pipe). Everything here runs in thread context of the calling process
// and may block, interruptibly (EINTR), unless said otherwise. A non-blocking file answers EAGAIN instead.
#pragma once

#include "kernel/files/pollable.h"
#include "kernel/lib/ref.h"
#include "kernel/lib/result.h"
#include "sys/vfs/walk.h"
#include "sys/xio/xio.h"

#include <atomic>

namespace files {

class epoll_item;

// Linux's values of open(2)'s flags. Those without a remark stay with the open file.
enum open_flag : k::u32 {
    open_read_only = 0,
    open_write_only = 1,
    open_read_write = 2,
    open_access_mode = 3,
    open_create = 0100, // these are open()'s only
    open_exclusive = 0200,
    open_no_terminal = 0400,
    open_truncate = 01000,
    open_append = 02000,
    open_nonblock = 04000,
    open_data_sync = 010000,
    open_async = 020000,
    open_direct = 040000,
    open_directory = 0200000, // so are these
    open_no_follow = 0400000,
    open_no_access_time = 01000000,
    open_cloexec = 02000000, // of the descriptor, not of the file
    open_path = 010000000,   // names a file, opens nothing
    open_sync = 04010000,    // includes open_data_sync
};

// struct stat of the x86-64 ABI.
struct stat_record {
    k::u64 device, inode, links;
    k::u32 mode, uid, gid, pad0;
    k::u64 device_number;
    k::i64 size, block_size, blocks;
    k::i64 access_s, access_ns, modify_s, modify_ns, change_s, change_ns;
    k::i64 unused[3];
};
static_assert(sizeof(stat_record) == 144);

// Which class a file is of, where another part of kernel/files must know.
enum class file_kind : k::u8 {
    other,
    stored,
    directory,
    named,
    pipe_end,
    epoll,
    terminal,
    signals,
    timer,
    event,
    xio,
    watches,
    socket,
    room,
    caps_service,
    caps_client,
    fuse,
    caps_left, // what stands for one of the last two in a child
};

class file : public k::counted<file> {
  public:
    virtual ~file() = default;
    void last_holder_left() noexcept; // closes and frees

    // Moves bytes at the file's own position, and advances it. Fewer bytes than asked for are no error; 0 from read
    // is the end. A `from` or `to` that turns out bad is EFAULT only if no byte was moved before.
    virtual k::result<k::u64> read(xio::sink& to) noexcept { return (void)to, k::error::inval; }
    virtual k::result<k::u64> write(xio::source& from) noexcept { return (void)from, k::error::inval; }
    // The same at a position of the caller's. ESPIPE where there is none.
    virtual k::result<k::u64> read_at(xio::sink& to, k::u64 offset) noexcept {
        return (void)to, (void)offset, k::error::spipe;
    }
    virtual k::result<k::u64> write_at(xio::source& from, k::u64 offset) noexcept {
        return (void)from, (void)offset, k::error::spipe;
    }
    // Does a write that fails with EPIPE send SIGPIPE?
    virtual bool signals_pipe() const noexcept { return true; }
    virtual k::result<k::u64> seek(k::i64 offset, int whence) noexcept {
        return (void)offset, (void)whence, k::error::spipe;
    }
    // What was written before is where it will be found after the power went. EIO. Files that are only in memory are.
    virtual k::status sync() noexcept { return {}; }
    // A descriptor of it is closed: an error that close(2) is to tell.
    virtual k::status flush() noexcept { return {}; }
    virtual k::status truncate(k::u64 bytes) noexcept { return (void)bytes, k::error::inval; }
    // `argument` is a user address or a number, as `request` says.
    virtual k::result<k::u64> ioctl(k::u32 request, k::u64 argument) noexcept {
        return (void)request, (void)argument, k::error::notty;
    }
    // What stat() says: of what it was opened by, if that has a node.
    k::status stat(stat_record& out) noexcept;
    // The object behind mmap, for one mapping. ENODEV.
    virtual k::result<k::ref<vm::object>> mapped_object() noexcept;
    // What a mapping of it keeps; null: nothing.
    virtual vfs::mapped* mapped_as() noexcept { return nullptr; }
    // What is ready now, as poll bits. Must not block. Files that never wait are always ready.
    virtual k::u32 ready() noexcept { return poll_can_read | poll_can_write; }
    // Where watchers of ready() stand; null: it never changes.
    virtual pollable* watched() noexcept { return nullptr; }

    // What stands for it in a child that fork() makes.
    virtual file& in_child() noexcept { return *this; }

    // The node that it was opened by, and how that was called; empty: by no name.
    const vfs::found& origin() const noexcept { return origin_; }
    // Before anybody else sees it.
    void set_origin(vfs::found what) noexcept { origin_ = std::move(what); }

    file_kind kind() const noexcept { return kind_; }
    k::u32 flags() const noexcept { return flags_.load(std::memory_order_relaxed); }
    // Changes the flags in `mask`; returns what they all were.
    k::u32 change_flags(k::u32 mask, k::u32 to) noexcept;
    // Whom fcntl(F_SETOWN) named: a process, or a group as a negative number.
    int owner() const noexcept { return owner_.load(std::memory_order_relaxed); }
    void set_owner(int to) noexcept { owner_.store(to, std::memory_order_relaxed); }
    bool nonblocking() const noexcept { return flags() & open_nonblock; }
    bool readable() const noexcept { return !(flags() & (open_write_only | open_path)); }
    bool writable() const noexcept {
        return ((flags() & open_access_mode) + 1) & open_read_write && !(flags() & open_path);
    }

  protected:
    // What stat() says of a file that has no node.
    virtual k::status describe(stat_record& out) noexcept = 0;

    explicit file(k::u32 flags, file_kind kind = file_kind::other) noexcept : kind_(kind), flags_(flags) {}

  private:
    friend class epoll_items_of;
    const file_kind kind_;
    std::atomic<k::u32> flags_; // open_flag bits; fcntl(F_SETFL) changes some
    std::atomic<int> owner_ = 0;
    epoll_item* epoll_items_ = nullptr; // that watch this file (epoll.h)
    vfs::found origin_;
};

// st_rdev and st_dev.
constexpr k::u64 device_number(k::u32 major, k::u32 minor) {
    return (k::u64{major} & 0xfff) << 8 | (minor & 0xff);
}
// A number for files that no directory names.
k::u64 fresh_inode() noexcept;
// What stat() says of a file that has nothing but a mode and a number.
stat_record simple_stat(k::u32 mode, k::u64 inode) noexcept;
constexpr k::u32 mode_pipe = static_cast<k::u32>(vfs::node_type::fifo),
                 mode_character = static_cast<k::u32>(vfs::node_type::character);
// What it says of a node.
void describe(const vfs::vnode& node, stat_record& out) noexcept;

using file_ref = k::ref<file>;

} // namespace files
