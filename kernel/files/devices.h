// The character devices that every program expects under /dev.
#pragma once

#include "kernel/files/file.h"

namespace files {

enum class device_kind : k::u8 { null, zero, full, random, terminal, console, pty_master, fuse };

struct device {
    std::string_view name; // in /dev
    device_kind kind;
    k::u32 major, minor;
    k::u32 permissions;

    k::u64 number() const noexcept { return device_number(major, minor); }
};
// Those that are in /dev from the start.
std::span<const device> all_devices() noexcept;

// The device of a number, opened with these flags. ENXIO: there is none, or /dev/tty of a process without a terminal;
// ENOMEM. A terminal that nobody has becomes that of a session leader without one, unless the flags say otherwise.
// Thread context of a process.
k::result<file_ref> open_device(k::u64 number, k::u32 flags) noexcept;

} // namespace files
