#include "kernel/proc/credentials.h"

#include "kernel/mem/slab.h"

#include <algorithm>

namespace proc {

k::result<k::ref<group_list>> group_list::create(std::span<const k::u32> groups) noexcept {
    kassert(groups.size() <= most_groups);
    void* memory = mem::allocate(sizeof(group_list) + groups.size_bytes());
    if (!memory) return k::error::nomem;
    auto* list = new (memory) group_list(static_cast<k::u32>(groups.size()));
    const std::span<k::u32> ids{reinterpret_cast<k::u32*>(list + 1), groups.size()};
    std::ranges::copy(groups, ids.begin());
    std::ranges::sort(ids);
    return k::ref<group_list>(list);
}

void group_list::last_holder_left() noexcept {
    mem::free(this);
}

bool group_list::contains(k::u32 group) const noexcept {
    return std::ranges::binary_search(groups(), group);
}

} // namespace proc
