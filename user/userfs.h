// File systems in programs (docs/userfs.md): the protocol, and a small library that speaks it.
//
// A program offers a service and answers the kernel's questions about its files; `mount -t user SERVICE DIR` shows
// them. With userfs_serve() it only has to supply functions. They return 0 or an error number.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define USERFS_VERSION 1

// --- The protocol: each question is a message (caps.h) whose text begins with a request; the answer's result is 0 or
// an error number, and its text or its first item is what the table says. Versions that a program does not know it
// answers with EPROTO.
enum {
    USERFS_MOUNT = 1, // -> attributes of the root
    USERFS_UNMOUNT,   // nothing will be asked any more
    USERFS_LOOK_UP,   // node: a directory, name -> attributes; ENOENT
    USERFS_FORGET,    // node, bytes: so many answers that told of it (look_up, make) are forgotten
    USERFS_LIST,      // node: a directory, offset: a place (0: the start), bytes: at most -> entries, as text or item
    USERFS_READ,      // node, offset, bytes -> an item of them; fewer, or none, at the end
    USERFS_WRITE,     // node, offset, bytes, the first item -> all are written
    USERFS_MAKE, // node: a directory, name, second: a link's text; mode (with its type), uid, gid, device -> attributes
    USERFS_LINK, // node: a directory, other: what gets one more name, name
    USERFS_REMOVE,    // node: a directory, other: what has the name, name, what: 1 for a directory, which must be empty
    USERFS_RENAME,    // node: a directory, name, other: a directory, second: a name there, what: USERFS_NO_REPLACE...
    USERFS_CHANGE,    // node, what: USERFS_SET_MODE...
    USERFS_READ_LINK, // node -> its text, as text or item
    USERFS_STATE,     // -> state
    USERFS_SYNC,      // node: what was written lasts
};
enum {
    USERFS_SET_MODE = 1,
    USERFS_SET_OWNER = 2,
    USERFS_SET_SIZE = 4,
    USERFS_SET_ACCESSED = 8,
    USERFS_SET_MODIFIED = 16
};
enum { USERFS_NO_REPLACE = 1, USERFS_EXCHANGE = 2 };
#define USERFS_KEEP (~0u) // a uid or gid that stays

struct userfs_request {
    uint32_t version, operation;
    uint64_t node, other;
    uint64_t offset, bytes;
    uint64_t now_ns; // since 1970: what a change is to be dated
    uint64_t accessed_ns, modified_ns;
    uint64_t device;
    uint32_t mode, uid, gid;
    uint32_t what;
    uint16_t text_bytes[2]; // of name and second, which follow; where they are too long they are the last item
    uint32_t unused;
};

struct userfs_attributes {
    uint64_t node; // not 0, and no other node's until it was forgotten
    uint32_t mode, links, uid, gid;
    uint64_t size;
    uint64_t accessed_ns, modified_ns, changed_ns;
    uint64_t device;
};

struct userfs_entry { // of a list; its text follows, padded to 8 bytes
    uint64_t next;    // the place behind it; places grow
    uint64_t node;
    uint32_t mode; // its type is enough
    uint32_t text_bytes;
};

struct userfs_state {
    uint64_t block_bytes, blocks, free_blocks, nodes, free_nodes;
};

// --- The library

// Where bytes are: in a file (fd, from `at` on), or in memory (fd -1).
struct userfs_bytes {
    int fd;
    uint64_t at, bytes;
};

// A list that is being written.
struct userfs_list {
    char* to;
    size_t used, room;
};
// One more entry, whose name has 1 to 255 bytes; 0: there is no room, end the list here.
int userfs_put(struct userfs_list* to, uint64_t next, uint64_t node, uint32_t mode, const char* name);

typedef const struct userfs_request* userfs_question;

// A function that is missing answers ENOSYS (forget, unmount, sync: 0). `fs` is what userfs_serve() got.
struct userfs_functions {
    int (*mount)(void* fs, userfs_question q, struct userfs_attributes* root);
    void (*unmount)(void* fs);
    int (*look_up)(void* fs, userfs_question q, const char* name, struct userfs_attributes* out);
    int (*forget)(void* fs, userfs_question q);
    int (*list)(void* fs, userfs_question q, struct userfs_list* to);
    int (*read)(void* fs, userfs_question q,
                struct userfs_bytes* out);             // out->bytes: as asked for; made fewer at the end
    int (*write)(void* fs, userfs_question q, int fd); // the bytes: an xio, from 0 on
    int (*make)(void* fs, userfs_question q, const char* name, const char* text, struct userfs_attributes* out);
    int (*link)(void* fs, userfs_question q, const char* name);
    int (*remove)(void* fs, userfs_question q, const char* name);
    int (*rename)(void* fs, userfs_question q, const char* name, const char* second);
    int (*change)(void* fs, userfs_question q);
    int (*read_link)(void* fs, userfs_question q, const char** text);
    int (*state)(void* fs, userfs_question q, struct userfs_state* out);
    int (*sync)(void* fs, userfs_question q);
};

// Answers what comes to a service (caps_service) until the file system is unmounted (0) or something fails (-1, errno).
// Any number of threads may do so, if the functions are made for that: one of them hears of the unmount, the others go
// on waiting.
int userfs_serve(int service, const struct userfs_functions* functions, void* fs);

#ifdef __cplusplus
}
#endif
