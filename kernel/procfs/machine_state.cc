// The machine's memory, CPUs and load.
#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/thread.h"
#include "kernel/mem/page.h"
#include "kernel/proc/load_average.h"
#include "kernel/procfs/machine_texts_priv.h"
#include "kernel/time/realtime.h"
#include "sys/vfs/tmpfs.h"
#include "sys/vm/object.h"

namespace procfs {

namespace {

constexpr k::u64 ticks_per_second = 100; // USER_HZ

k::u64 to_ticks(k::u64 ns) noexcept {
    return ns / (ktime::second / ticks_per_second);
}

struct cpu_times {
    k::u64 busy_ns, idle_ns, switches;
};

cpu_times times_of(unsigned cpu) noexcept {
    if (!lwkt::is_running(cpu)) return {};
    const lwkt::scheduler_counters now = lwkt::scheduler_statistics(cpu);
    const k::u64 up = ktime::now();
    return {up > now.idle_ns ? up - now.idle_ns : 0, std::min(up, now.idle_ns), now.switches};
}

cpu_times times_of_all() noexcept {
    cpu_times sum{};
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        const cpu_times one = times_of(cpu);
        sum.busy_ns += one.busy_ns;
        sum.idle_ns += one.idle_ns;
        sum.switches += one.switches;
    }
    return sum;
}

// Nobody keeps apart what programs and the kernel use of a CPU; it all counts as the programs'.
void put_cpu(std::string_view name, const cpu_times& t, k::text_sink& to) noexcept {
    k::format_to(to, "{} {} 0 0 {} 0 0 0 0 0 0\n", name, to_ticks(t.busy_ns), to_ticks(t.idle_ns));
}

k::u32 running_threads() noexcept {
    k::u32 sum = 0;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        if (lwkt::is_running(cpu)) sum += lwkt::load_of(cpu);
    return sum;
}

void put_hundredths(k::u64 value, k::u64 in_one, k::text_sink& to) noexcept {
    k::format_to(to, "{}.{:02} ", value / in_one, value % in_one * 100 / in_one);
}

} // namespace

k::status make_memory(const task&, k::text_sink& to) {
    constexpr k::u64 kib_per_page = arch::page_size / 1024;
    const vm::page_account pages = vm::account();
    const auto line = [&](std::string_view name, k::u64 count) {
        k::format_to(to, "{:<15} {:>9} kB\n", name, count * kib_per_page);
    };
    const auto used = [&](vm::page_use use) { return pages.in_use[static_cast<unsigned>(use)]; };
    const k::u64 free = pages.free + pages.cached;
    line("MemTotal:", pages.total);
    line("MemFree:", free);
    line("MemAvailable:", free);
    line("Buffers:", 0);
    const k::u64 in_files = std::min(vfs::tmpfs_pages(), used(vm::page_use::object));
    line("Cached:", in_files);
    line("SwapCached:", 0);
    line("SwapTotal:", 0);
    line("SwapFree:", 0);
    line("Dirty:", 0);
    line("Writeback:", 0);
    line("AnonPages:", used(vm::page_use::object) - in_files);
    line("Shmem:", in_files);
    line("Slab:", used(vm::page_use::slab));
    line("SReclaimable:", 0);
    line("SUnreclaim:", used(vm::page_use::slab));
    line("KernelStack:", used(vm::page_use::stack));
    line("PageTables:", used(vm::page_use::page_table));
    line("CommitLimit:", vm::promise_limit());
    return {};
}

// What vmstat wants: nothing comes from a disk or goes there.
k::status make_memory_events(const task&, k::text_sink& to) {
    const vm::page_account pages = vm::account();
    const k::u64 in_objects = pages.in_use[static_cast<unsigned>(vm::page_use::object)];
    const k::u64 in_files = std::min(vfs::tmpfs_pages(), in_objects);
    k::format_to(to, "nr_free_pages {}\nnr_anon_pages {}\nnr_file_pages {}\nnr_shmem {}\n", pages.free + pages.cached,
                 in_objects - in_files, in_files, in_files);
    to.put("nr_dirty 0\nnr_writeback 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\n");
    return {};
}

k::status make_processors(const task&, k::text_sink& to) {
    const k::u64 khz = arch::clock::cycles_hz() / 1000;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        if (!lwkt::is_running(cpu)) continue;
        k::format_to(to, "processor\t: {}\nmodel name\t: {}\ncpu MHz\t\t: {}.{:03}\n", cpu, arch::cpu::model(),
                     khz / 1000, khz % 1000);
        k::format_to(to, "cpu cores\t: {}\nfpu\t\t: yes\naddress sizes\t: 48 bits virtual\n\n", arch::cpu::count());
    }
    return {};
}

k::status make_uptime(const task&, k::text_sink& to) {
    put_hundredths(ktime::now(), ktime::second, to);
    put_hundredths(times_of_all().idle_ns, ktime::second, to);
    to.put("\n");
    return {};
}

k::status make_load(const task&, k::text_sink& to) {
    const proc::load_average load = proc::load_now();
    for (const k::u64 average : {load.minutes_1, load.minutes_5, load.minutes_15})
        put_hundredths(average, k::u64{1} << proc::load_shift, to);
    k::format_to(to, "{}/{} {}\n", running_threads(), lwkt::threads_alive(), proc::processes_made());
    return {};
}

k::status make_machine_stat(const task&, k::text_sink& to) {
    const cpu_times all = times_of_all();
    put_cpu("cpu ", all, to);
    k::u64 interrupts = 0;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        if (!lwkt::is_running(cpu)) continue;
        char name[12];
        k::buffer_sink text(name);
        k::format_to(text, "cpu{}", cpu);
        put_cpu(text.view(), times_of(cpu), to);
        interrupts += lwkt::ipi_statistics(cpu).interrupts;
    }
    k::format_to(to, "intr {}\nctxt {}\nbtime {}\nprocesses {}\n", interrupts, all.switches,
                 ktime::realtime_offset() / ktime::second, proc::processes_made());
    k::format_to(to, "procs_running {}\nprocs_blocked 0\n", running_threads());
    return {};
}

} // namespace procfs
