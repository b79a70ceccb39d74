#include "kernel/selftest/selftest.h"

#include "kernel/lib/log.h"
#include "kernel/lib/text.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/lwkt/thread.h"
#include "kernel/mem/fault_injection.h"
#include "kernel/selftest/leak_check.h"
#include "kernel/time/callout.h"

extern "C" const selftest::test* const __start_selftests[];
extern "C" const selftest::test* const __stop_selftests[];

namespace selftest {

namespace {

// The test under way.
lwkt::spinlock lock;
report* current;
k::u64 current_seed = 1;

std::atomic<request*> requested;

std::string_view text_of(const report& r) {
    return {r.text, std::char_traits<char>::length(r.text)};
}

void print_report(unsigned number, const test& t, const report& r) {
    k::log("{} {} - {}.{}\n", r.passed ? "ok" : "not ok", number, t.suite, t.name);
    for (std::string_view rest = text_of(r); !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        k::log("# {}\n", rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
}

} // namespace

std::span<const test* const> all() noexcept {
    return {__start_selftests, __stop_selftests};
}

bool matches(const test& t, std::string_view glob) noexcept {
    char full[160];
    k::buffer_sink name(full);
    k::format_to(name, "{}.{}", t.suite, t.name);
    return glob.empty() || k::glob_match(glob, name.view()) || k::glob_match(glob, t.suite);
}

void run(const test& t, report& r) {
    r.passed = true;
    r.text[0] = '\0';
    current = &r;
    const resources before = count_resources();
    t.run();
    mem::fault_injection::fail_nth(0);
    expect_same_resources(before);
    current = nullptr;
}

bool run_matching(std::string_view glob) {
    unsigned planned = 0, number = 0, bad = 0;
    for (const test* t : all())
        planned += matches(*t, glob);
    k::log("TAP version 13\n1..{}\n# seed={}\n", planned, seed());
    for (const test* t : all()) {
        if (!matches(*t, glob)) continue;
        report r;
        run(*t, r);
        bad += !r.passed;
        print_report(++number, *t, r);
    }
    if (!planned) k::log("# no test matches {}\n", glob);
    k::log("# {} passed, {} failed\n", planned - bad, bad);
    return planned && !bad;
}

void post(request& r) noexcept {
    requested.store(&r, std::memory_order_release);
}

void serve_requests() {
    for (;;) {
        request* r = requested.exchange(nullptr, std::memory_order_acquire);
        if (!r) {
            lwkt::sleep_for(100 * ktime::microsecond);
            continue;
        }
        run(*r->t, *r->r);
        r->done.store(true, std::memory_order_release);
    }
}

k::u64 seed() noexcept {
    return current_seed;
}
void set_seed(k::u64 seed) noexcept {
    current_seed = seed;
}

void fail_with(k::where where, std::string_view format, k::format_args args) {
    lwkt::spin_guard guard(lock);
    if (!current) k::panic("a test failed after its end, at {}:{}", where.file, where.line);
    current->passed = false;
    const std::size_t used = text_of(*current).size();
    k::buffer_sink sink({current->text + used, sizeof(current->text) - 1 - used});
    k::format_to(sink, "{}:{}: ", where.file, where.line);
    k::format_with(sink, format, args);
    k::format_to(sink, "\n");
    current->text[used + sink.view().size()] = '\0';
}

bool failed() noexcept {
    lwkt::spin_guard guard(lock);
    return current && !current->passed;
}

} // namespace selftest
