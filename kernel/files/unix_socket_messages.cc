// The inbox of a datagram or sequenced-packet socket: a queue of messages, each whole.
//
// Short messages have their bytes behind them; longer ones have pages, lent by the sender where that pays. One spinlock
// guards the queue; `reading_` says that a thread is at the first message, which stays until it was moved out.
#include "kernel/files/unix_socket.h"
#include "kernel/proc/current.h"
#include "sys/vm/loan.h"

namespace files {

namespace {

struct message {
    static constexpr k::u64 most_inline = 1536;

    message* next = nullptr;
    k::u64 bytes = 0;
    vm::kept_source pages; // of a long one
    bool is_long = false;
    socket_name_ref from;
    cargo with;

    std::byte* text() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
    // What it takes of the queue's limit.
    k::u64 cost() const noexcept { return sizeof(message) + bytes; }
};

class message_hold {
  public:
    explicit message_hold(message* m = nullptr) noexcept : at_(m) {}
    ~message_hold() {
        while (message* m = at_) {
            at_ = m->next;
            mem::destroy(m);
        }
    }
    message_hold(const message_hold&) = delete;
    void add(message* m) noexcept {
        m->next = at_;
        at_ = m;
    }
    message* get() const noexcept { return at_; }
    message* operator->() const noexcept { return at_; }
    message* release() noexcept { return std::exchange(at_, nullptr); }

  private:
    message* at_;
};

message* allocate(k::u64 bytes) noexcept {
    const bool is_long = bytes > message::most_inline;
    void* at = mem::allocate(sizeof(message) + (is_long ? 0 : bytes));
    if (!at) return nullptr;
    auto* made = new (at) message;
    made->bytes = bytes;
    made->is_long = is_long;
    return made;
}

// Pages with the bytes of a long message: the sender's own, if that pays.
k::result<xio::source> pages_of(const xio::source& from) noexcept {
    if (from.binding() == xio::binding::pages) return from.clone();
    auto& memory = static_cast<vm::space&>(from.memory());
    if (vm::worth_lending(memory, from.size())) return vm::bind_source(memory, from, xio::stability::stable);
    xio::sink room = TRY(xio::sink::fresh(from.size()));
    const xio::moved m = xio::copy_some(from, room, xio::reason::kernel_write);
    if (!m.status) return m.status.error();
    return room.into_source();
}

k::status fill(message& m, const xio::source& from) noexcept {
    if (!m.is_long) return from.read(0, {m.text(), m.bytes});
    m.pages.keep(TRY(pages_of(from)));
    return {};
}

xio::moved move_out(message& m, xio::sink& to) noexcept {
    const k::u64 bytes = std::min(m.bytes, to.size());
    if (!bytes) return {};
    if (!m.is_long) return to.write_some(0, {m.text(), bytes});
    const xio::source all = std::move(m.pages.slice(0, bytes)).value();
    if (to.binding() == xio::binding::range) return vm::deliver(static_cast<vm::space&>(to.memory()), to, all);
    return xio::copy_some(all, to);
}

class message_inbox final : public unix_inbox {
  public:
    message_inbox(unix_socket& owner, pollable& watch) noexcept : owner_(owner), watch_(watch) {}
    ~message_inbox() override { message_hold gone(first_); }

    k::result<k::u64> send(xio::source& from, sending& how) noexcept override;
    k::result<received> receive(xio::sink& to, receiving& how) noexcept override;
    void shut() noexcept override { end(true, false); }
    void writer_left() noexcept override { end(false, false); }
    void reader_left() noexcept override { end(true, true); }
    k::u32 ready_to_read() noexcept override {
        lwkt::spin_guard guard(lock_);
        return (first_ ? poll_can_read : 0) | (has_writer_ ? 0 : poll_hangup);
    }
    k::u32 ready_to_write() noexcept override {
        lwkt::spin_guard guard(lock_);
        return (has_room_locked() ? poll_can_write : 0) | (takes_more_ ? 0 : poll_error);
    }
    k::u64 waiting_bytes() noexcept override {
        lwkt::spin_guard guard(lock_);
        k::u64 sum = 0;
        for (const message* m = first_; m; m = owner_.is_connection() ? m->next : nullptr)
            sum += m->bytes;
        return sum;
    }
    bool is_empty() noexcept override {
        lwkt::spin_guard guard(lock_);
        return !first_;
    }
    void set_limit(k::u64 bytes) noexcept override {
        lwkt::spin_guard guard(lock_);
        limit_ = bytes;
    }
    void set_write_watch(pollable&) noexcept override {} // the owner tells whom it concerns

    void visit_flights(void (*visit)(void*, flight&), void* with) noexcept override {
        lwkt::spin_guard guard(lock_);
        for (message* m = first_; m; m = m->next)
            if (m->with.files) visit(with, *m->with.files);
    }
    void take_flights(flight_list& to) noexcept override {
        lwkt::spin_guard guard(lock_);
        for (message* m = first_; m; m = m->next)
            if (m->with.files) to.add(std::move(m->with.files));
    }

  private:
    // Senders that poll are told that there is room when there is much of it.
    bool has_room_locked() const noexcept REQUIRES(lock_) { return used_ <= limit_ / 2; }
    k::result<bool> try_put(message* m, const sending& how) noexcept;
    k::result<message*> begin_receive(ktime::ns until) noexcept;
    void end_receive(message_hold& taken, bool take) noexcept;
    void end(bool takes_no_more, bool drop) noexcept;

    unix_socket& owner_;
    pollable& watch_;
    lwkt::spinlock lock_;
    message* first_ GUARDED_BY(lock_) = nullptr;
    message* last_ GUARDED_BY(lock_) = nullptr;
    k::u64 used_ GUARDED_BY(lock_) = 0;
    k::u64 limit_ GUARDED_BY(lock_) = unix_socket::usual_buffer;
    bool reading_ GUARDED_BY(lock_) = false;
    bool takes_more_ GUARDED_BY(lock_) = true;
    bool has_writer_ GUARDED_BY(lock_) = true;
    k::u32 readers_waiting_ GUARDED_BY(lock_) = 0;
    k::u32 writers_waiting_ GUARDED_BY(lock_) = 0;
    lwkt::wait_queue readable_, writable_;
};

// True if it is in the queue; false: there is no room, and this is somebody who waits.
k::result<bool> message_inbox::try_put(message* m, const sending& how) noexcept {
    bool wake;
    {
        lwkt::spin_guard guard(lock_);
        if (!takes_more_) return k::error::pipe;
        if (used_ >= how.limit) {
            if (how.until == at_once) return k::error::again;
            writers_waiting_++;
            return false;
        }
        (last_ ? last_->next : first_) = m;
        last_ = m;
        used_ += m->cost();
        wake = readers_waiting_ != 0;
    }
    if (wake) readable_.wake_all();
    watch_.notify(poll_can_read);
    return true;
}

k::result<k::u64> message_inbox::send(xio::source& from, sending& how) noexcept {
    const k::u64 bytes = from.size();
    // Users may not take the kernel's last pages.
    if (!vm::user_pages_left(1 + (bytes >> arch::page_shift))) return k::error::nomem;
    message_hold m(allocate(bytes));
    if (!m.get()) return k::error::nomem;
    TRY(fill(*m.get(), from));
    if (how.from) m->from = how.from->share();
    if (how.with) m->with = std::move(*how.with);
    while (!TRY(try_put(m.get(), how))) {
        const k::status woken = proc::sleep(
            writable_,
            [&] {
                lwkt::spin_guard guard(lock_);
                return !takes_more_ || used_ < how.limit;
            },
            how.until);
        lwkt::spin_guard guard(lock_);
        writers_waiting_--;
        if (!woken) return woken.error() == k::error::timedout ? k::error::again : woken.error();
    }
    (void)m.release();
    return bytes;
}

// Null: nothing more will come.
k::result<message*> message_inbox::begin_receive(ktime::ns until) noexcept {
    for (;;) {
        {
            lwkt::spin_guard guard(lock_);
            if (!reading_) {
                if (first_) {
                    reading_ = true;
                    return first_;
                }
                if (!has_writer_) return nullptr;
                if (until == at_once) return k::error::again;
            }
            readers_waiting_++;
        }
        const k::status woken = proc::sleep(
            readable_,
            [&] {
                lwkt::spin_guard guard(lock_);
                return !reading_ && (first_ || !has_writer_ || until == at_once);
            },
            until == at_once ? ktime::forever : until);
        lwkt::spin_guard guard(lock_);
        readers_waiting_--;
        if (!woken) return woken.error() == k::error::timedout ? k::error::again : woken.error();
    }
}

void message_inbox::end_receive(message_hold& taken, bool take) noexcept {
    bool wake_readers, wake_writers = false, has_room = false;
    {
        lwkt::spin_guard guard(lock_);
        if (take) {
            message* m = first_;
            first_ = m->next;
            if (!first_) last_ = nullptr;
            m->next = nullptr;
            taken.add(m);
            const bool had_room = has_room_locked();
            used_ -= m->cost();
            has_room = !had_room && has_room_locked();
            wake_writers = writers_waiting_ != 0;
        }
        reading_ = false;
        wake_readers = readers_waiting_ != 0;
    }
    if (wake_readers) readable_.wake_all();
    if (wake_writers) writable_.wake_all();
    if (has_room) owner_.tell_senders_of_room();
}

k::result<received> message_inbox::receive(xio::sink& to, receiving& how) noexcept {
    message* m = TRY(begin_receive(how.until));
    if (!m) return received{};
    received got{.message = m->bytes, .from = m->from.share()};
    const xio::moved moved = move_out(*m, to);
    got.bytes = moved.bytes;
    if (moved.status) how.unload(m->with);
    message_hold gone;
    end_receive(gone, !how.peek);
    if (!moved.status) return moved.status.error();
    return got;
}

void message_inbox::end(bool takes_no_more, bool drop) noexcept {
    message_hold gone;
    {
        lwkt::spin_guard guard(lock_);
        has_writer_ = false;
        if (takes_no_more) takes_more_ = false;
        if (drop) {
            while (message* m = first_) {
                first_ = m->next;
                gone.add(m);
            }
            last_ = nullptr;
            used_ = 0;
        }
    }
    readable_.wake_all();
    writable_.wake_all();
    watch_.notify(poll_hangup | poll_read_hangup | poll_can_read);
}

} // namespace

mem::box<unix_inbox> make_message_inbox(unix_socket& owner, pollable& watch) noexcept {
    return mem::box<unix_inbox>(mem::make<message_inbox>(owner, watch));
}

} // namespace files
