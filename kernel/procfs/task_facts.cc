#include "kernel/files/terminal.h"
#include "kernel/lwkt/ipiq.h"
#include "kernel/proc/group.h"
#include "kernel/procfs/task_texts_priv.h"

#include <algorithm>

namespace procfs {

namespace {

// A thread's state is known on its CPU.
struct state_question {
    proc::thread& of;
    char answer = 'R'; // also of one that has just moved: it was running

    static void ask(void* argument) {
        auto& q = *static_cast<state_question*>(argument);
        const lwkt::thread* kernel = q.of.kernel;
        const bool here = q.of.home.load(std::memory_order_relaxed) == arch::cpu::id();
        if (here && kernel && kernel->state == lwkt::thread_state::blocked) q.answer = 'S';
    }
};

char state_of(proc::thread& t) noexcept {
    state_question q{t};
    lwkt::call_on(t.home.load(std::memory_order_relaxed), state_question::ask, &q);
    return q.answer;
}

// What the tree's token guards. False: it is a zombie.
bool look_at_relations(const task& of, task_facts& out, bool& stopped) noexcept {
    lwkt::token_hold hold(proc::tree);
    const proc::process& p = *of.process;
    out.pid = p.pid;
    out.parent = p.parent ? p.parent->pid : 0;
    out.exit_signal = p.exit_signal;
    out.dead_children = p.dead_children;
    stopped = p.stop_signal != 0;
    if (!p.group) return false;
    const proc::session& s = *p.group->in;
    out.group = p.group->number;
    out.session = s.number;
    if (s.terminal) {
        out.terminal = static_cast<const files::terminal*>(s.terminal)->number();
        out.foreground = s.foreground ? s.foreground : -1;
    }
    return p.state == proc::life::alive;
}

void look_at_threads(const task& of, task_facts& out) noexcept {
    proc::process& p = *of.process;
    lwkt::spin_guard guard(p.threads_lock);
    out.threads = p.thread_count;
    std::ranges::copy(p.last_name, out.name);
}

} // namespace

task_facts facts_of(const task& of) noexcept {
    task_facts out;
    bool stopped = false;
    const bool alive = look_at_relations(of, out, stopped);
    look_at_threads(of, out);
    out.thread = of.any_thread();
    out.used = of.thread ? proc::usage_of(*of.thread) : of.process->used();
    if (out.thread) std::ranges::copy(out.thread->name, out.name);
    out.name[sizeof(out.name) - 1] = 0;
    if (const k::ref<vm::space> space = of.process->share_space()) out.size = space->size();
    if (alive) out.state = stopped ? 'T' : out.thread ? state_of(*out.thread) : 'R';
    return out;
}

} // namespace procfs
