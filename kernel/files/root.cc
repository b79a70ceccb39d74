#include "kernel/files/root.h"

#include "drivers/block/registry.h"
#include "kernel/files/devices.h"
#include "kernel/files/file_systems.h"
#include "kernel/lib/log.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/boot_archive.h"
#include "sys/vfs/tmpfs.h"
#include "sys/vfs/vfs.h"
#include "sys/vfs/vop.h"

#include <algorithm>

namespace files {

namespace {

using proc::archive_file;
using proc::boot_archive;
using vfs::node_type;

constexpr vfs::subject kernel_itself{0, 0, {}};

// Made once at boot.
vfs::place* root;

vfs::view from_root() noexcept {
    return {kernel_itself, *root, *root};
}

k::status make_at(std::string_view path, const vfs::node_attributes& a, std::string_view text = {}) noexcept {
    TRY(vfs::make(from_root(), TRY(vfs::find_spot(from_root(), path)), a, text));
    return {};
}

vfs::node_attributes attributes_of(const archive_file& f) noexcept {
    return {.type = static_cast<node_type>(f.mode & proc::type_mask),
            .mode = f.mode & vfs::permission_bits,
            .uid = f.uid,
            .gid = f.gid};
}

void set_times(vfs::vnode& n, const archive_file& f) noexcept {
    const k::u64 ns = k::u64{f.modified_s} * ktime::second;
    n.modified_ns.store(ns, std::memory_order_relaxed);
    n.accessed_ns.store(ns, std::memory_order_relaxed);
}

// A file of the archive that is not just one more name of another.
k::status unpack(const archive_file& f) noexcept {
    const vfs::spot where = TRY(vfs::find_spot(from_root(), f.path));
    if (!f.is(proc::type_regular)) {
        const vfs::found made = TRY(vfs::make(from_root(), where, attributes_of(f), f.text()));
        set_times(*made.node, f);
        return {};
    }
    vfs::vnode_ref node = TRY(vfs::make_tmpfs_file_over(where.in->fs(), attributes_of(f), f.bytes));
    set_times(*node, f);
    vfs::vop_add add(where.dir(), TRY(vfs::name::create(where.dir(), vfs::name_text(where.name()), std::move(node))));
    return where.in->fs().call(add);
}

k::status unpack_link(const boot_archive& all, const archive_file& f) noexcept {
    const vfs::found target = TRY(vfs::find(from_root(), all.files()[f.inode - 1].path, vfs::last_link::keep));
    return vfs::link(from_root(), target, TRY(vfs::find_spot(from_root(), f.path)));
}

// Directories stand before what is in them; hard links wait for what they are names of.
void unpack_all(const boot_archive& all) noexcept {
    const auto files = all.files();
    unsigned failed = 0;
    const auto is_first = [&](const archive_file& f) { return &files[f.inode - 1] == &f; };
    for (const archive_file& f : files.subspan(1))
        if (is_first(f)) failed += !unpack(f);
    for (const archive_file& f : files.subspan(1))
        if (!is_first(f)) failed += !unpack_link(all, f);
    vfs::directory& top = root->dir();
    top.mode.store(files[0].mode & vfs::permission_bits, std::memory_order_relaxed);
    top.uid.store(files[0].uid, std::memory_order_relaxed);
    top.gid.store(files[0].gid, std::memory_order_relaxed);
    k::log("initrd: {} files\n", files.size() - failed);
    if (failed) k::log("initrd: {} files could not be made\n", failed);
}

k::status unpack_archive() noexcept {
    const auto modules = arch::boot::modules();
    const auto module = std::ranges::find(modules, "initrd", &arch::boot_module::name);
    if (module == modules.end()) return {};
    const boot_archive all = TRY(boot_archive::parse(module->bytes));
    unpack_all(all);
    return {};
}

// What the archive has of these names stays, but for devices, which it has not.
k::status make_devices() noexcept {
    struct link {
        std::string_view path, text;
    };
    constexpr link links[] = {{"dev/fd", "/proc/self/fd"},
                              {"dev/stdin", "/proc/self/fd/0"},
                              {"dev/stdout", "/proc/self/fd/1"},
                              {"dev/stderr", "/proc/self/fd/2"}};
    const auto unless_there = [](k::status made) {
        return made || made.error() == k::error::exist ? k::status() : made;
    };
    for (std::string_view folder : {"dev", "dev/pts", "proc", "tmp"})
        TRY(unless_there(make_at(folder, {.type = node_type::directory, .mode = folder == "tmp" ? 01777u : 0755u})));
    for (const device& d : all_devices()) {
        char path[32];
        k::buffer_sink text(path);
        text.put("dev/");
        text.put(d.name);
        TRY(unless_there(
            make_at(text.view(), {.type = node_type::character, .mode = d.permissions, .device = d.number()})));
    }
    for (unsigned n = 0;; n++) {
        const block::device_ref d = block::nth_device(n);
        if (!d) break;
        char path[32];
        k::buffer_sink text(path);
        k::format_to(text, "dev/{}", d->name());
        TRY(unless_there(make_at(
            text.view(), {.type = node_type::block, .mode = 0660, .device = device_number(d->major(), d->minor())})));
    }
    for (const link& l : links)
        TRY(unless_there(make_at(l.path, {.type = node_type::link, .mode = 0777}, l.text)));
    return {};
}

// Mounts a file system of a kind on a directory that is there.
k::status mount_at(std::string_view path, std::string_view type) noexcept {
    const vfs::found at = TRY(vfs::find(from_root(), path));
    vfs::file_system_ref made = TRY(make_file_system(type, {}, {}));
    vfs::vnode_ref top = vfs::vnode_ref::to(made->root());
    return vfs::mount_on({at.in.share(), at.node.share()}, std::move(made), std::move(top), 0, type);
}

} // namespace

bool has_boot_archive() noexcept {
    return std::ranges::find(arch::boot::modules(), "initrd", &arch::boot_module::name) != arch::boot::modules().end();
}

k::status make_root() noexcept {
    vfs::tmpfs_limits limits = vfs::usual_tmpfs_limits();
    limits.root_mode = 0755;
    vfs::place top = TRY(vfs::mount_root(TRY(vfs::make_tmpfs(limits))));
    auto made = mem::make_box<vfs::place>(std::move(top));
    if (!made) return k::error::nomem;
    root = made.release();
    TRY(unpack_archive());
    TRY(make_devices());
    TRY(mount_at("proc", "proc"));
    return mount_at("dev/pts", "devpts");
}

k::result<k::ref<proc::places>> first_places() noexcept {
    return proc::places::create(root->share(), root->share());
}

} // namespace files
