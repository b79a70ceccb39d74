#include "kernel/files/transfer.h"

#include "kernel/files/pipe.h"
#include "kernel/proc/current.h"

namespace files {

namespace {

constexpr k::u64 piece_bytes = 64 << 10;

// The next bytes of a file, as pages. Empty at the end.
k::result<xio::source> next_piece(transfer_end& from, k::u64 most, bool nonblocking) noexcept {
    if (pipe* p = pipe_of(from.at)) return p->take(most, nonblocking || from.at.nonblocking());
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
    return pipe_of(from) || from.kind() == file_kind::stored;
}

// What could not be written goes back to where it came from.
void give_back(transfer_end& from, xio::source rest) noexcept {
    if (pipe* p = pipe_of(from.at))
        p->give_back(std::move(rest));
    else if (from.offset)
        *from.offset -= rest.size();
    else
        (void)from.at.seek(-static_cast<k::i64>(rest.size()), 1);
}

} // namespace

k::result<k::u64> transfer(transfer_end& from, transfer_end& to, k::u64 most, bool nonblocking) noexcept {
    k::u64 done = 0;
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
        pipe* into = pipe_of(to.at);
        auto written = into        ? into->write(*piece, nonblocking || to.at.nonblocking())
                       : to.offset ? to.at.write_at(*piece, *to.offset)
                                   : to.at.write(*piece);
        const k::u64 bytes = written ? *written : 0;
        if (to.offset) *to.offset += bytes;
        done += bytes;
        if (bytes == piece->size()) {
            if (goes_on(from.at)) continue;
            break;
        }
        (void)piece->split_front(bytes);
        give_back(from, std::move(*piece));
        if (!written && !done) return written.error();
        break;
    }
    return done;
}

} // namespace files
