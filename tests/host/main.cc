// nutcracker-tests: the kernel's self-tests under GoogleTest.
//
// The kernel boots once, in this process, with "selftest.wait", and a thread of it then runs what is asked for. Each
// self-test of the image is registered as a GoogleTest test, so the usual --gtest_ options work. NUTCRACKER_CMDLINE
// adds to the command line ("seed=N").
#include "arch/host/host.h"
#include "kernel/selftest/selftest.h"

#include <chrono>
#include <cstdio>
#include <gtest/gtest.h>
#include <thread>
#include <unistd.h>

namespace {

// Longer than any test takes under a sanitizer. What hangs ends with the backtrace of every CPU.
constexpr std::chrono::seconds patience{300};

[[noreturn]] void leave(int status) {
    std::fflush(nullptr);
    _exit(status); // the kernel's CPUs are still running; there is nothing to tear down
}

void run_in_kernel(const selftest::test& test, selftest::report& report) {
    using clock = std::chrono::steady_clock;
    selftest::request request{&test, &report, false};
    selftest::post(request);
    const clock::time_point limit = clock::now() + patience;
    while (!request.done.load(std::memory_order_acquire)) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        if (clock::now() > limit) arch::cpu::die("a self-test did not end");
    }
}

class kernel_test : public testing::Test {
  public:
    explicit kernel_test(const selftest::test& test) : test_(test) {}

    void TestBody() override {
        selftest::report report{};
        run_in_kernel(test_, report);
        if (!report.passed) ADD_FAILURE() << report.text << "seed=" << selftest::seed();
    }

  private:
    const selftest::test& test_;
};

class booted_kernel : public testing::Environment {
  public:
    void SetUp() override {
        arch::host::on_power_off([](arch::exit_status) {
            std::fputs("the kernel powered off in the midst of the tests\n", stderr);
            leave(1);
        });
        arch::host::start({.command_line = "selftest.wait"});
    }
};

} // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    testing::AddGlobalTestEnvironment(new booted_kernel);
    for (const selftest::test* test : selftest::all())
        testing::RegisterTest(test->suite, test->name, nullptr, nullptr, test->suite, 0,
                              [test]() -> testing::Test* { return new kernel_test(*test); });
    leave(RUN_ALL_TESTS());
}
