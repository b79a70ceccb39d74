// FUSE's protocol (version 7.31), as far as tests/user/fuse_server.h speaks it.
#pragma once

#include <stdint.h>

enum {
    LOOKUP = 1,
    FORGET,
    GETATTR,
    SETATTR,
    READLINK,
    SYMLINK,
    MKNOD = 8,
    MKDIR,
    UNLINK,
    RMDIR,
    RENAME,
    LINK,
    OPEN,
    READ,
    WRITE,
    STATFS,
    RELEASE,
    FSYNC = 20,
    SETXATTR,
    GETXATTR,
    LISTXATTR,
    REMOVEXATTR,
    FLUSH,
    INIT,
    OPENDIR,
    READDIR,
    RELEASEDIR,
    FSYNCDIR,
    ACCESS = 34,
    CREATE,
    INTERRUPT,
    DESTROY = 38,
    NOTIFY_REPLY = 41,
    BATCH_FORGET = 42,
    FALLOCATE,
    READDIRPLUS,
    RENAME2,
    LSEEK,
    most_operations = 64,
};
struct in_head {
    uint32_t len, opcode;
    uint64_t unique, node;
    uint32_t uid, gid, pid, pad;
};
struct out_head {
    uint32_t len;
    int32_t error;
    uint64_t unique;
};
struct attr {
    uint64_t ino, size, blocks, atime, mtime, ctime;
    uint32_t ns[3], mode, nlink, uid, gid, rdev, blksize, pad;
};
struct entry {
    uint64_t node, generation, entry_valid, attr_valid;
    uint32_t ns[2];
    struct attr attr;
};
struct attr_out {
    uint64_t valid;
    uint32_t ns, pad;
    struct attr attr;
};
struct init_in {
    uint32_t major, minor, readahead, flags;
};
struct init_out {
    uint32_t major, minor, readahead, flags;
    uint16_t background, congestion;
    uint32_t max_write, gran;
    uint16_t max_pages, align;
    uint32_t unused[8];
};
struct open_out {
    uint64_t fh;
    uint32_t flags, pad;
};
struct rw_in {
    uint64_t fh, offset;
    uint32_t size, rw_flags;
    uint64_t owner;
    uint32_t flags, pad;
};
struct setattr_in {
    uint32_t valid, pad;
    uint64_t fh, size, owner, times[3];
    uint32_t ns[3], mode, pad1, uid, gid, pad2;
};
struct dirent_out {
    uint64_t ino, off;
    uint32_t namelen, type;
};
struct fallocate_in {
    uint64_t fh, offset, length;
    uint32_t mode, pad;
};
struct lseek_in {
    uint64_t fh, offset;
    uint32_t whence, pad;
};
struct retrieve_in {
    uint64_t unused0, offset;
    uint32_t size, unused1;
    uint64_t unused2[2];
};
struct direntplus_out {
    struct entry entry;
    struct dirent_out dirent;
};
enum { NEWS_INODE = 2, NEWS_ENTRY, NEWS_STORE, NEWS_RETRIEVE, NEWS_DELETE };
struct statfs_out {
    uint64_t blocks, bfree, bavail, files, ffree;
    uint32_t bsize, namelen, frsize, pad, spare[6];
};
