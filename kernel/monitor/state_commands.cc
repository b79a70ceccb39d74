// Tables of the state of CPUs, threads and memory, and the commands that show them.
//
// What belongs to a CPU is read by that CPU, in an IPI function that writes it down in a buffer of the caller's;
// the text is made afterwards, in the caller's thread. CPUs that did not start are not asked.
#include "kernel/lib/log.h"
#include "kernel/lwkt/contention.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/port_list.h"
#include "kernel/lwkt/thread.h"
#include "kernel/mem/slab.h"
#include "kernel/monitor/commands_priv.h"
#include "kernel/monitor/state_tables.h"
#include "kernel/time/callout.h"

#include <algorithm>

namespace monitor {

namespace {

// One CPU's numbers.
struct cpu_record {
    bool running;
    lwkt::scheduler_counters scheduler;
    lwkt::ipi_counters ipi;
    lwkt::contention_counters waits;
    ktime::ns now;
};

struct cpu_records {
    cpu_record of[arch::max_cpus] = {};

    static void add(void* self) {
        const unsigned cpu = arch::cpu::id();
        static_cast<cpu_records*>(self)->of[cpu] = {
            .running = true,
            .scheduler = lwkt::scheduler_statistics(cpu),
            .ipi = lwkt::ipi_statistics(cpu),
            .waits = lwkt::contention_statistics(cpu),
            .now = ktime::now(),
        };
    }
};

struct thread_record {
    char name[sizeof(lwkt::thread::name)];
    unsigned cpu;
    lwkt::thread_state state;
    lwkt::priority level;
    k::u64 switches;
};

// Filled by all CPUs at once.
struct thread_records {
    static constexpr unsigned capacity = 512;

    std::atomic<unsigned> count = 0; // threads met; those beyond the capacity are only counted
    thread_record records[capacity] = {};

    static void add(const lwkt::thread& t, void* self) {
        auto& all = *static_cast<thread_records*>(self);
        const unsigned at = all.count.fetch_add(1, std::memory_order_relaxed);
        if (at >= capacity) return;
        thread_record& r = all.records[at];
        std::ranges::copy(t.name, r.name);
        r.cpu = arch::cpu::id();
        r.state = t.state;
        r.level = t.level;
        r.switches = t.switches;
    }
};

// The same of ports.
struct port_records {
    static constexpr unsigned capacity = 256;
    struct record {
        char name[lwkt::listed_port::longest_name];
        std::size_t length;
        unsigned cpu;
        k::u32 queued;

        std::string_view text() const { return {name, length}; }
    };

    std::atomic<unsigned> count = 0;
    record records[capacity] = {};

    static void add(const lwkt::listed_port& p, void* self) {
        auto& all = *static_cast<port_records*>(self);
        const unsigned at = all.count.fetch_add(1, std::memory_order_relaxed);
        if (at >= capacity) return;
        record& r = all.records[at];
        r.length = p.name().copy(r.name, sizeof(r.name));
        r.cpu = p.of().cpu();
        r.queued = p.of().queued();
    }
};

std::string_view name_of(lwkt::thread_state state) {
    switch (state) {
    case lwkt::thread_state::ready: return "ready";
    case lwkt::thread_state::running: return "running";
    case lwkt::thread_state::blocked: return "blocked";
    case lwkt::thread_state::dead: return "dead";
    }
    return "?";
}

void put_pages_line(k::text_sink& to, std::string_view name, k::u64 pages) {
    constexpr k::u64 kib_per_page = arch::page_size / 1024;
    k::format_to(to, "{:<12} {:>10} {:>12}\n", name, pages, pages * kib_per_page);
}

} // namespace

k::status put_cpus(k::text_sink& to) noexcept {
    const auto records = mem::make_box<cpu_records>();
    if (!records) return k::error::nomem;
    lwkt::call_everywhere(cpu_records::add, records.get());
    k::format_to(to, "{}\n", arch::cpu::model());
    k::format_to(to, "{:>3} {:>10} {:>9} {:>9} {:>10} {:>10} {:>9} {:>7} {:>7} {:>7} {:>5} {:>14}\n", "cpu", "switches",
                 "preempted", "moved off", "ipis sent", "interrupts", "ring full", "tokens", "spins", "sleeps", "idle",
                 "time ns");
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        const cpu_record& r = records->of[cpu];
        if (!r.running) {
            k::format_to(to, "{:>3} not running\n", cpu);
            continue;
        }
        k::format_to(to, "{:>3} {:>10} {:>9} {:>9} {:>10} {:>10} {:>9} {:>7} {:>7} {:>7} {:>4}% {:>14}\n", cpu,
                     r.scheduler.switches, r.scheduler.preemptions, r.scheduler.handed_over, r.ipi.sent,
                     r.ipi.interrupts, r.ipi.ring_full, r.waits.tokens, r.waits.spinlocks, r.waits.sleep_locks,
                     r.scheduler.idle_ns / std::max<k::u64>(r.now / 100, 1), r.now);
    }
    return {};
}

k::status put_threads(k::text_sink& to) noexcept {
    const auto all = mem::make_box<thread_records>();
    if (!all) return k::error::nomem;
    lwkt::call_everywhere([](void* records) { lwkt::visit_threads(thread_records::add, records); }, all.get());
    const unsigned met = all->count.load(std::memory_order_relaxed);
    const std::span<thread_record> records(all->records, std::min(met, thread_records::capacity));
    std::ranges::sort(records, {}, &thread_record::cpu);
    k::format_to(to, "{:>3} {:<24} {:<8} {:>5} {:>12}\n", "cpu", "name", "state", "level", "switches");
    for (const thread_record& r : records)
        k::format_to(to, "{:>3} {:<24} {:<8} {:>5} {:>12}\n", r.cpu, r.name, name_of(r.state), r.level, r.switches);
    if (met > records.size()) k::format_to(to, "and {} more\n", met - records.size());
    return {};
}

k::status put_ports(k::text_sink& to) noexcept {
    const auto all = mem::make_box<port_records>();
    if (!all) return k::error::nomem;
    lwkt::call_everywhere([](void* records) { lwkt::visit_ports(port_records::add, records); }, all.get());
    const unsigned met = all->count.load(std::memory_order_relaxed);
    const std::span<port_records::record> records(all->records, std::min(met, port_records::capacity));
    std::ranges::sort(records, [](const auto& a, const auto& b) {
        return a.text() != b.text() ? a.text() < b.text() : a.cpu < b.cpu;
    });
    k::format_to(to, "{:<24} {:>3} {:>8}\n", "port", "cpu", "messages");
    for (const auto& r : records)
        k::format_to(to, "{:<24} {:>3} {:>8}\n", r.text(), r.cpu, r.queued);
    if (met > records.size()) k::format_to(to, "and {} more\n", met - records.size());
    return {};
}

k::status put_pages(k::text_sink& to) noexcept {
    const vm::page_account pages = vm::account();
    k::format_to(to, "{:<12} {:>10} {:>12}\n", "use", "pages", "KiB");
    put_pages_line(to, "free", pages.free);
    put_pages_line(to, "cached", pages.cached);
    for (unsigned use = 0; use < vm::page_uses; use++)
        if (static_cast<vm::page_use>(use) != vm::page_use::free)
            put_pages_line(to, vm::name_of(static_cast<vm::page_use>(use)), pages.in_use[use]);
    put_pages_line(to, "total", pages.total);
    k::format_to(to, "slab objects in use: {}\n", mem::objects_in_use());
    return {};
}

namespace {

// Whole lines go to the log.
class log_sink final : public k::text_sink {
  public:
    void put(std::string_view text) override {
        for (char c : text) {
            if (used_ < sizeof(line_)) line_[used_++] = c;
            if (c != '\n') continue;
            k::log("{}", std::string_view(line_, used_));
            used_ = 0;
        }
    }

  private:
    char line_[256];
    std::size_t used_ = 0;
};

bool show(k::status (*put)(k::text_sink&) noexcept) {
    log_sink to;
    if (put(to)) return true;
    k::log("no memory to gather it in\n");
    return false;
}

} // namespace

bool show_cpus(std::string_view) {
    return show(put_cpus);
}

bool show_threads(std::string_view) {
    return show(put_threads);
}

bool show_ports(std::string_view) {
    return show(put_ports);
}

bool show_pages(std::string_view) {
    return show(put_pages);
}

bool show_xio(std::string_view) {
    return show(put_xio);
}

} // namespace monitor
