// A service of the kernel's is to its clients what a process's is: the same order, the same limits, the same ends.
#include "tests/user/caps_letter.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>

enum { client_limit = 128 };

static int to_kernel(int flags) {
    const int client = caps_connect("nutcracker.echo", flags, 0);
    CHECK(client >= 0);
    return client;
}

static uint64_t put(int client, const char* text) {
    struct letter l;
    CHECK(caps_put(client, &saying(&l, text)->m, 0) == 0);
    return l.m.id;
}

// Waits for something to come, and leaves it there.
static void wait_for_reply(int client) {
    struct pollfd ask = {client, POLLIN, 0};
    CHECK_EQ(poll(&ask, 1, 30000), 1);
    CHECK_EQ(ask.revents, POLLIN);
}

static void its_replies_come_by_name_or_in_order(void) {
    begin();
    const int client = to_kernel(0);
    struct letter l;
    uint64_t ids[3];
    for (int i = 0; i < 3; i++)
        ids[i] = put(client, "abc" + i);
    CHECK(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] && ids[2]);
    empty(&l)->m.id = ids[1];
    CHECK(caps_get(client, &l.m, 0) == 0);
    CHECK(says(&l, "bc") && l.m.id == ids[1] && l.m.kind == CAPS_REPLY);
    empty(&l)->m.id = ids[1];
    CHECK_ERROR(caps_get(client, &l.m, 0), EINVAL); // used up
    for (int i = 0; i < 3; i += 2) {
        CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
        CHECK(says(&l, "abc" + i) && l.m.id == ids[i]);
    }
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    l.m.timeout_ns = 1000000;
    CHECK_ERROR(caps_get(client, &l.m, 0), ETIMEDOUT);
    for (int i = 0; i < 64; i++) { // made-up names
        l.m.id = 1ull << i;
        CHECK_ERROR(caps_get(client, &l.m, CAPS_DONTWAIT), EINVAL);
        CHECK_ERROR(caps_abort(client, l.m.id, 0), EINVAL);
        CHECK_ERROR(caps_dispose(client, l.m.id), EINVAL);
    }
}

static void a_peek_leaves_its_reply_there(void) {
    begin();
    const int client = to_kernel(0);
    struct letter l;
    char *at = filled(many, 'k'), *got = anonymous(many);
    add(saying(&l, "look"), CAPS_MEMORY, -1, at, many);
    CHECK(caps_put(client, &l.m, 0) == 0);
    memset(at, 'x', many);
    const uint64_t id = l.m.id;
    wait_for_reply(client);
    const int before = dup(0);
    close(before);
    for (int i = 0; i < 4; i++) {
        empty(&l)->m.id = i % 2 ? id : 0;
        CHECK(caps_get(client, &l.m, CAPS_PEEK | (i < 2 ? 0 : CAPS_MAP)) == 0);
        CHECK(says(&l, "look") && l.m.id == id && l.m.item_count == 1 && l.items[0].bytes == many);
        const int after = dup(0);
        CHECK_EQ(after, before);
        close(after);
    }
    empty(&l)->m.item_room = 0;
    CHECK_ERROR(caps_get(client, &l.m, 0), EMSGSIZE);
    CHECK_ERROR(caps_get(client, read_only_letter(), 0), EFAULT);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0); // it stayed
    CHECK_EQ(read(l.items[0].fd, got, many), many);
    CHECK(all_are(got, many, 'k'));
}

static void what_it_was_asked_can_be_aborted(void) {
    begin();
    const int client = to_kernel(0);
    struct letter l;
    for (int i = 0; i < 200; i++) {
        const uint64_t id = put(client, "x");
        const int hard = i % 2 ? CAPS_HARD : 0;
        if (i % 3 == 0) wait_for_reply(client);
        const int how = caps_abort(client, id, hard);
        CHECK(how == CAPS_REPLIED || how == CAPS_REMOVED || how == (hard ? CAPS_ENDED : CAPS_FLAGGED));
        if (i % 3 == 0) CHECK_EQ(how, CAPS_REPLIED);
        empty(&l)->m.id = id;
        if (hard && how != CAPS_REPLIED) {
            CHECK_ERROR(caps_get(client, &l.m, CAPS_DONTWAIT), EINVAL);
            continue;
        }
        CHECK(caps_get(client, &l.m, 0) == 0 && l.m.id == id);
        if (how == CAPS_REMOVED) CHECK(l.m.kind == CAPS_RETURNED && l.m.result == ECANCELED);
        if (how == CAPS_REPLIED) CHECK(l.m.kind == CAPS_REPLY && says(&l, "x"));
        if (how == CAPS_FLAGGED) CHECK(l.m.kind == CAPS_REPLY || l.m.result == ECANCELED);
    }
    for (int i = 0; i < 300; i++) // more than may be on the way: those that are disposed of do not count
        CHECK(caps_dispose(client, put(client, "x")) == 0);
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    CHECK(caps_call(client, &saying(&l, "on")->m, &l.m, 0) == 0 && says(&l, "on"));
}

static void its_clients_have_the_same_limit(void) {
    begin();
    const int client = to_kernel(0);
    struct letter l;
    for (int i = 0; i < client_limit; i++)
        put(client, "x");
    for (int i = 0; i < 3; i++) {
        CHECK_ERROR(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT), EAGAIN);
        saying(&l, "x")->m.timeout_ns = 1000000;
        CHECK_ERROR(caps_put(client, &l.m, 0), ETIMEDOUT);
    }
    wait_for_reply(client);                                                             // and no room
    CHECK(caps_call(client, &saying(&l, "call")->m, &l.m, 0) == 0 && says(&l, "call")); // counts as none of them
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    struct pollfd ask = {client, POLLOUT, 0};
    CHECK(poll(&ask, 1, 0) == 1 && ask.revents == POLLOUT);
    put(client, "x");
    for (int i = 0; i < client_limit; i++)
        CHECK(caps_get(client, &empty(&l)->m, 0) == 0 && says(&l, "x"));
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    saying(&l, "x")->m.text_bytes = 257;
    CHECK_ERROR(caps_put(client, &l.m, 0), EMSGSIZE);
    CHECK_ERROR(caps_call(client, &l.m, &l.m, 0), EMSGSIZE);
    saying(&l, "x")->m.item_count = 9;
    CHECK_ERROR(caps_call(client, &l.m, &l.m, 0), E2BIG);
    add(saying(&l, "x"), CAPS_MEMORY, -1, (void*)page, page);
    CHECK_ERROR(caps_call(client, &l.m, &l.m, 0), EFAULT);
    add(saying(&l, "x"), CAPS_MAPPED, -1, (void*)page, page);
    CHECK_ERROR(caps_put(client, &l.m, 0), EINVAL);
    CHECK_ERROR(caps_reply(client, &l.m, 0), EINVAL); // no service
}

static void poll_tells_of_its_replies(void) {
    begin();
    const int client = to_kernel(O_NONBLOCK), both = epoll_create1(0);
    struct epoll_event edge = {EPOLLIN | EPOLLET, {.u32 = 7}}, got;
    struct letter l;
    CHECK(epoll_ctl(both, EPOLL_CTL_ADD, client, &edge) == 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(epoll_wait(both, &got, 1, 0), 0);
        CHECK_ERROR(caps_get(client, &empty(&l)->m, 0), EAGAIN);
        const uint64_t id = put(client, "news");
        CHECK_EQ(epoll_wait(both, &got, 1, 30000), 1);
        CHECK(got.data.u32 == 7 && got.events == EPOLLIN);
        wait_for_reply(client);
        CHECK(caps_get(client, &empty(&l)->m, 0) == 0 && l.m.id == id && says(&l, "news"));
    }
}

static void on_alarm(int number) {}

// Signals all the time: a call to the kernel is answered, and never twice or half.
static void signals_do_not_break_a_call_to_it(void) {
    begin();
    const int client = to_kernel(0);
    const struct sigaction action = {.sa_handler = on_alarm};
    const struct timeval often = {0, 500};
    struct letter l;
    char* at = filled(4 * page, 's');
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &(struct itimerval){often, often}, NULL) == 0);
    for (int i = 0; i < 300; i++) {
        char text[16], got[page];
        snprintf(text, sizeof text, "turn %d", i);
        add(saying(&l, text), CAPS_MEMORY, -1, at, 4 * page);
        CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
        CHECK(says(&l, text) && l.m.item_count == 1 && l.items[0].bytes == 4 * page);
        CHECK(pread(l.items[0].fd, got, page, 3 * page) == page && all_are(got, page, 's'));
        CHECK(close(l.items[0].fd) == 0);
        const uint64_t id = put(client, text);
        empty(&l)->m.id = id;
        while (caps_get(client, &l.m, 0) < 0)
            CHECK_EQ(errno, EINTR);
        CHECK(says(&l, text) && l.m.id == id);
    }
    CHECK(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL) == 0);
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
}

static void an_end_of_it_ends_like_others(void) {
    begin();
    const int client = to_kernel(0), shared_one = to_kernel(CAPS_INHERIT | O_CLOEXEC);
    CHECK_EQ(fcntl(shared_one, F_GETFD), FD_CLOEXEC);
    struct letter l;
    IN_CHILD(child) {
        CHECK_ERROR(caps_call(client, &saying(&l, "x")->m, &l.m, 0), ENOTCONN);
        CHECK(caps_call(shared_one, &saying(&l, "y")->m, &l.m, 0) == 0 && says(&l, "y"));
        char* at = filled(many, 'g'); // dies with much on the way
        for (int i = 0; i < client_limit; i++) {
            add(saying(&l, "z"), CAPS_MEMORY, -1, at, many);
            CHECK(caps_put(to_kernel(0), &l.m, 0) == 0);
        }
        raise(SIGKILL);
    }
    CHECK_EQ(KILLED_BY(child), SIGKILL);
    CHECK(caps_call(client, &saying(&l, "still")->m, &l.m, 0) == 0 && says(&l, "still"));
    if (getuid() == 0) return;
    CHECK_ERROR(caps_connect("nutcracker.echo", CAPS_USER, 0), EACCES); // it is root's
}

TAP_MAIN(T(its_replies_come_by_name_or_in_order), T(a_peek_leaves_its_reply_there), T(what_it_was_asked_can_be_aborted),
         T(its_clients_have_the_same_limit), T(poll_tells_of_its_replies), T(signals_do_not_break_a_call_to_it),
         T(an_end_of_it_ends_like_others))
