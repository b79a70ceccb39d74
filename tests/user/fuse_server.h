// A small file system that speaks FUSE's protocol itself, and says on demand what it should not.
#pragma once

#include "tests/user/fuse_protocol.h"
#include "tests/user/ledger.h"

#include <dirent.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { mib = 1 << 20, big_bytes = 3 * mib + 1234 };

// What the server says that it should not.
enum lie {
    no_lie,
    entry_too_short,
    entry_too_long,
    of_no_type,
    too_large,
    node_is_root,
    bad_error,
    unknown_number,
    twice,
    read_too_much,
    list_with_slash,
    list_cut_off,
    list_long_name,
    link_too_long,
    length_is_wrong,
    error_with_bytes,
    says_nothing,
    old_version,
    no_open,
    no_open_of_one,
    wrote_more,
    opens_late,
    bypasses_cache,
    no_rename2,
    wrong_extended,
    no_allocate,
    no_seek,
    seeks_back,
    no_access,
    no_name_lasts,
    reads_link_late,
    renames_late,
    writes_late,
    lists_nodes,
    lists_nodes_cut_off,
    lists_nodes_long_name,
    lists_nodes_with_slash,
    lists_nodes_of_no_type,
    lists_nodes_as_root,
    lists_nodes_late,
    lists_nodes_twice, // "big" is "hello"
    no_list_of_nodes,
    keeps_nothing_stored,
    silent_to_stores,
    attributes_late,
    stores_when_read,
    list_name_of_300,
};

// What the test and its server both see.
static struct seen {
    _Atomic int asked[most_operations];
    _Atomic int interrupted;
    _Atomic unsigned uid;
    _Atomic int refused; // answers that the device did not take, as the server expects
    _Atomic int unexpected;
    _Atomic int may_go_on; // who answers late
    _Atomic int reads_fail;
    _Atomic unsigned rename_flags;
    _Atomic uint64_t closed; // the handle
    _Atomic uint64_t valid;  // seconds that names last
    _Atomic unsigned hidden; // bits of nodes whose names are gone
    _Atomic int moved;       // "hello" is what "big" was
    _Atomic int touched;     // seconds that all were written to later
    _Atomic int batch;       // the most nodes that were forgotten at once
    _Atomic unsigned access; // what was wanted last
    _Atomic uint64_t range[2];
    _Atomic int mode;         // of FALLOCATE
    _Atomic int stored;       // writes of what was stored into mappings
    _Atomic uint64_t back[4]; // of NOTIFY_REPLY: its number, node, offset and length
    unsigned char back_bytes[256 << 10];
    char value[16]; // of the extended attribute that was set
    char made[256][64];
    unsigned char written[mib];
    _Atomic uint64_t size; // of "out"
    // What changes behind the kernel's back.
    _Atomic unsigned modes[9];  // of nodes; 0: as usual
    _Atomic int short_lived;    // attributes are believed for no time
    _Atomic int link_moved;     // "link" leads to "big"
    _Atomic int drops_cache;    // nothing cached outlives an open
    _Atomic int lets_none_read; // of "out"
    _Atomic unsigned set;       // by the last SETATTR
} * seen;

static char base[64];
static int line = -1;
static pid_t server;

static unsigned char pattern(size_t at) {
    return (unsigned char)(at * 7 + (at >> 11));
}

// --- The server

static const char hello[] = "Hello from a program\n";

static struct attr attributes_of(uint64_t node) {
    struct attr a = {.ino = node + 100, .nlink = 1, .mode = S_IFREG | 0644, .blksize = 4096};
    a.mtime = 1000000000 + seen->touched;
    switch (node) {
    case 1:
    case 4:
    case 8: a.mode = S_IFDIR | 0755, a.nlink = 2; break;
    case 2: a.size = sizeof hello - 1; break;
    case 3: a.size = big_bytes; break;
    case 5: a.mode = S_IFLNK | 0777, a.size = seen->link_moved ? 3 : 5, a.mtime += seen->link_moved; break;
    case 6: a.size = seen->size; break;
    case 7: a.size = 77; break;
    }
    if (node < 9 && seen->modes[node]) a.mode = (a.mode & S_IFMT) | seen->modes[node];
    a.blocks = node == 3 ? 9 : (a.size + 511) / 512; // "big" is mostly a hole
    return a;
}

static const char* const names[] = {NULL, NULL, "hello", "big", "dir", "link", "out"};

static void answer_in_parts(const struct in_head* q, int error, const void* bytes, size_t count) {
    const struct out_head head = {sizeof head + count, -error, q->unique};
    const struct iovec parts[] = {{(void*)&head, sizeof head}, {(void*)bytes, count}};
    if (writev(line, parts, count ? 2 : 1) != (ssize_t)(sizeof head + count) && errno != ENOENT) seen->unexpected++;
}

// Must be refused.
static void try_answer(const void* bytes, size_t count, int with) {
    errno = 0;
    if (write(line, bytes, count) == -1 && errno == with)
        seen->refused++;
    else
        seen->unexpected++;
}

static struct entry entry_of(uint64_t node) {
    return (struct entry){.node = node,
                          .entry_valid = seen->valid,
                          .attr_valid = seen->short_lived ? 0 : 1000,
                          .attr = attributes_of(node)};
}

static void answer_look_up(const struct in_head* q, const char* name, enum lie lie) {
    uint64_t node = 0;
    for (uint64_t i = 2; i < sizeof names / sizeof names[0]; i++)
        if (q->node == 1 && !strcmp(name, names[i])) node = i;
    if (q->node == 4 && !strcmp(name, "deep")) node = 7;
    if (node == 2 && seen->moved) node = 3;
    if (seen->hidden >> node & 1) node = 0;
    if (!node && lie == no_name_lasts) {
        const struct entry none = {.entry_valid = 1000};
        answer_in_parts(q, 0, &none, sizeof none);
        return;
    }
    if (!node) {
        answer_in_parts(q, ENOENT, NULL, 0);
        return;
    }
    struct {
        struct entry e;
        char more[100];
    } out = {.e = entry_of(node)};
    struct {
        struct out_head head;
        struct entry e;
    } whole = {{sizeof whole, 0, q->unique}, out.e};
    switch (lie) {
    case entry_too_short:
        whole.head.len -= 8;
        try_answer(&whole, sizeof whole - 8, EINVAL);
        return;
    case entry_too_long: {
        struct {
            struct out_head head;
            struct entry e;
            char more[8];
        } longer = {{sizeof longer, 0, q->unique}, out.e, {0}};
        try_answer(&longer, sizeof longer, EINVAL);
        return;
    }
    case of_no_type: out.e.attr.mode = 0644; break;
    case too_large: out.e.attr.size = 1ull << 63; break;
    case node_is_root:
        out.e.node = 1;
        out.e.attr = attributes_of(1);
        break;
    case bad_error: {
        struct out_head bad = {sizeof bad, 5, q->unique};
        try_answer(&bad, sizeof bad, EINVAL);
        bad.error = -100000;
        try_answer(&bad, sizeof bad, EINVAL);
        break;
    }
    case unknown_number: {
        struct out_head bad = {sizeof bad, 0, q->unique + 1000};
        try_answer(&bad, sizeof bad, ENOENT);
        try_answer(&bad, sizeof bad - 1, EINVAL);
        try_answer((char*)16, sizeof bad, EFAULT);
        break;
    }
    case length_is_wrong:
        whole.head.len++;
        try_answer(&whole, sizeof whole, EINVAL);
        break;
    case error_with_bytes:
        whole.head.error = -EACCES;
        try_answer(&whole, sizeof whole, EINVAL);
        return;
    case twice:
        answer_in_parts(q, 0, &out.e, sizeof out.e);
        try_answer(&whole, sizeof whole, ENOENT);
        return;
    default: break;
    }
    answer_in_parts(q, 0, &out.e, sizeof out.e);
}

// One entry at a time, so that every list has to go on.
static void answer_list(const struct in_head* q, const struct rw_in* how, enum lie lie) {
    static const char* const listed[] = {".", "..", "hello", "big", "dir", "link", "out"};
    char room[1200] = {0};
    if (q->node != 1 || how->offset >= sizeof listed / sizeof listed[0]) {
        answer_in_parts(q, 0, NULL, 0);
        return;
    }
    const char* name = listed[how->offset];
    struct dirent_out e = {how->offset + 100, how->offset + 1, strlen(name), how->offset == 2 ? DT_REG : DT_UNKNOWN};
    memcpy(room + sizeof e, name, e.namelen);
    size_t bytes = (sizeof e + e.namelen + 7) & ~7ul;
    if (lie == list_with_slash) memcpy(room + sizeof e, "a/b", e.namelen = 3);
    if (lie == list_long_name) e.namelen = 1025, bytes = 1056;
    if (lie == list_name_of_300 && how->offset == 3) e.namelen = 300, bytes = 328;
    if (lie == list_cut_off) bytes = 20;
    for (size_t i = strlen(name); i < e.namelen; i++)
        room[sizeof e + i] = 'n';
    memcpy(room, &e, sizeof e);
    if (lie == no_lie && how->offset >= 2) { // and a part of one more, as libfuse 2 does it
        e.namelen = 8;
        memcpy(room + bytes, &e, sizeof e);
        bytes += how->offset == 2 ? 20 : sizeof e;
    }
    answer_in_parts(q, 0, room, bytes);
}

// All at once, each with what it leads to; and once more what says nothing of its node.
static void answer_list_of_nodes(const struct in_head* q, const struct rw_in* how, enum lie lie) {
    static char room[4096];
    size_t bytes = 0;
    for (uint64_t node = 1; node <= 7 && q->node == 1 && !how->offset; node++) {
        struct direntplus_out e = {.dirent = {node + 100, node, 0, DT_UNKNOWN}};
        const char* name = node == 1 ? "." : node == 7 ? "unknown" : names[node];
        if (node < 7) e.entry = entry_of(lie == lists_nodes_twice && node == 3 ? 2 : node);
        char text[1100];
        memset(text, 'n', sizeof text);
        if (lie == lists_nodes_with_slash && node == 3) name = "a/b";
        if (lie == lists_nodes_of_no_type && node == 3) e.entry.attr.mode = 0644;
        if (lie == lists_nodes_as_root && node == 3) e.entry.node = 1, e.entry.attr = attributes_of(1);
        e.dirent.namelen = strlen(name);
        memcpy(text, name, e.dirent.namelen);
        if (lie == lists_nodes_long_name && node == 3) e.dirent.namelen = 1025;
        memset(room + bytes, 0, sizeof e + sizeof text);
        memcpy(room + bytes, &e, sizeof e);
        memcpy(room + bytes + sizeof e, text, e.dirent.namelen);
        bytes += (sizeof e + e.dirent.namelen + 7) & ~7ul;
        if (lie == lists_nodes_cut_off && node == 1) bytes = sizeof e - 1, node = 7;
    }
    answer_in_parts(q, 0, room, bytes);
}

static void answer_read(const struct in_head* q, const struct rw_in* how, enum lie lie) {
    static unsigned char room[2 * mib];
    size_t count = how->size;
    if (count > sizeof room - mib) count = sizeof room - mib;
    const uint64_t size = attributes_of(q->node).size;
    if (how->offset >= size)
        count = 0;
    else if (count > size - how->offset)
        count = size - how->offset;
    for (size_t i = 0; i < count; i++)
        room[i] = q->node == 2   ? hello[how->offset + i]
                  : q->node == 6 ? seen->written[how->offset + i]
                                 : pattern(how->offset + i);
    if (lie == read_too_much) {
        const struct out_head head = {sizeof head + how->size + 1, 0, q->unique};
        const struct iovec parts[] = {{(void*)&head, sizeof head}, {room, how->size + 1}};
        if (writev(line, parts, 2) == -1 && errno == EINVAL) seen->refused++;
        return;
    }
    answer_in_parts(q, 0, room, count);
}

// Makes the file longer, before it says what was asked of it.
static void store_while_asked(uint64_t node) {
    static const char more[] = "more";
    const struct {
        uint64_t node, offset;
        uint32_t size, unused;
    } what = {node, page, sizeof more, 0};
    const struct out_head head = {sizeof head + sizeof what + sizeof more, NEWS_STORE, 0};
    const struct iovec parts[] = {{(void*)&head, sizeof head}, {(void*)&what, sizeof what}, {(void*)more, sizeof more}};
    memcpy(seen->written + page, more, sizeof more);
    seen->size = page + sizeof more;
    if (writev(line, parts, 3) != (ssize_t)head.len) seen->unexpected++;
}

static void answer_extended(const struct in_head* q, const uint32_t* most, enum lie lie) {
    static const char value[] = "value", list[] = "user.a\0user.bb";
    const int is_list = q->opcode == LISTXATTR;
    const char* what = is_list ? list : value;
    const uint32_t bytes = is_list ? sizeof list - (lie == wrong_extended) : sizeof value - 1;
    if (!is_list && strcmp((const char*)(most + 2), "user.a")) {
        answer_in_parts(q, ENODATA, NULL, 0);
    } else if (!*most) {
        const uint32_t length[2] = {lie == wrong_extended ? 1u << 30 : bytes};
        answer_in_parts(q, 0, length, sizeof length);
    } else if (*most < bytes) {
        answer_in_parts(q, ERANGE, NULL, 0);
    } else {
        answer_in_parts(q, 0, what, bytes);
    }
}

static void serve(enum lie lie) {
    static char room[2 * mib] __attribute__((aligned(page)));
    for (;;) {
        const ssize_t got = read(line, room, sizeof room);
        if (got < 0 && errno == ENODEV) _exit(seen->unexpected ? 5 : 0);
        if (got < 0 && errno == EINTR) continue;
        const struct in_head* q = (void*)room;
        if (got < (ssize_t)sizeof *q || got != (ssize_t)q->len || q->opcode >= most_operations) _exit(4);
        const void* more = q + 1;
        seen->asked[q->opcode]++;
        switch (q->opcode) {
        case INIT: {
            const struct init_in* i = more;
            struct init_out out = {.major = 7,
                                   .minor = 31,
                                   .readahead = i->readahead,
                                   .flags = i->flags & (1 << 22 | 1 << 5),
                                   .max_write = 128 << 10,
                                   .max_pages = 64};
            if (i->major != 7 || i->minor < 31) _exit(6);
            if (lie == old_version) out.minor = 5;
            if (lie >= lists_nodes && lie <= no_list_of_nodes) out.flags |= 1 << 13;
            answer_in_parts(q, 0, &out, sizeof out);
            break;
        }
        case LOOKUP:
            seen->uid = q->uid;
            answer_look_up(q, more, lie);
            break;
        case GETATTR: {
            while (lie == attributes_late && !seen->may_go_on)
                sleep_ms(5);
            const struct attr_out out = {.valid = seen->short_lived ? 0 : 1000, .attr = attributes_of(q->node)};
            answer_in_parts(q, 0, &out, sizeof out);
            break;
        }
        case SETATTR: {
            const struct setattr_in* s = more;
            seen->set = s->valid;
            if (s->valid & 8 && q->node == 6) {
                if (s->size > sizeof seen->written) {
                    answer_in_parts(q, EFBIG, NULL, 0);
                    break;
                }
                for (uint64_t i = s->size; i < seen->size; i++)
                    seen->written[i] = 0;
                seen->size = s->size;
            }
            const struct attr_out out = {.valid = 1000, .attr = attributes_of(q->node)};
            answer_in_parts(q, 0, &out, sizeof out);
            break;
        }
        case READLINK: {
            static char text[5000];
            while (lie == reads_link_late && !seen->may_go_on)
                sleep_ms(5);
            memset(text, 'a', sizeof text);
            memcpy(text, "hello", 5);
            if (lie == link_too_long) {
                struct out_head head = {sizeof head + sizeof text, 0, q->unique};
                const struct iovec parts[] = {{&head, sizeof head}, {text, sizeof text}};
                if (writev(line, parts, 2) == -1 && errno == EINVAL) seen->refused++;
            } else {
                answer_in_parts(q, 0, seen->link_moved ? "big" : text, seen->link_moved ? 3 : 5);
            }
            break;
        }
        case MKDIR: {
            const struct entry e = entry_of(8);
            const int is_made = !strcmp((const char*)more + 8, "made");
            answer_in_parts(q, is_made ? 0 : ENOSYS, &e, is_made ? sizeof e : 0);
            break;
        }
        case RMDIR: answer_in_parts(q, 0, NULL, 0); break;
        case OPENDIR:
        case OPEN: {
            const unsigned flags = lie == bypasses_cache ? 1 : seen->drops_cache ? 0 : 2;
            const struct open_out out = {.fh = q->node * 10, .flags = flags};
            while (lie == opens_late && q->node == 2 && !seen->may_go_on)
                sleep_ms(5);
            if (lie == no_open)
                answer_in_parts(q, ENOSYS, NULL, 0);
            else if (lie == no_open_of_one && q->node == 2)
                answer_in_parts(q, EOPNOTSUPP, NULL, 0);
            else if (q->node == 6 && seen->lets_none_read && (*(const uint32_t*)more & O_ACCMODE) != O_WRONLY)
                answer_in_parts(q, EACCES, NULL, 0);
            else
                answer_in_parts(q, 0, &out, sizeof out);
            break;
        }
        case READDIR: answer_list(q, more, lie); break;
        case READDIRPLUS:
            while (lie == lists_nodes_late && !seen->may_go_on)
                sleep_ms(5);
            if (lie == no_list_of_nodes)
                answer_in_parts(q, ENOSYS, NULL, 0);
            else
                answer_list_of_nodes(q, more, lie);
            break;
        case READ:
            if (lie == says_nothing) break;
            if (seen->reads_fail) {
                answer_in_parts(q, EIO, NULL, 0);
                break;
            }
            if (lie == stores_when_read) store_while_asked(q->node);
            answer_read(q, more, lie);
            break;
        case WRITE: {
            const struct rw_in* w = more;
            if (w->rw_flags & 1) {
                seen->stored++;
                if (w->fh != 60) seen->unexpected++;
                if (lie == silent_to_stores) break;
                if (lie == keeps_nothing_stored) {
                    answer_in_parts(q, EIO, NULL, 0);
                    break;
                }
            }
            if (q->node != 6 || w->offset + w->size > sizeof seen->written) {
                answer_in_parts(q, ENOSPC, NULL, 0);
                break;
            }
            while (lie == writes_late && !seen->may_go_on)
                sleep_ms(5);
            memcpy(seen->written + w->offset, w + 1, w->size);
            if (w->offset + w->size > seen->size) seen->size = w->offset + w->size;
            const uint32_t out[2] = {w->size + (lie == wrote_more), 0};
            answer_in_parts(q, 0, out, sizeof out);
            break;
        }
        case STATFS: {
            const struct statfs_out out = {.blocks = 1000,
                                           .bfree = 10,
                                           .bavail = 10,
                                           .files = 7,
                                           .ffree = 1,
                                           .bsize = 512,
                                           .frsize = 512,
                                           .namelen = 255};
            answer_in_parts(q, 0, &out, sizeof out);
            break;
        }
        case RELEASE: seen->closed = *(const uint64_t*)more; // fall through
        case FSYNCDIR:
        case RELEASEDIR: answer_in_parts(q, 0, NULL, 0); break;
        case RENAME:
            while (lie == renames_late && !seen->may_go_on)
                sleep_ms(5);
            answer_in_parts(q, 0, NULL, 0);
            break;
        case RENAME2:
            seen->rename_flags = *(const uint32_t*)((const char*)more + 8);
            answer_in_parts(q, lie == no_rename2 ? ENOSYS : 0, NULL, 0);
            break;
        case GETXATTR:
        case LISTXATTR: answer_extended(q, more, lie); break;
        case SETXATTR: {
            const uint32_t* s = more; // its length and flags
            const char* name = (const char*)(s + 2);
            if (s[0] <= sizeof seen->value) memcpy(seen->value, name + strlen(name) + 1, s[0]);
            answer_in_parts(q, strcmp(name, "user.set") ? EPERM : 0, NULL, 0);
            break;
        }
        case REMOVEXATTR: answer_in_parts(q, ENODATA, NULL, 0); break;
        case FALLOCATE: {
            const struct fallocate_in* f = more;
            seen->mode = f->mode;
            seen->range[0] = f->offset;
            seen->range[1] = f->length;
            if (f->mode == 3) memset(seen->written + f->offset, 0, f->length);
            if (!f->mode && seen->size < f->offset + f->length) seen->size = f->offset + f->length;
            answer_in_parts(q, lie == no_allocate ? ENOSYS : f->mode == 16 ? EOPNOTSUPP : 0, NULL, 0);
            break;
        }
        case LSEEK: { // data from 5000 to 9000
            const struct lseek_in* l = more;
            uint64_t at = l->offset;
            if (l->whence == SEEK_DATA && at < 5000) at = 5000;
            if (l->whence == SEEK_HOLE && at >= 5000 && at < 9000) at = 9000;
            if (lie == seeks_back) at = l->offset - 1;
            const int error = lie == no_seek ? ENOSYS : l->whence == SEEK_DATA && at >= 9000 ? ENXIO : 0;
            answer_in_parts(q, error, &at, error ? 0 : sizeof at);
            break;
        }
        case ACCESS:
            seen->access = *(const uint32_t*)more;
            seen->uid = q->uid;
            answer_in_parts(q, lie == no_access ? ENOSYS : q->node == 3 ? EACCES : 0, NULL, 0);
            break;
        case BATCH_FORGET: {
            const uint32_t count = *(const uint32_t*)more;
            if (q->len != sizeof *q + 8 + count * 16) _exit(7);
            if (seen->batch < (int)count) seen->batch = count;
            break;
        }
        case NOTIFY_REPLY: {
            const struct retrieve_in* r = more;
            if (q->len != sizeof *q + sizeof *r + r->size || r->size > sizeof seen->back_bytes) _exit(8);
            memcpy(seen->back_bytes, r + 1, r->size);
            seen->back[1] = q->node;
            seen->back[2] = r->offset;
            seen->back[3] = r->size;
            seen->back[0] = q->unique; // the last: it is waited for
            break;
        }
        case FORGET: break;
        case INTERRUPT: seen->interrupted++; break;
        default: answer_in_parts(q, ENOSYS, NULL, 0);
        }
    }
}

// --- The tests' side

static int open_device(void) {
    const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO)) tap_skip("this kernel has no FUSE");
    CHECK(fd >= 0);
    return fd;
}

static void prepare(void) {
    snprintf(base, sizeof base, "/tmp/fuse.%d", getpid());
    CHECK(mkdir(base, 0755) == 0);
    seen = shared(sizeof *seen);
    seen->valid = 1000;
    line = open_device();
}

static int mount_it(const char* more) {
    char options[200];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0%s", line, more);
    return mount("test", base, "fuse.test", MS_NOSUID | MS_NODEV, options);
}

static void begin_sharing(enum lie lie, const char* more) {
    prepare();
    CHECK(mount_it(more) == 0);
    server = fork();
    CHECK(server >= 0);
    if (!server) serve(lie);
    CHECK(chdir(base) == 0 || lie == old_version); // which may be asked about
}

__attribute__((unused)) static void begin_with(enum lie lie, const char* more) {
    begin_sharing(lie, more);
    CHECK(close(line) == 0); // the server's alone
}

static void end(void) {
    CHECK(chdir("/") == 0);
    CHECK(umount(base) == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(rmdir(base) == 0);
}
