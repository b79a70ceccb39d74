// How threads and processes end. A thread that leaves gives back what it has in this order: its promises in user memory
// (locks, its number), its files, its place among those that take signals, its place in the process. The last one
// takes the process with it: timers and signals, memory, then, under the tree's token, its place among processes.
#include "kernel/proc/exit.h"

#include "kernel/files/terminal.h"
#include "kernel/lib/log.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/proc/current.h"
#include "kernel/proc/futex.h"
#include "kernel/proc/init.h"
#include "kernel/proc/tree_priv.h"
#include "kernel/proc/user_loop.h"
#include "sys/vm/user_pointer.h"

namespace proc {

namespace {

// Makes the marked threads of a process that belong to this CPU look at their attention bits.
void kick_here(void* argument) {
    k::ref<process> p(static_cast<process*>(argument));
    lwkt::spin_guard guard(p->threads_lock);
    for (thread& t : p->threads)
        if (t.home.load(std::memory_order_relaxed) == arch::cpu::id() && t.kernel) lwkt::interrupt_wait(*t.kernel);
}

// Kicks all threads of a process with one message to each CPU.
void kick_all(process& p, k::u32 cpus) {
    for (unsigned cpu = 0; cpus; cpu++, cpus >>= 1)
        if (cpus & 1) lwkt::send(cpu, kick_here, k::ref<process>::to(p).release());
}

// Asks all threads but one (null: all) to leave. Returns the CPUs that have such. REQUIRES(p.threads_lock)
k::u32 mark_others(process& p, const thread* except) NO_THREAD_SAFETY_ANALYSIS {
    k::u32 cpus = 0;
    for (thread& t : p.threads) {
        if (&t == except) continue;
        t.attention.fetch_or(attention_end, std::memory_order_seq_cst);
        cpus |= 1u << t.home.load(std::memory_order_seq_cst);
    }
    return cpus;
}

void settle_user_memory(thread& t) {
    vm::space& space = *t.owner.space;
    release_robust_list(space, t.robust_list, t.tid);
    // Nobody looks in memory that is about to go.
    if (t.clear_child_tid && (t.owner.is_multithreaded() || space.holders() > 1)) {
        if (vm::user_pointer<int>(t.clear_child_tid).write(space, 0)) (void)futex_wake(space, t.clear_child_tid, 1);
    }
    if (t.lease) {
        t.lease->end();
        t.lease.reset();
    }
}

// True if it was the last one.
bool leave_process(thread& t) {
    process& p = t.owner;
    const usage used = usage_of(t);
    lwkt::wait_queue* waiting = nullptr;
    bool last;
    {
        lwkt::spin_guard guard(p.threads_lock);
        p.dead_threads.add(used);
        if (t.tid == p.pid || p.thread_count == 1) std::ranges::copy(t.name, p.last_name);
        p.threads.erase(p.threads.iterator_to(t));
        last = --p.thread_count == 0;
        if (p.survivor && p.thread_count == 1) waiting = &p.thread_queue;
    }
    if (waiting) waiting->wake_all();
    return last;
}

void give_back_memory(process& p) {
    k::ref<vm::space> space;
    {
        lwkt::spin_guard guard(p.threads_lock);
        std::swap(space, p.space);
    }
    space.reset();
    p.set_where({});
    p.set_program({});
}

bool has_stopped_member(group& g) REQUIRES(tree) {
    bool stopped = false;
    for_each_member(g, [&](process& p) NO_THREAD_SAFETY_ANALYSIS { stopped |= p.stop_signal != 0; });
    return stopped;
}

// Nobody can continue these any more: they are told, and go on.
void release_if_orphaned(group& g) REQUIRES(tree) {
    if (!is_orphaned(g) || !has_stopped_member(g)) return;
    for_each_member(g, [](process& p) NO_THREAD_SAFETY_ANALYSIS {
        (void)send_to_member(p, signal_info::of_kernel(sig_hup));
        (void)send_to_member(p, signal_info::of_kernel(sig_cont));
    });
}

// Who takes the children of a process that ends.
process* heir_of(process& p) REQUIRES(tree) {
    for (process* above = p.parent; above; above = above->parent)
        if (above->adopts_orphans && above->state == life::alive) return above;
    return find_process(init_pid);
}

void give_away_children(process& p) REQUIRES(tree) {
    process* heir = heir_of(p);
    while (!p.children.empty()) {
        process& child = p.children.front();
        set_parent(child, heir);
        if (child.parent_death_signal) send_signal(child, child.parent_death_signal);
        child.exit_signal = sig_chld;
        if (child.state == life::zombie)
            report_exit(child);
        else if (child.group != p.group && child.group->in == p.group->in)
            release_if_orphaned(*child.group);
    }
}

// The leader of a session takes the terminal from it.
void give_up_terminal(process& p) REQUIRES(tree) {
    session& s = *p.group->in;
    if (s.number == p.pid) files::terminal::leave(s);
}

void become_zombie(process& p, int status) {
    lwkt::token_hold hold(tree);
    p.exit_status = status;
    p.state = life::zombie;
    p.stop_signal = 0;
    give_up_terminal(p);
    give_away_children(p);
    if (p.parent && p.parent->group != p.group && p.parent->group->in == p.group->in) release_if_orphaned(*p.group);
    if (p.parent)
        report_exit(p);
    else
        reap(p); // init's, on its way
}

int final_status(process& p) {
    lwkt::spin_guard guard(p.threads_lock);
    return p.end_status;
}

} // namespace

void report_exit(process& p) noexcept {
    process& parent = *p.parent;
    const int status = p.exit_status;
    const bool killed = status & 0x7f;
    // The signal was agreed on with the program that the parent ran then; another one knows of SIGCHLD only.
    const int signal = p.parents_execs == parent.execs ? p.exit_signal : static_cast<int>(sig_chld);
    if (signal)
        send_child_signal(parent, p, signal, killed ? cld_killed : cld_exited,
                          killed ? status & 0x7f : status >> 8 & 0xff);
    const bool nobody_waits = signal == sig_chld && disowns_children(parent);
    if (nobody_waits) reap(p);
    parent.child_queue.wake_all(); // also if it was reaped: there may be no child left to wait for
}

void tell_parent(process& child, child_event what) noexcept {
    if (what == child_event::exited) return report_exit(child);
    process* parent = child.parent;
    if (!parent) return;
    if (!ignores_child_stops(*parent)) {
        const bool stopped = what == child_event::stopped;
        send_child_signal(*parent, child, sig_chld, stopped ? cld_stopped : cld_continued,
                          stopped ? child.stop_signal : sig_cont);
    }
    parent->child_queue.wake_all();
}

void reap(process& p) noexcept {
    kassert(p.state == life::zombie);
    if (p.parent) {
        p.parent->dead_children.add(p.used());
        p.parent->dead_children.add(p.dead_children);
    }
    set_parent(p, nullptr);
    leave_group(p);
    p.payer.reset();
    p.state = life::gone;
    remove(p);
    k::ref<process> table_reference(&p);
}

void end_process(process& p, int status) noexcept {
    k::u32 cpus;
    {
        lwkt::spin_guard guard(p.threads_lock);
        if (p.ending) return;
        p.ending = true;
        p.end_status = status;
        cpus = mark_others(p, nullptr);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst); // as in kick()
    kick_all(p, cpus);
}

k::status become_only_thread(thread& t) noexcept {
    process& p = t.owner;
    k::u32 cpus;
    {
        lwkt::spin_guard guard(p.threads_lock);
        if (p.ending || p.survivor) return k::error::intr;
        if (p.thread_count == 1) return {};
        p.survivor = &t;
        cpus = mark_others(p, &t);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    kick_all(p, cpus);
    auto alone = [&] {
        lwkt::spin_guard guard(p.threads_lock);
        return p.thread_count == 1 || p.ending;
    };
    p.thread_queue.wait(alone);
    lwkt::spin_guard guard(p.threads_lock);
    p.survivor = nullptr;
    if (p.ending) return k::error::intr;
    return {};
}

void leave() noexcept {
    thread& t = current();
    process& p = t.owner;
    settle_user_memory(t);
    t.set_files({});
    thread_leaves(t);
    use_no_space(t);
    {
        // Before it leaves the process: the last one may then make a zombie of it, whose account is settled.
        lwkt::token_hold hold(tree);
        remove(t);
    }
    const bool last = leave_process(t);
    if (last) {
        process_leaves(p);
        give_back_memory(p);
        const int status = final_status(p);
        if (p.pid == init_pid) init_has_ended(status);
        become_zombie(p, status);
    }
    {
        lwkt::critical section;
        lwkt::self().context.set_user(nullptr, nullptr);
        lwkt::set_user(nullptr);
        t.kernel = nullptr;
    }
    k::ref<thread>(&t).reset();
    lwkt::exit();
}

void leave_with(int code) noexcept {
    thread& t = current();
    {
        lwkt::spin_guard guard(t.owner.threads_lock);
        if (t.tid == t.owner.pid && !t.owner.ending) t.owner.end_status = exited_with(code);
    }
    leave();
}

} // namespace proc
