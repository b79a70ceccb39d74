// File systems in programs: each operation that memory does not answer becomes a message to a service (sys/caps), whose
// server is a process or a thread of the kernel's. protocol.h says what is asked.
//
// The kernel is the service's only user and keeps what it was told: names, attributes and pages are asked for once.
// What changes is changed there first, and here when it was answered. Bytes that come are the pages that the server
// gave, and bytes that go are the cache's pages, lent.
//
// Nothing that a server says is believed: numbers, lengths, types and names are checked, and what makes no sense is
// EIO. A server that does not answer within the mount's time is given up: from then on, as after its death, what would
// have to be asked fails with ENOTCONN, while what is known stays readable. Who waits for an answer holds at most the
// lock of the directory or file that it is about (and of renames in this file system); who is killed waits no longer
// (EINTR), and what was asked may happen there all the same.
#pragma once

#include "kernel/time/callout.h"
#include "sys/vfs/file_system.h"

namespace vfs {

struct userfs_options {
    std::string_view service; // whose name is copied
    ktime::ns timeout = 30 * ktime::second;
    bool waits = false; // as long for the service to appear
    // Will the running thread end, so that it waits for no answer? Asked as in caps::waiting. Null: never.
    bool (*interrupted)() = nullptr;
    k::u64 nodes = 0; // at most so many are known at a time; 0: what the memory allows
};

// Asks the service for its root. ENOENT, EACCES, ECONNREFUSED: there is no such service, or it does not want us; EIO,
// ETIMEDOUT: it answered nonsense, or not at all; EINTR: interrupted; ENOMEM. Thread context, blocks.
k::result<file_system_ref> make_userfs(const userfs_options& options) noexcept;

// sync(2): what was stored into mappings of files in programs is carried there, as far as they listen in time. Thread
// context, blocks.
void write_back_programs() noexcept;

} // namespace vfs
