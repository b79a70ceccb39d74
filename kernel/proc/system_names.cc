#include "kernel/proc/system_names.h"

#include "kernel/lwkt/spinlock.h"

namespace proc {

namespace {

lwkt::spinlock lock;
system_name host GUARDED_BY(lock) = {"nutcracker"};
system_name domain GUARDED_BY(lock) = {"(none)"};

system_name fresh(std::string_view text) noexcept {
    system_name made{};
    text.copy(made.text, longest_system_name);
    return made;
}

} // namespace

system_name host_name() noexcept {
    lwkt::spin_guard guard(lock);
    return host;
}

system_name domain_name() noexcept {
    lwkt::spin_guard guard(lock);
    return domain;
}

void set_host_name(std::string_view to) noexcept {
    const system_name made = fresh(to);
    lwkt::spin_guard guard(lock);
    host = made;
}

void set_domain_name(std::string_view to) noexcept {
    const system_name made = fresh(to);
    lwkt::spin_guard guard(lock);
    domain = made;
}

} // namespace proc
