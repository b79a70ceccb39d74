// The boot archive of this machine, and objects over its files.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/proc/boot_archive.h"
#include "sys/vm/object.h"

namespace proc {

// Reads the boot module `initrd`. Boot, once. False: there is none.
bool open_boot_archive() noexcept;

const boot_archive& boot_files() noexcept;

// The object of a file of boot_files(), the same one each time. ENOMEM. Thread context.
k::result<k::ref<vm::object>> object_of(const archive_file& file) noexcept;

} // namespace proc
