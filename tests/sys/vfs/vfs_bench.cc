// What a file system's threads cost those who do not need them.
#include "kernel/bench/bench.h"
#include "tests/sys/vfs/cached_read.h"

namespace {

constexpr unsigned operations = 1000;

template <class Read> bench::figure measure(Read read) {
    vfs_test::cached_read file;
    if (!file) return {0, "cycles", "no memory"};
    bool good = true;
    const bench::figure f = bench::per_operation(operations, [&] { good = read(file) && good; });
    return good ? f : bench::figure{0, "cycles", "failed"};
}

} // namespace

BENCHMARK(cached_read_4k_directly, 0) {
    return measure([](auto& file) { return file.directly(); });
}

BENCHMARK(cached_read_4k, 0) {
    return measure([](auto& file) { return file.by_name_layer(); });
}

BENCHMARK(cached_read_4k_by_message, 0) {
    return measure([](auto& file) { return file.by_message(); });
}
