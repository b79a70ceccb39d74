// Unix-domain sockets: what is sent arrives, whole and in order; names lead to those who have them; files travel along
// and are lost with nobody; and the ends of a connection learn of each other's going.
#include "tests/user/tap.h"

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

enum { mib = 1 << 20 };
static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

struct two {
    int a, b;
};

static struct two make_pair(int type) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, type, 0, ends) == 0);
    return (struct two){ends[0], ends[1]};
}

static int make_socket(int type) {
    const int made = socket(AF_UNIX, type, 0);
    CHECK(made >= 0);
    return made;
}

// An address with a path, or an abstract one if it begins with @.
struct name {
    struct sockaddr_un at;
    socklen_t length;
};
static struct name name_of(const char* text) {
    struct name made = {.at.sun_family = AF_UNIX};
    strcpy(made.at.sun_path, text);
    made.length = offsetof(struct sockaddr_un, sun_path) + strlen(text) + (text[0] != '@');
    if (text[0] == '@') made.at.sun_path[0] = 0;
    return made;
}
static int try_bind(int of, const char* text) {
    const struct name to = name_of(text);
    return bind(of, (const struct sockaddr*)&to.at, to.length);
}
static int try_connect(int of, const char* text) {
    const struct name to = name_of(text);
    return connect(of, (const struct sockaddr*)&to.at, to.length);
}
static ssize_t send_to(int of, const void* bytes, size_t count, const char* text) {
    const struct name to = name_of(text);
    return sendto(of, bytes, count, 0, (const struct sockaddr*)&to.at, to.length);
}
static int listener(int type, const char* text, int backlog) {
    const int made = make_socket(type);
    CHECK(try_bind(made, text) == 0);
    CHECK(listen(made, backlog) == 0);
    return made;
}

static void expect_text(int from, const char* text) {
    char buffer[200];
    const ssize_t count = recv(from, buffer, sizeof buffer, 0);
    CHECK_EQ(count, strlen(text));
    CHECK(!memcmp(buffer, text, count));
}

static int events_of(int of) {
    struct pollfd at = {.fd = of, .events = POLLIN | POLLOUT | POLLRDHUP};
    CHECK(poll(&at, 1, 0) >= 0);
    return at.revents;
}

// --- Bytes

static void pairs_carry_bytes_both_ways(void) {
    for (int at = 0; at < 3; at++) {
        struct two s = make_pair(types[at]);
        CHECK_EQ(write(s.a, "there", 5), 5);
        CHECK_EQ(write(s.b, "back", 4), 4);
        expect_text(s.b, "there");
        expect_text(s.a, "back");
        int value = 0;
        socklen_t length = sizeof value;
        CHECK(getsockopt(s.a, SOL_SOCKET, SO_TYPE, &value, &length) == 0);
        CHECK_EQ(value, types[at]);
        CHECK(getsockopt(s.a, SOL_SOCKET, SO_DOMAIN, &value, &length) == 0);
        CHECK_EQ(value, AF_UNIX);
        struct stat what;
        CHECK(fstat(s.a, &what) == 0 && S_ISSOCK(what.st_mode));
        CHECK(close(s.a) == 0 && close(s.b) == 0);
    }
    CHECK_ERROR(socket(AF_INET6 + 100, SOCK_STREAM, 0), EAFNOSUPPORT);
    CHECK_ERROR(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    CHECK_ERROR(socket(AF_UNIX, SOCK_STREAM, 7), EPROTONOSUPPORT);
    CHECK_ERROR(send(0, "", 1, 0), ENOTSOCK);
}

static void messages_keep_their_bounds(void) {
    for (int at = 1; at < 3; at++) {
        struct two s = make_pair(types[at]);
        char buffer[100];
        CHECK_EQ(send(s.a, "one", 3, 0), 3);
        CHECK_EQ(send(s.a, "", 0, 0), 0);
        CHECK_EQ(send(s.a, "three", 5, MSG_EOR), 5);
        int waiting = -1;
        CHECK(ioctl(s.b, FIONREAD, &waiting) == 0);
        CHECK_EQ(waiting, types[at] == SOCK_DGRAM ? 3 : 8);
        expect_text(s.b, "one");
        CHECK_EQ(recv(s.b, buffer, sizeof buffer, 0), 0);
        CHECK_EQ(recv(s.b, buffer, 2, MSG_PEEK | MSG_TRUNC), 5);
        struct iovec where = {buffer, 2};
        struct msghdr m = {.msg_iov = &where, .msg_iovlen = 1};
        CHECK_EQ(recvmsg(s.b, &m, 0), 2);
        CHECK_EQ(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
        CHECK_ERROR(recv(s.b, buffer, 1, MSG_DONTWAIT), EAGAIN); // the rest of it is lost
        char* large = anonymous(mib);
        CHECK_ERROR(send(s.a, large, mib, 0), EMSGSIZE);
        for (int byte = 0; byte < 100000; byte++)
            large[byte] = byte * 7 >> 3;
        CHECK_EQ(send(s.a, large, 100000, 0), 100000);
        memset(large, 0, 100000); // it is not seen
        char* got = anonymous(mib);
        CHECK_EQ(recv(s.b, got, mib, 0), 100000);
        for (int byte = 0; byte < 100000; byte++)
            CHECK_EQ(got[byte], (char)(byte * 7 >> 3));
        munmap(large, mib);
        munmap(got, mib);
    }
}

static void a_stream_is_peeked_at_and_read_in_parts(void) {
    struct two s = make_pair(SOCK_STREAM);
    char buffer[16];
    CHECK_EQ(write(s.a, "abcdef", 6), 6);
    CHECK_EQ(recv(s.b, buffer, 4, MSG_PEEK), 4);
    CHECK_EQ(recv(s.b, buffer, 16, MSG_PEEK), 6);
    CHECK_EQ(read(s.b, buffer, 2), 2);
    CHECK(!memcmp(buffer, "ab", 2));
    CHECK_EQ(recv(s.b, buffer, 16, MSG_PEEK | MSG_DONTWAIT), 4);
    CHECK(!memcmp(buffer, "cdef", 4));
    IN_CHILD(child) {
        sleep_ms(20);
        CHECK_EQ(write(s.a, "gh", 2), 2);
        sleep_ms(20);
        CHECK_EQ(write(s.a, "ij", 2), 2);
    }
    CHECK_EQ(recv(s.b, buffer, 8, MSG_WAITALL), 8);
    CHECK(!memcmp(buffer, "cdefghij", 8));
    CHECK_EQ(EXIT_STATUS(child), 0);
    struct iovec parts[2] = {{"12", 2}, {"345", 3}};
    CHECK_EQ(writev(s.a, parts, 2), 5);
    struct iovec room[2] = {{buffer, 1}, {buffer + 8, 8}};
    CHECK_EQ(readv(s.b, room, 2), 5);
    CHECK(buffer[0] == '1' && !memcmp(buffer + 8, "2345", 4));
}

static void large_streams_arrive_unchanged(void) {
    struct two s = make_pair(SOCK_STREAM);
    IN_CHILD(child) {
        close(s.b);
        unsigned* words = (void*)anonymous(mib);
        for (int turn = 0; turn < 8; turn++) {
            for (unsigned at = 0; at < mib / 4; at++)
                words[at] = at * 2654435761u + turn;
            size_t done = 0;
            while (done < mib) {
                const ssize_t count = write(s.a, (char*)words + done, mib - done);
                CHECK(count > 0);
                done += count;
            }
            memset(words, 0xee, mib);
        }
    }
    close(s.a);
    unsigned* words = (void*)anonymous(mib);
    for (int turn = 0; turn < 8; turn++) {
        CHECK_EQ(recv(s.b, words, mib, MSG_WAITALL), mib);
        for (unsigned at = 0; at < mib / 4; at++)
            CHECK_EQ(words[at], at * 2654435761u + turn);
    }
    CHECK_EQ(read(s.b, words, 1), 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

// --- Names

static void paths_lead_to_listeners(void) {
    for (int at = 0; at < 2; at++) {
        char buffer[20];
        unlink("/tmp/socket-test");
        const int server = listener(types[at], "/tmp/socket-test", 5);
        struct stat what;
        CHECK(stat("/tmp/socket-test", &what) == 0 && S_ISSOCK(what.st_mode));
        CHECK_ERROR(open("/tmp/socket-test", O_RDWR), ENXIO);
        const int client = make_socket(types[at]);
        CHECK_ERROR(send(client, "x", 1, MSG_NOSIGNAL), ENOTCONN);
        CHECK(try_connect(client, "/tmp/socket-test") == 0);
        CHECK_ERROR(try_connect(client, "/tmp/socket-test"), EISCONN);
        CHECK_EQ(write(client, "early", 5), 5); // before it is accepted
        struct sockaddr_un from = {0};
        socklen_t length = sizeof from;
        const int accepted = accept4(server, (struct sockaddr*)&from, &length, SOCK_CLOEXEC);
        CHECK(accepted >= 0);
        CHECK_EQ(length, sizeof(sa_family_t));
        CHECK_EQ(fcntl(accepted, F_GETFD), FD_CLOEXEC);
        expect_text(accepted, "early");
        length = sizeof from;
        CHECK(getsockname(accepted, (struct sockaddr*)&from, &length) == 0);
        CHECK_EQ(length, offsetof(struct sockaddr_un, sun_path) + sizeof "/tmp/socket-test");
        CHECK(!strcmp(from.sun_path, "/tmp/socket-test"));
        length = sizeof from;
        CHECK(getpeername(client, (struct sockaddr*)&from, &length) == 0);
        CHECK(!strcmp(from.sun_path, "/tmp/socket-test"));
        CHECK_EQ(write(accepted, "answer", 6), 6);
        expect_text(client, "answer");
        close(accepted);
        CHECK_EQ(read(client, buffer, 1), 0);
        const int other = make_socket(types[at]);
        CHECK_ERROR(try_bind(other, "/tmp/socket-test"), EADDRINUSE);
        const int wrong = make_socket(types[!at]);
        CHECK_ERROR(try_connect(wrong, "/tmp/socket-test"), EPROTOTYPE);
        close(server);
        CHECK_ERROR(try_connect(other, "/tmp/socket-test"), ECONNREFUSED);
        CHECK(unlink("/tmp/socket-test") == 0);
        CHECK_ERROR(try_connect(other, "/tmp/socket-test"), ENOENT);
        close(client), close(other), close(wrong);
    }
}

static void connecting_needs_write_permission(void) {
    if (geteuid() != 0) tap_skip("needs root");
    unlink("/tmp/socket-permission");
    const int server = listener(SOCK_STREAM, "/tmp/socket-permission", 5);
    CHECK(chmod("/tmp/socket-permission", 0700) == 0);
    IN_CHILD(child) {
        CHECK(setuid(1234) == 0);
        CHECK_ERROR(try_connect(make_socket(SOCK_STREAM), "/tmp/socket-permission"), EACCES);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(chmod("/tmp/socket-permission", 0722) == 0);
    IN_CHILD(second) {
        CHECK(setuid(1234) == 0);
        CHECK(try_connect(make_socket(SOCK_STREAM), "/tmp/socket-permission") == 0);
    }
    CHECK_EQ(EXIT_STATUS(second), 0);
    const int accepted = accept(server, NULL, NULL);
    struct ucred who;
    socklen_t length = sizeof who;
    CHECK(getsockopt(accepted, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0);
    CHECK_EQ(who.uid, 1234);
    CHECK_EQ(who.pid, second);
    CHECK(unlink("/tmp/socket-permission") == 0);
}

static void abstract_names_vanish_with_their_socket(void) {
    const int server = listener(SOCK_STREAM, "@socket test", 1);
    const int second = make_socket(SOCK_STREAM);
    CHECK_ERROR(try_bind(second, "@socket test"), EADDRINUSE);
    CHECK_ERROR(try_connect(second, "@socket tes"), ECONNREFUSED);
    CHECK(try_connect(second, "@socket test") == 0);
    CHECK(close(server) == 0);
    char byte;
    CHECK_ERROR(read(second, &byte, 1), ECONNRESET); // it was never accepted
    CHECK(close(listener(SOCK_STREAM, "@socket test", 1)) == 0);
    // Any name will do.
    const int any = make_socket(SOCK_DGRAM);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    CHECK(bind(any, (struct sockaddr*)&name, sizeof(sa_family_t)) == 0);
    socklen_t length = sizeof name;
    CHECK(getsockname(any, (struct sockaddr*)&name, &length) == 0);
    CHECK_EQ(length, sizeof(sa_family_t) + 6);
    CHECK_EQ(name.sun_path[0], 0);
    CHECK_ERROR(try_bind(any, "@another"), EINVAL);
}

static void datagrams_go_where_they_are_sent(void) {
    const int a = make_socket(SOCK_DGRAM), b = make_socket(SOCK_DGRAM), c = make_socket(SOCK_DGRAM);
    CHECK(try_bind(a, "@dgram a") == 0 && try_bind(b, "@dgram b") == 0);
    CHECK_EQ(send_to(a, "to b", 4, "@dgram b"), 4);
    char buffer[20];
    struct sockaddr_un from;
    socklen_t length = sizeof from;
    CHECK_EQ(recvfrom(b, buffer, 20, 0, (struct sockaddr*)&from, &length), 4);
    CHECK_EQ(length, offsetof(struct sockaddr_un, sun_path) + 8);
    CHECK(!memcmp(from.sun_path, "\0dgram a", 8));
    CHECK_ERROR(send(c, "x", 1, 0), ENOTCONN);
    CHECK_ERROR(send_to(c, "x", 1, "@nobody"), ECONNREFUSED);
    CHECK(try_connect(b, "@dgram a") == 0);
    CHECK_ERROR(send_to(c, "x", 1, "@dgram b"), EPERM); // b talks to a only
    CHECK_EQ(send(b, "back", 4, 0), 4);
    expect_text(a, "back");
    close(a);
    CHECK_ERROR(send(b, "x", 1, 0), ECONNREFUSED);
    CHECK_ERROR(send(b, "x", 1, 0), ENOTCONN);
}

// --- Files that travel

static ssize_t send_files(int to, const int* files, int count, int flags) {
    char room[CMSG_SPACE(sizeof(int) * 300)] __attribute__((aligned(8)));
    struct iovec where = {"f", 1};
    struct msghdr m = {.msg_iov = &where, .msg_iovlen = 1, .msg_control = room};
    m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr* c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * count)};
    memcpy(CMSG_DATA(c), files, sizeof(int) * count);
    return syscall(SYS_sendmsg, to, &m, flags); // musl has a limit of its own
}

// How many came; `room` is for so many.
static int receive_files(int from, int* files, int room, int flags, int* flags_out) {
    char control[CMSG_SPACE(sizeof(int) * 300)] __attribute__((aligned(8)));
    char byte;
    struct iovec where = {&byte, 1};
    struct msghdr m = {.msg_iov = &where, .msg_iovlen = 1, .msg_control = control};
    m.msg_controllen = room ? CMSG_LEN(sizeof(int) * room) : 0;
    CHECK_EQ(recvmsg(from, &m, flags), 1);
    if (flags_out) *flags_out = m.msg_flags;
    struct cmsghdr* c = CMSG_FIRSTHDR(&m);
    if (!c) return 0;
    CHECK_EQ(c->cmsg_type, SCM_RIGHTS);
    const int count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(files, CMSG_DATA(c), sizeof(int) * count);
    return count;
}

static void descriptors_travel(void) {
    for (int at = 0; at < 3; at++) {
        struct two s = make_pair(types[at]);
        int ends[2], got[4], flags;
        CHECK(pipe(ends) == 0);
        CHECK_EQ(send_files(s.a, ends, 2, 0), 1);
        CHECK_EQ(receive_files(s.b, got, 2, MSG_PEEK, NULL), 2); // a copy
        close(got[0]), close(got[1]);
        CHECK_EQ(receive_files(s.b, got, 2, MSG_CMSG_CLOEXEC, &flags), 2);
        CHECK_EQ(flags & MSG_CTRUNC, 0);
        CHECK_EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
        close(ends[0]), close(ends[1]);
        CHECK_EQ(write(got[1], "through", 7), 7);
        char buffer[10];
        CHECK_EQ(read(got[0], buffer, 10), 7);
        // No room: those that fit, and the others are closed.
        CHECK_EQ(send_files(s.a, got, 2, 0), 1);
        close(got[1]);
        int one;
        CHECK_EQ(receive_files(s.b, &one, 1, 0, &flags), 1);
        CHECK_EQ(flags & MSG_CTRUNC, MSG_CTRUNC);
        CHECK_EQ(read(got[0], buffer, 1), 0);
        close(one), close(got[0]);
        CHECK_ERROR(send_files(s.a, (int[]){-1}, 1, 0), EBADF);
        int many[254];
        for (int i = 0; i < 254; i++)
            many[i] = s.a;
        CHECK_ERROR(send_files(s.a, many, 254, 0), EINVAL);
        CHECK_EQ(send_files(s.a, many, 253, 0), 1);
        close(s.a), close(s.b);
    }
}

static void a_read_ends_where_descriptors_came(void) {
    struct two s = make_pair(SOCK_STREAM);
    char buffer[20];
    CHECK_EQ(write(s.a, "before", 6), 6);
    CHECK_EQ(send_files(s.a, &s.a, 1, 0), 1);
    CHECK_EQ(write(s.a, "after", 5), 5);
    int got;
    CHECK_EQ(read(s.b, buffer, 6), 6);
    CHECK_EQ(receive_files(s.b, &got, 1, 0, NULL), 1);
    CHECK_EQ(read(s.b, buffer, 20), 5);
    CHECK_EQ(write(s.a, "before", 6), 6);
    CHECK_EQ(send_files(s.a, &s.a, 1, 0), 1); // lost: read() has nowhere to say so
    CHECK_EQ(write(s.a, "after", 5), 5);
    CHECK_EQ(read(s.b, buffer, 20), 7);
    CHECK_EQ(read(s.b, buffer, 20), 5);
    CHECK_EQ(write(got, "x", 1), 1);
    CHECK_EQ(read(s.b, buffer, 20), 1);
}

// A pipe's reading end sees the end of the file once nobody holds the other one.
static void expect_end(int of) {
    struct pollfd at = {.fd = of, .events = POLLIN};
    char byte;
    int found = 0;
    for (int turn = 0; turn < 200 && !found; turn++) {
        const struct two other = make_pair(SOCK_STREAM); // Linux looks for circles when a socket goes
        close(other.a), close(other.b);
        found = poll(&at, 1, 100);
    }
    CHECK_EQ(found, 1);
    CHECK_EQ(read(of, &byte, 1), 0);
}

static void files_nobody_receives_are_closed(void) {
    for (int at = 0; at < 3; at++) {
        struct two s = make_pair(types[at]);
        int ends[2];
        CHECK(pipe(ends) == 0);
        CHECK_EQ(send_files(s.a, &ends[1], 1, 0), 1);
        close(ends[1]);
        close(s.b);
        expect_end(ends[0]);
        close(ends[0]), close(s.a);
    }
}

static void sockets_in_circles_are_collected(void) {
    for (int at = 0; at < 3; at++) {
        // Each holds the other one, and itself, and a pipe.
        struct two s = make_pair(types[at]);
        int ends[2];
        CHECK(pipe(ends) == 0);
        CHECK_EQ(send_files(s.a, (int[]){s.b, ends[1]}, 2, 0), 1);
        CHECK_EQ(send_files(s.b, (int[]){s.a}, 1, 0), 1);
        CHECK_EQ(send_files(s.a, (int[]){s.a, s.b}, 2, 0), 1);
        close(ends[1]);
        sleep_ms(30);
        CHECK_EQ(events_of(ends[0]), 0); // it is held
        close(s.a), close(s.b);
        expect_end(ends[0]);
        close(ends[0]);
    }
    // A listener that waits in its own queue.
    const int server = listener(SOCK_STREAM, "@circle", 5);
    const int client = make_socket(SOCK_STREAM);
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(try_connect(client, "@circle") == 0);
    CHECK_EQ(send_files(client, (int[]){server, client, ends[1]}, 3, 0), 1);
    close(server), close(client), close(ends[1]);
    expect_end(ends[0]);
}

static void long_chains_of_sockets_come_apart(void) {
    int ends[2], last;
    CHECK(pipe(ends) == 0);
    last = ends[1];
    for (int turn = 0; turn < 500; turn++) { // each one waits in the next
        struct two s = make_pair(SOCK_STREAM);
        CHECK_EQ(send_files(s.a, &last, 1, 0), 1);
        close(s.a), close(last);
        last = s.b;
    }
    close(last);
    expect_end(ends[0]);
}

static void too_many_in_flight_are_refused(void) {
    IN_CHILD(child) {
        if (geteuid() == 0) CHECK(setuid(4321) == 0);
        const struct rlimit limit = {200, 200};
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        struct two s = make_pair(SOCK_DGRAM);
        int many[100], sent = 0;
        for (int at = 0; at < 100; at++)
            many[at] = s.a;
        fcntl(s.a, F_SETFL, O_NONBLOCK);
        while (send_files(s.a, many, 100, 0) == 1)
            CHECK(++sent < 10);
        CHECK_EQ(errno, ETOOMANYREFS);
        int got[100];
        for (; sent; sent--) {
            CHECK_EQ(receive_files(s.b, got, 100, 0, NULL), 100);
            for (int at = 0; at < 100; at++)
                close(got[at]);
        }
        CHECK_EQ(send_files(s.a, many, 100, 0), 1);
        // No descriptors are left to receive them as.
        while (dup(0) >= 0)
            ;
        int flags;
        CHECK_EQ(receive_files(s.b, got, 100, 0, &flags), 0);
        CHECK_EQ(flags & MSG_CTRUNC, MSG_CTRUNC);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static ssize_t send_credentials(int to, struct ucred who) {
    char room[CMSG_SPACE(sizeof who)] __attribute__((aligned(8)));
    struct iovec where = {"c", 1};
    struct msghdr m = {.msg_iov = &where, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr* c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS, .cmsg_len = CMSG_LEN(sizeof who)};
    memcpy(CMSG_DATA(c), &who, sizeof who);
    return sendmsg(to, &m, 0);
}

static struct ucred receive_credentials(int from) {
    char control[CMSG_SPACE(sizeof(struct ucred))] __attribute__((aligned(8)));
    char byte;
    struct ucred who;
    struct iovec where = {&byte, 1};
    struct msghdr m = {.msg_iov = &where, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK_EQ(recvmsg(from, &m, 0), 1);
    struct cmsghdr* c = CMSG_FIRSTHDR(&m);
    CHECK(c && c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof who));
    memcpy(&who, CMSG_DATA(c), sizeof who);
    return who;
}

static void credentials_are_the_kernels(void) {
    const int on = 1;
    for (int at = 0; at < 3; at++) {
        struct two s = make_pair(types[at]);
        CHECK(setsockopt(s.b, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
        CHECK_EQ(write(s.a, "x", 1), 1);
        struct ucred who = receive_credentials(s.b);
        CHECK(who.pid == getpid() && who.uid == getuid() && who.gid == getgid());
        IN_CHILD(child) {
            if (geteuid() == 0) CHECK(setgid(55) == 0 && setuid(44) == 0);
            CHECK_EQ(send_credentials(s.a, (struct ucred){getpid(), getuid(), getgid()}), 1);
            CHECK_ERROR(send_credentials(s.a, (struct ucred){getppid(), getuid(), getgid()}), EPERM);
            CHECK_ERROR(send_credentials(s.a, (struct ucred){getpid(), getuid() + 1, getgid()}), EPERM);
            CHECK_ERROR(send_credentials(s.a, (struct ucred){getpid(), getuid(), getgid() + 1}), EPERM);
        }
        CHECK_EQ(EXIT_STATUS(child), 0);
        who = receive_credentials(s.b);
        CHECK_EQ(who.pid, child);
        socklen_t length = sizeof who;
        CHECK(getsockopt(s.a, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0);
        CHECK_EQ(who.pid, getpid());
    }
}

// --- Waiting

static void nothing_blocks_that_should_not(void) {
    for (int at = 0; at < 3; at++) {
        struct two s = make_pair(types[at] | SOCK_NONBLOCK);
        char buffer[1000] = {0};
        CHECK_ERROR(read(s.a, buffer, 1), EAGAIN);
        long sent = 0;
        while (write(s.a, buffer, sizeof buffer) == sizeof buffer)
            CHECK((sent += sizeof buffer) < 16 * mib);
        CHECK_EQ(errno, EAGAIN);
        CHECK(sent > 10000);
        CHECK_EQ(events_of(s.a) & POLLOUT, 0);
        for (; sent; sent -= sizeof buffer)
            CHECK_EQ(read(s.b, buffer, sizeof buffer), sizeof buffer);
        CHECK_EQ(events_of(s.a) & POLLOUT, POLLOUT);
        fcntl(s.a, F_SETFL, 0);
        CHECK_ERROR(recv(s.a, buffer, 1, MSG_DONTWAIT), EAGAIN);
        const struct timeval time = {.tv_usec = 30000};
        CHECK(setsockopt(s.a, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0);
        const long long begun = now_ns();
        CHECK_ERROR(recv(s.a, buffer, 1, 0), EAGAIN);
        CHECK(now_ns() - begun >= 30000000);
    }
    const int server = listener(SOCK_STREAM | SOCK_NONBLOCK, "@waiting", 0);
    CHECK_ERROR(accept(server, NULL, NULL), EAGAIN);
    CHECK(try_connect(make_socket(SOCK_STREAM | SOCK_NONBLOCK), "@waiting") == 0);
    CHECK_ERROR(try_connect(make_socket(SOCK_STREAM | SOCK_NONBLOCK), "@waiting"), EAGAIN);
    IN_CHILD(child) CHECK(try_connect(make_socket(SOCK_STREAM), "@waiting") == 0); // waits for its turn
    sleep_ms(20);
    CHECK_EQ(events_of(server), POLLIN);
    struct rlimit usual;
    CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0 && setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, usual.rlim_max}) == 0);
    CHECK_ERROR(accept(server, NULL, NULL), EMFILE); // it stays in the queue
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    CHECK(accept(server, NULL, NULL) >= 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
    int value;
    socklen_t length = sizeof value;
    CHECK(getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value == 1);
}

static void shutdown_ends_one_direction(void) {
    signal(SIGPIPE, SIG_IGN);
    for (int at = 0; at < 2; at++) {
        struct two s = make_pair(types[at]);
        char buffer[10];
        CHECK_ERROR(shutdown(s.a, 3), EINVAL);
        CHECK_EQ(write(s.a, "last", 4), 4);
        CHECK(shutdown(s.a, SHUT_WR) == 0);
        CHECK_ERROR(write(s.a, "x", 1), EPIPE);
        expect_text(s.b, "last");
        CHECK_EQ(read(s.b, buffer, 1), 0);
        CHECK_EQ(events_of(s.b), POLLIN | POLLOUT | POLLRDHUP);
        CHECK_EQ(write(s.b, "still", 5), 5);
        expect_text(s.a, "still");
        CHECK(shutdown(s.a, SHUT_RD) == 0);
        CHECK_ERROR(write(s.b, "x", 1), EPIPE);
        CHECK_EQ(events_of(s.b), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
        CHECK_EQ(read(s.a, buffer, 1), 0);
    }
    struct two s = make_pair(SOCK_DGRAM);
    CHECK(shutdown(s.a, SHUT_RD) == 0);
    CHECK_ERROR(write(s.b, "x", 1), EPIPE);
}

static volatile int seen;
static void count(int number) {
    seen++;
}

static void the_peers_going_is_noticed(void) {
    signal(SIGPIPE, count);
    for (int at = 0; at < 2; at++) {
        struct two s = make_pair(types[at]);
        char buffer[10];
        CHECK_EQ(write(s.b, "left behind", 11), 11);
        close(s.b);
        CHECK_EQ(events_of(s.a), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
        CHECK_EQ(recv(s.a, buffer, 4, 0), 4);
        if (at == 0) CHECK_EQ(read(s.a, buffer, 10), 7);
        CHECK_EQ(read(s.a, buffer, 10), 0);
        seen = 0;
        CHECK_ERROR(send(s.a, "x", 1, MSG_NOSIGNAL), EPIPE);
        CHECK_EQ(seen, 0);
        CHECK_ERROR(write(s.a, "x", 1), EPIPE);
        CHECK_EQ(seen, types[at] == SOCK_STREAM);
        close(s.a);
        // What it had not read is lost, and that is an error.
        s = make_pair(types[at]);
        CHECK_EQ(write(s.a, "lost", 4), 4);
        close(s.b);
        CHECK_EQ(events_of(s.a) & POLLERR, POLLERR);
        CHECK_ERROR(read(s.a, buffer, 10), ECONNRESET);
        CHECK_EQ(read(s.a, buffer, 10), 0);
        close(s.a);
        // One that sleeps.
        s = make_pair(types[at]);
        IN_CHILD(child) {
            close(s.a);
            CHECK_EQ(read(s.b, buffer, 1), 0);
        }
        close(s.b);
        sleep_ms(20);
        close(s.a);
        CHECK_EQ(EXIT_STATUS(child), 0);
    }
}

static void epoll_tells_of_edges(void) {
    struct two s = make_pair(SOCK_STREAM);
    const int queue = epoll_create1(0);
    struct epoll_event what = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = s.a}, got;
    CHECK(epoll_ctl(queue, EPOLL_CTL_ADD, s.a, &what) == 0);
    CHECK_EQ(epoll_wait(queue, &got, 1, 0), 1);
    CHECK_EQ(got.events, EPOLLOUT);
    CHECK_EQ(epoll_wait(queue, &got, 1, 0), 0);
    for (int turn = 0; turn < 2; turn++) { // each arrival is told of once
        CHECK_EQ(write(s.b, "x", 1), 1);
        CHECK_EQ(epoll_wait(queue, &got, 1, 20000), 1);
        CHECK_EQ(got.events, EPOLLIN | EPOLLOUT);
        CHECK_EQ(epoll_wait(queue, &got, 1, 0), 0);
    }
    IN_CHILD(child) {
        close(s.a);
        sleep_ms(20);
    }
    close(s.b);
    CHECK_EQ(epoll_wait(queue, &got, 1, 20000), 1); // when the child has gone, too
    CHECK_EQ(got.events, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(close(s.a) == 0); // it may have more to tell
    // A datagram socket that sends to a full one.
    s = make_pair(SOCK_DGRAM | SOCK_NONBLOCK);
    char buffer[2000] = {0};
    what = (struct epoll_event){.events = EPOLLOUT};
    CHECK(epoll_ctl(queue, EPOLL_CTL_ADD, s.a, &what) == 0);
    while (write(s.a, buffer, sizeof buffer) > 0)
        ;
    CHECK_EQ(epoll_wait(queue, &got, 1, 0), 0);
    while (read(s.b, buffer, sizeof buffer) > 0)
        ;
    CHECK_EQ(epoll_wait(queue, &got, 1, 20000), 1);
}

// --- Many at once

static struct two hammered;
static void* hammer(void* which) {
    char buffer[300];
    const long me = (long)which;
    unsigned state = me + 1;
    for (int turn = 0; turn < 400; turn++) {
        state = state * 1103515245 + 12345;
        const int end = state >> 16 & 1 ? hammered.a : hammered.b;
        switch (state >> 17 & 3) {
        case 0: send(end, buffer, state >> 20 & 255, MSG_DONTWAIT | MSG_NOSIGNAL); break;
        case 1: recv(end, buffer, state >> 20 & 255, MSG_DONTWAIT); break;
        case 2: send_files(end, (int[]){hammered.a, hammered.b}, 2, MSG_DONTWAIT | MSG_NOSIGNAL); break;
        case 3: {
            char control[CMSG_SPACE(8)] __attribute__((aligned(8)));
            struct iovec where = {buffer, 100};
            struct msghdr m = {.msg_iov = &where, .msg_iovlen = 1, .msg_control = control};
            m.msg_controllen = sizeof control;
            if (recvmsg(end, &m, MSG_DONTWAIT | (state >> 20 & 1 ? MSG_PEEK : 0)) < 0) break;
            struct cmsghdr* c = CMSG_FIRSTHDR(&m);
            for (size_t at = 0; c && at < (c->cmsg_len - CMSG_LEN(0)) / 4; at++)
                close(((int*)CMSG_DATA(c))[at]);
            break;
        }
        }
    }
    return NULL;
}

static void four_threads_hammer_one_pair(void) {
    for (int at = 0; at < 3; at++) {
        hammered = make_pair(types[at]);
        pthread_t threads[4];
        for (long i = 0; i < 4; i++)
            CHECK(pthread_create(&threads[i], NULL, hammer, (void*)i) == 0);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        close(hammered.a), close(hammered.b);
    }
}

// Servers and clients, and datagram sockets that change their peers.
static volatile int coming_and_going;
static void* come_and_go(void* which) {
    const long me = (long)which;
    char buffer[100];
    for (int turn = 0; turn < 150; turn++) {
        const int s = make_socket(me < 4 ? (me & 1 ? SOCK_STREAM : SOCK_SEQPACKET) : SOCK_DGRAM);
        const char* name = me & 1 ? "@coming" : "@going";
        fcntl(s, F_SETFL, O_NONBLOCK);
        if (me < 2) {
            if (try_bind(s, name) == 0) {
                listen(s, turn & 3);
                for (int tries = 0; tries < 4; tries++) {
                    const int got = accept(s, NULL, NULL);
                    if (got < 0) {
                        poll(&(struct pollfd){.fd = s, .events = POLLIN}, 1, 2);
                        continue;
                    }
                    if (tries & 1) recv(got, buffer, 1, MSG_DONTWAIT);
                    send(got, "answer", 6, MSG_NOSIGNAL | MSG_DONTWAIT);
                    close(got);
                }
            }
        } else if (me < 4) {
            for (int tries = 0; tries < 100 && try_connect(s, name) < 0; tries++)
                sched_yield();
            if (events_of(s) != (POLLOUT | POLLHUP)) {
                send_files(s, &s, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (turn & 1) sched_yield();
                recv(s, buffer, 100, MSG_DONTWAIT);
                coming_and_going++;
            }
        } else {
            if (turn & 1) try_bind(s, me & 1 ? "@dgram 1" : "@dgram 2");
            try_connect(s, me & 1 ? "@dgram 2" : "@dgram 1");
            send(s, "hello", 5, MSG_NOSIGNAL | MSG_DONTWAIT);
            events_of(s);
            recv(s, buffer, 100, MSG_DONTWAIT);
            const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
            connect(s, &nobody, sizeof nobody);
            try_connect(s, me & 1 ? "@dgram 2" : "@dgram 1");
        }
        close(s);
    }
    return NULL;
}

static void connections_come_and_go(void) {
    pthread_t threads[6];
    for (long i = 0; i < 6; i++)
        CHECK(pthread_create(&threads[i], NULL, come_and_go, (void*)i) == 0);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    note("%d connections", coming_and_going);
    CHECK_EQ(try_bind(make_socket(SOCK_STREAM), "@coming"), 0);
    CHECK_EQ(try_bind(make_socket(SOCK_STREAM), "@going"), 0);
}

static void all_comes_back_from_the_killed(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    IN_CHILD(child) {
        struct two s = make_pair(SOCK_STREAM), d = make_pair(SOCK_DGRAM);
        char* buffer = anonymous(mib);
        memset(buffer, 1, mib);
        CHECK_EQ(send_files(s.a, (int[]){ends[1], s.a, s.b}, 3, 0), 1);
        CHECK_EQ(send_files(d.a, (int[]){ends[1], s.a, d.b}, 3, 0), 1);
        CHECK(write(d.a, buffer, 100000) == 100000);
        send(s.a, buffer, mib, MSG_DONTWAIT);
        kill(getpid(), SIGKILL);
    }
    CHECK_EQ(KILLED_BY(child), SIGKILL);
    close(ends[1]);
    expect_end(ends[0]);
}

static void several_messages_go_in_one_call(void) {
    struct two s = make_pair(SOCK_DGRAM);
    struct iovec out[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    struct mmsghdr messages[4] = {0};
    for (int at = 0; at < 3; at++)
        messages[at].msg_hdr.msg_iov = &out[at], messages[at].msg_hdr.msg_iovlen = 1;
    CHECK_EQ(sendmmsg(s.a, messages, 3, 0), 3);
    CHECK_EQ(messages[2].msg_len, 3);
    char buffer[4][10];
    for (int at = 0; at < 4; at++) {
        out[at % 3] = (struct iovec){buffer[at % 3], 10};
        messages[at] = (struct mmsghdr){.msg_hdr.msg_iov = &out[at % 3], .msg_hdr.msg_iovlen = 1};
    }
    CHECK_EQ(recvmmsg(s.b, messages, 4, MSG_WAITFORONE, NULL), 3);
    CHECK_EQ(messages[1].msg_len, 2);
    CHECK(!memcmp(buffer[2], "ccc", 3));
}

static void bytes_move_between_files_and_streams(void) {
    struct two s = make_pair(SOCK_STREAM), t = make_pair(SOCK_STREAM);
    int ends[2];
    char* buffer = anonymous(65536);
    memset(buffer, 'p', 65536);
    const int file = memfd_create("source", 0);
    CHECK(file >= 0 && pipe(ends) == 0);
    CHECK_EQ(write(file, buffer, 65536), 65536);
    off_t at = 0;
    CHECK_EQ(sendfile(s.a, file, &at, 65536), 65536); // from a file to a stream,
    size_t moved = 0;
    while (moved < 65536) { // by a pipe to another stream
        const ssize_t in = splice(s.b, NULL, ends[1], NULL, 65536 - moved, 0);
        CHECK(in > 0);
        for (ssize_t out = 0; out < in;) {
            const ssize_t count = splice(ends[0], NULL, t.a, NULL, in - out, 0);
            CHECK(count > 0);
            out += count;
        }
        moved += in;
    }
    memset(buffer, 0, 65536);
    CHECK_EQ(recv(t.b, buffer, 65536, MSG_WAITALL), 65536);
    for (int byte = 0; byte < 65536; byte++)
        CHECK_EQ(buffer[byte], 'p');
    struct two d = make_pair(SOCK_DGRAM);
    CHECK_EQ(write(ends[1], "short", 5), 5);
    CHECK_EQ(splice(ends[0], NULL, d.a, NULL, 100, 0), 5);
    expect_text(d.b, "short");
    signal(SIGPIPE, SIG_IGN);
    close(t.b);
    CHECK_EQ(write(ends[1], "lost", 4), 4);
    CHECK_ERROR(splice(ends[0], NULL, t.a, NULL, 4, 0), EPIPE);
}

TAP_MAIN(T(pairs_carry_bytes_both_ways), T(messages_keep_their_bounds), T(a_stream_is_peeked_at_and_read_in_parts),
         T(large_streams_arrive_unchanged), T(paths_lead_to_listeners), T(connecting_needs_write_permission),
         T(abstract_names_vanish_with_their_socket), T(datagrams_go_where_they_are_sent), T(descriptors_travel),
         T(a_read_ends_where_descriptors_came), T(files_nobody_receives_are_closed),
         T(sockets_in_circles_are_collected), T(long_chains_of_sockets_come_apart), T(too_many_in_flight_are_refused),
         T(credentials_are_the_kernels), T(nothing_blocks_that_should_not), T(shutdown_ends_one_direction),
         T(the_peers_going_is_noticed), T(epoll_tells_of_edges), T(four_threads_hammer_one_pair),
         T(connections_come_and_go), T(all_comes_back_from_the_killed), T(several_messages_go_in_one_call),
         T(bytes_move_between_files_and_streams))
