// What stands in messages arrives whole, or not at all: texts of every length, replies that cannot be received, rooms
// of requests whose replies come by caps_get.
#include "tests/user/caps_letter.h"

static void set_text(struct letter* l, unsigned bytes, unsigned seed) {
    empty(l);
    l->m.text_bytes = bytes;
    for (unsigned i = 0; i < CAPS_MOST_TEXT; i++)
        l->m.text[i] = i < bytes ? (char)(seed * 31 + i * 7 + 1) : '!';
}

static int is_text(const struct letter* l, unsigned bytes, unsigned seed) {
    if (l->m.text_bytes != bytes) return 0;
    for (unsigned i = 0; i < bytes; i++)
        if (l->m.text[i] != (char)(seed * 31 + i * 7 + 1)) return 0;
    return 1;
}

// An empty letter with other bytes in its text than any that come.
static struct letter* blank(struct letter* l) {
    empty(l);
    memset(l->m.text, 0xee, sizeof l->m.text);
    return l;
}

static void text_arrives_whole_at_every_length(void) {
    begin();
    int service, client;
    both_ends("text", &service, &client);
    struct letter l;
    for (unsigned bytes = 0; bytes <= CAPS_MOST_TEXT; bytes++) {
        const unsigned back = CAPS_MOST_TEXT - bytes;
        set_text(&l, bytes, bytes);
        CHECK(caps_put(client, &l.m, 0) == 0);
        const uint64_t id = l.m.id;
        CHECK(caps_get(service, &blank(&l)->m, CAPS_PEEK) == 0);
        CHECK(is_text(&l, bytes, bytes));
        CHECK(caps_get(service, &blank(&l)->m, 0) == 0);
        CHECK(is_text(&l, bytes, bytes) && l.m.item_count == 0);
        const uint64_t taken = l.m.id;
        set_text(&l, back, back + 5);
        l.m.id = taken;
        CHECK(caps_reply(service, &l.m, 0) == 0);
        CHECK(caps_get(client, &blank(&l)->m, 0) == 0);
        CHECK(is_text(&l, back, back + 5) && l.m.id == id);
    }
}

static int turn_text_round(int service, struct letter* l) {
    for (unsigned i = 0; i < l->m.text_bytes; i++)
        l->m.text[i] = ~l->m.text[i];
    l->m.item_count = 0;
    return 0;
}

static void and_in_a_call(void) {
    begin();
    const pid_t server = serve("text-2", turn_text_round);
    const int client = connect_to("text-2");
    struct letter l, back;
    for (unsigned bytes = 0; bytes <= CAPS_MOST_TEXT; bytes++) {
        set_text(&l, bytes, bytes);
        CHECK(caps_call(client, &l.m, &blank(&back)->m, 0) == 0);
        CHECK(is_text(&l, bytes, bytes)); // the request is as it was
        for (unsigned i = 0; i < back.m.text_bytes; i++)
            back.m.text[i] = ~back.m.text[i];
        CHECK(is_text(&back, bytes, bytes));
    }
    end(server);
}

// A message structure of which the first `text` bytes of its text still lie in memory.
static struct caps_message* at_the_edge(unsigned text) {
    char* two = anonymous(2 * page);
    CHECK(munmap(two + page, page) == 0);
    return (struct caps_message*)(two + page - offsetof(struct caps_message, text) - text);
}

static void a_text_that_has_no_room_is_not_lost(void) {
    begin();
    int service, client;
    both_ends("edge", &service, &client);
    struct letter l;
    static const unsigned lengths[][2] = {{65, 64}, {256, 64}, {256, 255}, {200, 100}};
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const unsigned bytes = lengths[i][0], room = lengths[i][1];
        set_text(&l, bytes, i);
        CHECK(caps_put(client, &l.m, 0) == 0);
        CHECK_ERROR(caps_get(service, at_the_edge(room), CAPS_DONTWAIT), EFAULT);
        CHECK_ERROR(caps_get(service, at_the_edge(room), CAPS_DONTWAIT | CAPS_PEEK), EFAULT);
        CHECK(caps_get(service, &blank(&l)->m, CAPS_DONTWAIT) == 0);
        CHECK(is_text(&l, bytes, i) && l.m.kind == CAPS_REQUEST);
        CHECK(caps_reply(service, &l.m, 0) == 0);
        CHECK_ERROR(caps_get(client, at_the_edge(room), CAPS_DONTWAIT), EFAULT);
        CHECK(caps_get(client, &blank(&l)->m, CAPS_DONTWAIT) == 0);
        CHECK(is_text(&l, bytes, i) && l.m.kind == CAPS_REPLY);
        CHECK_ERROR(caps_get(client, &blank(&l)->m, CAPS_DONTWAIT), EAGAIN);
    }
    // What fits is received there.
    set_text(&l, 64, 9);
    CHECK(caps_put(client, &l.m, 0) == 0);
    struct caps_message* last = at_the_edge(64);
    CHECK(caps_get(service, last, CAPS_DONTWAIT) == 0 && last->text_bytes == 64);
    set_text(&l, 64, 9);
    CHECK(!memcmp(last->text, l.m.text, 64));
}

// --- Replies that a call loses

static int give_eight(int service, struct letter* l) {
    static char* own;
    if (!own) own = filled(many, 'e');
    if (l->m.kind != CAPS_REQUEST) return -1;
    saying(l, "eight");
    for (int i = 0; i < 8; i++)
        add(l, CAPS_MEMORY, -1, own, many);
    return 0;
}

static void a_call_that_loses_its_reply_loses_nothing_else(void) {
    begin();
    enum { calls = 200 };
    const pid_t server = serve_with("loser", CAPS_WORLD, 0, give_eight);
    const int client = connect_to("loser");
    struct letter l, back;
    struct rlimit usual;
    CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    const int next = dup(0);
    CHECK(next >= 0 && close(next) == 0);
    const struct rlimit few = {next + 4, usual.rlim_max};
    struct caps_message* fixed = read_only_letter();
    long long before = 0;
    for (int i = 0; i < calls + 20; i++) {
        if (i == 20) before = objects(); // what is made once is there
        saying(&l, "give");
        empty(&back);
        switch (i % 4) {
        case 0:
            back.m.item_room = 7;
            CHECK_ERROR(caps_call(client, &l.m, &back.m, 0), EMSGSIZE);
            CHECK_EQ(back.m.item_count, 8);
            break;
        case 1:
            CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
            CHECK_ERROR(caps_call(client, &l.m, &back.m, 0), EMFILE);
            CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
            break;
        case 2:
            back.m.items = (struct caps_item*)page;
            CHECK_ERROR(caps_call(client, &l.m, &back.m, CAPS_MAP), EFAULT);
            break;
        default: CHECK_ERROR(caps_call(client, &l.m, fixed, 0), EFAULT);
        }
        CHECK_EQ(dup(0), next); // no descriptor is left
        CHECK(close(next) == 0);
        // A reply is lost once: nothing of it comes later.
        CHECK_ERROR(caps_get(client, &empty(&back)->m, CAPS_DONTWAIT), EAGAIN);
    }
    CHECK(objects_go_back_to(before, calls / 4));
    // The server has noticed nothing.
    CHECK(caps_call(client, &saying(&l, "give")->m, &empty(&back)->m, 0) == 0);
    CHECK(says(&back, "eight") && back.m.item_count == 8 && back.m.result == 0 && back.sender.pid == server);
    char got[page];
    for (int i = 0; i < 8; i++)
        CHECK(pread(back.items[i].fd, got, page, many - page) == page && all_are(got, page, 'e'));
    end(server);
}

static void the_server_of_a_lost_reply_hears_that_it_is_over(void) {
    begin();
    const int service = caps_service("receipt", CAPS_WORLD);
    CHECK(service >= 0);
    IN_CHILD(client) {
        struct letter l;
        const int c = connect_to("receipt");
        saying(&l, "x")->m.item_room = 0;
        CHECK_ERROR(caps_call(c, &l.m, &l.m, 0), EMSGSIZE);
    }
    struct letter l;
    char* own = filled(many, 'o');
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const uint64_t id = l.m.id;
    add(saying(&l, "y"), CAPS_MEMORY, -1, own, many);
    l.m.id = id;
    CHECK(caps_reply(service, &l.m, CAPS_RECEIPT) == 0);
    CHECK_EQ(EXIT_STATUS(client), 0);
    CHECK(caps_get(service, &empty(&l)->m, CAPS_DONTWAIT) == 0);
    CHECK(l.m.kind == CAPS_FETCHED && l.m.id == id);
    CHECK_ERROR(caps_reply(service, &l.m, 0), EINVAL);
}

// --- Rooms of requests that were put

static void a_reply_that_is_got_says_which_room_it_is_for(void) {
    begin();
    int service, client;
    both_ends("fills", &service, &client);
    struct letter l;
    char *room = filled(many, 'r'), *got = anonymous(many), *own = filled(many, 'o');
    add(saying(&l, "put"), CAPS_MEMORY, -1, own, page);
    add(&l, CAPS_ROOM, -1, room, many);
    add(&l, CAPS_ROOM, -1, room, 100);
    CHECK(caps_put(client, &l.m, 0) == 0);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(l.m.item_count == 3 && l.items[1].kind == CAPS_ROOM && l.items[2].kind == CAPS_ROOM);
    const int filled_room = l.items[1].fd;
    CHECK_EQ(pwrite(filled_room, own, many, 0), many);
    const uint64_t id = l.m.id;
    add(saying(&l, "here"), CAPS_MEMORY, -1, own, 200); // longer than its room
    add(&l, CAPS_DESCRIPTOR, filled_room, 0, many);
    add(&l, CAPS_MEMORY, -1, own, 10);
    l.items[0].fills = 2;
    l.items[1].fills = 1;
    l.m.id = id;
    CHECK(caps_reply(service, &l.m, 0) == 0);
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    CHECK(says(&l, "here") && l.m.item_count == 3);
    static const unsigned fills[] = {2, 1, CAPS_NOTHING}, bytes[] = {200, many, 10};
    for (int i = 0; i < 3; i++) {
        CHECK(l.items[i].kind == CAPS_DESCRIPTOR && l.items[i].bytes == bytes[i]);
        CHECK_EQ(l.items[i].fills, fills[i]);
        memset(got, 0, many);
        CHECK_EQ(read(l.items[i].fd, got, many), bytes[i]);
        CHECK(all_are(got, bytes[i], 'o'));
    }
    CHECK(all_are(room, many, 'r')); // only a call fills in place
}

TAP_MAIN(T(text_arrives_whole_at_every_length), T(and_in_a_call), T(a_text_that_has_no_room_is_not_lost),
         T(a_call_that_loses_its_reply_loses_nothing_else), T(the_server_of_a_lost_reply_hears_that_it_is_over),
         T(a_reply_that_is_got_says_which_room_it_is_for))
