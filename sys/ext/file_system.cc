#include "sys/ext/ext.h"

#include "sys/ext/names.h"
#include "sys/ext/store.h"
#include "sys/vfs/extended.h"
#include "sys/vfs/vfs.h"
#include "sys/vfs/vop.h"

#include <cstring>

namespace ext {

namespace {

using vfs::node_type;

// A vnode of any kind over an inode.
template <class Base> class over : public Base {
  public:
    template <class... More>
    over(vfs::file_system& fs, inode_ref of, const vfs::node_attributes& a, const More&... more) noexcept
        : Base(fs, of->number, a, more...), of_(std::move(of)) {}
    inode& of() const noexcept { return *of_; }

  private:
    const inode_ref of_;
};

using special = over<vfs::vnode>;
using folder = over<vfs::directory>;

class regular final : public over<vfs::vnode> {
  public:
    regular(vfs::file_system& fs, inode_ref of, const vfs::node_attributes& a, k::ref<vm::object> pages) noexcept
        : over(fs, std::move(of), a) {
        set_pages(std::move(pages));
    }
};

// The text follows the node in memory.
class link final : public over<vfs::vnode> {
  public:
    link(vfs::file_system& fs, inode_ref of, const vfs::node_attributes& a, std::span<const std::byte> text) noexcept
        : over(fs, std::move(of), a), bytes_(text.size()) {
        std::memcpy(static_cast<void*>(this + 1), text.data(), text.size());
    }
    std::string_view link_text() const noexcept override { return {reinterpret_cast<const char*>(this + 1), bytes_}; }

  private:
    const std::size_t bytes_;
};

node_type type_of(entry_type t) noexcept {
    switch (t) {
    case entry_type::regular: return node_type::regular;
    case entry_type::directory: return node_type::directory;
    case entry_type::character: return node_type::character;
    case entry_type::block: return node_type::block;
    case entry_type::fifo: return node_type::fifo;
    case entry_type::socket: return node_type::socket;
    case entry_type::link: return node_type::link;
    default: return node_type{};
    }
}

class file_system;

// Those that are mounted.
struct {
    lwkt::sleep_lock mounting; // one at a time
    lwkt::spinlock lock;
    file_system* first GUARDED_BY(lock) = nullptr;
} instances;

class file_system final : public vfs::file_system {
  public:
    explicit file_system(store_ref in) noexcept : vfs::file_system(vfs::keeping::disk), store_(std::move(in)) {
        set_read_only(on().read_only());
    }
    // What is still to be written is the store's business, which outlives this.
    ~file_system() override {
        {
            lwkt::spin_guard guard(instances.lock);
            file_system** at = &instances.first;
            while (*at && *at != this)
                at = &(*at)->next_;
            if (*at) *at = next_;
        }
        store_->end();
    }
    k::status make_root() noexcept {
        TRY(store_->start_writing()); // first: it also lets go of inodes, when there will be no root
        vfs::vnode_ref root = TRY(vnode_of(TRY(store_->get(root_inode))));
        if (!root->is(node_type::directory)) return on().damaged("the root is no directory");
        set_root(std::move(root));
        lwkt::spin_guard guard(instances.lock);
        next_ = std::exchange(instances.first, this);
        return {};
    }
    // Calls visit(file_system) for each.
    template <class Visit> static void for_each(Visit visit) noexcept {
        for (unsigned n = 0;; n++) {
            vfs::file_system_ref held;
            file_system* at;
            {
                lwkt::spin_guard guard(instances.lock);
                at = instances.first;
                for (unsigned i = 0; at && i < n; i++)
                    at = at->next_;
                if (at) held = vfs::file_system_ref::to_living(*at);
            }
            if (!at) return;
            if (held) visit(*at);
        }
    }
    static vfs::file_system_ref find(const block::device& device) noexcept {
        lwkt::spin_guard guard(instances.lock);
        for (file_system* f = instances.first; f; f = f->next_)
            if (&f->on().device() == &device) return vfs::file_system_ref::to_living(*f);
        return {};
    }

    std::string_view type() const noexcept override { return on().makes_extents() ? "ext4" : "ext2"; }
    k::u32 magic() const noexcept override { return superblock_magic; }
    vfs::file_system_state state() noexcept override {
        store_->erase_gone(); // what was removed is free
        const volume& v = on();
        return {v.block_bytes(), v.blocks(), v.free_blocks(), v.inodes(), v.free_inodes()};
    }
    k::result<vfs::vnode_ref> look_up(vfs::directory& in, std::string_view text, bool& cache) noexcept override;
    k::status list(vfs::directory& in, k::u64 place, lister& to) noexcept override;
    void will_read(vfs::vnode& node, k::u64 offset, k::u64 bytes) noexcept override {
        inode_of(node).read_ahead(offset, bytes);
    }
    bool may_be_written() const noexcept override { return !on().read_only(); }
    void node_gone(vfs::vnode& node) noexcept override { store_->node_gone(node); }

    k::result<vfs::vnode_ref> make_node(const vfs::node_attributes& a, std::string_view text) noexcept override {
        return make_near(root_inode, a, text);
    }
    k::result<vfs::vnode_ref> make_there(vfs::directory& in, std::string_view, const vfs::node_attributes& a,
                                         std::string_view text, belief&) noexcept override {
        return make_near(inode_of(in).number, a, text);
    }
    k::status keep_added(vfs::directory& in, std::string_view text, vfs::vnode& node) noexcept override;
    k::status keep_removed(vfs::directory& in, std::string_view text, vfs::vnode& node) noexcept override;
    k::status keep_renamed(const vfs::vop_rename& op) noexcept override;
    k::status resized(vfs::vnode& node, k::u64 bytes) noexcept override { return inode_of(node).resized(bytes); }
    k::status punched(vfs::vnode& node, k::u64 first_page, k::u64 pages) noexcept override {
        return inode_of(node).punched(first_page, pages);
    }
    k::result<k::u64> next_kept(vfs::vnode& node, k::u64 page, bool wanted) noexcept override {
        return inode_of(node).next_kept(page, wanted);
    }
    k::status reserve(vfs::vnode& node, k::u64 first_page, k::u64 pages) noexcept override {
        return inode_of(node).reserve_range(first_page, pages);
    }
    k::status sync(vfs::vnode* node) noexcept override {
        if (node) return store_->sync(&inode_of(*node));
        const k::status settled = store_->settle(false);
        TRY(store_->sync(nullptr));
        return settled;
    }
    k::result<k::u64> get_extended(vfs::vnode& of, std::string_view name, std::span<std::byte> to) noexcept override;
    k::status set_extended(vfs::vnode& of, std::string_view name, std::optional<std::span<const std::byte>> value,
                           unsigned flags) noexcept override;
    k::status list_extended(vfs::vnode& of, vfs::extended_names& to) noexcept override;
    k::u64 sectors(const vfs::vnode& node) const noexcept override {
        return inode_of(const_cast<vfs::vnode&>(node)).sectors();
    }
    // Nothing is written afterwards.
    void finish() noexcept {
        (void)store_->settle(true);
        on().stop_writing();
    }

    static inode& inode_of(vfs::vnode& node) noexcept {
        switch (node.type) {
        case node_type::regular: return static_cast<regular&>(node).of();
        case node_type::directory: return static_cast<folder&>(static_cast<vfs::directory&>(node)).of();
        case node_type::link: return static_cast<link&>(node).of();
        default: return static_cast<special&>(node).of();
        }
    }

  private:
    // Places of listings are offsets behind those of "." and "..".
    static constexpr u64 dots = 2;

    volume& on() const noexcept { return store_->on(); }
    k::result<vfs::vnode_ref> make_near(u32 directory, const vfs::node_attributes& a, std::string_view text) noexcept;
    k::result<vfs::vnode_ref> vnode_of(inode_ref of) noexcept;
    k::result<vfs::vnode*> make_vnode(inode_ref of) noexcept;
    void note_gone(change& by, vfs::vnode& node) noexcept;
    k::status set_parent(change& by, vfs::vnode& of, vfs::directory& before, vfs::directory& after) noexcept;
    static void note_size(vfs::directory& of) noexcept {
        of.size.store(inode_of(of).disk_size(), std::memory_order_relaxed);
    }

    void forget_names() noexcept;
    k::status check_absent(vfs::directory& in, std::string_view text) noexcept;

    const store_ref store_;
    // Of who holds `changing`: look-ups, to look at the memory now and then; have names ever been forgotten?
    unsigned look_ups_ = 0;
    bool forgets_ = false;
    lwkt::sleep_lock making_; // vnodes: one for an inode
    file_system* next_ = nullptr;
};

k::result<vfs::vnode*> file_system::make_vnode(inode_ref of) noexcept {
    inode& i = *of;
    const attributes known = store_->now(i);
    const vfs::node_attributes a{
        .type = i.type(), .mode = known.mode, .uid = known.uid, .gid = known.gid, .device = i.device_number()};
    vfs::vnode* made = nullptr;
    switch (i.type()) {
    case node_type::regular: made = mem::make<regular>(*this, std::move(of), a, TRY(i.pages())); break;
    case node_type::directory: made = mem::make<folder>(*this, std::move(of), a, false); break;
    case node_type::link: {
        buffer text = TRY(buffer::create(on().block_bytes()));
        const u64 bytes = TRY(i.read_link(text.bytes()));
        if (void* at = mem::allocate(sizeof(link) + bytes))
            made = new (at) link(*this, std::move(of), a, text.bytes().first(bytes));
        break;
    }
    default: made = mem::make<special>(*this, std::move(of), a); break;
    }
    if (!made) return k::error::nomem;
    made->links.store(known.links, std::memory_order_relaxed);
    made->size.store(known.size, std::memory_order_relaxed);
    made->accessed_ns.store(known.accessed_ns, std::memory_order_relaxed);
    made->modified_ns.store(known.modified_ns, std::memory_order_relaxed);
    made->changed_ns.store(known.changed_ns, std::memory_order_relaxed);
    return made;
}

k::result<vfs::vnode_ref> file_system::vnode_of(inode_ref of) noexcept {
    lwkt::sleep_hold hold(making_);
    if (vfs::vnode_ref there = store_->node_of(*of)) return there;
    inode& i = *of;
    vfs::vnode* const made = TRY(make_vnode(std::move(of)));
    store_->set_node(i, *made);
    return vfs::vnode_ref(made);
}

// Memory is short: names that nobody uses go, and the vnodes and inodes behind them. Holds `changing`.
void file_system::forget_names() noexcept {
    forgets_ = true;
    store_->for_each([this](inode& i) {
        if (i.type() != node_type::directory) return;
        const vfs::vnode_ref node = store_->node_of(i);
        if (!node) return;
        vfs::vop_evict some(node->as_directory());
        do {
            for (vfs::name_ref& n : some.forgotten)
                n = {};
        } while (call(some) && some.count);
    });
    store_->trim();
}

// A name that was forgotten may have come since the caller looked. Holds `changing`.
k::status file_system::check_absent(vfs::directory& in, std::string_view text) noexcept {
    if (!forgets_) return {};
    const auto there = find_entry(on(), inode_of(in), text);
    if (there) return k::error::exist;
    return there.error() == k::error::noent ? k::status() : k::status(there.error());
}

k::result<vfs::vnode_ref> file_system::look_up(vfs::directory& in, std::string_view text, bool&) noexcept {
    constexpr unsigned between = 64;
    if (++look_ups_ % between == 0 && vm::memory_is_short()) forget_names();
    const u32 number = TRY(find_entry(on(), inode_of(in), text));
    vfs::vnode_ref node = TRY(vnode_of(TRY(store_->get(number))));
    if (node->is(node_type::directory)) {
        // A directory has one name. More would be a way to make trees without an end.
        const vfs::name* own = node->as_directory().own_name();
        if (node.get() == &root() || (own && (&own->in() != &in || own->text() != text)))
            return on().damaged("two names of one directory", number);
    }
    return node;
}

// --- Changing

// It has no name yet: it goes with its vnode, if it gets none.
k::result<vfs::vnode_ref> file_system::make_near(u32 directory, const vfs::node_attributes& a,
                                                 std::string_view text) noexcept {
    if (on().read_only()) return k::error::rofs;
    if (text.size() >= on().block_bytes()) return k::error::nametoolong;
    inode_ref fresh;
    {
        change by = TRY(change::begin(on()));
        fresh = TRY(inode::make(*store_, by, a, directory, text));
    }
    inode& i = *fresh;
    auto made = make_vnode(fresh.share());
    if (!made) {
        (void)i.erase();
        return made.error();
    }
    vfs::vnode& node = **made;
    node.mode.store(a.mode, std::memory_order_relaxed);
    node.uid.store(a.uid, std::memory_order_relaxed);
    node.gid.store(a.gid, std::memory_order_relaxed);
    node.links.store(a.type == node_type::directory ? 2 : 1, std::memory_order_relaxed);
    const u64 now = vfs::now_ns();
    node.accessed_ns.store(now, std::memory_order_relaxed);
    node.modified_ns.store(now, std::memory_order_relaxed);
    node.changed_ns.store(now, std::memory_order_relaxed);
    store_->add(std::move(fresh), node);
    return vfs::vnode_ref(&node);
}

k::status file_system::keep_added(vfs::directory& in, std::string_view text, vfs::vnode& node) noexcept {
    change by = TRY(change::begin(on()));
    inode& i = inode_of(node);
    if (node.is(node_type::directory) && !i.named) {
        if (!i.disk_size()) TRY(make_first_entries(by, i, inode_of(in).number));
        note_size(node.as_directory());
    }
    TRY(check_absent(in, text));
    TRY(add_entry(by, inode_of(in), text, i.number, node.type));
    note_size(in);
    i.named = true;
    lwkt::sleep_hold hold(i.map_lock);
    return i.be_no_orphan(by);
}

// The last name of a node has gone: until it is erased the disk says that it is to be. That it does not is no reason to
// keep the name: e2fsck finds such an inode, too.
void file_system::note_gone(change& by, vfs::vnode& node) noexcept {
    if (!node.is(node_type::directory) && node.links.load(std::memory_order_relaxed) > 1) return;
    inode& i = inode_of(node);
    lwkt::sleep_hold hold(i.map_lock);
    (void)i.become_orphan(by, true);
}

k::status file_system::keep_removed(vfs::directory& in, std::string_view text, vfs::vnode& node) noexcept {
    change by = TRY(change::begin(on()));
    if (node.is(node_type::directory) && !TRY(has_no_entries(on(), inode_of(node)))) return k::error::notempty;
    TRY(remove_entry(by, inode_of(in), text, inode_of(node).number));
    note_gone(by, node);
    return {};
}

k::status file_system::set_parent(change& by, vfs::vnode& of, vfs::directory& before, vfs::directory& after) noexcept {
    if (!of.is(node_type::directory) || &before == &after) return {};
    return set_entry(by, inode_of(of), "..", inode_of(before).number, inode_of(after).number, node_type::directory);
}

k::status file_system::keep_renamed(const vfs::vop_rename& op) noexcept {
    change by = TRY(change::begin(on()));
    inode &from = inode_of(op.from()), &to = inode_of(op.to());
    const std::string_view old = op.from_text.text, fresh = op.fresh->text();
    const u32 moved = inode_of(op.moved).number;
    if (op.replaced) {
        const u32 replaced = inode_of(*op.replaced).number;
        const bool goes = !op.swapped;
        if (goes && op.replaced->is(node_type::directory) && !TRY(has_no_entries(on(), inode_of(*op.replaced))))
            return k::error::notempty;
        TRY(set_entry(by, to, fresh, replaced, moved, op.moved.type));
        const k::status done =
            goes ? remove_entry(by, from, old, moved) : set_entry(by, from, old, moved, replaced, op.replaced->type);
        if (!done) {
            (void)set_entry(by, to, fresh, moved, replaced, op.replaced->type);
            return done;
        }
        if (goes) note_gone(by, *op.replaced);
        if (op.swapped) TRY(set_parent(by, *op.replaced, op.to(), op.from()));
    } else {
        TRY(check_absent(op.to(), fresh));
        TRY(add_entry(by, to, fresh, moved, op.moved.type));
        if (const k::status done = remove_entry(by, from, old, moved); !done) {
            (void)remove_entry(by, to, fresh, moved);
            return done;
        }
    }
    TRY(set_parent(by, op.moved, op.from(), op.to()));
    note_size(op.from());
    note_size(op.to());
    return {};
}

// --- Extended attributes

struct kind_of_attribute {
    u8 kind;
    std::string_view front;
};
constexpr kind_of_attribute kinds_of_attributes[] = {
    {attribute_user, "user."}, {attribute_trusted, "trusted."}, {attribute_security, "security."}};

// The kind that a name begins with, which is taken off it. 0: none that is kept here.
u8 take_kind(std::string_view& name) noexcept {
    for (const kind_of_attribute& k : kinds_of_attributes)
        if (name.starts_with(k.front)) {
            name.remove_prefix(k.front.size());
            return k.kind;
        }
    return 0;
}

k::result<k::u64> file_system::get_extended(vfs::vnode& of, std::string_view name, std::span<std::byte> to) noexcept {
    const u8 kind = take_kind(name);
    if (!kind) return k::error::opnotsupp;
    return inode_of(of).get_attribute(kind, name, to);
}

k::status file_system::set_extended(vfs::vnode& of, std::string_view name,
                                    std::optional<std::span<const std::byte>> value, unsigned flags) noexcept {
    const u8 kind = take_kind(name);
    if (!kind) return k::error::opnotsupp;
    return inode_of(of).set_attribute(kind, name, value, flags);
}

k::status file_system::list_extended(vfs::vnode& of, vfs::extended_names& to) noexcept {
    attribute_list all;
    TRY(inode_of(of).list_attributes(all));
    for (const attribute_list::one& a : all.all())
        for (const kind_of_attribute& k : kinds_of_attributes)
            if (a.kind == k.kind) to.put(k.front, all.name(a));
    return {};
}

// Some entries at a time are copied: whoever they are put to may sleep, and nothing is locked then.
k::status file_system::list(vfs::directory& in, k::u64 place, lister& to) noexcept {
    struct copied {
        u64 next;
        u32 inode;
        node_type type;
        k::u8 bytes;
        char text[vfs::longest_name];
    };
    constexpr unsigned some = 16;
    array<copied> batch;
    TRY(batch.reserve(some));
    for (u64 offset = place - std::min(place, dots);;) {
        batch.clear();
        {
            lwkt::sleep_hold hold(changing);
            directory_reader reader(on(), inode_of(in), offset);
            while (batch.size() < some) {
                auto e = reader.next();
                if (!e && e.error() == k::error::noent) break;
                if (!e) return e.error();
                offset = e->next;
                if (e->name == "." || e->name == "..") continue;
                copied c{.next = e->next + dots,
                         .inode = e->inode,
                         .type = type_of(e->type),
                         .bytes = static_cast<k::u8>(e->name.size()),
                         .text = {}};
                if (e->type == entry_type::unknown)
                    if (auto known = store_->get(e->inode)) c.type = (*known)->type();
                e->name.copy(c.text, sizeof(c.text));
                TRY(batch.append(c));
            }
        }
        for (const copied& c : batch.all())
            if (!to.put(c.next, {c.text, c.bytes}, c.type, c.inode)) return {};
        if (batch.size() < some) return {};
    }
}

} // namespace

k::result<vfs::file_system_ref> mount(block::device_ref on, bool read_only) noexcept {
    lwkt::sleep_hold hold(instances.mounting);
    if (vfs::file_system_ref there = file_system::find(*on)) return there;
    store::wait_for_ends(*on);
    volume_ref opened = TRY(volume::open(std::move(on), read_only));
    store_ref inodes = TRY(store::create(std::move(opened)));
    inodes->finish_orphans();
    auto made = mem::make_box<file_system>(std::move(inodes));
    if (!made) return k::error::nomem;
    TRY(made->make_root());
    return vfs::file_system_ref(made.release());
}

k::status put_out(vfs::vnode& of, k::u64 offset, k::u64 bytes) noexcept {
    const u64 first = offset >> arch::page_shift;
    const u64 end = k::align_up(offset + bytes, u64{arch::page_size}) >> arch::page_shift;
    return file_system::inode_of(of).put_out(of.size.load(std::memory_order_acquire), first, end - first);
}

k::status sync_all() noexcept {
    k::status first;
    file_system::for_each([&](file_system& f) {
        if (const k::status done = f.sync(nullptr); !done && first) first = done;
    });
    return first;
}

void finish_all() noexcept {
    file_system::for_each([](file_system& f) { f.finish(); });
}

} // namespace ext
