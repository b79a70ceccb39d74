// Spaces: what is mapped, what a fault gives, and what goes when it is unmapped.
#include "kernel/lib/random.h"
#include "kernel/mem/fault_injection.h"
#include "kernel/selftest/selftest.h"
#include "sys/vm/user_pointer.h"
#include "tests/support/in_space.h"

using namespace tests;
using arch::page_size;
using vm::map_request;
using vm::space;

namespace {

k::ref<space> make_space() {
    auto made = space::create();
    return made ? *std::move(made) : k::ref<space>();
}

unsigned entries_of(space& s) {
    unsigned count = 0;
    s.for_each_entry([&](const vm::entry_view&) { count++; });
    return count;
}

k::error error_of(const k::status& s) {
    return s ? k::error{} : s.error();
}

} // namespace

SELFTEST(space, memory_begins_as_zeroes_and_keeps_what_is_written) {
    auto s = make_space();
    REQUIRE(s);
    const auto at = fresh(*s, 4);
    REQUIRE(at);
    EXPECT_EQ(get(*s, at).value_or(1), 0u);
    EXPECT(put(*s, at, 42));
    EXPECT(put(*s, at + 3 * page_size + 100, 7));
    EXPECT_EQ(get(*s, at).value_or(0), 42u);
    EXPECT_EQ(get(*s, at + 3 * page_size + 100).value_or(0), 7u);
    EXPECT(!get(*s, at + 4 * page_size));
    EXPECT(!get(*s, at - 4));
}

SELFTEST(space, a_page_read_first_can_be_written_later) {
    auto s = make_space();
    REQUIRE(s);
    const auto at = fresh(*s, 2);
    EXPECT_EQ(get(*s, at).value_or(1), 0u);
    EXPECT_EQ(get(*s, at + page_size).value_or(1), 0u);
    EXPECT(put(*s, at, 5));
    EXPECT_EQ(get(*s, at).value_or(0), 5u);
    EXPECT_EQ(get(*s, at + page_size).value_or(1), 0u);
}

SELFTEST(space, faults_say_why) {
    auto s = make_space();
    REQUIRE(s);
    map_request reserved{.bytes = page_size, .access = 0};
    auto none = s->map(reserved);
    map_request text{.bytes = page_size, .access = arch::user_read};
    auto read_only = s->map(text);
    REQUIRE(none && read_only);
    EXPECT_EQ(error_of(s->fault(*none, arch::user_read)), k::error::acces);
    EXPECT_EQ(error_of(s->fault(*read_only, arch::user_write)), k::error::acces);
    EXPECT(s->fault(*read_only, arch::user_read));
    EXPECT_EQ(error_of(s->fault(0, arch::user_read)), k::error::fault);
    EXPECT_EQ(error_of(s->fault(arch::user_end, arch::user_read)), k::error::fault);
    EXPECT_EQ(error_of(s->fault(~k::u64{0}, arch::user_write)), k::error::fault);
}

SELFTEST(space, a_hole_in_a_copy_ends_it_there) {
    auto s = make_space();
    REQUIRE(s);
    const auto at = fresh(*s, 3);
    REQUIRE(s->unmap(at + page_size, page_size));
    in_space here(*s);
    std::byte some[64];
    EXPECT_EQ(s->copy_out(at + page_size - 10, some, 64), 10u);
    EXPECT_EQ(s->copy_in(some, at + page_size - 1, 64), 1u);
    EXPECT_EQ(s->copy_in(some, at + page_size, 64), 0u);
    EXPECT_EQ(s->zero_out(at + page_size - 5, 2 * page_size), 5u);
    EXPECT_EQ(s->copy_in(some, arch::user_end - 4, 64), at + 3 * page_size == arch::user_end ? 4u : 0u);
    EXPECT_EQ(s->copy_in(some, ~k::u64{0} - 3, 64), 0u);
    EXPECT_EQ(s->copy_out(k::u64{1} << 63, some, 64), 0u);
}

SELFTEST(space, absurd_requests_are_refused) {
    auto s = make_space();
    REQUIRE(s);
    auto try_map = [&](map_request what) { return s->map(what).has_value(); };
    EXPECT(!try_map({.bytes = 0}));
    EXPECT(!try_map({.bytes = ~k::u64{0}}));
    EXPECT(!try_map({.bytes = arch::user_end + 1}));
    EXPECT(!try_map({.hint = 123, .bytes = page_size, .fixed = true}));
    EXPECT(!try_map({.hint = arch::user_end - page_size, .bytes = 2 * page_size, .fixed = true}));
    EXPECT(!try_map({.hint = 0, .bytes = page_size, .fixed = true}));
    EXPECT(!try_map({.bytes = vm::promise_limit() * page_size + page_size}));
    EXPECT(!s->unmap(1, page_size));
    EXPECT(!s->unmap(page_size, ~k::u64{0}));
    EXPECT(!s->unmap(page_size, 0));
    EXPECT(s->unmap(page_size * 16, k::u64{1} << 46)); // nothing there: fine
    EXPECT_EQ(entries_of(*s), 0u);
}

SELFTEST(space, neighbours_become_one_entry_and_holes_split_it) {
    auto s = make_space();
    REQUIRE(s);
    const vm::user_address base = 0x10'0000'0000;
    REQUIRE(fresh(*s, 4, base));
    REQUIRE(fresh(*s, 4, base + 4 * page_size));
    EXPECT_EQ(entries_of(*s), 1u);
    for (unsigned i = 0; i < 8; i++)
        EXPECT(put(*s, base + i * page_size, 100 + i));
    REQUIRE(s->unmap(base + 2 * page_size, page_size));
    EXPECT_EQ(entries_of(*s), 2u);
    EXPECT(!get(*s, base + 2 * page_size));
    REQUIRE(fresh(*s, 1, base + 2 * page_size));
    EXPECT_EQ(get(*s, base + 2 * page_size).value_or(1), 0u); // not what was there before
    for (unsigned i = 0; i < 8; i++)
        if (i != 2) EXPECT_EQ(get(*s, base + i * page_size).value_or(0), 100 + i);
    REQUIRE(s->protect(base + 4 * page_size, 2 * page_size, arch::user_read));
    EXPECT(!put(*s, base + 4 * page_size, 1));
    EXPECT(put(*s, base + 6 * page_size, 1));
    EXPECT_EQ(get(*s, base + 5 * page_size).value_or(0), 105u);
    REQUIRE(s->protect(base + 4 * page_size, 2 * page_size, arch::user_read | arch::user_write));
    EXPECT(put(*s, base + 4 * page_size, 9));
}

SELFTEST(space, a_heap_that_shrank_grows_with_zeroes) {
    auto s = make_space();
    REQUIRE(s);
    const vm::user_address base = 0x20'0000'0000;
    s->start_heap(base);
    EXPECT_EQ(s->move_break(base + 10 * page_size), base + 10 * page_size);
    EXPECT(put(*s, base + 9 * page_size, 77));
    EXPECT_EQ(s->move_break(base + 5 * page_size + 1), base + 5 * page_size + 1);
    EXPECT(!get(*s, base + 9 * page_size));
    EXPECT_EQ(s->move_break(base + 10 * page_size), base + 10 * page_size);
    EXPECT_EQ(get(*s, base + 9 * page_size).value_or(1), 0u);
    EXPECT_EQ(s->move_break(base - 1), base + 10 * page_size);
    EXPECT_EQ(s->move_break(~k::u64{0}), base + 10 * page_size);
    REQUIRE(fresh(*s, 1, base + 12 * page_size));
    EXPECT_EQ(s->move_break(base + 14 * page_size), base + 10 * page_size); // something is in the way
}

SELFTEST(space, a_stack_grows_down_to_its_limit) {
    auto s = make_space();
    REQUIRE(s);
    const vm::user_address top = 0x30'0000'0000, lowest = top - 64 * page_size;
    map_request what{.hint = top - page_size, .bytes = page_size, .fixed = true, .grows_down = true, .lowest = lowest};
    REQUIRE(s->map(what));
    for (unsigned i = 1; i <= 64; i++)
        EXPECT(put(*s, top - i * page_size, i));
    EXPECT(!put(*s, top - 65 * page_size, 1));
    for (unsigned i = 1; i <= 64; i++)
        EXPECT_EQ(get(*s, top - i * page_size).value_or(0), i);
    s->set_mmap_top(top);
    const auto elsewhere = fresh(*s, 1);
    EXPECT(elsewhere < lowest - 200 * page_size); // the gap below a stack stays free
}

SELFTEST(space, memory_that_moves_keeps_its_bytes) {
    auto s = make_space();
    REQUIRE(s);
    const vm::user_address base = 0x40'0000'0000;
    REQUIRE(fresh(*s, 8, base));
    for (unsigned i = 0; i < 8; i++)
        EXPECT(put(*s, base + i * page_size, 10 + i));
    auto grown = s->remap(base, 8 * page_size, 16 * page_size, false, 0, false);
    REQUIRE(grown);
    EXPECT_EQ(*grown, base);
    EXPECT_EQ(get(*s, base + 12 * page_size).value_or(1), 0u);
    REQUIRE(fresh(*s, 1, base + 16 * page_size));
    EXPECT(!s->remap(base, 16 * page_size, 32 * page_size, false, 0, false));
    // The middle of the entry, to another place and larger.
    auto moved = s->remap(base + 2 * page_size, 4 * page_size, 6 * page_size, true, base + 0x1000'0000, false);
    REQUIRE(moved);
    for (unsigned i = 2; i < 6; i++)
        EXPECT_EQ(get(*s, *moved + (i - 2) * page_size).value_or(0), 10 + i);
    EXPECT_EQ(get(*s, *moved + 4 * page_size).value_or(1), 0u); // not page 6, which stayed
    EXPECT_EQ(get(*s, base + 6 * page_size).value_or(0), 16u);
    EXPECT(!get(*s, base + 2 * page_size));
    EXPECT(put(*s, *moved + 5 * page_size, 1));
    EXPECT_EQ(get(*s, base + 7 * page_size).value_or(0), 17u);
}

SELFTEST(space, large_memory_is_mapped_at_once_and_comes_apart) {
    auto s = make_space();
    REQUIRE(s);
    const auto at = fresh(*s, 1024, 0x50'0000'0000);
    REQUIRE(put(*s, at + 5 * page_size, 5));
    REQUIRE(put(*s, at + 700 * page_size, 6));
    REQUIRE(s->unmap(at + 6 * page_size, page_size));
    REQUIRE(s->protect(at + 100 * page_size, 10 * page_size, arch::user_read));
    EXPECT_EQ(get(*s, at + 5 * page_size).value_or(0), 5u);
    EXPECT(!get(*s, at + 6 * page_size));
    EXPECT(put(*s, at + 7 * page_size, 7));
    EXPECT(!put(*s, at + 105 * page_size, 7));
    EXPECT_EQ(get(*s, at + 700 * page_size).value_or(0), 6u);
    REQUIRE(s->discard(at, 1024 * page_size) || true);
    EXPECT_EQ(get(*s, at + 5 * page_size).value_or(1), 0u);
}

SELFTEST(space, a_file_is_shared_until_it_is_written) {
    static constexpr char text[] = "the bytes of a program, which lie somewhere in the kernel's memory";
    auto file = vm::object::of_bytes(std::as_bytes(std::span(text)));
    auto a = make_space(), b = make_space();
    REQUIRE(file && a && b);
    auto map = [&](space& s) {
        map_request what{.bytes = page_size, .what = file->share()};
        return s.map(what);
    };
    auto at = map(*a), bt = map(*b);
    REQUIRE(at && bt);
    const auto first = get(*a, *at);
    REQUIRE(first);
    EXPECT(get(*b, *bt) == first);
    EXPECT_EQ((*file)->resident_pages(), 1u);
    EXPECT(put(*a, *at, 1234));
    EXPECT_EQ(get(*a, *at).value_or(0), 1234u);
    EXPECT(get(*b, *bt) == first);
    EXPECT_EQ((*file)->resident_pages(), 1u);
    map_request beyond{.bytes = 4 * page_size, .what = file->share()};
    auto far = a->map(beyond);
    REQUIRE(far);
    EXPECT_EQ(error_of(a->fault(*far + page_size, arch::user_read)), k::error::io); // behind its end
}

SELFTEST(space, shared_memory_is_one_for_all_its_mappers) {
    auto a = make_space();
    REQUIRE(a);
    const auto at = fresh(*a, 4, 0, vm::sharing::shared);
    REQUIRE(at && put(*a, at, 1));
    auto child = a->fork();
    REQUIRE(child);
    EXPECT_EQ(get(**child, at).value_or(0), 1u);
    EXPECT(put(**child, at, 2));
    EXPECT(put(**child, at + page_size, 3));
    EXPECT_EQ(get(*a, at).value_or(0), 2u);
    EXPECT_EQ(get(*a, at + page_size).value_or(0), 3u);
}

SELFTEST(space, texts_from_user_memory_end_where_they_end) {
    auto s = make_space();
    REQUIRE(s);
    const auto at = fresh(*s, 1);
    in_space here(*s);
    const char name[] = "/bin/sh";
    const auto end = at + page_size - sizeof(name);
    REQUIRE(s->copy_out(end, name, sizeof(name)) == sizeof(name));
    char buffer[256];
    auto text = vm::read_user_text(*s, end, buffer);
    REQUIRE(text);
    EXPECT(*text == "/bin/sh");
    EXPECT(s->copy_out(end, "xxxxxxxx", 8) == 8);
    auto unended = vm::read_user_text(*s, end, buffer);
    EXPECT(!unended && unended.error() == k::error::fault);
    auto too_long = vm::read_user_text(*s, end, std::span(buffer, 4));
    EXPECT(!too_long && too_long.error() == k::error::nametoolong);
}

SELFTEST(space, running_out_of_memory_anywhere_leaks_nothing) {
    for (k::u64 n = 1; n < 400; n++) {
        mem::fault_injection::fail_nth(n);
        {
            auto s = make_space();
            if (s) {
                const auto at = fresh(*s, 8);
                if (at) {
                    (void)put(*s, at, 1);
                    (void)get(*s, at + page_size);
                    (void)s->protect(at + 2 * page_size, page_size, arch::user_read);
                    auto child = s->fork();
                    if (child) (void)put(**child, at, 2);
                    (void)put(*s, at, 3);
                    (void)s->remap(at, 2 * page_size, 4 * page_size, true, 0, false);
                    (void)s->unmap(at + 5 * page_size, page_size);
                }
            }
        }
        const bool fired = mem::fault_injection::fired();
        mem::fault_injection::fail_nth(0);
        if (!fired) break;
    }
}

// Whatever came and went before: memory that may lie anywhere comes to the highest place that has room.
SELFTEST(space, the_highest_room_is_found_again) {
    constexpr unsigned places = 48;
    auto s = make_space();
    REQUIRE(s);
    const vm::user_address top = 0x40'0000'0000;
    s->set_mmap_top(top);
    k::random random(11);
    bool taken[places + 8] = {}; // by pages, from the top down
    const auto room_for = [&](unsigned count) {
        for (unsigned first = 0;; first++) {
            unsigned free = 0;
            while (free < count && !taken[first + free])
                free++;
            if (free == count) return first;
        }
    };
    const auto address_of = [&](unsigned first, unsigned count) { return top - (first + count) * page_size; };
    const auto take = [&](unsigned first, unsigned count, bool now) { std::fill_n(&taken[first], count, now); };
    const auto bytes_of = [](unsigned count) { return count * page_size; };
    for (unsigned round = 0; round < 3000; round++) {
        const unsigned count = 1 + static_cast<unsigned>(random.below(4));
        const auto first = static_cast<unsigned>(random.below(places - count));
        switch (random.below(5)) {
        case 0:
        case 1: { // anywhere
            const unsigned expected = room_for(count);
            if (expected + count > places) break;
            map_request what{.bytes = bytes_of(count)};
            // Not one with its neighbour every time.
            what.access = random.below(2) ? arch::user_read : arch::user_read | arch::user_write;
            auto at = s->map(what);
            REQUIRE(at);
            EXPECT_EQ(*at, address_of(expected, count));
            take(expected, count, true);
            break;
        }
        case 2: { // there and nowhere else
            map_request what{.hint = address_of(first, count), .bytes = bytes_of(count), .fixed = true};
            REQUIRE(s->map(what));
            take(first, count, true);
            break;
        }
        case 3: {
            if (first < count) break; // it could grow over the top
            map_request what{.hint = address_of(first, count), .bytes = bytes_of(count), .fixed = true};
            REQUIRE(s->map(what));
            take(first, count, true);
            const unsigned expected = room_for(2 * count);
            if (expected + 2 * count > places) break;
            auto at = s->remap(address_of(first, count), bytes_of(count), bytes_of(2 * count), true, 0, false);
            REQUIRE(at);
            if (*at == address_of(first, count)) { // it could grow where it was
                REQUIRE(s->unmap(*at, bytes_of(2 * count)));
                take(first - count, 2 * count, false);
                break;
            }
            EXPECT_EQ(*at, address_of(expected, 2 * count));
            take(first, count, false);
            take(expected, 2 * count, true);
            break;
        }
        default: REQUIRE(s->unmap(address_of(first, count), bytes_of(count))); take(first, count, false);
        }
    }
}
