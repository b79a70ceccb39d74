#include "sys/caps/names_priv.h"

#include "sys/caps/client.h"

namespace caps {

namespace {

// Made at first use, for ever: a global object would want a destructor.
alignas(name_table) constinit std::byte storage[sizeof(name_table)] = {};

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
}

// May this client connect, by a class that both sides agree on?
bool fits(const service& s, k::u8 admits, const wish& w) {
    const k::u8 both = admits & w.seeks;
    if ((both & same_user) && s.uid() == w.uid) return true;
    if ((both & same_group) && (s.gid() == w.gid || std::ranges::find(w.groups, s.gid()) != w.groups.end()))
        return true;
    if ((both & (same_user | same_group)) && w.uid == 0) return true; // user 0 may do everything
    return both & anybody;
}

} // namespace

name_table& the_names() noexcept {
    return reinterpret_cast<name_table&>(storage);
}

void initialise() noexcept {
    new (storage) name_table;
}

bool is_good_name(std::string_view name) noexcept {
    return !name.empty() && name.size() <= longest_name && std::ranges::all_of(name, is_name_character);
}

k::status name_table::add(service& s) noexcept {
    {
        lwkt::token_hold hold(token_);
        const auto [first, last] = services_.equal_range(s.name());
        if (s.exclusive_ && first != last) return k::error::exist;
        for (auto other = first; other != last; ++other)
            if (other->exclusive_ || other->uid_ == s.uid_) return k::error::exist;
        services_.insert(s);
        s.named_ = true;
        additions_.fetch_add(1, std::memory_order_release);
    }
    appeared_.wake_all();
    return {};
}

void name_table::remove(service& s) noexcept {
    lwkt::token_hold hold(token_);
    if (std::exchange(s.named_, false)) services_.erase(services_.iterator_to(s));
}

k::result<service_ref> name_table::find_now(const wish& w) noexcept {
    lwkt::token_hold hold(token_);
    const auto [first, last] = services_.equal_range(w.name);
    if (first == last) return k::error::noent;
    for (auto it = first; it != last; ++it)
        if (fits(*it, it->admits_, w))
            if (service_ref found = service_ref::to_living(*it)) return found;
    return k::error::acces;
}

k::result<service_ref> name_table::find(const wish& w, const waiting& how) noexcept {
    if (!is_good_name(w.name)) return k::error::inval;
    for (;;) {
        const k::u64 seen = additions_.load(std::memory_order_acquire);
        auto found = find_now(w);
        if (found || !w.waits || how.deadline == at_once) return found;
        bool good = false, interrupted = false;
        appeared_.wait(
            [&] {
                return (good = additions_.load(std::memory_order_acquire) != seen) ||
                       (interrupted = how.interrupted && how.interrupted());
            },
            how.deadline);
        if (good) continue;
        return interrupted ? k::error::intr : k::error::timedout;
    }
}

} // namespace caps
