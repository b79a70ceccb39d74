// Random operations that only look: comparing, summing, segments, views. Each against a byte-wise model.
#include "sys/xio/checksum.h"
#include "sys/xio/segments.h"
#include "sys/xio/view.h"
#include "sys/xio/walk.h"
#include "tests/sys/xio/program.h"

namespace xio_model {

namespace {

u32 bitwise_crc32c(std::span<const std::byte> bytes, u32 before) {
    u32 state = ~before;
    for (std::byte b : bytes) {
        state ^= std::to_integer<u32>(b);
        for (int bit = 0; bit < 8; bit++)
            state = state & 1 ? state >> 1 ^ 0x82f63b78 : state >> 1;
    }
    return ~state;
}

k::u16 bytewise_internet_checksum(std::span<const std::byte> bytes, u32 before) {
    u64 sum = before;
    for (std::size_t i = 0; i < bytes.size(); i++)
        sum += i % 2 ? std::to_integer<u64>(bytes[i]) : std::to_integer<u64>(bytes[i]) << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<k::u16>(~sum);
}

// The segments of a slice, found byte by byte.
class segment_model {
  public:
    segment_model(const memory& m, const slice& s, const xio::segment_limits& limits) : memory_(m), limits_(limits) {
        for_each_piece(s, [this](piece p) { pieces_[count_++] = p; });
    }
    bool done() const { return at_ == count_; }
    xio::segment next() {
        xio::segment s{address(), 1};
        for (step(); !done() && !begins_another(s); step())
            s.bytes++;
        return s;
    }

  private:
    u64 address() const {
        const u32 at = pieces_[at_].at + used_;
        return vm::physical(memory_.frame_of[at / page].real) + at % page;
    }
    void step() {
        if (++used_ == pieces_[at_].bytes) at_++, used_ = 0;
    }
    bool begins_another(const xio::segment& s) const {
        return address() != s.address + s.bytes || (limits_.segment_bytes && s.bytes == limits_.segment_bytes) ||
               (limits_.boundary && address() % limits_.boundary == 0);
    }

    const memory& memory_;
    xio::segment_limits limits_;
    piece pieces_[max_pieces];
    u32 count_ = 0, at_ = 0, used_ = 0;
};

// Where a view of this slice must be: one piece is in the direct map; several need whole pages in the middle.
enum class place { nowhere, direct, window };
place place_of(const slice& s) {
    const u32 count = count_pieces(s);
    if (count <= 1) return place::direct;
    u32 i = 0;
    bool whole = true;
    for_each_piece(s, [&](piece p) {
        if (i != 0) whole = whole && p.at % page == 0;
        if (++i != count) whole = whole && (p.at + p.bytes) % page == 0;
    });
    return whole ? place::window : place::nowhere;
}

} // namespace

void program::compare() {
    auto a = choose<xio::source>(), b = choose<xio::source>();
    gather(a.model, scratch_.data());
    gather(b.model, other_.data());
    const bool same = support::same_bytes(scratch_.first(a.model.bytes), other_.first(b.model.bytes));
    EXPECT_EQ(xio::equal(a.real, b.real), same);
}

void program::checksum() {
    auto of = choose<xio::source>();
    gather(of.model, scratch_.data());
    const auto bytes = scratch_.first(of.model.bytes);
    const u32 before = below(2) ? below(u64{1} << 32) : 0;
    EXPECT_EQ(xio::crc32c(of.real, before), bitwise_crc32c(bytes, before));
    EXPECT_EQ(xio::internet_checksum(of.real, before), bytewise_internet_checksum(bytes, before));
}

void program::segments() {
    either([this]<class Handle>() {
        auto of = choose<Handle>();
        constexpr u64 lengths[] = {0, 1, 3, 512, page, 3 * page, 65536}, boundaries[] = {0, 0, 1, 512, page, 65536};
        xio::segment_limits limits{lengths[below(std::size(lengths))], 0, boundaries[below(std::size(boundaries))]};
        u64 count = 0;
        for (segment_model m(memory_, of.model, limits); !m.done(); m.next())
            count++;
        if (below(2) && count) limits.segments = count - 1 + below(3);
        const bool fits = !limits.segments || count <= limits.segments;
        segment_model expected(memory_, of.model, limits);
        u64 visits = 0, wrong = 0;
        const auto done = xio::for_each_segment(of.real, limits, [&](xio::segment seen) {
            visits++;
            if (expected.done()) return void(wrong++);
            const xio::segment s = expected.next();
            wrong += seen.address != s.address || seen.bytes != s.bytes;
        });
        EXPECT_EQ(bool(done), fits);
        EXPECT_EQ(wrong, 0u);
        EXPECT_EQ(visits, fits ? count : 0);
        if (!done) EXPECT(done.error() == k::error::toobig);
    });
}

// Whole pages that are taken together are those that are found one by one.
void program::whole_pages() {
    either([this]<class Handle>() {
        auto of = choose<Handle>();
        if (!of.real.size()) return;
        const u64 offset = below(of.real.size()), bytes = of.real.size() - offset;
        xio::walker single(of.real, offset, bytes), together(of.real, offset, bytes);
        vm::page* got[8];
        std::size_t most, there;
        do {
            most = 1 + below(std::size(got));
            there = together.take_pages({got, most});
            for (std::size_t i = 0; i < there; i++) {
                EXPECT(got[i] == single.whole_page());
                single.advance(page);
            }
            EXPECT_EQ(together.left(), single.left());
        } while (there == most);
        EXPECT(!single.left() || !single.whole_page());
    });
}

void program::view_source() {
    auto of = choose<xio::source>();
    const place where = place_of(of.model);
    arm();
    auto view = xio::source_view::map(of.real);
    if (disarm()) {
        EXPECT(!view && view.error() == k::error::nomem);
        return;
    }
    EXPECT_EQ(bool(view), where != place::nowhere);
    if (!view) {
        EXPECT(view.error() == k::error::opnotsupp);
        return;
    }
    gather(of.model, scratch_.data());
    EXPECT(support::same_bytes(view->bytes(), scratch_.first(of.model.bytes)));
    if (where == place::direct)
        for_each_piece(of.model, [&](piece p) {
            EXPECT(view->bytes().data() ==
                   static_cast<std::byte*>(vm::direct(memory_.frame_of[p.at / page].real)) + p.at % page);
        });
}

void program::view_sink() {
    auto of = choose<xio::sink>();
    const place where = place_of(of.model);
    arm();
    auto view = xio::sink_view::map(of.real);
    if (disarm()) {
        EXPECT(!view && view.error() == k::error::nomem);
        return;
    }
    EXPECT_EQ(bool(view), where != place::nowhere);
    if (!view) {
        EXPECT(view.error() == k::error::opnotsupp);
        return;
    }
    EXPECT_EQ(view->bytes().size(), of.model.bytes);
    if (!of.model.bytes) return;
    const u32 offset = below(of.model.bytes), bytes = below(of.model.bytes - offset) + 1;
    support::fill_pattern(scratch_.first(bytes), below(1000));
    // One after the other, for a page may be seen at several places of the view.
    for (u32 i = 0; i < bytes; i++)
        view->bytes()[offset + i] = scratch_.bytes()[i];
    spread({of.model.of, of.model.offset + offset, bytes}, scratch_.data());
    check_written(of.model);
}

} // namespace xio_model
