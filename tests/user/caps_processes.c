// The descriptors of services and clients in processes: fork, exec, sockets.
#include "tests/user/caps_letter.h"

#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

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

// Their table was shared, and is their own from then on; it is not a child's.
static void who_leaves_a_shared_table_keeps_its_ends(void) {
    begin();
    int service, client;
    both_ends("leaver", &service, &client);
    IN_CHILD(sharer) {
        // A process with the same table, of which this one takes leave.
        const pid_t other = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
        if (!other)
            for (;;)
                pause();
        const int own = caps_service("leaver-own", CAPS_WORLD);
        CHECK(own >= 0 && syscall(SYS_close_range, 900, 901, 2) == 0); // CLOSE_RANGE_UNSHARE
        struct letter l;
        CHECK_ERROR(caps_get(own, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
        end(other);
    }
    CHECK_EQ(EXIT_STATUS(sharer), 0);
    IN_CHILD(execs) {
        int input[2], told[2], service_fd;
        CHECK(pipe(input) == 0 && pipe(told) == 0);
        const pid_t other = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
        if (!other) {
            service_fd = caps_service("leaver-execed", CAPS_WORLD);
            CHECK(service_fd >= 0 && write(told[1], &service_fd, sizeof service_fd) == sizeof service_fd);
            CHECK(dup2(input[0], 0) == 0);
            execl("/bin/cat", "cat", NULL);
        }
        CHECK(read(told[0], &service_fd, sizeof service_fd) == sizeof service_fd);
        char path[40], name[8] = "";
        for (snprintf(path, sizeof path, "/proc/%d/comm", other); strncmp(name, "cat", 3); sleep_ms(5)) {
            const int file = open(path, O_RDONLY);
            CHECK(file >= 0 && read(file, name, sizeof name) > 0 && close(file) == 0);
        }
        CHECK(close(service_fd) == 0); // it is in both tables
        CHECK(caps_connect("leaver-execed", 0, 0) >= 0);
        end(other);
        CHECK_ERROR(caps_connect("leaver-execed", 0, 0), ENOENT);
    }
    CHECK_EQ(EXIT_STATUS(execs), 0);
}

union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

static void send_descriptor(int socket, int fd) {
    char byte = 'x';
    union control control = {
        .head = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec one = {&byte, 1};
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    const struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    CHECK_EQ(sendmsg(socket, &message, 0), 1);
}

static int receive_descriptor(int socket) {
    char byte;
    union control control;
    struct iovec one = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    CHECK_EQ(recvmsg(socket, &message, 0), 1);
    CHECK(message.msg_controllen >= CMSG_LEN(sizeof(int)) && control.head.cmsg_type == SCM_RIGHTS);
    int fd;
    memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
    return fd;
}

static int tell_who(int service, struct letter* l) {
    memcpy(l->m.text, &l->sender, sizeof l->sender);
    l->m.text_bytes = sizeof l->sender;
    return 0;
}

static struct caps_sender who_am_i(int client) {
    struct letter l;
    struct caps_sender who;
    CHECK(caps_call(client, &saying(&l, "who?")->m, &l.m, 0) == 0);
    CHECK_EQ(l.m.text_bytes, sizeof who);
    memcpy(&who, l.m.text, sizeof who);
    return who;
}

static void a_socket_passes_an_end_on(void) {
    begin();
    const pid_t server = serve("who", tell_who);
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    IN_CHILD(giver) {
        const int client = connect_to("who");
        CHECK_EQ(who_am_i(client).pid, getpid());
        send_descriptor(ends[1], client);
    }
    CHECK_EQ(EXIT_STATUS(giver), 0);
    const int client = receive_descriptor(ends[0]);
    // Who sends is who calls, not who connected.
    CHECK_EQ(who_am_i(client).pid, getpid());
    CHECK_EQ(who_am_i(client).uid, geteuid());
    if (getuid() == 0) {
        send_descriptor(ends[1], client);
        IN_CHILD(other) {
            CHECK(setgroups(0, NULL) == 0 && setgid(77) == 0 && setuid(1000) == 0);
            const struct caps_sender who = who_am_i(receive_descriptor(ends[0]));
            CHECK(who.pid == getpid() && who.uid == 1000 && who.gid == 77 && who.group_count == 0);
        }
        CHECK_EQ(EXIT_STATUS(other), 0);
    }
    end(server);
}

static void a_socket_passes_a_service_on(void) {
    begin();
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    IN_CHILD(giver) {
        const int service = caps_service("moving", CAPS_WORLD);
        CHECK(service >= 0);
        send_descriptor(ends[1], service);
    }
    CHECK_EQ(EXIT_STATUS(giver), 0); // it is on its way, and nobody has it
    struct letter l;
    const int client = caps_connect("moving", 0, 0);
    CHECK(client >= 0 && caps_put(client, &saying(&l, "early")->m, 0) == 0);
    CHECK_ERROR(caps_service("moving", CAPS_WORLD), EEXIST);
    const int service = receive_descriptor(ends[0]);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(says(&l, "early") && l.sender.pid == getpid());
    const uint64_t id = l.m.id;
    saying(&l, "here")->m.id = id;
    CHECK(caps_reply(service, &l.m, 0) == 0);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0 && says(&l, "here"));
    // One that nobody will receive any more ends.
    send_descriptor(ends[1], service);
    CHECK(close(service) == 0);
    CHECK(caps_put(client, &saying(&l, "lost")->m, 0) == 0);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    CHECK(l.m.kind == CAPS_RETURNED && l.m.result == ECONNRESET);
    CHECK_ERROR(caps_connect("moving", 0, 0), ENOENT);
}

static void a_vfork_child_is_a_child_like_others(void) {
    begin();
    int service, client;
    both_ends("vforked", &service, &client);
    static struct letter sent;
    static int numbers[2];
    const pid_t child = vfork();
    CHECK(child >= 0);
    if (child == 0) {
        numbers[0] = caps_put(client, &saying(&sent, "x")->m, 0) < 0 ? errno : 0;
        numbers[1] = caps_get(service, &sent.m, CAPS_DONTWAIT) < 0 ? errno : 0;
        _exit(close(service) | close(client)); // its own ones
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(numbers[0] == ENOTCONN && numbers[1] == ENOTCONN);
    CHECK(caps_put(client, &saying(&sent, "still there")->m, 0) == 0);
    CHECK(caps_get(service, &empty(&sent)->m, CAPS_DONTWAIT) == 0 && says(&sent, "still there"));
}

// A child that has the same table of descriptors as its parent.
static pid_t fork_with_files(void) {
    return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
}

static void who_shares_the_table_shares_the_ends(void) {
    begin();
    int service, client;
    both_ends("table", &service, &client);
    struct letter l;
    pid_t child = fork_with_files();
    CHECK(child >= 0);
    if (child == 0) _exit(caps_put(client, &saying(&l, "from the child")->m, 0) ? 1 : 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT) == 0);
    CHECK(says(&l, "from the child") && l.sender.pid == child);
    const uint64_t id = l.m.id;
    child = fork_with_files();
    CHECK(child >= 0);
    if (child == 0) {
        saying(&l, "also")->m.id = id;
        _exit(caps_reply(service, &l.m, 0) ? 1 : 0);
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT) == 0);
    CHECK(says(&l, "also") && l.sender.pid == child);
    // And what one of them closes is closed.
    child = fork_with_files();
    CHECK(child >= 0);
    if (child == 0) _exit(close(service) ? 1 : 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
    CHECK_ERROR(caps_put(client, &saying(&l, "x")->m, 0), ENOTCONN);
}

// --- Threads

enum { servers = 2, senders = 2, each = 400 };
static int shared_service, shared_client;
static char answered[senders * each]; // each by one server only

static void* serve_in_thread(void* turns) {
    struct letter l;
    for (;;) {
        CHECK(caps_get(shared_service, &empty(&l)->m, 0) == 0);
        int number;
        memcpy(&number, l.m.text, sizeof number);
        if (number < 0) return NULL;
        CHECK_EQ(__atomic_fetch_add(&answered[number], 1, __ATOMIC_SEQ_CST), 0);
        ++*(int*)turns;
        number = ~number;
        memcpy(l.m.text, &number, sizeof number);
        CHECK(caps_reply(shared_service, &l.m, 0) == 0);
    }
}

static void put_int(int number) {
    struct letter l;
    memcpy(saying(&l, "    ")->m.text, &number, sizeof number);
    CHECK(caps_put(shared_client, &l.m, 0) == 0);
}

static void* call_in_thread(void* first) {
    struct letter l;
    for (int i = 0; i < each; i++) {
        const int number = (int)(uintptr_t)first + i;
        int back;
        memcpy(saying(&l, "    ")->m.text, &number, sizeof number);
        CHECK(caps_call(shared_client, &l.m, &l.m, 0) == 0);
        memcpy(&back, l.m.text, sizeof back);
        CHECK_EQ(back, ~number);
    }
    return NULL;
}

static void threads_share_a_service_and_a_client(void) {
    begin();
    both_ends("threads", &shared_service, &shared_client);
    pthread_t serving[servers], sending[senders];
    int turns[servers] = {0}, sum = 0;
    for (int i = 0; i < servers; i++)
        CHECK(pthread_create(&serving[i], NULL, serve_in_thread, &turns[i]) == 0);
    for (int i = 0; i < senders; i++)
        CHECK(pthread_create(&sending[i], NULL, call_in_thread, (void*)(uintptr_t)(i * each)) == 0);
    for (int i = 0; i < senders; i++)
        CHECK(pthread_join(sending[i], NULL) == 0);
    for (int i = 0; i < servers; i++)
        put_int(-1);
    for (int i = 0; i < servers; i++) {
        CHECK(pthread_join(serving[i], NULL) == 0);
        sum += turns[i];
    }
    CHECK_EQ(sum, senders * each);
    CHECK(all_are(answered, sizeof answered, 1));
}

// Two threads wait, and each gets one of what comes: nothing is waited for in vain.
static void* get_one(void* unused) {
    struct letter l;
    empty(&l)->m.timeout_ns = 30000000000;
    if (caps_get(shared_service, &l.m, 0) < 0) return NULL;
    return (void*)(uintptr_t)l.m.text[0];
}

static void two_threads_that_wait_get_one_each(void) {
    begin();
    both_ends("two", &shared_service, &shared_client);
    for (int turn = 0; turn < 50; turn++) {
        pthread_t waiting[2];
        void* got[2];
        struct letter l;
        for (int i = 0; i < 2; i++)
            CHECK(pthread_create(&waiting[i], NULL, get_one, NULL) == 0);
        if (turn % 4 == 0) sleep_ms(2); // asleep, or on their way there
        for (int i = 0; i < 2; i++)
            CHECK(caps_put(shared_client, &saying(&l, i ? "b" : "a")->m, 0) == 0);
        for (int i = 0; i < 2; i++)
            CHECK(pthread_join(waiting[i], &got[i]) == 0);
        CHECK_EQ((uintptr_t)got[0] + (uintptr_t)got[1], 'a' + 'b');
        CHECK(got[0] && got[1]);
        close(shared_client); // with what was taken
        shared_client = connect_to("two");
        while (caps_get(shared_service, &empty(&l)->m, CAPS_DONTWAIT) == 0)
            CHECK_EQ(l.m.kind, CAPS_ABORTED);
    }
}

// --- exec

static void exec_ends_a_client_that_is_to_be_closed(void) {
    begin();
    for (int closes = 0; closes < 2; closes++) {
        const int service = caps_service("before-exec", CAPS_WORLD);
        int input[2], go[2];
        CHECK(service >= 0 && pipe(input) == 0 && pipe(go) == 0);
        IN_CHILD(child) {
            struct letter l;
            char byte;
            const int client = caps_connect("before-exec", closes ? O_CLOEXEC : 0, 0);
            CHECK(client >= 0 && caps_put(client, &saying(&l, "x")->m, 0) == 0);
            CHECK(read(go[0], &byte, 1) == 1);
            dup2(input[0], 0);
            close(input[1]);
            execl("/bin/cat", "cat", NULL);
        }
        struct letter l;
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        const uint64_t id = l.m.id;
        CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
        CHECK(write(go[1], "x", 1) == 1);
        if (closes) { // while the process lives on
            CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
            CHECK(l.m.kind == CAPS_ABORTED && l.m.id == id);
            CHECK_EQ(kill(child, 0), 0);
            CHECK_ERROR(caps_reply(service, &(struct caps_message){.id = id}, 0), ECANCELED);
        } else {
            empty(&l)->m.timeout_ns = 100000000;
            CHECK_ERROR(caps_get(service, &l.m, 0), ETIMEDOUT);
            CHECK(caps_reply(service, &(struct caps_message){.id = id}, 0) == 0);
        }
        end(child);
        CHECK(close(service) == 0);
    }
}

// --- Users

static void it_is_the_effective_user_that_counts(void) {
    begin();
    if (getuid() != 0) tap_skip("needs to be root");
    int ready[2];
    CHECK(pipe(ready) == 0);
    IN_CHILD(server) { // root that acts for user 1000
        CHECK(setgroups(0, NULL) == 0 && setegid(77) == 0 && seteuid(1000) == 0);
        const int service = caps_service("for-1000", CAPS_USER);
        CHECK(service >= 0 && caps_service("for-77", CAPS_GROUP) >= 0);
        CHECK(write(ready[1], "x", 1) == 1);
        struct letter l;
        for (;;) {
            CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
            tell_who(service, &l);
            CHECK(caps_reply(service, &l.m, 0) == 0 || errno == ECANCELED);
        }
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    IN_CHILD(real) { // its real user is another one
        CHECK(setgroups(0, NULL) == 0 && setresgid(5, 78, 5) == 0 && setresuid(1001, 1000, 1001) == 0);
        const struct caps_sender who = who_am_i(caps_connect("for-1000", CAPS_USER, 0));
        CHECK(who.uid == 1000 && who.gid == 78 && who.group_count == 0 && who.pid == getpid());
        CHECK_ERROR(caps_connect("for-77", 0, 0), EACCES);
    }
    CHECK_EQ(EXIT_STATUS(real), 0);
    IN_CHILD(once) { // it is by its real user only
        CHECK(setgroups(0, NULL) == 0 && setresgid(77, 5, 77) == 0 && setresuid(1000, 1001, 1000) == 0);
        CHECK_ERROR(caps_connect("for-1000", 0, 0), EACCES);
        CHECK_ERROR(caps_connect("for-77", 0, 0), EACCES);
        CHECK(setresgid(-1, 77, -1) == 0);
        CHECK(caps_connect("for-77", CAPS_GROUP, 0) >= 0);
        // An end that was had before stays good; messages say who one is now.
        CHECK(setresuid(-1, 1000, -1) == 0);
        const int client = caps_connect("for-1000", 0, 0);
        CHECK(client >= 0 && setresuid(-1, 1001, -1) == -1); // not one of its three any more
        CHECK_EQ(who_am_i(client).uid, 1000);
    }
    CHECK_EQ(EXIT_STATUS(once), 0);
    IN_CHILD(lowered) { // root that acts for somebody else has no rights of root
        CHECK(setgroups(0, NULL) == 0 && setegid(5) == 0 && seteuid(1002) == 0);
        CHECK_ERROR(caps_connect("for-1000", 0, 0), EACCES);
        CHECK(seteuid(0) == 0);
        const int client = caps_connect("for-1000", CAPS_USER, 0);
        CHECK(client >= 0 && seteuid(1002) == 0);
        CHECK_EQ(who_am_i(client).uid, 1002);
    }
    CHECK_EQ(EXIT_STATUS(lowered), 0);
    end(server);
}

static void nobody_takes_an_exclusive_name(void) {
    begin();
    if (getuid() != 0) tap_skip("needs to be root");
    int ready[2];
    CHECK(pipe(ready) == 0);
    IN_CHILD(owner) {
        CHECK(setgroups(0, NULL) == 0 && setgid(77) == 0 && setuid(1000) == 0);
        CHECK(caps_service("single", CAPS_WORLD | CAPS_EXCLUSIVE) >= 0);
        CHECK_ERROR(caps_service("single", CAPS_WORLD), EEXIST);
        CHECK(write(ready[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK_ERROR(caps_service("single", CAPS_WORLD), EEXIST); // nor root
    IN_CHILD(other) {
        CHECK(setgroups(0, NULL) == 0 && setgid(78) == 0 && setuid(1001) == 0);
        CHECK_ERROR(caps_service("single", CAPS_USER), EEXIST);
        CHECK_ERROR(caps_service("single", CAPS_WORLD | CAPS_EXCLUSIVE), EEXIST);
        CHECK_ERROR(caps_connect("single", CAPS_USER, 0), EACCES); // it is not ours
    }
    CHECK_EQ(EXIT_STATUS(other), 0);
    end(owner);
    CHECK(caps_service("single", CAPS_WORLD | CAPS_EXCLUSIVE) >= 0); // free again
}

TAP_MAIN(T(a_child_has_no_part_in_its_parents_ends), T(unless_they_are_made_to_be_inherited),
         T(exec_keeps_them_unless_told_otherwise), T(who_leaves_a_shared_table_keeps_its_ends),
         T(a_socket_passes_an_end_on), T(a_socket_passes_a_service_on), T(a_vfork_child_is_a_child_like_others),
         T(who_shares_the_table_shares_the_ends), T(threads_share_a_service_and_a_client),
         T(two_threads_that_wait_get_one_each), T(exec_ends_a_client_that_is_to_be_closed),
         T(it_is_the_effective_user_that_counts), T(nobody_takes_an_exclusive_name))
