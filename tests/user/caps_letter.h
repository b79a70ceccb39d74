// What the tests of services and messages share: letters, and servers in children.
#pragma once

#include "tests/user/ledger.h"
#include "user/caps.h"
#include "user/xio.h"

enum { many = 64 * page };

// Other kernels have no such calls.
__attribute__((unused)) static void begin(void) {
    if (caps_room(0, 0) < 0 && errno == ENOSYS) tap_skip("this kernel has no services");
}

// A message structure with what it points to.
struct letter {
    struct caps_message m;
    struct caps_item items[CAPS_MOST_ITEMS];
    struct caps_sender sender;
};

__attribute__((unused)) static struct letter* empty(struct letter* l) {
    memset(l, 0, sizeof *l);
    l->m.items = l->items;
    l->m.sender = &l->sender;
    l->m.item_room = CAPS_MOST_ITEMS;
    return l;
}

__attribute__((unused)) static struct letter* saying(struct letter* l, const char* text) {
    empty(l);
    strcpy(l->m.text, text);
    l->m.text_bytes = strlen(text) + 1;
    return l;
}

__attribute__((unused)) static int says(const struct letter* l, const char* text) {
    return l->m.text_bytes == strlen(text) + 1 && !strcmp(l->m.text, text);
}

__attribute__((unused)) static void add(struct letter* l, int kind, int fd, const void* at, size_t bytes) {
    l->items[l->m.item_count++] =
        (struct caps_item){.kind = kind, .fd = fd, .at = (uintptr_t)at, .bytes = bytes, .fills = CAPS_NOTHING};
}

__attribute__((unused)) static int all_are(const char* bytes, size_t count, char what) {
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != what) return 0;
    return 1;
}

__attribute__((unused)) static char* filled(size_t bytes, char with) {
    return memset(anonymous(bytes), with, bytes);
}

__attribute__((unused)) static int connect_to(const char* name) {
    const int client = caps_connect(name, CAPS_WAIT, 20000000000);
    CHECK(client >= 0);
    return client;
}

// Serves in a child: serve(service, letter) with each request, which it has replied to or filled with the reply when it
// returns (0, or an error number; -1: do not reply).
typedef int server(int service, struct letter* l);

__attribute__((unused)) static pid_t serve_with(const char* name, int flags, int get_flags, server* serve) {
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

__attribute__((unused)) static pid_t serve(const char* name, server* how) {
    return serve_with(name, CAPS_WORLD, 0, how);
}

__attribute__((unused)) static void end(pid_t child) {
    kill(child, SIGKILL);
    CHECK_EQ(KILLED_BY(child), SIGKILL);
}

__attribute__((unused)) static int echo(int service, struct letter* l) {
    l->m.item_count = 0;
    for (char* at = l->m.text; *at; at++)
        *at = *at >= 'a' && *at <= 'z' ? *at - 32 : *at;
    return 0;
}

// A service and a client of it in one process.
__attribute__((unused)) static void both_ends(const char* name, int* service, int* client) {
    *service = caps_service(name, CAPS_WORLD);
    *client = caps_connect(name, 0, 0);
    CHECK(*service >= 0 && *client >= 0);
}

__attribute__((noreturn, unused)) static int sleep_for_ever(int service, struct letter* l) {
    for (;;)
        pause();
}

__attribute__((unused)) static uint64_t draw(uint64_t* state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

// A letter that can be read and not written, with room for items elsewhere.
__attribute__((unused)) static struct caps_message* read_only_letter(void) {
    static struct letter l;
    struct caps_message* at = (struct caps_message*)anonymous(page);
    *at = empty(&l)->m;
    CHECK(mprotect(at, page, PROT_READ) == 0);
    return at;
}

// --- What the kernel has

// Objects of its small memory.
__attribute__((unused)) static long long objects(void) {
    return in_text("/proc/pages", "slab objects in use");
}

// As many as there were, soon: it gives them back when it finds time, and the machine does other things too.
__attribute__((unused)) static int objects_go_back_to(long long before, int slack) {
    for (const long long until = now_ns() + 10000000000; now_ns() < until; sleep_ms(20))
        if (objects() <= before + slack) return 1;
    note("%lld objects, %lld before", objects(), before);
    return 0;
}
