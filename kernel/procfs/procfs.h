// procfs: what the kernel knows, as files: a directory for each process, and the machine's files. Read this header
// first; tree.cc has the directories, node_priv.h what stands in them.
//
// Nothing of it is kept: directories and files are made when they are looked up and go with who looked, so a process
// that is gone has no names. A file's text is made when it is read; who opens one reads one and the same text.
// A node holds its process, whose number may long be another's: then it answers ESRCH.
#pragma once

#include "sys/vfs/file_system.h"

namespace procfs {

// A file system to be mounted. ENOMEM.
k::result<vfs::file_system_ref> make() noexcept;

} // namespace procfs
