// Pipes that carry xio.
//
// A pipe is a queue of pieces, each either bytes copied into a page of the pipe's own, which small writes share, or a
// source that a large write lent: that write returns at once, without a copy, and the bytes stay as they were whatever
// the writer does to its buffer meanwhile (a stable loan, sys/vm/loan.h). The reader copies out of either, or is given
// whole lent pages. A loan that nobody reads becomes a copy after a while (sys/vm/reaper.h).
//
// One spinlock guards the queue, held for dozens of instructions. Bytes move with it let go, because user memory may
// fault: `reading_` and `writing_` say that a thread is at it at that end. The reader owns the beginnings of pieces and
// the writer the end of the last one; a piece that the writer may be appending to stays in the queue.
//
// A write of at most `atomic_bytes` is never mixed with others. All functions: thread context.
#pragma once

#include "kernel/files/file.h"
#include "kernel/mem/page.h"
#include "sys/vm/reaper.h"

namespace files {

class pipe final : public k::counted<pipe> {
  public:
    static constexpr k::u64 atomic_bytes = 4096; // PIPE_BUF
    static constexpr k::u64 default_capacity = 64 << 10;
    static constexpr k::u64 most_capacity = 1 << 20; // F_SETPIPE_SZ
    static constexpr k::u64 lent_capacity = 1 << 20; // lent bytes do not stand in the pipe's memory

    // Of a `fifo` readers and writers come and go, and its bytes stay until all of them have gone.
    enum class sort : k::u8 { plain, fifo };
    // A plain one has one reader and one writer, a fifo nobody. ENOMEM.
    static k::result<k::ref<pipe>> create(sort what = sort::plain) noexcept;
    void last_holder_left() noexcept;

    // Sleeps until there is a byte, unless nonblocking (EAGAIN). 0: no writer is left.
    k::result<k::u64> read(xio::sink& to, bool nonblocking) noexcept;
    // Sleeps until all is in the pipe. EPIPE: no reader is left; the caller sends SIGPIPE. A signal (EINTR), a bad
    // address or lack of memory after the first byte ends it early.
    k::result<k::u64> write(xio::source& from, bool nonblocking) noexcept;
    // What a write of these bytes needs to go on, and sleeping until it is there. EPIPE, EINTR. For who would not hold
    // the bytes meanwhile: they were taken from another pipe, and a loan must not last.
    struct demand {
        k::u64 bytes;
        bool to_lend;
    };
    static demand demand_of(const xio::source& from) noexcept;
    k::status wait_for_room(demand what) noexcept;
    // Takes up to `most` bytes out as a source: those of one piece. Empty: no writer is left.
    k::result<xio::source> take(k::u64 most, bool nonblocking) noexcept;

    // Puts bytes that take() gave back to the front. Without memory for that they are lost.
    void give_back(xio::source bytes) noexcept;

    // How many are at an end, and how many have ever come there.
    struct attendance {
        k::u32 now = 1, ever = 1;
    };
    // What they find at the other end.
    attendance reader_came() noexcept;
    attendance writer_came() noexcept;
    void reader_left() noexcept;
    void writer_left() noexcept;
    attendance readers() noexcept;
    attendance writers() noexcept;

    // `writers_before`: no writer is no end of the file before one more than these have come.
    k::u32 ready_to_read(k::u32 writers_before = 0) noexcept;
    k::u32 ready_to_write() noexcept;
    // The same of a fifo: who has opened it for both stands there once.
    pollable& read_watch() noexcept { return read_watch_; }
    pollable& write_watch() noexcept { return sort_ == sort::fifo ? read_watch_ : write_watch_; }

    k::u64 bytes() noexcept; // that can be read now
    k::u64 capacity() noexcept;
    // To a power of two of pages. EPERM beyond most_capacity, EBUSY if more is in it.
    k::result<k::u64> set_capacity(k::u64 bytes) noexcept;
    k::u64 inode() const noexcept { return inode_; }

    explicit pipe(sort what) noexcept; // for create()
    ~pipe();

  private:
    struct piece {
        piece* next = nullptr;
        vm::page_ref page; // of copied bytes; none: lent ones
        vm::kept_source lent;
        k::u64 begin = 0; // of what was not read yet, in the page or in `lent`
        k::u64 end = 0;

        k::u64 bytes() const { return end - begin; }
        bool has_room() const { return page && end < arch::page_size; }
    };
    // Pieces taken out under the lock and freed after it: declared before the guard.
    class garbage {
      public:
        garbage() = default;
        ~garbage();
        garbage(const garbage&) = delete;
        void add(piece* p) noexcept {
            p->next = first_;
            first_ = p;
        }

      private:
        piece* first_ = nullptr;
    };
    // What a writer has made ready and will publish in one step.
    struct delivery {
        piece* first = nullptr; // fresh pieces
        piece* last = nullptr;
        k::u64 grown = 0;  // bytes appended to the piece that was the last
        k::u64 copied = 0; // these and those of fresh pages
        k::u64 lent = 0;

        void append(piece* p) noexcept;
    };

    // What a writer may do: how many bytes, and the piece at whose end to begin (null: none has room).
    struct permit {
        k::u64 room;
        piece* last;
    };
    // What a reader may take: bytes of the first piece. No piece: the end of the file.
    struct view {
        piece* from;
        k::u64 begin, bytes;
    };

    k::u64 bytes_locked() const noexcept REQUIRES(lock_) { return copied_ + lent_; }
    // None while either kind has used up its own: a writer that was told EAGAIN would else be let in by a shorter
    // write.
    k::u64 room_locked(bool to_lend) const noexcept REQUIRES(lock_) {
        if (lent_ >= lent_capacity || copied_ >= capacity_) return 0;
        return to_lend ? lent_capacity - std::min(lent_, lent_capacity) : capacity_ - copied_;
    }
    k::result<permit> begin_write(k::u64 need, bool to_lend, bool nonblocking) noexcept;
    void end_write(const delivery& what) noexcept;
    k::status copy_in(piece* last, const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept;
    k::status lend(const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept;
    piece* empty_piece() noexcept;

    k::result<view> begin_read(bool nonblocking) noexcept;
    // Takes bytes away from the first piece and goes on to what comes next, or ends the reading.
    view end_read(k::u64 bytes, bool go_on) noexcept;
    view front_locked() const noexcept REQUIRES(lock_);
    void consume_locked(k::u64 bytes, garbage& drained) noexcept REQUIRES(lock_);
    void tidy_locked(garbage& drained) noexcept REQUIRES(lock_);
    void unlink_first_locked(garbage& drained) noexcept REQUIRES(lock_);
    void drop_all_locked(garbage& drained) noexcept REQUIRES(lock_);
    static bool may_reuse(const piece& p) noexcept;
    bool try_put_first(piece* p) noexcept;
    k::result<xio::source> as_source(const view& part, k::u64 bytes) noexcept;

    bool is_over_locked() const noexcept REQUIRES(lock_) {
        return !readers_.now && (sort_ == sort::plain || !writers_.now);
    }

    const sort sort_;
    const k::u64 inode_;
    lwkt::spinlock lock_;
    bool reading_ GUARDED_BY(lock_) = false;
    bool writing_ GUARDED_BY(lock_) = false;
    attendance readers_ GUARDED_BY(lock_);
    attendance writers_ GUARDED_BY(lock_);
    k::u32 readers_waiting_ GUARDED_BY(lock_) = 0;
    k::u32 writers_waiting_ GUARDED_BY(lock_) = 0;
    k::u64 least_need_ GUARDED_BY(lock_) = 0; // the room with which one of them can go on
    k::u64 copied_ GUARDED_BY(lock_) = 0;     // bytes in pages that can be read
    k::u64 lent_ GUARDED_BY(lock_) = 0;
    k::u64 capacity_ GUARDED_BY(lock_) = default_capacity;
    piece* first_ GUARDED_BY(lock_) = nullptr;
    piece* last_ GUARDED_BY(lock_) = nullptr;
    piece* spare_ GUARDED_BY(lock_) = nullptr; // an empty page, so that a pipe in use need not allocate

    lwkt::wait_queue readable_;
    lwkt::wait_queue writable_;
    pollable read_watch_;
    pollable write_watch_;
};

// The two ends of a new pipe as files. `flags`: open_nonblock and open_direct, for both. ENOMEM.
struct pipe_ends {
    file_ref reader;
    file_ref writer;
};
k::result<pipe_ends> make_pipe(k::u32 flags) noexcept;

// One more end of a pipe, for the access that the flags say; who has come is counted by the caller, and leaves with the
// file. ENOMEM. `writers_before` as for ready_to_read().
k::result<file_ref> make_pipe_end(k::ref<pipe> of, k::u32 flags, k::u32 writers_before = 0) noexcept;

// The pipe behind a file, if it is an end of one.
pipe* pipe_of(file& f) noexcept;

} // namespace files
