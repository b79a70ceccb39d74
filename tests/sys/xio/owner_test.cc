// From borrower to writer and back: only where nobody else can see the bytes.
#include "kernel/selftest/selftest.h"
#include "sys/xio/checksum.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

using vm::hold;
using xio::sink;
using xio::source;

namespace {

constexpr k::u64 page = xio::platform::page_size;

// Refused, and the source is as it was.
void expect_busy(source& s) {
    const k::u64 size = s.size();
    const k::u32 sum = xio::crc32c(s);
    auto refused = s.into_sole_sink();
    EXPECT(!refused && refused.error() == k::error::busy);
    EXPECT_EQ(s.size(), size);
    EXPECT_EQ(xio::crc32c(s), sum);
}

} // namespace

SELFTEST(xio, a_sole_owner_becomes_a_writer) {
    support::buffer bytes(3 * page);
    REQUIRE(bytes);
    support::fill_pattern(bytes.bytes(), 4);
    xio::payer payer;
    auto owned = source::copy_of(bytes.bytes(), {payer});
    REQUIRE(owned);
    const k::u64 copied = xio::read_ledger().copied_bytes();
    auto writer = owned->into_sole_sink();
    REQUIRE(writer);
    EXPECT_EQ(xio::read_ledger().copied_bytes(), copied);
    EXPECT(owned->empty());
    EXPECT_EQ(writer->size(), 3 * page);
    EXPECT_EQ(payer.source_pages(), 0u);
    EXPECT_EQ(payer.sink_pages(), 3u);
    REQUIRE(writer->write_value<k::u32>(page - 2, 0xaabbccdd));
    auto again = writer->into_source();
    REQUIRE(again);
    EXPECT(writer->empty());
    EXPECT_EQ(payer.source_pages(), 3u);
    EXPECT_EQ(payer.sink_pages(), 0u);
    EXPECT_EQ(again->read_value<k::u32>(page - 2).value_or(0), 0xaabbccddu);
    support::buffer out(page);
    REQUIRE(out && again->read(2 * page, out.bytes()));
    EXPECT(support::same_bytes(out.bytes(), bytes.bytes().subspan(2 * page)));
}

SELFTEST(xio, a_slice_whose_list_has_no_other_holder_becomes_a_writer_of_the_slice) {
    auto owned = source::copy_of(std::as_bytes(std::span("abcdefgh", 8)));
    REQUIRE(owned);
    auto slice = owned->slice(2, 3);
    REQUIRE(slice);
    expect_busy(*slice);
    *owned = source();
    auto writer = slice->into_sole_sink();
    REQUIRE(writer);
    EXPECT_EQ(writer->size(), 3u);
    EXPECT(!writer->write_value<k::u32>(0, 0));
    REQUIRE(writer->write(0, std::as_bytes(std::span("XYZ", 3))));
    auto seen = writer->into_source();
    REQUIRE(seen);
    char text[3];
    REQUIRE(seen->read(0, std::as_writable_bytes(std::span(text))));
    EXPECT(std::string_view(text, 3) == "XYZ");
}

SELFTEST(xio, nobody_becomes_a_writer_while_a_clone_exists) {
    support::buffer bytes(100);
    REQUIRE(bytes);
    auto owned = source::copy_of(bytes.bytes());
    REQUIRE(owned);
    source clone = owned->clone();
    expect_busy(*owned);
    expect_busy(clone);
    clone = source();
    EXPECT(owned->into_sole_sink());
}

SELFTEST(xio, nobody_becomes_a_writer_while_the_page_has_an_owner) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    auto lent = source::over_pages(pages.span(), 0, 2 * page);
    REQUIRE(lent);
    expect_busy(*lent);
    pages.drop_all();
    EXPECT(lent->into_sole_sink());
}

SELFTEST(xio, nobody_becomes_a_writer_while_another_pin_exists) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    auto first = source::over_pages(pages.span(), 0, 2 * page);
    auto second = source::over_run(pages[1], 100, 1);
    auto filler = sink::over_run(pages[0], 100, 1);
    REQUIRE(first && second && filler);
    pages.drop_all();
    expect_busy(*first);
    *second = source();
    expect_busy(*first);
    *filler = sink();
    EXPECT(first->into_sole_sink());
}

SELFTEST(xio, nobody_becomes_a_writer_while_a_page_is_wired) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    auto lent = source::over_run(pages[0], 0, page);
    REQUIRE(lent);
    vm::page* p = pages[0];
    REQUIRE(p->holds.try_add(hold::wire));
    pages.drop_all();
    expect_busy(*lent);
    vm::drop(p, hold::wire);
    EXPECT(lent->into_sole_sink());
}

SELFTEST(xio, a_page_that_stands_twice_in_its_list_has_no_sole_owner) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    vm::page* const twice[] = {pages[0], pages[0]};
    auto lent = source::over_pages(twice, 0, 2 * page);
    auto filled = sink::over_pages(twice, 0, 2 * page);
    REQUIRE(lent && filled);
    auto done = filled->into_source();
    EXPECT(!done && done.error() == k::error::busy);
    EXPECT_EQ(filled->size(), 2 * page);
    *filled = sink();
    pages.drop_all();
    expect_busy(*lent);
}

SELFTEST(xio, filled_bytes_become_a_source_only_of_the_only_filler) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    auto first = sink::over_pages(pages.span(), 0, 2 * page);
    auto second = sink::over_run(pages[1], 0, 1);
    REQUIRE(first && second);
    auto refused = first->into_source();
    EXPECT(!refused && refused.error() == k::error::busy);
    EXPECT_EQ(first->size(), 2 * page);
    *second = sink();
    sink clone = first->clone();
    auto still_refused = first->into_source();
    EXPECT(!still_refused && still_refused.error() == k::error::busy);
    clone = sink();
    auto reader = source::over_run(pages[0], 0, page); // who reads does not matter
    REQUIRE(reader && first->write_value<k::u64>(page - 4, 0x0102030405060708));
    auto done = first->into_source();
    REQUIRE(done);
    EXPECT(first->empty());
    EXPECT_EQ(pages[0]->holds.count(hold::sink_pin), 0u);
    EXPECT_EQ(pages[0]->holds.count(hold::source_pin), 2u);
    EXPECT_EQ(done->read_value<k::u64>(page - 4).value_or(0), 0x0102030405060708u);
}

SELFTEST(xio, a_part_of_a_filled_list_becomes_a_source_of_that_part) {
    auto filled = sink::fresh(3 * page);
    REQUIRE(filled);
    REQUIRE(filled->zero(0, 3 * page));
    auto part = filled->slice(page + 1, 10);
    REQUIRE(part);
    *filled = sink();
    REQUIRE(part->write_value<k::u16>(8, 0x4142));
    auto done = part->into_source();
    REQUIRE(done);
    EXPECT_EQ(done->size(), 10u);
    EXPECT_EQ(done->read_value<k::u16>(8).value_or(0), 0x4142u);
    EXPECT(!done->read_value<k::u16>(9));
}

SELFTEST(xio, nothing_becomes_nothing) {
    source none;
    sink nowhere;
    auto writer = none.into_sole_sink();
    auto reader = nowhere.into_source();
    REQUIRE(writer && reader);
    EXPECT(writer->empty() && reader->empty());
}
