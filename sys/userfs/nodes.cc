#include "sys/userfs/nodes.h"

#include "kernel/mem/slab.h"
#include "sys/vfs/data.h"

#include <cstring>

namespace vfs::userfs {

namespace {

k::u64 shown_number(const node_told& told) noexcept {
    return told.shown ? told.shown : told.of.node;
}

// The text follows the node in memory.
class link_node final : public vnode {
  public:
    link_node(file_system& fs, const node_told& told, const node_attributes& a, std::string_view text) noexcept
        : vnode(fs, shown_number(told), a), modified_ns_(told.of.modified_ns), changed_ns_(told.of.changed_ns),
          length_(text.size()) {
        std::memcpy(static_cast<void*>(this + 1), text.data(), text.size());
    }
    std::string_view link_text() const noexcept override { return {reinterpret_cast<const char*>(this + 1), length_}; }
    // Has it another text by now, for all one knows?
    bool differs_from(const attributes& said) const noexcept {
        return said.modified_ns != modified_ns_ || said.changed_ns != changed_ns_;
    }

  private:
    const k::u64 modified_ns_, changed_ns_; // of the text
    const std::size_t length_;
};

constexpr k::u32 type_bits = 0170000;

bool is_type(k::u32 mode) noexcept {
    switch (static_cast<node_type>(mode & type_bits)) {
    case node_type::fifo:
    case node_type::character:
    case node_type::directory:
    case node_type::block:
    case node_type::regular:
    case node_type::link:
    case node_type::socket: return true;
    }
    return false;
}

// All but the type and the size.
void note(vnode& in, const node_told& told) noexcept {
    const attributes& said = told.of;
    in.mode.store(said.mode & permission_bits, std::memory_order_relaxed);
    in.uid.store(said.uid, std::memory_order_relaxed);
    in.gid.store(said.gid, std::memory_order_relaxed);
    in.links.store(said.links, std::memory_order_relaxed);
    in.accessed_ns.store(std::min(said.accessed_ns, most_nanoseconds), std::memory_order_relaxed);
    in.modified_ns.store(std::min(said.modified_ns, most_nanoseconds), std::memory_order_relaxed);
    in.changed_ns.store(std::min(said.changed_ns, most_nanoseconds), std::memory_order_relaxed);
    in.told_until_ns.store(told.until_ns, std::memory_order_relaxed);
    if (in.is(node_type::regular)) static_cast<file_node&>(in).note_sectors(told.sectors);
}

} // namespace

node_table::~node_table() {
    lwkt::spin_guard guard(lock_);
    known_.clear_and_dispose([](record* r) { mem::destroy(r); });
    while (record* r = gone_) {
        gone_ = r->next;
        mem::destroy(r);
    }
}

bool node_table::is_another(vnode& n, const attributes& said) const noexcept {
    if (n.is(node_type::directory)) return n.as_directory().is_dead();
    return n.is(node_type::link) && server_->names_grow_old() && static_cast<link_node&>(n).differs_from(said);
}

vnode_ref node_table::find(k::u64 number) noexcept {
    lwkt::spin_guard guard(lock_);
    const auto found = known_.find(number);
    return found == known_.end() || !found->node ? vnode_ref() : vnode_ref::to_living(*found->node);
}

// A node that is known. `there` without one: it is just going away.
k::result<vnode_ref> node_table::find(const attributes& said, const vnode* known, bool& there) noexcept {
    lwkt::spin_guard guard(lock_);
    const auto found = known_.find(said.node);
    there = found != known_.end() && found->node;
    if (!there) return vnode_ref();
    vnode& n = *found->node;
    if (is_another(n, said)) return vnode_ref();
    if (n.type != static_cast<node_type>(said.mode & type_bits)) return k::error::io;
    if (n.is(node_type::directory) && &n != known) return k::error::io;
    vnode_ref held = vnode_ref::to_living(n);
    if (held) {
        found->answers++;
        n.links.store(said.links, std::memory_order_relaxed);
    }
    return held;
}

k::result<vnode_ref> node_table::make_link(const node_told& told, const node_attributes& a,
                                           std::string_view text) noexcept {
    constexpr std::size_t most = most_link_text;
    void* at = mem::allocate(sizeof(link_node) + most);
    if (!at) return k::error::nomem;
    auto* room = reinterpret_cast<std::byte*>(static_cast<link_node*>(at) + 1);
    std::size_t length = text.size();
    if (!text.empty()) {
        std::memcpy(room, text.data(), length);
    } else {
        question q{.head = {.operation = operation::read_link, .node = told.of.node}};
        auto got = server_->ask_text(q, {room, most});
        if (got && (!*got || std::memchr(room, 0, *got))) got = k::error::io;
        if (!got) {
            mem::free(at);
            return got.error();
        }
        length = *got;
    }
    void* fitting = mem::allocate(sizeof(link_node) + length);
    vnode* made = nullptr;
    if (fitting) {
        made = new (fitting) link_node(fs_, told, a, {reinterpret_cast<const char*>(room), length});
        made->size.store(length, std::memory_order_relaxed);
    }
    mem::free(at);
    if (!made) return k::error::nomem;
    return vnode_ref(made);
}

k::result<vnode_ref> node_table::make(const node_told& told, std::string_view text) noexcept {
    const attributes& said = told.of;
    const node_attributes a{.type = static_cast<node_type>(said.mode & type_bits),
                            .mode = said.mode & permission_bits,
                            .uid = said.uid,
                            .gid = said.gid,
                            .device = said.device};
    vnode* made = nullptr;
    switch (a.type) {
    case node_type::directory: made = mem::make<directory>(fs_, shown_number(told), a, false); break;
    case node_type::regular: {
        file_pages* pager = nullptr;
        k::ref<vm::object> pages = TRY(file_pages::make(server_.share(), said.node, said.size, pager));
        made = mem::make<file_node>(fs_, shown_number(told), a, server_.share(), std::move(pages), *pager);
        if (made) made->size.store(said.size, std::memory_order_relaxed);
        break;
    }
    case node_type::link: return make_link(told, a, text);
    default: made = mem::make<vnode>(fs_, shown_number(told), a); break;
    }
    if (!made) return k::error::nomem;
    return vnode_ref(made);
}

k::result<vnode_ref> node_table::node_for(const node_told& told, bool is_root, std::string_view text,
                                          const vnode* before) noexcept {
    auto node = known_or_made(told, is_root, text, before);
    if (!node && told.of.node) owe(told.of.node);
    return node;
}

k::result<vnode_ref> node_table::known_or_made(const node_told& told, bool is_root, std::string_view text,
                                               const vnode* before) noexcept {
    const attributes& said = told.of;
    if (!said.node || !is_type(said.mode) || said.size > most_file_bytes) return k::error::io;
    if (is_root && (said.mode & type_bits) != static_cast<k::u32>(node_type::directory)) return k::error::io;
    for (;;) {
        bool there = false;
        if (vnode_ref known = TRY(find(said, before, there))) return known;
        auto fresh = mem::make_box<record>();
        if (!fresh) return k::error::nomem;
        vnode_ref made = TRY(make(told, text));
        made->number_there = said.node;
        note(*made, told);
        fresh->number = said.node;
        fresh->answers = 1;
        fresh->node = made.get();
        lwkt::spin_guard guard(lock_);
        const auto other = known_.find(said.node);
        if (other != known_.end()) {
            vnode* const before = std::exchange(other->node, made.get());
            if (before && before->holders() && !is_another(*before, said)) {
                other->node = before; // another was quicker: its node
                made->number_there = 0;
                continue;
            }
            other->others += before != nullptr; // it is going, or somebody uses it still
            other->answers++;
            return made;
        }
        if (count_ >= most_) {
            made->number_there = 0; // as if it had never been one of the table's
            return k::error::nfile;
        }
        count_++;
        known_.insert(*fresh.release());
        return made;
    }
}

k::status node_table::note_again(vnode& n, const node_told& told) noexcept {
    const attributes& said = told.of;
    if (static_cast<node_type>(said.mode & type_bits) != n.type || said.size > most_file_bytes) return k::error::io;
    if (n.is(node_type::regular)) TRY(static_cast<file_node&>(n).became(said.size));
    note(n, told);
    return {};
}

bool node_table::has_room(k::u64 parts) noexcept {
    lwkt::spin_guard guard(lock_);
    return count_ < most_ / parts;
}

void node_table::gone(const vnode& n) noexcept {
    lwkt::spin_guard guard(lock_);
    const auto found = known_.find(n.number_there);
    if (found == known_.end()) return;
    record& r = *found;
    if (r.node == &n)
        r.node = nullptr;
    else
        r.others--;
    if (r.node || r.others) return; // the program is not to forget the number yet
    known_.erase(found);
    count_--;
    put_gone(r);
}

void node_table::owe(k::u64 number) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (const auto found = known_.find(number); found != known_.end()) {
            found->answers++;
            return;
        }
    }
    auto fresh = mem::make_box<record>();
    if (!fresh) return; // the server keeps it until the end
    fresh->number = number;
    fresh->answers = 1;
    lwkt::spin_guard guard(lock_);
    put_gone(*fresh.release());
}

// Some at a time: who asks for something else is not to wait long.
bool node_table::tell_gone() noexcept {
    constexpr std::size_t some = 16;
    if (!gone_count_.load(std::memory_order_relaxed)) return false;
    record* taken[some];
    forgotten which[some];
    std::size_t count = 0;
    {
        lwkt::spin_guard guard(lock_);
        for (; count < some && gone_; count++) {
            taken[count] = gone_;
            gone_ = gone_->next;
            which[count] = {taken[count]->number, taken[count]->answers};
        }
        gone_count_.fetch_sub(count, std::memory_order_relaxed);
    }
    const std::size_t said = server_->forget({which, count});
    for (std::size_t i = 0; i < said; i++)
        mem::destroy(taken[i]);
    if (said == count) return count == some;
    lwkt::spin_guard guard(lock_); // later
    for (std::size_t i = count; i-- > said;)
        put_gone(*taken[i]);
    return false;
}

// The first file at or behind a number, which becomes the next one's.
vnode_ref node_table::next_file(k::u64& number) noexcept {
    for (unsigned looked = 0; looked < 64; looked++) {
        vnode_ref held; // whose pages may be looked at; let go of without the lock, which gone() takes
        {
            lwkt::spin_guard guard(lock_);
            const auto at = known_.lower_bound(number);
            if (at == known_.end()) {
                number = 0;
                return {};
            }
            number = at->number + 1;
            if (at->node && at->node->is(node_type::regular)) held = vnode_ref::to_living(*at->node);
        }
        if (held && held->pages()->resident_pages()) return held;
    }
    return {};
}

void node_table::trim() noexcept {
    constexpr unsigned some = 16;
    k::u64 number = trim_next_.load(std::memory_order_relaxed);
    for (unsigned i = 0; i < some && vm::memory_is_short(); i++)
        if (const vnode_ref n = next_file(number)) {
            // What is being written is not forgotten, and not waited for: a directory may be held.
            if (const writers_attempt hold(*n); hold) n->pages()->forget(0, ~k::u64{0} >> arch::page_shift);
        }
    trim_next_.store(number, std::memory_order_relaxed);
}

} // namespace vfs::userfs
