// Self-tests: one set of sources that runs inside the kernel (TAP on the console) and under GoogleTest on the
// host port.
//
//     SELFTEST(xio, slice_shares_pages_and_copies_nothing) {
//         ...
//         REQUIRE(source);            // gives up this test if it does not hold
//         EXPECT_EQ(source.size(), 4096u);
//     }
//
// A test runs in a thread of CPU 0 and may start others; it must end what it started. After each, every page,
// slab object and thread must be back, or the test has failed. Random tests take their randomness from seed(),
// which is printed and can be given again as seed=N.
#pragma once

#include "kernel/lib/format.h"
#include "kernel/lib/types.h"
#include "kernel/lib/where.h"

#include <atomic>
#include <span>

namespace selftest {

struct test {
    const char* suite;
    const char* name;
    void (*run)();
};

// What came of a test.
struct report {
    bool passed;
    char text[1024]; // what failed, a line each; ends with 0
};

// All tests of this image.
std::span<const test* const> all() noexcept;
bool matches(const test& t, std::string_view glob) noexcept;

// Runs one test and its leak check. Thread context, one at a time.
void run(const test& t, report& r);

// Runs what matches and prints TAP. True if all passed and there was at least one.
bool run_matching(std::string_view glob);

// For a process around the kernel: what a foreign thread wants run, one at a time. It waits for `done` in its own
// way; serve_requests() runs in a kernel thread.
struct request {
    const test* t;
    report* r;
    std::atomic<bool> done;
};
void post(request& r) noexcept;
[[noreturn]] void serve_requests();

// The number that random tests start from.
k::u64 seed() noexcept;
void set_seed(k::u64 seed) noexcept;

// Fails the running test. Any thread, any CPU.
void fail_with(k::where where, std::string_view format, k::format_args args);
template <class... Args> void fail(k::where where, std::string_view format, const Args&... args) {
    const k::format_arg packed[] = {k::format_arg(args)..., k::format_arg(0)};
    fail_with(where, format, k::format_args(packed, sizeof...(Args)));
}
bool failed() noexcept;

} // namespace selftest

#define SELFTEST(suite_, name_)                                                                                        \
    static void test_##suite_##_##name_();                                                                             \
    static constexpr selftest::test entry_##suite_##_##name_{#suite_, #name_, test_##suite_##_##name_};                \
    [[gnu::used, gnu::retain,                                                                                          \
      gnu::section("selftests")]] static constinit const selftest::test* const pointer_##suite_##_##name_ =            \
        &entry_##suite_##_##name_;                                                                                     \
    static void test_##suite_##_##name_()

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) [[unlikely]]                                                                                 \
            selftest::fail(k::where::here(), "{}", #condition);                                                        \
    } while (0)

#define EXPECT_EQ(left, right)                                                                                         \
    do {                                                                                                               \
        const auto left_ = (left);                                                                                     \
        const auto right_ = (right);                                                                                   \
        if (!(left_ == right_)) [[unlikely]]                                                                           \
            selftest::fail(k::where::here(), "{} == {}: {} and {}", #left, #right, left_, right_);                     \
    } while (0)

// Ends the running function if it does not hold.
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) [[unlikely]] {                                                                               \
            selftest::fail(k::where::here(), "{}", #condition);                                                        \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)
