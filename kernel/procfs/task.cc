#include "kernel/procfs/task_priv.h"

#include "kernel/proc/current.h"

namespace procfs {

static_assert(proc::most_numbers <= number_set::most && files::fd_table::most <= number_set::most);

bool task::exists() const noexcept {
    lwkt::token_hold hold(proc::tree);
    if (process->state == proc::life::gone) return false;
    return !thread || proc::find_thread(number) == thread.get();
}

k::ref<proc::thread> task::any_thread() const noexcept {
    if (thread) return thread.share();
    k::ref<proc::thread> best;
    process->for_each_thread([&](proc::thread& t) {
        if (!best || t.tid == process->pid) best = k::ref<proc::thread>::to(t);
    });
    return best;
}

k::status task::check_access() const noexcept {
    if (!proc::is_user_thread()) return {};
    const proc::process& self = proc::current_process();
    if (&self == process.get()) return {};
    const proc::identity user = self.who.user(), group = self.who.group();
    if (user.for_files == 0) return {};
    const auto is = [](const proc::identity& all, k::u32 id) {
        return all.real == id && all.effective == id && all.saved == id;
    };
    const bool same = is(process->who.user(), user.for_files) && is(process->who.group(), group.for_files);
    if (!same || !process->dumpable.load()) return k::error::acces;
    return {};
}

task find_task(int number) noexcept {
    lwkt::token_hold hold(proc::tree);
    if (proc::process* p = proc::find_process(number)) return {k::ref<proc::process>::to(*p), {}, number};
    proc::thread* t = proc::find_thread(number);
    if (!t) return {};
    return {k::ref<proc::process>::to(t->owner), k::ref<proc::thread>::to(*t), number};
}

task find_thread_of(const task& of, int number) noexcept {
    lwkt::token_hold hold(proc::tree);
    proc::thread* t = proc::find_thread(number);
    if (!t || &t->owner != of.process.get()) return {};
    return {of.process.share(), k::ref<proc::thread>::to(*t), number};
}

k::u32 number_set::next(k::u32 number) const noexcept {
    while (number < most) {
        const k::u64 rest = words_[number / 64] >> (number % 64);
        if (rest) return number + static_cast<k::u32>(std::countr_zero(rest));
        number = k::align_down(number, k::u32{64}) + 64;
    }
    return most;
}

void add_processes(number_set& to) noexcept {
    lwkt::token_hold hold(proc::tree);
    proc::for_each_process(
        [](proc::process& p, void* set) { static_cast<number_set*>(set)->add(static_cast<k::u32>(p.pid)); }, &to);
}

void add_threads(const task& of, number_set& to) noexcept {
    of.process->for_each_thread([&](proc::thread& t) { to.add(static_cast<k::u32>(t.tid)); });
}

} // namespace procfs
