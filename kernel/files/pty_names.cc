// /dev/pts: the names of all slaves. A name is there as long as its master is open; its node goes with the pair, so
// that what chown() and chmod() say of it lasts.
#include "kernel/files/pty_priv.h"
#include "kernel/lwkt/sleep_lock.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

using vfs::node_type;
using vfs::vnode_ref;

constexpr k::u64 root_inode = 1, master_inode = 2, first_inode = 3;
constexpr k::u32 group_tty = 5;

class pty_names final : public vfs::file_system {
  public:
    k::status make_nodes() noexcept {
        auto* root = mem::make<vfs::directory>(*this, root_inode,
                                               vfs::node_attributes{.type = node_type::directory, .mode = 0755}, false);
        if (!root) return k::error::nomem;
        root->links.store(2, std::memory_order_relaxed);
        set_root(vnode_ref(root));
        master_ = TRY(make_device(master_inode, 0666, device_number(5, 2), 0, 0));
        return {};
    }
    k::result<vnode_ref> make_device(k::u64 inode, k::u32 mode, k::u64 device, k::u32 uid, k::u32 gid) noexcept {
        auto* made = mem::make<vfs::vnode>(
            *this, inode,
            vfs::node_attributes{.type = node_type::character, .mode = mode, .uid = uid, .gid = gid, .device = device});
        if (!made) return k::error::nomem;
        return vnode_ref(made);
    }

    std::string_view type() const noexcept override { return "devpts"; }
    k::u32 magic() const noexcept override { return 0x1cd1; }
    vfs::file_system_state state() noexcept override { return {arch::page_size, 0, 0, 0, 0}; }
    bool is_virtual() const noexcept override { return true; }
    k::result<vnode_ref> look_up(vfs::directory& in, std::string_view text, bool& cache) noexcept override;
    k::status list(vfs::directory& in, k::u64 place, lister& to) noexcept override;

  private:
    vnode_ref master_; // ptmx
};

// A number without leading zeroes; most_ptys: that is none.
unsigned parse(std::string_view text) noexcept {
    if (text.empty() || text.size() > 3 || (text[0] == '0' && text.size() > 1)) return most_ptys;
    unsigned number = 0;
    for (char c : text) {
        if (c < '0' || c > '9') return most_ptys;
        number = number * 10 + static_cast<unsigned>(c - '0');
    }
    return number;
}

k::result<vnode_ref> pty_names::look_up(vfs::directory&, std::string_view text, bool& cache) noexcept {
    cache = false;
    if (text == "ptmx") return master_.share();
    const k::ref<pty> of = find_pty(parse(text));
    if (!of) return k::error::noent;
    return of->node().share();
}

k::status pty_names::list(vfs::directory&, k::u64 place, lister& to) noexcept {
    constexpr k::u64 first = vfs::directory::first_place + 1; // of the numbers, behind ptmx
    if (place < first && !to.put(first, "ptmx", node_type::character, master_inode)) return {};
    place = std::max(place, first);
    if (place > first + most_ptys) return {};
    for (auto number = static_cast<unsigned>(place - first); (number = next_pty(number)) < most_ptys; number++) {
        char room[8];
        k::buffer_sink text(room);
        k::format_to(text, "{}", number);
        if (!to.put(first + number + 1, text.view(), node_type::character, first_inode + number)) return {};
    }
    return {};
}

// Made when it is first asked for, for ever.
lwkt::sleep_lock making;
std::atomic<pty_names*> the_names;

k::result<pty_names*> names() noexcept {
    if (pty_names* n = the_names.load(std::memory_order_acquire)) return n;
    lwkt::sleep_hold hold(making);
    if (pty_names* n = the_names.load(std::memory_order_acquire)) return n;
    auto made = mem::make_box<pty_names>();
    if (!made) return k::error::nomem;
    TRY(made->make_nodes());
    the_names.store(made.get(), std::memory_order_release);
    return made.release();
}

} // namespace

k::result<vnode_ref> make_pty_node(unsigned number, k::u32 uid) noexcept {
    return TRY(names())->make_device(first_inode + number, 0620, device_number(136, number), uid, group_tty);
}

k::result<vfs::file_system_ref> share_pty_names() noexcept {
    return vfs::file_system_ref::to(*TRY(names()));
}

} // namespace files
