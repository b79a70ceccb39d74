#include "sys/vfs/kept_attributes.h"

#include "kernel/mem/slab.h"

#include <cstring>

namespace vfs {

namespace {

constexpr k::u64 pages_for(k::u64 bytes) {
    return k::align_up(bytes, k::u64{arch::page_size}) >> arch::page_shift;
}

} // namespace

kept_attributes::~kept_attributes() {
    lwkt::sleep_hold hold(lock_);
    while (first_)
        mem::free(std::exchange(first_, first_->next));
}

void kept_attributes::last_holder_left() noexcept {
    mem::destroy(this);
}

// The budget is the file system's, which the node holds no more after this. Nobody else looks.
void kept_attributes::node_gone(const vnode&) noexcept NO_THREAD_SAFETY_ANALYSIS {
    budget_.give_back(pages_for(bytes_));
    bytes_ = 0;
}

kept_attributes::one** kept_attributes::find(std::string_view name) noexcept {
    one** at = &first_;
    while (*at && (*at)->name() != name)
        at = &(*at)->next;
    return at;
}

k::result<k::u64> kept_attributes::get(std::string_view name, std::span<std::byte> to) noexcept {
    lwkt::sleep_hold hold(lock_);
    one* const there = *find(name);
    if (!there) return k::error::nodata;
    if (!to.empty()) {
        if (there->value_bytes > to.size()) return k::error::range;
        std::memcpy(to.data(), there->value().data(), there->value_bytes);
    }
    return there->value_bytes;
}

k::status kept_attributes::set(std::string_view name, std::optional<std::span<const std::byte>> value,
                               unsigned flags) noexcept {
    lwkt::sleep_hold hold(lock_);
    one** const at = find(name);
    if (*at && (flags & extended_create)) return k::error::exist;
    if (!*at && ((flags & extended_replace) || !value)) return k::error::nodata;
    one* fresh = nullptr;
    const k::u64 old_bytes = *at ? (*at)->bytes() : 0;
    const k::u64 fresh_bytes = value ? sizeof(one) + name.size() + value->size() : 0;
    const k::u64 sum = bytes_ - old_bytes + fresh_bytes;
    if (value) {
        if (sum > most_bytes) return k::error::nospc;
        if (pages_for(sum) > pages_for(bytes_) && !budget_.take(pages_for(sum) - pages_for(bytes_)))
            return k::error::nospc;
        fresh = static_cast<one*>(mem::allocate(fresh_bytes));
        if (!fresh) {
            if (pages_for(sum) > pages_for(bytes_)) budget_.give_back(pages_for(sum) - pages_for(bytes_));
            return k::error::nomem;
        }
        *fresh = {*at ? (*at)->next : nullptr, static_cast<k::u32>(value->size()), static_cast<k::u8>(name.size())};
        name.copy(reinterpret_cast<char*>(fresh + 1), name.size());
        std::memcpy(fresh->value().data(), value->data(), value->size());
    }
    if (pages_for(sum) < pages_for(bytes_)) budget_.give_back(pages_for(bytes_) - pages_for(sum));
    bytes_ = sum;
    one* const old = *at;
    *at = fresh ? fresh : old->next;
    mem::free(old);
    return {};
}

void kept_attributes::list(extended_names& to) noexcept {
    lwkt::sleep_hold hold(lock_);
    for (const one* o = first_; o; o = o->next)
        to.put({}, o->name());
}

} // namespace vfs
