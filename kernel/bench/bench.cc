#include "kernel/bench/bench.h"

#include "kernel/lib/log.h"
#include "kernel/lib/text.h"

// The linker makes them; an image may have no benchmark.
extern "C" [[gnu::weak]] const bench::benchmark* const __start_benchmarks[];
extern "C" [[gnu::weak]] const bench::benchmark* const __stop_benchmarks[];

namespace bench {

bool run_matching(std::string_view glob) {
    bool any = false;
    for (const benchmark* b : std::span(__start_benchmarks, __stop_benchmarks)) {
        if (!glob.empty() && !k::glob_match(glob, b->name)) continue;
        any = true;
        const figure f = b->run();
        k::log("bench\t{}\t{}\t{}\t", b->name, f.value, f.unit);
        if (b->budget)
            k::log("{}\t{}\n", b->budget, f.remark);
        else
            k::log("-\t{}\n", f.remark);
    }
    if (!any) k::log("no benchmark matches {}\n", glob);
    return any;
}

} // namespace bench
