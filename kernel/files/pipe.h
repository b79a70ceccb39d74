// Pipes: a queue of pieces (piece_queue.h) with two ends that are files.
#pragma once

#include "kernel/files/file.h"
#include "kernel/files/piece_queue.h"

namespace files {

class pipe final : public k::counted<pipe> {
  public:
    static constexpr k::u64 atomic_bytes = piece_queue::atomic_bytes;
    static constexpr k::u64 default_capacity = piece_queue::default_capacity;
    static constexpr k::u64 most_capacity = 1 << 20; // F_SETPIPE_SZ
    static constexpr k::u64 lent_capacity = piece_queue::lent_capacity;

    static k::result<k::ref<pipe>> create(piece_queue::ends of = piece_queue::ends::one_each) noexcept; // ENOMEM
    void last_holder_left() noexcept;

    // Sleeps until there is a byte, unless nonblocking (EAGAIN). 0: no writer is left.
    k::result<k::u64> read(xio::sink& to, bool nonblocking) noexcept { return queue.read(to, patience(nonblocking)); }
    // Sleeps until all is in the pipe. EPIPE: no reader is left; the caller sends SIGPIPE.
    k::result<k::u64> write(xio::source& from, bool nonblocking) noexcept {
        return queue.write(from, patience(nonblocking));
    }

    // The same of packets (O_DIRECT): what one write brings, up to a page, one read takes.
    k::result<k::u64> write_packets(xio::source& from, bool nonblocking) noexcept {
        return queue.write_packets(from, patience(nonblocking));
    }

    k::u64 bytes() noexcept { return queue.bytes(); } // that can be read now
    k::u64 capacity() noexcept { return queue.capacity(); }
    // To a power of two of pages. EPERM beyond most_capacity, EBUSY if more is in it.
    k::result<k::u64> set_capacity(k::u64 bytes) noexcept;
    k::u64 inode() const noexcept { return inode_; }
    pollable& read_watch() noexcept { return read_watch_; }
    // The same where who has come for both stands there once.
    pollable& write_watch() noexcept { return queue.write_watch(); }

    explicit pipe(piece_queue::ends of) noexcept // for create()
        : inode_(fresh_inode()),
          queue(read_watch_, of == piece_queue::ends::one_each ? write_watch_ : read_watch_, of) {}

  private:
    const k::u64 inode_;
    pollable read_watch_;
    pollable write_watch_;

  public:
    piece_queue queue;
};

// The two ends of a new pipe as files. `flags`: open_nonblock for both, open_direct for who writes. ENOMEM.
struct pipe_ends {
    file_ref reader;
    file_ref writer;
};
k::result<pipe_ends> make_pipe(k::u32 flags) noexcept;

// One more end of a pipe, for the access that the flags say; who has come is counted by the caller, and leaves with the
// file. ENOMEM. `writers_before` as for piece_queue::ready_to_read().
k::result<file_ref> make_pipe_end(k::ref<pipe> of, k::u32 flags, k::u32 writers_before = 0) noexcept;

// The pipe behind a file, if it is an end of one.
pipe* pipe_of(file& f) noexcept;

} // namespace files
