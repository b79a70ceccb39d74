// Messages: by CAPS where the kernel has it, and by what every kernel has: a pair of unix sockets, pipes, and pipes into
// which pages are spliced instead of copied. The other process reads one word of each page of what it gets and sends as
// much back, of which we read one word a page.
#include "user/bench/bench.h"
#include "user/caps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum how { copied, retouched, pooled, partly_read };
enum { longest = mib };

static int has_caps(void) { return caps_room(0, 0) == 0 || errno != ENOSYS; }

static unsigned sum_of(const char* at, size_t bytes) {
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; i += page)
        sum += *(const volatile unsigned*)(at + i);
    return sum;
}

static void touch(char* at, size_t bytes, int with) {
    for (size_t i = 0; i < bytes; i += page)
        at[i] = with;
}

// What goes and comes over one connection.
struct letter {
    struct caps_message m;
    struct caps_item items[CAPS_MOST_ITEMS];
};

static void begin_letter(struct letter* l, const char* bytes, long count) {
    l->m.items = l->items;
    l->m.text_bytes = 64;
    l->m.result = l->m.item_count = 0;
    l->m.item_room = CAPS_MOST_ITEMS;
    if (!count) return;
    l->m.item_count = 1;
    l->items[0] = (struct caps_item){.kind = CAPS_MEMORY, .fd = -1, .at = (uintptr_t)bytes, .bytes = count, .fills = CAPS_NOTHING};
}

static unsigned read_and_let_go(struct letter* l) {
    unsigned sum = 0;
    for (unsigned i = 0; i < l->m.item_count; i++) {
        sum += sum_of((char*)l->items[i].at, l->items[i].bytes < longest ? l->items[i].bytes : longest);
        caps_unmap(&l->items[i]);
    }
    return sum;
}

static char* pool_of(int fd) {
    char* at = mmap(NULL, 2 * longest, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) die("pool");
    return at;
}

static void serve(long bytes, enum how how) {
    static struct letter l;
    const int service = caps_service("bench", CAPS_WORLD | CAPS_EXCLUSIVE);
    if (service < 0) die("caps_service");
    char *answer = memory(longest), *pool = NULL;
    touch(answer, longest, 1);
    for (begin_letter(&l, NULL, 0);;) {
        if (caps_reply_wait(service, &l.m, &l.m, CAPS_MAP) < 0) die("caps_reply_wait");
        if (l.m.kind != CAPS_REQUEST) {
            l.m.id = 0;
            begin_letter(&l, NULL, 0);
            continue;
        }
        if (l.m.item_count && l.items[0].kind == CAPS_SHARE) {
            pool = pool_of(l.items[0].fd);
            begin_letter(&l, NULL, 0);
            continue;
        }
        if (how == pooled) {
            sum_of(pool, bytes); // the second half holds the answer
            begin_letter(&l, NULL, 0);
            continue;
        }
        read_and_let_go(&l);
        if (how == retouched) touch(answer, bytes, 2);
        begin_letter(&l, answer, bytes > 64 && how != partly_read ? bytes : 0);
    }
}

static long long caps_round_trips(int turns, long bytes, enum how how) {
    static struct letter l;
    const pid_t child = start();
    if (child == 0) serve(bytes, how);
    const int client = caps_connect("bench", CAPS_WAIT, 0);
    if (client < 0) die("caps_connect");
    const size_t room = how == partly_read ? bytes : longest;
    char* buffer = memory(room);
    touch(buffer, room, 3);
    l.m.id = 0;
    if (how == pooled) {
        begin_letter(&l, NULL, 0);
        l.m.item_count = 1;
        l.items[0] = (struct caps_item){.kind = CAPS_SHARE, .fd = caps_room(2 * longest, 0), .flags = CAPS_WRITABLE};
        buffer = pool_of(l.items[0].fd);
        touch(buffer, 2 * longest, 3);
        if (caps_call(client, &l.m, &l.m, 0) < 0) die("caps_call");
    }
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        if (how == retouched) touch(buffer, bytes, turn);
        begin_letter(&l, buffer, how == pooled || bytes <= 64 ? 0 : bytes);
        if (caps_call(client, &l.m, &l.m, CAPS_MAP) < 0) die("caps_call");
        if (how == pooled)
            sum_of(buffer + longest, bytes);
        else
            read_and_let_go(&l);
    }
    const long long took = now_ns() - begun;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(client);
    munmap(buffer, room);
    return took;
}

// What another kernel has for this, with one buffer on each side: nobody writes to it before the answer is there, so
// what is spliced needs no copy either.
typedef ssize_t mover(int fd, void* at, size_t bytes);

static ssize_t spliced(int pipe, void* from, size_t bytes) {
    const struct iovec one = {from, bytes};
    return vmsplice(pipe, &one, 1, 0);
}
static ssize_t written(int fd, void* from, size_t bytes) { return write(fd, from, bytes); }

static void move(mover* how, int fd, char* buffer, long bytes) {
    for (long done = 0; done < bytes;) {
        const ssize_t count = how(fd, buffer + done, bytes - done);
        if (count <= 0) die("message");
        done += count;
    }
}

struct line { // in: to read from, out: to write to, of both ends
    int in[2], out[2];
    mover* put;
};

static struct line by_sockets(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) die("socketpair");
    return (struct line){{ends[0], ends[1]}, {ends[0], ends[1]}, written};
}

// As long as a pipe may be, so that a mebibyte goes in one piece.
static struct line by_pipes(mover* put) {
    int there[2], back[2];
    if (pipe(there) < 0 || pipe(back) < 0) die("pipe");
    if (fcntl(there[1], F_SETPIPE_SZ, mib) < 0 || fcntl(back[1], F_SETPIPE_SZ, mib) < 0) die("F_SETPIPE_SZ");
    return (struct line){{back[0], there[0]}, {there[1], back[1]}, put};
}

static long long line_round_trips(int turns, long bytes, struct line l) {
    char* buffer = memory(longest);
    const pid_t child = start();
    if (child == 0)
        for (touch(buffer, longest, 1);;) {
            move(read, l.in[1], buffer, bytes);
            sum_of(buffer, bytes);
            move(l.put, l.out[1], buffer, bytes);
        }
    touch(buffer, longest, 3);
    const long long begun = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        move(l.put, l.out[0], buffer, bytes);
        move(read, l.in[0], buffer, bytes);
        sum_of(buffer, bytes);
    }
    const long long took = now_ns() - begun;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (int end = 0; end < 2; end++) {
        if (l.out[end] != l.in[end]) close(l.out[end]);
        close(l.in[end]);
    }
    munmap(buffer, longest);
    return took;
}

static long long plain(int turns, long bytes) { return caps_round_trips(turns, bytes, copied); }
static long long rewritten(int turns, long bytes) { return caps_round_trips(turns, bytes, retouched); }
static long long in_part(int turns, long bytes) { return caps_round_trips(turns, bytes, partly_read); }
static long long by_pool(int turns, long bytes) { return caps_round_trips(turns, bytes, pooled); }
static long long through_sockets(int turns, long bytes) { return line_round_trips(turns, bytes, by_sockets()); }
static long long through_pipes(int turns, long bytes) { return line_round_trips(turns, bytes, by_pipes(written)); }
static long long through_splices(int turns, long bytes) { return line_round_trips(turns, bytes, by_pipes(spliced)); }

static void measure_caps(void) {
    measure("message round trip, bytes each way: 64", plain, 500, 64);
    measure("message round trip, bytes each way: 65536", plain, 100, 65536);
    measure("message round trip, bytes each way: 1048576", plain, 20, mib);
    measure("message round trip, bytes each way: 65536, rewritten", rewritten, 100, 65536);
    measure("message round trip, bytes each way: 1048576, rewritten", rewritten, 20, mib);
    measure("message round trip, bytes each way: 65536, in a pool", by_pool, 100, 65536);
    measure("message round trip, bytes each way: 1048576, in a pool", by_pool, 20, mib);
    // Only one way, and in a machine that has the memory.
    enum { huge = 1024 * mib };
    if (sysconf(_SC_PHYS_PAGES) / 3 * 2 * (long long)page > huge)
        measure("message of bytes, of which 1048576 are read, and its reply: 1073741824", in_part, 20, huge);
}

void measure_messages(void) {
    static const struct {
        const char* by;
        long long (*run)(int turns, long bytes);
    } ways[] = {{"a unix socket", through_sockets}, {"pipes", through_pipes}, {"vmsplice", through_splices}};
    static const long sizes[] = {64, 65536, mib};
    char name[80];
    if (has_caps()) measure_caps();
    for (unsigned way = 0; way < sizeof ways / sizeof ways[0]; way++)
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            snprintf(name, sizeof name, "message round trip, bytes each way: %ld, by %s", sizes[i], ways[way].by);
            measure(name, ways[way].run, sizes[i] == mib ? 20 : sizes[i] > page ? 100 : 500, sizes[i]);
        }
}
