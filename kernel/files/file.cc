#include "kernel/files/file.h"

#include "kernel/files/epoll.h"
#include "kernel/mem/slab.h"
#include "sys/vm/object.h"

namespace files {

k::result<k::ref<vm::object>> file::mapped_object() noexcept {
    return k::error::nodev;
}

void file::last_holder_left() noexcept {
    if (epoll_items_) forget_in_epolls(*this);
    mem::destroy(this);
}

k::u32 file::change_flags(k::u32 mask, k::u32 to) noexcept {
    k::u32 before = flags_.load(std::memory_order_relaxed);
    while (!flags_.compare_exchange_weak(before, (before & ~mask) | (to & mask), std::memory_order_relaxed)) {
    }
    return before;
}

k::u64 fresh_inode() noexcept {
    static std::atomic<k::u64> last = 0;
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

stat_record simple_stat(k::u32 mode, k::u64 inode) noexcept {
    stat_record out{};
    out.inode = inode;
    out.links = 1;
    out.mode = mode;
    out.block_size = arch::page_size;
    return out;
}

} // namespace files
