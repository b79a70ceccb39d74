// The character devices that every program expects under /dev.
#pragma once

#include "kernel/files/file.h"

namespace files {

enum class device_kind : k::u8 { null, zero, full, random, terminal, console };

struct device {
    std::string_view name; // in /dev
    device_kind kind;
    k::u32 major, minor;
    k::u32 permissions;
};
std::span<const device> all_devices() noexcept;

// A device that is opened with these flags. ENXIO: /dev/tty of a process without a terminal; ENOMEM. A terminal that
// nobody has becomes that of a session leader without one, unless the flags say otherwise. Thread context of a process.
k::result<file_ref> open_device(const device& d, k::u32 flags) noexcept;
stat_record stat_of(const device& d) noexcept;

} // namespace files
