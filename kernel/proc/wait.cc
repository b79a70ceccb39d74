#include "kernel/proc/wait.h"

#include "kernel/proc/current.h"
#include "kernel/proc/exit.h"
#include "kernel/proc/group.h"

namespace proc {

namespace {

bool is_meant(const process& child, wait_for whom, k::u32 options) REQUIRES(tree) {
    // Children that end without SIGCHLD are "clones", which only those see that ask.
    if (!(options & wait_all) && !(options & wait_clone) != (child.exit_signal == sig_chld)) return false;
    switch (whom.what) {
    case wait_for::kind::any: return true;
    case wait_for::kind::process: return child.pid == whom.number;
    case wait_for::kind::group: return child.group->number == whom.number;
    }
    return false;
}

bool has_news(const process& child, k::u32 options) REQUIRES(tree) {
    if (child.state == life::zombie) return options & wait_exited;
    return ((options & wait_stopped) && child.stop_unreported) ||
           ((options & wait_continued) && child.continue_unreported);
}

struct search {
    process* found = nullptr; // one with news
    bool any = false;         // is there a child that was meant?
};

search look(process& parent, wait_for whom, k::u32 options) REQUIRES(tree) {
    search result;
    for (process& child : parent.children) {
        if (!is_meant(child, whom, options)) continue;
        result.any = true;
        if (!has_news(child, options)) continue;
        result.found = &child;
        break;
    }
    return result;
}

wait_report take(process& child, k::u32 options) REQUIRES(tree) {
    wait_report report{child.pid, child.who.user().real, 0, child.used()};
    report.used.add(child.dead_children);
    const bool keep = options & wait_no_reap;
    if (child.state == life::zombie) {
        report.status = child.exit_status;
        if (!keep) reap(child);
    } else if ((options & wait_stopped) && child.stop_unreported) {
        report.status = stopped_by(child.stop_signal);
        if (!keep) child.stop_unreported = false;
    } else {
        report.status = continued_status;
        if (!keep) child.continue_unreported = false;
    }
    return report;
}

} // namespace

k::result<wait_report> wait_for_child(process& parent, wait_for whom, k::u32 options) noexcept {
    lwkt::token_hold hold(tree);
    search now = look(parent, whom, options);
    if (!now.found && now.any && !(options & wait_no_hang)) {
        // The token is held whenever this looks: it is taken again before a sleeper goes on.
        auto ready = [&]() NO_THREAD_SAFETY_ANALYSIS {
            now = look(parent, whom, options);
            return now.found || !now.any;
        };
        TRY(sleep(parent.child_queue, ready));
    }
    if (now.found) return take(*now.found, options);
    if (!now.any) return k::error::child;
    return wait_report{};
}

} // namespace proc
