// Nutcracker's own system calls for programs: an xio as a descriptor (docs/syscalls.md, docs/files.md).
//
// Such a descriptor stands for bytes as they were at one moment. read, pread, lseek, fstat and mmap work on it (a
// mapping is private, or shared and read-only), sendfile and splice pass the bytes on without copying them, and it can
// be sent over a unix socket or inherited. close() lets go.
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

#define NUTCRACKER_SYS_xio_from_memory 1024
#define NUTCRACKER_SYS_xio_from_file 1025

// A descriptor of `bytes` bytes at `from` (1 to 1 GiB); flags: 0 or O_CLOEXEC. The caller may change its memory at
// once. -1 and errno: EFAULT, EINVAL, EMFILE, ENOMEM; ENOSYS on other kernels.
static inline int xio_from_memory(const void* from, size_t bytes, int flags) {
    return (int)syscall(NUTCRACKER_SYS_xio_from_memory, from, bytes, flags);
}

// A descriptor of bytes of a file, or of another xio, from an offset on; as many as are there. EINVAL: there are none;
// EOPNOTSUPP: not of this kind of file.
static inline int xio_from_file(int file, off_t offset, size_t bytes, int flags) {
    return (int)syscall(NUTCRACKER_SYS_xio_from_file, file, offset, bytes, flags);
}
