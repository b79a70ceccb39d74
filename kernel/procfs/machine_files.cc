// All files of the machine, as rows; and the texts of the small ones.
#include "kernel/files/file_systems.h"
#include "kernel/files/pipe.h"
#include "kernel/lwkt/trace.h"
#include "kernel/monitor/state_tables.h"
#include "kernel/proc/current.h"
#include "kernel/proc/random.h"
#include "kernel/proc/system_names.h"
#include "kernel/procfs/machine_texts_priv.h"

namespace procfs {

namespace {

template <k::status (*Put)(k::text_sink&) noexcept> k::status table(const task&, k::text_sink& to) {
    return Put(to);
}

template <k::u64 Number> k::status number(const task&, k::text_sink& to) {
    k::format_to(to, "{}\n", Number);
    return {};
}

template <const std::string_view& Text> k::status text(const task&, k::text_sink& to) {
    k::format_to(to, "{}\n", Text);
    return {};
}

k::status make_version(const task&, k::text_sink& to) {
    k::format_to(to, "{} version {} {}\n", proc::system_type, proc::system_release, proc::system_version);
    return {};
}

k::status make_boot_line(const task&, k::text_sink& to) {
    k::format_to(to, "{}\n", arch::boot::command_line());
    return {};
}

k::status make_file_systems(const task&, k::text_sink& to) {
    for (const std::string_view type : files::file_system_types())
        k::format_to(to, "{}\t{}\n", files::is_on_a_disk(type) ? "" : "nodev", type);
    return {};
}

k::status make_host_name(const task&, k::text_sink& to) {
    k::format_to(to, "{}\n", proc::host_name().view());
    return {};
}

k::status take_host_name(const task&, std::string_view text) {
    if (!proc::current_process().who.privileged()) return k::error::perm;
    if (text.size() > proc::longest_system_name) return k::error::inval;
    proc::set_host_name(text);
    return {};
}

// --- The list of events

// A reader takes it in pieces, between which it must not grow.
k::status make_trace(const task&, k::text_sink& to) {
    if (trace::is_on.load(std::memory_order_relaxed)) return k::error::busy;
    trace::put(to);
    return {};
}

// 1: begin anew, 0: stop, and keep what was noted; clear: stop, and forget it.
k::status take_trace(const task&, std::string_view text) {
    if (!proc::current_process().who.privileged()) return k::error::perm;
    if (text == "0") {
        trace::stop();
    } else if (text == "clear") {
        trace::clear();
    } else if (text == "1") {
        trace::clear();
        return trace::start();
    } else {
        return k::error::inval;
    }
    return {};
}

// --- Random ones

struct uuid {
    k::u8 bytes[16];

    static uuid make() noexcept {
        uuid u;
        proc::fill_random(std::as_writable_bytes(std::span(u.bytes)));
        u.bytes[6] = (u.bytes[6] & 0x0f) | 0x40; // version 4
        u.bytes[8] = (u.bytes[8] & 0x3f) | 0x80;
        return u;
    }
    void put(k::text_sink& to) const noexcept {
        for (unsigned i = 0; i < sizeof(bytes); i++) {
            if (i == 4 || i == 6 || i == 8 || i == 10) to.put("-");
            k::format_to(to, "{:02X}", bytes[i]);
        }
        to.put("\n");
    }
};

k::status make_uuid(const task&, k::text_sink& to) {
    uuid::make().put(to);
    return {};
}

// Made when it is first asked for.
k::status make_boot_id(const task&, k::text_sink& to) {
    static std::atomic<const uuid*> kept;
    const uuid* u = kept.load(std::memory_order_acquire);
    if (!u) {
        auto fresh = mem::make_box<uuid>(uuid::make());
        if (!fresh) return k::error::nomem;
        if (kept.compare_exchange_strong(u, fresh.get(), std::memory_order_acq_rel)) u = fresh.release();
    }
    u->put(to);
    return {};
}

// --- Nothing is paged out.

constexpr std::string_view swaps_head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority";

// --- Device numbers, by which ps finds the name of a terminal.

constexpr std::string_view devices = "Character devices:\n  1 mem\n  4 ttyS\n  5 /dev/tty\n  5 /dev/console\n"
                                     "  5 /dev/ptmx\n136 pts\n\nBlock devices:";
constexpr std::string_view terminal_drivers = "/dev/tty             /dev/tty        5       0 system:/dev/tty\n"
                                              "/dev/console         /dev/console    5       1 system:console\n"
                                              "/dev/ptmx            /dev/ptmx       5       2 system\n"
                                              "serial               /dev/ttyS       4      64 serial\n"
                                              "pty_slave            /dev/pts      136   0-255 pty:slave";

// --- The rows

constexpr file_row top_rows[] = {
    {"meminfo", 0444, make_memory},
    {"cpuinfo", 0444, make_processors},
    {"uptime", 0444, make_uptime},
    {"loadavg", 0444, make_load},
    {"stat", 0444, make_machine_stat},
    {"vmstat", 0444, make_memory_events},
    {"diskstats", 0444, make_disk_statistics},
    {"partitions", 0444, make_partitions},
    {"swaps", 0444, text<swaps_head>},
    {"devices", 0444, text<devices>},
    {"version", 0444, make_version},
    {"filesystems", 0444, make_file_systems},
    {"cmdline", 0444, make_boot_line},
    // What no other kernel has.
    {"xio", 0444, table<monitor::put_xio>},
    {"threads", 0444, table<monitor::put_threads>},
    {"ports", 0444, table<monitor::put_ports>},
    {"cpus", 0444, table<monitor::put_cpus>},
    {"pages", 0444, table<monitor::put_pages>},
    {"trace", 0600, make_trace, take_trace},
};
constexpr file_row terminal_rows[] = {{"drivers", 0444, text<terminal_drivers>}};
constexpr file_row random_rows[] = {
    {"boot_id", 0444, make_boot_id},
    {"uuid", 0444, make_uuid},
};
constexpr file_row kernel_rows[] = {
    {"hostname", 0644, make_host_name, take_host_name}, {"osrelease", 0444, text<proc::system_release>},
    {"ostype", 0444, text<proc::system_type>},          {"version", 0444, text<proc::system_version>},
    {"pid_max", 0444, number<proc::most_numbers>},
};
constexpr file_row memory_rows[] = {{"overcommit_memory", 0444, number<0>}};
constexpr file_row file_rows[] = {
    {"file-max", 0444, number<(~k::u64{0} >> 1)>},
    {"nr_open", 0444, number<files::fd_table::most>},
    {"pipe-max-size", 0444, number<files::pipe::most_capacity>},
};
constexpr folder_row kernel_folders[] = {{"random", 5, random_rows, {}}};
constexpr folder_row sys_folders[] = {
    {"kernel", 2, kernel_rows, kernel_folders},
    {"vm", 3, memory_rows, {}},
    {"fs", 4, file_rows, {}},
};
constexpr folder_row top_folders[] = {{"sys", 1, {}, sys_folders}, {"tty", 6, terminal_rows, {}}};

} // namespace

constinit const folder_row machine_files{"", 0, top_rows, top_folders};

} // namespace procfs
