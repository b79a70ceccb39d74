// The bytes of files against a vector of bytes.
#include "tests/support/bytes.h"
#include "tests/sys/vfs/world.h"

namespace {

using namespace vfs_test;
using arch::page_size;
using support::buffer;

k::result<k::u64> write_at(vfs::vnode& n, k::u64 offset, std::span<const std::byte> bytes, bool append = false,
                           k::u64 limit = vfs::most_file_bytes) {
    auto from = TRY(xio::source::over_kernel(bytes));
    k::u64 at = 0;
    return vfs::write(n, {.offset = offset, .append = append, .limit = limit}, from, at);
}

k::result<k::u64> read_at(vfs::vnode& n, k::u64 offset, std::span<std::byte> bytes) {
    auto to = TRY(xio::sink::over_kernel(bytes));
    return vfs::read(n, offset, to);
}

// A file, and what should be in it. Pages that were written, or reserved, are data, and the others are holes.
class checked_file {
  public:
    static constexpr k::u64 most_pages = 24, most = most_pages * page_size;

    checked_file(vfs::vnode& n, k::u64 seed) : node_(n), random_(seed), model_(most), scratch_(most) {}
    explicit operator bool() const { return model_ && scratch_; }

    void step() {
        switch (random_.below(10)) {
        case 0:
        case 1:
        case 2: return write(false);
        case 3: return write(true);
        case 4: return resize();
        case 5: return punch();
        case 6: return reserve();
        default: return check_part();
        }
    }
    void check() {
        EXPECT_EQ(node_.size.load(), size_);
        auto got = read_at(node_, 0, scratch_.bytes());
        EXPECT_EQ(got ? *got : ~k::u64{0}, size_);
        EXPECT(support::same_bytes(scratch_.first(size_), model_.first(size_)));
        for (k::u64 at = 0; at < size_; at += 1 + random_.below(page_size))
            check_holes(at);
        EXPECT_EQ(error_of(vfs::next_data(node_, size_)), k::error::nxio);
        EXPECT_EQ(error_of(vfs::next_hole(node_, size_)), k::error::nxio);
    }

  private:
    k::u64 some_length() { return 1 + random_.below(random_.below(2) ? 200 : 4 * page_size); }
    void mark(k::u64 from, k::u64 to, bool data) {
        for (k::u64 p = from / page_size; p * page_size < to; p++)
            data_[p] = data;
    }
    void grow_to(k::u64 end) {
        if (end <= size_) return;
        std::memset(model_.data() + size_, 0, end - size_);
        size_ = end;
    }
    void write(bool append) {
        const k::u64 at = append ? size_ : random_.below(random_.below(2) ? size_ + 1 : most);
        const k::u64 bytes = std::min(some_length(), most - at);
        support::fill_pattern(scratch_.first(bytes), random_.next());
        auto done = write_at(node_, append ? 0 : at, scratch_.first(bytes), append);
        EXPECT_EQ(done ? *done : 0, bytes);
        if (!bytes) return;
        grow_to(at);
        std::memcpy(model_.data() + at, scratch_.data(), bytes);
        size_ = std::max(size_, at + bytes);
        mark(at, at + bytes, true);
    }
    void resize() {
        const k::u64 to = random_.below(most);
        EXPECT_EQ(error_of(vfs::resize(node_, to)), fine);
        for (k::u64 p = (to + page_size - 1) / page_size; p < most_pages; p++)
            data_[p] = false;
        grow_to(to);
        size_ = to;
    }
    void punch() {
        const k::u64 at = random_.below(most), bytes = some_length();
        EXPECT_EQ(error_of(vfs::punch(node_, at, bytes)), fine);
        const k::u64 end = std::min(at + bytes, size_);
        if (at >= end) return;
        std::memset(model_.data() + at, 0, end - at);
        for (k::u64 p = 0; p < most_pages; p++)
            if (p * page_size >= at && std::min((p + 1) * page_size, size_) <= end) data_[p] = false;
    }
    void reserve() {
        const k::u64 at = random_.below(most), bytes = std::min(some_length(), most - at);
        const bool grow = random_.below(2);
        EXPECT_EQ(error_of(vfs::reserve(node_, at, bytes, grow)), fine);
        if (grow) grow_to(at + bytes);
        // Also behind the end, in the last page.
        if (const k::u64 end = k::align_up(size_, k::u64{page_size}); at < end)
            mark(at, std::min(at + bytes, end), true);
    }
    void check_part() {
        const k::u64 at = random_.below(most), bytes = std::min(some_length(), most - at);
        auto got = read_at(node_, at, scratch_.first(bytes));
        const k::u64 expected = at >= size_ ? 0 : std::min(bytes, size_ - at);
        EXPECT_EQ(got ? *got : ~k::u64{0}, expected);
        EXPECT(support::same_bytes(scratch_.first(expected), model_.bytes().subspan(at, expected)));
    }
    k::u64 next(k::u64 at, bool data) const {
        if (data_[at / page_size] == data) return at;
        k::u64 p = at / page_size;
        while (p < most_pages && data_[p] != data)
            p++;
        return p * page_size;
    }
    void check_holes(k::u64 at) {
        auto data = vfs::next_data(node_, at), hole = vfs::next_hole(node_, at);
        const k::u64 expected = next(at, true);
        EXPECT_EQ(data ? *data : size_, std::min(expected, size_));
        EXPECT_EQ(hole ? *hole : ~k::u64{0}, std::min(next(at, false), size_));
    }

    vfs::vnode& node_;
    k::random random_;
    buffer model_, scratch_;
    k::u64 size_ = 0;
    bool data_[most_pages] = {};
};

} // namespace

SELFTEST(vfs_data, a_file_is_what_a_vector_of_bytes_is) {
    world w;
    REQUIRE(w && w.touch("f") == fine);
    checked_file file(w.node("f"), selftest::seed());
    REQUIRE(file);
    for (unsigned i = 0; i < 1500; i++) {
        file.step();
        if (i % 16 == 0) file.check();
        if (selftest::failed()) return;
    }
    file.check();
}

SELFTEST(vfs_data, reading_a_hole_takes_no_page) {
    world w;
    REQUIRE(w && w.touch("f") == fine);
    vfs::vnode& n = w.node("f");
    buffer room(3 * page_size);
    REQUIRE(room);
    const k::u64 free = w.fs().state().free_blocks;
    EXPECT_EQ(error_of(vfs::resize(n, 100 * page_size)), fine);
    auto got = read_at(n, 50 * page_size + 5, room.bytes());
    EXPECT_EQ(got ? *got : 0, room.size());
    EXPECT(support::all_bytes_are(room.bytes(), 0));
    EXPECT_EQ(w.fs().state().free_blocks, free);
    EXPECT_EQ(error_of(vfs::next_data(n, 0)), k::error::nxio);
}

SELFTEST(vfs_data, a_full_file_system_loses_nothing) {
    constexpr k::u64 pages = 8;
    world w(pages);
    REQUIRE(w && w.touch("a") == fine && w.touch("b") == fine);
    vfs::vnode &a = w.node("a"), &b = w.node("b");
    buffer some(6 * page_size), back(6 * page_size);
    REQUIRE(some && back);
    support::fill_pattern(some.bytes(), 7);
    auto done = write_at(a, 0, some.bytes());
    EXPECT_EQ(done ? *done : 0, some.size());
    done = write_at(b, 0, some.bytes());
    EXPECT_EQ(done ? *done : 0, 2 * page_size); // as much as can be
    EXPECT_EQ(b.size.load(), 2 * page_size);
    EXPECT_EQ(w.fs().state().free_blocks, 0u);
    EXPECT_EQ(error_of(write_at(b, 0, some.bytes(), true)), k::error::nospc);
    EXPECT_EQ(b.size.load(), 2 * page_size);
    EXPECT_EQ(error_of(vfs::reserve(b, 0, 3 * page_size, true)), k::error::nospc);
    EXPECT_EQ(b.size.load(), 2 * page_size);
    done = write_at(a, 10, some.first(100)); // no new page
    EXPECT_EQ(done ? *done : 0, 100u);
    done = read_at(b, 0, back.bytes());
    EXPECT(done && *done == 2 * page_size && support::same_bytes(back.first(*done), some.first(*done)));
    EXPECT_EQ(error_of(vfs::resize(b, 100 * page_size)), fine); // holes cost nothing
    EXPECT_EQ(w.unlink("a"), fine);
    EXPECT_EQ(w.fs().state().free_blocks, 6u);
    EXPECT_EQ(error_of(vfs::resize(b, 0)), fine);
    EXPECT_EQ(w.fs().state().free_blocks, pages);
}

SELFTEST(vfs_data, a_write_ends_where_the_limit_is) {
    world w;
    REQUIRE(w && w.touch("f") == fine);
    vfs::vnode& n = w.node("f");
    buffer some(200);
    REQUIRE(some);
    auto done = write_at(n, 0, some.bytes(), false, 150);
    EXPECT_EQ(done ? *done : 0, 150u);
    EXPECT_EQ(error_of(write_at(n, 150, some.bytes(), false, 150)), k::error::fbig);
    EXPECT_EQ(error_of(write_at(n, 0, some.bytes(), true, 150)), k::error::fbig);
    EXPECT_EQ(error_of(write_at(n, vfs::most_file_bytes, some.bytes())), k::error::fbig);
    EXPECT_EQ(error_of(vfs::resize(n, vfs::most_file_bytes + 1)), k::error::fbig);
    EXPECT_EQ(error_of(vfs::reserve(n, ~k::u64{0}, 2, true)), k::error::fbig);
    EXPECT_EQ(n.size.load(), 150u);
}

SELFTEST(vfs_data, what_was_cut_off_does_not_come_back) {
    world w;
    REQUIRE(w && w.touch("f") == fine);
    vfs::vnode& n = w.node("f");
    buffer some(page_size), back(page_size);
    REQUIRE(some && back);
    support::fill_pattern(some.bytes(), 9);
    REQUIRE(write_at(n, 0, some.bytes()));
    EXPECT_EQ(error_of(vfs::resize(n, 100)), fine);
    EXPECT_EQ(error_of(vfs::resize(n, 300)), fine);
    REQUIRE(write_at(n, 500, some.first(10)));
    auto done = read_at(n, 0, back.bytes());
    EXPECT_EQ(done ? *done : 0, 510u);
    EXPECT(support::same_bytes(back.first(100), some.first(100)));
    EXPECT(support::all_bytes_are(back.bytes().subspan(100, 400), 0));
}
