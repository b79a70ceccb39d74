// What can be set of a process: its name, its limits; and the table of all its files.
#include "kernel/lib/text.h"
#include "kernel/proc/current.h"
#include "kernel/procfs/task_texts_priv.h"

#include <algorithm>

namespace procfs {

namespace {

struct limit_row {
    std::string_view name, unit;
    proc::resource what;
};
constexpr limit_row limit_rows[] = {
    {"Max cpu time", "seconds", proc::resource::cpu},
    {"Max file size", "bytes", proc::resource::file_size},
    {"Max data size", "bytes", proc::resource::data},
    {"Max stack size", "bytes", proc::resource::stack},
    {"Max core file size", "bytes", proc::resource::core},
    {"Max resident set", "bytes", proc::resource::resident},
    {"Max processes", "processes", proc::resource::processes},
    {"Max open files", "files", proc::resource::files},
    {"Max locked memory", "bytes", proc::resource::locked},
    {"Max address space", "bytes", proc::resource::address_space},
    {"Max file locks", "locks", proc::resource::locks},
    {"Max pending signals", "signals", proc::resource::signals},
    {"Max msgqueue size", "bytes", proc::resource::queues},
    {"Max nice priority", "", proc::resource::nice},
    {"Max realtime priority", "", proc::resource::real_time},
    {"Max realtime timeout", "us", proc::resource::real_time_us},
};

void put_limit(k::u64 value, k::text_sink& to) noexcept {
    if (value == proc::unlimited)
        k::format_to(to, "{:<20} ", "unlimited");
    else
        k::format_to(to, "{:<20} ", value);
}

constexpr file_row rows[] = {
    {"status", 0444, make_status},
    {"stat", 0444, make_stat},
    {"statm", 0444, make_statm},
    {"maps", 0444, make_maps, nullptr, true},
    {"cmdline", 0444, make_command_line},
    {"environ", 0400, make_environment, nullptr, true},
    {"comm", 0644, make_name, take_name},
    {"limits", 0444, make_limits},
    {"mounts", 0444, make_mounts},
    {"mountinfo", 0444, make_mount_info},
    {"wchan", 0444, make_wait},
    {"oom_score", 0444, make_zero},
    {"oom_score_adj", 0644, make_oom_adjustment, take_oom_adjustment},
};

} // namespace

std::span<const file_row> task_files() noexcept {
    return rows;
}

k::status make_name(const task& of, k::text_sink& to) {
    to.put(facts_of(of).name_text());
    to.put("\n");
    return {};
}

// Only by its own process, as in Linux.
k::status take_name(const task& of, std::string_view text) {
    if (&proc::current_process() != of.process.get()) return k::error::inval;
    const k::ref<proc::thread> t = of.any_thread();
    if (!t) return k::error::srch;
    proc::set_name(*t, text);
    return {};
}

k::status make_limits(const task& of, k::text_sink& to) {
    k::format_to(to, "{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (const limit_row& r : limit_rows) {
        const proc::limit now = of.process->limits.get(r.what);
        k::format_to(to, "{:<25} ", r.name);
        put_limit(now.soft, to);
        put_limit(now.hard, to);
        k::format_to(to, "{:<10}\n", r.unit);
    }
    return {};
}

k::status make_oom_adjustment(const task& of, k::text_sink& to) {
    k::format_to(to, "{}\n", of.process->oom_score_adjustment.load());
    return {};
}

k::status take_oom_adjustment(const task& of, std::string_view text) {
    constexpr int most = 1000;
    TRY(of.check_access());
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    const auto number = k::parse_number(text);
    if (!number || *number > most) return k::error::inval;
    const int to = negative ? -static_cast<int>(*number) : static_cast<int>(*number);
    if (to < of.process->oom_score_adjustment.load() && !proc::current_process().who.privileged())
        return k::error::acces;
    of.process->oom_score_adjustment = to;
    return {};
}

// Where in the kernel it sleeps: that is told to nobody.
k::status make_wait(const task&, k::text_sink& to) {
    to.put("0");
    return {};
}

k::status make_zero(const task&, k::text_sink& to) {
    to.put("0\n");
    return {};
}

} // namespace procfs
