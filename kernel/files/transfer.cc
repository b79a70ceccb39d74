#include "kernel/files/transfer.h"

#include "kernel/files/pipe.h"
#include "kernel/files/stored_file.h"
#include "kernel/files/unix_socket.h"
#include "kernel/files/xio_file.h"
#include "kernel/proc/current.h"
#include "sys/vm/reaper.h"

namespace files {

namespace {

constexpr k::u64 piece_bytes = 64 << 10;
constexpr k::u64 lent_bytes = 1 << 20;

enum whence : int { from_start, from_here };

// Where the next byte of an end is, and past so many of them.
k::result<k::u64> place_of(transfer_end& e) noexcept {
    if (e.offset) return *e.offset;
    return e.at.seek(0, from_here);
}
void advance(transfer_end& e, k::u64 bytes) noexcept {
    if (e.offset)
        *e.offset += bytes;
    else
        (void)e.at.seek(static_cast<k::i64>(bytes), from_here);
}

// From file to file, by sharing pages as far as they lie alike. EAGAIN: not at all.
k::result<k::u64> share(transfer_end& from, transfer_end& to, k::u64 most) noexcept {
    if (from.at.kind() != file_kind::stored || to.at.kind() != file_kind::stored) return k::error::again;
    const k::u64 at = TRY(place_of(from)), into = TRY(place_of(to));
    const k::u64 bytes = TRY(copy_between(from.at, at, to.at, into, most));
    advance(from, bytes);
    advance(to, bytes);
    return bytes;
}

// The next bytes of an xio.
k::result<xio::source> next_of_xio(transfer_end& from, k::u64 most) noexcept {
    xio::source piece = TRY(xio_of(from.at, TRY(place_of(from)), std::min(most, lent_bytes)));
    advance(from, piece.size());
    return piece;
}

// The next bytes of a stored file, lent. Empty at the end; EAGAIN: they must be read.
k::result<xio::source> lend_next(transfer_end& from, k::u64 most) noexcept {
    if (from.at.kind() != file_kind::stored || most < arch::page_size) return k::error::again;
    xio::source piece = TRY(lend_from(from.at, TRY(place_of(from)), std::min(most, lent_bytes)));
    advance(from, piece.size());
    return piece;
}

// The queue behind an end of a pipe or a stream socket, through which bytes pass as they are.
piece_queue* queue_to_read(file& f) noexcept {
    if (pipe* p = pipe_of(f)) return &p->queue;
    unix_socket* s = unix_socket_of(f);
    return s ? s->stream_in() : nullptr;
}
piece_queue* queue_to_write(file& f) noexcept {
    if (pipe* p = pipe_of(f)) return &p->queue;
    unix_socket* s = unix_socket_of(f);
    return s ? s->stream_out() : nullptr;
}

// The next bytes of a file, as pages. Empty at the end.
k::result<xio::source> next_piece(transfer_end& from, k::u64 most, bool nonblocking) noexcept {
    if (piece_queue* q = queue_to_read(from.at)) return q->take(most, nonblocking || from.at.nonblocking());
    if (from.at.kind() == file_kind::xio) return next_of_xio(from, most);
    if (auto lent = lend_next(from, most); lent || lent.error() != k::error::again) return lent;
    xio::sink room = TRY(xio::sink::fresh(std::min(most, piece_bytes)));
    const k::u64 bytes = TRY(from.offset ? from.at.read_at(room, *from.offset) : from.at.read(room));
    if (from.offset) *from.offset += bytes;
    if (!bytes) return xio::source();
    const xio::source filled = TRY(room.into_source());
    return filled.slice(0, bytes);
}

// May more be taken once something was? Others would wait for it, and the end of a terminal's input, once read, is
// gone.
bool goes_on(file& from) noexcept {
    return queue_to_read(from) || from.kind() == file_kind::stored || from.kind() == file_kind::xio;
}

// What could not be written goes back to where it came from.
void give_back(transfer_end& from, xio::source rest) noexcept {
    if (piece_queue* q = queue_to_read(from.at))
        q->give_back(std::move(rest));
    else if (from.offset)
        *from.offset -= rest.size();
    else
        (void)from.at.seek(-static_cast<k::i64>(rest.size()), 1);
}

// What waits in a write is found by no reaper, so a loan must not: into a queue it goes at once or not at all, and a
// device is given a copy.
k::result<k::u64> write_to(transfer_end& to, xio::source& piece, bool nonblocking) noexcept {
    if (piece_queue* into = queue_to_write(to.at)) return into->write(piece, patience(nonblocking));
    if (to.at.kind() != file_kind::stored) piece = TRY(vm::without_loan(piece));
    return to.offset ? to.at.write_at(piece, *to.offset) : to.at.write(piece);
}

} // namespace

k::result<k::u64> transfer(transfer_end& from, transfer_end& to, k::u64 most, bool nonblocking) noexcept {
    k::u64 done = 0;
    if (auto shared = share(from, to, most)) done = *shared;
    while (done < most) {
        // A long way, perhaps: others want the CPU too, and a signal ends it.
        if (done) {
            if (proc::interrupted()) break;
            lwkt::yield();
        }
        auto piece = next_piece(from, most - done, nonblocking || done);
        if (!piece) {
            if (done) break;
            return piece.error();
        }
        if (piece->empty()) break;
        piece_queue* into = queue_to_write(to.at);
        const bool waits = into && queue_to_read(from.at) && !nonblocking && !to.at.nonblocking();
        const piece_queue::demand needed = waits ? piece_queue::demand_of(*piece) : piece_queue::demand{};
        auto written = write_to(to, *piece, waits || nonblocking || to.at.nonblocking());
        const k::u64 bytes = written ? *written : 0;
        if (to.offset) *to.offset += bytes;
        done += bytes;
        if (bytes == piece->size()) {
            if (goes_on(from.at)) continue;
            break;
        }
        (void)piece->split_front(bytes);
        give_back(from, std::move(*piece));
        if (!written && written.error() == k::error::again && waits && !done) {
            TRY(into->wait_for_room(needed));
            continue;
        }
        if (!written && !done) return written.error();
        break;
    }
    return done;
}

} // namespace files
