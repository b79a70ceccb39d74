#include "sys/vfs/vop.h"

#include "sys/vfs/file_system.h"

namespace vfs {

namespace {

constexpr k::u32 most_links = 65000;

void add_link(vnode& to) noexcept {
    to.links.fetch_add(1, std::memory_order_relaxed);
}
void drop_link(vnode& from) noexcept {
    k::u32 links = from.links.load(std::memory_order_relaxed); // a program may have said any number
    while (links && !from.links.compare_exchange_weak(links, links - 1, std::memory_order_relaxed)) {
    }
}

// The name of that text with a node. A negative entry is taken out on the way.
name* find_real(directory& in, const name_text& text) noexcept {
    lwkt::critical section;
    name* there = in.find(text);
    if (there && !there->node()) {
        (void)in.take_out(*there);
        return nullptr;
    }
    return there;
}

k::status can_lose(vnode& what) noexcept {
    if (!what.is(node_type::directory)) return {};
    if (what.as_directory().mounted_on.load(std::memory_order_relaxed)) return k::error::busy;
    return what.as_directory().has_no_nodes() ? k::status() : k::error::notempty;
}

// A node loses the name that was taken out of `in`; a directory keeps the `last` one, so that ".." leads up from there.
void lose(directory& in, vnode& what, name_ref last) noexcept {
    if (what.is(node_type::directory)) {
        directory& d = what.as_directory();
        while (name* missing = d.at_or_after(0)) // what was noted as not there would hold it for ever
            (void)d.take_out(*missing);
        d.die(std::move(last));
        drop_link(in); // its ".."
        drop_link(d);  // its "."
    }
    drop_link(what);
    what.touch_changed();
}

} // namespace

k::status vop_add::run() noexcept {
    directory& in = nodes[0]->as_directory();
    if (in.is_dead()) return k::error::noent;
    if (find_real(in, name_text(fresh->text()))) return k::error::exist;
    vnode& node = *fresh->node();
    if (in.links.load(std::memory_order_relaxed) >= most_links && !in.fs.is_in_program()) return k::error::mlink;
    name_ref kept = fresh.share();
    TRY(in.add(kept));
    if (node.is(node_type::directory)) {
        node.as_directory().set_own_name(fresh.share());
        add_link(in);
    }
    in.touch_modified();
    return {};
}

k::status vop_remove::run() noexcept {
    directory& in = nodes[0]->as_directory();
    name* there = find_real(in, text);
    if (!there || there->node() != &expected) return k::error::noent;
    const bool is_directory = expected.is(node_type::directory);
    if (is_directory != directory_wanted) return is_directory ? k::error::isdir : k::error::notdir;
    TRY(can_lose(expected));
    removed = in.take_out(*there);
    lose(in, expected, std::move(last));
    in.touch_modified();
    return {};
}

// A node has a fresh name in a directory; if it is a directory, that is its place from now on.
void vop_rename::go_to(directory& in, name_ref& n, vnode& what) noexcept {
    if (what.is(node_type::directory)) {
        directory& d = what.as_directory();
        if (directory& before = d.parent(); &before != &in) {
            drop_link(before);
            add_link(in);
        }
        d.set_own_name(n.share());
    }
    what.touch_changed();
}

k::status vop_rename::run() noexcept {
    name* old = find_real(from(), from_text);
    if (!old || old->node() != &moved) return k::error::noent;
    if (to().is_dead() || from().is_dead()) return k::error::noent;
    name* target = find_real(to(), name_text(fresh->text()));
    if ((target ? target->node() : nullptr) != replaced) return target ? k::error::exist : k::error::noent;
    if (replaced && !swapped) TRY(can_lose(*replaced));
    // Both fresh ones come before the old ones go: nobody who looks sees neither.
    name_ref kept = fresh.share();
    TRY(to().add(kept));
    if (swapped) {
        name_ref kept_too = swapped.share();
        if (auto added = from().add(kept_too); !added) {
            (void)to().take_out(*fresh);
            return added;
        }
    }
    removed[0] = from().take_out(*old);
    if (target) removed[1] = to().take_out(*target);
    go_to(to(), fresh, moved);
    if (swapped)
        go_to(from(), swapped, *replaced);
    else if (replaced)
        lose(to(), *replaced, std::move(last));
    from().touch_modified();
    to().touch_modified();
    return {};
}

// --- What is kept elsewhere

k::status vop_add::keep(file_system& fs) noexcept {
    directory& in = nodes[0]->as_directory();
    if (in.is_dead()) return k::error::noent;
    {
        lwkt::critical section;
        const name* there = in.find(name_text(fresh->text()));
        if (there && there->node()) return k::error::exist;
    }
    if (in.links.load(std::memory_order_relaxed) >= most_links && !in.fs.is_in_program()) return k::error::mlink;
    return fs.keep_added(in, fresh->text(), *fresh->node());
}

namespace {

bool leads_to(directory& in, const name_text& text, const vnode& what) noexcept {
    lwkt::critical section;
    const name* there = in.find(text);
    return there && there->node() == &what;
}
bool is_covered(vnode& what) noexcept {
    return what.is(node_type::directory) && what.as_directory().mounted_on.load(std::memory_order_relaxed);
}

} // namespace

k::status vop_remove::keep(file_system& fs) noexcept {
    directory& in = nodes[0]->as_directory();
    if (!leads_to(in, text, expected)) return k::error::noent;
    const bool is_directory = expected.is(node_type::directory);
    if (is_directory != directory_wanted) return is_directory ? k::error::isdir : k::error::notdir;
    if (is_covered(expected)) return k::error::busy;
    return fs.keep_removed(in, text.text, expected);
}

k::status vop_rename::keep(file_system& fs) noexcept {
    if (!leads_to(from(), from_text, moved) || from().is_dead() || to().is_dead()) return k::error::noent;
    const name_text to_text(fresh->text());
    if (replaced && !leads_to(to(), to_text, *replaced)) return k::error::noent;
    if (!replaced) {
        lwkt::critical section;
        const name* there = to().find(to_text);
        if (there && there->node()) return k::error::exist;
    }
    if (is_covered(moved) || (replaced && is_covered(*replaced))) return k::error::busy;
    return fs.keep_renamed(*this);
}

k::status vop_make_room::run() noexcept {
    for (vnode* n : nodes)
        if (n && n->is(node_type::directory)) TRY(n->as_directory().make_room_for(2));
    return {};
}

k::status vop_remember::run() noexcept {
    directory& in = nodes[0]->as_directory();
    if (in.is_dead()) return k::error::noent;
    {
        lwkt::critical section;
        if (in.find(name_text(fresh->text()))) return {}; // another was quicker
    }
    if (!fresh->node() && in.has_many_negative()) {
        name* first = in.at_or_after(0);
        while (first && first->node())
            first = in.at_or_after(in.place_of(*first) + 1);
        if (first) forgotten = in.take_out(*first);
    }
    name_ref kept = fresh.share();
    TRY(in.add(kept));
    vnode* node = fresh->node();
    if (node && node->is(node_type::directory)) node->as_directory().set_own_name(fresh.share());
    return {};
}

k::status vop_forget::run() noexcept {
    directory& in = nodes[0]->as_directory();
    lwkt::critical section;
    name* const there = in.find(text);
    if (there && (!expected || there == expected)) forgotten = in.take_out(*there);
    return {};
}

// Who comes upon one of them just now holds what he found, and who asks for it again gets the same node.
k::status vop_evict::run() noexcept {
    directory& in = nodes[0]->as_directory();
    const auto is_in_use = [](const vnode& n) {
        bool any = n.is(node_type::directory) || n.holders() != 1;
        for (unsigned kind = 0; kind < attachment_kinds; kind++)
            any = any || n.has_attached(static_cast<attachment_kind>(kind));
        return any;
    };
    for (count = 0; count < most;) {
        name* const n = in.at_or_after(place);
        if (!n) break;
        place = in.place_of(*n) + 1;
        if (n->holders() == 1 && !(n->node() && is_in_use(*n->node()))) forgotten[count++] = in.take_out(*n);
    }
    return {};
}

k::status vop_cover::run() noexcept {
    directory& what = nodes[0]->as_directory();
    if (what.is_dead()) return k::error::noent;
    what.mounted_on.fetch_add(1, std::memory_order_release);
    return {};
}

k::status vop_list::run() noexcept {
    directory& in = nodes[0]->as_directory();
    while (count < found.size()) {
        name* n = in.at_or_after(place);
        if (!n) break;
        place = in.place_of(*n) + 1;
        if (n->node()) found[count++] = {in.place_of(*n), name_ref::to(*n)};
    }
    return {};
}

} // namespace vfs
