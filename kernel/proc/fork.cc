// New processes and threads. First everything that may fail is made, then the newcomer is entered in the tables
// under the tree's token, and at last it is set going; if there is no stack for it, it is taken out again as if it had
// never been.
#include "kernel/proc/fork.h"

#include "kernel/proc/current.h"
#include "kernel/proc/tree_priv.h"
#include "kernel/proc/user_loop.h"
#include "kernel/proc/user_scheduler.h"
#include "sys/vm/user_pointer.h"

namespace proc {

namespace {

constexpr k::u64 thread_flags = clone_vm | clone_fs | clone_files | clone_sighand;
constexpr k::u64 known_flags = thread_flags | clone_ptrace | clone_vfork | clone_parent | clone_thread | clone_sysvsem |
                               clone_settls | clone_parent_settid | clone_child_cleartid | clone_detached |
                               clone_untraced | clone_child_settid | clone_io | clone_clear_sighand;

k::status check(const clone_request& what) {
    if (what.flags & ~known_flags) return k::error::inval;
    if (what.flags & clone_thread) {
        if ((what.flags & thread_flags) != thread_flags || (what.flags & clone_clear_sighand)) return k::error::inval;
    } else if (what.flags & (clone_fs | clone_sighand)) {
        return k::error::inval; // processes share no working directory and no signal handlers
    }
    if (what.exit_signal && !is_signal(what.exit_signal)) return k::error::inval;
    if (what.stack >= arch::user_end || ((what.flags & clone_settls) && what.tls >= arch::user_end))
        return k::error::perm;
    return {};
}

k::status check_thread_limit(const process& p) REQUIRES(tree) {
    if (p.payer->threads >= p.limits.soft(resource::processes)) return k::error::again;
    return {};
}

// The registers and what else a thread has of its maker.
void set_up(thread& made, thread& maker, const clone_request& what) {
    made.user.copy(maker.user);
    made.user.registers().rax = 0;
    if (what.stack) made.user.registers().rsp = what.stack;
    if (what.flags & clone_settls) made.user.set_thread_pointer(what.tls);
    if (what.flags & clone_child_settid) made.set_child_tid = what.child_tid;
    if (what.flags & clone_child_cleartid) made.clear_child_tid = what.child_tid;
    made.charge_round = made.owner.timers.round();
    made.affinity.store(maker.affinity.load(std::memory_order_relaxed), std::memory_order_relaxed);
    std::ranges::copy(maker.name, made.name);
}

// False: the process is ending, or in exec, and wants no more threads.
bool add_to_process(thread& t) {
    process& p = t.owner;
    lwkt::spin_guard guard(p.threads_lock);
    if (p.ending || p.survivor) return false;
    p.threads.push_back(t);
    p.thread_count++;
    return true;
}

// Takes a thread that never ran out of everything.
void undo_thread(thread& t) {
    thread_leaves(t);
    t.set_files({});
    t.lease.reset();
    lwkt::token_hold hold(tree);
    remove(t);
    lwkt::spin_guard guard(t.owner.threads_lock);
    t.owner.threads.erase(t.owner.threads.iterator_to(t));
    t.owner.thread_count--;
}

void undo_process(process& p) {
    process_leaves(p);
    {
        lwkt::spin_guard guard(p.places_lock);
        kassert(p.space);
    }
    k::ref<vm::space> space = std::move(p.space);
    lwkt::token_hold hold(tree);
    set_parent(p, nullptr);
    leave_group(p);
    p.payer.reset();
    p.state = life::gone;
    remove(p);
    k::ref<process> table_reference(&p);
}

k::result<k::ref<thread>> make_thread(thread& maker, const clone_request& what) {
    lwkt::token_hold hold(tree);
    TRY(check_thread_limit(maker.owner));
    k::ref<thread> made = TRY(thread::create(TRY(free_number()), maker.owner));
    made->files = maker.files.share();
    set_up(*made, maker, what);
    inherit_signals(*made, maker);
    if (!add_to_process(*made)) {
        thread_leaves(*made);
        made->files.reset();
        return k::error::intr;
    }
    enter(*made);
    return made;
}

// What a process has of its parent, beside memory and files.
// Nobody else knows the child yet.
void inherit(process& child, process& parent) NO_THREAD_SAFETY_ANALYSIS {
    child.where_ = parent.where();
    child.program_ = parent.program();
    child.umask = parent.umask.load();
    child.personality = parent.personality.load();
    child.nice = parent.nice.load();
    child.dumpable = parent.dumpable.load();
    child.oom_score_adjustment = parent.oom_score_adjustment.load();
    child.no_new_privileges = parent.no_new_privileges.load();
    child.vdso_base = parent.vdso_base;
    child.arguments_base = parent.arguments_base;
    child.arguments_end = parent.arguments_end;
    child.environment_end = parent.environment_end;
    child.who.replace(parent.who.read());
    child.start_time = ktime::now();
}

bool is_ending(process& p) {
    lwkt::spin_guard guard(p.threads_lock);
    return p.ending;
}

k::result<k::ref<thread>> make_process(thread& maker, const clone_request& what, const birth& before) {
    process& parent = maker.owner;
    {
        lwkt::token_hold hold(tree);
        TRY(check_thread_limit(parent)); // before the work
    }
    k::ref<vm::space> space = what.flags & clone_vm ? parent.space.share() : TRY(parent.space->fork());
    k::ref<files::fd_table> files = what.flags & clone_files ? maker.files.share() : TRY(maker.files->clone(true));

    lwkt::token_hold hold(tree);
    TRY(check_thread_limit(parent));
    if (is_ending(parent)) return k::error::intr; // who kills the group under the tree's token gets all of it
    const int number = TRY(free_number());
    auto* child = mem::make<process>(number, parent);
    if (!child) return k::error::nomem;
    k::ref<process> held(child);
    k::ref<thread> made = TRY(thread::create(number, *child));

    inherit(*child, parent);
    child->space = std::move(space);
    // A sibling's end is told as its maker's will be: nobody chooses a signal for his parent, who may be another user.
    child->exit_signal = what.flags & clone_parent ? parent.exit_signal : what.exit_signal;
    set_up(*made, maker, what);
    made->files = std::move(files);
    inherit_signals(*child, *made, maker);
    if (what.flags & clone_clear_sighand) child->signals.reset_for_exec();

    child->payer = parent.payer.share();
    join(*child, parent.group.share());
    const bool is_sibling = (what.flags & clone_parent) && parent.parent;
    set_parent(*child, is_sibling ? parent.parent : &parent);
    child->parents_execs = is_sibling ? parent.parents_execs : parent.execs;
    enter(*held.release());
    (void)add_to_process(*made);
    enter(*made);
    for (signal_set left = before.missed; !left.empty(); left.remove(left.lowest()))
        (void)send_signal(*child, signal_info::of_sender(left.lowest(), si_user, 0, 0));
    return made;
}

// No signal is lost: what came before the birth began, the maker takes first; what comes from then on to it as one of
// several, the child gets too.
k::result<k::ref<thread>> give_birth(thread& maker, const clone_request& what) {
    process& parent = maker.owner;
    birth mine;
    {
        lwkt::token_hold hold(tree);
        mine.next = parent.births;
        parent.births = &mine;
    }
    auto made = interrupted() ? k::error::intr : make_process(maker, what, mine);
    lwkt::token_hold hold(tree);
    birth** at = &parent.births;
    while (*at != &mine)
        at = &(*at)->next;
    *at = mine.next;
    return made;
}

} // namespace

k::status start_thread(k::ref<thread> t) noexcept {
    thread& starting = *t;
    const unsigned cpu = choose_cpu(starting.affinity.load(std::memory_order_relaxed) & running_cpus());
    starting.home.store(cpu, std::memory_order_seq_cst);
    char name[sizeof(lwkt::thread::name)];
    put_kernel_name(starting, name);
    TRY(lwkt::spawn(name, cpu, lwkt::enter_turn(starting), run_user_thread, &starting));
    (void)t.release(); // it is the thread's own now
    return {};
}

k::result<int> clone(thread& maker, const clone_request& what) noexcept {
    TRY(check(what));
    k::ref<vfork_lease> lease;
    if (what.flags & clone_vfork) {
        lease = k::ref<vfork_lease>(mem::make<vfork_lease>());
        if (!lease) return k::error::nomem;
    }
    const bool is_process = !(what.flags & clone_thread);
    k::ref<thread> made = is_process ? TRY(give_birth(maker, what)) : TRY(make_thread(maker, what));
    const int number = made->tid;            // it may be gone soon
    made->slice_cycles = lwkt::slice_used(); // who makes many gets no more of the CPU
    made->lease = lease.share();
    if (is_process) made->owner.timers.limit_changed();
    if (what.flags & clone_parent_settid)
        (void)vm::user_pointer<int>(what.parent_tid).write(*maker.owner.space, number);
    k::ref<thread> kept = made.share();
    if (!start_thread(std::move(made))) {
        undo_thread(*kept);
        if (is_process) undo_process(kept->owner);
        return k::error::nomem;
    }
    if (lease) lease->wait_for_end(maker);
    return number;
}

k::result<k::ref<thread>> make_first_process(k::ref<places> where) noexcept {
    k::ref<vm::space> space = TRY(vm::space::create());
    k::ref<files::fd_table> files = TRY(files::fd_table::create());
    lwkt::token_hold hold(tree);
    if (find_process(init_pid)) return k::error::exist;
    k::ref<account> payer = TRY(account_of(0));
    auto* first = mem::make<process>(init_pid);
    if (!first) return k::error::nomem;
    k::ref<process> held(first);
    k::ref<session> s = TRY(make_session(init_pid));
    k::ref<group> g = TRY(make_group(init_pid, std::move(s)));
    k::ref<thread> made = TRY(thread::create(init_pid, *first));
    made->files = std::move(files);
    first->space = std::move(space);
    first->set_where(std::move(where));
    first->start_time = ktime::now();
    first->payer = std::move(payer);
    join(*first, std::move(g));
    enter(*held.release());
    (void)add_to_process(*made);
    enter(*made);
    return made;
}

} // namespace proc
