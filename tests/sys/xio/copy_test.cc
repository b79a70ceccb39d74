// Copying, comparing and summing bytes, with any alignments and with shared pages; the ledger knows it all.
#include "kernel/selftest/selftest.h"
#include "sys/xio/checksum.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

#include <string_view>

using xio::reason;
using xio::sink;
using xio::source;

namespace {

constexpr k::u64 page = xio::platform::page_size;

k::result<source> text(std::string_view bytes) {
    return source::copy_of(std::as_bytes(std::span(bytes)));
}

} // namespace

SELFTEST(xio, copies_with_any_alignment) {
    support::page_set<3> from_pages, to_pages;
    support::buffer expected(3 * page);
    REQUIRE(from_pages.allocate() && to_pages.allocate() && expected);
    for (unsigned i = 0; i < 3; i++)
        support::fill_pattern({from_pages.data(i), page}, i);
    for (k::u64 in : {k::u64{0}, k::u64{1}, k::u64{7}, page - 1})
        for (k::u64 out : {k::u64{0}, k::u64{3}, k::u64{8}, page - 2})
            for (k::u64 bytes : {k::u64{0}, k::u64{1}, k::u64{9}, page, 2 * page}) {
                auto from = source::over_pages(from_pages.span(), in, bytes);
                auto to = sink::over_pages(to_pages.span(), out, bytes);
                REQUIRE(from && to);
                for (unsigned i = 0; i < 3; i++)
                    std::memset(to_pages.data(i), 0xee, page);
                std::memset(expected.data(), 0xee, 3 * page);
                for (k::u64 i = 0; i < bytes; i++)
                    expected.bytes()[out + i] = from_pages.data((in + i) / page)[(in + i) % page];
                const xio::ledger before = xio::read_ledger();
                REQUIRE(xio::copy(*from, *to));
                const xio::ledger after = xio::read_ledger();
                EXPECT_EQ(after.copied[unsigned(reason::asked)] - before.copied[unsigned(reason::asked)], bytes);
                for (unsigned i = 0; i < 3; i++)
                    EXPECT(support::same_bytes({to_pages.data(i), page}, expected.bytes().subspan(i * page, page)));
            }
}

SELFTEST(xio, a_copy_fits_or_is_refused) {
    support::page_set<2> pages;
    REQUIRE(pages.allocate());
    std::memset(pages.data(0), 0x11, page);
    auto from = source::over_run(pages[0], 0, 100);
    auto shorter = sink::over_run(pages[1], 0, 99), longer = sink::over_run(pages[1], 0, 200);
    REQUIRE(from && shorter && longer);
    const k::u64 copied = xio::read_ledger().copied_bytes();
    auto refused = xio::copy(*from, *shorter);
    EXPECT(!refused && refused.error() == k::error::inval);
    EXPECT_EQ(xio::read_ledger().copied_bytes(), copied);
    EXPECT(support::all_bytes_are({pages.data(1), page}, 0));
    EXPECT(xio::copy(*from, *longer));
    EXPECT(support::all_bytes_are({pages.data(1), 100}, 0x11));
    EXPECT(support::all_bytes_are({pages.data(1) + 100, page - 100}, 0));
}

SELFTEST(xio, a_copy_within_one_page_moves_as_if_through_a_buffer) {
    support::page_set<1> pages;
    support::buffer expected(page);
    REQUIRE(pages.allocate() && expected);
    constexpr k::u64 places[] = {0, 1, 63, 1000};
    for (k::u64 in : places)
        for (k::u64 out : places) {
            support::fill_pattern({pages.data(0), page}, in + 2 * out);
            std::memcpy(expected.data(), pages.data(0), page);
            std::memcpy(expected.data() + out, pages.data(0) + in, 3000);
            auto from = source::over_run(pages[0], in, 3000);
            auto to = sink::over_run(pages[0], out, 3000);
            REQUIRE(from && to);
            REQUIRE(xio::copy(*from, *to));
            EXPECT(support::same_bytes({pages.data(0), page}, expected.bytes()));
        }
}

SELFTEST(xio, the_ledger_counts_by_reason) {
    support::page_set<1> pages;
    support::buffer bytes(100);
    REQUIRE(pages.allocate() && bytes);
    auto from = source::over_run(pages[0], 0, 100);
    auto to = sink::over_run(pages[0], 200, 100);
    REQUIRE(from && to);
    const xio::ledger before = xio::read_ledger();
    REQUIRE(from->read(0, bytes.first(30)));
    REQUIRE(to->write(0, bytes.first(40)));
    REQUIRE(xio::copy(*from, *to));
    REQUIRE(xio::copy(*from, *to, reason::pins_full));
    REQUIRE(to->zero(0, 100));
    EXPECT(xio::equal(*from, *from));
    (void)xio::crc32c(*from);
    (void)xio::internet_checksum(*from);
    const xio::ledger after = xio::read_ledger();
    auto difference = [&](reason why) { return after.copied[unsigned(why)] - before.copied[unsigned(why)]; };
    EXPECT_EQ(difference(reason::kernel_read), 30u);
    EXPECT_EQ(difference(reason::kernel_write), 40u);
    EXPECT_EQ(difference(reason::asked), 100u);
    EXPECT_EQ(difference(reason::pins_full), 100u);
    EXPECT_EQ(after.copied_bytes() - before.copied_bytes(), 270u);
}

SELFTEST(xio, zero_clears_its_range_alone) {
    support::page_set<3> pages;
    REQUIRE(pages.allocate());
    for (unsigned i = 0; i < 3; i++)
        std::memset(pages.data(i), 0xff, page);
    auto to = sink::over_pages(pages.span(), 0, 3 * page);
    REQUIRE(to && to->zero(page - 1, page + 2));
    EXPECT(support::all_bytes_are({pages.data(0), page - 1}, 0xff));
    EXPECT(pages.data(0)[page - 1] == std::byte{0});
    EXPECT(support::all_bytes_are({pages.data(1), page}, 0));
    EXPECT(pages.data(2)[0] == std::byte{0});
    EXPECT(support::all_bytes_are({pages.data(2) + 1, page - 1}, 0xff));
}

SELFTEST(xio, equal_means_length_and_bytes) {
    support::buffer bytes(2 * page);
    REQUIRE(bytes);
    support::fill_pattern(bytes.bytes(), 3);
    auto a = source::copy_of(bytes.bytes());
    auto b = source::over_kernel(bytes.bytes());
    REQUIRE(a && b);
    EXPECT(xio::equal(*a, *b) && xio::equal(*b, *a));
    for (k::u64 at : {k::u64{0}, page - 1, page, 2 * page - 1}) {
        *b = source();
        bytes.bytes()[at] ^= std::byte{0x80};
        auto changed = source::over_kernel(bytes.bytes());
        REQUIRE(changed);
        EXPECT(!xio::equal(*a, *changed));
        *changed = source();
        bytes.bytes()[at] ^= std::byte{0x80};
    }
    auto shorter = a->slice(0, 2 * page - 1);
    REQUIRE(shorter);
    EXPECT(!xio::equal(*a, *shorter));
}

SELFTEST(xio, crc32c_gives_the_values_of_rfc_3720) {
    std::byte bytes[32] = {};
    auto crc = [&bytes] {
        auto s = source::copy_of(bytes);
        return s ? xio::crc32c(*s) : 0;
    };
    EXPECT_EQ(crc(), 0x8a9136aau);
    std::memset(bytes, 0xff, 32);
    EXPECT_EQ(crc(), 0x62a8ab43u);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = std::byte(i);
    EXPECT_EQ(crc(), 0x46dd794eu);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = std::byte(31 - i);
    EXPECT_EQ(crc(), 0x113fdb5cu);
    auto digits = text("123456789");
    REQUIRE(digits);
    EXPECT_EQ(xio::crc32c(*digits), 0xe3069283u);
    EXPECT_EQ(xio::crc32c(source()), 0u);
}

SELFTEST(xio, crc32c_goes_on_from_what_came_before) {
    auto digits = text("123456789");
    REQUIRE(digits);
    for (k::u64 cut = 0; cut <= 9; cut++) {
        auto front = digits->slice(0, cut), back = digits->slice(cut, 9 - cut);
        REQUIRE(front && back);
        EXPECT_EQ(xio::crc32c(*back, xio::crc32c(*front)), 0xe3069283u);
    }
}

SELFTEST(xio, internet_checksum_gives_the_value_of_rfc_1071) {
    constexpr k::u8 example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    auto s = source::copy_of(std::as_bytes(std::span(example)));
    REQUIRE(s);
    EXPECT_EQ(xio::internet_checksum(*s), k::u16(~0xddf2));
    EXPECT_EQ(xio::internet_checksum(*s, 0x1234), k::u16(~0xf026));
    EXPECT_EQ(xio::internet_checksum(source()), 0xffffu);
    auto odd = s->slice(0, 3); // 00 01 f2 00
    REQUIRE(odd);
    EXPECT_EQ(xio::internet_checksum(*odd), k::u16(~0xf201));
}

SELFTEST(xio, internet_checksum_crosses_odd_pieces) {
    constexpr k::u8 example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    auto s = source::copy_of(std::as_bytes(std::span(example)));
    REQUIRE(s);
    for (k::u64 first = 0; first <= 8; first++)
        for (k::u64 second = first; second <= 8; second++) {
            auto a = s->slice(0, first), b = s->slice(first, second - first), c = s->slice(second, 8 - second);
            REQUIRE(a && b && c);
            auto front = source::append(*a, *b);
            REQUIRE(front);
            auto all = source::append(*front, *c);
            REQUIRE(all);
            EXPECT_EQ(xio::internet_checksum(*all), k::u16(~0xddf2));
        }
}
