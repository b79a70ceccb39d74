// Floating-point state in user mode: each thread has its own, wherever it runs, and it can be taken out and put in.
#include "tests/arch/user_world.h"

#include "kernel/lib/random.h"
#include "kernel/time/callout.h"
#include "tests/support/threads.h"

using namespace arch_test;
using arch::user_context;
using arch::user_exit_kind;

namespace {

// Loads xmm0 and xmm15 from (%rdi) and 16(%rdi), and MXCSR from 32(%rdi):
//   movdqu (%rdi),%xmm0; movdqu 16(%rdi),%xmm15; ldmxcsr 32(%rdi)
// then for ever: syscall; movdqu %xmm0,64(%rdi); movdqu %xmm15,80(%rdi); stmxcsr 96(%rdi); fnstcw 100(%rdi); jmp
constexpr std::string_view keeper = code("\xf3\x0f\x6f\x07"
                                         "\xf3\x44\x0f\x6f\x7f\x10"
                                         "\x0f\xae\x57\x20"
                                         "\x0f\x05"
                                         "\xf3\x0f\x7f\x47\x40"
                                         "\xf3\x44\x0f\x7f\x7f\x50"
                                         "\x0f\xae\x5f\x60"
                                         "\xd9\x7f\x64"
                                         "\xeb\xea");
constexpr arch::vaddr keeper_stores = code_at + 14; // behind the loads

struct shown {
    k::u64 xmm0[2], xmm15[2];
    k::u32 mxcsr;
    k::u16 control;
};

struct keeper_world {
    user_world world{keeper};

    explicit keeper_world(k::u64 seed) {
        if (!world) return;
        k::random random(seed);
        for (unsigned i = 0; i < 4; i++)
            loaded_[i] = random.next();
        loaded_[4] = 0x1f80 | (seed & 3) << 13; // a rounding mode
        std::memcpy(world.data(), loaded_, sizeof(loaded_));
        world.registers().rdi = data_at;
    }
    shown look() const {
        shown s;
        std::memcpy(&s, const_cast<user_world&>(world).data() + 64, sizeof(s));
        return s;
    }
    // Is what was loaded still there, after another round?
    bool step() {
        if (world.run().kind != user_exit_kind::syscall) return false;
        if (first_) {
            first_ = false;
            return true;
        }
        const shown s = look();
        return std::memcmp(s.xmm0, loaded_, 32) == 0 && s.mxcsr == loaded_[4] && s.control == 0x37f;
    }

  private:
    k::u64 loaded_[5];
    bool first_ = true;
};

} // namespace

SELFTEST(user_context, threads_on_one_cpu_do_not_mix_their_vector_registers) {
    if (!user_context::supported()) return;
    table_frames frames;
    constexpr unsigned threads = 4, rounds = 200;
    struct work {
        lwkt::completion done{};
        unsigned number = 0;
        bool good = false;
    } works[threads];
    for (unsigned i = 0; i < threads; i++) {
        works[i].number = i;
        auto started = lwkt::spawn(
            "floating", arch::cpu::id(), lwkt::normal_priority,
            [](void* argument) {
                work& mine = *static_cast<work*>(argument);
                {
                    keeper_world w(selftest::seed() * 8 + mine.number);
                    bool good = static_cast<bool>(w.world);
                    support::page_set<1> page;
                    good = good && page.allocate();
                    for (unsigned round = 0; good && round < rounds; round++) {
                        good = w.step();
                        if (round % 3 == 0) lwkt::yield();
                        if (round % 5 == 0) arch::memory::zero_page(page.data(0));
                        if (round % 50 == 0) lwkt::sleep_for(50 * ktime::microsecond);
                    }
                    mine.good = good;
                }
                mine.done.signal();
            },
            &works[i]);
        REQUIRE(started);
    }
    for (work& w : works) {
        w.done.wait();
        EXPECT(w.good);
    }
}

SELFTEST(user_context, vector_registers_follow_a_thread_to_another_cpu_and_back) {
    if (!user_context::supported() || !lwkt::is_running(1)) return;
    table_frames frames;
    // In a thread of its own: the test's must stay where it is.
    auto moved = support::run_on(0, [] {
        keeper_world w(selftest::seed() + 1), other_on_0(selftest::seed() + 2);
        REQUIRE(w.world && other_on_0.world);
        for (unsigned round = 0; round < 20; round++) {
            set_user(&w.world.map, &w.world.context);
            EXPECT(w.step());
            EXPECT(lwkt::hand_over(round % 2 ? 0 : 1));
            EXPECT(w.step());
            if (round % 4 == 0) { // somebody else's registers come in between
                set_user(&other_on_0.world.map, &other_on_0.world.context);
                EXPECT(other_on_0.step());
            }
        }
        EXPECT(lwkt::hand_over(0));
        set_user(&w.world.map, &w.world.context); // each destructor undoes the running one's
        set_user(nullptr, nullptr);
    });
    EXPECT(moved);
}

SELFTEST(user_context, a_fresh_context_has_the_initial_floating_point_state) {
    if (!user_context::supported()) return;
    table_frames frames;
    keeper_world w(selftest::seed() + 3);
    REQUIRE(w.world);
    EXPECT(w.step() && w.step());
    w.world.context.reset(keeper_stores + 2, stack_top); // at the stores
    w.world.registers().rdi = data_at;
    EXPECT_SYSCALL(w.world.run());
    const shown s = w.look();
    EXPECT_EQ(s.xmm0[0] | s.xmm0[1] | s.xmm15[0] | s.xmm15[1], 0u);
    EXPECT_EQ(s.mxcsr, 0x1f80u);
    EXPECT_EQ(s.control, 0x37f);
}

SELFTEST(user_context, a_copy_goes_on_where_the_original_stood) {
    if (!user_context::supported()) return;
    table_frames frames;
    keeper_world parent(selftest::seed() + 4);
    user_world child(keeper);
    REQUIRE(parent.world && child);
    set_user(&parent.world.map, &parent.world.context);
    EXPECT(parent.step() && parent.step());
    parent.world.context.set_thread_pointer(0x1234);
    child.context.copy(parent.world.context);
    EXPECT_EQ(child.context.thread_pointer(), 0x1234u);
    set_user(&child.map, &child.context);
    EXPECT_SYSCALL(child.run());
    shown ours;
    std::memcpy(&ours, child.data() + 64, sizeof(ours));
    const shown theirs = parent.look();
    EXPECT(std::memcmp(&ours, &theirs, sizeof(ours)) == 0);
    set_user(&parent.world.map, &parent.world.context);
    EXPECT(parent.step());
}

SELFTEST(user_context, floating_point_state_is_saved_and_loaded) {
    if (!user_context::supported()) return;
    table_frames frames;
    keeper_world w(selftest::seed() + 5);
    support::buffer image(user_context::memory_needed());
    REQUIRE(w.world && image);
    user_context& context = w.world.context;
    EXPECT(w.step() && w.step());
    for (const bool switched : {false, true}) {
        if (switched) lwkt::sleep_for(50 * ktime::microsecond);
        const std::span<const std::byte> saved = context.save_float();
        EXPECT(saved.size() >= 576 && saved.size() <= image.size());
        EXPECT(std::memcmp(saved.data() + 160, w.world.data(), 16) == 0);
        std::memcpy(image.data(), saved.data(), saved.size());
        const std::span<std::byte> good = image.first(saved.size());
        // Another value for xmm0, the rest as it was.
        image.data()[160] ^= std::byte{0xff};
        EXPECT(context.load_float(good));
        w.world.data()[0] ^= std::byte{0xff};
        EXPECT_SYSCALL(w.world.run());
        EXPECT(std::memcmp(w.world.data() + 64, w.world.data(), 16) == 0);
        // The old form, without a header.
        image.data()[160] ^= std::byte{0x0f};
        EXPECT(context.load_float(good.first(512)));
        w.world.data()[0] ^= std::byte{0x0f};
        EXPECT_SYSCALL(w.world.run());
        EXPECT(std::memcmp(w.world.data() + 64, w.world.data(), 16) == 0);
    }
}

SELFTEST(user_context, a_bad_floating_point_image_is_refused_and_changes_nothing) {
    if (!user_context::supported()) return;
    table_frames frames;
    keeper_world w(selftest::seed() + 6);
    support::buffer image(user_context::memory_needed());
    REQUIRE(w.world && image);
    user_context& context = w.world.context;
    EXPECT(w.step() && w.step());
    const std::span<const std::byte> saved = context.save_float();
    const std::size_t size = saved.size();
    const std::span<std::byte> whole = image.first(size);
    auto refused_with = [&](std::size_t at, unsigned value) {
        std::memcpy(image.data(), saved.data(), size);
        image.data()[160] ^= std::byte{0xff};
        image.data()[at] = static_cast<std::byte>(value);
        EXPECT(!context.load_float(whole));
    };
    refused_with(27, 0x80);  // MXCSR's reserved bits
    refused_with(519, 0x40); // a feature that nobody has
    refused_with(527, 0x80); // a compacted image
    for (std::size_t at = 528; at < 576; at += 8)
        refused_with(at, 1);
    EXPECT(!context.load_float(saved.first(0)));
    EXPECT(!context.load_float(saved.first(511)));
    EXPECT(!context.load_float(saved.first(575)));
    EXPECT(w.step());

    // Noise in all that may be anything is taken.
    k::random random(selftest::seed() + 7);
    for (unsigned round = 0; round < 100; round++) {
        std::memcpy(image.data(), saved.data(), size);
        for (unsigned i = 0; i < 32; i++) {
            const std::size_t at = random.below(size);
            if ((at < 24 || at >= 28) && (at < 512 || at >= 576)) image.data()[at] = std::byte(random.next());
        }
        if (context.load_float(whole)) EXPECT_SYSCALL(w.world.run());
    }
}
