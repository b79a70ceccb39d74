// Services and messages between processes: calls, names, who may talk to whom, and what items carry.
#include "tests/user/caps_letter.h"

#include <grp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

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
    memset(got, 0, many);
    CHECK_EQ(pread(fd, got, page, page), page);
    CHECK(all_are(got, page, 'a'));
}

// So many bytes of a file from here on are all `what`: nothing that an earlier read left counts.
static int reads_all(int fd, char* room, size_t bytes, char what) {
    memset(room, 0, bytes);
    for (size_t done = 0; done < bytes;) {
        const ssize_t now = read(fd, room + done, bytes - done);
        if (now <= 0) return 0;
        done += now;
    }
    return all_are(room, bytes, what);
}

static void a_received_xio_is_used_like_a_file(void) {
    begin();
    int service, client, ends[2], pair[2];
    both_ends("file", &service, &client);
    struct letter l;
    char *at = filled(many, 'f'), *got = anonymous(many);
    const int fd = through(service, client, at, many, &l);
    memset(at, 'g', many);
    // mapped, to read
    char* shown = mmap(NULL, many, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(shown != MAP_FAILED && all_are(shown, many, 'f'));
    CHECK_ERROR(mprotect(shown, many, PROT_READ | PROT_WRITE), EACCES);
    // and privately: writes are the receiver's own affair
    char* own = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(own != MAP_FAILED);
    own[page] = 'x';
    CHECK(own[page] == 'x' && at[page] == 'g' && shown[page] == 'f');
    at[2 * page] = 'y';
    CHECK(shown[2 * page] == 'f' && own[2 * page] == 'f');
    // sliced
    const int part = xio_from_file(fd, page, 2 * page, 0);
    CHECK(part >= 0 && lseek(part, 0, SEEK_END) == 2 * page && lseek(part, 0, SEEK_SET) == 0);
    CHECK(reads_all(part, got, 2 * page, 'f') && read(part, got, 1) == 0);
    // written to a file, spliced to a pipe and from there to a socket, and sent to a socket
    const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    CHECK(file >= 0);
    CHECK_EQ(sendfile(file, fd, NULL, many), many);
    CHECK(lseek(file, 0, SEEK_SET) == 0 && reads_all(file, got, many, 'f') && read(file, got, 1) == 0);
    CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    loff_t offset = 0;
    CHECK_EQ(splice(fd, &offset, ends[1], NULL, 4 * page, 0), 4 * page);
    CHECK_EQ(offset, 4 * page);
    CHECK(reads_all(ends[0], got, 4 * page, 'f'));
    offset = page / 2;
    CHECK_EQ(splice(fd, &offset, ends[1], NULL, 4 * page, 0), 4 * page);
    for (size_t left = 4 * page; left;) {
        const ssize_t now = splice(ends[0], NULL, pair[0], NULL, left, 0);
        CHECK(now > 0 && (size_t)now <= left);
        CHECK(reads_all(pair[1], got, now, 'f'));
        left -= now;
    }
    offset = 0;
    CHECK_EQ(sendfile(pair[0], fd, &offset, 4 * page), 4 * page);
    CHECK(reads_all(pair[1], got, 4 * page, 'f'));
    char byte; // nothing more than that came
    CHECK_ERROR(recv(pair[1], &byte, 1, MSG_DONTWAIT), EAGAIN);
    // passed on in another message
    add(saying(&l, "on"), CAPS_DESCRIPTOR, fd, (void*)page, 3 * page);
    CHECK(caps_put(client, &l.m, 0) == 0);
    close(fd);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(says(&l, "on") && l.m.item_count == 1 && l.items[0].bytes == 3 * page);
    CHECK(reads_all(l.items[0].fd, got, 3 * page, 'f') && read(l.items[0].fd, got, 1) == 0);
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

TAP_MAIN(T(the_kernel_answers_like_a_program), T(a_call_comes_back), T(a_result_is_the_servers),
         T(names_and_flags_are_checked), T(both_sides_choose_whom_they_talk_to), T(a_service_may_refuse_a_client),
         T(the_kernel_says_who_sends), T(memory_stays_as_it_was_sent), T(a_received_xio_is_used_like_a_file),
         T(a_file_travels_too), T(what_is_received_can_be_mapped_at_once), T(nothing_above_a_page_is_copied),
         T(much_is_lent_as_a_whole_and_read_in_part), T(a_chain_of_services_touches_no_byte_on_the_way),
         T(a_room_is_filled_in_the_clients_own_memory))
