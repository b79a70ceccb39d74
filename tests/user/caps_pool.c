// Pools: rooms that both sides see.
#include "tests/user/caps_letter.h"

static int add_up_slices(int service, struct letter* l) {
    static char* pool;
    if (l->m.item_count) {
        CHECK(l->items[0].kind == CAPS_SHARE && !(l->items[0].flags & CAPS_WRITABLE));
        CHECK(mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, l->items[0].fd, 0) == MAP_FAILED);
        pool = mmap(NULL, many, PROT_READ, MAP_SHARED, l->items[0].fd, 0);
        CHECK(pool != MAP_FAILED);
        CHECK_ERROR(ftruncate(l->items[0].fd, 0), EINVAL);
        l->m.item_count = 0;
        return 0;
    }
    l->m.text[0] = pool[*(int*)l->m.text];
    return 0;
}

static void a_pool_is_shared_once_and_messages_name_places_in_it(void) {
    begin();
    const pid_t server = serve("pool", add_up_slices);
    const int client = connect_to("pool"), room = caps_room(many, 0);
    CHECK(room >= 0);
    char* pool = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, room, 0);
    CHECK(pool != MAP_FAILED);
    struct letter l;
    add(saying(&l, "take"), CAPS_SHARE, room, 0, 0);
    CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
    for (int i = 0; i < 10; i++) {
        pool[i * page] = 'a' + i;
        empty(&l);
        *(int*)l.m.text = i * page;
        l.m.text_bytes = sizeof(int);
        CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
        CHECK_EQ(l.m.text[0], 'a' + i);
    }
    end(server);
}

static char* map_shared(int fd, int rights) {
    return mmap(NULL, many, rights, MAP_SHARED, fd, 0);
}

// Sends a room to the service in this process, and gives the descriptor that came.
static int share(int service, int client, int room, unsigned flags) {
    struct letter l;
    add(saying(&l, "share"), CAPS_SHARE, room, 0, 0);
    l.items[0].flags = flags;
    CHECK(caps_put(client, &l.m, 0) == 0);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    CHECK(l.m.item_count == 1 && l.items[0].kind == CAPS_SHARE && l.items[0].bytes == many);
    CHECK_EQ(l.items[0].flags, flags);
    return l.items[0].fd;
}

static int write_and_reply(int service, struct letter* l) {
    static char* pool;
    if (l->m.item_count) {
        CHECK(l->items[0].kind == CAPS_SHARE && l->items[0].flags == CAPS_WRITABLE);
        pool = map_shared(l->items[0].fd, PROT_READ | PROT_WRITE);
        CHECK(pool != MAP_FAILED);
    }
    const int at = *(int*)l->m.text;
    CHECK(pool[at] == 'c');
    pool[at + 1] = 's';
    l->m.item_count = 0;
    return 0;
}

static void a_writable_one_is_written_from_both_sides(void) {
    begin();
    const pid_t server = serve("both-ways", write_and_reply);
    const int client = connect_to("both-ways"), room = caps_room(many, 0);
    char* pool = map_shared(room, PROT_READ | PROT_WRITE);
    CHECK(room >= 0 && pool != MAP_FAILED);
    struct letter l;
    for (int i = 0; i < 20; i++) {
        const int at = i * 3 * page + i;
        pool[at] = 'c';
        empty(&l);
        if (i == 0) {
            add(&l, CAPS_SHARE, room, 0, 0);
            l.items[0].flags = CAPS_WRITABLE;
        }
        *(int*)l.m.text = at;
        l.m.text_bytes = sizeof at;
        CHECK(caps_call(client, &l.m, &l.m, 0) == 0 && l.m.result == 0);
        CHECK(pool[at + 1] == 's' && pool[at] == 'c' && pool[at + 2] == 0);
        char byte;
        CHECK(pread(room, &byte, 1, at + 1) == 1 && byte == 's');
    }
    end(server);
    CHECK(pool[1] == 's'); // the memory stays
}

static void what_is_shared_to_be_read_cannot_be_written(void) {
    begin();
    catch_faults();
    int service, client;
    both_ends("reader", &service, &client);
    const int room = caps_room(many, 0), fd = share(service, client, room, 0);
    char* pool = map_shared(room, PROT_READ | PROT_WRITE);
    CHECK(pool != MAP_FAILED);
    memset(pool, 'p', many);
    char* shown = map_shared(fd, PROT_READ);
    CHECK(shown != MAP_FAILED && all_are(shown, many, 'p'));
    CHECK_ERROR(mprotect(shown, many, PROT_READ | PROT_WRITE), EACCES);
    CHECK_EQ(TRY_FAULT(*(volatile char*)shown = 'x'), SIGSEGV);
    CHECK(map_shared(fd, PROT_READ | PROT_WRITE) == MAP_FAILED && errno == EACCES);
    CHECK_ERROR(pwrite(fd, "x", 1, 0), EBADF);
    CHECK_ERROR(write(fd, "x", 1), EBADF);
    CHECK(ftruncate(fd, 0) < 0);
    CHECK(fallocate(fd, 0, 0, many) < 0);
    CHECK(fallocate(fd, 3 /* punch a hole, with the size kept */, 0, many) < 0);
    CHECK(madvise(shown, many, MADV_REMOVE) < 0);
    // Nor is it more to the next one.
    struct letter l;
    add(saying(&l, "more"), CAPS_SHARE, fd, 0, 0);
    l.items[0].flags = CAPS_WRITABLE;
    CHECK_ERROR(caps_put(client, &l.m, 0), EBADF);
    add(saying(&l, "fill"), CAPS_ROOM, fd, 0, many);
    CHECK_ERROR(caps_put(client, &l.m, 0), EBADF);
    add(saying(&l, "take"), CAPS_DESCRIPTOR, fd, 0, many); // out of it, in a reply
    const int holder = connect_to("reader");
    struct letter ask;
    CHECK(caps_put(holder, &saying(&ask, "x")->m, 0) == 0);
    CHECK(caps_get(service, &empty(&ask)->m, 0) == 0);
    l.m.id = ask.m.id;
    CHECK_ERROR(caps_reply(service, &l.m, 0), EBADF);
    CHECK(caps_reply(service, &(struct caps_message){.id = ask.m.id}, 0) == 0 && close(holder) == 0);
    // Not even by its name, if it can be opened by that.
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const int again = open(name, O_RDWR);
    if (again >= 0) {
        CHECK(pwrite(again, "x", 1, 0) < 0);
        CHECK(map_shared(again, PROT_READ | PROT_WRITE) == MAP_FAILED);
    }
    const int memory = open("/proc/self/mem", O_RDWR);
    if (memory >= 0) CHECK(pwrite(memory, "x", 1, (off_t)(uintptr_t)shown) <= 0);
    // What is written to a private mapping is nobody else's.
    char* own = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(own != MAP_FAILED);
    memset(own, 'o', many);
    CHECK(all_are(pool, many, 'p') && all_are(shown, many, 'p'));
    // To be read it may be passed on.
    const int onward = share(service, client, fd, 0);
    CHECK_ERROR(pwrite(onward, "x", 1, 0), EBADF);
    char* also = map_shared(onward, PROT_READ);
    pool[page] = 'n';
    CHECK(also != MAP_FAILED && also[page] == 'n' && shown[page] == 'n' && also[0] == 'p');
}

static void its_size_stays(void) {
    begin();
    catch_faults();
    int service, client;
    both_ends("size", &service, &client);
    const int room = caps_room(many, 0), there = share(service, client, room, CAPS_WRITABLE);
    char *pool = map_shared(room, PROT_READ | PROT_WRITE), *shown = map_shared(there, PROT_READ | PROT_WRITE);
    CHECK(pool != MAP_FAILED && shown != MAP_FAILED);
    memset(pool, 'p', many);
    for (int i = 0; i < 2; i++) {
        const int fd = i ? there : room;
        CHECK_ERROR(ftruncate(fd, 0), EINVAL);
        CHECK_ERROR(ftruncate(fd, 2 * many), EINVAL);
        CHECK(fallocate(fd, 0, 0, 2 * many) < 0);
        CHECK(fallocate(fd, 3 /* punch a hole, with the size kept */, 0, page) < 0);
        CHECK_ERROR(pwrite(fd, "x", 1, many), ENOSPC);
        CHECK_EQ(TRY_FAULT(CHECK(all_are(shown, many, 'p'))), 0);
    }
    // Taken out of it, with a reply, it is empty, and still there.
    struct letter l;
    CHECK(caps_put(client, &saying(&l, "x")->m, 0) == 0);
    CHECK(caps_get(service, &empty(&l)->m, 0) == 0);
    const uint64_t id = l.m.id;
    add(saying(&l, "take"), CAPS_DESCRIPTOR, there, 0, many);
    l.m.id = id;
    CHECK(caps_reply(service, &l.m, 0) == 0);
    CHECK_EQ(TRY_FAULT(CHECK(all_are(pool, many, 0) && all_are(shown, many, 0))), 0);
    CHECK_EQ(TRY_FAULT(memset(pool, 'q', many)), 0);
    CHECK(all_are(shown, many, 'q'));
    CHECK(caps_get(client, &empty(&l)->m, 0) == 0);
    char* got = anonymous(many);
    CHECK_EQ(read(l.items[0].fd, got, many), many);
    CHECK(all_are(got, many, 'p'));
}

// --- What messages that only name places cost

static long faults(void) {
    struct rusage used;
    CHECK(getrusage(RUSAGE_SELF, &used) == 0);
    return used.ru_minflt + used.ru_majflt;
}

// Adds up what the message names, and tells how many page faults this process has had.
static int add_up_and_tell(int service, struct letter* l) {
    static char* pool;
    if (l->m.item_count) {
        pool = map_shared(l->items[0].fd, PROT_READ | PROT_WRITE);
        CHECK(pool != MAP_FAILED);
        l->m.item_count = 0;
    }
    const int at = *(int*)l->m.text;
    long sum = 0;
    for (int i = 0; i < 2 * page; i += 64)
        sum += pool[at + i];
    pool[at]++;
    const long answer[] = {sum, faults()};
    memcpy(l->m.text, answer, sizeof answer);
    l->m.text_bytes = sizeof answer;
    return 0;
}

static void messages_that_name_places_cost_no_faults(void) {
    begin();
    const long none = faults();
    *anonymous(page) = 'x';
    CHECK(faults() > none); // they are counted
    const pid_t server = serve("faultless", add_up_and_tell);
    const int client = connect_to("faultless"), room = caps_room(many, 0);
    char* pool = map_shared(room, PROT_READ | PROT_WRITE);
    CHECK(room >= 0 && pool != MAP_FAILED);
    memset(pool, 0, many);
    enum { places = many / page - 2, calls = 1000 };
    long ours = 0, theirs = 0, last = 0;
    struct letter l;
    for (int i = 0; i < calls + 2 * places; i++) {
        const int at = i % places * page;
        empty(&l);
        if (i == 0) {
            add(&l, CAPS_SHARE, room, 0, 0);
            l.items[0].flags = CAPS_WRITABLE;
        }
        memset(pool + at, i % 50, 2 * page);
        *(int*)l.m.text = at;
        l.m.text_bytes = sizeof at;
        CHECK(caps_call(client, &l.m, &l.m, 0) == 0);
        long answer[2];
        memcpy(answer, l.m.text, sizeof answer);
        CHECK_EQ(answer[0], i % 50 * (2 * page / 64));
        CHECK_EQ(pool[at], i % 50 + 1);
        last = answer[1];
        if (i == 2 * places - 1) ours = faults(), theirs = last; // all of it has been seen by both
    }
    CHECK_EQ(faults() - ours, 0);
    CHECK_EQ(last - theirs, 0);
    end(server);
}

TAP_MAIN(T(a_pool_is_shared_once_and_messages_name_places_in_it), T(a_writable_one_is_written_from_both_sides),
         T(what_is_shared_to_be_read_cannot_be_written), T(its_size_stays), T(messages_that_name_places_cost_no_faults))
