// Services and messages: Nutcracker's own way to talk to other programs and to the kernel (docs/caps.md is the manual).
//
// A message has up to 256 bytes of text, which are copied, and up to 8 items of xio, which are not. The functions below
// are the system calls. Where one fails it returns -1 and sets errno.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#define CAPS_MOST_TEXT 256
#define CAPS_MOST_ITEMS 8
#define CAPS_MOST_GROUPS 16
#define CAPS_LONGEST_NAME 63

#define NUTCRACKER_SYS_caps_service 1026
#define NUTCRACKER_SYS_caps_connect 1027
#define NUTCRACKER_SYS_caps_put 1028
#define NUTCRACKER_SYS_caps_get 1029
#define NUTCRACKER_SYS_caps_reply 1030
#define NUTCRACKER_SYS_caps_call 1031
#define NUTCRACKER_SYS_caps_reply_wait 1032
#define NUTCRACKER_SYS_caps_abort 1033
#define NUTCRACKER_SYS_caps_dispose 1034
#define NUTCRACKER_SYS_caps_room 1035

// Of caps_service and caps_connect, with O_CLOEXEC and O_NONBLOCK.
enum {
    CAPS_USER = 1,       // clients and services of the same user
    CAPS_GROUP = 2,      // clients in the service's group
    CAPS_WORLD = 4,      // anybody
    CAPS_EXCLUSIVE = 8,  // (service) nobody else offers this name
    CAPS_ASK = 0x10,     // (service) each connection is a message first
    CAPS_INHERIT = 0x20, // children of fork have it too
    CAPS_WAIT = 0x40,    // (connect) wait for the service to appear
};

// Of messages, with O_CLOEXEC for the descriptors that come with them.
enum {
    CAPS_DONTWAIT = 1,
    CAPS_PEEK = 2,    // (get) leave it there
    CAPS_MAP = 4,     // what can be read is mapped, instead of becoming a descriptor
    CAPS_RECEIPT = 8, // (reply) tell me when it was fetched
};

// What an item is. A sender fills in kind and what stands behind it; a receiver is told.
enum {
    CAPS_MEMORY = 0,     // sent: at, bytes. The receiver sees the memory as it is now
    CAPS_DESCRIPTOR = 1, // sent: fd, at (an offset), bytes. Of an xio, a file; of a room (offset 0), which it empties
                         // received: fd, an xio of so many bytes
    CAPS_ROOM = 2,       // sent: at, bytes, fd -1: memory for the reply to fill; or fd, bytes: a room to be passed on
                         // received: fd, a room of so many bytes: map it (shared) or write, and reply with it
    CAPS_SHARE = 3,      // sent and received: fd, a room; flags: CAPS_WRITABLE. Both sides see it from now on
    CAPS_MAPPED = 4,     // received: at, bytes. munmap() it
    CAPS_FILLED = 5,     // received: at, bytes: what a reply put where the request had room
};
#define CAPS_NOTHING (-1u)
#define CAPS_WRITABLE 1u

struct caps_item {
    uint32_t kind;
    int32_t fd;
    uint64_t at, bytes;
    uint32_t fills; // of a reply: the number of the request's item that it fills; CAPS_NOTHING: none
    uint32_t flags;
};

struct caps_sender { // as the kernel knows it
    int32_t pid;
    uint32_t uid, gid, group_count, groups[CAPS_MOST_GROUPS];
};

// What came.
enum {
    CAPS_REQUEST = 0,
    CAPS_CONNECTION = 1, // somebody wants to connect to a service with CAPS_ASK: reply, with a result to refuse
    CAPS_ABORTED = 2,    // the client of a request that you have wants it back, or is gone; reply anyway
    CAPS_FETCHED = 3,    // the reply with CAPS_RECEIPT was fetched, or never will be
    CAPS_REPLY = 4,
    CAPS_RETURNED = 5, // your request came back without a reply; result says why: ECONNRESET, ECANCELED
};

struct caps_message {
    uint64_t id;                // of a request, to its service; of a reply, as caps_put gave it
    struct caps_item* items;    // sent from here, or received here
    struct caps_sender* sender; // who sent what was received is written here; NULL: do not
    uint64_t timeout_ns;        // how long to wait at most; 0: as long as it takes
    int32_t result;             // of a reply: 0 or an error number
    uint32_t kind;
    uint32_t text_bytes;            // sent or received
    uint32_t item_count, item_room; // sent or received; how many may be received
    uint32_t unused[3];
    char text[CAPS_MOST_TEXT];
};

// Offers a service; flags: one of USER, GROUP, WORLD at least. EEXIST, EINVAL.
static inline int caps_service(const char* name, int flags) {
    return (int)syscall(NUTCRACKER_SYS_caps_service, name, flags);
}
// Connects to one; without USER, GROUP or WORLD any of them will do. ENOENT, EACCES, ECONNREFUSED, ETIMEDOUT.
static inline int caps_connect(const char* name, int flags, uint64_t timeout_ns) {
    return (int)syscall(NUTCRACKER_SYS_caps_connect, name, flags, timeout_ns);
}
// Sends a request and waits for its reply; the two may be the same structure.
static inline int caps_call(int client, struct caps_message* request, struct caps_message* reply, int flags) {
    return (int)syscall(NUTCRACKER_SYS_caps_call, client, request, reply, flags);
}
// Sends a request, whose reply caps_get will get; request->id is its name.
static inline int caps_put(int client, struct caps_message* request, int flags) {
    return (int)syscall(NUTCRACKER_SYS_caps_put, client, request, flags);
}
// The next request of a service; or the reply to a client's request to->id (0: any).
static inline int caps_get(int end, struct caps_message* to, int flags) {
    return (int)syscall(NUTCRACKER_SYS_caps_get, end, to, flags);
}
// Replies to the request reply->id.
static inline int caps_reply(int service, const struct caps_message* reply, int flags) {
    return (int)syscall(NUTCRACKER_SYS_caps_reply, service, reply, flags);
}
// Replies to reply->id, unless that is 0, and gets the next request; the two may be the same structure.
static inline int caps_reply_wait(int service, struct caps_message* reply, struct caps_message* next, int flags) {
    return (int)syscall(NUTCRACKER_SYS_caps_reply_wait, service, reply, next, flags);
}
// Wants a request back.
enum {
    CAPS_HARD = 1, // now, whatever the server does
};
enum {
    CAPS_REPLIED = 0, // the reply is there
    CAPS_REMOVED = 1, // nobody had it; it comes back with ECANCELED (not with CAPS_HARD: it is gone)
    CAPS_FLAGGED = 2, // the server has it and is told
    CAPS_ENDED = 3,   // (with CAPS_HARD) no reply will come
};
static inline int caps_abort(int client, uint64_t id, int flags) {
    return (int)syscall(NUTCRACKER_SYS_caps_abort, client, id, flags);
}
// Wants to hear no more of a request.
static inline int caps_dispose(int client, uint64_t id) {
    return (int)syscall(NUTCRACKER_SYS_caps_dispose, client, id);
}
// Memory of a fixed size as a descriptor (1 to 1 GiB), to be mapped shared and given to others in messages.
static inline int caps_room(size_t bytes, int flags) {
    return (int)syscall(NUTCRACKER_SYS_caps_room, bytes, flags);
}

// Lets go of what came as CAPS_MAPPED.
static inline int caps_unmap(const struct caps_item* item) {
    const uint64_t page = 4096, base = item->at & -page;
    return munmap((void*)base, ((item->at + item->bytes + page - 1) & -page) - base);
}
