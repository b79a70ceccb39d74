// The machine's block devices, in Linux's tables (Documentation/admin-guide/iostats.rst).
#include "drivers/block/registry.h"
#include "kernel/procfs/machine_texts_priv.h"

namespace procfs {

namespace {

template <class Visit> void for_each_device(Visit visit) noexcept {
    for (unsigned n = 0;; n++) {
        const block::device_ref d = block::nth_device(n);
        if (!d) return;
        visit(*d);
    }
}

// What of an operation: requests, merged ones (there are none), sectors, milliseconds.
void put_operation(const block::statistics& s, block::operation what, k::text_sink& to) noexcept {
    const auto o = static_cast<unsigned>(what);
    k::format_to(to, " {} 0 {} {}", s.requests[o], s.sectors[o], s.ns[o] / ktime::millisecond);
}

} // namespace

k::status make_partitions(const task&, k::text_sink& to) {
    to.put("major minor  #blocks  name\n\n");
    for_each_device([&](const block::device& d) {
        k::format_to(to, "{:>4} {:>8} {:>10} {}\n", d.major(), d.minor(), d.bytes() / 1024, d.name());
    });
    return {};
}

k::status make_disk_statistics(const task&, k::text_sink& to) {
    for_each_device([&](const block::device& d) {
        const block::statistics s = d.read_statistics();
        k::u64 all_ns = 0;
        for (k::u64 ns : s.ns)
            all_ns += ns;
        constexpr auto flush = static_cast<unsigned>(block::operation::flush);
        k::format_to(to, "{:>4} {:>7} {}", d.major(), d.minor(), d.name());
        put_operation(s, block::operation::read, to);
        put_operation(s, block::operation::write, to);
        // Nobody measures how long something was in flight; the sum of all requests stands for that.
        k::format_to(to, " {} {} {}", s.submitted - s.completed, all_ns / ktime::millisecond,
                     all_ns / ktime::millisecond);
        put_operation(s, block::operation::discard, to);
        k::format_to(to, " {} {}\n", s.requests[flush], s.ns[flush] / ktime::millisecond);
    });
    return {};
}

} // namespace procfs
