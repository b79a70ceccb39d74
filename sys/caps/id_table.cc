#include "sys/caps/id_table.h"

namespace caps {

k::status id_table::grow() noexcept {
    if (size_ == most_) return k::error::nobufs;
    const k::u32 wider = std::min(size_ ? size_ * 2 : 8, most_);
    auto* fresh = static_cast<place*>(mem::allocate(wider * sizeof(place)));
    if (!fresh) return k::error::nomem;
    if (size_) std::memcpy(fresh, places_, size_ * sizeof(place));
    mem::free(std::exchange(places_, fresh));
    for (k::u32 at = size_; at < wider; at++)
        places_[at] = {nullptr, 1, at + 1 < wider ? at + 1 : none};
    free_ = size_;
    size_ = wider;
    return {};
}

} // namespace caps
