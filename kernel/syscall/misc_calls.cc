// System calls about the system and about settings of a process that no other file has.
#include "drivers/block/registry.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/mem/page.h"
#include "kernel/proc/current.h"
#include "kernel/proc/group.h"
#include "kernel/proc/load_average.h"
#include "kernel/proc/random.h"
#include "kernel/proc/system_names.h"
#include "kernel/syscall/calls.h"
#include "sys/ext/ext.h"

#include <algorithm>
#include <cstring>

namespace syscalls {

namespace {

using proc::current;
using proc::current_process;
using proc::current_space;
using vm::user_pointer;

// --- What system this is.

struct name_record {
    char system[65], node[65], release[65], version[65], machine[65], domain[65];
};

k::result<k::u64> sys_uname(user_pointer<name_record> to) {
    name_record r{};
    proc::system_type.copy(r.system, sizeof(r.system));
    proc::host_name().view().copy(r.node, sizeof(r.node));
    proc::system_release.copy(r.release, sizeof(r.release));
    proc::system_version.copy(r.version, sizeof(r.version));
    proc::machine_type.copy(r.machine, sizeof(r.machine));
    proc::domain_name().view().copy(r.domain, sizeof(r.domain));
    TRY(to.write(current_space(), r));
    return 0;
}

k::status set_name(void (*set)(std::string_view), user_pointer<const char> from, int length) {
    if (!current_process().who.privileged()) return k::error::perm;
    constexpr auto most = static_cast<int>(proc::longest_system_name);
    if (length < 0 || length > most) return k::error::inval;
    char text[proc::longest_system_name];
    TRY(from.read_array(current_space(), {text, static_cast<std::size_t>(length)}));
    set({text, static_cast<std::size_t>(length)});
    return {};
}

k::result<k::u64> sys_sethostname(user_pointer<const char> name, int length) {
    TRY(set_name([](std::string_view to) { proc::set_host_name(to); }, name, length));
    return 0;
}

k::result<k::u64> sys_setdomainname(user_pointer<const char> name, int length) {
    TRY(set_name([](std::string_view to) { proc::set_domain_name(to); }, name, length));
    return 0;
}

struct system_record {
    k::i64 uptime_s;
    k::u64 loads[3];
    k::u64 memory, free_memory, shared_memory, buffers, swap, free_swap;
    k::u16 processes, pad;
    k::u64 high_memory, free_high_memory;
    k::u32 unit;
};
static_assert(sizeof(system_record) == 112);

k::result<k::u64> sys_sysinfo(user_pointer<system_record> to) {
    const vm::page_account pages = vm::account();
    system_record r{};
    r.uptime_s = static_cast<k::i64>(ktime::now() / ktime::second);
    const proc::load_average load = proc::load_now();
    r.loads[0] = load.minutes_1;
    r.loads[1] = load.minutes_5;
    r.loads[2] = load.minutes_15;
    r.memory = pages.total * arch::page_size;
    r.free_memory = (pages.free + pages.cached) * arch::page_size;
    {
        lwkt::token_hold hold(proc::tree);
        r.processes = static_cast<k::u16>(std::min(proc::user_threads(), 0xffffu));
    }
    r.unit = 1;
    TRY(to.write(current_space(), r));
    return 0;
}

k::result<k::u64> sys_getrandom(user_buffer to, k::u64 bytes, bits flags) {
    constexpr k::u64 known = 7, most = 0x1ffffff;
    if (flags.value & ~known || (flags.value & 6) == 6) return k::error::inval;
    bytes = std::min(bytes, most);
    std::byte piece[256];
    for (k::u64 done = 0; done < bytes;) {
        const std::span<std::byte> part(piece, std::min<k::u64>(bytes - done, sizeof(piece)));
        proc::fill_random(part);
        const k::u64 good = current_space().copy_out(to.at + done, part.data(), part.size());
        done += good;
        if (good == part.size()) continue;
        if (!done) return k::error::fault;
        return done;
    }
    return bytes;
}

constexpr k::u32 reboot_magic = 0xfee1dead;
constexpr k::u32 reboot_more_magic[] = {672274793, 85072278, 369367448, 537993216};

k::result<k::u64> sys_reboot(k::u32 magic, k::u32 more_magic, k::u32 command, user_buffer) {
    if (!current_process().who.privileged()) return k::error::perm;
    if (magic != reboot_magic || std::ranges::find(reboot_more_magic, more_magic) == std::end(reboot_more_magic))
        return k::error::inval;
    if (command == 0x01234567 || command == 0xcdef0123 || command == 0x4321fedc) {
        ext::finish_all();
        (void)block::write_all_back();
    }
    switch (command) {
    case 0x01234567: arch::cpu::reboot(); break;
    case 0xcdef0123:
    case 0x4321fedc: arch::cpu::power_off(arch::exit_status::success); break;
    case 0x89abcdef: // what Ctrl-Alt-Del does: nothing, either way
    case 0: return 0;
    }
    return k::error::inval;
}

// --- Settings of a process or thread.

k::result<k::u64> sys_personality(bits to) {
    constexpr k::u64 only_look = 0xffffffff;
    proc::process& p = current_process();
    const k::u32 old = p.personality.load(std::memory_order_relaxed);
    if (to.value != only_look) p.personality.store(static_cast<k::u32>(to.value), std::memory_order_relaxed);
    return old;
}

enum prctl_option : int {
    set_death_signal = 1,
    get_death_signal = 2,
    get_dumpable = 3,
    set_dumpable = 4,
    get_keep_capabilities = 7,
    set_name_option = 15,
    get_name_option = 16,
    get_seccomp = 21,
    read_bounding_capability = 23,
    set_timer_slack = 29,
    get_timer_slack = 30,
    set_child_subreaper = 36,
    get_child_subreaper = 37,
    set_no_new_privileges = 38,
    get_no_new_privileges = 39,
    set_huge_pages_off = 41,
    get_huge_pages_off = 42,
};

k::result<k::u64> write_int(k::u64 at, int value) {
    TRY(user_pointer<int>(at).write(current_space(), value));
    return 0;
}

k::result<k::u64> set_thread_name(k::u64 from) {
    proc::thread& t = current();
    char name[sizeof(t.name)] = {};
    for (unsigned i = 0; i < sizeof(name) - 1; i++) {
        name[i] = TRY(user_pointer<const char>(from + i).read(current_space()));
        if (!name[i]) break;
    }
    proc::set_name(t, name);
    return 0;
}

k::result<k::u64> sys_prctl(int option, k::u64 a, k::u64 b, k::u64 c, k::u64 d) {
    proc::process& p = current_process();
    constexpr k::u64 slack_ns = 50000;
    switch (option) {
    case set_death_signal: {
        if (a > proc::sig_max) return k::error::inval;
        lwkt::token_hold hold(proc::tree);
        p.parent_death_signal = static_cast<int>(a);
        return 0;
    }
    case get_death_signal: {
        int signal;
        {
            lwkt::token_hold hold(proc::tree);
            signal = p.parent_death_signal;
        }
        return write_int(a, signal);
    }
    case get_dumpable: return p.dumpable.load();
    case set_dumpable:
        if (a > 1) return k::error::inval;
        p.dumpable = a;
        return 0;
    case set_name_option: return set_thread_name(a);
    case get_name_option:
        TRY(user_pointer<char>(a).write_array(current_space(), std::span<const char>(current().name)));
        return 0;
    case read_bounding_capability: return a <= 40 ? k::result<k::u64>(1) : k::error::inval;
    case get_timer_slack: return slack_ns;
    case get_keep_capabilities:
    case get_seccomp:
    case set_timer_slack:
    case set_huge_pages_off:
    case get_huge_pages_off: return 0;
    case set_child_subreaper: {
        lwkt::token_hold hold(proc::tree);
        p.adopts_orphans = a;
        return 0;
    }
    case get_child_subreaper: {
        bool adopts;
        {
            lwkt::token_hold hold(proc::tree);
            adopts = p.adopts_orphans;
        }
        return write_int(a, adopts);
    }
    case set_no_new_privileges:
        if (a != 1 || b || c || d) return k::error::inval;
        p.no_new_privileges = true;
        return 0;
    case get_no_new_privileges:
        if (a || b || c || d) return k::error::inval;
        return p.no_new_privileges.load();
    default: return k::error::inval;
    }
}

k::result<k::u64> sys_arch_prctl(int option, k::u64 address) {
    constexpr int set_gs = 0x1001, set_fs = 0x1002, get_fs = 0x1003, get_gs = 0x1004;
    switch (option) {
    case set_fs:
        if (address >= arch::user_end) return k::error::perm;
        current().user.set_thread_pointer(address);
        return 0;
    case get_fs: TRY(user_pointer<k::u64>(address).write(current_space(), current().user.thread_pointer())); return 0;
    case set_gs: return k::error::perm; // the base of GS stays 0
    case get_gs: TRY(user_pointer<k::u64>(address).write(current_space(), 0)); return 0;
    default: return k::error::inval;
    }
}

// A barrier on all CPUs that run user code: an interrupt is one.
k::result<k::u64> sys_membarrier(int command, bits flags) {
    enum : int { query = 0, global = 1, global_fast = 2, register_global = 4, fast = 8, register_fast = 16 };
    if (flags.value) return k::error::inval;
    switch (command) {
    case query: return global | global_fast | register_global | fast | register_fast;
    case global:
    case global_fast:
    case fast: lwkt::call_everywhere_else([](void*) {}, nullptr); return 0;
    case register_global:
    case register_fast: return 0;
    default: return k::error::inval;
    }
}

// Libraries ask for it and do without; that is not worth a line in the log.
k::result<k::u64> sys_rseq() {
    return k::error::nosys;
}

constexpr entry entries[] = {
    call<sys_uname>(63, "uname"),
    call<sys_sysinfo>(99, "sysinfo"),
    call<sys_personality>(135, "personality", ends, "kept; only ADDR_NO_RANDOMIZE has an effect"),
    call<sys_prctl>(157, "prctl", ends,
                    "names, death signal, dumpable, subreaper, no_new_privs; others as far as they are harmless"),
    call<sys_arch_prctl>(158, "arch_prctl", ends, "FS only"),
    call<sys_reboot>(169, "reboot"),
    call<sys_sethostname>(170, "sethostname"),
    call<sys_setdomainname>(171, "setdomainname"),
    call<sys_getrandom>(318, "getrandom", ends, "never blocks; see kernel/proc/random.h for what it is worth"),
    call<sys_membarrier>(324, "membarrier"),
    call<sys_rseq>(334, "rseq", ends, "always ENOSYS"),
};

} // namespace

constinit const std::span<const entry> misc_calls = entries;

} // namespace syscalls
