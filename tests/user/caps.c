// Services and messages between processes.
#include "user/caps.h"
#include "tests/user/ledger.h"
#include "user/xio.h"

#include <grp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/time.h>

enum { many = 64 * page };

// Other kernels have no such calls.
static void begin(void) {
    if (caps_room(0, 0) < 0 && errno == ENOSYS) tap_skip("this kernel has no services");
}

// A message structure with what it points to.
struct letter {
    struct caps_message m;
    struct caps_item items[CAPS_MOST_ITEMS];
    struct caps_sender sender;
};

static struct letter* empty(struct letter* l) {
    memset(l, 0, sizeof *l);
    l->m.items = l->items;
    l->m.sender = &l->sender;
    l->m.item_room = CAPS_MOST_ITEMS;
    return l;
}

static struct letter* saying(struct letter* l, const char* text) {
    empty(l);
    strcpy(l->m.text, text);
    l->m.text_bytes = strlen(text) + 1;
    return l;
}

static int says(const struct letter* l, const char* text) {
    return l->m.text_bytes == strlen(text) + 1 && !strcmp(l->m.text, text);
}

static void add(struct letter* l, int kind, int fd, const void* at, size_t bytes) {
    l->items[l->m.item_count++] =
        (struct caps_item){.kind = kind, .fd = fd, .at = (uintptr_t)at, .bytes = bytes, .fills = CAPS_NOTHING};
}

static int all_are(const char* bytes, size_t count, char what) {
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != what) return 0;
    return 1;
}

static char* filled(size_t bytes, char with) {
    return memset(anonymous(bytes), with, bytes);
}

static int connect_to(const char* name) {
    const int client = caps_connect(name, CAPS_WAIT, 20000000000);
    CHECK(client >= 0);
    return client;
}

// Serves in a child: serve(service, letter) with each request, which it has replied to or filled with the reply when it
// returns (0, or an error number; -1: do not reply).
typedef int server(int service, struct letter* l);

static pid_t serve_with(const char* name, int flags, int get_flags, server* serve) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child) return child;
    const int service = caps_service(name, flags);
    CHECK(service >= 0);
    struct letter l;
    empty(&l);
    for (;;) {
        if (caps_get(service, &l.m, get_flags) < 0) _exit(1);
        const uint64_t id = l.m.id;
        const int result = l.m.kind == CAPS_ABORTED ? -1 : serve(service, &l);
        if (result >= 0) {
            l.m.id = id;
            l.m.result = result;
            CHECK(caps_reply(service, &l.m, 0) == 0 || errno == ECANCELED); // the client may be gone
        }
        empty(&l);
    }
}

static pid_t serve(const char* name, server* how) {
    return serve_with(name, CAPS_WORLD, 0, how);
}

static void end(pid_t child) {
    kill(child, SIGKILL);
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

static int echo(int service, struct letter* l) {
    l->m.item_count = 0;
    for (char* at = l->m.text; *at; at++)
        *at = *at >= 'a' && *at <= 'z' ? *at - 32 : *at;
    return 0;
}

static void a_call_comes_back(void) {
    begin();
    const pid_t server = serve("echo", echo);
    const int client = connect_to("echo");
    struct letter l;
    for (int i = 0; i < 100; i++) {
        CHECK(caps_call(client, &saying(&l, "hello")->m, &l.m, 0) == 0);
        CHECK(says(&l, "HELLO") && l.m.result == 0 && l.m.kind == CAPS_REPLY);
        CHECK_EQ(l.sender.pid, server);
    }
    end(server);
    CHECK_ERROR(caps_call(client, &saying(&l, "hello")->m, &l.m, 0), ENOTCONN);
}

static int refuse(int service, struct letter* l) {
    l->m.text_bytes = l->m.item_count = 0;
    return EROFS;
}

static void a_result_is_the_servers(void) {
    begin();
    const pid_t server = serve("refuse", refuse);
    struct letter l;
    CHECK(caps_call(connect_to("refuse"), &saying(&l, "x")->m, &l.m, 0) == 0);
    CHECK(l.m.result == EROFS && l.m.text_bytes == 0);
    end(server);
}

static void names_and_flags_are_checked(void) {
    begin();
    const int first = caps_service("one", CAPS_WORLD);
    CHECK(first >= 0);
    CHECK_ERROR(caps_service("one", CAPS_WORLD), EEXIST);
    CHECK_ERROR(caps_service("two", 0), EINVAL);
    CHECK_ERROR(caps_service("two", CAPS_WORLD | 0x80), EINVAL);
    CHECK_ERROR(caps_service("a/b", CAPS_WORLD), EINVAL);
    CHECK_ERROR(caps_service("", CAPS_WORLD), EINVAL);
    CHECK_ERROR(caps_service((char*)8, CAPS_WORLD), EFAULT);
    char longest[66];
    memset(longest, 'n', 65);
    longest[65] = 0;
    CHECK_ERROR(caps_service(longest, CAPS_WORLD), EINVAL);
    longest[63] = 0;
    CHECK(close(caps_service(longest, CAPS_WORLD)) == 0);
    CHECK_ERROR(caps_connect("nobody", 0, 0), ENOENT);
    CHECK_ERROR(caps_connect("nobody", CAPS_WAIT, 1000000), ETIMEDOUT);
    CHECK_ERROR(caps_connect("one", CAPS_ASK, 0), EINVAL);
    const int client = caps_connect("one", O_CLOEXEC, 0);
    CHECK(client >= 0 && fcntl(client, F_GETFD) == FD_CLOEXEC);
    struct stat s;
    CHECK(fstat(client, &s) == 0 && fstat(first, &s) == 0);
    struct letter l;
    char byte;
    CHECK_ERROR(read(client, &byte, 1), EINVAL);
    CHECK_ERROR(write(first, "x", 1), EINVAL);
    CHECK_ERROR(caps_call(first, &saying(&l, "x")->m, &l.m, 0), EINVAL); // no client
    CHECK_ERROR(caps_reply(client, &l.m, 0), EINVAL);                    // no service
    CHECK_ERROR(caps_put(0, &l.m, 0), EINVAL);
    CHECK_ERROR(caps_put(99, &l.m, 0), EBADF);
    close(first);
    CHECK_ERROR(caps_connect("one", 0, 0), ENOENT);
}

static void both_sides_choose_whom_they_talk_to(void) {
    begin();
    if (getuid() != 0) tap_skip("needs to be root");
    const gid_t groups[] = {77};
    int ready[2];
    CHECK(pipe(ready) == 0);
    IN_CHILD(server) {
        CHECK(setgid(77) == 0 && setuid(1000) == 0);
        CHECK(caps_service("mine", CAPS_USER) >= 0 && caps_service("ours", CAPS_GROUP) >= 0 &&
              caps_service("all", CAPS_WORLD) >= 0);
        CHECK(write(ready[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(caps_connect("mine", CAPS_USER, 0) >= 0); // root may
    IN_CHILD(same) {
        CHECK(setgid(5) == 0 && setuid(1000) == 0);
        CHECK(caps_connect("mine", 0, 0) >= 0);
        CHECK_ERROR(caps_connect("mine", CAPS_WORLD, 0), EACCES); // not what the client seeks
        CHECK(caps_connect("all", CAPS_WORLD, 0) >= 0);
        CHECK_ERROR(caps_connect("ours", 0, 0), EACCES);
        CHECK(caps_service("all", CAPS_USER) < 0 && errno == EEXIST);
    }
    CHECK_EQ(EXIT_STATUS(same), 0);
    IN_CHILD(other) {
        CHECK(setgroups(1, groups) == 0 && setgid(5) == 0 && setuid(1001) == 0);
        CHECK_ERROR(caps_connect("mine", 0, 0), EACCES);
        CHECK(caps_connect("ours", CAPS_GROUP, 0) >= 0);
        CHECK(caps_service("all", CAPS_WORLD) >= 0); // another user's
        CHECK_ERROR(caps_service("mine", CAPS_WORLD | CAPS_EXCLUSIVE), EEXIST);
    }
    CHECK_EQ(EXIT_STATUS(other), 0);
    end(server);
}

static int choose(int service, struct letter* l) {
    l->m.text_bytes = 0;
    return l->m.kind == CAPS_CONNECTION && l->sender.gid != 42 ? EPERM : 0;
}

static void a_service_may_refuse_a_client(void) {
    begin();
    if (getuid() != 0) tap_skip("needs to be root");
    const pid_t server = serve_with("choosy", CAPS_WORLD | CAPS_ASK, 0, choose);
    CHECK_ERROR(caps_connect("choosy", CAPS_WAIT, 0), ECONNREFUSED);
    CHECK(setgid(42) == 0);
    struct letter l;
    CHECK(caps_call(connect_to("choosy"), &saying(&l, "x")->m, &l.m, 0) == 0);
    end(server);
}

static int tell_who(int service, struct letter* l) {
    memcpy(l->m.text, &l->sender, sizeof l->sender);
    l->m.text_bytes = sizeof l->sender;
    return 0;
}

static void the_kernel_says_who_sends(void) {
    begin();
    if (getuid() != 0) tap_skip("needs to be root");
    const pid_t server = serve("who", tell_who);
    const gid_t groups[] = {7, 8, 9};
    IN_CHILD(client) {
        const int c = connect_to("who");
        CHECK(setgroups(3, groups) == 0 && setgid(100) == 0 && setuid(1000) == 0);
        struct letter l;
        CHECK(caps_call(c, &saying(&l, "liar")->m, &l.m, 0) == 0);
        struct caps_sender who;
        memcpy(&who, l.m.text, sizeof who);
        CHECK(who.pid == getpid() && who.uid == 1000 && who.gid == 100 && who.group_count == 3);
        CHECK(who.groups[0] == 7 && who.groups[2] == 9);
        CHECK(l.sender.uid == 0); // the server's, in the reply
    }
    CHECK_EQ(EXIT_STATUS(client), 0);
    end(server);
}

// --- xio

// A service and a client of it in one process.
static void both_ends(const char* name, int* service, int* client) {
    *service = caps_service(name, CAPS_WORLD);
    *client = caps_connect(name, 0, 0);
    CHECK(*service >= 0 && *client >= 0);
}

// Sends memory from a client to the service in this process and gives the descriptor that came.
static int through(int service, int client, const void* at, size_t bytes, struct letter* l) {
    add(saying(l, "memory"), CAPS_MEMORY, -1, at, bytes);
    CHECK(caps_put(client, &l->m, 0) == 0);
    CHECK(caps_get(service, &empty(l)->m, 0) == 0);
    CHECK(says(l, "memory") && l->m.item_count == 1 && l->items[0].kind == CAPS_DESCRIPTOR);
    CHECK_EQ(l->items[0].bytes, bytes);
    CHECK(l->items[0].fills == CAPS_NOTHING);
    return l->items[0].fd;
}

static void memory_stays_as_it_was_sent(void) {
    begin();
    int service, client;
    both_ends("memory", &service, &client);
    struct letter l;
    char *at = filled(many, 'a'), *got = anonymous(many);
    add(saying(&l, "x"), CAPS_MEMORY, -1, at, many);
    CHECK(caps_put(client, &l.m, 0) == 0);
    memset(at, 'b', many); // before it is even received
    CHECK(caps_get(service, &empty(&l)->m, O_CLOEXEC) == 0);
    const int fd = l.items[0].fd;
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(read(fd, got, many), many);
    CHECK(all_are(got, many, 'a') && all_are(at, many, 'b'));
    munmap(at, many);
    CHECK_EQ(pread(fd, got, page, page), page);
    CHECK(all_are(got, page, 'a'));
}

static void a_received_xio_is_used_like_a_file(void) {
    begin();
    int service, client, ends[2], pair[2];
    both_ends("file", &service, &client);
    struct letter l;
    char *at = filled(many, 'f'), *got = anonymous(many);
    const int fd = through(service, client, at, many, &l);
    // mapped, to read
    char* shown = mmap(NULL, many, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(shown != MAP_FAILED && all_are(shown, many, 'f'));
    CHECK_ERROR(mprotect(shown, many, PROT_READ | PROT_WRITE), EACCES);
    // and privately: writes are the receiver's own affair
    char* own = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(own != MAP_FAILED);
    own[page] = 'x';
    CHECK(own[page] == 'x' && at[page] == 'f' && shown[page] == 'f');
    at[2 * page] = 'y';
    CHECK(shown[2 * page] == 'f' && own[2 * page] == 'f');
    // sliced
    const int part = xio_from_file(fd, page, 2 * page, 0);
    CHECK(part >= 0 && lseek(part, 0, SEEK_END) == 2 * page);
    // written to a file, spliced to a pipe and sent to a socket
    const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    CHECK(file >= 0);
    CHECK_EQ(sendfile(file, fd, NULL, many), many);
    CHECK_EQ(pread(file, got, many, 0), many);
    CHECK(all_are(got, many, 'f'));
    CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    loff_t offset = 0;
    CHECK_EQ(splice(fd, &offset, ends[1], NULL, 4 * page, 0), 4 * page);
    CHECK_EQ(read(ends[0], got, many), 4 * page);
    offset = 0;
    CHECK_EQ(sendfile(pair[0], fd, &offset, 4 * page), 4 * page);
    CHECK_EQ(read(pair[1], got, 4 * page), 4 * page);
    // passed on in another message
    add(saying(&l, "on"), CAPS_DESCRIPTOR, fd, (void*)page, 3 * page);
    CHECK(caps_put(client, &l.m, 0) == 0);
    close(fd);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK_EQ(read(l.items[0].fd, got, many), 3 * page);
    CHECK(all_are(got, 3 * page, 'f'));
    CHECK(all_are(shown, many, 'f')); // the mapping outlives the descriptor
}

static void a_file_travels_too(void) {
    begin();
    int service, client;
    both_ends("file-2", &service, &client);
    struct letter l;
    char* got = filled(many, 'g');
    const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    CHECK_EQ(write(file, got, many), many);
    add(saying(&l, "file"), CAPS_DESCRIPTOR, file, (void*)page, many);
    CHECK(caps_put(client, &l.m, 0) == 0);
    CHECK_EQ(pwrite(file, "XXXX", 4, 2 * page), 4);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK_EQ(l.items[0].bytes, many - page); // what was there
    memset(got, 0, many);
    CHECK_EQ(read(l.items[0].fd, got, many), many - page);
    CHECK(all_are(got, many - page, 'g'));
    add(saying(&l, "nothing there"), CAPS_DESCRIPTOR, file, (void*)(size_t)many, page);
    CHECK_ERROR(caps_put(client, &l.m, 0), EINVAL);
    add(saying(&l, "no such"), CAPS_DESCRIPTOR, 99, 0, page);
    CHECK_ERROR(caps_put(client, &l.m, 0), EBADF);
    int ends[2];
    CHECK(pipe(ends) == 0);
    add(saying(&l, "no pages"), CAPS_DESCRIPTOR, ends[0], 0, page);
    CHECK_ERROR(caps_put(client, &l.m, 0), EOPNOTSUPP);
}

static void what_is_received_can_be_mapped_at_once(void) {
    begin();
    int service, client;
    both_ends("map", &service, &client);
    struct letter l;
    char* at = filled(many, 'm');
    static const size_t sizes[][2] = {{0, many},     {0, 1},        {100, 50},       {0, page},
                                      {8, 2 * page}, {page - 1, 2}, {17, many - 100}};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const size_t offset = sizes[i][0], bytes = sizes[i][1];
        memset(at, 'm', many);
        add(saying(&l, "x"), CAPS_MEMORY, -1, at + offset, bytes);
        CHECK(caps_put(client, &l.m, 0) == 0);
        memset(at, 'n', many);
        CHECK(caps_get(service, &empty(&l)->m, CAPS_MAP) == 0);
        CHECK(l.items[0].kind == CAPS_MAPPED && l.items[0].fd == -1 && l.items[0].bytes == bytes);
        char* shown = (char*)l.items[0].at;
        CHECK(all_are(shown, bytes, 'm'));
        // Of the sender's memory around it nothing is seen.
        char* base = (char*)((uintptr_t)shown & -(uintptr_t)page);
        CHECK(all_are(base, shown - base, 0));
        char* last = (char*)(((uintptr_t)shown + bytes + page - 1) & -(uintptr_t)page);
        CHECK(all_are(shown + bytes, last - shown - bytes, 0));
        shown[0] = 'z'; // a private copy
        CHECK(at[offset] == 'n' && (bytes == 1 || shown[1] == 'm'));
        CHECK(munmap(base, last - base) == 0);
        const struct caps_message reply = {.id = l.m.id};
        CHECK(caps_reply(service, &reply, 0) == 0);
    }
}

static int give_word_of_each_page(int service, struct letter* l) {
    unsigned sum = 0;
    for (unsigned i = 0; i < l->m.item_count; i++) {
        for (size_t at = 0; at < l->items[i].bytes; at += page)
            sum += *(unsigned char*)(l->items[i].at + at);
        caps_unmap(&l->items[i]);
    }
    memcpy(l->m.text, &sum, sizeof sum);
    l->m.text_bytes = sizeof sum;
    l->m.item_count = 0;
    return 0;
}

static void nothing_above_a_page_is_copied(void) {
    begin();
    const pid_t server = serve_with("sum", CAPS_WORLD, CAPS_MAP, give_word_of_each_page);
    const int client = connect_to("sum");
    char* at = filled((1 << 20) + page, 1);
    struct letter l;
    for (size_t bytes = 2 * page; bytes <= 1 << 20; bytes *= 2) {
        enum { calls = 16 };
        const long long before = copied();
        for (int i = 0; i < calls; i++) {
            add(saying(&l, "sum"), CAPS_MEMORY, -1, at + (i & 1), bytes);
            CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
            unsigned sum;
            memcpy(&sum, l.m.text, sizeof sum);
            CHECK_EQ(sum, bytes / page);
        }
        // The texts, /proc/xio itself, pages that fork left shared; of bytes in odd places the two ends share pages
        // with others and are copied.
        CHECK(copied() - before < 4 * page + calls * (256 + page / 2));
    }
    end(server);
}

// More than one space may lend of itself otherwise, and most of it never touched.
static int look_here_and_there(int service, struct letter* l) {
    const unsigned char* at = (unsigned char*)l->items[0].at;
    const size_t bytes = l->items[0].bytes, half = bytes / 2;
    CHECK_EQ(l->items[0].kind, CAPS_MAPPED);
    int as_sent = 1;
    for (size_t i = 0; i < half; i += half / 64)
        as_sent &= at[i] == 1 && at[i + page] == 1 && at[half + i] == 0;
    if (!strcmp(l->m.text, "later")) sleep_ms(50); // the sender writes meanwhile
    for (size_t i = 0; i < half; i += half / 8)
        as_sent &= at[i + 2 * page] == 1 && at[half + i + 5 * page] == 0;
    ((unsigned char*)at)[page] = 9; // our own
    as_sent &= at[page] == 9 && at[page + 1] == 1;
    caps_unmap(&l->items[0]);
    l->m.item_count = 0;
    return as_sent ? 0 : EINVAL;
}

static void much_is_lent_as_a_whole_and_read_in_part(void) {
    enum { much = 192 << 20 };
    struct sysinfo info;
    CHECK(sysinfo(&info) == 0);
    if (info.totalram * info.mem_unit < 2ull * much) tap_skip("there is not that much memory");
    begin();
    const pid_t server = serve_with("part", CAPS_WORLD, CAPS_MAP, look_here_and_there);
    const int client = connect_to("part");
    char* at = anonymous(much);
    memset(at, 1, much / 2);
    struct letter l;
    const long long before = copied();
    for (int i = 0; i < 4; i++) {
        add(saying(&l, "now"), CAPS_MEMORY, -1, at, much);
        CHECK(caps_call(client, &l.m, &l.m, 0) == 0 && l.m.result == 0);
        CHECK(at[page] == 1);
    }
    CHECK(copied() - before < 64 * page);
    // What is written while the receiver reads is the writer's own.
    add(saying(&l, "later"), CAPS_MEMORY, -1, at, much);
    CHECK(caps_put(client, &l.m, 0) == 0);
    for (size_t i = 0; i < much; i += much / 256)
        at[i] = at[i + 2 * page] = at[i + 5 * page] = 7;
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0 && l.m.result == 0);
    CHECK(all_are(at + page, page, 1) && at[0] == 7);
    // A second one of that size at a time would be a copy; where there is no memory for it, it is refused.
    add(saying(&l, "later"), CAPS_MEMORY, -1, at, much);
    CHECK(caps_put(client, &l.m, 0) == 0);
    munmap(at, much);
    add(saying(&l, "now"), CAPS_MEMORY, -1, at, much); // not there any more
    CHECK_ERROR(caps_put(client, &l.m, 0), EFAULT);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    end(server);
}

static int pass_on(int service, struct letter* l) {
    static int next = -1;
    if (next < 0) next = connect_to("last-of-chain");
    struct letter onward;
    saying(&onward, "passed on");
    onward.items[onward.m.item_count++] = l->items[0];
    onward.items[onward.m.item_count++] = l->items[1];
    CHECK(caps_call(next, &onward.m, &onward.m, 0) == 0);
    close(l->items[0].fd);
    // The room is full now: it is the reply.
    const int room = l->items[1].fd;
    add(saying(l, onward.m.text), CAPS_DESCRIPTOR, room, 0, many);
    l->items[0].fills = 1;
    return onward.m.result;
}

static int fill_room(int service, struct letter* l) {
    CHECK(l->items[0].kind == CAPS_DESCRIPTOR && l->items[1].kind == CAPS_ROOM);
    const char* from = mmap(NULL, many, PROT_READ, MAP_SHARED, l->items[0].fd, 0);
    char* to = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, l->items[1].fd, 0);
    CHECK(from != MAP_FAILED && to != MAP_FAILED);
    for (int i = 0; i < many; i += page)
        to[i] = from[i] + 1;
    saying(l, "filled");
    return 0;
}

static void a_chain_of_services_touches_no_byte_on_the_way(void) {
    begin();
    const pid_t last = serve("last-of-chain", fill_room), first = serve("first-of-chain", pass_on);
    const int client = connect_to("first-of-chain");
    char *at = filled(many, 'A'), *room = filled(many, 'r');
    struct letter l;
    add(saying(&l, "go"), CAPS_MEMORY, -1, at, many);
    add(&l, CAPS_ROOM, -1, room, many);
    const long long before = copied();
    CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
    const long long after = copied();
    CHECK(says(&l, "filled") && l.m.item_count == 1);
    CHECK(l.items[0].kind == CAPS_FILLED && l.items[0].at == (uintptr_t)room && l.items[0].bytes == many);
    for (int i = 0; i < many; i += page)
        CHECK(room[i] == 'B' && room[i + 1] == 0);
    CHECK(after - before < many / 8); // twice as much was passed three times
    end(first), end(last);
}

static int fill_two(int service, struct letter* l) {
    CHECK(l->items[0].kind == CAPS_ROOM && l->items[1].kind == CAPS_ROOM);
    CHECK(l->items[0].bytes == 3 * page && l->items[1].bytes == 100);
    // One in its room, which is written like a file, the other from the server's own memory, and too long.
    static char own[200];
    memset(own, 'o', sizeof own);
    char* pattern = filled(3 * page, 'w');
    CHECK_EQ(pwrite(l->items[0].fd, pattern, 3 * page, 0), 3 * page);
    CHECK_ERROR(pwrite(l->items[0].fd, pattern, 1, 3 * page), ENOSPC);
    const int fd = l->items[0].fd;
    char* later = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(later != MAP_FAILED && later[0] == 'w');
    l->m.item_count = 0;
    add(l, CAPS_DESCRIPTOR, fd, 0, 3 * page);
    add(l, CAPS_MEMORY, -1, own, 200);
    l->items[0].fills = 0;
    l->items[1].fills = 1;
    const uint64_t id = l->m.id;
    CHECK(caps_reply(service, &l->m, 0) == 0);
    // What it writes now is not the client's any more.
    later[0] = later[page] = 'X';
    CHECK_ERROR(caps_reply(service, &(struct caps_message){.id = id}, 0), EINVAL);
    return -1;
}

static void a_room_is_filled_in_the_clients_own_memory(void) {
    begin();
    const pid_t server = serve("fill", fill_two);
    const int client = connect_to("fill");
    char* room = filled(4 * page, 'r');
    struct letter l;
    saying(&l, "fill");
    add(&l, CAPS_ROOM, -1, room, 3 * page);
    add(&l, CAPS_ROOM, -1, room + 3 * page + 10, 100);
    CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
    CHECK(l.m.item_count == 2 && l.items[0].kind == CAPS_FILLED && l.items[1].kind == CAPS_FILLED);
    CHECK(l.items[1].bytes == 100);
    sleep_ms(20);
    CHECK(all_are(room, 3 * page, 'w'));
    CHECK(all_are(room + 3 * page, 10, 'r') && all_are(room + 3 * page + 10, 100, 'o'));
    CHECK(all_are(room + 3 * page + 110, page - 110, 'r'));
    room[0] = 'c'; // its own memory again
    // A room of which part is gone when the reply comes: the call fails, the server does not.
    saying(&l, "fill");
    add(&l, CAPS_ROOM, -1, (void*)page, 3 * page);
    add(&l, CAPS_ROOM, -1, room, 100);
    CHECK_ERROR(caps_call(client, &l.m, &l.m, 0), EFAULT);
    saying(&l, "fill");
    add(&l, CAPS_ROOM, -1, room, 3 * page);
    add(&l, CAPS_ROOM, -1, room, 100);
    CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
    end(server);
}

static int add_up_slices(int service, struct letter* l) {
    static char* pool;
    if (l->m.item_count) {
        CHECK(l->items[0].kind == CAPS_SHARE && !(l->items[0].flags & CAPS_WRITABLE));
        CHECK(mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, l->items[0].fd, 0) == MAP_FAILED);
        pool = mmap(NULL, many, PROT_READ, MAP_SHARED, l->items[0].fd, 0);
        CHECK(pool != MAP_FAILED);
        CHECK_ERROR(ftruncate(l->items[0].fd, 0), EINVAL);
        l->m.item_count = 0;
        return 0;
    }
    l->m.text[0] = pool[*(int*)l->m.text];
    return 0;
}

static void a_pool_is_shared_once_and_messages_name_places_in_it(void) {
    begin();
    const pid_t server = serve("pool", add_up_slices);
    const int client = connect_to("pool"), room = caps_room(many, 0);
    CHECK(room >= 0);
    char* pool = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, room, 0);
    CHECK(pool != MAP_FAILED);
    struct letter l;
    add(saying(&l, "take"), CAPS_SHARE, room, 0, 0);
    CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
    for (int i = 0; i < 10; i++) {
        pool[i * page] = 'a' + i;
        empty(&l);
        *(int*)l.m.text = i * page;
        l.m.text_bytes = sizeof(int);
        CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
        CHECK_EQ(l.m.text[0], 'a' + i);
    }
    end(server);
}

// --- How messages end

static void replies_come_by_name_or_in_order(void) {
    begin();
    int service, client;
    both_ends("order", &service, &client);
    struct letter l;
    uint64_t ids[3], taken[3];
    for (int i = 0; i < 3; i++) {
        CHECK(caps_put(client, &saying(&l, "abc" + i)->m, 0) == 0);
        ids[i] = l.m.id;
    }
    CHECK(ids[0] != ids[1] && ids[1] != ids[2]);
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    for (int i = 0; i < 3; i++) {
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        CHECK(says(&l, "abc" + i));
        taken[i] = l.m.id;
    }
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    l.m.timeout_ns = 1000000;
    CHECK_ERROR(caps_get(service, &l.m, 0), ETIMEDOUT);
    for (int i = 2; i >= 0; i--) {
        saying(&l, i ? "later" : "first");
        l.m.id = taken[i];
        CHECK(caps_reply(service, &l.m, 0) == 0);
        CHECK_ERROR(caps_reply(service, &l.m, 0), EINVAL); // exactly once
    }
    empty(&l)->m.id = ids[0];
    CHECK(caps_get(client, &l.m, 0) == 0);
    CHECK(says(&l, "first") && l.m.id == ids[0]);
    CHECK_ERROR(caps_get(client, &l.m, 0), EINVAL); // used up
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    CHECK_EQ(l.m.id, ids[2]);
    CHECK(caps_dispose(client, ids[1]) == 0);
    CHECK_ERROR(caps_dispose(client, ids[1]), EINVAL);
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    for (int i = 0; i < 64; i++) { // made-up names
        l.m.id = 1ull << i;
        CHECK_ERROR(caps_reply(service, &l.m, 0), EINVAL);
        CHECK_ERROR(caps_abort(client, l.m.id, 0), EINVAL);
    }
}

static void a_peek_leaves_it_there(void) {
    begin();
    int service, client;
    both_ends("peek", &service, &client);
    struct letter l;
    char* at = filled(many, 'p');
    add(saying(&l, "look"), CAPS_MEMORY, -1, at, many);
    CHECK(caps_put(client, &l.m, 0) == 0);
    const int before = dup(0);
    close(before);
    for (int i = 0; i < 3; i++) {
        CHECK(caps_get(service, &empty(&l)->m, CAPS_PEEK) == 0);
        CHECK(says(&l, "look") && l.m.item_count == 1 && l.items[0].bytes == many);
        CHECK_ERROR(caps_reply(service, &l.m, 0), EINVAL); // it was not taken
    }
    const int after = dup(0);
    CHECK_EQ(after, before); // no descriptor was left behind
    close(after);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(says(&l, "look"));
}

static void what_cannot_be_received_stays(void) {
    begin();
    int service, client;
    both_ends("stay", &service, &client);
    struct letter l;
    char* at = filled(many, 's');
    saying(&l, "eight");
    for (int i = 0; i < 8; i++)
        add(&l, CAPS_MEMORY, -1, at, many);
    CHECK(caps_put(client, &l.m, 0) == 0);
    empty(&l)->m.item_room = 7;
    CHECK_ERROR(caps_get(service, &l.m, 0), EMSGSIZE);
    CHECK(l.m.item_count == 8); // what it takes
    empty(&l)->m.items = (struct caps_item*)page;
    CHECK_ERROR(caps_get(service, &l.m, 0), EFAULT);
    CHECK_ERROR(caps_get(service, (struct caps_message*)page, 0), EFAULT);
    struct rlimit few = {0}, usual;
    CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    const int next = dup(0);
    close(next);
    few.rlim_cur = next + 4;
    few.rlim_max = usual.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_ERROR(caps_get(service, &empty(&l)->m, 0), EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    CHECK_EQ(dup(0), next); // those that had been made are gone
    CHECK(next >= 0 && close(next) == 0);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(says(&l, "eight") && l.m.item_count == 8);
}

static void what_makes_no_sense_is_not_sent(void) {
    begin();
    int service, client;
    both_ends("sense", &service, &client);
    struct letter l;
    char* at = filled(many, 's');
    saying(&l, "x")->m.text_bytes = 257;
    CHECK_ERROR(caps_put(client, &l.m, 0), EMSGSIZE);
    saying(&l, "x")->m.item_count = 9;
    CHECK_ERROR(caps_put(client, &l.m, 0), E2BIG);
    CHECK_ERROR(caps_put(client, (struct caps_message*)page, 0), EFAULT);
    char* two = anonymous(2 * page); // the text ends where there is no memory
    CHECK(munmap(two + page, page) == 0);
    struct caps_message* last = (struct caps_message*)(two + page - 128);
    *(uint32_t*)((char*)last + offsetof(struct caps_message, text_bytes)) = 65;
    CHECK_ERROR(caps_put(client, last, 0), EFAULT);
    static const struct {
        int kind, fd;
        uintptr_t at;
        size_t bytes;
        int number;
    } bad[] = {
        {CAPS_MEMORY, -1, page, page, EFAULT},
        {CAPS_MEMORY, -1, page, many, EFAULT},
        {CAPS_MEMORY, -1, -4096L, many, EFAULT},
        {CAPS_MEMORY, -1, 1ul << 63, 1 << 20, EFAULT},
        {CAPS_MEMORY, -1, page, 0, EINVAL},
        {CAPS_MEMORY, -1, page, (size_t)2 << 30, EINVAL},
        {CAPS_MEMORY, -1, page, -1, EINVAL},
        {CAPS_ROOM, -1, page, 0, EINVAL},
        {CAPS_ROOM, 0, page, page, EINVAL},
        {CAPS_SHARE, 0, 0, 0, EINVAL},
        {CAPS_SHARE, -1, 0, 0, EBADF},
        {CAPS_MAPPED, -1, page, page, EINVAL},
        {77, -1, page, page, EINVAL},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        add(saying(&l, "x"), CAPS_MEMORY, -1, at, many); // goes with the rest
        add(&l, bad[i].kind, bad[i].fd, (void*)bad[i].at, bad[i].bytes);
        CHECK_ERROR(caps_put(client, &l.m, 0), bad[i].number);
    }
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    CHECK_ERROR(caps_put(client, &saying(&l, "x")->m, 0x100), EINVAL);
    CHECK_ERROR(caps_room(0, 0), EINVAL);
    CHECK_ERROR(caps_room((size_t)2 << 30, 0), EINVAL);
}

static void too_many_requests_wait_or_are_refused(void) {
    begin();
    int service, client;
    both_ends("limit", &service, &client);
    struct letter l;
    for (int i = 0; i < 128; i++)
        CHECK(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT) == 0);
    CHECK_ERROR(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT), EAGAIN);
    saying(&l, "x")->m.timeout_ns = 1000000;
    CHECK_ERROR(caps_put(client, &l.m, 0), ETIMEDOUT);
    struct pollfd ready = {client, POLLIN | POLLOUT, 0};
    CHECK_EQ(poll(&ready, 1, 0), 0);
    CHECK(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
    CHECK_ERROR(caps_put(client, &saying(&l, "x")->m, 0), EAGAIN);
    CHECK_ERROR(caps_get(client, &empty(&l)->m, 0), EAGAIN);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const struct caps_message reply = {.id = l.m.id};
    CHECK(caps_reply(service, &reply, 0) == 0);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    CHECK_EQ(poll(&ready, 1, 0), 1);
    CHECK(ready.revents == POLLOUT);
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
}

static void a_request_can_be_aborted(void) {
    begin();
    int service, client;
    both_ends("abort", &service, &client);
    struct letter l;
    CHECK(caps_put(client, &saying(&l, "1")->m, 0) == 0);
    uint64_t id = l.m.id;
    CHECK_EQ(caps_abort(client, id, 0), CAPS_REMOVED);
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    empty(&l)->m.id = id;
    CHECK(caps_get(client, &l.m, 0) == 0);
    CHECK(l.m.kind == CAPS_RETURNED && l.m.result == ECANCELED);
    // after it was taken
    CHECK(caps_put(client, &saying(&l, "2")->m, 0) == 0);
    id = l.m.id;
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const uint64_t taken = l.m.id;
    CHECK_EQ(caps_abort(client, id, 0), CAPS_FLAGGED);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(l.m.kind == CAPS_ABORTED && l.m.id == taken);
    saying(&l, "done all the same")->m.id = taken;
    CHECK(caps_reply(service, &l.m, CAPS_RECEIPT) == 0);
    CHECK_EQ(caps_abort(client, id, CAPS_HARD), CAPS_REPLIED);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    CHECK(says(&l, "done all the same"));
    CHECK(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT) == 0);
    CHECK(l.m.kind == CAPS_FETCHED && l.m.id == taken);
    // hard, and the server fills a room meanwhile
    char* room = filled(many, 'r');
    add(saying(&l, "3"), CAPS_ROOM, -1, room, many);
    CHECK(caps_put(client, &l.m, 0) == 0);
    id = l.m.id;
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const int fd = l.items[0].fd;
    char* filling = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(filling, 'f', many);
    const uint64_t third = l.m.id;
    CHECK_EQ(caps_abort(client, id, CAPS_HARD), CAPS_ENDED);
    memset(filling, 'F', many);
    CHECK(all_are(room, many, 'r'));
    CHECK_ERROR(caps_abort(client, id, CAPS_HARD), EINVAL);
    add(empty(&l), CAPS_DESCRIPTOR, fd, 0, many);
    l.m.id = third;
    CHECK_ERROR(caps_reply(service, &l.m, 0), ECANCELED);
    CHECK(all_are(room, many, 'r'));
}

static void requests_of_a_dead_server_come_back(void) {
    begin();
    int ready[2];
    CHECK(pipe(ready) == 0);
    IN_CHILD(server) {
        const int service = caps_service("mortal", CAPS_WORLD);
        struct letter l;
        CHECK(service >= 0 && caps_get(service, &empty(&l)->m, 0) == 0);
        CHECK(write(ready[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    const int client = connect_to("mortal");
    struct letter l;
    char* at = filled(many, 'd');
    for (int i = 0; i < 2; i++) { // one is taken, one is not
        add(saying(&l, "x"), CAPS_MEMORY, -1, at, many);
        CHECK(caps_put(client, &l.m, 0) == 0);
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    struct pollfd ask = {client, POLLIN, 0};
    CHECK_EQ(poll(&ask, 1, 0), 0);
    end(server);
    CHECK_EQ(poll(&ask, 1, -1), 1);
    CHECK(ask.revents & POLLHUP && ask.revents & POLLIN);
    for (int i = 0; i < 2; i++) {
        CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
        CHECK(l.m.kind == CAPS_RETURNED && l.m.result == ECONNRESET);
    }
    CHECK_ERROR(caps_get(client, &empty(&l)->m, 0), ENOTCONN);
    CHECK_ERROR(caps_put(client, &saying(&l, "x")->m, 0), ENOTCONN);
}

__attribute__((noreturn)) static int sleep_for_ever(int service, struct letter* l) {
    for (;;)
        pause();
}

static void a_call_to_a_server_that_dies_ends(void) {
    begin();
    const pid_t server = serve("silent", sleep_for_ever);
    const int client = connect_to("silent");
    IN_CHILD(killer) {
        sleep_ms(50);
        kill(server, SIGKILL);
    }
    struct letter l;
    CHECK_ERROR(caps_call(client, &saying(&l, "x")->m, &l.m, 0), ECONNRESET);
    CHECK_EQ(EXIT_STATUS(killer), 0);
    CHECK_EQ(KILLED_BY(server), SIGKILL);
}

static void messages_of_a_dead_client_are_disposed_of(void) {
    begin();
    const int service = caps_service("lonely", CAPS_WORLD);
    CHECK(service >= 0);
    IN_CHILD(client) {
        const int c = connect_to("lonely");
        struct letter l;
        char* at = filled(many, 'c');
        for (int i = 0; i < 3; i++) {
            add(saying(&l, "123" + i), CAPS_MEMORY, -1, at, many);
            CHECK(caps_put(c, &l.m, 0) == 0);
        }
        for (;;)
            pause();
    }
    struct letter l;
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const uint64_t first = l.m.id;
    const int fd = l.items[0].fd;
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(caps_reply(service, &(struct caps_message){.id = l.m.id}, CAPS_RECEIPT) == 0);
    const uint64_t second = l.m.id;
    end(client);
    unsigned told = 0;
    while (told != 3) {
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        if (l.m.kind == CAPS_REQUEST) { // the third, if the second get came before the client's last put
            CHECK(says(&l, "3"));
            continue;
        }
        if (l.m.id == first) CHECK(l.m.kind == CAPS_ABORTED), told |= 1;
        if (l.m.id == second) CHECK(l.m.kind == CAPS_FETCHED), told |= 2;
    }
    CHECK_ERROR(caps_reply(service, &(struct caps_message){.id = first}, 0), ECANCELED);
    char* got = anonymous(many);
    CHECK_EQ(read(fd, got, many), many); // what was received stays
    CHECK(all_are(got, many, 'c'));
}

// --- Processes

static void a_child_has_no_part_in_its_parents_ends(void) {
    begin();
    int service, client;
    both_ends("parent", &service, &client);
    IN_CHILD(child) {
        struct letter l;
        CHECK_ERROR(caps_get(service, &empty(&l)->m, 0), ENOTCONN);
        CHECK_ERROR(caps_call(client, &saying(&l, "x")->m, &l.m, 0), ENOTCONN);
        CHECK_ERROR(caps_reply(service, &l.m, 0), ENOTCONN);
        struct pollfd ask = {client, POLLIN, 0};
        CHECK(poll(&ask, 1, 0) == 1 && ask.revents & POLLHUP);
        CHECK_ERROR(caps_service("parent", CAPS_WORLD), EEXIST);
        const int own = caps_connect("parent", 0, 0);
        CHECK(own >= 0 && close(own) == 0);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    IN_CHILD(keeper) for (;;) pause();
    close(service);
    CHECK_ERROR(caps_connect("parent", 0, 0), ENOENT); // the child keeps nothing alive
    end(keeper);
}

static void unless_they_are_made_to_be_inherited(void) {
    begin();
    const int service = caps_service("family", CAPS_WORLD | CAPS_INHERIT);
    const int client = caps_connect("family", CAPS_INHERIT, 0);
    CHECK(service >= 0 && client >= 0);
    IN_CHILD(child) {
        struct letter l;
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        CHECK_EQ(l.sender.pid, getppid());
        const uint64_t id = l.m.id;
        saying(&l, "from the child")->m.id = id;
        CHECK(caps_reply(service, &l.m, 0) == 0);
    }
    struct letter l;
    CHECK(caps_call(client, &saying(&l, "x")->m, &l.m, 0) == 0);
    CHECK(says(&l, "from the child"));
    CHECK_EQ(l.sender.pid, child);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void exec_keeps_them_unless_told_otherwise(void) {
    begin();
    int input[2];
    CHECK(pipe(input) == 0);
    for (int closes = 0; closes < 2; closes++) {
        int before_exec[2];
        CHECK(pipe2(before_exec, O_CLOEXEC) == 0);
        IN_CHILD(child) {
            CHECK(caps_service("execed", CAPS_WORLD | (closes ? O_CLOEXEC : 0)) >= 0);
            CHECK(dup3(before_exec[1], 100, O_CLOEXEC) == 100 && close(before_exec[1]) == 0); // the last to be closed
            dup2(input[0], 0);
            close(input[1]);
            execl("/bin/cat", "cat", NULL);
        }
        close(before_exec[1]);
        char byte;
        CHECK_EQ(read(before_exec[0], &byte, 1), 0); // the end of the pipe: exec has closed the child's
        if (closes)
            CHECK_ERROR(caps_connect("execed", 0, 0), ENOENT);
        else
            CHECK(close(caps_connect("execed", 0, 0)) == 0);
        end(child);
    }
}

static void a_socket_passes_an_end_on(void) {
    begin();
    const pid_t server = serve("echo-2", echo);
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    char byte = 'x';
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec one = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    IN_CHILD(giver) {
        const int client = connect_to("echo-2");
        memcpy(CMSG_DATA(&control.head), &client, sizeof client);
        CHECK_EQ(sendmsg(ends[1], &message, 0), 1);
    }
    CHECK_EQ(EXIT_STATUS(giver), 0);
    CHECK_EQ(recvmsg(ends[0], &message, 0), 1);
    int client;
    memcpy(&client, CMSG_DATA(&control.head), sizeof client);
    struct letter l;
    CHECK(caps_call(client, &saying(&l, "mine now")->m, &l.m, 0) == 0);
    CHECK(says(&l, "MINE NOW"));
    end(server);
}

static void poll_and_epoll_tell_of_what_comes(void) {
    begin();
    int service, client;
    both_ends("poll", &service, &client);
    struct letter l;
    const int both = epoll_create1(0);
    struct epoll_event of_service = {EPOLLIN | EPOLLET, {.u32 = 1}}, of_client = {EPOLLIN | EPOLLET, {.u32 = 2}},
                       got[2];
    CHECK(epoll_ctl(both, EPOLL_CTL_ADD, service, &of_service) == 0);
    CHECK(epoll_ctl(both, EPOLL_CTL_ADD, client, &of_client) == 0);
    CHECK_EQ(epoll_wait(both, got, 2, 0), 0);
    struct pollfd ask = {service, POLLIN, 0};
    CHECK_EQ(poll(&ask, 1, 0), 0);
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
    CHECK_EQ(poll(&ask, 1, 0), 1);
    CHECK_EQ(epoll_wait(both, got, 2, -1), 1);
    CHECK_EQ(got[0].data.u32, 1);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK_EQ(poll(&ask, 1, 0), 0);
    CHECK(caps_reply(service, &(struct caps_message){.id = l.m.id}, 0) == 0);
    CHECK_EQ(epoll_wait(both, got, 2, -1), 1);
    CHECK_EQ(got[0].data.u32, 2);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    // Somebody who sleeps in poll is woken.
    IN_CHILD(sender) {
        const int c = connect_to("poll");
        sleep_ms(30);
        CHECK(caps_put(c, &saying(&l, "late")->m, 0) == 0);
        pause();
    }
    CHECK_EQ(poll(&ask, 1, -1), 1);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(says(&l, "late"));
    // Also if what comes is no request.
    IN_CHILD(fickle) {
        const int c = connect_to("poll");
        CHECK(caps_put(c, &saying(&l, "take me")->m, 0) == 0);
        sleep_ms(100);
        CHECK(caps_dispose(c, l.m.id) == 0);
        pause();
    }
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const uint64_t taken = l.m.id;
    const long long before = now_ns();
    CHECK_EQ(poll(&ask, 1, 20000), 1);
    CHECK(now_ns() - before < 10000000000);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0 && l.m.kind == CAPS_ABORTED && l.m.id == taken);
    end(fickle);
    end(sender);
}

static void on_alarm(int number) {}

static void alarm_after_ms(int ms, int flags) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    const struct timeval every = {0, ms * 1000}; // if the first comes too early, another one does
    CHECK(setitimer(ITIMER_REAL, &(struct itimerval){every, every}, NULL) == 0);
}

static void a_signal_ends_a_call(void) {
    begin();
    int service, client;
    both_ends("signal", &service, &client);
    struct letter l;
    alarm_after_ms(30, 0);
    CHECK_ERROR(caps_call(client, &saying(&l, "x")->m, &l.m, 0), EINTR); // nobody had taken it
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    alarm_after_ms(30, 0);
    CHECK_ERROR(caps_get(service, &empty(&l)->m, 0), EINTR);
    const pid_t server = serve("signal-2", sleep_for_ever);
    const int other = connect_to("signal-2");
    alarm_after_ms(100, SA_RESTART);
    CHECK_ERROR(caps_call(other, &saying(&l, "x")->m, &l.m, 0), ECANCELED); // it is not sent twice
    CHECK(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL) == 0);
    saying(&l, "x")->m.timeout_ns = 30000000;
    CHECK_ERROR(caps_call(other, &l.m, &l.m, 0), ETIMEDOUT);
    end(server);
}

static void a_server_replies_and_waits_in_one(void) {
    begin();
    IN_CHILD(server) {
        const int service = caps_service("loop", CAPS_WORLD);
        struct letter l;
        empty(&l);
        for (;;) {
            CHECK(caps_reply_wait(service, &l.m, &l.m, 0) == 0);
            l.m.text[0]++;
            l.m.item_count = 0;
            l.m.result = 0;
        }
    }
    const int client = connect_to("loop");
    struct letter l;
    for (int i = 0; i < 1000; i++) {
        saying(&l, "a")->m.text[0] = i;
        CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
        CHECK_EQ(l.m.text[0], (char)(i + 1));
    }
    end(server);
}

static void a_reply_is_not_sent_again_when_the_wait_ends(void) {
    begin();
    int service, client;
    both_ends("again", &service, &client);
    struct letter l;
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    l.m.timeout_ns = 1000000;
    CHECK_ERROR(caps_reply_wait(service, &l.m, &l.m, 0), ETIMEDOUT);
    CHECK_EQ(l.m.id, 0);
    CHECK_ERROR(caps_reply_wait(service, &l.m, &l.m, 0), ETIMEDOUT);
    CHECK(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT) == 0);
}

// --- The hostile

static uint64_t draw(uint64_t* state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

// Numbers that hurt.
static uint64_t odd_number(uint64_t* state, char* memory) {
    static const uint64_t odd[] = {0,    1,    2,    7,       8,       9,     255,        256,       257,
                                   4095, 4096, 4097, 1 << 20, 1 << 30, -1ull, 1ull << 63, 1ull << 47};
    switch (draw(state) % 4) {
    case 0: return odd[draw(state) % (sizeof odd / sizeof odd[0])];
    case 1: return (uintptr_t)memory + draw(state) % (2 * many);
    case 2: return draw(state) % 16;
    default: return (uintptr_t)memory;
    }
}

// Calls at random on the given descriptors and whatever else is open, until it is killed.
static void rage(uint64_t seed, const char* name, int service) {
    uint64_t state = seed * 2654435761u + 1;
    char* memory = filled(many, 'h');
    struct letter l;
    int fds[4] = {service, -1, caps_room(many, 0), xio_from_memory(memory, many, 0)};
    signal(SIGPIPE, SIG_IGN);
    for (uint64_t last = 0;;) {
        if (fds[1] < 0 || draw(&state) % 64 == 0) {
            if (fds[1] >= 0) close(fds[1]);
            fds[1] = caps_connect(name, 0, 0);
        }
        empty(&l);
        l.m.timeout_ns = 1 + draw(&state) % 1000000;
        l.m.id = draw(&state) % 2 ? last : odd_number(&state, memory);
        l.m.text_bytes = draw(&state) % 8 ? draw(&state) % 257 : odd_number(&state, memory);
        l.m.item_count = draw(&state) % 8 ? draw(&state) % 4 : odd_number(&state, memory);
        l.m.result = draw(&state) % 4 ? 0 : odd_number(&state, memory);
        if (draw(&state) % 16 == 0) l.m.items = (void*)odd_number(&state, memory);
        if (draw(&state) % 16 == 0) l.m.sender = (void*)odd_number(&state, memory);
        for (int i = 0; i < CAPS_MOST_ITEMS; i++)
            l.items[i] = (struct caps_item){
                draw(&state) % 5,           draw(&state) % 2 ? fds[draw(&state) % 4] : (int)(draw(&state) % 20) - 1,
                odd_number(&state, memory), draw(&state) % 2 ? draw(&state) % many : odd_number(&state, memory),
                draw(&state) % 10,          draw(&state) % 2};
        const int fd = draw(&state) % 8 ? fds[draw(&state) % 2] : fds[draw(&state) % 4];
        const int flags = draw(&state) % 16 | (draw(&state) % 4 ? CAPS_DONTWAIT : 0);
        struct caps_message* m = draw(&state) % 16 ? &l.m : (void*)odd_number(&state, memory);
        int got = -1;
        if (m != &l.m && m == (void*)memory) continue;
        switch (draw(&state) % 8) {
        case 0: got = caps_call(fd, m, m, flags & ~CAPS_RECEIPT & ~CAPS_PEEK); break;
        case 1: got = caps_put(fd, m, CAPS_DONTWAIT); break;
        case 2:
        case 3: got = caps_get(fd, m, flags & ~CAPS_RECEIPT); break;
        case 4: got = caps_reply(fd, m, flags & CAPS_RECEIPT); break;
        case 5: got = caps_reply_wait(fd, m, m, flags & ~CAPS_PEEK); break;
        case 6: got = caps_abort(fd, l.m.id, draw(&state) % 2); break;
        default: got = caps_dispose(fd, l.m.id); break;
        }
        if (got == 0 && m == &l.m) last = l.m.id;
        // What came is let go of now and then, and sometimes of what it needs itself.
        for (unsigned i = 0; got == 0 && m == &l.m && l.m.items == l.items && i < l.m.item_count && i < CAPS_MOST_ITEMS;
             i++)
            if (l.items[i].kind == CAPS_MAPPED)
                munmap((void*)(l.items[i].at & -(uintptr_t)page), l.items[i].bytes + page);
        if (draw(&state) % 8 == 0)
            for (int i = 16; i < 40; i++)
                close(i);
    }
}

// Hostile processes on both sides of a service, beside a good client and a good server of another one.
static void the_hostile_harm_nobody(void) {
    begin();
    enum { hostile = 4, rounds = 12 };
    const pid_t good = serve("good", echo);
    const int client = connect_to("good");
    struct letter l;
    for (int round = 0; round < rounds; round++) {
        pid_t bad[hostile];
        for (int i = 0; i < hostile; i++) {
            bad[i] = fork();
            CHECK(bad[i] >= 0);
            if (bad[i] == 0) {
                const int service = i < 2 ? caps_service(i ? "bad-1" : "bad-0", CAPS_WORLD) : -1;
                rage(round * hostile + i, draw(&(uint64_t){i + 77}) % 2 ? "bad-0" : i % 2 ? "good" : "bad-1", service);
            }
        }
        for (const long long until = now_ns() + 150000000; now_ns() < until;) {
            CHECK(caps_call(client, &saying(&l, "still there")->m, &l.m, 0) == 0);
            CHECK(says(&l, "STILL THERE"));
        }
        for (int i = 0; i < hostile; i++)
            kill(bad[i], SIGKILL); // at any moment
        for (int i = 0; i < hostile; i++) {
            int status;
            CHECK_EQ(waitpid(bad[i], &status, 0), bad[i]);
            CHECK(WIFSIGNALED(status));
        }
    }
    end(good);
}

// Clients send and servers answer all the time, and each is killed at some moment and begins anew. What a client gets
// is always the answer to what it asked.
static void sum_up(int service) {
    struct letter l;
    for (empty(&l);;) {
        if (caps_reply_wait(service, &l.m, &l.m, CAPS_MAP) < 0) _exit(3);
        if (l.m.kind >= CAPS_ABORTED) {
            l.m.id = 0;
            continue;
        }
        unsigned sum = 0;
        for (unsigned i = 0; i < l.m.item_count; i++) {
            for (size_t at = 0; at < l.items[i].bytes; at += page)
                sum += *(unsigned char*)(l.items[i].at + at);
            caps_unmap(&l.items[i]);
        }
        *(unsigned*)l.m.text = sum;
        l.m.text_bytes = sizeof sum;
        l.m.item_count = 0;
        l.m.result = 0;
    }
}

static void ask_for_sums(unsigned seed) {
    uint64_t state = seed + 99;
    char* at = anonymous(many);
    int client = -1;
    struct letter l;
    for (;;) {
        if (client < 0) client = caps_connect("mortals", CAPS_WAIT, 50000000);
        if (client < 0) continue;
        const int pages = 2 + draw(&state) % 60, value = draw(&state) % 250;
        for (int i = 0; i < pages; i++)
            at[i * page] = value;
        add(saying(&l, "sum"), CAPS_MEMORY, -1, at, pages * page);
        if (caps_call(client, &l.m, &l.m, 0) < 0) {
            if (errno != ECONNRESET && errno != ENOTCONN) _exit(4);
            close(client);
            client = -1;
        } else if (*(unsigned*)l.m.text != (unsigned)(pages * value)) {
            _exit(5);
        }
    }
}

static void death_at_any_moment_loses_nothing(void) {
    begin();
    enum { clients = 4, deaths = 60 };
    pid_t living[clients + 1] = {0};
    uint64_t state = 12345;
    for (int death = 0; death < deaths; death++) {
        for (int i = 0; i <= clients; i++) {
            if (living[i]) continue;
            living[i] = fork();
            CHECK(living[i] >= 0);
            if (living[i]) continue;
            if (i) ask_for_sums(death * clients + i);
            const int service = caps_service("mortals", CAPS_WORLD);
            if (service < 0) _exit(2);
            sum_up(service);
        }
        usleep(draw(&state) % 30000);
        const int victim = death % 3 ? draw(&state) % (clients + 1) : 0;
        kill(living[victim], SIGKILL);
        CHECK_EQ(KILLED_BY(living[victim]), SIGKILL);
        living[victim] = 0;
    }
    for (int i = 0; i <= clients; i++)
        if (living[i]) end(living[i]);
}

static void the_kernel_answers_like_a_program(void) {
    struct letter l;
    begin();
    const int client = connect_to("nutcracker.echo");
    char* memory = filled(many, 'a');
    char* room = filled(many, 'b');
    for (int turn = 0; turn < 3; turn++) { // in place, and by way of the queue
        saying(&l, "hello");
        add(&l, CAPS_MEMORY, -1, memory, many);
        if (turn != 2) add(&l, CAPS_ROOM, -1, room, many);
        if (turn == 1) {
            CHECK(caps_put(client, &l.m, 0) == 0);
            const uint64_t id = l.m.id;
            empty(&l)->m.id = id;
            CHECK(caps_get(client, &l.m, 0) == 0);
        } else {
            CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
        }
        CHECK(l.m.kind == CAPS_REPLY && l.m.result == 0 && says(&l, "hello"));
        CHECK(l.sender.pid == 0 && l.sender.uid == 0);
        CHECK_EQ(l.m.item_count, 1);
        CHECK_EQ(l.items[0].bytes, many);
        if (turn == 0) {
            CHECK(l.items[0].kind == CAPS_FILLED && all_are(room, many, 'a'));
        } else {
            char got[page];
            CHECK(l.items[0].kind == CAPS_DESCRIPTOR && pread(l.items[0].fd, got, page, many - page) == page);
            CHECK(all_are(got, page, 'a') && close(l.items[0].fd) == 0);
        }
    }
    CHECK_ERROR(caps_service("nutcracker.echo", CAPS_WORLD), EEXIST); // nobody else is it
    CHECK(close(client) == 0);
}

TAP_MAIN(T(the_kernel_answers_like_a_program), T(a_call_comes_back), T(a_result_is_the_servers),
         T(names_and_flags_are_checked), T(both_sides_choose_whom_they_talk_to), T(a_service_may_refuse_a_client),
         T(the_kernel_says_who_sends), T(memory_stays_as_it_was_sent), T(a_received_xio_is_used_like_a_file),
         T(a_file_travels_too), T(what_is_received_can_be_mapped_at_once), T(nothing_above_a_page_is_copied),
         T(much_is_lent_as_a_whole_and_read_in_part), T(a_chain_of_services_touches_no_byte_on_the_way),
         T(a_room_is_filled_in_the_clients_own_memory), T(a_pool_is_shared_once_and_messages_name_places_in_it),
         T(replies_come_by_name_or_in_order), T(a_peek_leaves_it_there), T(what_cannot_be_received_stays),
         T(what_makes_no_sense_is_not_sent), T(too_many_requests_wait_or_are_refused), T(a_request_can_be_aborted),
         T(requests_of_a_dead_server_come_back), T(a_call_to_a_server_that_dies_ends),
         T(messages_of_a_dead_client_are_disposed_of), T(a_child_has_no_part_in_its_parents_ends),
         T(unless_they_are_made_to_be_inherited), T(exec_keeps_them_unless_told_otherwise),
         T(a_socket_passes_an_end_on), T(poll_and_epoll_tell_of_what_comes), T(a_signal_ends_a_call),
         T(a_server_replies_and_waits_in_one), T(a_reply_is_not_sent_again_when_the_wait_ends),
         T(the_hostile_harm_nobody), T(death_at_any_moment_loses_nothing))
