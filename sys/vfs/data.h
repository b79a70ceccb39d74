// The bytes of regular files: its vnode's object is the page cache, which read, write, mmap and the file system share.
//
// All functions: thread context, may sleep; user memory may be at fault in the midst. A write and a change of size hold
// the node's writers' lock; readers take none and see what is there.
#pragma once

#include "sys/vfs/vnode.h"

namespace vfs {

constexpr k::u64 most_file_bytes = k::u64{1} << 47;

// The writers' lock, held. Who comes by meanwhile and must not wait for it leaves word in `cache_is_old`; that is
// looked at when the lock is free again, so that none is missed.
template <class Hold> class [[nodiscard]] writers_lock {
  public:
    explicit writers_lock(vnode& of) noexcept NO_THREAD_SAFETY_ANALYSIS : after_{of}, hold_(of.writers) {}
    explicit operator bool() const noexcept { return static_cast<bool>(hold_); } // of an attempt

  private:
    struct after {
        ~after() {
            if (of.cache_is_old.load()) [[unlikely]]
                of.forget_old();
        }
        vnode& of;
    } after_;
    Hold hold_; // goes first
};
using writers_hold = writers_lock<lwkt::sleep_hold>;
using writers_attempt = writers_lock<lwkt::sleep_attempt>; // true: nobody else has it

// From how many bytes on whole aligned pages change hands instead of being copied: to a reader, and from a writer.
constexpr k::u64 least_given = 64 << 10;
constexpr k::u64 least_taken = 64 << 10;

// As many bytes as are there from `offset` on. EFAULT, ENOMEM, EIO.
k::result<k::u64> read(vnode& from, k::u64 offset, xio::sink& to) noexcept;

struct write_request {
    k::u64 offset = 0;
    bool append = false;            // at the end instead
    k::u64 limit = most_file_bytes; // RLIMIT_FSIZE
};
// Writes and makes the file longer where it must. `at`: the offset it was written at. As much as can be; EFAULT,
// ENOSPC, ENOMEM if that is nothing; EFBIG: not one byte may stand there.
k::result<k::u64> write(vnode& to, const write_request& what, const xio::source& from, k::u64& at) noexcept;

// Bytes of a file as a stable source, up to its end; empty behind it. EAGAIN: read them instead; ENOMEM.
k::result<xio::source> lend(vnode& from, k::u64 offset, k::u64 bytes) noexcept;
// Has a file show bytes of another one, until either is written to; nothing is copied. How many, perhaps fewer than
// asked for. EAGAIN: they do not lie so (copy instead); ENOSPC, ENOMEM.
k::result<k::u64> copy_range(vnode& from, k::u64 from_offset, vnode& to, k::u64 offset, k::u64 bytes,
                             k::u64 limit) noexcept;

// EFBIG, ENOMEM.
k::status resize(vnode& of, k::u64 bytes) noexcept;
// For a file system whose file is about to become longer, by whoever holds the writers' lock: bytes up to `new_end`
// will be seen, and what a mapping or a longer life left behind the end, in the last page, are zeroes. ENOMEM, EIO.
k::status zero_behind_end(vnode& of, k::u64 new_end) noexcept;
// fallocate(2): room for a range, if need be behind the end, which moves there if `grow`. ENOSPC, ENOMEM, EFBIG.
k::status reserve(vnode& of, k::u64 offset, k::u64 bytes, bool grow) noexcept;
// Zeroes a range; whole pages of it go. ENOMEM.
k::status punch(vnode& of, k::u64 offset, k::u64 bytes) noexcept;
// The same, and what else the mode of fallocate(2) says, of a file in a program. EOPNOTSUPP: it does not do that.
k::status allocate_there(vnode& of, k::u32 mode, k::u64 offset, k::u64 bytes) noexcept;
// lseek's SEEK_DATA and SEEK_HOLE. ENXIO: none before the end.
k::result<k::u64> next_data(vnode& of, k::u64 from) noexcept;
k::result<k::u64> next_hole(vnode& of, k::u64 from) noexcept;

} // namespace vfs
