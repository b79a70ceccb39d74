#include "sys/vfs/file_system.h"

#include "kernel/lib/format.h"
#include "kernel/lwkt/port_list.h"
#include "kernel/mem/slab.h"
#include "sys/vfs/vop.h"

namespace vfs {

namespace {

std::atomic<k::u64> last_device = 0;

} // namespace

// Lives as long as the file system; its thread ends with the port's last message.
struct file_system::service {
    service(file_system& fs, unsigned cpu, std::string_view name) noexcept
        : requests(cpu, begin, &fs), listed(requests, name) {}
    lwkt::port requests;
    const lwkt::listed_port listed;
    // Asks the thread to end.
    struct end_message final : lwkt::msg {
    } end;
};

file_system::file_system(keeping where) noexcept
    : device_(last_device.fetch_add(1, std::memory_order_relaxed) + 1), keeping_(where) {}

void file_system::last_holder_left() noexcept {
    drop_names();
    root_.reset();
    ending();
    for (auto& slot : services_) {
        service* s = slot.load(std::memory_order_acquire);
        if (!s) continue;
        (void)s->requests.call(s->end);
        mem::destroy(s);
    }
    // The last nodes have called node_gone() by now; others may still look at their memory, which names this. No
    // waiting: a mount that goes is the last holder, and goes in the thread that one would wait for.
    lwkt::retire(*this, [](lwkt::retirable& r) { mem::destroy(&static_cast<file_system&>(r)); });
}

names_hold::names_hold(directory& in) noexcept {
    if (in.fs.is_in_program()) first_.emplace(in.asking);
}

names_hold::names_hold(directory& one, directory& other) noexcept {
    if (!one.fs.is_in_program()) return;
    first_.emplace(&one < &other ? one.asking : other.asking);
    if (&one != &other) second_.emplace(&one < &other ? other.asking : one.asking);
}

// In place on the home of all its nodes; else it is the thread's of the first one's home.
lwkt::begun file_system::begin(lwkt::port& p, lwkt::msg& m) {
    auto* fs = static_cast<file_system*>(p.owner());
    service* s = fs->services_[p.cpu()].load(std::memory_order_relaxed);
    if (&m == &s->end) return lwkt::begun::queue;
    auto& op = static_cast<vop&>(m);
    lwkt::critical section; // stay on this CPU between looking and doing
    if (op.first_elsewhere() != vop::most_nodes) return lwkt::begun::queue;
    op.result = op.run();
    return lwkt::begun::finished;
}

void file_system::serve(void* argument) {
    auto* s = static_cast<service*>(argument);
    for (;;) {
        lwkt::msg* m = s->requests.wait();
        if (m == &s->end) {
            lwkt::reply(*m, {});
            return;
        }
        auto& op = static_cast<vop&>(*m);
        // EXDEV: some node lives elsewhere, by now perhaps; call() sees to it.
        lwkt::reply(op, op.first_elsewhere() == vop::most_nodes ? op.run() : k::status(k::error::xdev));
    }
}

k::result<file_system::service*> file_system::service_of(unsigned cpu) noexcept {
    if (service* s = services_[cpu].load(std::memory_order_acquire)) [[likely]]
        return s;
    lwkt::sleep_hold hold(starting_);
    if (service* s = services_[cpu].load(std::memory_order_acquire)) return s;
    char text[lwkt::listed_port::longest_name];
    k::buffer_sink name(text);
    k::format_to(name, "{} {}", type(), device_);
    auto made = mem::make_box<service>(*this, cpu, name.view());
    if (!made) return k::error::nomem;
    TRY(lwkt::spawn(type(), cpu, lwkt::normal_priority, serve, made.get()));
    services_[cpu].store(made.get(), std::memory_order_release);
    return made.release();
}

// One at a time in a file system (moving_), so that two cannot for ever take a directory away from each other; no home
// changes otherwise.
k::status file_system::bring_together(vop& op) noexcept {
    const unsigned home = op.nodes[0]->home.load(std::memory_order_acquire);
    for (unsigned i = 1; i < vop::most_nodes; i++) {
        vnode* n = op.nodes[i];
        if (!n) continue;
        while (n->home.load(std::memory_order_acquire) != home) {
            vop_move_home move(*n, home);
            service* s = TRY(service_of(n->home.load(std::memory_order_acquire)));
            if (auto done = s->requests.call(move); !done && done.error() != k::error::xdev) return done;
        }
    }
    return {};
}

// Who comes from another CPU again and again, and nobody else, gets the node to live there.
void file_system::note_visit(vnode& n) noexcept {
    constexpr k::u32 enough = 8;
    const unsigned cpu = arch::cpu::id();
    const k::u32 before = n.visits.load(std::memory_order_relaxed);
    const k::u32 count = before >> 8 && (before & 0xff) == cpu ? (before >> 8) + 1 : 1;
    n.visits.store(count << 8 | cpu, std::memory_order_relaxed); // a guess that two CPUs may spoil
    if (count < enough) return;
    n.visits.store(0, std::memory_order_relaxed);
    lwkt::sleep_hold hold(moving_);
    vop_move_home move(n, cpu);
    if (auto s = service_of(n.home.load(std::memory_order_acquire))) (void)(*s)->requests.call(move);
}

// What is kept elsewhere changes first, and nothing can go wrong afterwards.
k::status file_system::call(vop& op) noexcept {
    if (!is_on_disk() || !op.is_kept()) [[likely]]
        return call_here(op);
    lwkt::sleep_hold hold(changing);
    vop_make_room room(op);
    TRY(call_here(room));
    TRY(op.keep(*this));
    return call_here(op);
}

k::status file_system::call_here(vop& op) noexcept {
    {
        lwkt::critical section;
        if (op.first_elsewhere() == vop::most_nodes) [[likely]]
            return op.run();
    }
    // EXDEV is what serve() and nobody else says.
    for (;;) {
        service* s = TRY(service_of(op.nodes[0]->home.load(std::memory_order_acquire)));
        k::status done = s->requests.call(op);
        if (done || done.error() != k::error::xdev) {
            note_visit(*op.nodes[0]);
            return done;
        }
        lwkt::sleep_hold hold(moving_);
        TRY(bring_together(op));
        s = TRY(service_of(op.nodes[0]->home.load(std::memory_order_acquire)));
        done = s->requests.call(op);
        if (done || done.error() != k::error::xdev) return done;
    }
}

k::u64 file_system::fresh_inode() noexcept {
    lwkt::critical section;
    const unsigned cpu = arch::cpu::id();
    const k::u64 n = inodes_[cpu].next.load(std::memory_order_relaxed) + 1;
    inodes_[cpu].next.store(n, std::memory_order_relaxed);
    return n * arch::max_cpus + cpu;
}

// Without recursion: a directory is emptied name by name; one that has names itself is gone down into.
void file_system::drop_names() noexcept {
    if (!root_) return;
    directory* at = &root();
    for (;;) {
        at->home.store(arch::cpu::id(), std::memory_order_relaxed); // nobody else is left
        name* n = at->at_or_after(0);
        if (!n) {
            if (at == &root()) return;
            directory& up = at->parent();
            name_ref own = up.take_out(*at->own_name());
            at->set_own_name({});
            at = &up;
            continue; // `own` goes, and the directory with it
        }
        vnode* node = n->node();
        if (node && node->is(node_type::directory) && !node->as_directory().is_empty())
            at = &node->as_directory();
        else {
            if (node && node->is(node_type::directory)) node->as_directory().set_own_name({});
            (void)at->take_out(*n);
        }
    }
}

} // namespace vfs
