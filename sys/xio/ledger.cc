#include "sys/xio/ledger.h"

namespace xio {

platform::per_cpu<local_ledger> local_ledger::all;

void local_ledger::add_to(ledger& sum) const noexcept {
    for (unsigned r = 0; r < reasons; r++)
        sum.copied[r] += copied_[r].load(std::memory_order_relaxed);
    for (unsigned h = 0; h < happenings; h++)
        sum.count[h] += count_[h].load(std::memory_order_relaxed);
}

ledger read_ledger() noexcept {
    ledger sum{};
    for (unsigned cpu = 0; cpu < platform::cpu_count(); cpu++)
        local_ledger::all.of(cpu).add_to(sum);
    return sum;
}

std::string_view name_of(reason r) {
    constexpr std::string_view names[reasons] = {
        "asked",      "kernel read", "kernel write", "pins full",    "copy on write", "page in", "file read",
        "file write", "too small",   "over limit",   "not lendable", "loan ended",    "bounced"};
    return names[static_cast<unsigned>(r)];
}

std::string_view name_of(happening h) {
    constexpr std::string_view names[happenings] = {"built", "released", "bytes lent", "mapped", "build refused"};
    return names[static_cast<unsigned>(h)];
}

} // namespace xio
