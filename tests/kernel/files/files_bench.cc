// What descriptors and pipes cost by themselves, between kernel threads: no system call, no user memory.
#include "kernel/bench/bench.h"
#include "kernel/files/event_file.h"
#include "kernel/files/fd_table.h"
#include "kernel/files/pipe.h"
#include "kernel/files/poll.h"
#include "kernel/mem/slab.h"

namespace {

constexpr unsigned operations = 1000;

bench::figure not_measured() {
    return {0, "cycles", "no memory"};
}

// One byte each way, in kernel memory.
struct one_byte {
    void* memory = mem::allocate(16);
    xio::source from;
    xio::sink to;

    bool make() {
        if (!memory) return false;
        const std::span<std::byte> byte(static_cast<std::byte*>(memory), 1);
        auto source = xio::source::over_kernel(byte);
        auto sink = xio::sink::over_kernel(byte);
        if (!source || !sink) return false;
        from = *std::move(source);
        to = *std::move(sink);
        return true;
    }
    ~one_byte() { mem::free(memory); }
};

} // namespace

BENCHMARK(descriptor_look_up, 30) {
    auto table = files::fd_table::create();
    auto f = files::make_event_file(0, false, 0);
    if (!table || !f || !(*table)->install(*std::move(f), false, 100)) return not_measured();
    return bench::per_operation(operations, [&] {
        files::file_use use = (*table)->look_up(0);
        asm volatile("" : : "r"(use.get()));
    });
}

BENCHMARK(descriptor_look_up_in_a_shared_table, 80) {
    auto table = files::fd_table::create();
    auto f = files::make_event_file(0, false, 0);
    if (!table || !f || !(*table)->install(*std::move(f), false, 100)) return not_measured();
    const auto another = (*table).share();
    return bench::per_operation(operations, [&] {
        files::file_use use = (*table)->look_up(0);
        asm volatile("" : : "r"(use.get()));
    });
}

// A byte in and out again, nobody waiting.
BENCHMARK(pipe_write_read, 500) {
    auto ends = files::make_pipe(0);
    one_byte b;
    if (!ends || !b.make()) return not_measured();
    return bench::per_operation(operations, [&] {
        (void)ends->writer->write(b.from);
        (void)ends->reader->read(b.to);
    });
}

// Two threads of one CPU pass a byte to and fro: two writes, two reads, four switches.
BENCHMARK(pipe_round_trip_one_cpu, 2500) {
    auto there = files::make_pipe(0), back = files::make_pipe(0);
    one_byte mine, theirs;
    if (!there || !back || !mine.make() || !theirs.make()) return not_measured();
    struct partner {
        files::file &in, &out;
        one_byte& b;
        lwkt::completion done{};
    } p{*there->reader, *back->writer, theirs};
    const k::status made = lwkt::spawn(
        "bench partner", arch::cpu::id(), lwkt::normal_priority,
        [](void* argument) {
            auto& p = *static_cast<partner*>(argument);
            for (;;) {
                auto got = p.in.read(p.b.to);
                if (!got || !*got) break;
                (void)p.out.write(p.b.from);
            }
            p.done.signal();
        },
        &p);
    if (!made) return not_measured();
    const bench::figure f = bench::per_operation(operations, [&] {
        (void)there->writer->write(mine.from);
        (void)back->reader->read(mine.to);
    });
    there->writer.reset();
    p.done.wait();
    return f;
}

// poll() of one file that is ready.
BENCHMARK(poll_one_ready, 150) {
    auto f = files::make_event_file(1, false, 0);
    if (!f) return not_measured();
    files::polled of[1];
    of[0] = {(*f).share(), files::poll_in, 0};
    return bench::per_operation(operations, [&] { (void)files::wait_for_any(of, ktime::forever); });
}
