// status, stat and statm: what a process is, uses and waits for, in three forms.
#include "kernel/procfs/task_texts_priv.h"

#include <algorithm>

namespace procfs {

namespace {

constexpr k::u64 kib_per_page = arch::page_size / 1024;
constexpr k::u64 ticks_per_second = 100; // USER_HZ

k::u64 to_ticks(k::u64 ns) noexcept {
    return ns / (ktime::second / ticks_per_second);
}

std::string_view state_name(char state) noexcept {
    switch (state) {
    case 'R': return "R (running)";
    case 'S': return "S (sleeping)";
    case 'T': return "T (stopped)";
    default: return "Z (zombie)";
    }
}

// A program may call itself what it likes, but it shall not write lines of its own.
void put_name(k::text_sink& to, std::string_view name) noexcept {
    for (const char& c : name) {
        if (c == '\n')
            to.put("\\n");
        else if (c == '\\')
            to.put("\\\\");
        else
            to.put({&c, 1});
    }
}

void put_ids(k::text_sink& to, std::string_view name, const proc::identity& ids) noexcept {
    k::format_to(to, "{}:\t{}\t{}\t{}\t{}\n", name, ids.real, ids.effective, ids.saved, ids.for_files);
}

void put_credentials(const task& of, k::text_sink& to) noexcept {
    const proc::credentials who = of.process->who.read();
    put_ids(to, "Uid", who.user);
    put_ids(to, "Gid", who.group);
    k::u32 descriptors = 0;
    if (const k::ref<proc::thread> t = of.any_thread())
        if (const auto table = t->share_files()) descriptors = table->count();
    k::format_to(to, "FDSize:\t{}\nGroups:\t", std::max(k::align_up(descriptors, k::u32{64}), k::u32{64}));
    if (who.more_groups)
        for (const k::u32 group : who.more_groups->groups())
            k::format_to(to, "{} ", group);
    to.put("\n");
}

void put_memory(const task_facts& facts, k::text_sink& to) noexcept {
    const auto line = [&](std::string_view name, k::u64 pages) {
        k::format_to(to, "{}:\t{:>8} kB\n", name, pages * kib_per_page);
    };
    line("VmPeak", std::max(facts.used.peak_pages, facts.size.mapped_pages));
    line("VmSize", facts.size.mapped_pages);
    line("VmLck", facts.size.locked_pages);
    line("VmHWM", facts.size.resident_pages);
    line("VmRSS", facts.size.resident_pages);
    line("VmData", facts.size.data_pages);
}

void put_signals(const task& of, const task_facts& facts, k::text_sink& to) noexcept {
    proc::process_signals& all = of.process->signals;
    proc::signal_set ignored, caught, pending, blocked;
    for (int number = 1; number <= proc::sig_max; number++) {
        const auto handler = all.action_of(number).handler;
        if (handler == proc::signal_action::handler_ignore)
            ignored.add(number);
        else if (handler != proc::signal_action::handler_default)
            caught.add(number);
    }
    if (facts.thread) {
        pending = all.pending(facts.thread->signals);
        blocked = facts.thread->signals.blocked();
    }
    const auto line = [&](std::string_view name, proc::signal_set what) {
        k::format_to(to, "{}:\t{:016X}\n", name, what.bits());
    };
    line("SigPnd", {});
    line("ShdPnd", pending);
    line("SigBlk", blocked);
    line("SigIgn", ignored);
    line("SigCgt", caught);
}

} // namespace

k::status make_status(const task& of, k::text_sink& to) {
    const task_facts facts = facts_of(of);
    const int number = of.thread ? of.number : facts.pid;
    const k::u32 umask = of.process->umask.load();
    to.put("Name:\t");
    put_name(to, facts.name_text());
    k::format_to(to, "\nUmask:\t0{}{}{}\nState:\t{}\n", umask >> 6 & 7, umask >> 3 & 7, umask & 7,
                 state_name(facts.state));
    k::format_to(to, "Tgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\n", facts.pid, number, facts.parent);
    put_credentials(of, to);
    k::format_to(to, "NStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\n", facts.pid, number, facts.group,
                 facts.session);
    if (facts.size.mapped_pages) put_memory(facts, to);
    k::format_to(to, "Threads:\t{}\n", facts.threads);
    put_signals(of, facts, to);
    const k::u64 capabilities = of.process->who.privileged() ? 0x1ff'ffff'ffff : 0;
    k::format_to(to, "CapInh:\t{:016X}\nCapPrm:\t{:016X}\nCapEff:\t{:016X}\nCapBnd:\t{:016X}\nCapAmb:\t{:016X}\n",
                 k::u64{0}, capabilities, capabilities, k::u64{0x1ff'ffff'ffff}, k::u64{0});
    k::format_to(to, "NoNewPrivs:\t{}\nSeccomp:\t0\n", of.process->no_new_privileges.load() ? 1 : 0);
    if (facts.thread) {
        const k::u32 all = arch::cpu::count() < 32 ? (k::u32{1} << arch::cpu::count()) - 1 : ~k::u32{0};
        k::format_to(to, "Cpus_allowed:\t{:08X}\n", facts.thread->affinity.load() & all);
    }
    k::format_to(to, "voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t0\n", facts.used.waits);
    return {};
}

// The 52 numbers of proc(5), of which many are always 0 here.
k::status make_stat(const task& of, k::text_sink& to) {
    const task_facts f = facts_of(of);
    const proc::process& p = *of.process;
    const int nice = p.nice.load();
    k::format_to(to, "{} ({}) {} {} {} {} {} {} 0 ", of.thread ? of.number : f.pid, f.name_text(), f.state, f.parent,
                 f.group, f.session, f.terminal, f.foreground);
    k::format_to(to, "{} 0 0 0 {} {} {} {} {} {} {} 0 ", f.used.faults, to_ticks(f.used.user_ns),
                 to_ticks(f.used.system_ns), to_ticks(f.dead_children.user_ns), to_ticks(f.dead_children.system_ns),
                 20 + nice, nice, f.threads);
    k::format_to(to, "{} {} {} {} 0 0 0 0 0 ", to_ticks(p.start_time), f.size.mapped_pages * arch::page_size,
                 f.size.resident_pages, p.limits.soft(proc::resource::resident));
    const unsigned cpu = f.thread ? f.thread->home.load() : 0;
    k::format_to(to, "0 0 0 0 0 0 0 {} {} 0 0 0 0 0 0 0 0 ", f.exit_signal, cpu);
    if (of.check_access())
        k::format_to(to, "{} {} {} {} 0\n", p.arguments_base, p.arguments_end, p.arguments_end, p.environment_end);
    else
        to.put("0 0 0 0 0\n");
    return {};
}

k::status make_statm(const task& of, k::text_sink& to) {
    const vm::space_size size = facts_of(of).size;
    k::format_to(to, "{} {} 0 0 0 {} 0\n", size.mapped_pages, size.resident_pages, size.data_pages);
    return {};
}

} // namespace procfs
