// The tree of files that a machine begins with: a tmpfs filled from the boot archive, with the devices in /dev.
#pragma once

#include "kernel/proc/places.h"

#include <span>

namespace files {

// Makes it of the boot module `initrd`, or empty if there is none; what of a bad archive cannot be made is left out,
// with a line in the log. Boot, once. ENOMEM.
k::status make_root() noexcept;

// Was there an archive?
bool has_boot_archive() noexcept;

// Where the first process is: at the root. ENOMEM.
k::result<k::ref<proc::places>> first_places() noexcept;

} // namespace files
