// What a file system in a program is asked and answers, as the text of messages (sys/caps). user/userfs.h has the same
// for programs, and docs/userfs.md says what each question means; both sides name the version.
#pragma once

#include "kernel/lib/types.h"

namespace vfs::userfs {

constexpr k::u32 version = 1;

enum class operation : k::u32 {
    mount = 1, // -> attributes of the root
    unmount,   // nothing will be asked any more
    look_up,   // node: a directory, a name -> attributes; ENOENT
    forget,    // node, bytes: so many answers that told of it are forgotten
    list,      // node, offset: a place, bytes: at most -> entries
    read,      // node, offset, bytes -> the bytes, fewer at the end
    write,     // node, offset, bytes, and an item of them
    make,      // node: a directory, a name, the text of a link; mode, uid, gid, device -> attributes
    link,      // node: a directory, other: what gets one more name
    remove,    // node: a directory, other: what has the name, a name; what: 1 if it is a directory
    rename,    // node, other: directories, two names; what: rename_flag bits
    change,    // node; what: change_bit bits
    read_link, // node -> text
    state,     // -> file_system_state
    sync,      // node: what was written is to last
};

enum change_bit : k::u32 {
    change_mode = 1,
    change_owner = 2, // uid and gid, or ~0 for one that stays
    change_size = 4,  // bytes
    change_accessed = 8,
    change_modified = 16,
};

struct request {
    k::u32 version = userfs::version;
    userfs::operation operation{};
    k::u64 node = 0, other = 0;
    k::u64 offset = 0, bytes = 0;
    k::u64 now_ns = 0; // since 1970, as the kernel notes it
    k::u64 accessed_ns = 0, modified_ns = 0;
    k::u64 device = 0;
    k::u32 mode = 0, uid = 0, gid = 0; // of make: with the type; of change: permissions only
    k::u32 what = 0;
    k::u16 text_bytes[2] = {}; // the names' lengths; they follow, or are the last item where they are too long
    k::u32 unused = 0;
};
static_assert(sizeof(request) == 96);

struct attributes {
    k::u64 node; // its number, not 0, and no other node's until it was forgotten
    k::u32 mode, links, uid, gid;
    k::u64 size;
    k::u64 accessed_ns, modified_ns, changed_ns;
    k::u64 device;
};
static_assert(sizeof(attributes) == 64);

// A name in an answer to list, followed by its text and padded to eight bytes.
constexpr k::u32 longest_told_name = 1024; // in a list; what is longer than longest_name is passed over

struct entry {
    k::u64 next; // the place behind it; places grow
    k::u64 node;
    k::u32 mode; // its type
    k::u32 text_bytes;
};
static_assert(sizeof(entry) == 24);

struct state {
    k::u64 block_bytes, blocks, free_blocks, nodes, free_nodes;
};
static_assert(sizeof(state) == 40);

constexpr k::u64 most_listed = 32 << 10; // bytes of entries in one answer
constexpr k::u64 most_link_text = 4095;  // bytes
constexpr k::u64 most_moved = 4 << 20;   // bytes in one question to read or write

} // namespace vfs::userfs
