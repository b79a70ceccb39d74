#include "sys/vfs/tmpfs.h"

#include "kernel/mem/slab.h"
#include "sys/vfs/kept_attributes.h"

#include <cstring>

namespace vfs {

namespace {

class tmpfs_file final : public vnode {
  public:
    tmpfs_file(file_system& fs, k::u64 inode, const node_attributes& a, k::ref<vm::object> pages, k::u64 bytes) noexcept
        : vnode(fs, inode, a) {
        set_pages(std::move(pages));
        size.store(bytes, std::memory_order_relaxed);
    }
};

// The text follows the node in memory.
class tmpfs_link final : public vnode {
  public:
    tmpfs_link(file_system& fs, k::u64 inode, const node_attributes& a, std::string_view text) noexcept
        : vnode(fs, inode, a) {
        size.store(text.size(), std::memory_order_relaxed);
        std::memcpy(static_cast<void*>(this + 1), text.data(), text.size());
    }
    std::string_view link_text() const noexcept override {
        return {reinterpret_cast<const char*>(this + 1), size.load(std::memory_order_relaxed)};
    }
};

class tmpfs;

// All that there are.
struct {
    lwkt::spinlock lock;
    tmpfs* first GUARDED_BY(lock) = nullptr;
} instances;

class tmpfs final : public file_system {
  public:
    explicit tmpfs(const tmpfs_limits& limits) noexcept : pages_(limits.pages), most_nodes_(limits.nodes) {
        lwkt::spin_guard guard(instances.lock);
        next_ = instances.first;
        if (next_) next_->before_ = this;
        instances.first = this;
    }
    ~tmpfs() override {
        lwkt::spin_guard guard(instances.lock);
        (before_ ? before_->next_ : instances.first) = next_;
        if (next_) next_->before_ = before_;
    }

    k::status make_root(const tmpfs_limits& limits) noexcept {
        set_root(TRY(make_node(
            {.type = node_type::directory, .mode = limits.root_mode, .uid = limits.root_uid, .gid = limits.root_gid},
            {})));
        return {};
    }

    std::string_view type() const noexcept override { return "tmpfs"; }
    k::u32 magic() const noexcept override { return 0x0102'1994; }
    file_system_state state() noexcept override {
        const k::u64 limit = pages_.limit(), used = pages_.used(), most = most_nodes_.load(std::memory_order_relaxed),
                     nodes = nodes_.load(std::memory_order_relaxed);
        return {arch::page_size, limit, limit - std::min(used, limit), most, most - std::min(nodes, most)};
    }
    k::result<vnode_ref> make_node(const node_attributes& a, std::string_view text) noexcept override {
        TRY(count_node());
        vnode* made = nullptr;
        const k::u64 inode = fresh_inode();
        switch (a.type) {
        case node_type::directory:
            made = mem::make<directory>(*this, inode, a, true);
            if (made) made->links.store(2, std::memory_order_relaxed);
            break;
        case node_type::regular:
            if (auto pages = vm::object::anonymous(0, &pages_))
                made = mem::make<tmpfs_file>(*this, inode, a, *std::move(pages), k::u64{0});
            break;
        case node_type::link:
            if (void* at = mem::allocate(sizeof(tmpfs_link) + text.size()))
                made = new (at) tmpfs_link(*this, inode, a, text);
            break;
        default: made = mem::make<vnode>(*this, inode, a); break;
        }
        return counted(made);
    }
    k::result<vnode_ref> make_file_over(const node_attributes& a, std::span<const std::byte> bytes) noexcept {
        TRY(count_node());
        vnode* made = nullptr;
        if (auto pages = vm::object::of_bytes(bytes, &pages_))
            made = mem::make<tmpfs_file>(*this, fresh_inode(), a, *std::move(pages), k::u64{bytes.size()});
        return counted(made);
    }
    k::result<k::u64> get_extended(vnode& of, std::string_view name, std::span<std::byte> to) noexcept override {
        const auto kept = of.find_attached(attachment_kind::attributes);
        return kept ? attributes_in(kept).get(name, to) : k::error::nodata;
    }
    k::status set_extended(vnode& of, std::string_view name, std::optional<std::span<const std::byte>> value,
                           unsigned flags) noexcept override {
        const auto kept = of.attached(attachment_kind::attributes,
                                      [this] { return k::ref<attachment>(mem::make<kept_attributes>(pages_)); });
        if (!kept) return k::error::nomem;
        return attributes_in(kept).set(name, value, flags);
    }
    k::status list_extended(vnode& of, extended_names& to) noexcept override {
        if (const auto kept = of.find_attached(attachment_kind::attributes)) attributes_in(kept).list(to);
        return {};
    }
    void node_gone(vnode&) noexcept override { nodes_.fetch_sub(1, std::memory_order_relaxed); }
    k::status change(k::u64 pages, k::u64 nodes) noexcept {
        if (pages < pages_.used() || nodes < nodes_.load(std::memory_order_relaxed)) return k::error::inval;
        pages_.set_limit(pages);
        most_nodes_.store(nodes, std::memory_order_relaxed);
        return {};
    }

    k::u64 pages_in_use() const noexcept { return pages_.used(); }
    tmpfs* next() const noexcept { return next_; }

  private:
    static kept_attributes& attributes_in(const k::ref<attachment>& kept) noexcept {
        return static_cast<kept_attributes&>(*kept);
    }
    k::status count_node() noexcept {
        if (nodes_.fetch_add(1, std::memory_order_relaxed) < most_nodes_.load(std::memory_order_relaxed)) return {};
        nodes_.fetch_sub(1, std::memory_order_relaxed);
        return k::error::nospc;
    }
    k::result<vnode_ref> counted(vnode* made) noexcept {
        if (made) return vnode_ref(made);
        nodes_.fetch_sub(1, std::memory_order_relaxed);
        return k::error::nomem;
    }

    tmpfs *next_ = nullptr, *before_ = nullptr; // guarded by the instances' lock
    vm::page_budget pages_;
    std::atomic<k::u64> nodes_ = 0;
    std::atomic<k::u64> most_nodes_;
};

} // namespace

tmpfs_limits usual_tmpfs_limits() noexcept {
    const k::u64 half = vm::promise_limit() / 2;
    return {.pages = half, .nodes = half};
}

k::result<file_system_ref> make_tmpfs(const tmpfs_limits& limits) noexcept {
    auto made = mem::make_box<tmpfs>(limits);
    if (!made) return k::error::nomem;
    TRY(made->make_root(limits));
    return file_system_ref(made.release());
}

k::result<vnode_ref> make_tmpfs_file_over(file_system& fs, const node_attributes& a,
                                          std::span<const std::byte> bytes) noexcept {
    return static_cast<tmpfs&>(fs).make_file_over(a, bytes);
}

k::status change_limits(file_system& fs, k::u64 pages, k::u64 nodes) noexcept {
    return static_cast<tmpfs&>(fs).change(pages, nodes);
}

k::u64 tmpfs_pages() noexcept {
    k::u64 sum = 0;
    lwkt::spin_guard guard(instances.lock);
    for (const tmpfs* t = instances.first; t; t = t->next())
        sum += t->pages_in_use();
    return sum;
}

} // namespace vfs
