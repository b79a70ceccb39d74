#include "kernel/time/callout.h"
#include "tests/sys/vfs/cached_read.h"

namespace {

// Sanitizers and an emulator make all of it slower, and so the difference.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__code_model_kernel__)
constexpr k::u64 most_ns = 300 * 20;
#else
constexpr k::u64 most_ns = 300;
#endif

constexpr unsigned rounds = 25, operations = 500;

template <class Read> k::u64 ns_each(Read read) {
    const ktime::ns start = ktime::now();
    for (unsigned i = 0; i < operations; i++)
        if (!read()) selftest::fail(k::where::here(), "not read");
    return (ktime::now() - start) / operations;
}

} // namespace

// The best of many rounds, in turns: whatever else the machine does then falls on all alike.
SELFTEST(vfs_data, a_cached_read_by_message_costs_little_more_than_a_call) {
    vfs_test::cached_read file;
    REQUIRE(file);
    k::u64 directly = ~0ull, by_name_layer = ~0ull, by_message = ~0ull;
    for (unsigned i = 0; i < rounds; i++) {
        directly = std::min(directly, ns_each([&] { return file.directly(); }));
        by_name_layer = std::min(by_name_layer, ns_each([&] { return file.by_name_layer(); }));
        by_message = std::min(by_message, ns_each([&] { return file.by_message(); }));
    }
    if (by_message > directly + most_ns || by_name_layer > directly + most_ns)
        selftest::fail(k::where::here(), "{} ns directly, {} by the layer of names, {} by message", directly,
                       by_name_layer, by_message);
}
