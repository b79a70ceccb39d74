#include "sys/ext/ext.h"

#include "sys/ext/names.h"
#include "sys/ext/store.h"
#include "sys/vfs/vfs.h"

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
    explicit file_system(store_ref in) noexcept : vfs::file_system(vfs::keeping::elsewhere), store_(std::move(in)) {
        set_read_only(on().read_only());
    }
    ~file_system() override {
        {
            lwkt::spin_guard guard(instances.lock);
            file_system** at = &instances.first;
            while (*at && *at != this)
                at = &(*at)->next_;
            if (*at) *at = next_;
        }
        store_->forget_unused();
    }
    k::status make_root() noexcept {
        vfs::vnode_ref root = TRY(vnode_of(TRY(store_->get(root_inode))));
        if (!root->is(node_type::directory)) return on().damaged("the root is no directory");
        set_root(std::move(root));
        lwkt::spin_guard guard(instances.lock);
        next_ = std::exchange(instances.first, this);
        return {};
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

  private:
    // Places of listings are offsets behind those of "." and "..".
    static constexpr u64 dots = 2;

    volume& on() const noexcept { return store_->on(); }
    static inode& inode_of(vfs::vnode& node) noexcept {
        switch (node.type) {
        case node_type::regular: return static_cast<regular&>(node).of();
        case node_type::directory: return static_cast<folder&>(static_cast<vfs::directory&>(node)).of();
        case node_type::link: return static_cast<link&>(node).of();
        default: return static_cast<special&>(node).of();
        }
    }
    k::result<vfs::vnode_ref> vnode_of(inode_ref of) noexcept;
    k::result<vfs::vnode*> make_vnode(inode_ref of) noexcept;

    const store_ref store_;
    lwkt::sleep_lock making_; // vnodes: one for an inode
    file_system* next_ = nullptr;
};

k::result<vfs::vnode*> file_system::make_vnode(inode_ref of) noexcept {
    inode& i = *of;
    const vfs::node_attributes a{.type = i.type(),
                                 .mode = i.record.mode & vfs::permission_bits,
                                 .uid = i.record.uid_low | u32{i.record.uid_high} << 16,
                                 .gid = i.record.gid_low | u32{i.record.gid_high} << 16,
                                 .device = i.device_number()};
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
    made->links.store(i.record.links, std::memory_order_relaxed);
    made->size.store(i.disk_size(), std::memory_order_relaxed);
    made->accessed_ns.store(i.accessed_ns(), std::memory_order_relaxed);
    made->modified_ns.store(i.modified_ns(), std::memory_order_relaxed);
    made->changed_ns.store(i.changed_ns(), std::memory_order_relaxed);
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

k::result<vfs::vnode_ref> file_system::look_up(vfs::directory& in, std::string_view text, bool&) noexcept {
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
            directory_reader reader = TRY(directory_reader::create(on(), inode_of(in), offset));
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

k::result<vfs::file_system_ref> mount(block::device_ref on, bool) noexcept {
    lwkt::sleep_hold hold(instances.mounting);
    if (vfs::file_system_ref there = file_system::find(*on)) return there;
    volume_ref opened = TRY(volume::open(std::move(on), true));
    auto made = mem::make_box<file_system>(TRY(store::create(std::move(opened))));
    if (!made) return k::error::nomem;
    TRY(made->make_root());
    return vfs::file_system_ref(made.release());
}

} // namespace ext
