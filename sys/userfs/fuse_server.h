// A program that speaks FUSE as the server of a file system: what is asked of files (server.h) becomes requests
// on its line (fuse_connection.h).
#pragma once

#include "sys/userfs/fuse_connection.h"
#include "sys/userfs/server.h"

namespace vfs {

struct fuse_options {
    std::string_view type; // as it was mounted: fuse, fuse.something, fuseblk
    fuse::asker who = {};
    k::u32 root_mode = 0;             // with its type
    k::u32 uid = 0, gid = 0;          // who mounted it, and nobody else, may look at it,
    bool allow_other = false;         // unless everybody may
    bool default_permissions = false; // the kernel checks permissions; else the program does
    bool says_last = false;           // the program is told of the end
    k::u64 most_read = ~k::u64{0};
    ktime::ns timeout = ktime::forever; // a program that does not answer in time is given up
    k::u64 nodes = 0;                   // at most so many are known at a time; 0: what the memory allows
};

// Begins with a program. EINVAL: its line has been mounted before; ENOMEM. Does not wait for it. Thread context.
k::result<file_system_ref> make_fuse(fuse::connection_ref on, const fuse_options& options) noexcept;

namespace userfs {
k::result<server_ref> connect(fuse::connection_ref on, const fuse_options& options) noexcept;
}

} // namespace vfs
