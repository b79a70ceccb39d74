// sys/ext: disks in the ext2/ext4 format as a file system. Read this header first.
//
//   format.h       what lies where on the disk
//   volume.h       superblock, groups, what is free; blocks and checksums
//   change.h       changing it: blocks and inodes that are taken and given back
//   inode.h        a file in memory; extent_list.h: where its blocks lie; map_load.cc, map_store.cc: as the disk says
//                  it; attribute_list.h: its extended attributes
//   names.h        the entries of directories; entries.h: of one block; hash_tree.h, directory_hash.h: their index
//   store.h        all inodes in memory, and what writes them; orphans.cc: what a crash left without a name
//
// What a name leads to is a vnode of sys/vfs over an inode of the store; its pages are the inode's, which is their
// pager. Metadata goes through the device's cache, payload goes between the file's pages and the device.
#pragma once

#include "drivers/block/device.h"
#include "sys/vfs/file_system.h"

namespace ext {

// The file system on a device: the one that is there already if it is mounted somewhere. EINVAL, EOPNOTSUPP: none, or
// not one that this kernel knows (the log says why); EIO, ENOMEM. Thread context.
k::result<vfs::file_system_ref> mount(block::device_ref on, bool read_only) noexcept;
// Bytes of a regular file of such a file system are on the disk from here on, and no longer in memory: for who reads or
// writes past it. ENOSPC, EIO, ENOMEM. Thread context.
k::status put_out(vfs::vnode& of, k::u64 offset, k::u64 bytes) noexcept;
// sync(2) of all that are mounted: the disks are up to date, and clean if nothing that has no name is open. EIO.
k::status sync_all() noexcept;
// Before the machine goes off: the same, and nothing is written afterwards. What is open without a name goes.
void finish_all() noexcept;

} // namespace ext
