// /dev/fuse: a small file system that speaks the protocol itself, and the same with answers that make no sense, none,
// and a death in the midst. It runs as it is on Linux.
#include "tests/user/ledger.h"

#include <dirent.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>

enum { mib = 1 << 20, big_bytes = 3 * mib + 1234 };

// The protocol (version 7.31).
enum {
    LOOKUP = 1,
    FORGET,
    GETATTR,
    SETATTR,
    READLINK,
    SYMLINK,
    MKNOD = 8,
    MKDIR,
    UNLINK,
    RMDIR,
    RENAME,
    LINK,
    OPEN,
    READ,
    WRITE,
    STATFS,
    RELEASE,
    FSYNC = 20,
    SETXATTR,
    GETXATTR,
    LISTXATTR,
    REMOVEXATTR,
    FLUSH,
    INIT,
    OPENDIR,
    READDIR,
    RELEASEDIR,
    FSYNCDIR,
    ACCESS = 34,
    CREATE,
    INTERRUPT,
    DESTROY = 38,
    BATCH_FORGET = 42,
    RENAME2 = 45,
    most_operations = 64,
};
struct in_head {
    uint32_t len, opcode;
    uint64_t unique, node;
    uint32_t uid, gid, pid, pad;
};
struct out_head {
    uint32_t len;
    int32_t error;
    uint64_t unique;
};
struct attr {
    uint64_t ino, size, blocks, atime, mtime, ctime;
    uint32_t ns[3], mode, nlink, uid, gid, rdev, blksize, pad;
};
struct entry {
    uint64_t node, generation, entry_valid, attr_valid;
    uint32_t ns[2];
    struct attr attr;
};
struct attr_out {
    uint64_t valid;
    uint32_t ns, pad;
    struct attr attr;
};
struct init_in {
    uint32_t major, minor, readahead, flags;
};
struct init_out {
    uint32_t major, minor, readahead, flags;
    uint16_t background, congestion;
    uint32_t max_write, gran;
    uint16_t max_pages, align;
    uint32_t unused[8];
};
struct open_out {
    uint64_t fh;
    uint32_t flags, pad;
};
struct rw_in {
    uint64_t fh, offset;
    uint32_t size, rw_flags;
    uint64_t owner;
    uint32_t flags, pad;
};
struct setattr_in {
    uint32_t valid, pad;
    uint64_t fh, size, owner, times[3];
    uint32_t ns[3], mode, pad1, uid, gid, pad2;
};
struct dirent_out {
    uint64_t ino, off;
    uint32_t namelen, type;
};
struct statfs_out {
    uint64_t blocks, bfree, bavail, files, ffree;
    uint32_t bsize, namelen, frsize, pad, spare[6];
};

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
};

// What the test and its server both see.
static struct seen {
    _Atomic int asked[most_operations];
    _Atomic int interrupted;
    _Atomic unsigned uid;
    _Atomic int refused; // answers that the device did not take, as the server expects
    _Atomic int unexpected;
    _Atomic int may_go_on; // who answers late
    _Atomic unsigned rename_flags;
    _Atomic uint64_t closed; // the handle
    char value[16];          // of the extended attribute that was set
    char made[256][64];
    unsigned char written[mib];
    _Atomic uint64_t size; // of "out"
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
    struct attr a = {.ino = node + 100, .nlink = 1, .mtime = 1000000000, .mode = S_IFREG | 0644, .blksize = 4096};
    switch (node) {
    case 1:
    case 4: a.mode = S_IFDIR | 0755, a.nlink = 2; break;
    case 2: a.size = sizeof hello - 1; break;
    case 3: a.size = big_bytes; break;
    case 5: a.mode = S_IFLNK | 0777, a.size = 5; break;
    case 6: a.size = seen->size; break;
    }
    a.blocks = (a.size + 511) / 512;
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
    return (struct entry){.node = node, .entry_valid = 1000, .attr_valid = 1000, .attr = attributes_of(node)};
}

static void answer_look_up(const struct in_head* q, const char* name, enum lie lie) {
    uint64_t node = 0;
    for (uint64_t i = 2; i < sizeof names / sizeof names[0]; i++)
        if (q->node == 1 && !strcmp(name, names[i])) node = i;
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
    char room[600] = {0};
    if (q->node != 1 || how->offset >= sizeof listed / sizeof listed[0]) {
        answer_in_parts(q, 0, NULL, 0);
        return;
    }
    const char* name = listed[how->offset];
    struct dirent_out e = {how->offset + 100, how->offset + 1, strlen(name), how->offset == 2 ? DT_REG : DT_UNKNOWN};
    memcpy(room + sizeof e, name, e.namelen);
    size_t bytes = (sizeof e + e.namelen + 7) & ~7ul;
    if (lie == list_with_slash) memcpy(room + sizeof e, "a/b", e.namelen = 3);
    if (lie == list_long_name) e.namelen = 300, bytes = 328;
    if (lie == list_cut_off) bytes = 20;
    memcpy(room, &e, sizeof e);
    if (lie == no_lie && how->offset >= 2) { // and a part of one more, as libfuse 2 does it
        e.namelen = 8;
        memcpy(room + bytes, &e, sizeof e);
        bytes += how->offset == 2 ? 20 : sizeof e;
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
            answer_in_parts(q, 0, &out, sizeof out);
            break;
        }
        case LOOKUP:
            seen->uid = q->uid;
            answer_look_up(q, more, lie);
            break;
        case GETATTR: {
            const struct attr_out out = {.valid = 1000, .attr = attributes_of(q->node)};
            answer_in_parts(q, 0, &out, sizeof out);
            break;
        }
        case SETATTR: {
            const struct setattr_in* s = more;
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
            memset(text, 'a', sizeof text);
            memcpy(text, "hello", 5);
            if (lie == link_too_long) {
                struct out_head head = {sizeof head + sizeof text, 0, q->unique};
                const struct iovec parts[] = {{&head, sizeof head}, {text, sizeof text}};
                if (writev(line, parts, 2) == -1 && errno == EINVAL) seen->refused++;
            } else {
                answer_in_parts(q, 0, text, 5);
            }
            break;
        }
        case OPENDIR:
        case OPEN: {
            const struct open_out out = {.fh = q->node * 10, .flags = lie == bypasses_cache ? 1 : 2};
            while (lie == opens_late && q->node == 2 && !seen->may_go_on)
                sleep_ms(5);
            if (lie == no_open)
                answer_in_parts(q, ENOSYS, NULL, 0);
            else if (lie == no_open_of_one && q->node == 2)
                answer_in_parts(q, EOPNOTSUPP, NULL, 0);
            else
                answer_in_parts(q, 0, &out, sizeof out);
            break;
        }
        case READDIR: answer_list(q, more, lie); break;
        case READ:
            if (lie == says_nothing) break;
            answer_read(q, more, lie);
            break;
        case WRITE: {
            const struct rw_in* w = more;
            if (q->node != 6 || w->offset + w->size > sizeof seen->written) {
                answer_in_parts(q, ENOSPC, NULL, 0);
                break;
            }
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
        case FORGET:
        case BATCH_FORGET: break;
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
    line = open_device();
}

static int mount_it(const char* more) {
    char options[200];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0%s", line, more);
    return mount("test", base, "fuse.test", MS_NOSUID | MS_NODEV, options);
}

static void begin_with(enum lie lie, const char* more) {
    prepare();
    CHECK(mount_it(more) == 0);
    server = fork();
    CHECK(server >= 0);
    if (!server) serve(lie);
    CHECK(close(line) == 0); // the server's alone
    CHECK(chdir(base) == 0);
}

static void end(void) {
    CHECK(chdir("/") == 0);
    CHECK(umount(base) == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
    CHECK(rmdir(base) == 0);
}

static void files_are_seen_and_read(void) {
    begin_with(no_lie, "");
    struct stat is;
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(is.st_size, sizeof hello - 1);
    CHECK_EQ(is.st_ino, 102);
    CHECK_EQ(is.st_mtime, 1000000000);
    CHECK(S_ISREG(is.st_mode));
    CHECK(stat(".", &is) == 0 && S_ISDIR(is.st_mode));
    CHECK_EQ(is.st_mode & 0777, 0755);
    CHECK_ERROR(stat("nothing", &is), ENOENT);
    char text[100];
    int fd = open("link", O_RDONLY); // through the link
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, text, sizeof text), sizeof hello - 1);
    CHECK(!memcmp(text, hello, sizeof hello - 1) && close(fd) == 0);
    CHECK_EQ(readlink("link", text, sizeof text), 5);
    DIR* list = opendir(".");
    CHECK(list);
    int count = 0, dots = 0;
    for (struct dirent* e; (e = readdir(list)); count++)
        dots += e->d_name[0] == '.';
    CHECK_EQ(count, 7);
    CHECK_EQ(dots, 2);
    CHECK(closedir(list) == 0);
    unsigned char* bytes = (unsigned char*)anonymous(big_bytes + page);
    fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, bytes, big_bytes + page), big_bytes);
    for (size_t i = 0; i < big_bytes; i++)
        if (bytes[i] != pattern(i)) CHECK_EQ(i, -1);
    const int asked = seen->asked[READ];
    CHECK_EQ(pread(fd, bytes, 5000, mib - 7), 5000); // from the cache
    CHECK(bytes[4999] == pattern(mib - 7 + 4999));
    CHECK_EQ(seen->asked[READ], asked);
    unsigned char* map = mmap(NULL, big_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(map != MAP_FAILED && map[2 * mib + 5] == pattern(2 * mib + 5));
    CHECK(munmap(map, big_bytes) == 0 && close(fd) == 0);
    struct statfs fs;
    CHECK(statfs(".", &fs) == 0);
    CHECK_EQ(fs.f_type, 0x65735546);
    CHECK_EQ(fs.f_blocks, 1000);
    CHECK_EQ(seen->uid, 0);
    end();
    CHECK(seen->asked[INIT] == 1 && seen->asked[OPEN] >= 2);
    CHECK_EQ(seen->asked[OPEN], seen->asked[RELEASE]);
    CHECK_EQ(seen->asked[OPENDIR], seen->asked[RELEASEDIR]);
}

static void the_device_keeps_its_rules(void) {
    static char room[mib];
    prepare();
    CHECK_ERROR(read(line, room, sizeof room), EPERM);
    CHECK_ERROR(write(line, room, 16), EPERM);
    struct pollfd p = {line, POLLIN | POLLOUT, 0};
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLERR);
    static const char* const wrong[] = {"", "fd=100,rootmode=40000,user_id=0,group_id=0",
                                        "fd=0,rootmode=40000,user_id=0,group_id=0",
                                        "rootmode=40000,user_id=0,group_id=0"};
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_ERROR(mount("test", base, "fuse", 0, wrong[i]), EINVAL);
    CHECK_ERROR(mount_it(",nonsense=1"), EINVAL);
    CHECK(mount_it("") == 0);
    CHECK_ERROR(mount_it(""), EINVAL); // it has one
    CHECK_ERROR(read(line, room, 100), EINVAL);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLIN | POLLOUT);
    CHECK_ERROR(read(line, (char*)16, sizeof room), EFAULT); // that one is lost, as in Linux
    CHECK(fcntl(line, F_SETFL, O_NONBLOCK) == 0);
    CHECK_ERROR(read(line, room, sizeof room), EAGAIN);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLOUT);
    CHECK(umount(base) == 0);
    for (int i = 0; i < 300 && read(line, room, sizeof room) < 0 && errno == EAGAIN; i++)
        sleep_ms(10);
    CHECK_ERROR(read(line, room, sizeof room), ENODEV);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK(p.revents & POLLERR);
    CHECK(close(line) == 0 && rmdir(base) == 0);
}

static void what_is_written_arrives(void) {
    begin_with(no_lie, "");
    unsigned char* bytes = (unsigned char*)anonymous(mib);
    for (size_t i = 0; i < mib; i++)
        bytes[i] = pattern(i + 3);
    int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, bytes, 700000, 0), 700000);
    CHECK_EQ(seen->size, 700000);
    CHECK(!memcmp((void*)seen->written, bytes, 700000));
    CHECK_EQ(pwrite(fd, "xyz", 3, 699999), 3);
    CHECK_EQ(seen->size, 700002);
    CHECK(!memcmp((void*)(seen->written + 699999), "xyz", 3));
    CHECK(ftruncate(fd, 100) == 0);
    CHECK_EQ(seen->size, 100);
    const ssize_t part = pwrite(fd, bytes, mib, 100); // more than it takes
    CHECK(part == -1 ? errno == ENOSPC : part < mib);
    struct stat is;
    CHECK(fstat(fd, &is) == 0);
    CHECK(close(fd) == 0); // FLUSH is not done there, and that is no error
    fd = open("out", O_RDWR | O_TRUNC);
    CHECK(fd >= 0);
    CHECK_EQ(seen->size, 0);
    CHECK(fsync(fd) == 0 && close(fd) == 0);
    CHECK_ERROR(mkdir("new", 0755), ENOSYS);
    CHECK_ERROR(unlink("hello"), ENOSYS);
    CHECK_EQ(seen->asked[FLUSH], 1);
    CHECK_EQ(seen->asked[FSYNC], 1);
    end();
}

// Into the cache and out of it by the program's calls, and nowhere else.
static void bytes_are_copied_once(void) {
    if (copied() < 0) tap_skip("this kernel keeps no books");
    begin_with(no_lie, "");
    unsigned char* bytes = (unsigned char*)anonymous(mib);
    memset(bytes, 7, mib);
    int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    long long before = copied();
    CHECK_EQ(read(fd, bytes, mib), mib);
    const long long by_reading = copied() - before;
    for (size_t i = 0; i < mib; i += 997)
        CHECK(bytes[i] == pattern(i));
    CHECK(close(fd) == 0);
    fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    before = copied();
    CHECK_EQ(write(fd, bytes, mib), mib);
    const long long by_writing = copied() - before;
    note("copied by reading a MiB: %lld, by writing it: %lld", by_reading, by_writing);
    CHECK(by_reading >= mib && by_reading < mib + 16 * page);
    CHECK(by_writing >= mib && by_writing < mib + 16 * page);
    CHECK(close(fd) == 0);
    end();
}

static void answers_that_make_no_sense_are_refused(void) {
    static const struct {
        enum lie lie;
        int refused, error;
    } cases[] = {
        {entry_too_short, 1, EIO}, {entry_too_long, 1, EIO},   {of_no_type, 0, EIO},   {too_large, 0, EIO},
        {node_is_root, 0, EIO},    {bad_error, 2, 0},          {unknown_number, 3, 0}, {twice, 1, 0},
        {length_is_wrong, 1, 0},   {error_with_bytes, 1, EIO},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin_with(cases[i].lie, "");
        struct stat is;
        errno = 0;
        const int got = stat("hello", &is);
        if (got != (cases[i].error ? -1 : 0) || errno != cases[i].error)
            note("lie %d: %d, errno %d", cases[i].lie, got, errno);
        CHECK(got == (cases[i].error ? -1 : 0) && (!got || errno == cases[i].error));
        end();
        CHECK_EQ(seen->refused, cases[i].refused);
    }
}

static void lists_and_bytes_that_make_no_sense_are_refused(void) {
    static char room[page];
    for (enum lie lie = list_with_slash; lie <= list_long_name; lie++) {
        begin_with(lie, "");
        const int fd = open(".", O_RDONLY);
        CHECK(fd >= 0);
        long got = syscall(SYS_getdents64, fd, room, sizeof room);
        while (got > 0)
            got = syscall(SYS_getdents64, fd, room, sizeof room);
        if (lie != list_cut_off || got == -1) CHECK(got == -1 && errno == EIO); // Linux takes it for the end
        CHECK(close(fd) == 0);
        end();
    }
    begin_with(read_too_much, "");
    int fd = open("hello", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_ERROR(read(fd, room, sizeof room), EIO);
    CHECK(close(fd) == 0);
    end();
    CHECK(seen->refused >= 1);
    begin_with(link_too_long, "");
    CHECK_ERROR(readlink("link", room, sizeof room), EIO);
    end();
    CHECK_EQ(seen->refused, 1);
    begin_with(wrote_more, "");
    fd = open("out", O_WRONLY);
    CHECK(fd >= 0);
    CHECK_ERROR(write(fd, "abc", 3), EIO);
    CHECK(close(fd) == 0);
    end();
}

static void an_old_version_is_refused(void) {
    if (copied() < 0) tap_skip("Linux speaks that, too");
    begin_with(old_version, "");
    struct stat is;
    CHECK_ERROR(stat("hello", &is), ECONNREFUSED);
    CHECK_ERROR(stat(".", &is), ECONNREFUSED);
    end();
}

static void what_is_not_done_is_asked_once(void) {
    begin_with(no_open, "");
    char text[100];
    for (int i = 0; i < 3; i++) {
        const int fd = open("hello", O_RDONLY);
        if (fd < 0 && errno == ENOSYS) tap_skip("this kernel wants an open"); // before 3.16
        CHECK(fd >= 0);
        CHECK_EQ(read(fd, text, sizeof text), sizeof hello - 1);
        CHECK(close(fd) == 0);
    }
    CHECK_EQ(seen->asked[OPEN], 1);
    CHECK_EQ(seen->asked[RELEASE], 0);
    end();
}

static void a_refusal_of_one_file_is_not_one_of_all(void) {
    begin_with(no_open_of_one, "");
    CHECK(open("hello", O_RDONLY) == -1);
    const int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    CHECK(close(fd) == 0);
    CHECK_EQ(seen->asked[OPEN], 2);
    CHECK(open("hello", O_RDONLY) == -1);
    end();
    CHECK_EQ(seen->asked[RELEASE], 1);
}

static void who_ends_without_closing_flushes(void) {
    begin_with(no_lie, "");
    IN_CHILD(writer) {
        const int fd = open("out", O_WRONLY);
        CHECK(fd >= 0);
        CHECK(write(fd, "x", 1) == 1);
        _exit(0);
    }
    CHECK_EQ(EXIT_STATUS(writer), 0);
    end();
    CHECK_EQ(seen->asked[FLUSH], 1);
    CHECK(seen->asked[RELEASE] >= 1);
}

static void a_death_ends_all_waiting(void) {
    begin_with(says_nothing, "");
    IN_CHILD(reader) {
        char text[100];
        const int fd = open("hello", O_RDONLY);
        CHECK(fd >= 0);
        errno = 0;
        if (read(fd, text, sizeof text) != -1 || (errno != ENOTCONN && errno != ECONNABORTED && errno != EIO))
            _exit(errno);
    }
    while (!seen->asked[READ])
        sleep_ms(10);
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_EQ(EXIT_STATUS(reader), 0);
    struct stat is;
    CHECK_ERROR(stat("dir/x", &is), ENOTCONN);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
}

static void who_waits_can_be_killed(void) {
    begin_with(says_nothing, "");
    IN_CHILD(reader) {
        char text[100];
        const int fd = open("hello", O_RDONLY);
        (void)!read(fd, text, sizeof text);
    }
    while (!seen->asked[READ])
        sleep_ms(10);
    CHECK(kill(reader, SIGKILL) == 0);
    for (int i = 0; i < 300 && !seen->interrupted; i++) // the program is told
        sleep_ms(10);
    CHECK_EQ(seen->interrupted, 1);
    CHECK(kill(server, SIGKILL) == 0); // Linux waits for it until then
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_EQ(KILLED_BY(reader), SIGKILL);
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
}

static void a_forced_unmount_waits_for_nobody(void) {
    begin_with(says_nothing, "");
    IN_CHILD(reader) {
        char text[100];
        const int fd = open("hello", O_RDONLY);
        CHECK(read(fd, text, sizeof text) == -1);
        _exit(0);
    }
    while (!seen->asked[READ])
        sleep_ms(10);
    CHECK(chdir("/") == 0);
    CHECK(umount2(base, MNT_FORCE | MNT_DETACH) == 0);
    CHECK_EQ(EXIT_STATUS(reader), 0);
    int status;
    for (int i = 0; i < 300 && waitpid(server, &status, WNOHANG) == 0; i++)
        sleep_ms(10);
    kill(server, SIGKILL);
    CHECK(rmdir(base) == 0);
}

// However many are killed while a program says nothing, what it holds of them is limited; the next ones wait, and can
// be killed, too.
static void killed_askers_are_limited(void) {
    if (copied() < 0) tap_skip("Linux waits for the answer");
    begin_with(says_nothing, "");
    const int fd = open("hello", O_RDONLY);
    CHECK(fd >= 0);
    int asked = 0;
    for (int killed = 0; killed < 1500 && asked == killed; killed++) {
        IN_CHILD(reader) {
            char text[100];
            (void)!read(fd, text, sizeof text);
        }
        for (int i = 0; i < 300 && seen->asked[READ] == asked; i++)
            sleep_ms(1);
        asked = seen->asked[READ];
        CHECK(kill(reader, SIGKILL) == 0);
        CHECK_EQ(KILLED_BY(reader), SIGKILL);
    }
    CHECK_EQ(asked, 1024);
    IN_CHILD(waits) {
        char text[100];
        CHECK_ERROR(read(fd, text, sizeof text), ENOTCONN);
    }
    sleep_ms(50);
    CHECK_EQ(seen->asked[READ], asked);
    CHECK(kill(server, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
    CHECK_EQ(EXIT_STATUS(waits), 0);
    close(fd); // an error, of FLUSH
    CHECK(chdir("/") == 0 && umount(base) == 0 && rmdir(base) == 0);
}

static void what_a_killed_asker_opened_is_closed(void) {
    begin_with(opens_late, "");
    IN_CHILD(opener) open("hello", O_RDONLY);
    while (!seen->asked[OPEN])
        sleep_ms(5);
    CHECK(kill(opener, SIGKILL) == 0);
    sleep_ms(50);
    CHECK_EQ(seen->asked[RELEASE], 0);
    seen->may_go_on = 1;
    CHECK_EQ(KILLED_BY(opener), SIGKILL);
    for (int i = 0; i < 300 && !seen->asked[RELEASE]; i++)
        sleep_ms(10);
    CHECK_EQ(seen->asked[RELEASE], 1);
    CHECK_EQ(seen->closed, 20);
    end();
}

static void bytes_past_the_cache(void) {
    begin_with(bypasses_cache, "");
    static unsigned char bytes[3 * page];
    int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    for (int round = 1; round <= 3; round++) {
        const int asked = seen->asked[READ];
        CHECK_EQ(pread(fd, bytes, sizeof bytes, mib - 7), (ssize_t)sizeof bytes);
        CHECK(bytes[0] == pattern(mib - 7) && bytes[sizeof bytes - 1] == pattern(mib - 8 + sizeof bytes));
        CHECK(seen->asked[READ] > asked);
    }
    CHECK_EQ(pread(fd, bytes, sizeof bytes, big_bytes - 5), 5);
    CHECK_EQ(pread(fd, bytes, sizeof bytes, big_bytes + 5), 0);
    CHECK(close(fd) == 0);
    fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, "abcdef", 6, 3), 6);
    CHECK(!memcmp(seen->written + 3, "abcdef", 6));
    seen->written[4] = 'x'; // by itself
    CHECK_EQ(pread(fd, bytes, 100, 3), 6);
    CHECK(!memcmp(bytes, "axcdef", 6));
    CHECK(close(fd) == 0);
    end();
}

static void a_block_mount_says_farewell(void) {
    prepare();
    char options[200], disk[100];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,blksize=512", line);
    snprintf(disk, sizeof disk, "%s-disk", base);
    CHECK_ERROR(mount("/none", base, "fuseblk", 0, options), ENOENT);
    CHECK(mknod(disk, S_IFBLK | 0600, makedev(254, 0)) == 0); // virtio's first
    if (mount(disk, base, "fuseblk", 0, options) < 0) {
        unlink(disk);
        tap_skip("there is no disk");
    }
    CHECK(unlink(disk) == 0);
    server = fork();
    CHECK(server >= 0);
    if (!server) serve(no_lie);
    CHECK(close(line) == 0 && chdir(base) == 0);
    struct stat is;
    CHECK(stat("hello", &is) == 0);
    end();
    CHECK_EQ(seen->asked[DESTROY], 1);
}

static void names_change_places(void) {
    begin_with(no_lie, "");
    CHECK(syscall(SYS_renameat2, AT_FDCWD, "hello", AT_FDCWD, "big", 2) == 0);
    CHECK_EQ(seen->rename_flags, 2);
    CHECK_ERROR(syscall(SYS_renameat2, AT_FDCWD, "hello", AT_FDCWD, "big", 1), EEXIST);
    end();
    CHECK_EQ(seen->asked[RENAME2], 1);
    begin_with(no_rename2, "");
    for (int i = 0; i < 2; i++)
        CHECK_ERROR(syscall(SYS_renameat2, AT_FDCWD, "hello", AT_FDCWD, "big", 2), EINVAL);
    end();
    CHECK_EQ(seen->asked[RENAME2], 1);
}

static void extended_attributes(void) {
    char text[100];
    begin_with(no_lie, "");
    CHECK_EQ(getxattr("hello", "user.a", NULL, 0), 5);
    CHECK_EQ(getxattr("hello", "user.a", text, sizeof text), 5);
    CHECK(!memcmp(text, "value", 5));
    CHECK_ERROR(getxattr("hello", "user.a", text, 2), ERANGE);
    CHECK_ERROR(getxattr("hello", "user.b", text, sizeof text), ENODATA);
    CHECK_EQ(listxattr("hello", NULL, 0), 15);
    CHECK_EQ(listxattr("hello", text, sizeof text), 15);
    CHECK(!memcmp(text, "user.a\0user.bb", 15));
    CHECK(setxattr("hello", "user.set", "given", 5, 0) == 0);
    CHECK(!memcmp(seen->value, "given", 5));
    CHECK_ERROR(setxattr("hello", "user.other", "given", 5, 0), EPERM);
    CHECK_ERROR(removexattr("hello", "user.a"), ENODATA);
    const int fd = open(".", O_RDONLY);
    CHECK(fd >= 0 && fsync(fd) == 0 && close(fd) == 0);
    end();
    CHECK_EQ(seen->asked[FSYNCDIR], 1);
    if (copied() < 0) return;
    begin_with(wrong_extended, "");
    CHECK_ERROR(getxattr("hello", "user.a", NULL, 0), EIO);
    CHECK_ERROR(listxattr("hello", text, sizeof text), EIO);
    end();
}

static void others_are_let_in_if_they_may(void) {
    for (int allowed = 0; allowed < 2; allowed++) {
        begin_with(no_lie, allowed ? ",allow_other,default_permissions" : "");
        CHECK(chdir("/") == 0);
        IN_CHILD(other) {
            CHECK(setgid(1000) == 0 && setuid(1000) == 0);
            char path[100];
            snprintf(path, sizeof path, "%s/hello", base);
            struct stat is;
            if (!allowed) {
                CHECK_ERROR(stat(path, &is), EACCES);
                CHECK_ERROR(open(base, O_RDONLY), EACCES);
                _exit(0);
            }
            CHECK(stat(path, &is) == 0);
            CHECK_ERROR(open(path, O_RDWR), EACCES); // 0644, and root's
            const int fd = open(path, O_RDONLY);
            CHECK(fd >= 0);
            CHECK_EQ(seen->uid, 1000);
        }
        CHECK_EQ(EXIT_STATUS(other), 0);
        end();
    }
}

TAP_MAIN(T(files_are_seen_and_read), T(the_device_keeps_its_rules), T(what_is_written_arrives),
         T(bytes_are_copied_once), T(answers_that_make_no_sense_are_refused),
         T(lists_and_bytes_that_make_no_sense_are_refused), T(an_old_version_is_refused),
         T(what_is_not_done_is_asked_once), T(a_refusal_of_one_file_is_not_one_of_all),
         T(who_ends_without_closing_flushes), T(a_death_ends_all_waiting), T(who_waits_can_be_killed),
         T(a_forced_unmount_waits_for_nobody), T(killed_askers_are_limited), T(what_a_killed_asker_opened_is_closed),
         T(bytes_past_the_cache), T(a_block_mount_says_farewell), T(names_change_places), T(extended_attributes),
         T(others_are_let_in_if_they_may))
