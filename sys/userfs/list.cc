// Lists of the names in a directory of a program's. Where it says with a list what the names lead to, that is known
// afterwards, as if it had been looked up.
#include "kernel/mem/slab.h"
#include "sys/userfs/instance.h"
#include "sys/vfs/data.h"
#include "sys/vfs/vop.h"

#include <cstring>

namespace vfs {

namespace {

// A program's names begin behind "." and "..", whose places are 1 and 2.
constexpr k::u64 before_names = 2;
constexpr k::u64 last_place = (~k::u64{0} >> 1) - before_names; // what a reader is told

// Is it one that a directory may have, there or here?
bool is_good_entry(std::string_view text) noexcept {
    for (char c : text)
        if (c == '/' || c == 0) return false;
    return !text.empty();
}

} // namespace

// EIO: it is no list, or one that does not go on.
k::status userfs_instance::put_entries(std::span<const std::byte> from, progress& at, lister& to) noexcept {
    while (!from.empty()) {
        userfs::entry e;
        if (from.size() < sizeof(e)) return k::error::io;
        std::memcpy(&e, from.data(), sizeof(e));
        if (e.text_bytes > userfs::longest_told_name || sizeof(e) + e.text_bytes > from.size()) return k::error::io;
        const std::string_view text(reinterpret_cast<const char*>(from.data()) + sizeof(e), e.text_bytes);
        if (!is_good_entry(text) || !server_->may_go_on(at.place, e.next)) return k::error::io;
        // What has too long a name for here is passed over.
        const bool is_shown = text != "." && text != ".." && text.size() <= longest_name;
        const auto type = static_cast<node_type>(e.mode & 0170000);
        if (is_shown && !to.put(std::min(e.next, last_place) + before_names, text, type, e.node)) {
            at.full = true;
            return {};
        }
        at.place = e.next;
        at.some = at.some || is_shown;
        from = from.subspan(std::min(k::align_up(sizeof(e) + e.text_bytes, std::size_t{8}), from.size()));
    }
    return {};
}

// Names of the directory are held meanwhile, as for a look-up.
class userfs_instance::hearer final : public userfs::list_hearer {
  public:
    hearer(userfs_instance& fs, directory& in) noexcept : fs_(fs), in_(in), hold_(in), news_(fs.news()) {}
    void heard(std::string_view name, const node_told& of) noexcept override { fs_.note_listed(in_, name, of, news_); }

  private:
    userfs_instance& fs_;
    directory& in_;
    const names_hold hold_;
    const k::u64 news_;
};

// What is not kept is forgotten at once: a link, whose text would have to be asked for; what is known already, by
// whichever name, so that there are no more names than nodes, which are counted; names that nobody has asked for, when
// there is little room left for those that somebody will.
void userfs_instance::note_listed(directory& in, std::string_view text, const node_told& told, k::u64 news) noexcept {
    const name_text wanted(text);
    vnode_ref known = nodes_.find(told.of.node);
    if (known && known->is(node_type::directory) && known->as_directory().is_dead()) known.reset(); // it was lost
    const bool has_changed = known && known->is(node_type::link) && nodes_.is_another(*known, told.of);
    bool is_known = in.is_dead() || known;
    {
        lwkt::critical section;
        if (name* n = in.find(wanted)) {
            is_known = true;
            if (has_changed)
                n->valid_until.store(0, std::memory_order_relaxed); // its text is asked for
            else if (known && n->node() == known.get())
                believe(n->valid_until, {told.name_until_ns, news});
        }
    }
    if (known && !has_changed) note_once_more(*known, told, news);
    const bool is_link = static_cast<node_type>(told.of.mode & 0170000) == node_type::link;
    if (is_known || is_link || !is_good_entry(text) || text.size() > longest_name || !nodes_.has_room(2) ||
        vm::memory_is_short())
        return nodes_.owe(told.of.node);
    auto node = nodes_.node_for(told, false, {});
    if (!node) return;
    doubt(**node, news);
    auto called = name::create(in, wanted, *std::move(node));
    if (!called) return;
    vop_remember keep(in, *std::move(called));
    keep.fresh->valid_until.store(0, std::memory_order_relaxed);
    if (call(keep)) believe(keep.fresh->valid_until, {told.name_until_ns, news});
}

// The size of a file is its writers' business: one that is another now is asked for when it is wanted.
void userfs_instance::note_once_more(vnode& n, const node_told& told, k::u64 news) noexcept {
    if (news != this->news()) return;
    const bool has_size = n.is(node_type::regular);
    std::optional<writers_attempt> hold;
    if (has_size && !hold.emplace(n)) return;
    if (has_size && told.of.size != n.size.load(std::memory_order_acquire))
        return n.told_until_ns.store(0, std::memory_order_relaxed);
    node_told anew = told;
    anew.until_ns = 0;
    if (nodes_.note_again(n, anew)) believe(n.told_until_ns, {told.until_ns, news});
}

// An answer may have nothing in it that is shown, and not be the last.
k::status userfs_instance::list(directory& in, k::u64 place, lister& to) noexcept {
    auto* room = static_cast<std::byte*>(mem::allocate(userfs::most_listed));
    if (!room) return k::error::nomem;
    progress at{place > before_names ? place - before_names : 0};
    k::status outcome;
    while (outcome && !at.full && !at.some) {
        question q{.head = {.operation = operation::list,
                            .node = in.number_there,
                            .offset = at.place,
                            .bytes = userfs::most_listed},
                   .with = to.with()};
        std::optional<hearer> hears;
        if (!nodes_.owes_much() && server_->may_hear(to.with(), at.place)) q.hearer = &hears.emplace(*this, in);
        auto bytes = server_->ask_text(q, {room, userfs::most_listed});
        hears.reset();
        // What it said of nodes that are not kept: a few hundred at most.
        for (unsigned turns = 64; turns && nodes_.tell_gone(); turns--) {
        }
        if (bytes && !*bytes) break;
        outcome = bytes ? put_entries({room, *bytes}, at, to) : k::status(bytes.error());
    }
    mem::free(room);
    return outcome;
}

} // namespace vfs
