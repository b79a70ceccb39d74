#include "kernel/proc/tree.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/tree_priv.h"
#include "kernel/selftest/selftest.h"

using namespace proc;

namespace {

// Processes without threads or memory, as far as the tree is concerned. All under the tree's token.
class family {
  public:
    family() NO_THREAD_SAFETY_ANALYSIS : hold_(tree) {}
    ~family() NO_THREAD_SAFETY_ANALYSIS {
        while (count_)
            end(*members_[count_ - 1]);
    }

    // The first leads a session; others are in their parent's group. Null: no memory.
    process* add(process* parent) NO_THREAD_SAFETY_ANALYSIS {
        auto number = free_number();
        if (!number || count_ == std::size(members_)) return nullptr;
        auto* p = mem::make<process>(*number);
        if (!p) return nullptr;
        auto payer = account_of(0);
        if (payer) p->payer = std::move(*payer);
        enter(*p);
        set_parent(*p, parent);
        members_[count_++] = p;
        if (parent) {
            join(*p, parent->group.share());
        } else {
            auto s = make_session(*number);
            if (auto g = s ? make_group(*number, std::move(*s)) : k::result<k::ref<group>>(k::error::nomem))
                join(*p, std::move(*g));
        }
        return p;
    }

    void end(process& p) NO_THREAD_SAFETY_ANALYSIS {
        while (!p.children.empty())
            set_parent(p.children.front(), nullptr);
        set_parent(p, nullptr);
        leave_group(p);
        p.payer.reset();
        remove(p);
        for (unsigned i = 0; i < count_; i++)
            if (members_[i] == &p) std::swap(members_[i], members_[--count_]);
        k::ref<process>(&p).reset();
    }

  private:
    lwkt::token_hold hold_;
    process* members_[16] = {};
    unsigned count_ = 0;
};

} // namespace

SELFTEST(process_tree, numbers_are_found_and_not_given_twice) NO_THREAD_SAFETY_ANALYSIS {
    family f;
    process* a = f.add(nullptr);
    process* b = f.add(a);
    REQUIRE(a && b);
    EXPECT(a->pid != b->pid && a->pid > init_pid);
    EXPECT(find_process(a->pid) == a && find_process(b->pid) == b);
    EXPECT(!find_process(0) && !find_process(-1) && !find_process(most_numbers));
    EXPECT(!find_thread(a->pid));
    for (int i = 0; i < 2 * most_numbers; i++) { // twice round
        auto n = free_number();
        REQUIRE(n);
        EXPECT(*n != a->pid && *n != b->pid && *n > init_pid && *n < most_numbers);
    }
    const int gone = b->pid;
    f.end(*b);
    EXPECT(!find_process(gone));
}

SELFTEST(process_tree, a_group_and_a_session_last_as_long_as_their_members) NO_THREAD_SAFETY_ANALYSIS {
    family f;
    process* leader = f.add(nullptr);
    process* child = f.add(leader);
    REQUIRE(leader && child);
    const int number = leader->pid;
    EXPECT(set_group(*leader, child->pid, 0));
    EXPECT_EQ(child->group->number, child->pid);
    EXPECT(child->group->in == leader->group->in);
    f.end(*leader);
    EXPECT(!find_group(number));
    EXPECT_EQ(child->group->in->number, number); // the session goes on
    auto n = free_number();
    REQUIRE(n);
    EXPECT(*n != number);
    EXPECT(set_group(*child, 0, child->pid)); // nothing changes
}

SELFTEST(process_tree, set_group_keeps_the_rules) NO_THREAD_SAFETY_ANALYSIS {
    family f;
    process* a = f.add(nullptr);
    process* b = f.add(a);
    process* c = f.add(a);
    process* other = f.add(nullptr);
    REQUIRE(a && b && c && other);
    auto refusal = [](k::status s) { return s ? k::error{} : s.error(); };
    EXPECT(refusal(set_group(*a, 0, 0)) == k::error::perm);                         // leads a session
    EXPECT(refusal(set_group(*b, c->pid, 0)) == k::error::srch);                    // not its child
    EXPECT(refusal(set_group(*a, b->pid, other->group->number)) == k::error::perm); // another session's
    EXPECT(refusal(set_group(*a, b->pid, c->pid)) == k::error::perm);               // no such group, and not its own
    EXPECT(set_group(*a, b->pid, b->pid));
    EXPECT(set_group(*a, c->pid, b->pid));
    c->has_run_exec = true;
    EXPECT(refusal(set_group(*a, c->pid, 0)) == k::error::acces);
    EXPECT(set_group(*c, 0, 0)); // itself it may
    EXPECT(refusal(k::status()) == k::error{});
    EXPECT(!lead_session(*b)); // leads a group
    const int group = c->group->number;
    EXPECT_EQ(group, c->pid);
}

SELFTEST(process_tree, a_group_is_orphaned_when_no_parent_outside_could_continue_it) NO_THREAD_SAFETY_ANALYSIS {
    family f;
    process* shell = f.add(nullptr);
    process* job = f.add(shell);
    process* part = f.add(job);
    REQUIRE(shell && job && part);
    EXPECT(set_group(*shell, job->pid, 0));
    EXPECT(set_group(*job, part->pid, job->pid));
    EXPECT(!is_orphaned(*job->group));
    EXPECT(is_orphaned(*shell->group)); // its parent is of another session, or nobody
    f.end(*shell);
    EXPECT(is_orphaned(*job->group));
}

SELFTEST(process_tree, accounts_follow_the_real_user) NO_THREAD_SAFETY_ANALYSIS {
    family f;
    process* a = f.add(nullptr);
    REQUIRE(a && a->payer);
    EXPECT_EQ(a->payer->number, 0);
    EXPECT(change_account(*a, 1000));
    EXPECT_EQ(a->payer->number, 1000);
    EXPECT_EQ(a->payer->threads, 0u);
    auto same = account_of(1000);
    REQUIRE(same);
    EXPECT(*same == a->payer);
}
