// How much a client and a service may have on the way, who waits for room, and how that ends.
#include "tests/user/caps_letter.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>

enum { client_limit = 128, queue_limit = 1024, taken_limit = 4096, at_most_ms = 60000 };

// Sleeps until a put would not wait. Was it woken, and did not find out by itself when its time was over?
static int wait_for_room(int client) {
    struct pollfd ask = {client, POLLOUT, 0};
    const long long before = now_ns();
    const int got = poll(&ask, 1, at_most_ms);
    return got == 1 && ask.revents == POLLOUT && now_ns() - before < at_most_ms / 2 * 1000000ll;
}

static int connects(const char* name) {
    const int client = caps_connect(name, 0, 0);
    CHECK(client >= 0);
    return client;
}

static void put_number(int client, unsigned number) {
    struct letter l;
    memcpy(saying(&l, "    ")->m.text, &number, sizeof number);
    CHECK(caps_put(client, &l.m, CAPS_DONTWAIT) == 0);
}

static uint64_t get_number(int service, unsigned number) {
    struct letter l;
    unsigned got;
    CHECK(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT) == 0);
    memcpy(&got, l.m.text, sizeof got);
    CHECK(l.m.kind == CAPS_REQUEST);
    CHECK_EQ(got, number);
    return l.m.id;
}

static void reply_to(int service, uint64_t id) {
    CHECK(caps_reply(service, &(struct caps_message){.id = id}, 0) == 0);
}

static int can_put(int client) {
    struct pollfd ask = {client, POLLOUT, 0};
    CHECK(poll(&ask, 1, 0) >= 0);
    return ask.revents & POLLOUT;
}

// Fills a service's queue from clients of which each may have less than that.
static void fill(int service, const char* name, int clients[8]) {
    for (int c = 0; c < 8; c++) {
        clients[c] = connects(name);
        for (int i = 0; i < client_limit; i++)
            put_number(clients[c], c * client_limit + i);
    }
}

static void a_full_service_refuses_the_next_client(void) {
    begin();
    int service, ninth, clients[8];
    both_ends("full", &service, &ninth);
    fill(service, "full", clients);
    struct letter l;
    CHECK_ERROR(caps_put(ninth, &saying(&l, "x")->m, CAPS_DONTWAIT), EAGAIN);
    saying(&l, "x")->m.timeout_ns = 1000000;
    CHECK_ERROR(caps_put(ninth, &l.m, 0), ETIMEDOUT);
    CHECK_ERROR(caps_call(ninth, &l.m, &l.m, CAPS_DONTWAIT), EAGAIN);
    CHECK(!can_put(ninth));
    // One gone makes room for one.
    get_number(service, 0);
    put_number(ninth, queue_limit);
    CHECK_ERROR(caps_put(ninth, &saying(&l, "x")->m, CAPS_DONTWAIT), EAGAIN);
    // So does one that its client takes back, and all of those whose client goes.
    close(clients[3]);
    for (int i = 1; i < client_limit; i++)
        put_number(ninth, queue_limit + i);
    CHECK_ERROR(caps_put(ninth, &saying(&l, "x")->m, CAPS_DONTWAIT), EAGAIN); // its own limit
    // All came in order, and none was lost.
    for (int i = 1; i < queue_limit + client_limit; i++)
        if (i / client_limit != 3) get_number(service, i);
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
}

static void who_waits_for_room_in_a_queue_gets_it(void) {
    begin();
    enum { callers = 3 };
    int service, client, clients[8], ready[2];
    both_ends("queue", &service, &client);
    fill(service, "queue", clients);
    CHECK(pipe(ready) == 0);
    pid_t waiting[callers + 1];
    for (int i = 0; i <= callers; i++) {
        waiting[i] = fork();
        CHECK(waiting[i] >= 0);
        if (waiting[i]) continue;
        struct letter l;
        const int c = connects("queue");
        CHECK_ERROR(caps_put(c, &saying(&l, "late")->m, CAPS_DONTWAIT), EAGAIN);
        CHECK(write(ready[1], "x", 1) == 1);
        if (i == callers) { // in poll; the others in a call
            CHECK(wait_for_room(c));
            _exit(0);
        }
        saying(&l, "late")->m.timeout_ns = at_most_ms * 1000000ull;
        CHECK(caps_call(c, &l.m, &l.m, 0) == 0);
        CHECK(says(&l, "to you"));
        _exit(0);
    }
    for (int i = 0; i <= callers; i++) {
        char byte;
        CHECK(read(ready[0], &byte, 1) == 1);
    }
    sleep_ms(30); // they sleep now, most likely
    for (int i = 0; i < queue_limit; i++)
        get_number(service, i);
    for (int i = 0; i < callers; i++) {
        struct letter l;
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        CHECK(says(&l, "late"));
        const uint64_t id = l.m.id;
        saying(&l, "to you")->m.id = id;
        CHECK(caps_reply(service, &l.m, 0) == 0);
    }
    for (int i = 0; i <= callers; i++)
        CHECK_EQ(EXIT_STATUS(waiting[i]), 0);
}

// Of a client that was refused, too: nobody asks again in its place.
static void an_edge_after(int calls) {
    int service, late, clients[8];
    both_ends("edge", &service, &late);
    const int edges = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLOUT | EPOLLET}, got;
    CHECK(epoll_ctl(edges, EPOLL_CTL_ADD, late, &wanted) == 0);
    CHECK_EQ(epoll_wait(edges, &got, 1, 0), 1); // there is room
    fill(service, "edge", clients);
    struct letter l;
    saying(&l, "x");
    CHECK_ERROR(calls ? caps_call(late, &l.m, &l.m, CAPS_DONTWAIT) : caps_put(late, &l.m, CAPS_DONTWAIT), EAGAIN);
    for (int i = 0; i < queue_limit / 2; i++) {
        CHECK_EQ(epoll_wait(edges, &got, 1, 0), 0); // which does not ask either
        get_number(service, i);
    }
    CHECK_EQ(epoll_wait(edges, &got, 1, 0), 1);
    CHECK(got.events == EPOLLOUT && can_put(late));
    for (int i = 0; i < client_limit; i++)
        put_number(late, i);
    for (int i = 0; i < 8; i++)
        CHECK(close(clients[i]) == 0);
    CHECK(close(edges) == 0 && close(late) == 0 && close(service) == 0);
}

static void half_a_queue_is_an_edge_for_who_found_it_full(void) {
    begin();
    an_edge_after(0);
    an_edge_after(1);
}

static void a_service_has_4096_requests_at_a_time(void) {
    begin();
    enum { count = taken_limit / client_limit };
    static uint64_t taken[taken_limit];
    int service, clients[count], more;
    both_ends("taken", &service, &more);
    const long long before = objects();
    for (int c = 0, i = 0; c < count; c++) {
        clients[c] = connects("taken");
        for (int k = 0; k < client_limit; k++, i++) {
            put_number(clients[c], i);
            taken[i] = get_number(service, i);
        }
    }
    put_number(more, taken_limit);
    put_number(more, taken_limit + 1);
    struct letter l;
    struct pollfd ask = {service, POLLIN, 0};
    for (int i = 0; i < 3; i++) {
        CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), ENOBUFS);
        CHECK_ERROR(caps_get(service, &empty(&l)->m, 0), ENOBUFS); // there is nothing to wait for but oneself
        CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT | CAPS_PEEK), ENOBUFS);
        CHECK_EQ(poll(&ask, 1, 0), 1);
    }
    // Whoever replies may go on, one for one.
    reply_to(service, taken[77]);
    taken[77] = get_number(service, taken_limit);
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), ENOBUFS);
    empty(&l)->m.id = taken[4000];
    CHECK(caps_reply_wait(service, &l.m, &l.m, CAPS_DONTWAIT) == 0);
    taken[4000] = l.m.id;
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    for (int i = 0; i < taken_limit; i++)
        reply_to(service, taken[i]);
    for (int i = 0; i < taken_limit; i++)
        CHECK_ERROR(caps_reply(service, &(struct caps_message){.id = taken[i]}, 0), EINVAL);
    for (int c = 0; c < count; c++) {
        for (int i = 0; i < client_limit; i++)
            CHECK(caps_get(clients[c], &empty(&l)->m, CAPS_DONTWAIT) == 0);
        close(clients[c]);
    }
    close(more);
    close(service);
    if (before >= 0) CHECK(objects_go_back_to(before, 300)); // not one for each of them
}

// --- A client at its own limit, which sleeps in poll until something makes room

static void* poll_for_room(void* client) {
    return (void*)(uintptr_t)wait_for_room(*(int*)client);
}

static void whoever_sleeps_until_a_put_would_not_wait_is_woken(void) {
    begin();
    int service, client;
    both_ends("sleeper", &service, &client);
    uint64_t ids[client_limit];
    struct letter l;
    for (int i = 0; i < client_limit; i++) {
        CHECK(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT) == 0);
        ids[i] = l.m.id;
    }
    uint64_t taken[3];
    for (int i = 0; i < 3; i++) {
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        taken[i] = l.m.id;
    }
    for (int way = 0; way < 5; way++) {
        CHECK(!can_put(client));
        CHECK_ERROR(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT), EAGAIN);
        pthread_t poller;
        CHECK(pthread_create(&poller, NULL, poll_for_room, &client) == 0);
        sleep_ms(20);
        switch (way) {
        case 0: // a reply is fetched
            reply_to(service, taken[0]);
            CHECK(caps_get(client, &empty(&l)->m, 0) == 0 && l.m.id == ids[0]);
            break;
        case 1: CHECK(caps_dispose(client, ids[1]) == 0); break;  // of one that the server has
        case 2: CHECK(caps_dispose(client, ids[10]) == 0); break; // of one that nobody has
        case 3: CHECK_EQ(caps_abort(client, ids[2], CAPS_HARD), CAPS_ENDED); break;
        default: CHECK_EQ(caps_abort(client, ids[11], CAPS_HARD), CAPS_REMOVED);
        }
        void* good;
        CHECK(pthread_join(poller, &good) == 0);
        if (!good) note("in way %d", way);
        CHECK(good);
        CHECK(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT) == 0);
    }
}

// What was aborted counts until it was fetched.
static void who_waits_to_put_is_woken_by_what_it_fetches(void) {
    begin();
    int service, client;
    both_ends("putter", &service, &client);
    struct letter l;
    uint64_t first = 0;
    for (int i = 0; i < client_limit; i++) {
        CHECK(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT) == 0);
        if (!first) first = l.m.id;
    }
    CHECK_EQ(caps_abort(client, first, 0), CAPS_REMOVED);
    CHECK_ERROR(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT), EAGAIN);
    pthread_t poller;
    CHECK(pthread_create(&poller, NULL, poll_for_room, &client) == 0);
    sleep_ms(20);
    CHECK(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT) == 0);
    CHECK(l.m.kind == CAPS_RETURNED && l.m.id == first);
    void* good;
    CHECK(pthread_join(poller, &good) == 0 && good);
    CHECK(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT) == 0);
}

TAP_MAIN(T(a_full_service_refuses_the_next_client), T(who_waits_for_room_in_a_queue_gets_it),
         T(half_a_queue_is_an_edge_for_who_found_it_full), T(a_service_has_4096_requests_at_a_time),
         T(whoever_sleeps_until_a_put_would_not_wait_is_woken), T(who_waits_to_put_is_woken_by_what_it_fetches))
