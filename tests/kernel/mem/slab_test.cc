// kernel/mem/slab: objects of all sizes, aligned, apart from each other, and all home in the end.
#include "kernel/mem/slab.h"

#include "kernel/lib/random.h"
#include "kernel/mem/page.h"
#include "tests/kernel/lwkt/crew.h"

#include <algorithm>
#include <cstring>

using lwkt_test::crew;

namespace {

// Objects with a pattern each: whoever writes into another's spoils it.
struct patterned {
    unsigned char* at = nullptr;
    std::size_t size = 0;
    unsigned char seed = 0;

    bool make(std::size_t bytes, unsigned char pattern) {
        at = static_cast<unsigned char*>(mem::allocate(bytes));
        if (!at) return false;
        size = bytes;
        seed = pattern;
        EXPECT(k::is_aligned(reinterpret_cast<std::uintptr_t>(at), std::uintptr_t{16}));
        for (std::size_t i = 0; i < size; i++)
            at[i] = static_cast<unsigned char>(seed + i);
        return true;
    }
    bool intact() const {
        for (std::size_t i = 0; i < size; i++)
            if (at[i] != static_cast<unsigned char>(seed + i)) return false;
        return true;
    }
    void give_back() {
        EXPECT(intact());
        mem::free(std::exchange(at, nullptr));
    }
};

// Mostly small, some at the edges of size classes, a few of several pages.
std::size_t random_size(k::random& random) {
    constexpr std::size_t edges[] = {1, 15, 16, 17, 48, 49, 512, 513, 1024, 1025, 2047, 2048, 2049, 4096, 4097, 20000};
    if (random.below(4) == 0) return edges[random.below(std::size(edges))];
    return 1 + random.below(300);
}

} // namespace

SELFTEST(mem, objects_of_every_size_are_aligned_and_disjoint) {
    constexpr unsigned most = 64;
    auto* objects = static_cast<patterned*>(mem::allocate(sizeof(patterned) * most));
    REQUIRE(objects);
    for (std::size_t first = 1; first <= 2200; first += 37) {
        for (unsigned i = 0; i < most; i++)
            REQUIRE((new (&objects[i]) patterned)->make(first + i % 38, static_cast<unsigned char>(first * 7 + i)));
        for (unsigned i = 0; i < most; i++)
            objects[i].give_back();
    }
    mem::free(objects);
}

SELFTEST(mem, nothing_and_the_impossible_are_handled) {
    mem::free(nullptr);
    void* empty = mem::allocate(0);
    EXPECT(empty);
    mem::free(empty);
    EXPECT(!mem::allocate(std::size_t{17} << 20));
    EXPECT(!mem::allocate(~std::size_t{0}));
}

SELFTEST(mem, large_objects_are_whole_blocks) {
    for (std::size_t bytes = 2049; bytes <= std::size_t{1} << 20; bytes = bytes * 3 + 1) {
        patterned large;
        REQUIRE(large.make(bytes, 9));
        EXPECT(k::is_aligned(reinterpret_cast<std::uintptr_t>(large.at), arch::page_size));
        large.give_back();
    }
}

SELFTEST(mem, made_objects_are_constructed_and_destroyed) {
    struct counted {
        int& alive;
        explicit counted(int& count) : alive(count) { alive++; }
        ~counted() { alive--; }
    };
    int alive = 0;
    {
        auto box = mem::make_box<counted>(alive);
        REQUIRE(box);
        EXPECT_EQ(alive, 1);
    }
    counted* plain = mem::make<counted>(alive);
    EXPECT_EQ(alive, 1);
    mem::destroy(plain);
    mem::destroy(static_cast<counted*>(nullptr));
    EXPECT_EQ(alive, 0);
}

SELFTEST(mem, random_traffic_on_all_cpus_keeps_every_pattern) {
    constexpr unsigned slots = 100;
    auto body = [&](unsigned number) {
        auto* held = static_cast<patterned*>(mem::allocate(sizeof(patterned) * slots));
        if (!held) return;
        for (unsigned i = 0; i < slots; i++)
            new (&held[i]) patterned;
        k::random random(selftest::seed() * (number + 1));
        for (unsigned i = 0; i < 4000; i++) {
            patterned& p = held[random.below(slots)];
            if (p.at)
                p.give_back();
            else
                EXPECT(p.make(random_size(random), static_cast<unsigned char>(random.next())));
            if (i % 1000 == 999) EXPECT(lwkt::hand_over((number + i) % arch::cpu::count()).has_value());
        }
        for (unsigned i = 0; i < slots; i++)
            if (held[i].at) held[i].give_back();
        mem::free(held);
    };
    crew c;
    REQUIRE(c.start_everywhere(body));
    c.join();
}

SELFTEST(mem, a_freed_object_is_the_next_one_given) {
    lwkt::critical section; // nothing else allocates here
    void* first = mem::allocate(100);
    mem::free(first);
    void* second = mem::allocate(100);
    EXPECT(first == second);
    mem::free(second);
}

SELFTEST(mem, objects_freed_elsewhere_go_home_in_batches_and_are_used_again) {
    if (arch::cpu::count() < 2) return;
    constexpr unsigned many = 32; // two batches
    static_assert(many * sizeof(void*) <= 512);
    void* objects[many];
    for (void*& object : objects)
        REQUIRE((object = mem::allocate(2048)));
    auto free_all = [&](unsigned) {
        lwkt::critical section;
        for (void* object : objects)
            mem::free(object);
    };
    crew c;
    REQUIRE(c.start(1, free_all));
    c.join();
    // What went home is taken in when the slabs here are used up, before memory is asked for: half of the objects are
    // enough to show it, and the other CPU's slabs never see one.
    unsigned again = 0;
    void* fresh[2 * many];
    for (void*& object : fresh) {
        REQUIRE((object = mem::allocate(2048)));
        again += std::find(objects, objects + many, object) != objects + many;
    }
    EXPECT_EQ(again, many);
    for (void* object : fresh)
        mem::free(object);
}

SELFTEST(mem, what_one_cpu_makes_and_another_frees_all_comes_back) {
    constexpr unsigned slots = 64, each = 3000;
    std::atomic<void*> exchange[slots] = {};
    const k::u64 before = mem::objects_in_use();
    auto body = [&](unsigned number) {
        k::random random(selftest::seed() + 31 * number);
        for (unsigned i = 0; i < each; i++) {
            const std::size_t size = 16 + random.below(500);
            auto* object = static_cast<std::size_t*>(mem::allocate(size));
            if (!object) continue;
            object[0] = size;
            auto* bytes = reinterpret_cast<unsigned char*>(object);
            std::memset(bytes + sizeof size, static_cast<int>(size & 0xff), size - sizeof size);
            auto* other = static_cast<std::size_t*>(exchange[random.below(slots)].exchange(object));
            if (!other) continue;
            const auto* old = reinterpret_cast<const unsigned char*>(other);
            const std::size_t old_size = other[0];
            const auto good = std::count(old + sizeof old_size, old + old_size, static_cast<unsigned char>(old_size));
            EXPECT_EQ(static_cast<std::size_t>(good), old_size - sizeof old_size);
            mem::free(other);
        }
    };
    {
        crew c;
        REQUIRE(c.start_everywhere(body, 2));
    }
    for (std::atomic<void*>& slot : exchange)
        mem::free(slot.exchange(nullptr));
    // Two objects of each thread itself go when it does, and its structure and stack are kept for the next.
    lwkt_test::wait_until([&] { return mem::objects_in_use() <= before + 3 * 2 * arch::cpu::count() + 3; });
}

SELFTEST(mem, slabs_that_are_empty_go_back) {
    constexpr unsigned many = 500;
    const auto slab_use = static_cast<unsigned>(vm::page_use::slab);
    auto** objects = static_cast<void**>(mem::allocate(sizeof(void*) * many));
    REQUIRE(objects);
    mem::trim_slabs();
    const k::u64 before = vm::account().in_use[slab_use];
    for (unsigned i = 0; i < many; i++)
        REQUIRE((objects[i] = mem::allocate(1024)));
    EXPECT(vm::account().in_use[slab_use] >= before + many / 4 - 2);
    k::random random(selftest::seed());
    for (unsigned i = many - 1; i > 0; i--)
        std::swap(objects[i], objects[random.below(i + 1)]);
    for (unsigned i = 0; i < many; i++)
        mem::free(objects[i]);
    mem::trim_slabs();
    EXPECT(vm::account().in_use[slab_use] <= before);
    mem::free(objects);
}
