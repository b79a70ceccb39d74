// What an xio must be like, too simple to be wrong: lists of pieces of a byte array, pins as plain numbers.
//
// The model's frames stand for pages of the machine. The first ones are a pool that all lists share, in order of
// their addresses, so that neighbours in memory are neighbours here; the others stand for pages that a list has
// alone (copies, fresh sinks).
#pragma once

#include "kernel/selftest/selftest.h"
#include "sys/xio/xio.h"

#include <algorithm>
#include <cstring>

namespace xio_model {

using k::u32;
using k::u64;
using xio::pin_kind;

constexpr u32 page = xio::platform::page_size;
constexpr u32 pool_frames = 20, own_frames = 60, frames = pool_frames + own_frames;
constexpr u32 max_pieces = 24;

constexpr unsigned index(pin_kind kind) {
    return kind == pin_kind::source ? 0 : 1;
}

struct frame {
    vm::page* real = nullptr; // null: a frame of one's own that is free
    u32 head = 0;             // the frame that counts the pins of its block
    u32 pins[2] = {};         // of sources and of sinks
};

// Bytes at a place in the array. May reach over several frames if those are neighbours in memory.
struct piece {
    u32 at;
    u32 bytes;

    u32 first_frame() const { return at / page; }
    u32 end_frame() const { return (at + bytes + page - 1) / page; }
};

struct list {
    u32 holders = 0; // 0: free
    pin_kind kind{};
    xio::stability promise{};
    unsigned payer = 0;
    u32 count = 0;
    piece pieces[max_pieces];

    void add(piece p) {
        if (p.bytes) pieces[count++] = p;
    }
    u32 bytes() const {
        u32 sum = 0;
        for (u32 i = 0; i < count; i++)
            sum += pieces[i].bytes;
        return sum;
    }
    u32 pages() const {
        u32 sum = 0;
        for (u32 i = 0; i < count; i++)
            sum += pieces[i].end_frame() - pieces[i].first_frame();
        return sum;
    }
};

// A handle: a part of a list.
struct slice {
    list* of = nullptr;
    u32 offset = 0;
    u32 bytes = 0;
};

class memory {
  public:
    std::byte bytes[frames * page];
    frame frame_of[frames];

    bool neighbours(u32 f) const { return frame_of[f].real + 1 == frame_of[f + 1].real; }
    vm::page* head(u32 f) const { return frame_of[frame_of[f].head].real; }

    // A frame of one's own that stands for this page.
    u32 adopt(vm::page* real) {
        u32 f = pool_frames;
        while (frame_of[f].real)
            f++;
        frame_of[f] = {real, f, {}};
        return f;
    }
    u32 own_free() const {
        u32 count = 0;
        for (u32 f = pool_frames; f < frames; f++)
            count += !frame_of[f].real;
        return count;
    }

    // Adds or takes away a list's pins: one for each block that a piece touches.
    void pin(const list& l, int change) {
        for (u32 i = 0; i < l.count; i++)
            for (u32 f = l.pieces[i].first_frame(), end = l.pieces[i].end_frame(), last = frames; f < end; f++) {
                const u32 head = frame_of[f].head;
                if (head == last) continue;
                last = head;
                u32& pins = frame_of[head].pins[index(l.kind)];
                pins += static_cast<u32>(change);
            }
    }
    // Frames of one's own that nothing pins are free again.
    void release_unpinned() {
        for (u32 f = pool_frames; f < frames; f++)
            if (!frame_of[f].pins[0] && !frame_of[f].pins[1]) frame_of[f].real = nullptr;
    }

    // Do the machine's bytes of this frame look like the model's?
    bool same(u32 f) const { return std::memcmp(vm::direct(frame_of[f].real), bytes + f * page, page) == 0; }
};

// Calls visit(piece) for the pieces of a slice, cut to it.
template <class Visit> void for_each_piece(const slice& s, Visit visit) {
    u32 skip = s.offset, left = s.bytes;
    for (u32 i = 0; left; i++) {
        piece p = s.of->pieces[i];
        if (skip >= p.bytes) {
            skip -= p.bytes;
            continue;
        }
        p = {p.at + skip, std::min(p.bytes - skip, left)};
        skip = 0;
        left -= p.bytes;
        visit(p);
    }
}

// A list's worth of pieces of a slice.
inline void add_pieces(list& to, const slice& s) {
    for_each_piece(s, [&to](piece p) { to.add(p); });
}
inline u32 count_pieces(const slice& s) {
    u32 count = 0;
    for_each_piece(s, [&count](piece) { count++; });
    return count;
}

} // namespace xio_model
