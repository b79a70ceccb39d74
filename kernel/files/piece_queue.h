// files::piece_queue: bytes on their way from who writes to who reads, carried as xio. What a pipe and one direction of
// a stream socket are made of.
//
// A queue of pieces, each either bytes copied into a page of the queue's own, which small writes share, or a source
// that a large write lent: that write returns at once, without a copy, and the bytes stay as they were whatever the
// writer does to its buffer meanwhile (a stable loan, sys/vm/loan.h). The reader copies out of either, or is given
// whole lent pages. A loan that nobody reads becomes a copy after a while (sys/vm/reaper.h).
//
// One spinlock guards the queue, held for dozens of instructions. Bytes move with it let go, because user memory may
// fault: `reading_` and `writing_` say that a thread is at it at that end. The reader owns the beginnings of pieces and
// the writer the end of the last one; a piece that the writer may be appending to stays in the queue.
//
// A piece may have a cargo (cargo.h), which arrives with its first byte: nothing is appended to such a piece, and a
// read that got files ends there.
//
// Bytes written as packets are pieces that nothing is appended to; a read takes one whole, what has no room is lost,
// and ends there. A packet counts as a page against the capacity, for it has one.
//
// A write of at most `atomic_bytes` is never mixed with others. All functions: thread context.
#pragma once

#include "kernel/files/cargo.h"
#include "kernel/files/pollable.h"
#include "kernel/mem/page.h"
#include "sys/vm/reaper.h"

namespace files {

// How long to wait, as a deadline: a time, for ever, or not at all.
constexpr ktime::ns at_once = 0;
constexpr ktime::ns patience(bool nonblocking) noexcept {
    return nonblocking ? at_once : ktime::forever;
}

class piece_queue {
  public:
    static constexpr k::u64 atomic_bytes = 4096; // PIPE_BUF
    static constexpr k::u64 default_capacity = 64 << 10;
    static constexpr k::u64 lent_capacity = 1 << 20; // lent bytes do not stand in the queue's memory
    static constexpr k::u32 most_cargoes = 256;      // each has a page of its own, however few bytes it comes with

    // One reader and one writer, or nobody at first: then readers and writers come and go, and the bytes stay until all
    // of them have gone.
    enum class ends : k::u8 { one_each, come_and_go };
    // Where the watchers of both ends stand.
    piece_queue(pollable& read_watch, pollable& write_watch, ends of = ends::one_each) noexcept;
    ~piece_queue();
    piece_queue(const piece_queue&) = delete;
    piece_queue& operator=(const piece_queue&) = delete;
    // Before anybody else uses it.
    void set_write_watch(pollable& to) noexcept { write_watch_ = &to; }
    pollable& write_watch() noexcept { return *write_watch_; }

    // Sleeps until there is a byte: EAGAIN if none came in time. 0: no writer is left.
    k::result<k::u64> read(xio::sink& to, ktime::ns until) noexcept;
    // The same, with what came along. 0 also: what is there is another sender's.
    k::result<k::u64> receive(xio::sink& to, receiving& how) noexcept;
    // Sleeps until all is in the queue. EPIPE: nobody will read; the caller sends SIGPIPE. A signal (EINTR), the
    // deadline (EAGAIN), a bad address or lack of memory after the first byte ends it early. Those bytes before `done`
    // are in it already.
    k::result<k::u64> write(xio::source& from, ktime::ns until, k::u64 done = 0) noexcept;
    // The same as packets of at most a page.
    k::result<k::u64> write_packets(xio::source& from, ktime::ns until) noexcept;
    // The same, with a cargo that goes with the first byte; with none it stays.
    k::result<k::u64> write_with(cargo& with, xio::source& from, ktime::ns until) noexcept;
    // What a write of these bytes needs to go on, and sleeping until it is there. EPIPE, EINTR. For who would not hold
    // the bytes meanwhile: they were taken from another queue, and a loan must not last.
    struct demand {
        k::u64 bytes;
        bool to_lend;
    };
    static demand demand_of(const xio::source& from) noexcept;
    k::status wait_for_room(demand what) noexcept;
    // Takes up to `most` bytes out as a source: those of one piece. Empty: no writer is left.
    k::result<xio::source> take(k::u64 most, bool nonblocking) noexcept;
    // The same bytes, which stay.
    k::result<xio::source> peek(k::u64 most, bool nonblocking) noexcept;

    // Puts bytes that take() gave back to the front. Without memory for that they are lost.
    void give_back(xio::source bytes) noexcept;

    // How many are at an end, and how many have ever come there.
    struct attendance {
        k::u32 now = 1, ever = 1;
    };
    // What they find at the other end.
    attendance reader_came() noexcept;
    attendance writer_came() noexcept;
    void reader_left() noexcept; // the last of all: what is in it goes
    void writer_left() noexcept;
    attendance readers() noexcept;
    attendance writers() noexcept;
    void shut() noexcept; // no more goes in; what is in it can be read

    // poll_can_read; poll_hangup: nothing more will come. `writers_before`: no writer is no end before one more than
    // these have come.
    k::u32 ready_to_read(k::u32 writers_before = 0) noexcept;
    k::u32 ready_to_write() noexcept; // poll_can_write; poll_error: nothing more goes in

    k::u64 bytes() noexcept; // that can be read now
    k::u64 capacity() noexcept;
    // EBUSY if more is in it.
    k::status set_capacity(k::u64 bytes) noexcept;

    // Calls visit(flight&) for all files on their way, under the lock.
    template <class Visit> void for_each_flight(Visit visit) noexcept {
        lwkt::spin_guard guard(lock_);
        for (piece* p = first_; p; p = p->next)
            if (p->with && p->with->files) visit(*p->with->files);
    }
    // Takes those files out.
    void take_flights(flight_list& to) noexcept;

  private:
    struct piece {
        piece* next = nullptr;
        vm::page_ref page; // of copied bytes; none: lent ones
        vm::kept_source lent;
        k::u64 begin = 0; // of what was not read yet, in the page or in `lent`
        k::u64 end = 0;
        mem::box<cargo> with;
        bool packet = false;
        k::u32 padding = 0; // of a packet's page

        k::u64 bytes() const { return end - begin; }
        std::byte* data() const { return static_cast<std::byte*>(page.data()); }
        bool has_room() const { return page && end < arch::page_size && !with && !packet; }
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
        k::u64 padding = 0;

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
        if (lent_ >= lent_capacity || copied_ + padding_ >= capacity_ || cargoes_ >= most_cargoes) return 0;
        return to_lend ? lent_capacity - std::min(lent_, lent_capacity) : capacity_ - copied_ - padding_;
    }
    bool takes_more_locked() const noexcept REQUIRES(lock_) { return readers_.now && !shut_; }
    bool more_may_come_locked() const noexcept REQUIRES(lock_) { return writers_.now && !shut_; }
    bool is_over_locked() const noexcept REQUIRES(lock_) {
        return !readers_.now && (ends_ == ends::one_each || !writers_.now);
    }
    k::result<permit> begin_write(k::u64 need, bool to_lend, ktime::ns until) noexcept;
    enum class end : k::u8 { reading, writing };
    k::status wait_for_another(end at) noexcept;
    static k::error too_late(const k::status& woken) noexcept;
    void end_write(const delivery& what) noexcept;
    k::status copy_packets(const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept;
    k::status copy_in(piece* last, const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept;
    k::status lend(const xio::source& from, k::u64 offset, k::u64 bytes, delivery& into) noexcept;
    k::status load(cargo& with, const xio::source& from, k::u64 bytes, bool to_lend, delivery& into) noexcept;
    piece* empty_piece() noexcept;

    template <bool HasHow> k::result<k::u64> read_pieces(xio::sink& to, ktime::ns until, receiving* how) noexcept;
    k::result<view> begin_read(ktime::ns until) noexcept;
    // Takes bytes away from the first piece and goes on to what comes next, or ends the reading.
    view end_read(k::u64 bytes, bool go_on) noexcept;
    view front_locked() const noexcept REQUIRES(lock_);
    view peek_on(const view& seen, bool go_on) noexcept;
    void end_peek() noexcept;
    void consume_locked(k::u64 bytes, garbage& drained) noexcept REQUIRES(lock_);
    void tidy_locked(garbage& drained) noexcept REQUIRES(lock_);
    void unlink_first_locked(garbage& drained) noexcept REQUIRES(lock_);
    void drop_all_locked(garbage& drained) noexcept REQUIRES(lock_);
    void empty_locked(piece& p) noexcept REQUIRES(lock_);
    static bool may_reuse(const piece& p) noexcept;
    bool try_put_first(piece* p) noexcept;
    k::result<xio::source> as_source(const view& part, k::u64 bytes) noexcept;

    const ends ends_;
    lwkt::spinlock lock_;
    bool reading_ GUARDED_BY(lock_) = false;
    bool writing_ GUARDED_BY(lock_) = false;
    bool shut_ GUARDED_BY(lock_) = false;
    attendance readers_ GUARDED_BY(lock_);
    attendance writers_ GUARDED_BY(lock_);
    k::u32 cargoes_ GUARDED_BY(lock_) = 0;
    k::u32 readers_waiting_ GUARDED_BY(lock_) = 0;
    k::u32 writers_waiting_ GUARDED_BY(lock_) = 0;
    k::u64 least_need_ GUARDED_BY(lock_) = 0; // the room with which one of them can go on
    k::u64 copied_ GUARDED_BY(lock_) = 0;     // bytes in pages that can be read
    k::u64 lent_ GUARDED_BY(lock_) = 0;
    k::u64 padding_ GUARDED_BY(lock_) = 0; // of packets
    k::u64 capacity_ GUARDED_BY(lock_) = default_capacity;
    piece* first_ GUARDED_BY(lock_) = nullptr;
    piece* last_ GUARDED_BY(lock_) = nullptr;
    piece* spare_ GUARDED_BY(lock_) = nullptr; // an empty page, so that a queue in use need not allocate

    lwkt::wait_queue readable_;
    lwkt::wait_queue writable_;
    pollable* read_watch_;
    pollable* write_watch_;
};

} // namespace files
