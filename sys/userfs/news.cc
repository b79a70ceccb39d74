// What a program tells by itself. Its thread must not wait for anybody who waits for the program, so no lock is taken
// that is held while something is asked: what comes too early or too late for an answer is settled by the count of
// news.
#include "sys/userfs/instance.h"
#include "sys/vfs/data.h"
#include "sys/vfs/events.h"
#include "sys/vfs/vop.h"

namespace vfs {

k::status userfs_instance::bytes_are_old(k::u64 number, k::i64 offset, k::i64 bytes) noexcept {
    has_news();
    const vnode_ref node = nodes_.find(number);
    if (!node) return k::error::noent;
    node->told_until_ns.store(0, std::memory_order_relaxed);
    if (offset < 0 || !node->pages()) return {};
    const k::u64 from = static_cast<k::u64>(offset);
    const k::u64 count = bytes <= 0 ? most_file_bytes : static_cast<k::u64>(bytes);
    const k::u64 first = from >> arch::page_shift;
    const k::u64 last = std::max(from, std::min(from + count - 1, most_file_bytes)) >> arch::page_shift;
    static_cast<userfs::file_node&>(*node).bytes_are_old(first, last - first + 1);
    return {};
}

namespace {

// What is known of a name; empty: nothing.
name_ref known_name(directory& in, const name_text& text) noexcept {
    lwkt::critical section;
    name* n = in.find(text);
    return n ? name_ref::to_living(*n) : name_ref();
}

} // namespace

k::status userfs_instance::name_is_old(k::u64 number, std::string_view name) noexcept {
    const name_text text(name);
    vnode_ref in; // let go of behind the lock
    lwkt::spin_guard guard(news_lock_);
    news_++;
    in = nodes_.find(number);
    if (!in) return k::error::noent;
    if (!in->is(node_type::directory)) return k::error::notdir;
    in->told_until_ns.store(0, std::memory_order_relaxed);
    vfs::name* const known = in->as_directory().find(text);
    if (!known) return k::error::noent;
    known->valid_until.store(0, std::memory_order_relaxed);
    return {};
}

k::status userfs_instance::name_is_gone(k::u64 number, std::string_view name, k::u64 node) noexcept {
    TRY(name_is_old(number, name));
    const vnode_ref in = nodes_.find(number);
    const name_text text(name);
    const name_ref known = in ? known_name(in->as_directory(), text) : name_ref();
    if (!known || !known->node() || known->node()->number_there != node) return k::error::noent;
    directory& from = in->as_directory();
    vnode& what = *known->node();
    const bool is_directory = what.is(node_type::directory);
    name_ref remains;
    if (is_directory) remains = TRY(vfs::name::create(from, text, {}));
    vop_remove gone(from, text, what, is_directory, std::move(remains));
    TRY(call(gone));
    announce(from, event_delete, name, is_directory);
    return {};
}

} // namespace vfs
