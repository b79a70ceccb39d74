// Files and directories of the boot archive, opened: they can be read and mapped, never written.
#pragma once

#include "kernel/files/file.h"
#include "kernel/proc/boot_files.h"

namespace files {

// ENOMEM.
k::result<file_ref> open_archived(const proc::archive_file& what, k::u32 flags) noexcept;
stat_record stat_of(const proc::archive_file& what) noexcept;

} // namespace files
