#include "kernel/files/file_systems.h"

#include "drivers/block/registry.h"
#include "kernel/files/fuse_file.h"
#include "kernel/files/mount_options.h"
#include "kernel/files/pty.h"
#include "kernel/lib/text.h"
#include "kernel/proc/current.h"
#include "kernel/procfs/procfs.h"
#include "sys/ext/ext.h"
#include "sys/userfs/userfs.h"
#include "sys/vfs/tmpfs.h"

namespace files {

namespace {

// A number with k, m or g behind it, or a part of the memory with %.
std::optional<k::u64> parse_bytes(std::string_view text) noexcept {
    if (text.empty()) return std::nullopt;
    unsigned shift = 0;
    switch (text.back() | 32) {
    case 'k': shift = 10; break;
    case 'm': shift = 20; break;
    case 'g': shift = 30; break;
    default: break;
    }
    const bool percent = text.back() == '%';
    if (shift || percent) text.remove_suffix(1);
    const auto number = k::parse_number(text);
    if (!number) return std::nullopt;
    if (percent)
        return *number > 100 ? std::nullopt : std::optional(*number * (vm::promise_limit() << arch::page_shift) / 100);
    if (*number > ~k::u64{0} >> shift) return std::nullopt;
    return *number << shift;
}

// size=, nr_blocks=, nr_inodes=, mode=, uid=, gid=.
k::status read_option(const mount_option& o, vfs::tmpfs_limits& to) noexcept {
    constexpr std::size_t mode_digits = 5;
    if (o.name == "mode") {
        const auto mode = parse_octal(o.value, mode_digits);
        if (!mode || *mode > vfs::permission_bits) return k::error::inval;
        to.root_mode = *mode;
        return {};
    }
    const auto number = parse_bytes(o.value);
    if (!number) return k::error::inval;
    if (o.name == "size")
        to.pages = *number ? k::align_up(*number, k::u64{arch::page_size}) >> arch::page_shift : ~k::u64{0} >> 1;
    else if (o.name == "nr_blocks")
        to.pages = *number ? *number : ~k::u64{0} >> 1;
    else if (o.name == "nr_inodes")
        to.nodes = *number ? *number : ~k::u64{0} >> 1;
    else if (o.name == "uid" && *number <= ~k::u32{0})
        to.root_uid = static_cast<k::u32>(*number);
    else if (o.name == "gid" && *number <= ~k::u32{0})
        to.root_gid = static_cast<k::u32>(*number);
    else
        return k::error::inval;
    return {};
}

// wait, timeout=, nodes=.
k::status read_option(const mount_option& o, vfs::userfs_options& to) noexcept {
    if (o.name == "wait" && o.value.empty()) {
        to.waits = true;
        return {};
    }
    if (o.name == "timeout") {
        const auto patience = parse_patience(o.value);
        if (!patience) return k::error::inval;
        to.timeout = *patience;
        return {};
    }
    const auto number = k::parse_number(o.value);
    if (o.name != "nodes" || !number || !*number) return k::error::inval;
    to.nodes = *number;
    return {};
}

template <class Options> k::status read_into(std::string_view text, Options& to) noexcept {
    return read_options(text, [&](const mount_option& o) { return read_option(o, to); });
}

} // namespace

std::span<const std::string_view> file_system_types() noexcept {
    static constexpr std::string_view types[] = {"tmpfs", "ramfs",   "proc", "devpts", "user",
                                                 "fuse",  "fuseblk", "ext2", "ext3",   "ext4"};
    return types;
}

bool is_on_a_disk(std::string_view type) noexcept {
    return type == "ext2" || type == "ext3" || type == "ext4";
}

k::result<vfs::file_system_ref> mount_disk(k::u64 device, std::string_view options, bool read_only) noexcept {
    TRY(read_options(options, [](const mount_option& o) {
        const bool is_known = o.value.empty() ? o.name == "defaults" : o.name == "errors" && o.value == "remount-ro";
        return is_known ? k::status() : k::status(k::error::inval);
    }));
    block::device_ref on = block::find_device(device >> 8 & 0xfff, device & 0xff);
    if (!on) return k::error::nxio;
    return ext::mount(std::move(on), read_only);
}

k::result<vfs::file_system_ref> make_file_system(std::string_view type, std::string_view source,
                                                 std::string_view options) noexcept {
    if (type == "proc") return procfs::make();
    if (type == "devpts") return share_pty_names();
    if (type == "user") {
        vfs::userfs_options wanted{.service = source, .interrupted = proc::is_killed};
        TRY(read_into(options, wanted));
        return vfs::make_userfs(wanted);
    }
    if (is_fuse(type)) return mount_fuse(type, options);
    if (type != "tmpfs" && type != "ramfs") return k::error::nodev;
    vfs::tmpfs_limits limits = vfs::usual_tmpfs_limits();
    TRY(read_into(options, limits));
    return vfs::make_tmpfs(limits);
}

k::status change_file_system(vfs::file_system& fs, std::string_view options) noexcept {
    if (fs.type() != "tmpfs") return {};
    const vfs::file_system_state now = fs.state();
    vfs::tmpfs_limits limits{.pages = now.blocks, .nodes = now.nodes};
    TRY(read_into(options, limits));
    return vfs::change_limits(fs, limits.pages, limits.nodes);
}

} // namespace files
