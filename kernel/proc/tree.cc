// The tables of numbers, groups and sessions. Four small hashes of chains, all under the token.
#include "kernel/proc/tree.h"

#include "kernel/proc/tree_priv.h"

#include <algorithm>

namespace proc {

lwkt::token tree;

namespace {

int number_of(const process& p) {
    return p.pid;
}
int number_of(const thread& t) {
    return t.tid;
}
int number_of(const group& g) {
    return g.number;
}
int number_of(const session& s) {
    return s.number;
}
int number_of(const account& a) {
    return a.number;
}

template <class T> class number_table {
  public:
    T* find(int number) noexcept {
        for (T& entry : bucket(number))
            if (number_of(entry) == number) return &entry;
        return nullptr;
    }
    void enter(T& entry) noexcept { bucket(number_of(entry)).push_front(entry); }
    void remove(T& entry) noexcept {
        list& l = bucket(number_of(entry));
        l.erase(l.iterator_to(entry));
    }
    template <class Visit> void for_each(Visit visit) noexcept {
        for (list& l : buckets_)
            for (T& entry : l)
                visit(entry);
    }

  private:
    using list = boost::intrusive::list<T, boost::intrusive::member_hook<T, lwkt::list_hook, &T::number_link>,
                                        boost::intrusive::constant_time_size<false>>;
    static constexpr unsigned count = 256;
    list& bucket(int number) noexcept { return buckets_[static_cast<unsigned>(number) % count]; }

    list buckets_[count];
};

number_table<process> processes GUARDED_BY(tree);
number_table<thread> threads GUARDED_BY(tree);
number_table<group> groups GUARDED_BY(tree);
number_table<session> sessions GUARDED_BY(tree);
number_table<account> accounts GUARDED_BY(tree);
int last_number GUARDED_BY(tree) = init_pid; // which init takes without asking
unsigned thread_total GUARDED_BY(tree) = 0;
k::u64 processes_ever GUARDED_BY(tree) = 0;

} // namespace

process* find_process(int pid) noexcept {
    return pid > 0 ? processes.find(pid) : nullptr;
}

thread* find_thread(int tid) noexcept {
    return tid > 0 ? threads.find(tid) : nullptr;
}

group* find_group(int number) noexcept {
    return number > 0 ? groups.find(number) : nullptr;
}

void for_each_process(void (*visit)(process&, void*), void* argument) noexcept {
    processes.for_each([&](process& p) { visit(p, argument); });
}

unsigned user_threads() noexcept NO_THREAD_SAFETY_ANALYSIS { // a number that may be a moment old
    return thread_total;
}

k::result<int> free_number() noexcept {
    for (int tries = 1; tries < most_numbers; tries++) {
        last_number = last_number + 1 < most_numbers ? last_number + 1 : init_pid + 1;
        const int n = last_number;
        if (!processes.find(n) && !threads.find(n) && !groups.find(n) && !sessions.find(n)) return n;
    }
    return k::error::again;
}

k::u64 processes_made() noexcept NO_THREAD_SAFETY_ANALYSIS { // a number that may be a moment old
    return processes_ever;
}

void enter(process& p) noexcept {
    processes.enter(p);
    processes_ever++;
}
void enter(thread& t) noexcept {
    threads.enter(t);
    thread_total++;
    t.owner.payer->threads++;
    t.owner.threads_paid++;
}
void remove(process& p) noexcept {
    processes.remove(p);
}
void remove(thread& t) noexcept {
    threads.remove(t);
    thread_total--;
    t.owner.payer->threads--;
    t.owner.threads_paid--;
}
k::result<k::ref<session>> make_session(int number) noexcept {
    auto* made = mem::make<session>(number);
    if (!made) return k::error::nomem;
    sessions.enter(*made);
    return k::ref<session>(made);
}

void session::last_holder_left() noexcept NO_THREAD_SAFETY_ANALYSIS {
    kassert(tree.held());
    sessions.remove(*this);
    mem::destroy(this);
}

k::result<k::ref<group>> make_group(int number, k::ref<session> in) noexcept {
    auto* made = mem::make<group>(number, std::move(in));
    if (!made) return k::error::nomem;
    groups.enter(*made);
    return k::ref<group>(made);
}

void group::last_holder_left() noexcept NO_THREAD_SAFETY_ANALYSIS {
    kassert(tree.held() && members.empty());
    groups.remove(*this);
    mem::destroy(this);
}

void leave_group(process& p) noexcept {
    if (!p.group) return;
    p.group->members.erase(p.group->members.iterator_to(p));
    p.group.reset();
}

k::result<k::ref<account>> account_of(k::u32 user) noexcept {
    const int number = static_cast<int>(user);
    if (account* found = accounts.find(number)) return k::ref<account>::to(*found);
    auto* made = mem::make<account>(number);
    if (!made) return k::error::nomem;
    accounts.enter(*made);
    return k::ref<account>(made);
}

void account::last_holder_left() noexcept NO_THREAD_SAFETY_ANALYSIS {
    kassert(tree.held() && !threads);
    accounts.remove(*this);
    mem::destroy(this);
}

void join(process& p, k::ref<group> to) noexcept {
    leave_group(p);
    p.group = std::move(to);
    p.group->members.push_back(p);
}

void set_parent(process& p, process* parent) noexcept {
    if (p.parent) p.parent->children.erase(p.parent->children.iterator_to(p));
    p.parent = parent;
    p.parent_pid.store(parent ? parent->pid : 0, std::memory_order_relaxed);
    if (parent) parent->children.push_back(p);
}

bool is_orphaned(const group& of) noexcept {
    return std::ranges::none_of(of.members, [&](const process& p) NO_THREAD_SAFETY_ANALYSIS {
        const process* parent = p.parent;
        return p.state == life::alive && parent && parent->pid != init_pid && parent->group.get() != &of &&
               parent->group && parent->group->in.get() == of.in.get();
    });
}

} // namespace proc
