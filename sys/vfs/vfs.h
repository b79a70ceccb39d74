// sys/vfs: files by name. Read this header first.
//
//   mount.h        places where file systems are seen; walk.h: paths through them; access.h: who may
//   edit.h         making, renaming, removing; attributes
//   extended.h     extended attributes
//   data.h         the bytes of regular files: the page cache is the node's vm::object
//   name.h         the name cache; vnode.h: what a name leads to
//   file_system.h  what a file system is, its ports and threads; vop.h: the messages
//   tmpfs.h        files in memory; sys/ext has those on disks, sys/userfs those in programs
//
// How it runs. Whatever is only looked at (a path, attributes, cached bytes) is looked at in the caller's context on
// its CPU: names are read without locks in critical sections, bytes come out of the page cache. What changes names is a
// message to the home CPU of the directory, and needs no lock there, because only that CPU does it; a caller that is on
// that CPU does it itself, without a switch. So processes that work in directories and files of their own meet nowhere.
#pragma once

#include "sys/vfs/data.h"
#include "sys/vfs/edit.h"
#include "sys/vfs/mount.h"
#include "sys/vfs/walk.h"
