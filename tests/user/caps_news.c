// What comes besides requests, and a look at it beforehand: news that cannot be received, or that somebody only looks
// at, stay where they are.
#include "tests/user/caps_letter.h"

#include <poll.h>

// Takes a request and has its client want it back: gives the name under which the service hears of it.
static uint64_t abort_one(int service, int client) {
    struct letter l;
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
    const uint64_t id = l.m.id;
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0 && l.m.kind == CAPS_REQUEST);
    CHECK_EQ(caps_abort(client, id, 0), CAPS_FLAGGED);
    return l.m.id;
}

// Replies to a request with a receipt, and has the reply fetched.
static uint64_t fetch_one(int service, int client) {
    struct letter l;
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0 && l.m.kind == CAPS_REQUEST);
    const uint64_t id = l.m.id;
    CHECK(caps_reply(service, &(struct caps_message){.id = id}, CAPS_RECEIPT) == 0);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0 && l.m.kind == CAPS_REPLY);
    return id;
}

static void comes_once(int service, uint32_t kind, uint64_t id) {
    struct letter l;
    CHECK(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT) == 0);
    CHECK(l.m.kind == kind && l.m.id == id && l.m.item_count == 0 && l.m.text_bytes == 0);
    CHECK_ERROR(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT), EAGAIN);
}

// The two kinds of news, each made anew: what tells of it, and the name under which.
static const struct {
    uint32_t kind;
    uint64_t (*make)(int service, int client);
} news[] = {{CAPS_ABORTED, abort_one}, {CAPS_FETCHED, fetch_one}};

static void a_peek_leaves_news_there_too(void) {
    begin();
    int service, client;
    both_ends("peek-news", &service, &client);
    struct letter l;
    for (int kind = 0; kind < 2; kind++) {
        const uint64_t id = news[kind].make(service, client);
        for (int i = 0; i < 3; i++) {
            CHECK(caps_get(service, &empty(&l)->m, CAPS_PEEK | CAPS_DONTWAIT) == 0);
            CHECK(l.m.kind == news[kind].kind && l.m.id == id);
            struct pollfd ask = {service, POLLIN, 0};
            CHECK_EQ(poll(&ask, 1, 0), 1);
        }
        comes_once(service, news[kind].kind, id);
    }
}

static void news_that_cannot_be_received_stays(void) {
    begin();
    int service, client;
    both_ends("stay-news", &service, &client);
    for (int kind = 0; kind < 2; kind++) {
        const uint64_t id = news[kind].make(service, client);
        for (int i = 0; i < 3; i++)
            CHECK_ERROR(caps_get(service, read_only_letter(), CAPS_DONTWAIT), EFAULT);
        CHECK_ERROR(caps_reply_wait(service, read_only_letter(), read_only_letter(), CAPS_DONTWAIT), EFAULT);
        CHECK_ERROR(caps_get(service, (struct caps_message*)page, CAPS_DONTWAIT), EFAULT);
        comes_once(service, news[kind].kind, id);
    }
}

// In the order in which it came, however often somebody looks.
static void news_keeps_its_order(void) {
    begin();
    int service, client;
    both_ends("order-news", &service, &client);
    struct letter l;
    uint64_t taken[6], put[6];
    for (int i = 0; i < 6; i++) {
        CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
        put[i] = l.m.id;
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        taken[i] = l.m.id;
    }
    for (int i = 5; i >= 0; i--)
        CHECK_EQ(caps_abort(client, put[i], 0), CAPS_FLAGGED);
    CHECK(caps_put(client, &saying(&l, "and a request")->m, 0) == 0);
    for (int i = 5; i >= 0; i--) {
        CHECK(caps_get(service, &empty(&l)->m, CAPS_PEEK) == 0);
        CHECK(l.m.kind == CAPS_ABORTED && l.m.id == taken[i]);
        CHECK_ERROR(caps_get(service, read_only_letter(), 0), EFAULT);
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        CHECK(l.m.kind == CAPS_ABORTED && l.m.id == taken[i]);
    }
    CHECK(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT) == 0 && says(&l, "and a request"));
}

TAP_MAIN(T(a_peek_leaves_news_there_too), T(news_that_cannot_be_received_stays), T(news_keeps_its_order))
