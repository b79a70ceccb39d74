#include "kernel/lwkt/port_list.h"

#include "kernel/lwkt/spinlock.h"

namespace lwkt {

class port_list {
  public:
    void add(listed_port& p) noexcept {
        spin_guard guard(lock_);
        p.next_ = first_;
        if (first_) first_->before_ = &p;
        first_ = &p;
    }
    void remove(listed_port& p) noexcept {
        spin_guard guard(lock_);
        (p.before_ ? p.before_->next_ : first_) = p.next_;
        if (p.next_) p.next_->before_ = p.before_;
    }
    void visit(void (*visit)(const listed_port&, void*), void* argument) noexcept {
        spin_guard guard(lock_);
        for (const listed_port* p = first_; p; p = p->next_)
            if (p->of().cpu() == arch::cpu::id()) visit(*p, argument);
    }

  private:
    spinlock lock_;
    listed_port* first_ GUARDED_BY(lock_) = nullptr;
};

namespace {
port_list all;
} // namespace

listed_port::listed_port(const port& of, std::string_view name) noexcept
    : of_(of), length_(name.copy(name_, sizeof(name_))) {
    all.add(*this);
}

listed_port::~listed_port() {
    all.remove(*this);
}

void visit_ports(void (*visit)(const listed_port& p, void* argument), void* argument) noexcept {
    all.visit(visit, argument);
}

} // namespace lwkt
