#include "kernel/files/file.h"

#include "kernel/files/epoll.h"
#include "kernel/files/locks.h"
#include "kernel/mem/slab.h"
#include "sys/vm/object.h"

namespace files {

k::result<k::ref<vm::object>> file::mapped_object() noexcept {
    return k::error::nodev;
}

void file::last_holder_left() noexcept {
    if (epoll_items_) forget_in_epolls(*this);
    if (origin_) drop_locks(*origin_.node, this);
    mem::destroy(this);
}

k::u32 file::change_flags(k::u32 mask, k::u32 to) noexcept {
    k::u32 before = flags_.load(std::memory_order_relaxed);
    while (!flags_.compare_exchange_weak(before, (before & ~mask) | (to & mask), std::memory_order_relaxed)) {
    }
    return before;
}

k::status file::stat(stat_record& out) noexcept {
    if (!origin_) return describe(out);
    if (origin_.node->is_told_old()) TRY(origin_.node->fs.ask_again(*origin_.node));
    files::describe(*origin_.node, out);
    return {};
}

void describe(const vfs::vnode& n, stat_record& out) noexcept {
    const auto get = [](const auto& value) { return value.load(std::memory_order_relaxed); };
    out = {};
    out.device = n.fs.device();
    out.inode = n.inode;
    out.links = get(n.links);
    out.mode = n.whole_mode();
    out.uid = get(n.uid);
    out.gid = get(n.gid);
    out.device_number = n.device;
    out.size = static_cast<k::i64>(get(n.size));
    out.block_size = arch::page_size;
    if (n.fs.is_on_disk() || n.fs.is_in_program())
        out.blocks = static_cast<k::i64>(n.fs.sectors(n));
    else if (n.pages())
        out.blocks = static_cast<k::i64>(n.pages()->resident_pages() * (arch::page_size / 512));
    const auto set = [](k::u64 ns, k::i64& seconds, k::i64& rest) {
        seconds = static_cast<k::i64>(ns / ktime::second);
        rest = static_cast<k::i64>(ns % ktime::second);
    };
    set(get(n.accessed_ns), out.access_s, out.access_ns);
    set(get(n.modified_ns), out.modify_s, out.modify_ns);
    set(get(n.changed_ns), out.change_s, out.change_ns);
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
