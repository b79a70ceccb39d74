// Orphans: inodes that are still in use but have no name, and files that are being cut off. The superblock names the
// first, and each the next one, where its time of deletion will stand; so whoever mounts the disk after a crash can
// finish what was begun.
#include "sys/ext/store.h"

namespace ext {

// It becomes the first one.
k::status inode::become_orphan(change& by, bool has_no_name) noexcept {
    if (erased || (is_orphan && (!has_no_name || !record.links))) return {};
    if (has_no_name) record.links = 0;
    if (is_orphan) return write_record(by);
    inode*& first = store_->first_orphan;
    record.deleted_s = first ? first->number : 0;
    TRY(write_record(by));
    by.set_last_orphan(number);
    is_orphan = true;
    orphan_behind = first;
    if (first) first->orphan_before = this;
    first = this;
    return {};
}

// The one before it, or the superblock, names the next one. The others' locks are free for who has a change: nobody
// holds two.
k::status inode::be_no_orphan(change& by) noexcept {
    if (!is_orphan) return {};
    const u32 next = orphan_behind ? orphan_behind->number : store_->next_orphan;
    if (inode* const before = orphan_before) {
        lwkt::sleep_hold hold(before->map_lock);
        before->record.deleted_s = next;
        TRY(before->write_record(by));
    } else {
        by.set_last_orphan(next);
    }
    (orphan_before ? orphan_before->orphan_behind : store_->first_orphan) = orphan_behind;
    if (orphan_behind) orphan_behind->orphan_before = orphan_before;
    orphan_before = orphan_behind = nullptr;
    is_orphan = false;
    record.deleted_s = 0;
    return erased ? k::status() : write_record(by);
}

k::status inode::finish_orphan() noexcept {
    if (!record.links) return erase();
    volume& on = store_->on();
    lwkt::sleep_hold hold_writing(writing);
    change by = TRY(change::begin(on));
    const attributes as_it_is = recorded();
    {
        lwkt::sleep_hold hold(map_lock);
        TRY(load_map());
        TRY(take_out(by, (disk_size() + on.block_bytes() - 1) >> on.block_shift(), ~u64{0}));
    }
    return store_record(by, as_it_is);
}

// --- After a crash

// The numbers on the list. EIO: it leads to what is not in use, or in circles (of which one gets out: what was marked
// last is met again, and marks come after 1, 2, 4, ... steps).
k::status store::read_orphans(array<u32>& to) noexcept {
    change by = TRY(change::begin(*on_));
    u32 mark = no_inode;
    u64 steps = 0, until_next_mark = 1;
    for (u32 n = on_->last_orphan(); n;) {
        if (!on_->is_inode(n) || n == root_inode || n == mark || !TRY(by.is_taken(n))) return k::error::io;
        TRY(to.append(n));
        if (++steps == until_next_mark) {
            mark = n;
            steps = 0;
            until_next_mark *= 2;
        }
        const inode_ref i = TRY(inode::load(*this, n, true));
        if (i->record.links && i->type() != vfs::node_type::regular) return k::error::io;
        n = i->record.deleted_s;
    }
    return {};
}

// One after the other from the first: what is left on the disk's list is always what is still to be done.
void store::finish_orphans() noexcept {
    if (on_->read_only() || !on_->last_orphan()) return;
    array<u32> numbers;
    k::status done = read_orphans(numbers);
    for (std::size_t n = 0; done && n < numbers.size(); n++) {
        auto i = inode::load(*this, numbers[n], true);
        if (!i) {
            done = i.error();
            break;
        }
        (*i)->is_orphan = true;
        first_orphan = i->get();
        // The next one is only a number so far.
        next_orphan = n + 1 < numbers.size() ? numbers[n + 1] : no_inode;
        done = (*i)->finish_orphan();
        first_orphan = nullptr;
    }
    next_orphan = no_inode;
    if (!done) (void)on_->damaged("the list of orphans makes no sense, from inode", on_->last_orphan());
}

} // namespace ext
