#include "sys/vfs/edit.h"

#include "sys/vfs/data.h"
#include "sys/vfs/events.h"
#include "sys/vfs/program_names.h"
#include "sys/vfs/vop.h"

namespace vfs {

namespace {

// What stands at a spot now; empty: nothing.
k::result<found> standing_at(const spot& where) noexcept {
    auto there = look_up(*where.in, where.dir(), where.name());
    if (!there && there.error() == k::error::noent) return found{};
    return there;
}

k::status may_change_names(const view& v, const spot& where) noexcept {
    if (where.in->is_read_only() || where.in->fs().is_virtual()) return k::error::rofs;
    return check(where.dir(), v.who, may_write | may_execute);
}

// Has a directory a name that leads to that node (null: none)?
bool leads_to(const directory& in, const name_text& text, const vnode* node) noexcept {
    lwkt::critical section;
    const name* n = in.find(text);
    return (n ? n->node() : nullptr) == node;
}

// Of one in a program, whose names are held: is there certainly nothing of that name? What is not known is asked for,
// because a program may rely on it. EEXIST.
k::status expect_nothing(file_system& fs, directory& in, const name_text& text) noexcept {
    {
        lwkt::critical section;
        const name* n = in.find(text);
        if (n && n->node()) return k::error::exist;
        if (n && !n->is_old()) return {};
    }
    file_system::belief how;
    auto there = fs.look_up_there(in, text.text, nullptr, how);
    if (there) return k::error::exist; // another was quicker
    return there.error() == k::error::noent ? k::status() : k::status(there.error());
}

// Of one in a program, whose names are held: one that was changed there but not here is asked for again.
void forget_name(file_system& fs, directory& in, const name_text& text) noexcept {
    if (!fs.is_in_program()) return;
    vop_forget gone(in, text, nullptr);
    (void)fs.call(gone);
}

// The same of what may be a directory.
void lose_whatever(directory& in, const name_text& text) noexcept {
    name_ref there;
    {
        lwkt::critical section;
        if (name* n = in.find(text)) there = name_ref::to_living(*n);
    }
    if (there) (void)lose_name(in, *there);
}

// A name that will stand in another one's place is believed as that one is, from then on.
file_system::belief inherit_belief(file_system& fs, const found& before, name* fresh) noexcept {
    if (!fs.is_in_program() || !before.called || !fresh) return {};
    const k::u64 news = fs.news();
    fresh->valid_until.store(0, std::memory_order_relaxed);
    return {before.called->valid_until.load(std::memory_order_relaxed), news};
}

bool is_covered(const found& f) noexcept {
    return f.node->is(node_type::directory) && f.node->as_directory().mounted_on.load(std::memory_order_relaxed);
}

} // namespace

k::result<found> make(const view& v, const spot& where, node_attributes a, std::string_view link_text) noexcept {
    const bool is_directory = a.type == node_type::directory;
    if (where.what != spot::special::none) return k::error::exist;
    if (TRY(standing_at(where))) return k::error::exist;
    if (where.wants_directory && !is_directory) return k::error::noent;
    TRY(may_change_names(v, where));
    directory& in = where.dir();
    if (in.mode.load(std::memory_order_relaxed) & set_group) {
        a.gid = in.gid.load(std::memory_order_relaxed);
        if (is_directory)
            a.mode |= set_group;
        else if ((a.mode & 0010) && !v.who.privileged() && !v.who.in_group(a.gid))
            a.mode &= ~k::u32{set_group}; // nobody gets a group's rights by making a file there
    }
    file_system& fs = where.in->fs();
    const names_hold asking(in);
    if (in.is_dead()) return k::error::noent;
    const name_text text(where.name());
    if (fs.is_in_program()) {
        TRY(expect_nothing(fs, in, text));
        vop_make_room room(in);
        TRY(fs.call(room)); // before anything is made there
    }
    file_system::belief how;
    auto node = fs.make_there(in, where.name(), a, link_text, how);
    if (!node) {
        forget_name(fs, in, text); // that there is none may be wrong
        return node.error();
    }
    auto called = name::create(in, text, node->share());
    k::status added = called ? k::status() : called.error();
    vop_add add(in, called ? *std::move(called) : name_ref());
    if (added) {
        if (fs.is_in_program()) add.fresh->valid_until.store(0, std::memory_order_relaxed);
        added = fs.call(add);
    }
    if (!added) {
        (void)fs.remove_there(in, where.name(), **node);
        return added.error();
    }
    if (fs.is_in_program()) fs.believe(add.fresh->valid_until, how);
    announce(in, event_create, where.name(), is_directory);
    return found{where.in.share(), *std::move(node), std::move(add.fresh)};
}

k::status link(const view& v, const found& what, const spot& where) noexcept {
    if (where.what != spot::special::none || TRY(standing_at(where))) return k::error::exist;
    if (where.wants_directory) return k::error::noent;
    if (where.in.get() != what.in.get()) return k::error::xdev;
    TRY(may_change_names(v, where));
    if (what.node->is(node_type::directory)) return k::error::perm;
    // As Linux's protected_hardlinks: what one may not write one must own.
    if (!v.who.owns(*what.node)) {
        const k::u32 mode = what.node->mode.load(std::memory_order_relaxed);
        const bool is_safe = what.node->is(node_type::regular) && !(mode & set_user) &&
                             (mode & (set_group | 0010)) != (set_group | 0010) &&
                             check(*what.node, v.who, may_read | may_write);
        if (!is_safe) return k::error::perm;
    }
    vnode& node = *what.node;
    // The count goes up first: a node without links is one that is going away, and stays so.
    const bool first = node.awaits_name.exchange(false, std::memory_order_relaxed);
    k::u32 links = node.links.load(std::memory_order_relaxed);
    do {
        if (!links && !first) return k::error::noent;
        if (links >= 65000) return k::error::mlink;
    } while (!node.links.compare_exchange_weak(links, links + 1, std::memory_order_relaxed));
    auto fresh = name::create(where.dir(), name_text(where.name()), what.node.share());
    k::status added = fresh ? k::status() : fresh.error();
    const names_hold asking(where.dir());
    if (added && where.dir().is_dead()) added = k::error::noent;
    if (added && where.in->fs().is_in_program())
        added = expect_nothing(where.in->fs(), where.dir(), name_text(where.name()));
    if (added) added = where.in->fs().link_there(node, where.dir(), where.name());
    const bool is_same_there = where.in->fs().names_share_nodes();
    if (added && is_same_there) {
        vop_add add(where.dir(), *std::move(fresh));
        added = where.in->fs().call(add);
    } else if (added) {
        forget_name(where.in->fs(), where.dir(), name_text(where.name())); // as it is there, it will be asked for
        node.told_until_ns.store(0, std::memory_order_relaxed);
    }
    if (!added) {
        node.links.fetch_sub(1, std::memory_order_relaxed);
        if (first) node.awaits_name.store(true, std::memory_order_relaxed);
        return added;
    }
    node.touch_changed();
    announce(where.dir(), event_create, where.name(), false);
    announce_self(node, event_attributes);
    return {};
}

k::status remove(const view& v, const spot& where, bool of_directory) noexcept {
    switch (where.what) {
    case spot::special::dot: return of_directory ? k::error::inval : k::error::isdir;
    case spot::special::dot_dot: return of_directory ? k::error::notempty : k::error::isdir;
    case spot::special::root: return of_directory ? k::error::busy : k::error::isdir;
    case spot::special::none: break;
    }
    for (;;) {
        const found there = TRY(standing_at(where));
        if (!there) return k::error::noent;
        if (where.in->is_read_only() || where.in->fs().is_virtual()) return k::error::rofs;
        TRY(check_removal(where.dir(), *there.node, v.who));
        const bool is_directory = there.node->is(node_type::directory);
        if (of_directory && !is_directory) return k::error::notdir;
        if (!of_directory && is_directory) return k::error::isdir;
        if (where.wants_directory && !is_directory) return k::error::notdir;
        if (is_covered(there)) return k::error::busy;
        const name_text text(where.name());
        name_ref remains;
        if (is_directory) remains = TRY(name::create(where.dir(), text, {}));
        const names_hold asking(where.dir());
        file_system& fs = where.in->fs();
        vop_remove gone(where.dir(), text, *there.node, of_directory, std::move(remains));
        if (fs.is_in_program()) {
            if (!leads_to(where.dir(), text, there.node.get())) {
                if (!there.called) return k::error::nomem; // what was found could not be noted
                continue;
            }
            if (is_directory && !fs.names_grow_old() && TRY(has_names(there.node->as_directory())))
                return k::error::notempty;
            vop_make_room room(gone);
            TRY(fs.call(room)); // before anything goes there
            const k::status asked = fs.remove_there(where.dir(), where.name(), *there.node);
            if (!asked) {
                if (asked.error() == k::error::intr && !is_directory) forget_name(fs, where.dir(), text);
                return asked;
            }
        }
        k::status done = fs.call(gone);
        // It is empty there, so what is known below is no more.
        if (!done && done.error() == k::error::notempty && fs.names_grow_old())
            done = lose_directory(there.node->as_directory());
        // The program was asked, and has told of it already.
        if (!done && done.error() == k::error::noent && fs.is_in_program()) return {};
        if (!done && fs.is_in_program() && is_directory)
            lose_whatever(where.dir(), text);
        else if (!done)
            forget_name(fs, where.dir(), text);
        // Another file has the name by now: once more.
        if (!done && done.error() == k::error::noent) continue;
        if (!done) return done;
        announce(where.dir(), event_delete, where.name(), is_directory);
        if (!is_directory) announce_self(*there.node, event_attributes); // its count of links
        return {};
    }
}

// What is to be renamed is `moved`, and what it takes the place of `replaced`, if anything.
static k::status check_rename(const view& v, const spot& from, const spot& to, const found& moved,
                              const found& replaced, unsigned flags) noexcept {
    const bool exchange = flags & rename_exchange;
    const bool is_directory = moved.node->is(node_type::directory);
    const bool replaces_directory = replaced && replaced.node->is(node_type::directory);
    if (!is_directory && (from.wants_directory || (to.wants_directory && !exchange))) return k::error::notdir;
    if (exchange && !replaces_directory && to.wants_directory) return k::error::notdir;
    if (is_directory && is_within(to.dir(), moved.node->as_directory())) return k::error::inval;
    if (replaces_directory && is_within(from.dir(), replaced.node->as_directory()))
        return exchange ? k::error::inval : k::error::notempty;
    if (replaced && replaced.node.get() == moved.node.get()) return {}; // nothing will be done
    const bool across = &from.dir() != &to.dir();
    TRY(check_removal(from.dir(), *moved.node, v.who));
    if (is_directory && across) TRY(check(*moved.node, v.who, may_write)); // its ".." changes
    if (!replaced) {
        TRY(check(to.dir(), v.who, may_write | may_execute));
        return is_covered(moved) ? k::error::busy : k::status();
    }
    TRY(check_removal(to.dir(), *replaced.node, v.who));
    if (!exchange && is_directory != replaces_directory) return is_directory ? k::error::notdir : k::error::isdir;
    if (exchange && replaces_directory && across) TRY(check(*replaced.node, v.who, may_write));
    return is_covered(moved) || is_covered(replaced) ? k::error::busy : k::status();
}

// The program's part of it, before the names change here. EINTR: it may have done it, and its names are asked for
// again.
static k::status rename_in_program(file_system& fs, vop_rename& change, const spot& from, const spot& to,
                                   const found& moved, const found& replaced, unsigned flags) noexcept {
    vop_make_room room(change);
    TRY(fs.call(room));
    const k::status asked = fs.rename_there(from.dir(), from.name(), to.dir(), to.name(), flags);
    if (asked || asked.error() != k::error::intr) return asked;
    if (!moved.node->is(node_type::directory)) forget_name(fs, from.dir(), name_text(from.name()));
    if (!(replaced && replaced.node->is(node_type::directory))) forget_name(fs, to.dir(), name_text(to.name()));
    return asked;
}

k::status rename(const view& v, const spot& from, const spot& to, unsigned flags) noexcept {
    if (from.in.get() != to.in.get()) return k::error::xdev;
    if (from.what != spot::special::none) return k::error::busy;
    if (to.what != spot::special::none) return flags & rename_no_replace ? k::error::exist : k::error::busy;
    if (from.in->is_read_only() || from.in->fs().is_virtual()) return k::error::rofs;
    file_system& fs = from.in->fs();
    const name_text from_text(from.name()), to_text(to.name());
    for (;;) {
        // Directories keep their places while it is looked whether one would come to stand in itself.
        lwkt::sleep_hold hold(fs.renaming);
        const found moved = TRY(standing_at(from));
        if (!moved) return k::error::noent;
        const found replaced = TRY(standing_at(to));
        const bool exchange = flags & rename_exchange;
        if (exchange && !replaced) return k::error::noent;
        if ((flags & rename_no_replace) && replaced) return k::error::exist;
        TRY(check_rename(v, from, to, moved, replaced, flags));
        if (replaced && replaced.node.get() == moved.node.get()) return {};
        name_ref fresh = TRY(name::create(to.dir(), to_text, moved.node.share()));
        name_ref swapped, remains;
        if (exchange)
            swapped = TRY(name::create(from.dir(), from_text, replaced.node.share()));
        else if (replaced && replaced.node->is(node_type::directory))
            remains = TRY(name::create(to.dir(), to_text, {}));
        const names_hold asking(from.dir(), to.dir());
        const file_system::belief how = inherit_belief(fs, moved, fresh.get());
        const file_system::belief how_swapped = inherit_belief(fs, replaced, swapped.get());
        vop_rename change(from.dir(), from_text, *moved.node, to.dir(), std::move(fresh), replaced.node.get(),
                          std::move(swapped), std::move(remains));
        if (fs.is_in_program()) {
            if (to.dir().is_dead() || from.dir().is_dead()) return k::error::noent;
            if (!leads_to(from.dir(), from_text, moved.node.get()) ||
                !leads_to(to.dir(), to_text, replaced.node.get())) {
                if (!moved.called || (replaced && !replaced.called)) return k::error::nomem; // as in remove()
                continue;
            }
            const bool loses_one = replaced && !exchange && replaced.node->is(node_type::directory);
            const bool loses_names = loses_one && TRY(has_names(replaced.node->as_directory()));
            if (loses_names && !fs.names_grow_old()) return k::error::notempty;
            TRY(rename_in_program(fs, change, from, to, moved, replaced, flags));
            if (loses_names) { // as in remove()
                if (const k::status lost = lose_directory(replaced.node->as_directory()); !lost) {
                    lose_whatever(from.dir(), from_text);
                    lose_whatever(to.dir(), to_text);
                    return lost;
                }
                change.replaced = nullptr;
            }
        }
        const k::status done = fs.call(change);
        const bool has_changed = !done && (done.error() == k::error::noent || done.error() == k::error::exist);
        if (!done && fs.is_in_program()) {
            lose_whatever(from.dir(), from_text);
            lose_whatever(to.dir(), to_text);
            if (!has_changed) return done; // else the program has told meanwhile that one is gone: it is done there
        } else if (has_changed) {
            if (from.dir().is_dead() || to.dir().is_dead()) return k::error::noent;
            continue;
        } else if (!done) {
            return done;
        } else if (fs.is_in_program()) {
            fs.believe(change.fresh->valid_until, how);
            if (change.swapped) fs.believe(change.swapped->valid_until, how_swapped);
        }
        announce_rename(from.dir(), from.name(), to.dir(), to.name(), *moved.node);
        if (replaced && !exchange && !replaced.node->is(node_type::directory))
            announce_self(*replaced.node, event_attributes);
        return {};
    }
}

// --- Attributes

k::status change_mode(const found& of, const subject& who, k::u32 mode) noexcept {
    if (of.in && of.in->is_read_only()) return k::error::rofs;
    vnode& n = *of.node;
    if (!who.owns(n)) return k::error::perm;
    mode &= permission_bits;
    const bool group_is_foreign = !who.privileged() && !who.in_group(n.gid.load(std::memory_order_relaxed));
    if (group_is_foreign && !n.is(node_type::directory)) mode &= ~k::u32{set_group};
    TRY(n.fs.change_there(n, {.mode = mode}));
    n.mode.store(mode, std::memory_order_relaxed);
    n.touch_changed();
    announce_use(n, of.called.get(), event_attributes);
    return {};
}

void drop_set_id(vnode& of, const subject& who) noexcept {
    const k::u32 mode = of.mode.load(std::memory_order_relaxed);
    if (!(mode & (set_user | set_group)) || who.privileged() || of.is(node_type::directory)) return;
    const k::u32 drop = set_user | (mode & 0010 ? k::u32{set_group} : 0);
    (void)of.fs.change_there(of, {.mode = mode & ~drop});
    of.mode.fetch_and(~drop, std::memory_order_relaxed);
}

k::status change_owner(const found& of, const subject& who, k::u32 uid, k::u32 gid) noexcept {
    if (of.in && of.in->is_read_only()) return k::error::rofs;
    vnode& n = *of.node;
    const k::u32 owner = n.uid.load(std::memory_order_relaxed);
    if (!who.privileged()) {
        if (uid != no_change && (uid != owner || who.uid != owner)) return k::error::perm;
        if (gid != no_change && (who.uid != owner || !who.in_group(gid))) return k::error::perm;
    }
    file_system::new_attributes fresh{};
    if (uid != no_change) fresh.uid = uid;
    if (gid != no_change) fresh.gid = gid;
    TRY(n.fs.change_there(n, fresh));
    if (uid != no_change) n.uid.store(uid, std::memory_order_relaxed);
    if (gid != no_change) n.gid.store(gid, std::memory_order_relaxed);
    if (!n.is(node_type::directory)) {
        const k::u32 mode = n.mode.load(std::memory_order_relaxed);
        n.mode.fetch_and(~(set_user | (mode & 0010 ? k::u32{set_group} : 0)), std::memory_order_relaxed);
    }
    n.touch_changed();
    announce_use(n, of.called.get(), event_attributes);
    return {};
}

k::status change_times(const found& of, const subject& who, new_time accessed, new_time modified) noexcept {
    using kind = new_time::kind;
    if (of.in && of.in->is_read_only()) return k::error::rofs;
    vnode& n = *of.node;
    if (accessed.what == kind::keep && modified.what == kind::keep) return {};
    if (!who.owns(n)) {
        if (accessed.what == kind::given || modified.what == kind::given) return k::error::perm;
        TRY(check_afresh(n, who, may_write));
    }
    const k::u64 now = now_ns();
    const auto fresh = [now](const new_time& to) {
        return to.what == kind::keep ? std::nullopt : std::optional(to.what == kind::now ? now : to.ns);
    };
    TRY(n.fs.change_there(n, {.accessed_ns = fresh(accessed),
                              .modified_ns = fresh(modified),
                              .accessed_now = accessed.what == kind::now,
                              .modified_now = modified.what == kind::now}));
    const auto set = [now](std::atomic<k::u64>& at, const new_time& to) {
        if (to.what != kind::keep) at.store(to.what == kind::now ? now : to.ns, std::memory_order_relaxed);
    };
    set(n.accessed_ns, accessed);
    set(n.modified_ns, modified);
    n.changed_ns.store(now, std::memory_order_relaxed);
    announce_use(n, of.called.get(), event_attributes);
    return {};
}

k::status truncate(const found& of, const subject& who, k::u64 bytes) noexcept {
    vnode& n = *of.node;
    if (n.is(node_type::directory)) return k::error::isdir;
    if (!n.pages()) return k::error::inval;
    if (of.in && of.in->is_read_only()) return k::error::rofs;
    if (n.is_told_old()) TRY(n.fs.ask_again(n));
    TRY(check(n, who, may_write));
    const claim writing = TRY(claim::take(n, claim_kind::writing));
    TRY(resize(n, bytes));
    drop_set_id(n, who);
    announce_use(n, of.called.get(), event_modify);
    return {};
}

} // namespace vfs
