// libFuzzer on sys/xio: the kernel boots once in this process, and each input is a program of xio operations that a
// kernel thread runs against the model.
#include "arch/host/host.h"
#include "kernel/selftest/selftest.h"
#include "tests/fuzz/xio_program.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

std::span<const std::byte> input; // of the run under way

void run_input() {
    fuzz::number_stream decisions(input);
    fuzz::run_xio_program(decisions);
}

constexpr selftest::test program{"xio", "fuzzed_program", run_input};

} // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    arch::host::start({.command_line = "selftest.wait"});
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    input = std::as_bytes(std::span(data, size));
    selftest::report report{};
    selftest::request request{&program, &report, false};
    selftest::post(request);
    while (!request.done.load(std::memory_order_acquire))
        std::this_thread::sleep_for(std::chrono::microseconds(10));
    if (report.passed) return 0;
    std::fputs(report.text, stderr);
    std::abort();
}
