// A thread's own little world of user mode: a map with a page of code, a page of data and a stack, and a context that
// is set for the running thread.
#pragma once

#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/thread.h"
#include "tests/arch/table_frames.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"

#include <string_view>

namespace arch_test {

constexpr arch::vaddr code_at = 0x40'0000;
constexpr arch::vaddr data_at = 0x60'0000;
constexpr arch::vaddr stack_at = 0x7ffc'0000'0000;
constexpr arch::vaddr stack_top = stack_at + arch::page_size;

// Machine code as it stands in memory: code("\x0f\x05").
template <std::size_t N> constexpr std::string_view code(const char (&bytes)[N]) {
    return {bytes, N - 1};
}
constexpr std::string_view syscall_code = code("\x0f\x05");

// Sets the thread's map and context; to be undone before they go.
inline void set_user(arch::user_map* map, arch::user_context* user) {
    lwkt::critical section;
    lwkt::self().context.set_user(map, user);
}

// Needs a table_frames that lives longer.
class user_world {
  public:
    explicit user_world(std::string_view program) : floats_(arch::user_context::memory_needed()) {
        using namespace arch;
        if (!floats_ || !pages_.allocate() || !map.create()) return;
        std::memcpy(pages_.data(0), program.data(), program.size());
        good_ = map.enter(code_at, vm::physical(pages_[0]), user_read | user_execute) &&
                map.enter(data_at, vm::physical(pages_[1]), user_read | user_write) &&
                map.enter(stack_at, vm::physical(pages_[2]), user_read | user_write);
        context.attach(floats_.bytes());
        context.reset(code_at, stack_top);
        set_user(&map, &context);
    }
    ~user_world() {
        set_user(nullptr, nullptr);
        // A CPU that went on with kernel threads still has it loaded.
        lwkt::call_everywhere([](void* map) { arch::user_map::leave(*static_cast<arch::user_map*>(map)); }, &map);
        map.destroy();
    }

    explicit operator bool() const { return good_; }
    arch::user_registers& registers() { return context.registers(); }
    // Goes on until user code traps of itself.
    arch::user_exit run() {
        for (;;) {
            const arch::user_exit exit = context.run();
            if (exit.kind != arch::user_exit_kind::interrupt) return exit;
        }
    }
    std::byte* code_page() { return pages_.data(0); }
    std::byte* data() { return pages_.data(1); }
    std::byte* stack() { return pages_.data(2); }
    vm::page* data_page() { return pages_[1]; }

    arch::user_map map;
    arch::user_context context;

  private:
    support::page_set<3> pages_;
    support::buffer floats_;
    bool good_ = false;
};

} // namespace arch_test

#define EXPECT_SYSCALL(exit) EXPECT((exit).kind == arch::user_exit_kind::syscall)
#define EXPECT_EXCEPTION(exit, number)                                                                                 \
    do {                                                                                                               \
        const arch::user_exit exit_ = (exit);                                                                          \
        EXPECT(exit_.kind == arch::user_exit_kind::exception);                                                         \
        EXPECT_EQ(unsigned{exit_.vector}, unsigned{number});                                                           \
    } while (0)
#define EXPECT_FAULT(exit, at, tried)                                                                                  \
    do {                                                                                                               \
        const arch::user_exit exit_ = (exit);                                                                          \
        EXPECT(exit_.kind == arch::user_exit_kind::page_fault);                                                        \
        EXPECT_EQ(exit_.address, k::u64{at});                                                                          \
        EXPECT_EQ(unsigned{exit_.access}, unsigned{tried});                                                            \
    } while (0)
