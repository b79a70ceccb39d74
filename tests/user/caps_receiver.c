// What a receiver does with what it was sent, or does not do, costs the sender nothing: neither a fault nor a wait nor
// memory.
#include "tests/user/caps_letter.h"

#include <sys/stat.h>

static const long long bound_ns = 10000000000; // for what takes no time at all, on a machine that does other things too

static long long free_bytes(void) {
    struct sysinfo info;
    CHECK(sysinfo(&info) == 0);
    return (long long)info.freeram * info.mem_unit;
}

// Is so much free, soon? A loan lasts half a second at most.
static int becomes_free(long long wanted) {
    for (const long long until = now_ns() + bound_ns; now_ns() < until; sleep_ms(20))
        if (free_bytes() >= wanted) return 1;
    note("%lld KiB are missing", (wanted - free_bytes()) >> 10);
    return 0;
}

// A receiver of `count` messages at once that keeps all of them, and stops.
static pid_t keep(const char* name, unsigned count, int map) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child) return child;
    const int service = caps_service(name, CAPS_WORLD);
    CHECK(service >= 0);
    struct letter l;
    for (unsigned i = 0; i < count; i++)
        CHECK(caps_get(service, &empty(&l)->m, map && i % 2 ? CAPS_MAP : 0) == 0);
    for (;;)
        raise(SIGSTOP);
}

static void wait_until_stopped(pid_t child) {
    int status;
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status));
}

static void send_all_of(int client, const char* at, size_t bytes) {
    struct letter l;
    add(saying(&l, "keep it"), CAPS_MEMORY, -1, at, bytes);
    CHECK(caps_put(client, &l.m, 0) == 0);
}

static void who_keeps_what_was_sent_costs_the_sender_nothing(void) {
    begin();
    const size_t bytes = memory_for(8 << 20) / 3 & -(size_t)page;
    const pid_t receiver = keep("keeper", 4, 1); // descriptors and mappings
    int ready[2], go[2];
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    IN_CHILD(sender) {
        const int client = connect_to("keeper");
        char* at = filled(bytes, 's');
        for (int i = 0; i < 4; i++)
            send_all_of(client, at + (i < 2 ? 0 : 100), i < 2 ? bytes : bytes - 200);
        CHECK(write(ready[1], "x", 1) == 1);
        char byte;
        CHECK(read(go[0], &byte, 1) == 1);
        const long long before = now_ns();
        // Writes, before the loans have become copies and after that.
        for (int turn = 0; turn < 2; turn++) {
            for (size_t i = 0; i < bytes; i += page)
                CHECK(at[i + 50] == (turn ? 'w' : 's')), at[i + 50] = 'w';
            if (turn == 0) sleep_ms(700);
        }
        // A child writes too.
        IN_CHILD(child) {
            memset(at, 'c', bytes);
            CHECK(all_are(at, bytes, 'c'));
        }
        CHECK_EQ(EXIT_STATUS(child), 0);
        CHECK(at[50] == 'w' && at[bytes - page + 50] == 'w' && at[51] == 's');
        // Sends again what it has sent before; reads it, protects it, lets go of part of it.
        send_all_of(client, at, bytes);
        CHECK(mprotect(at, bytes, PROT_READ) == 0 && at[0] == 's');
        CHECK(munmap(at, bytes / 2 & -(size_t)page) == 0 && close(client) == 0);
        const long long took = now_ns() - before;
        if (took > bound_ns) note("it took %lld ms", took / 1000000);
        CHECK(took < bound_ns);
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    wait_until_stopped(receiver);
    const long long went = now_ns();
    CHECK(write(go[1], "x", 1) == 1);
    CHECK_EQ(EXIT_STATUS(sender), 0); // no SIGBUS
    CHECK(now_ns() - went < 2 * bound_ns);
    end(receiver);
}

static void and_in_the_end_no_memory_but_its_own_copy(void) {
    begin();
    const size_t bytes = memory_for(8 << 20) / 2 & -(size_t)page;
    const long long slack = 1 << 20;
    const long long before = free_bytes();
    const pid_t receiver = keep("holder", 1, 0);
    IN_CHILD(sender) {
        send_all_of(connect_to("holder"), filled(bytes, 's'), bytes);
        pause(); // a client that ends takes along what nobody has got
    }
    wait_until_stopped(receiver);
    end(sender);
    CHECK(becomes_free(before - (long long)bytes - slack)); // it is there once
    end(receiver);
    CHECK(becomes_free(before - slack));
}

// Who keeps little of much holds little.
static void a_page_that_is_kept_keeps_no_other(void) {
    begin();
    const size_t bytes = memory_for(16 << 20) / 2 & -(size_t)page;
    const long long slack = 1 << 20;
    CHECK((long long)bytes > 2 * slack);
    const long long before = free_bytes();
    int ready[2];
    CHECK(pipe(ready) == 0);
    IN_CHILD(receiver) {
        const int service = caps_service("miser", CAPS_WORLD);
        struct letter l;
        CHECK(service >= 0 && caps_get(service, &empty(&l)->m, 0) == 0);
        const int part = xio_from_file(l.items[0].fd, 3 * page, page, 0);
        CHECK(part >= 0 && close(l.items[0].fd) == 0);
        raise(SIGSTOP);
        char got[page];
        CHECK_EQ(pread(part, got, page, 0), page);
        CHECK(all_are(got, page, 's'));
        CHECK(write(ready[1], "x", 1) == 1);
        pause();
    }
    IN_CHILD(sender) {
        send_all_of(connect_to("miser"), filled(bytes, 's'), bytes);
        pause();
    }
    wait_until_stopped(receiver);
    end(sender);
    CHECK(becomes_free(before - slack));
    CHECK(kill(receiver, SIGCONT) == 0);
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    end(receiver);
}

// A file of which part was sent may be cut, or changed, and its reader is none the worse for it.
static void a_file_that_is_cut_takes_nothing_back(void) {
    begin();
    catch_faults();
    int service, client;
    both_ends("cut", &service, &client);
    struct letter l;
    char *at = filled(many, 'f'), *got = anonymous(many);
    for (int when = 0; when < 3; when++) { // before it is got, before it is mapped, after it was read once
        const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
        CHECK(file >= 0 && write(file, at, many) == many);
        add(saying(&l, "whole"), CAPS_DESCRIPTOR, file, 0, many);
        add(&l, CAPS_DESCRIPTOR, file, (void*)(page + 100), 2 * page);
        CHECK(caps_put(client, &l.m, 0) == 0);
        if (when == 0) CHECK(ftruncate(file, 0) == 0);
        CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
        CHECK(l.m.item_count == 2 && l.items[0].bytes == many && l.items[1].bytes == 2 * page);
        if (when == 1) CHECK(ftruncate(file, page + 100) == 0);
        const char *shown[2], *bad = NULL;
        for (int i = 0; i < 2; i++) {
            shown[i] = mmap(NULL, l.items[i].bytes, PROT_READ, MAP_SHARED, l.items[i].fd, 0);
            CHECK(shown[i] != MAP_FAILED);
        }
        if (when == 2) {
            CHECK(all_are(shown[0], many, 'f'));
            CHECK(ftruncate(file, 0) == 0 && ftruncate(file, many) == 0);
            CHECK(pwrite(file, "other", 5, page) == 5);
        }
        CHECK_EQ(TRY_FAULT(bad = all_are(shown[0], many, 'f') && all_are(shown[1], 2 * page, 'f') ? NULL : "changed"),
                 0);
        CHECK(!bad);
        memset(got, 0, many);
        CHECK_EQ(pread(l.items[0].fd, got, many, 0), many);
        CHECK(all_are(got, many, 'f'));
        for (int i = 0; i < 2; i++)
            CHECK(munmap((void*)shown[i], l.items[i].bytes) == 0 && close(l.items[i].fd) == 0);
        CHECK(caps_reply(service, &(struct caps_message){.id = l.m.id}, 0) == 0);
        CHECK(caps_get(client, &empty(&l)->m, 0) == 0 && close(file) == 0);
    }
}

// A room is the server's to write to, whatever became of who wanted it filled.
static void a_room_outlives_who_wanted_it_filled(void) {
    begin();
    catch_faults();
    const int service = caps_service("orphan", CAPS_WORLD);
    CHECK(service >= 0);
    IN_CHILD(client) {
        struct letter l;
        char* room = filled(many, 'r');
        add(saying(&l, "fill"), CAPS_ROOM, -1, room, many);
        add(&l, CAPS_ROOM, -1, room + 100, 50);
        caps_call(connect_to("orphan"), &l.m, &l.m, 0);
    }
    struct letter l;
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const uint64_t id = l.m.id;
    CHECK(l.m.item_count == 2 && l.items[0].kind == CAPS_ROOM && l.items[1].kind == CAPS_ROOM);
    const int room = l.items[0].fd, small = l.items[1].fd;
    char* filling = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, room, 0);
    CHECK(filling != MAP_FAILED);
    memset(filling, 'f', many / 2);
    end(client);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(l.m.kind == CAPS_ABORTED && l.m.id == id);
    CHECK_EQ(TRY_FAULT(memset(filling + many / 2, 'g', many / 2)), 0);
    CHECK(all_are(filling, many / 2, 'f') && all_are(filling + many / 2, many / 2, 'g'));
    CHECK_EQ(pwrite(small, "x", 1, 49), 1);
    add(empty(&l), CAPS_DESCRIPTOR, room, 0, many);
    l.items[0].fills = 0;
    l.m.id = id;
    CHECK_ERROR(caps_reply(service, &l.m, 0), ECANCELED);
    CHECK(all_are(filling, many, 0)); // what it carried is gone
    CHECK_EQ(TRY_FAULT(memset(filling, 'h', many)), 0);
    CHECK_ERROR(caps_reply(service, &(struct caps_message){.id = id}, 0), EINVAL);
}

TAP_MAIN(T(who_keeps_what_was_sent_costs_the_sender_nothing), T(and_in_the_end_no_memory_but_its_own_copy),
         T(a_page_that_is_kept_keeps_no_other), T(a_file_that_is_cut_takes_nothing_back),
         T(a_room_outlives_who_wanted_it_filled))
