// What Linux's FUSE device speaks, version 7.31: each request is a header and what the operation has, each answer a
// header with the request's number and what it says. fuse(4), and include/uapi/linux/fuse.h of Linux.
#pragma once

#include "kernel/lib/types.h"

namespace vfs::fuse {

constexpr k::u32 major_version = 7, minor_version = 31;
constexpr k::u32 least_minor = 12; // older ones have shorter answers
constexpr k::u64 root_node = 1;

enum class opcode : k::u32 {
    look_up = 1,
    forget = 2, // this, and forget_many, have no answer
    get_attributes = 3,
    set_attributes = 4,
    read_link = 5,
    make_link = 6,
    make_node = 8,
    make_directory = 9,
    unlink = 10,
    remove_directory = 11,
    rename = 12,
    link = 13,
    open = 14,
    read = 15,
    write = 16,
    state = 17,
    release = 18,
    sync = 20,
    set_extended = 21,
    get_extended = 22,
    list_extended = 23,
    remove_extended = 24,
    flush = 25,
    init = 26,
    open_directory = 27,
    read_directory = 28,
    release_directory = 29,
    sync_directory = 30,
    access = 34,
    create = 35,
    interrupt = 36,
    destroy = 38,
    retrieved = 41, // has no answer
    forget_many = 42,
    allocate = 43,
    read_directory_with = 44, // what each entry leads to is looked up, too
    rename_with = 45,
    seek = 46,
};

struct request_head {
    k::u32 bytes; // with everything
    fuse::opcode opcode;
    k::u64 unique;
    k::u64 node;
    k::u32 uid, gid, pid;
    k::u32 unused;
};
static_assert(sizeof(request_head) == 40);

struct answer_head {
    k::u32 bytes;
    k::i32 error;  // 0, or a negative error number
    k::u64 unique; // 0: no answer, but news, and `error` says which (fuse::news)
};
static_assert(sizeof(answer_head) == 16);

// --- The way up

enum init_flag : k::u32 {
    async_read = 1 << 0,
    big_writes = 1 << 5,
    lists_with_nodes = 1 << 13,   // read_directory_with is wanted,
    lists_as_is_useful = 1 << 14, // but not always
    no_open_needed = 1 << 17,     // a server may answer open with ENOSYS
    parallel_directories = 1 << 18,
    page_count = 1 << 22, // init_answer::most_pages means something
    no_open_directory_needed = 1 << 24,
};

struct init_question {
    k::u32 major, minor;
    k::u32 most_ahead;
    k::u32 flags;
};

struct init_answer { // of servers older than 7.23 only as far as most_write
    k::u32 major, minor;
    k::u32 most_ahead;
    k::u32 flags;
    k::u16 most_in_background, congestion;
    k::u32 most_write;
    k::u32 time_unit;
    k::u16 most_pages, map_alignment;
    k::u32 unused[8];
};
static_assert(sizeof(init_answer) == 64);
constexpr k::u64 short_init_answer = 24;

// --- Nodes

struct attributes {
    k::u64 inode, size, sectors;
    k::u64 accessed_s, modified_s, changed_s;
    k::u32 accessed_ns, modified_ns, changed_ns;
    k::u32 mode, links, uid, gid, device;
    k::u32 block_bytes, unused;
};
static_assert(sizeof(attributes) == 88);

struct entry_answer { // of whatever names a node
    k::u64 node;      // 0: there is none
    k::u64 generation;
    k::u64 name_valid_s, valid_s;
    k::u32 name_valid_ns, valid_ns;
    attributes said;
};
static_assert(sizeof(entry_answer) == 128);

struct attributes_answer {
    k::u64 valid_s;
    k::u32 valid_ns, unused;
    attributes said;
};
static_assert(sizeof(attributes_answer) == 104);

struct get_attributes_question {
    k::u32 flags, unused;
    k::u64 handle;
};

enum set_flag : k::u32 {
    set_mode = 1,
    set_uid = 2,
    set_gid = 4,
    set_size = 8,
    set_accessed = 16,
    set_modified = 32,
    set_handle = 64,
    set_accessed_now = 128,
    set_modified_now = 256,
};

struct set_attributes_question {
    k::u32 which, pad0;
    k::u64 handle;
    k::u64 size;
    k::u64 lock_owner;
    k::u64 accessed_s, modified_s, changed_s;
    k::u32 accessed_ns, modified_ns, changed_ns;
    k::u32 mode, pad1, uid, gid, pad2;
};
static_assert(sizeof(set_attributes_question) == 88);

struct forget_question {
    k::u64 answers;
};
struct forget_many_question {
    k::u32 count, unused;
};
struct forgotten {
    k::u64 node, answers;
};

// --- Names

struct make_node_question {
    k::u32 mode, device, umask, unused;
};
struct make_directory_question {
    k::u32 mode, umask;
};
struct create_question {
    k::u32 flags, mode, umask, unused;
};
struct rename_question {
    k::u64 to;
};
struct rename_with_question {
    k::u64 to;
    k::u32 flags, unused;
};
struct link_question {
    k::u64 node;
};

// --- Extended attributes

struct set_extended_question { // the name follows, with a zero, and the value
    k::u32 bytes, flags;
};
struct get_extended_question { // of a value (its name follows), or of the list of names
    k::u32 most, unused;       // 0: the length only
};
struct extended_length_answer {
    k::u32 bytes, unused;
};

// --- Open files

enum open_answer_flag : k::u32 {
    bypasses_cache = 1,
    keeps_cache = 2,
};

struct open_question {
    k::u32 flags, unused;
};
struct open_answer {
    k::u64 handle;
    k::u32 flags, unused;
};
struct create_answer {
    entry_answer entry;
    open_answer opened;
};
static_assert(sizeof(create_answer) == 144);

struct read_question {
    k::u64 handle, offset;
    k::u32 bytes, read_flags;
    k::u64 lock_owner;
    k::u32 flags, unused;
};
using write_question = read_question;              // and the bytes
enum write_flag : k::u32 { write_was_cached = 1 }; // whoever it was that wrote it: the head says nothing of that
struct write_answer {
    k::u32 bytes, unused;
};
struct flush_question {
    k::u64 handle;
    k::u32 pad0, pad1;
    k::u64 lock_owner;
};
struct release_question {
    k::u64 handle;
    k::u32 flags, release_flags;
    k::u64 lock_owner;
};
struct sync_question {
    k::u64 handle;
    k::u32 flags, unused;
};
struct access_question {
    k::u32 wishes, unused;
};
enum allocate_mode : k::u32 { // fallocate(2)'s
    keeps_size = 1,
    punches = 2,
    zeroes = 16,
};
struct allocate_question {
    k::u64 handle, offset, bytes;
    k::u32 mode, unused;
};
static_assert(sizeof(allocate_question) == 32);
enum seek_kind : k::u32 { to_data = 3, to_hole = 4 };
struct seek_question {
    k::u64 handle, offset;
    k::u32 kind, unused;
};
struct seek_answer {
    k::u64 offset;
};

struct directory_entry { // its name follows, padded to 8 bytes
    k::u64 inode;
    k::u64 next;
    k::u32 name_bytes;
    k::u32 type;
};
static_assert(sizeof(directory_entry) == 24);

struct directory_entry_with { // its name follows in the same way
    entry_answer looked_up;   // of no node: it was not
    directory_entry there;
};
static_assert(sizeof(directory_entry_with) == 152);

struct state_answer {
    k::u64 blocks, free_blocks, blocks_for_all, nodes, free_nodes;
    k::u32 block_bytes, name_bytes, fragment_bytes, unused;
    k::u32 spare[6];
};
static_assert(sizeof(state_answer) == 80);

struct interrupt_question {
    k::u64 unique;
};

// --- What a program tells by itself

enum class news : k::u32 {
    poll = 1,
    bytes_are_old = 2,
    name_is_old = 3,
    store = 4,
    retrieve = 5,
    name_is_gone = 6,
};

struct bytes_news {
    k::u64 node;
    k::i64 offset, bytes; // offset < 0: only the attributes; bytes <= 0: to the end
};
struct name_news { // the name follows, with a zero
    k::u64 directory;
    k::u32 name_bytes, unused;
};
struct gone_news {
    k::u64 directory, node;
    k::u32 name_bytes, unused;
};
struct store_news { // the bytes follow
    k::u64 node, offset;
    k::u32 bytes, unused;
};
static_assert(sizeof(store_news) == 24);
struct retrieve_news {
    k::u64 unique; // of the request that gives the bytes back
    k::u64 node, offset;
    k::u32 bytes, unused;
};
static_assert(sizeof(retrieve_news) == 32);
struct retrieved_question { // the bytes follow
    k::u64 unused0, offset;
    k::u32 bytes, unused1;
    k::u64 unused2[2];
};
static_assert(sizeof(retrieved_question) == 40);
constexpr k::u32 least_minor_for_many = 16; // that know forget_many

} // namespace vfs::fuse
