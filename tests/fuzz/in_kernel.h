// What libFuzzer's programs share: the kernel boots once in this process, and runs run_input() in a kernel thread, as a
// self-test, for each input: what fails or leaks there is a finding.
#pragma once

#include "arch/host/host.h"
#include "kernel/selftest/selftest.h"
#include "tests/fuzz/number_stream.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace fuzz {

// Each program has its own.
void run_input(number_stream& decisions);

inline std::span<const std::byte> input; // of the run under way

inline int run_in_kernel(std::span<const std::byte> bytes) {
    input = bytes;
    static constexpr selftest::test program{"fuzz", "input", [] {
                                                number_stream decisions(input);
                                                run_input(decisions);
                                            }};
    selftest::report report{};
    selftest::request request{&program, &report, false};
    selftest::post(request);
    while (!request.done.load(std::memory_order_acquire))
        std::this_thread::sleep_for(std::chrono::microseconds(10));
    if (report.passed) return 0;
    std::fputs(report.text, stderr);
    std::abort();
}

} // namespace fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    arch::host::start({.command_line = "selftest.wait"});
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    return fuzz::run_in_kernel(std::as_bytes(std::span(data, size)));
}
