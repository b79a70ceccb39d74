// The parts of the system call table, each kept by the file named like it.
#pragma once

#include "kernel/syscall/table.h"

namespace syscalls {

extern const std::span<const entry> process_calls;    // fork, exec, exit, wait, who is who
extern const std::span<const entry> credential_calls; // user and group ids
extern const std::span<const entry> limit_calls;      // limits, and what was used
extern const std::span<const entry> sched_calls;      // CPUs and priorities
extern const std::span<const entry> misc_calls;       // what is left
extern const std::span<const entry> memory_calls;
extern const std::span<const entry> file_calls;                       // reading and writing
extern const std::span<const entry> descriptor_calls;                 // dup, close, fcntl
extern const std::span<const entry> watch_calls;                      // inotify
extern const std::span<const entry> lock_calls;                       // flock
extern const std::span<const entry> pipe_calls __attribute__((weak)); // pipes, and moving bytes between files
extern const std::span<const entry> poll_calls;                       // poll, select, epoll
extern const std::span<const entry> event_calls;                      // files that tell of events, memory files
extern const std::span<const entry> path_calls;                       // opening, looking
extern const std::span<const entry> edit_calls;                       // making, renaming, removing; attributes
extern const std::span<const entry> attribute_calls;                  // extended ones
extern const std::span<const entry> xio_calls;                        // our own: an xio as a descriptor
extern const std::span<const entry> caps_calls;                       // our own: services and messages
extern const std::span<const entry> mount_calls;                      // mount, umount, pivot_root
extern const std::span<const entry> socket_calls;                     // making and connecting sockets
extern const std::span<const entry> message_calls;                    // sending and receiving
extern const std::span<const entry> socket_option_calls;              // their options
extern const std::span<const entry> signal_calls;
extern const std::span<const entry> time_calls;
extern const std::span<const entry> futex_calls;

} // namespace syscalls
