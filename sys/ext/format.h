// The ext2/ext3/ext4 disk format: what lies where. All numbers are little endian, as this machine's are.
//
// Source: Linux's Documentation/filesystems/ext4 (the layout as e2fsprogs and Linux read and write it).
#pragma once

#include "kernel/lib/types.h"

#include <bit>
#include <cstddef>

namespace ext {

static_assert(std::endian::native == std::endian::little);

using k::u16;
using k::u32;
using k::u64;
using k::u8;

constexpr u64 superblock_offset = 1024;
constexpr u16 superblock_magic = 0xef53;
constexpr u32 root_inode = 2;
constexpr u32 no_inode = 0;

enum state_bit : u16 { state_clean = 1, state_has_errors = 2 };

enum compatible : u32 {
    has_journal = 0x4,
    has_attributes = 0x8,
    has_directory_index = 0x20,
};
enum incompatible : u32 {
    has_file_types = 0x2,
    needs_recovery = 0x4,
    is_journal_device = 0x8,
    has_meta_groups = 0x10,
    has_extents = 0x40,
    has_64bit = 0x80,
    has_flexible_groups = 0x200,
    has_checksum_seed = 0x2000,
};
constexpr u32 known_incompatible = has_file_types | has_extents | has_64bit | has_flexible_groups | has_checksum_seed;
enum read_only_compatible : u32 {
    has_sparse_copies = 0x1,
    has_large_files = 0x2,
    has_huge_files = 0x8,
    has_group_checksums = 0x10,
    has_many_links = 0x20,
    has_extra_size = 0x40,
    has_checksums = 0x400,
};
constexpr u32 writable_features = has_sparse_copies | has_large_files | has_huge_files | has_group_checksums |
                                  has_many_links | has_extra_size | has_checksums;

struct [[gnu::packed]] superblock {
    u32 inodes, blocks_low, reserved_blocks_low, free_blocks_low, free_inodes, first_data_block;
    u32 block_shift, cluster_shift; // behind 1024
    u32 blocks_a_group, clusters_a_group, inodes_a_group;
    u32 mounted_s, written_s;
    u16 mounts, most_mounts, magic, state, errors, minor_revision;
    u32 checked_s, check_interval_s, creator, revision;
    u16 reserved_uid, reserved_gid;
    u32 first_inode;
    u16 inode_bytes, group_of_copy;
    u32 compatible, incompatible, read_only_compatible;
    u8 uuid[16];
    char name[16], last_mounted[64];
    u32 compression;
    u8 preallocate, preallocate_directories;
    u16 reserved_descriptors;
    u8 journal_uuid[16];
    u32 journal_inode, journal_device, last_orphan, hash_seed[4];
    u8 hash_version, journal_backup;
    u16 descriptor_bytes;
    u32 mount_options, first_meta_group, made_s, journal_blocks[17];
    u32 blocks_high, reserved_blocks_high, free_blocks_high;
    u16 least_extra_bytes, wanted_extra_bytes;
    u32 flags;
    u16 raid_stride, protection_interval;
    u64 protection_block;
    u32 raid_width;
    u8 groups_a_flex_shift, checksum_kind;
    u16 unused;
    u64 written_kib;
    u8 between[0xf0];
    u32 checksum_seed;
    u8 rest[0x188];
    u32 checksum;
};
static_assert(offsetof(superblock, descriptor_bytes) == 0xfe && offsetof(superblock, blocks_high) == 0x150 &&
              offsetof(superblock, checksum_kind) == 0x175 && offsetof(superblock, checksum_seed) == 0x270 &&
              offsetof(superblock, checksum) == 0x3fc && sizeof(superblock) == 1024);

enum group_flag : u16 { group_inodes_unused = 1, group_blocks_unused = 2, group_table_zeroed = 4 };

// 32 bytes of it without the 64bit feature.
struct [[gnu::packed]] group_descriptor {
    u32 block_bitmap_low, inode_bitmap_low, inode_table_low;
    u16 free_blocks_low, free_inodes_low, directories_low, flags;
    u32 snapshot_low;
    u16 block_bitmap_sum_low, inode_bitmap_sum_low, unused_inodes_low, checksum;
    u32 block_bitmap_high, inode_bitmap_high, inode_table_high;
    u16 free_blocks_high, free_inodes_high, directories_high, unused_inodes_high;
    u32 snapshot_high;
    u16 block_bitmap_sum_high, inode_bitmap_sum_high;
    u32 unused;
};
constexpr unsigned short_descriptor_bytes = 32;
static_assert(sizeof(group_descriptor) == 64 && offsetof(group_descriptor, checksum) == 0x1e &&
              offsetof(group_descriptor, block_bitmap_sum_high) == 0x38);

enum inode_flag : u32 {
    inode_immutable = 0x10,
    inode_append_only = 0x20,
    inode_is_indexed = 0x1000,    // a directory with a hash tree
    inode_blocks_huge = 0x4'0000, // `sectors` counts blocks
    inode_has_extents = 0x8'0000,
    inode_is_large_value = 0x20'0000,
    inode_is_inline = 0x1000'0000,
};
constexpr unsigned map_words = 15;
constexpr unsigned direct_words = 12;

struct [[gnu::packed]] inode_record {
    u16 mode, uid_low;
    u32 size_low, accessed_s, changed_s, modified_s, deleted_s;
    u16 gid_low, links;
    u32 sectors_low, flags, version_low;
    u32 map[map_words]; // a block map, the root of an extent tree, or the text of a short link
    u32 generation, attributes_low, size_high, fragment;
    u16 sectors_high, attributes_high, uid_high, gid_high, checksum_low, reserved;
    // Only where inodes are longer than 128 bytes, as far as extra_bytes says.
    u16 extra_bytes, checksum_high;
    u32 changed_more, modified_more, accessed_more, made_s, made_more, version_high, project;
};
constexpr unsigned old_inode_bytes = 128;
static_assert(sizeof(inode_record) == 160 && offsetof(inode_record, extra_bytes) == old_inode_bytes &&
              offsetof(inode_record, map) == 40 && offsetof(inode_record, checksum_low) == 0x7c);

// --- Extent trees
constexpr u16 extent_magic = 0xf30a;
constexpr unsigned deepest_extents = 5;
constexpr u32 longest_extent = 32768; // longer ones are unwritten, by the rest

struct extent_header {
    u16 magic, entries, room, depth;
    u32 generation;
};
struct extent_leaf {
    u32 logical;
    u16 length, physical_high;
    u32 physical_low;
};
struct extent_index {
    u32 logical, child_low;
    u16 child_high, unused;
};
static_assert(sizeof(extent_header) == 12 && sizeof(extent_leaf) == 12 && sizeof(extent_index) == 12);

// --- Directories
enum class entry_type : u8 { unknown, regular, directory, character, block, fifo, socket, link };

struct entry_header {
    u32 inode;
    u16 bytes; // to the next one
    u8 name_bytes, type;
};
static_assert(sizeof(entry_header) == 8);
// The last 12 bytes of a directory block with checksums look like an entry without a name.
struct entry_tail {
    entry_header looks; // inode 0, 12 bytes, no name, type tail_type
    u32 checksum;
};
constexpr u8 tail_type = 0xde;
static_assert(sizeof(entry_tail) == 12);

// --- Hash trees of directories
// In the first block, behind "." and "..".
struct hash_tree_info {
    u32 reserved;
    u8 kind, bytes, levels, flags; // hash_kind; of this
};
struct hash_tree_entry {
    u32 hash, block; // of the directory
};
// Instead of the first entry's hash.
struct hash_tree_counts {
    u16 limit, count;
    u32 block;
};
// Behind the last entry for which there is room.
struct hash_tree_tail {
    u32 reserved, checksum;
};
static_assert(sizeof(hash_tree_info) == 8 && sizeof(hash_tree_entry) == 8 && sizeof(hash_tree_counts) == 8 &&
              sizeof(hash_tree_tail) == 8);
enum superblock_flag : u32 { names_signed = 1, names_unsigned = 2 };

// --- Extended attributes in a block of their own
constexpr u32 attributes_magic = 0xea02'0000;
struct attributes_header {
    u32 magic, holders, blocks, hash, checksum, reserved[3];
};
static_assert(sizeof(attributes_header) == 32);
// Entries follow a header, or, behind the record of an inode, the magic number alone; a word of zeroes ends them. Each
// begins at a multiple of 4, and so do values, which stand at the end.
struct attribute_entry {
    u8 name_bytes, kind; // what the name begins with
    u16 value_at;        // from the block's start, or from the first entry
    u32 value_inode, value_bytes, hash;
};
static_assert(sizeof(attribute_entry) == 16);
enum attribute_kind : u8 {
    attribute_user = 1,
    attribute_access = 2,
    attribute_default_access = 3,
    attribute_trusted = 4,
    attribute_security = 6
};

} // namespace ext
