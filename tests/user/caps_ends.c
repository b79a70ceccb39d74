// How messages of services end: replies in order, what cannot be received or sent, limits, aborts, deaths, signals; and
// how an end is polled.
#include "tests/user/caps_letter.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>

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

static void a_peek_of_a_reply_leaves_it_there(void) {
    begin();
    int service, client;
    both_ends("peek-reply", &service, &client);
    struct letter l;
    char *at = filled(many, 'p'), *got = anonymous(many);
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
    const uint64_t id = l.m.id;
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT | CAPS_PEEK), EAGAIN);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const uint64_t taken = l.m.id;
    add(saying(&l, "reply"), CAPS_MEMORY, -1, at, many);
    l.m.id = taken;
    l.m.result = EROFS;
    CHECK(caps_reply(service, &l.m, CAPS_RECEIPT) == 0);
    const int before = dup(0);
    close(before);
    for (int i = 0; i < 4; i++) {
        empty(&l)->m.id = i % 2 ? id : 0;
        CHECK(caps_get(client, &l.m, CAPS_PEEK | (i < 2 ? 0 : CAPS_MAP)) == 0);
        CHECK(says(&l, "reply") && l.m.id == id && l.m.kind == CAPS_REPLY && l.m.result == EROFS);
        CHECK(l.m.item_count == 1 && l.items[0].bytes == many && l.sender.pid == getpid());
        const int after = dup(0);
        CHECK_EQ(after, before); // no descriptor was left behind
        close(after);
        CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN); // it is not fetched yet
    }
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    CHECK(says(&l, "reply") && l.m.id == id);
    CHECK_EQ(read(l.items[0].fd, got, many), many);
    CHECK(all_are(got, many, 'p'));
    CHECK(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT) == 0 && l.m.kind == CAPS_FETCHED && l.m.id == taken);
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
}

static void a_peek_of_what_came_back_leaves_it_there(void) {
    begin();
    int service, client;
    both_ends("peek-back", &service, &client);
    struct letter l;
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
    const uint64_t first = l.m.id;
    CHECK_EQ(caps_abort(client, first, 0), CAPS_REMOVED);
    CHECK(caps_put(client, &saying(&l, "y")->m, 0) == 0);
    const uint64_t second = l.m.id;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 3; i++) {
            empty(&l)->m.id = i == 1 ? (turn ? second : first) : 0;
            CHECK(caps_get(client, &l.m, CAPS_PEEK) == 0);
            CHECK(l.m.kind == CAPS_RETURNED && l.m.id == (turn ? second : first));
            CHECK_EQ(l.m.result, turn ? ECONNRESET : ECANCELED);
        }
        CHECK_ERROR(caps_get(client, read_only_letter(), CAPS_DONTWAIT), EFAULT);
        CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
        CHECK(l.m.kind == CAPS_RETURNED && l.m.id == (turn ? second : first));
        if (turn == 0) close(service);
    }
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_PEEK), ENOTCONN);
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
    CHECK_EQ(poll(&ask, 1, 60000), 1);
    CHECK(now_ns() - before < 30000000000);
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

TAP_MAIN(T(replies_come_by_name_or_in_order), T(a_peek_leaves_it_there), T(a_peek_of_a_reply_leaves_it_there),
         T(a_peek_of_what_came_back_leaves_it_there), T(what_cannot_be_received_stays),
         T(what_makes_no_sense_is_not_sent), T(too_many_requests_wait_or_are_refused), T(a_request_can_be_aborted),
         T(requests_of_a_dead_server_come_back), T(a_call_to_a_server_that_dies_ends),
         T(messages_of_a_dead_client_are_disposed_of), T(poll_and_epoll_tell_of_what_comes), T(a_signal_ends_a_call),
         T(a_server_replies_and_waits_in_one), T(a_reply_is_not_sent_again_when_the_wait_ends))
