// Files' pages: which writes make them dirty, and what becomes of dirty ones.
#include "kernel/selftest/selftest.h"
#include "tests/support/lender.h"

using namespace tests;
using arch::page_size;

namespace {

constexpr k::u64 count = 8;

struct counting_pager final : vm::file_pager {
    k::result<vm::page_ref> page_in(k::u64) noexcept override {
        brought++;
        return vm::user_page(vm::fill::zeroed);
    }
    void object_gone() noexcept override { gone = true; }
    k::status reserve(k::u64, k::u64 pages) noexcept override {
        if (full) return k::error::nospc;
        dirty += pages;
        return {};
    }
    void charge(k::i64 pages) noexcept override { dirty += static_cast<k::u64>(pages); }

    unsigned brought = 0;
    k::u64 dirty = 0;
    bool full = false, gone = false;
};

// A file of which `what` is noted, with a shared mapping.
struct mapped_file {
    explicit mapped_file(vm::noting what) {
        auto made = vm::object::of_file(pager, count, what);
        auto space = vm::space::create();
        if (!made || !space) return;
        file = *std::move(made);
        s = *std::move(space);
        vm::map_request request{.bytes = count * page_size, .how = vm::sharing::shared};
        request.what = file.share();
        at = s->map(request).value_or(0);
    }
    bool store(k::u64 page, k::u8 value) {
        in_space here(*s);
        return s->copy_out(at + page * page_size, &value, 1) == 1;
    }
    bool write(k::u64 page, k::u8 value) {
        auto from = xio::source::copy_of(std::as_bytes(std::span(&value, 1)));
        return from && file->write(page * page_size, *from).bytes == 1;
    }
    int byte(k::u64 page) {
        k::u8 value = 0;
        in_space here(*s);
        return s->copy_in(&value, at + page * page_size, 1) == 1 ? value : -1;
    }

    counting_pager pager;
    k::ref<vm::object> file;
    k::ref<vm::space> s;
    vm::user_address at = 0;
};

} // namespace

SELFTEST(vm_file, only_stores_into_mappings_are_noted_where_that_is_wanted) {
    mapped_file f(vm::noting::mapped_writes), all(vm::noting::all_writes);
    REQUIRE(f.at && all.at);
    EXPECT(f.write(0, 1) && all.write(0, 1));
    EXPECT_EQ(f.pager.dirty, 0u);
    EXPECT_EQ(all.pager.dirty, 1u);
    EXPECT_EQ(f.byte(0), 1);
    EXPECT(f.store(0, 2) && f.store(3, 3));
    EXPECT_EQ(f.pager.dirty, 2u);
    EXPECT_EQ(f.file->next_dirty(0, count, true), 0u);
    EXPECT_EQ(f.file->next_dirty(1, count, true), 3u);
    EXPECT(f.write(3, 4)); // it stays so
    EXPECT_EQ(f.pager.dirty, 2u);
    EXPECT_EQ(f.byte(3), 4);
}

SELFTEST(vm_file, a_store_into_a_page_that_is_lent_makes_it_dirty_again) {
    mapped_file f(vm::noting::mapped_writes);
    REQUIRE(f.at);
    EXPECT(f.store(1, 1));
    f.file->clean(1, 1);
    auto lent = f.file->lend(page_size, page_size);
    REQUIRE(lent);
    EXPECT_EQ(f.pager.dirty, 0u);
    EXPECT(f.store(1, 2));
    EXPECT_EQ(f.pager.dirty, 1u);
    EXPECT_EQ(lent->read_value<k::u8>(0).value_or(0), 1);
    // Written to otherwise, a clean page takes no right from the mapping's next store to be noticed.
    f.file->clean(1, 1);
    *lent = xio::source();
    lent = f.file->lend(page_size, page_size);
    EXPECT(f.write(1, 3));
    EXPECT_EQ(f.pager.dirty, 0u);
    EXPECT(f.store(1, 4));
    EXPECT_EQ(f.pager.dirty, 1u);
}

SELFTEST(vm_file, dirty_pages_are_neither_forgotten_nor_replaced_by_what_is_brought) {
    mapped_file f(vm::noting::mapped_writes);
    REQUIRE(f.at);
    EXPECT(f.store(2, 5) && f.byte(4) == 0);
    const unsigned brought = f.pager.brought;
    f.file->forget(0, count);
    EXPECT_EQ(f.byte(2), 5);
    EXPECT_EQ(f.pager.brought, brought);
    auto old = xio::sink::fresh(2 * page_size);
    REQUIRE(old);
    auto bytes = old->into_source();
    REQUIRE(bytes);
    EXPECT_EQ(f.file->bring(2 * page_size, *bytes), 0u);
    EXPECT_EQ(f.byte(2), 5);
    EXPECT_EQ(f.file->bring(5 * page_size, *bytes), 2 * page_size);
    EXPECT(f.file->resize(2)); // cut off: nothing of it is dirty
    EXPECT_EQ(f.pager.dirty, 0u);
}

SELFTEST(vm_file, no_room_is_an_error_of_the_store_and_not_of_a_write) {
    mapped_file f(vm::noting::mapped_writes);
    REQUIRE(f.at);
    f.pager.full = true;
    EXPECT_EQ(f.byte(0), 0);
    EXPECT(!f.store(0, 1));
    EXPECT(f.write(0, 2));
    EXPECT_EQ(f.byte(0), 2);
    EXPECT_EQ(f.s->fault(f.at, arch::user_write).error(), k::error::nospc);
    f.pager.full = false;
    EXPECT(f.store(0, 3));
    EXPECT_EQ(f.byte(0), 3);
}
