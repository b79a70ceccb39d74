// What fails leaves things so that it can be tried again; and how long calls wait.
#include "tests/user/caps_letter.h"

#include <pthread.h>
#include <sys/time.h>

enum { some = 3 * page };

// A room with `some` bytes of `what`.
static int room_with(char what) {
    const int room = caps_room(some, 0);
    CHECK(room >= 0);
    CHECK_EQ(pwrite(room, filled(some, what), some, 0), some);
    return room;
}

static int holds(int fd, char what) {
    char* got = anonymous(some);
    return pread(fd, got, some, 0) == some && all_are(got, some, what);
}

static void a_room_that_is_sent_with_a_request_stays_full(void) {
    begin();
    int service, client;
    both_ends("again-put", &service, &client);
    const int room = room_with('r');
    struct letter l;
    for (int i = 0; i < 128; i++)
        CHECK(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT) == 0);
    add(saying(&l, "room"), CAPS_DESCRIPTOR, room, 0, some);
    CHECK_ERROR(caps_put(client, &l.m, CAPS_DONTWAIT), EAGAIN);
    CHECK(holds(room, 'r'));
    for (int i = 0; i < 128; i++)
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(caps_reply(service, &(struct caps_message){.id = l.m.id}, 0) == 0);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    add(saying(&l, "room"), CAPS_DESCRIPTOR, room, 0, some);
    CHECK(caps_put(client, &l.m, CAPS_DONTWAIT) == 0);
    CHECK_EQ(pwrite(room, filled(some, 'w'), some, 0), some);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(l.m.item_count == 1 && holds(l.items[0].fd, 'r') && holds(room, 'w')); // as it was then
    add(saying(&l, "part"), CAPS_DESCRIPTOR, room, (void*)(page + 1), page);
    CHECK(caps_call(connect_to("nutcracker.echo"), &l.m, &l.m, 0) == 0 && l.items[0].bytes == page);
    add(saying(&l, "too much"), CAPS_DESCRIPTOR, room, (void*)1, some);
    CHECK_ERROR(caps_call(connect_to("nutcracker.echo"), &l.m, &l.m, 0), EINVAL);
}

static void a_reply_that_is_refused_leaves_its_rooms_full(void) {
    begin();
    int service, client;
    both_ends("again-reply", &service, &client);
    const int room = room_with('r');
    struct letter l;
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const uint64_t id = l.m.id;
    for (int turn = 0; turn < 2; turn++) {
        add(empty(&l), CAPS_DESCRIPTOR, room, 0, some);
        add(&l, CAPS_DESCRIPTOR, turn ? room : -1, 0, some);
        l.m.id = id;
        if (turn)
            CHECK(caps_reply(service, &l.m, 0) == 0);
        else
            CHECK_ERROR(caps_reply(service, &l.m, 0), EBADF);
        CHECK(holds(room, turn ? 0 : 'r'));
    }
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    CHECK(l.m.item_count == 2 && holds(l.items[0].fd, 'r') && holds(l.items[1].fd, 'r'));
}

static void a_put_that_cannot_be_named_was_not_sent(void) {
    begin();
    int service, client;
    both_ends("again-name", &service, &client);
    struct letter l;
    for (int i = 0; i < 300; i++)
        CHECK_ERROR(caps_put(client, read_only_letter(), CAPS_DONTWAIT), EFAULT);
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    for (int i = 0; i < 128; i++)
        CHECK(caps_put(client, &saying(&l, "x")->m, CAPS_DONTWAIT) == 0);
    // Nor to a server that waits for it.
    const pid_t server = serve("again-waits", echo);
    const int other = connect_to("again-waits");
    CHECK(caps_call(other, &saying(&l, "x")->m, &l.m, 0) == 0);
    CHECK_ERROR(caps_put(other, read_only_letter(), CAPS_DONTWAIT), EFAULT);
    CHECK_ERROR(caps_get(other, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    end(server);
}

static void a_loop_goes_on_after_what_it_could_not_receive(void) {
    begin();
    int service, client;
    both_ends("again-loop", &service, &client);
    struct letter l, next;
    char* at = filled(some, 's');
    for (int i = 0; i < 3; i++) {
        add(saying(&l, "x"), CAPS_MEMORY, -1, at, some);
        CHECK(caps_put(client, &l.m, 0) == 0);
    }
    empty(&l)->m.item_room = 0; // the first of a loop: there is nothing to reply to
    for (int i = 0; i < 2; i++) {
        CHECK_ERROR(caps_reply_wait(service, &l.m, &l.m, 0), EMSGSIZE);
        CHECK(l.m.id == 0 && l.m.item_count == 1);
        l.m.item_count = 0;
    }
    l.m.item_room = CAPS_MOST_ITEMS;
    CHECK(caps_reply_wait(service, &l.m, &l.m, 0) == 0);
    CHECK(l.m.id && holds(l.items[0].fd, 's'));
    // It replies, and what comes next has nowhere to go.
    l.m.item_count = 0;
    CHECK_ERROR(caps_reply_wait(service, &l.m, (struct caps_message*)page, 0), EFAULT);
    CHECK(l.m.id == 0);
    CHECK(caps_reply_wait(service, &l.m, &empty(&next)->m, 0) == 0);
    CHECK(next.m.id && holds(next.items[0].fd, 's'));
    CHECK(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT) == 0 && l.m.kind == CAPS_REPLY); // the one reply
    CHECK_ERROR(caps_get(client, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
}

static void a_call_that_waits_for_no_room_waits_no_longer_than_it_says(void) {
    begin();
    const pid_t server = serve("again-silent", sleep_for_ever);
    const int client = connect_to("again-silent");
    struct letter l;
    saying(&l, "x")->m.timeout_ns = 30000000;
    CHECK_ERROR(caps_call(client, &l.m, &l.m, CAPS_DONTWAIT), ETIMEDOUT);
    CHECK(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
    saying(&l, "x")->m.timeout_ns = 30000000;
    CHECK_ERROR(caps_call(client, &l.m, &l.m, 0), ETIMEDOUT);
    end(server);
}

static void nothing(int number) {}

static void a_handler_ends_a_wait_that_has_a_time(void) {
    begin();
    int service, client;
    both_ends("again-time", &service, &client);
    const struct sigaction on = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &on, NULL) == 0);
    const struct itimerval often = {{0, 20000}, {0, 20000}}, never = {};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    struct letter l;
    empty(&l)->m.timeout_ns = 600000000000; // it would begin anew for ever
    CHECK_ERROR(caps_get(service, &l.m, 0), EINTR);
    saying(&l, "x")->m.timeout_ns = 600000000000;
    CHECK_ERROR(caps_call(client, &l.m, &l.m, 0), EINTR); // nobody had taken it
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

static void a_call_has_no_name(void) {
    begin();
    const int client = connect_to("nutcracker.echo");
    struct letter l;
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0 && l.m.id);
    CHECK(caps_get(client, &l.m, 0) == 0 && l.m.id);
    CHECK(caps_call(client, &saying(&l, "x")->m, &l.m, 0) == 0);
    CHECK(l.m.id == 0);
}

// --- Two threads of one client

static int shared_client;
static volatile int over;

static void* peek_all_the_time(void* unused) {
    struct letter l;
    while (!over)
        if (caps_get(shared_client, &empty(&l)->m, CAPS_PEEK | CAPS_DONTWAIT) < 0 && errno != EAGAIN) return "failed";
    return NULL;
}

static void a_peek_by_another_thread_takes_no_reply_away(void) {
    begin();
    shared_client = connect_to("nutcracker.echo");
    pthread_t peeker;
    CHECK(pthread_create(&peeker, NULL, peek_all_the_time, NULL) == 0);
    char* at = filled(many, 'p');
    for (int i = 0; i < 300; i++) {
        struct letter l;
        add(saying(&l, "x"), CAPS_MEMORY, -1, at, many);
        CHECK(caps_put(shared_client, &l.m, 0) == 0);
        const uint64_t id = l.m.id;
        empty(&l)->m.id = id;
        CHECK(caps_get(shared_client, &l.m, 0) == 0);
        CHECK(l.m.id == id && l.m.item_count == 1 && close(l.items[0].fd) == 0);
    }
    over = 1;
    void* why;
    CHECK(pthread_join(peeker, &why) == 0 && !why);
}

TAP_MAIN(T(a_room_that_is_sent_with_a_request_stays_full), T(a_reply_that_is_refused_leaves_its_rooms_full),
         T(a_put_that_cannot_be_named_was_not_sent), T(a_loop_goes_on_after_what_it_could_not_receive),
         T(a_call_that_waits_for_no_room_waits_no_longer_than_it_says), T(a_handler_ends_a_wait_that_has_a_time),
         T(a_call_has_no_name), T(a_peek_by_another_thread_takes_no_reply_away))
