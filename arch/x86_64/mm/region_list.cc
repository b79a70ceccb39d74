#include "arch/x86_64/mm/region_list.h"

#include <algorithm>

namespace arch::x86 {

namespace {

u64 end_of(u64 base, u64 size) {
    u64 end;
    return __builtin_add_overflow(base, size, &end) ? ~u64{0} : end;
}

} // namespace

void region_list::erase(std::size_t at) {
    std::copy(runs_.begin() + at + 1, runs_.begin() + count_, runs_.begin() + at);
    count_--;
}

void region_list::insert(std::size_t at, region run) {
    if (count_ == runs_.size()) {
        const auto smallest = std::min_element(runs_.begin(), runs_.end(),
                                               [](const region& a, const region& b) { return a.size < b.size; });
        if (smallest->size >= run.size) return;
        const auto index = static_cast<std::size_t>(smallest - runs_.begin());
        erase(index);
        if (index < at) at--;
    }
    std::copy_backward(runs_.begin() + at, runs_.begin() + count_, runs_.begin() + count_ + 1);
    runs_[at] = run;
    count_++;
}

void region_list::add(u64 base, u64 size) {
    u64 end = end_of(base, size);
    if (end == base) return;
    // Swallow every run that overlaps or touches the new one.
    std::size_t at = 0;
    while (at < count_ && runs_[at].base + runs_[at].size < base)
        at++;
    while (at < count_ && runs_[at].base <= end) {
        base = std::min(base, runs_[at].base);
        end = std::max(end, runs_[at].base + runs_[at].size);
        erase(at);
    }
    insert(at, {base, end - base});
}

void region_list::remove(u64 base, u64 size) {
    const u64 end = end_of(base, size);
    for (std::size_t at = 0; at < count_;) {
        const u64 run_base = runs_[at].base, run_end = run_base + runs_[at].size;
        if (run_end <= base || end <= run_base || end == base) {
            at++;
            continue;
        }
        erase(at);
        if (run_base < base) insert(at++, {run_base, base - run_base});
        if (end < run_end) insert(at++, {end, run_end - end});
    }
}

void region_list::trim(u64 limit) {
    for (std::size_t at = 0; at < count_;) {
        const u64 end = k::align_down<u64>(std::min(runs_[at].base + runs_[at].size, limit), page_size);
        const u64 base = k::align_up<u64>(std::min(runs_[at].base, limit), page_size);
        if (base >= end) {
            erase(at);
            continue;
        }
        runs_[at++] = {base, end - base};
    }
}

bool region_list::contains(u64 base, u64 size) const {
    const u64 end = end_of(base, size);
    return std::ranges::any_of(view(), [&](const region& r) { return r.base <= base && end <= r.base + r.size; });
}

u64 region_list::total() const {
    u64 sum = 0;
    for (const region& r : view())
        sum += r.size;
    return sum;
}

} // namespace arch::x86
