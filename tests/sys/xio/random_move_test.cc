// Random operations that move bytes, and those that turn borrowers into writers and back.
#include "tests/sys/xio/program.h"

namespace xio_model {

// Piece against piece, each as if through a buffer: so it is defined where the two share pages.
void program::copy() {
    auto from = choose<xio::source>();
    auto to = choose<xio::sink>();
    const auto done = xio::copy(from.real, to.real);
    EXPECT_EQ(bool(done), from.model.bytes <= to.model.bytes);
    if (!done) {
        EXPECT(done.error() == k::error::inval);
        return;
    }
    copied_[unsigned(xio::reason::asked)] += from.model.bytes;
    piece in[max_pieces], out[max_pieces];
    u32 ins = 0, outs = 0, i = 0, o = 0;
    for_each_piece(from.model, [&](piece p) { in[ins++] = p; });
    for_each_piece(to.model, [&](piece p) { out[outs++] = p; });
    for (u32 left = from.model.bytes; left;) {
        const u32 part = std::min(in[i].bytes, out[o].bytes);
        std::memcpy(other_.data(), memory_.bytes + in[i].at, part);
        std::memcpy(memory_.bytes + out[o].at, other_.data(), part);
        left -= part;
        in[i] = {in[i].at + part, in[i].bytes - part};
        out[o] = {out[o].at + part, out[o].bytes - part};
        i += !in[i].bytes;
        o += !out[o].bytes;
    }
    check_written(to.model);
}

void program::read() {
    auto from = choose<xio::source>();
    const u32 offset = length_up_to(from.model.bytes + 1);
    const u32 bytes = std::min(length_up_to(from.model.bytes + 1), max_list_bytes);
    const bool inside = offset + bytes <= from.model.bytes;
    std::memset(scratch_.data(), 0x3c, bytes);
    const auto done = from.real.read(offset, scratch_.first(bytes));
    EXPECT_EQ(bool(done), inside);
    if (!inside) {
        EXPECT(support::all_bytes_are(scratch_.first(bytes), 0x3c));
        return;
    }
    copied_[unsigned(xio::reason::kernel_read)] += bytes;
    if (bytes) gather({from.model.of, from.model.offset + offset, bytes}, other_.data());
    EXPECT(support::same_bytes(scratch_.first(bytes), other_.first(bytes)));
}

void program::write() {
    auto to = choose<xio::sink>();
    const u32 offset = length_up_to(to.model.bytes + 1);
    const u32 bytes = std::min(length_up_to(to.model.bytes + 1), max_list_bytes);
    const bool inside = offset + bytes <= to.model.bytes;
    support::fill_pattern(scratch_.first(bytes), below(1000));
    const auto done = to.real.write(offset, scratch_.first(bytes));
    EXPECT_EQ(bool(done), inside);
    if (inside) copied_[unsigned(xio::reason::kernel_write)] += bytes;
    if (inside && bytes) spread({to.model.of, to.model.offset + offset, bytes}, scratch_.data());
    check_written(to.model);
}

void program::zero() {
    auto to = choose<xio::sink>();
    const u32 offset = length_up_to(to.model.bytes + 1), bytes = length_up_to(to.model.bytes + 1);
    const bool inside = offset + bytes <= to.model.bytes;
    const auto done = to.real.zero(offset, bytes);
    EXPECT_EQ(bool(done), inside);
    if (inside && bytes)
        for_each_piece({to.model.of, to.model.offset + offset, bytes},
                       [this](piece p) { std::memset(memory_.bytes + p.at, 0, p.bytes); });
    check_written(to.model);
}

void program::become_sink() {
    auto from = choose<xio::source>();
    list* l = from.model.of;
    bool sole = !l || l->holders == 1;
    for (u32 i = 0; l && i < l->count; i++)
        for (u32 f = l->pieces[i].first_frame(); f < l->pieces[i].end_frame(); f++) {
            const frame& head = memory_.frame_of[memory_.frame_of[f].head];
            sole = sole && f >= pool_frames && head.pins[0] == 1 && !head.pins[1];
        }
    auto made = from.real.into_sole_sink();
    EXPECT_EQ(bool(made), sole);
    if (!made) {
        EXPECT(made.error() == k::error::busy);
        return;
    }
    EXPECT(from.real.empty());
    if (l) {
        hold(*l, -1);
        l->kind = pin_kind::sink;
        hold(*l, 1);
    }
    put(std::move(made).value(), std::exchange(from.model, slice()));
}

void program::become_source() {
    auto from = choose<xio::sink>();
    list* l = from.model.of;
    bool only = !l || l->holders == 1;
    for (u32 i = 0; l && i < l->count; i++)
        for (u32 f = l->pieces[i].first_frame(); f < l->pieces[i].end_frame(); f++)
            only = only && memory_.frame_of[memory_.frame_of[f].head].pins[1] == 1;
    arm();
    auto made = from.real.into_source();
    const bool no_memory = armed_ && mem::fault_injection::fired();
    if (!only || no_memory) {
        disarm();
        EXPECT(!made && made.error() == (only ? k::error::nomem : k::error::busy));
        return;
    }
    list& planned = new_list(pin_kind::source, l ? l->promise : xio::stability::stable, l ? l->payer : 0);
    if (l) add_pieces(planned, from.model);
    EXPECT(from.real.empty());
    slice old = std::exchange(from.model, slice());
    settle(std::move(made), planned); // its pins come first, so that no frame is free in between
    release(old);
}

} // namespace xio_model
