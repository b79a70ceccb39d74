#include "sys/ext/store.h"

namespace ext {

k::result<store_ref> store::create(volume_ref on) noexcept {
    auto* made = mem::make<store>(std::move(on));
    if (!made) return k::error::nomem;
    return store_ref(made);
}

store::~store() {
    lwkt::spin_guard guard(lock_);
    for (inode* first : table_)
        kassert(!first);
}

inode_ref store::find(u32 number) noexcept {
    lwkt::spin_guard guard(lock_);
    for (inode* i = bucket_of(number); i; i = i->next)
        if (i->number == number) return inode_ref::to(*i);
    return {};
}

k::result<inode_ref> store::get(u32 number) noexcept {
    if (!on_->is_inode(number)) return on_->damaged("a name leads to the inode", number);
    if (inode_ref there = find(number)) return there;
    lwkt::sleep_hold hold(loading_);
    if (inode_ref there = find(number)) return there;
    inode_ref made = TRY(inode::load(*this, number));
    lwkt::spin_guard guard(lock_);
    inode*& first = bucket_of(number);
    made->next = first;
    first = made.share().release();
    return made;
}

vfs::vnode_ref store::node_of(inode& of) noexcept {
    lwkt::spin_guard guard(lock_);
    return of.node ? vfs::vnode_ref::to_living(*of.node) : vfs::vnode_ref();
}

void store::set_node(inode& of, vfs::vnode& node) noexcept {
    lwkt::spin_guard guard(lock_);
    of.node = &node;
}

void store::node_gone(vfs::vnode& node) noexcept {
    lwkt::spin_guard guard(lock_);
    for (inode* i = bucket_of(node.inode); i; i = i->next)
        if (i->node == &node) i->node = nullptr;
}

void store::forget_unused() noexcept {
    for (unsigned b = 0; b < buckets; b++) {
        inode* gone = nullptr;
        {
            lwkt::spin_guard guard(lock_);
            for (inode** at = &table_[b]; *at;) {
                inode* const i = *at;
                if (i->node || !i->is_unused()) {
                    at = &i->next;
                    continue;
                }
                *at = i->next;
                i->next = std::exchange(gone, i);
            }
        }
        while (gone) {
            inode* const i = std::exchange(gone, gone->next);
            i->let_go_of_pages();
            (void)inode_ref(i);
        }
    }
}

} // namespace ext
