#include "kernel/files/pty_priv.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"

#include <cstring>

namespace files {

namespace {

constexpr std::size_t chunk = 256; // what is moved at once

// The pairs by number. One that is not `named` any more is looked for no more, but keeps its number.
struct {
    lwkt::spinlock lock;
    pty* of[most_ptys] GUARDED_BY(lock) = {};
    bool taken[most_ptys] GUARDED_BY(lock) = {};
} table;

k::result<unsigned> take_number() noexcept {
    lwkt::spin_guard guard(table.lock);
    for (unsigned i = 0; i < most_ptys; i++)
        if (!std::exchange(table.taken[i], true)) return i;
    return k::error::nospc;
}

void set_name(unsigned number, pty* of) noexcept {
    lwkt::spin_guard guard(table.lock);
    table.of[number] = of;
}

void give_number_back(unsigned number) noexcept {
    lwkt::spin_guard guard(table.lock);
    table.taken[number] = false;
}

} // namespace

k::ref<pty> find_pty(unsigned number) noexcept {
    if (number >= most_ptys) return {};
    lwkt::spin_guard guard(table.lock);
    pty* there = table.of[number];
    return there ? k::ref<pty>::to_living(*there) : k::ref<pty>();
}

unsigned next_pty(unsigned number) noexcept {
    lwkt::spin_guard guard(table.lock);
    while (number < most_ptys && !table.of[number])
        number++;
    return number;
}

// --- Its life

pty::pty(unsigned index) noexcept : number(index), tty(*this, device_number(136, index), {}) {}

k::result<k::ref<pty>> pty::create(k::u32 uid) noexcept {
    const unsigned number = TRY(take_number());
    auto* made = mem::make<pty>(number);
    if (!made) {
        give_number_back(number);
        return k::error::nomem;
    }
    k::ref<pty> held(made);
    made->node_ = TRY(make_pty_node(number, uid));
    set_name(number, made);
    return held;
}

void pty::last_holder_left() noexcept {
    const unsigned was = number;
    set_name(was, nullptr);
    mem::destroy(this);
    give_number_back(was);
}

void pty::master_left() noexcept {
    set_name(number, nullptr);
    tty.hang_up();
}

// --- The slave's side

void pty::show(std::string_view bytes) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        for (char c : bytes) {
            if (head_ - tail_ == capacity) break; // echo that nobody reads
            ring_[head_++ % capacity] = c;
        }
    }
    readers_.wake_all();
    watched_.notify(poll_can_read);
}

bool pty::has_room() noexcept {
    lwkt::spin_guard guard(lock_);
    return capacity - (head_ - tail_) >= room_for_a_write;
}

void pty::drop_output() noexcept {
    {
        lwkt::spin_guard guard(lock_);
        tail_ = head_;
    }
    happened(packet_output_dropped);
    tty.has_room_again();
}

void pty::happened(k::u8 events) noexcept {
    constexpr k::u8 pairs[][2] = {{packet_stopped, packet_started}, {packet_no_flow, packet_flow}};
    {
        lwkt::spin_guard guard(lock_);
        if (!packets_) return;
        for (const auto& pair : pairs) // the later one counts
            if (events & (pair[0] | pair[1])) events_ &= static_cast<k::u8>(~(pair[0] | pair[1]));
        events_ |= events;
    }
    readers_.wake_all();
    watched_.notify(poll_can_read | poll_priority);
}

void pty::set_packets(bool on) noexcept {
    lwkt::spin_guard guard(lock_);
    packets_ = on;
    events_ = 0;
}

bool pty::has_packets() noexcept {
    lwkt::spin_guard guard(lock_);
    return packets_;
}

k::u8 pty::take_events() noexcept {
    lwkt::spin_guard guard(lock_);
    return std::exchange(events_, 0);
}

void pty::input_taken() noexcept {
    writers_.wake_all();
    watched_.notify(poll_can_write);
}

void pty::opened() noexcept {
    hold();
    lwkt::spin_guard guard(lock_);
    slaves_++;
    was_opened_ = true;
}

void pty::closed() noexcept {
    bool last;
    {
        lwkt::spin_guard guard(lock_);
        last = --slaves_ == 0;
    }
    if (last) {
        readers_.wake_all();
        writers_.wake_all();
        watched_.notify(poll_hangup);
    }
    let_go();
}

// --- The master's side

bool pty::can_read() noexcept {
    lwkt::spin_guard guard(lock_);
    return head_ != tail_ || events_ || is_abandoned_locked();
}

bool pty::can_write() noexcept {
    if (!tty.must_wait(chunk)) return true;
    lwkt::spin_guard guard(lock_);
    return is_abandoned_locked();
}

k::u32 pty::bytes_to_read() noexcept {
    lwkt::spin_guard guard(lock_);
    return head_ - tail_;
}

k::u32 pty::ready() noexcept {
    const bool writable = !tty.must_wait(chunk);
    lwkt::spin_guard guard(lock_);
    return (head_ != tail_ || events_ ? poll_can_read : 0) | (events_ ? poll_priority : 0) |
           (writable ? poll_can_write : 0) | (is_abandoned_locked() ? poll_hangup : 0);
}

k::u32 pty::take(std::span<char> to) noexcept {
    lwkt::spin_guard guard(lock_);
    k::u32 count = 0;
    while (count < to.size() && tail_ != head_)
        to[count++] = ring_[tail_++ % capacity];
    return count;
}

k::result<k::u64> pty::read(xio::sink& to, bool nonblocking) noexcept {
    k::u64 done = 0, head = 0; // the zero that stands before bytes in packet mode
    while (done < to.size()) {
        char bytes[chunk];
        if (!done && has_packets()) {
            if (const k::u8 events = take_events()) {
                TRY(to.write_value(0, events));
                return 1;
            }
            if (bytes_to_read()) {
                TRY(to.write_value(0, k::u8{0}));
                done = head = 1;
                continue;
            }
        }
        const k::u32 count = take({bytes, std::min<k::u64>(chunk, to.size() - done)});
        if (count) {
            const xio::moved m = to.write_some(done, std::as_bytes(std::span(bytes, count)));
            done += m.bytes;
            if (m.status) continue;
            if (done == head) return m.status.error();
            break;
        }
        if (done) break;
        if (can_read()) {
            lwkt::spin_guard guard(lock_);
            if (head_ != tail_ || events_) continue;
            return k::error::io; // no slave is left
        }
        if (nonblocking) return k::error::again;
        TRY(proc::sleep(readers_, [&] { return can_read(); }));
    }
    if (done) tty.has_room_again();
    return done;
}

k::result<k::u64> pty::write(const xio::source& from, bool nonblocking) noexcept {
    k::u64 done = 0;
    while (done < from.size()) {
        if (!can_write()) {
            const k::status woken = nonblocking ? k::error::again : proc::sleep(writers_, [&] { return can_write(); });
            if (!woken) {
                if (done) break;
                return woken.error();
            }
        }
        if (done && proc::interrupted()) break;
        std::byte bytes[chunk];
        const xio::moved m = from.read_some(done, {bytes, std::min<k::u64>(chunk, from.size() - done)});
        tty.typed({reinterpret_cast<const char*>(bytes), m.bytes});
        done += m.bytes;
        if (m.status) continue;
        if (done) break;
        return m.status.error();
    }
    return done;
}

} // namespace files
