// Random operations on a family of spaces and a file against arrays of numbers: maps, writes, forks, loans, pages that
// change hands with the file, ends, in any order.
// The model knows nothing of pages that are shared; that is the point.
#include "kernel/lib/random.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/selftest/selftest.h"
#include "sys/vm/loan.h"
#include "tests/support/in_space.h"
#include "tests/support/threads.h"

#include <array>

namespace {

using namespace tests;
using arch::page_size;
using vm::space;

constexpr unsigned family_size = 4, window_pages = 80, loans = 6;
constexpr vm::user_address window = 0x70'0000'0000;

// What a page of a space should be.
struct model_page {
    bool mapped = false, writable = false;
    k::u32 value = 0;
    bool operator==(const model_page&) const = default;
};
using model = std::array<model_page, window_pages>;

struct member {
    k::ref<space> s;
    model pages{};
};

struct loan {
    xio::source lent;
    unsigned count = 0;
    std::array<k::u32, window_pages> values{};
};

class family {
  public:
    explicit family(k::u64 seed) : random_(seed) {}

    bool begin() {
        auto first = space::create();
        if (!first) return false;
        members_[0].s = *std::move(first);
        auto file = vm::object::anonymous(window_pages);
        auto viewer = space::create();
        if (!file || !viewer || !(*file)->fill(0, window_pages)) return false;
        file_ = *std::move(file);
        viewer_ = *std::move(viewer);
        vm::map_request what{
            .hint = window, .bytes = window_pages * page_size, .how = vm::sharing::shared, .fixed = true};
        what.what = file_.share();
        return viewer_->map(what).has_value();
    }

    void step() {
        member& m = members_[random_.below(family_size)];
        if (!m.s) return revive(m);
        switch (random_.below(20)) {
        case 0:
        case 1: return map(m);
        case 2: return unmap(m);
        case 3: return protect(m);
        case 4: return discard(m);
        case 5: return fork(m);
        case 6:
            if (random_.below(4) == 0) m = member();
            return;
        case 7: return lend(m);
        case 8: return check_loan(loans_[random_.below(loans)], random_.below(2));
        case 9: return fill(m);
        case 10: return deliver(m);
        case 11: return move(m);
        case 12: return check(m, random_.below(window_pages));
        case 13: return give(m);
        case 14: return take(m);
        case 15: return write_file(random_.below(window_pages));
        default: return write(m, random_.below(window_pages));
        }
    }

    void check_all() {
        for (member& m : members_)
            for (unsigned i = 0; m.s && i < window_pages; i++)
                check(m, i);
        for (loan& l : loans_)
            check_loan(l, true);
        for (unsigned i = 0; i < window_pages; i++)
            EXPECT_EQ(get(*viewer_, address(i)).value_or(0), file_values_[i]);
    }
    // So many pages changed hands with the file, each way.
    k::u64 given() const { return given_; }
    k::u64 taken() const { return taken_; }

  private:
    static vm::user_address address(k::u64 page) { return window + page * page_size; }

    // A random stretch of the window.
    struct stretch {
        unsigned first, count;
    };
    stretch pick() {
        const auto first = static_cast<unsigned>(random_.below(window_pages));
        return {first, 1 + static_cast<unsigned>(random_.below(std::min<k::u64>(24, window_pages - first)))};
    }
    static bool all_mapped(const member& m, stretch s, bool writable) {
        for (unsigned i = s.first; i < s.first + s.count; i++)
            if (!m.pages[i].mapped || (writable && !m.pages[i].writable)) return false;
        return true;
    }

    void revive(member& m) {
        auto made = space::create();
        if (made) m.s = *std::move(made);
    }

    // The same, or all of it.
    stretch pick_wide() { return random_.below(4) ? pick() : stretch{0, window_pages}; }

    void map(member& m) {
        const stretch s = pick_wide();
        vm::map_request what{.hint = address(s.first), .bytes = s.count * page_size, .fixed = true};
        REQUIRE(m.s->map(what));
        for (unsigned i = s.first; i < s.first + s.count; i++)
            m.pages[i] = {true, true, 0};
    }

    void unmap(member& m) {
        const stretch s = pick();
        REQUIRE(m.s->unmap(address(s.first), s.count * page_size));
        for (unsigned i = s.first; i < s.first + s.count; i++)
            m.pages[i] = {};
    }

    void protect(member& m) {
        const stretch s = pick();
        const bool writable = random_.below(2);
        const bool done =
            m.s->protect(address(s.first), s.count * page_size, arch::user_read | (writable ? arch::user_write : 0))
                .has_value();
        EXPECT_EQ(done, all_mapped(m, s, false));
        if (!done) return;
        for (unsigned i = s.first; i < s.first + s.count; i++)
            m.pages[i].writable = writable;
    }

    void discard(member& m) {
        const stretch s = pick();
        (void)m.s->discard(address(s.first), s.count * page_size); // ENOMEM tells of holes
        for (unsigned i = s.first; i < s.first + s.count; i++)
            m.pages[i].value = 0;
    }

    void fork(member& m) {
        member& child = members_[random_.below(family_size)];
        if (&child == &m) return;
        auto made = m.s->fork();
        REQUIRE(made);
        child.s = *std::move(made);
        child.pages = m.pages;
    }

    void write(member& m, k::u64 page) {
        const auto value = static_cast<k::u32>(random_.next());
        model_page& expected = m.pages[page];
        EXPECT_EQ(put(*m.s, address(page), value), expected.mapped && expected.writable);
        if (expected.mapped && expected.writable) expected.value = value;
    }

    void check(member& m, k::u64 page) {
        const auto value = get(*m.s, address(page));
        EXPECT_EQ(value.has_value(), m.pages[page].mapped);
        if (value && m.pages[page].mapped) EXPECT_EQ(*value, m.pages[page].value);
    }

    void lend(member& m) {
        const stretch s = pick_wide(); // the whole window is lent as a snapshot
        loan& l = loans_[random_.below(loans)];
        check_loan(l, true);
        xio::user_range range{address(s.first), s.count * page_size};
        xio::user_ranges ranges{m.s.get(), {&range, 1}};
        in_space here(*m.s);
        auto lent = vm::bind_source(*m.s, xio::source::over_user(ranges), xio::stability::stable);
        EXPECT_EQ(lent.has_value(), all_mapped(m, s, false));
        if (!lent) return;
        l.lent = *std::move(lent);
        l.count = s.count;
        for (unsigned i = 0; i < s.count; i++)
            l.values[i] = m.pages[s.first + i].value;
    }

    void check_loan(loan& l, bool end) {
        for (unsigned i = 0; i < l.count; i++) {
            auto value = l.lent.read_value<k::u32>(i * page_size);
            EXPECT(value && *value == l.values[i]);
        }
        if (!end) return;
        l.lent = xio::source();
        l.count = 0;
    }

    // A device fills part of the memory, perhaps while the space forks.
    void fill(member& m) {
        const stretch s = pick();
        xio::user_range range{address(s.first), s.count * page_size};
        xio::user_ranges ranges{m.s.get(), {&range, 1}};
        k::result<xio::sink> sink = k::error::inval;
        {
            in_space here(*m.s);
            sink = vm::bind_sink(*m.s, xio::sink::over_user(ranges));
        }
        EXPECT_EQ(sink.has_value(), all_mapped(m, s, true));
        if (!sink) return;
        if (random_.below(2)) fork(m);
        for (unsigned i = 0; i < s.count; i++) {
            const auto value = static_cast<k::u32>(random_.next());
            EXPECT(sink->write_value(i * page_size, value));
            m.pages[s.first + i].value = value;
        }
    }

    void deliver(member& m) {
        const stretch s = pick_wide();
        loan& l = loans_[random_.below(loans)];
        if (!l.count || !all_mapped(m, s, true)) return;
        xio::user_range range{address(s.first), s.count * page_size};
        xio::user_ranges ranges{m.s.get(), {&range, 1}};
        auto sink = xio::sink::over_user(ranges);
        in_space here(*m.s);
        const unsigned count = std::min(s.count, l.count);
        const xio::moved done = vm::deliver(*m.s, sink, l.lent);
        EXPECT_EQ(done.bytes, count * page_size);
        for (unsigned i = 0; i < count; i++)
            m.pages[s.first + i].value = l.values[i];
    }

    void give(member& m) {
        const stretch s = pick_wide();
        const k::u64 from = random_.below(2) ? s.first : random_.below(window_pages - s.count + 1);
        const k::u64 pages = file_->give_to(*m.s, address(s.first), from, s.count);
        EXPECT(pages <= s.count);
        EXPECT(!pages || all_mapped(m, {s.first, static_cast<unsigned>(pages)}, true));
        for (unsigned i = 0; i < pages; i++)
            m.pages[s.first + i].value = file_values_[from + i];
        given_ += pages;
    }

    void take(member& m) {
        const stretch s = pick_wide();
        const k::u64 to = random_.below(2) ? s.first : random_.below(window_pages - s.count + 1);
        const k::u64 pages = file_->take_from(*m.s, address(s.first), to, s.count);
        EXPECT(pages <= s.count);
        EXPECT(!pages || all_mapped(m, {s.first, static_cast<unsigned>(pages)}, false));
        for (unsigned i = 0; i < pages; i++)
            file_values_[to + i] = m.pages[s.first + i].value;
        taken_ += pages;
    }

    // By the kernel, or through a mapping.
    void write_file(k::u64 page) {
        const auto value = static_cast<k::u32>(random_.next());
        const auto set = [&](std::span<std::byte> to) { std::memcpy(to.data(), &value, sizeof(value)); };
        EXPECT(random_.below(2) ? put(*viewer_, address(page), value) : file_->change_page(page, set).has_value());
        file_values_[page] = value;
        EXPECT_EQ(get(*viewer_, address(page)).value_or(0), value);
    }

    void move(member& m) {
        const stretch from = pick(), to = pick();
        const unsigned count = std::min({from.count, to.count});
        if (to.first < from.first + count && from.first < to.first + count) return;
        const model before = m.pages;
        auto done =
            m.s->remap(address(from.first), count * page_size, count * page_size, true, address(to.first), false);
        // Only what lies in one mapping moves: the model does not know where mappings end.
        if (!done) {
            const k::error why = done.error();
            EXPECT(why == k::error::fault);
            if (get(*m.s, address(to.first)).has_value() != before[to.first].mapped) // the target was cleared first
                for (unsigned i = 0; i < count; i++)
                    m.pages[to.first + i] = {};
            return;
        }
        for (unsigned i = 0; i < count; i++) {
            m.pages[to.first + i] = before[from.first + i];
            m.pages[from.first + i] = {};
        }
    }

    k::random random_;
    member members_[family_size];
    loan loans_[loans];
    k::ref<vm::object> file_;
    k::ref<space> viewer_; // maps it
    std::array<k::u32, window_pages> file_values_{};
    k::u64 given_ = 0, taken_ = 0;
};

void run_family(k::u64 seed, unsigned steps) {
    auto f = mem::make_box<family>(seed);
    REQUIRE(f && f->begin());
    for (unsigned i = 0; i < steps && !selftest::failed(); i++)
        f->step();
    f->check_all();
    EXPECT(f->given() && f->taken());
}

struct crew_member {
    k::u64 seed;
    lwkt::completion* done;
};

} // namespace

SELFTEST(vm_random, spaces_behave_like_arrays) {
    run_family(selftest::seed(), 20000);
}

// A family on each CPU at the same time: what they share is only what lies below them all.
SELFTEST(vm_random, families_on_all_cpus_do_not_meet) {
    unsigned count = 0;
    crew_member crew[arch::max_cpus];
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        count += lwkt::is_running(cpu);
    lwkt::completion done(count);
    for (unsigned cpu = 0, n = 0; cpu < arch::cpu::count(); cpu++) {
        if (!lwkt::is_running(cpu)) continue;
        crew[n] = {selftest::seed() + cpu + 1, &done};
        auto body = [](void* argument) {
            auto& one = *static_cast<crew_member*>(argument);
            run_family(one.seed, 8000);
            one.done->signal();
        };
        if (!lwkt::spawn("family", cpu, lwkt::normal_priority, body, &crew[n++])) done.signal();
    }
    done.wait();
}
