// What xio costs. Budgets are instructions.
#include "kernel/bench/bench.h"

#include "kernel/lwkt/port.h"
#include "sys/xio/checksum.h"
#include "sys/xio/view.h"
#include "tests/support/page_set.h"
#include "tests/support/threads.h"

#include <algorithm>

using xio::sink;
using xio::source;

namespace {

constexpr k::u64 page = xio::platform::page_size;
constexpr unsigned mebibyte_order = 8;

constexpr bench::figure failed{0, "failed", "no memory"};

// Single pages of which no two neighbours in the list are neighbours in memory.
template <unsigned Count> struct scattered_pages {
    vm::page_ref held[2 * Count];
    vm::page* pages[Count];
    bool ready() {
        for (vm::page_ref& p : held)
            if (p = support::allocate_block(0); !p) return false;
        for (unsigned i = 0; i < Count; i++)
            pages[i] = held[2 * i].get();
        return true;
    }
};

// A page's worth of bytes in one extent.
struct one_page {
    vm::page_ref page_ref = support::allocate_block(0);
    k::result<source> bytes = page_ref ? source::over_run(page_ref.get(), 0, page) : k::error::nomem;
    bool ready() { return bool(bytes); }
};

} // namespace

BENCHMARK(xio_build_release_1MiB_block, 150) {
    vm::page_ref block = support::allocate_block(mebibyte_order);
    if (!block) return failed;
    return bench::per_operation(1000, [&] { (void)source::over_run(block.get(), 0, block.size()); });
}

BENCHMARK(xio_build_release_256_scattered_pages, 15) {
    auto scattered = mem::make_box<scattered_pages<256>>();
    if (!scattered || !scattered->ready()) return failed;
    bench::figure f = bench::per_operation(50, [&] { (void)source::over_pages(scattered->pages, 0, 256 * page); });
    f.value = (f.value + 128) / 256;
    f.remark = "a page";
    return f;
}

BENCHMARK(xio_slice, 80) {
    one_page p;
    if (!p.ready()) return failed;
    return bench::per_operation(1000, [&] { (void)p.bytes->slice(100, 1000); });
}

BENCHMARK(xio_clone, 80) {
    one_page p;
    if (!p.ready()) return failed;
    return bench::per_operation(1000, [&] { (void)p.bytes->clone(); });
}

BENCHMARK(xio_copy_4KiB, 0) {
    one_page p;
    auto to = sink::fresh(page);
    if (!p.ready() || !to) return failed;
    return bench::per_operation(500, [&] { (void)xio::copy(*p.bytes, *to); });
}

BENCHMARK(crc32c_4KiB, 0) {
    one_page p;
    if (!p.ready()) return failed;
    k::u32 sum = 0;
    return bench::per_operation(100, [&] {
        sum = xio::crc32c(*p.bytes, sum);
        asm volatile("" : : "r"(sum));
    });
}

BENCHMARK(inet_checksum_4KiB, 0) {
    one_page p;
    if (!p.ready()) return failed;
    k::u32 sum = 0;
    return bench::per_operation(100, [&] {
        sum = xio::internet_checksum(*p.bytes, sum);
        asm volatile("" : : "r"(sum));
    });
}

BENCHMARK(xio_map_1_page, 0) {
    one_page p;
    if (!p.ready()) return failed;
    return bench::per_operation(1000, [&] { (void)xio::source_view::map(*p.bytes); });
}

BENCHMARK(xio_map_16_scattered, 0) {
    auto scattered = mem::make_box<scattered_pages<16>>();
    if (!scattered || !scattered->ready()) return failed;
    auto lent = source::over_pages(scattered->pages, 0, 16 * page);
    if (!lent) return failed;
    return bench::per_operation(50, [&] { (void)xio::source_view::map(*lent); });
}

namespace {

struct parcel : lwkt::msg {
    source payload;
};
enum command : k::u32 { look, leave };

// A thread that takes each source it is sent, looks at a byte and sends it back.
class receiver {
  public:
    explicit receiver(unsigned cpu) : inbox_(cpu) {
        open_ = bool(lwkt::spawn(
            "receiver", inbox_.cpu(), lwkt::normal_priority, [](void* me) { static_cast<receiver*>(me)->work(); },
            this));
    }
    ~receiver() {
        if (!open_) return;
        parcel last;
        last.command = leave;
        (void)inbox_.call(last);
        gone_.wait();
    }
    bool open() const { return open_; }
    void pass(parcel& p) {
        p.command = look;
        (void)inbox_.call(p);
    }

  private:
    void work() {
        for (;;) {
            auto& p = static_cast<parcel&>(*inbox_.wait());
            const bool last = p.command == leave;
            if (!last) {
                source mine = std::move(p.payload);
                (void)mine.read_value<k::u8>(mine.size() / 2);
                p.payload = std::move(mine);
            }
            lwkt::reply(p, {});
            if (last) return gone_.signal();
        }
    }

    lwkt::port inbox_;
    lwkt::completion gone_;
    bool open_;
};

// A mebibyte lent, passed to the other thread, looked at, passed back and released.
bench::figure pass_mebibyte(unsigned cpu) {
    vm::page_ref block = support::allocate_block(mebibyte_order);
    receiver other(cpu);
    if (!block || !other.open()) return failed;
    parcel p;
    return bench::ns_per_operation(100, [&] {
        auto lent = source::over_run(block.get(), 0, block.size());
        if (lent) p.payload = std::move(*lent);
        other.pass(p);
        p.payload = source();
    });
}

bench::figure copy_mebibyte() {
    vm::page_ref from = support::allocate_block(mebibyte_order), to = support::allocate_block(mebibyte_order);
    if (!from || !to) return failed;
    return bench::ns_per_operation(10, [&] {
        std::memcpy(to.data(), from.data(), from.size());
        asm volatile("" : : "r"(to.data()) : "memory");
    });
}

} // namespace

BENCHMARK(xio_pass_1MiB_between_two_threads, 0) {
    return pass_mebibyte(0);
}

BENCHMARK(xio_pass_1MiB_between_two_cpus, 0) {
    if (arch::cpu::count() < 2) return {0, "ns", "needs two CPUs"};
    return pass_mebibyte(1);
}

BENCHMARK(memcpy_1MiB, 0) {
    return copy_mebibyte();
}

BENCHMARK(xio_pass_1MiB_against_memcpy, 50) {
    const bench::figure passed = pass_mebibyte(0), copied = copy_mebibyte();
    return {copied.value / std::max<k::u64>(passed.value, 1), "times", "between threads of a CPU; at least the budget"};
}
