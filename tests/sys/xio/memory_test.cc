// Without memory: whole scenarios with each of their allocations failing in turn. Nothing stays behind, and
// nobody gets half of anything.
#include "kernel/mem/fault_injection.h"
#include "kernel/selftest/selftest.h"
#include "sys/xio/view.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

using vm::hold;
using xio::sink;
using xio::source;
namespace fault_injection = mem::fault_injection;

namespace {

constexpr k::u64 page = xio::platform::page_size;
constexpr unsigned many_places = 140; // a list of several chained blocks

// Pages that the scenarios lend.
struct stage {
    support::page_set<3> pages;
    vm::page* places[many_places];
    std::byte bytes[64] = {};

    [[nodiscard]] bool set_up() {
        if (!pages.allocate()) return false;
        for (unsigned i = 0; i < many_places; i++)
            places[i] = pages[i % 3];
        return true;
    }
    bool nothing_is_lent() const {
        for (vm::page* p : pages.span())
            if (!p->holds.only(hold::reference)) return false;
        return true;
    }
};

// Runs it without memory at the first allocation, the second, ... until it gets through. Says how many fell.
template <class Scenario> unsigned fail_each(Scenario scenario) {
    auto s = mem::make_box<stage>();
    if (!s || !s->set_up()) {
        EXPECT(!"memory for the stage");
        return 0;
    }
    for (unsigned n = 1;; n++) {
        const k::u64 objects = mem::objects_in_use();
        fault_injection::fail_nth(n);
        const k::status done = scenario(*s);
        const bool fired = fault_injection::fired();
        fault_injection::fail_nth(0);
        EXPECT(s->nothing_is_lent());
        EXPECT_EQ(mem::objects_in_use(), objects);
        if (!fired) {
            EXPECT(done);
            return n - 1;
        }
        EXPECT(!done && done.error() == k::error::nomem);
        if (selftest::failed()) return n;
    }
}

} // namespace

SELFTEST(xio, no_memory_while_a_list_is_built) {
    const unsigned fell = fail_each([](stage& s) -> k::status {
        TRY(source::over_pages(s.places, 0, many_places * page));
        TRY(sink::over_pages(s.places, 5, 10 * page));
        TRY(source::over_kernel(s.bytes));
        return {};
    });
    EXPECT(fell >= 6); // lists and chained blocks
}

SELFTEST(xio, no_memory_while_bytes_are_copied_into_fresh_pages) {
    const unsigned fell = fail_each([](stage& s) -> k::status {
        TRY(source::copy_of({static_cast<std::byte*>(vm::direct(s.pages[0])), page}));
        TRY(sink::fresh(9 * page + 1));
        return {};
    });
    EXPECT(fell >= 2 + 12); // a page and a list; ten pages, a list and a chained block
}

SELFTEST(xio, no_memory_while_lists_are_joined) {
    const unsigned fell = fail_each([](stage& s) -> k::status {
        const source front = TRY(source::over_pages(s.places, 0, 4 * page));
        const source back = TRY(source::over_pages(s.places, 0, 70 * page));
        const source both = TRY(source::append(front, back));
        const source twice = TRY(source::append(both, both));
        return twice.size() == 148 * page ? k::status() : k::error::io;
    });
    EXPECT(fell >= 9);
}

SELFTEST(xio, no_memory_while_a_sink_becomes_a_source_leaves_the_sink) {
    const unsigned fell = fail_each([](stage&) -> k::status {
        sink to = TRY(sink::fresh(6 * page));
        TRY(to.zero(0, 6 * page));
        auto done = to.into_source();
        if (!done) {
            EXPECT_EQ(to.size(), 6 * page);
            EXPECT(to.write_value<k::u64>(5 * page, 1));
            return done.error();
        }
        EXPECT(to.empty());
        sink again = TRY(done->into_sole_sink());
        return again.size() == 6 * page ? k::status() : k::error::io;
    });
    EXPECT(fell >= 10);
}

SELFTEST(xio, no_memory_for_a_window) {
    const unsigned fell = fail_each([](stage& s) -> k::status {
        const source from = TRY(source::over_pages(s.places, 0, many_places * page));
        const auto reading = TRY(xio::source_view::map(from));
        sink to = TRY(sink::over_pages(s.places, 1, 3 * page));
        const auto filling = TRY(xio::sink_view::map(to));
        return reading.bytes().size() == many_places * page ? k::status() : k::error::io;
    });
    EXPECT(fell >= 6);
}

SELFTEST(xio, a_refused_build_is_in_the_books) {
    support::page_set<1> pages;
    REQUIRE(pages.allocate());
    constexpr auto refused = unsigned(xio::happening::build_refused), built = unsigned(xio::happening::built);
    const xio::ledger before = xio::read_ledger();
    for (unsigned attempt = 0; attempt < 3; attempt++) {
        fault_injection::fail_nth(1);
        const bool made = attempt == 0   ? bool(source::over_run(pages[0], 0, 1))
                          : attempt == 1 ? bool(sink::fresh(1))
                                         : bool(source::copy_of(std::as_bytes(std::span("x"))));
        EXPECT(!made);
    }
    const xio::ledger after = xio::read_ledger();
    EXPECT_EQ(after.count[refused] - before.count[refused], 3u);
    EXPECT_EQ(after.count[built], before.count[built]);
}
