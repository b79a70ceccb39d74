// Hostile processes, and those that die at any moment, beside others that they must not harm.
#include "tests/user/caps_letter.h"

#include <grp.h>
#include <sys/time.h>

// Where the random numbers of a test begin: `seed` in the environment repeats it.
static uint64_t new_seed(void) {
    const char* wished = getenv("seed");
    const uint64_t seed = (wished ? strtoull(wished, NULL, 0) : (uint64_t)now_ns()) | 1;
    note("seed %llu", (unsigned long long)seed);
    return seed;
}

static uint64_t seed_of(uint64_t seed, unsigned number) {
    uint64_t state = seed + number * 0x9e3779b97f4a7c15ull;
    if (!state) state = 1;
    for (int i = 0; i < 8; i++)
        draw(&state);
    return state;
}

// The hostile are nobody, where that can be had.
static void become_nobody(void) {
    if (geteuid() != 0) return;
    CHECK(setgroups(0, NULL) == 0 && setgid(54321) == 0 && setuid(54321) == 0);
}

static const char* const names[] = {"bad-0", "bad-1", "good", "nutcracker.echo"};

// Numbers that hurt.
static uint64_t odd_number(uint64_t* state, char* memory) {
    static const uint64_t odd[] = {0,    1,    2,    7,       8,       9,     255,        256,       257,
                                   4095, 4096, 4097, 1 << 20, 1 << 30, -1ull, 1ull << 63, 1ull << 47};
    switch (draw(state) % 4) {
    case 0: return odd[draw(state) % (sizeof odd / sizeof odd[0])];
    case 1: return (uintptr_t)memory + draw(state) % (2 * many);
    case 2: return draw(state) % 16;
    default: return (uintptr_t)memory;
    }
}

// One that calls at random, on ends of its own and whatever else is open.
struct rager {
    uint64_t state;
    char* memory;
    int fds[4]; // a service or -1, a client, a room, an xio
    uint64_t last;
};

static void nothing(int number) {}

// A call for which it has made up a time ends some time, too.
static void begin_rage(struct rager* r, uint64_t seed, int service) {
    const struct sigaction on = {.sa_handler = nothing};
    const struct itimerval often = {{0, 50000}, {0, 50000}};
    CHECK(sigaction(SIGALRM, &on, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    *r = (struct rager){.state = seed, .memory = filled(many, 'h')};
    r->fds[0] = service;
    r->fds[1] = -1;
    r->fds[2] = caps_room(many, 0);
    r->fds[3] = xio_from_memory(r->memory, many, 0);
    signal(SIGPIPE, SIG_IGN);
}

static void rage_once(struct rager* r) {
    uint64_t* state = &r->state;
    char* memory = r->memory;
    struct letter l;
    if (r->fds[1] < 0 || draw(state) % 64 == 0) {
        if (r->fds[1] >= 0) close(r->fds[1]);
        r->fds[1] = caps_connect(names[draw(state) % 4], 0, 0);
    }
    empty(&l);
    l.m.timeout_ns = 1 + draw(state) % 1000000;
    l.m.id = draw(state) % 2 ? r->last : odd_number(state, memory);
    l.m.text_bytes = draw(state) % 8 ? draw(state) % 257 : odd_number(state, memory);
    l.m.item_count = draw(state) % 8 ? draw(state) % 4 : odd_number(state, memory);
    l.m.result = draw(state) % 4 ? 0 : odd_number(state, memory);
    if (draw(state) % 16 == 0) l.m.items = (void*)odd_number(state, memory);
    if (draw(state) % 16 == 0) l.m.sender = (void*)odd_number(state, memory);
    for (int i = 0; i < CAPS_MOST_ITEMS; i++)
        l.items[i] = (struct caps_item){
            draw(state) % 5,           draw(state) % 2 ? r->fds[draw(state) % 4] : (int)(draw(state) % 20) - 1,
            odd_number(state, memory), draw(state) % 2 ? draw(state) % many : odd_number(state, memory),
            draw(state) % 10,          draw(state) % 2};
    const int fd = draw(state) % 8 ? r->fds[draw(state) % 2] : r->fds[draw(state) % 4];
    const int flags = draw(state) % 16 | (draw(state) % 4 ? CAPS_DONTWAIT : 0);
    struct caps_message* m = draw(state) % 16 ? &l.m : (void*)odd_number(state, memory);
    int got = -1;
    if (m != &l.m && m == (void*)memory) return;
    switch (draw(state) % 8) {
    case 0: got = caps_call(fd, m, m, flags & ~CAPS_RECEIPT & ~CAPS_PEEK); break;
    case 1: got = caps_put(fd, m, CAPS_DONTWAIT); break;
    case 2:
    case 3: got = caps_get(fd, m, flags & ~CAPS_RECEIPT); break;
    case 4: got = caps_reply(fd, m, flags & CAPS_RECEIPT); break;
    case 5: got = caps_reply_wait(fd, m, m, flags & ~CAPS_PEEK); break;
    case 6: (void)caps_abort(fd, l.m.id, draw(state) % 2); break;
    default: (void)caps_dispose(fd, l.m.id); break;
    }
    if (got == 0 && m == &l.m) r->last = l.m.id;
    // What came is let go of, and now and then of what it needs itself.
    const int came = got == 0 && m == &l.m && l.m.items == l.items && !(flags & CAPS_PEEK);
    for (unsigned i = 0; came && i < l.m.item_count && i < CAPS_MOST_ITEMS; i++)
        if (l.items[i].kind == CAPS_MAPPED) caps_unmap(&l.items[i]);
    if (draw(state) % 8 == 0)
        for (int i = 16; i < 40; i++)
            close(i);
}

// Until it is killed.
__attribute__((noreturn)) static void rage(uint64_t seed, int service) {
    struct rager r;
    for (begin_rage(&r, seed, service);;)
        rage_once(&r);
}

// Answers most of what comes, with what nobody asked for; rages in between. It writes to all that it was given, before
// it replies and after.
__attribute__((noreturn)) static void serve_badly(uint64_t seed, int service) {
    struct rager r;
    char* rooms[4] = {0};
    unsigned turn = 0;
    for (begin_rage(&r, seed, service);;) {
        struct letter l, answer;
        empty(&l)->m.timeout_ns = 1 + draw(&r.state) % 2000000;
        if (caps_get(service, &l.m, draw(&r.state) % 2 ? CAPS_MAP : 0) == 0 && l.m.kind == CAPS_REQUEST) {
            empty(&answer)->m.id = l.m.id;
            answer.m.text_bytes = draw(&r.state) % 257;
            memset(answer.m.text, 'h', sizeof answer.m.text);
            for (unsigned i = 0; i < l.m.item_count; i++) {
                struct caps_item* it = &l.items[i];
                if (it->kind == CAPS_MAPPED) memset((void*)it->at, 'H', it->bytes);
                if (it->kind == CAPS_ROOM) {
                    char** kept = &rooms[turn++ % 4];
                    if (*kept) munmap(*kept, many);
                    *kept = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, it->fd, 0);
                    if (*kept == MAP_FAILED)
                        *kept = NULL;
                    else
                        memset(*kept, 'H', it->bytes < many ? it->bytes : many);
                    if (draw(&r.state) % 2) {
                        add(&answer, CAPS_DESCRIPTOR, it->fd, 0, 1 + draw(&r.state) % it->bytes);
                        answer.items[answer.m.item_count - 1].fills = draw(&r.state) % 4 ? i : draw(&r.state) % 12;
                    }
                }
            }
            while (answer.m.item_count < CAPS_MOST_ITEMS && draw(&r.state) % 3 == 0) {
                add(&answer, CAPS_MEMORY, -1, r.memory + draw(&r.state) % page, 1 + draw(&r.state) % (many - page));
                answer.items[answer.m.item_count - 1].fills = draw(&r.state) % 12;
            }
            if (draw(&r.state) % 8 == 0) usleep(1000);
            caps_reply(service, &answer.m, 0);
            for (unsigned i = 0; i < 4; i++) // too late
                if (rooms[i]) memset(rooms[i], 'L', page);
            for (unsigned i = 0; i < l.m.item_count; i++)
                if (l.items[i].kind == CAPS_MAPPED)
                    caps_unmap(&l.items[i]);
                else
                    close(l.items[i].fd);
        }
        if (draw(&r.state) % 8 == 0) rage_once(&r);
    }
}

// Hostile processes on both sides of services, beside a good client and a good server of another one.
static void the_hostile_harm_nobody(void) {
    begin();
    enum { hostile = 4, rounds = 12 };
    const uint64_t seed = new_seed();
    const pid_t good = serve("good", echo);
    const int client = connect_to("good");
    struct letter l;
    for (int round = 0; round < rounds; round++) {
        pid_t bad[hostile];
        for (int i = 0; i < hostile; i++) {
            bad[i] = fork();
            CHECK(bad[i] >= 0);
            if (bad[i]) continue;
            become_nobody();
            // The first two serve, all of them are clients of those two, of the good one, and of the kernel.
            rage(seed_of(seed, round * hostile + i), i < 2 ? caps_service(names[i], CAPS_WORLD) : -1);
        }
        for (const long long until = now_ns() + 150000000; now_ns() < until;) {
            CHECK(caps_call(client, &saying(&l, "still there")->m, &l.m, 0) == 0);
            CHECK(says(&l, "STILL THERE"));
        }
        for (int i = 0; i < hostile; i++)
            kill(bad[i], SIGKILL);
        for (int i = 0; i < hostile; i++) {
            int status;
            CHECK_EQ(waitpid(bad[i], &status, 0), bad[i]);
            CHECK(WIFSIGNALED(status));
        }
    }
    end(good);
}

// --- A good client of hostile servers

// All that a client gives away, with what must not change around it.
struct exposed {
    char guard_0[page], lent[6 * page], guard_1[page], room[5 * page], guard_2[page];
    struct {
        char before[64];
        struct letter l;
        char after[64];
    } reply __attribute__((aligned(page)));
};

static void check_exposed(const struct exposed* e, size_t room_from, size_t room_bytes) {
    CHECK(all_are(e->guard_0, sizeof e->guard_0, 'g') && all_are(e->guard_1, sizeof e->guard_1, 'g') &&
          all_are(e->guard_2, sizeof e->guard_2, 'g'));
    CHECK(all_are(e->lent, sizeof e->lent, 'l'));
    CHECK(all_are(e->room, room_from, 'r'));
    CHECK(all_are(e->room + room_from + room_bytes, sizeof e->room - room_from - room_bytes, 'r'));
    CHECK(all_are(e->reply.before, sizeof e->reply.before, 'g') && all_are(e->reply.after, sizeof e->reply.after, 'g'));
}

static struct exposed* expose(void) {
    struct exposed* e = (struct exposed*)anonymous((sizeof *e + page - 1) & -(size_t)page);
    memset(e, 'g', sizeof *e);
    memset(e->lent, 'l', sizeof e->lent);
    memset(e->room, 'r', sizeof e->room);
    return e;
}

// Takes what came, and tells how much of the one room it filled.
static size_t take_reply(struct exposed* e, size_t room_from, size_t room_bytes) {
    struct letter* l = &e->reply.l;
    size_t most = 0;
    CHECK(l->m.text_bytes <= CAPS_MOST_TEXT && l->m.item_count <= l->m.item_room && l->m.result >= 0);
    for (unsigned i = 0; i < l->m.item_count; i++) {
        struct caps_item* it = &l->items[i];
        switch (it->kind) {
        case CAPS_FILLED:
            CHECK(it->at == (uintptr_t)e->room + room_from && it->bytes <= room_bytes);
            most = it->bytes > most ? it->bytes : most;
            break;
        case CAPS_MAPPED: {
            const uintptr_t first = it->at & -(uintptr_t)page, own = (uintptr_t)e;
            CHECK(first + it->bytes <= own || first >= own + sizeof *e); // in place of nothing of ours
            CHECK(*(volatile char*)it->at || 1);
            CHECK(caps_unmap(it) == 0);
            break;
        }
        default: CHECK(it->fd > 2 && close(it->fd) == 0);
        }
    }
    return most;
}

static unsigned call_the_hostile(uint64_t seed, unsigned wanted) {
    struct exposed* e = expose();
    int clients[2] = {-1, -1};
    unsigned replies = 0, filled_rooms = 0, calls = 0;
    uint64_t state = seed;
    for (const long long until = now_ns() + 10000000000; now_ns() < until && replies < wanted;) {
        const unsigned which = draw(&state) % 2;
        int* client = &clients[which];
        if (*client < 0) *client = caps_connect(names[which], CAPS_WAIT, 100000000);
        if (*client < 0) continue;
        const size_t lent_from = draw(&state) % (2 * page), lent = 1 + draw(&state) % (3 * page);
        const int whole = draw(&state) % 3 == 0;
        const size_t room_from = whole ? page : draw(&state) % page;
        const size_t room_bytes = whole ? 3 * page : 1 + draw(&state) % (3 * page);
        struct letter request;
        saying(&request, "good morning")->m.timeout_ns = 5000000 + draw(&state) % 20000000;
        add(&request, CAPS_MEMORY, -1, e->lent + lent_from, lent);
        add(&request, CAPS_MEMORY, -1, e->lent + page, 2 * page);
        add(&request, CAPS_ROOM, -1, e->room + room_from, room_bytes);
        empty(&e->reply.l)->m.item_room = draw(&state) % 4 ? 8 : draw(&state) % 9;
        calls++;
        const int good = caps_call(*client, &request.m, &e->reply.l.m, draw(&state) % 2 ? CAPS_MAP : 0) == 0;
        const int number = errno;
        // What a reply that could not be received has filled is not said.
        const int lost = !good && (number == EMSGSIZE || number == EMFILE || number == ENOMEM);
        const size_t changed = good ? take_reply(e, room_from, room_bytes) : lost ? room_bytes : 0;
        check_exposed(e, room_from, changed);
        sched_yield();
        check_exposed(e, room_from, changed); // nor later
        memset(e->room, 'r', sizeof e->room);
        replies += good;
        filled_rooms += changed > 0 && good;
        if (good || lost) continue;
        if (number != ETIMEDOUT) {
            if (number != ECONNRESET && number != ENOTCONN && number != EAGAIN)
                note("errno %d (%s)", number, strerror(number));
            CHECK(number == ECONNRESET || number == ENOTCONN || number == EAGAIN);
            close(*client);
            *client = -1;
        }
    }
    note("%u calls, %u replies, %u filled the room", calls, replies, filled_rooms);
    return replies;
}

static void a_hostile_server_harms_no_client(void) {
    begin();
    enum { hostile = 3, good = 2, wanted = 40, least = 5 };
    const uint64_t seed = new_seed();
    pid_t bad[hostile], clients[good]; // of the hostile, two serve and one is a client of them
    for (int i = 0; i < hostile; i++) {
        bad[i] = fork();
        CHECK(bad[i] >= 0);
        if (bad[i]) continue;
        become_nobody();
        if (i >= 2) rage(seed_of(seed, i), -1);
        const int service = caps_service(names[i], CAPS_WORLD);
        CHECK(service >= 0);
        serve_badly(seed_of(seed, i), service);
    }
    for (int i = 0; i < good; i++) {
        clients[i] = fork();
        CHECK(clients[i] >= 0);
        if (clients[i] == 0) _exit(call_the_hostile(seed_of(seed, 10 + i), wanted) < least);
    }
    for (int i = 0; i < good; i++)
        CHECK_EQ(EXIT_STATUS(clients[i]), 0);
    for (int i = 0; i < hostile; i++)
        kill(bad[i], SIGKILL);
}

// --- Secrets

// All that is in the pages around what is sent is this; what is sent is something else; nobody may see it.
enum { secret = 'S', told = 'p' };

static void see(const char* what, const char* bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == 0 || bytes[i] == told) continue;
        note("%s: %#x at %zu of %zu", what, bytes[i], i, count);
        CHECK(!"a secret is told");
    }
}

static size_t up(size_t bytes) {
    return (bytes + page - 1) & -(size_t)page;
}

static int is_there(const char* at) {
    return TRY_FAULT((void)*(volatile const char*)at) == 0;
}

static void write_there(char* at) {
    TRY_FAULT(*(volatile char*)at = told);
}

// What can be read of so many bytes.
static void see_mapping(const char* what, const char* at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += page)
        if (is_there(at + i)) see(what, at + i, page);
}

static void look_into(int fd, size_t bytes) {
    static char got[many];
    memset(got, 0, sizeof got);
    CHECK(pread(fd, got, sizeof got, 0) == (ssize_t)bytes);
    see("pread", got, sizeof got);
    memset(got, 0, sizeof got);
    CHECK(pread(fd, got, sizeof got, bytes) == 0);
    see("pread behind the end", got, sizeof got);
    for (int kind = 0; kind < 3; kind++) {
        const size_t longer = up(bytes) + 2 * page;
        char* at =
            mmap(NULL, longer, kind ? PROT_READ | PROT_WRITE : PROT_READ, kind ? MAP_PRIVATE : MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) continue;
        if (kind == 2) write_there(at), write_there(at + bytes - 1);
        see_mapping("a mapping", at, longer);
        if (madvise(at, longer, MADV_DONTNEED) == 0) see_mapping("a mapping, again", at, longer);
        CHECK(munmap(at, longer) == 0);
    }
    int ends[2];
    CHECK(pipe(ends) == 0);
    loff_t from = 0;
    const ssize_t went = splice(fd, &from, ends[1], NULL, sizeof got, SPLICE_F_NONBLOCK);
    if (went > 0) {
        memset(got, 0, sizeof got);
        CHECK(read(ends[0], got, sizeof got) <= (ssize_t)bytes);
        see("a pipe", got, sizeof got);
    }
    close(ends[0]);
    close(ends[1]);
    const int part = xio_from_file(fd, bytes / 2, (size_t)1 << 20, 0);
    CHECK(part >= 0 && lseek(part, 0, SEEK_END) == (off_t)(bytes - bytes / 2));
    char* at = mmap(NULL, up(bytes), PROT_READ, MAP_SHARED, part, 0);
    CHECK(at != MAP_FAILED);
    see_mapping("a part", at, up(bytes));
    CHECK(munmap(at, up(bytes)) == 0 && close(part) == 0);
}

// Maps, reads and passes on whatever comes; sends nothing back. Ends badly when it sees a secret.
__attribute__((noreturn)) static void spy(const char* name, int ready) {
    int own, onward;
    catch_faults();
    become_nobody();
    const int service = caps_service(name, CAPS_WORLD);
    CHECK(service >= 0 && write(ready, "x", 1) == 1);
    both_ends("spy-2", &own, &onward);
    for (unsigned turn = 0;; turn++) {
        struct letter l, next;
        memset(empty(&l)->m.text, 0, sizeof l.m.text);
        CHECK(caps_get(service, &l.m, (turn % 2 ? CAPS_MAP : 0) | CAPS_PEEK) == 0);
        see("the text of a peek", l.m.text, sizeof l.m.text);
        memset(empty(&l)->m.text, 0, sizeof l.m.text);
        CHECK(caps_get(service, &l.m, turn % 2 ? CAPS_MAP : 0) == 0);
        if (l.m.kind != CAPS_REQUEST) continue;
        if (l.m.text_bytes == 1) _exit(0); // enough
        see("the text", l.m.text, sizeof l.m.text);
        for (unsigned i = 0; i < l.m.item_count; i++) {
            struct caps_item* it = &l.items[i];
            if (it->kind == CAPS_MAPPED) {
                char* base = (char*)(it->at & -(uintptr_t)page);
                const size_t pages = up(it->at + it->bytes - (uintptr_t)base);
                see_mapping("what was mapped", base, pages);
                mprotect(base, pages, PROT_READ | PROT_WRITE | PROT_EXEC);
                see_mapping("what was mapped and protected", base, pages);
                char* moved = mremap(base, pages, pages + 4 * page, MREMAP_MAYMOVE);
                if (moved == MAP_FAILED) {
                    CHECK(caps_unmap(it) == 0);
                } else {
                    see_mapping("what was made longer", moved, pages + 4 * page);
                    CHECK(munmap(moved, pages + 4 * page) == 0);
                }
            } else if (it->kind == CAPS_ROOM) {
                char* at = mmap(NULL, up(it->bytes) + page, PROT_READ | PROT_WRITE, MAP_SHARED, it->fd, 0);
                if (at == MAP_FAILED) at = mmap(NULL, up(it->bytes), PROT_READ | PROT_WRITE, MAP_SHARED, it->fd, 0);
                CHECK(at != MAP_FAILED);
                see_mapping("a room", at, up(it->bytes));
                CHECK(munmap(at, up(it->bytes)) == 0 && close(it->fd) == 0);
            } else {
                look_into(it->fd, it->bytes);
                // To another one, from where it likes and more than there is.
                for (int kind = 0; kind < 2; kind++) {
                    const size_t from = it->bytes / 3;
                    add(saying(&next, ""), CAPS_DESCRIPTOR, it->fd, (void*)from, many);
                    CHECK(caps_put(onward, &next.m, 0) == 0);
                    CHECK(caps_get(own, &empty(&next)->m, kind ? CAPS_MAP : 0) == 0);
                    CHECK(next.items[0].bytes == it->bytes - from);
                    if (kind == 0) {
                        look_into(next.items[0].fd, it->bytes - from);
                        CHECK(close(next.items[0].fd) == 0);
                    } else {
                        char* base = (char*)(next.items[0].at & -(uintptr_t)page);
                        see_mapping("what was passed on", base,
                                    up(next.items[0].at + it->bytes - from - (uintptr_t)base));
                        CHECK(caps_unmap(&next.items[0]) == 0);
                    }
                    CHECK(caps_reply(own, &(struct caps_message){.id = next.m.id}, 0) == 0);
                    CHECK(caps_get(onward, &empty(&next)->m, 0) == 0);
                }
                if (turn % 12 == 4 && i == 0) { // when it has become a copy
                    sleep_ms(600);
                    look_into(it->fd, it->bytes);
                }
                CHECK(close(it->fd) == 0);
            }
        }
        const struct caps_message reply = {.id = l.m.id};
        CHECK(caps_reply(service, &reply, 0) == 0);
    }
}

static void nobody_sees_what_was_not_sent(void) {
    begin();
    const uint64_t seed = new_seed();
    uint64_t state = seed;
    int ready[2];
    CHECK(pipe(ready) == 0);
    const pid_t receiver = fork();
    CHECK(receiver >= 0);
    if (receiver == 0) spy("spy", ready[1]);
    char byte;
    CHECK(close(ready[1]) == 0 && read(ready[0], &byte, 1) == 1);
    const int client = connect_to("spy");
    struct letter l;
    for (unsigned turn = 0; turn < 26; turn++) {
        const size_t from = turn % 5 ? draw(&state) % (3 * page) : draw(&state) % 3 * page;
        const size_t bytes = turn % 4 ? 1 + draw(&state) % (12 * page) : (1 + draw(&state) % 12) * page;
        char* at = filled(many, secret);
        memset(at + from, told, bytes);
        const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
        CHECK(file >= 0 && write(file, at, many) == many);
        empty(&l);
        memset(l.m.text, secret, sizeof l.m.text);
        memset(l.m.text, told, l.m.text_bytes = 2 + draw(&state) % 200);
        add(&l, CAPS_MEMORY, -1, at + from, bytes);
        add(&l, CAPS_DESCRIPTOR, file, (void*)from, bytes);
        add(&l, CAPS_ROOM, -1, at + from, bytes);
        const int whole = xio_from_memory(at, many, 0); // a part of one that has secrets too
        CHECK(whole >= 0);
        add(&l, CAPS_DESCRIPTOR, whole, (void*)from, bytes);
        CHECK(caps_put(client, &l.m, 0) == 0);
        memset(at + from, secret, bytes); // what comes afterwards is nobody's affair either
        CHECK(pwrite(file, at, many, 0) == many);
        if (caps_get(client, &empty(&l)->m, 0) < 0 || l.m.kind != CAPS_REPLY) break; // it says why it ended
        CHECK(l.m.item_count == 0 && l.m.text_bytes == 0);
        CHECK(munmap(at, many) == 0 && close(file) == 0 && close(whole) == 0);
    }
    caps_put(client, &saying(&l, "")->m, 0);
    CHECK_EQ(EXIT_STATUS(receiver), 0);
}

// Clients send and servers answer all the time, and each is killed at some moment and begins anew. What a client gets
// is always the answer to what it asked.
static void sum_up(int service) {
    struct letter l;
    for (empty(&l);;) {
        if (caps_reply_wait(service, &l.m, &l.m, CAPS_MAP) < 0) _exit(3);
        if (l.m.kind >= CAPS_ABORTED) {
            l.m.id = 0;
            continue;
        }
        unsigned sum = 0;
        for (unsigned i = 0; i < l.m.item_count; i++) {
            for (size_t at = 0; at < l.items[i].bytes; at += page)
                sum += *(unsigned char*)(l.items[i].at + at);
            caps_unmap(&l.items[i]);
        }
        *(unsigned*)l.m.text = sum;
        l.m.text_bytes = sizeof sum;
        l.m.item_count = 0;
        l.m.result = 0;
    }
}

static void ask_for_sums(uint64_t seed) {
    uint64_t state = seed;
    char* at = anonymous(many);
    int client = -1;
    struct letter l;
    for (;;) {
        if (client < 0) client = caps_connect("mortals", CAPS_WAIT, 50000000);
        if (client < 0) continue;
        const int pages = 2 + draw(&state) % 60, value = draw(&state) % 250;
        for (int i = 0; i < pages; i++)
            at[i * page] = value;
        add(saying(&l, "sum"), CAPS_MEMORY, -1, at, pages * page);
        if (caps_call(client, &l.m, &l.m, 0) < 0) {
            if (errno != ECONNRESET && errno != ENOTCONN) _exit(4);
            close(client);
            client = -1;
        } else if (*(unsigned*)l.m.text != (unsigned)(pages * value)) {
            _exit(5);
        }
    }
}

static void death_at_any_moment_loses_nothing(void) {
    begin();
    enum { clients = 4, deaths = 60 };
    pid_t living[clients + 1] = {0};
    const uint64_t seed = new_seed();
    uint64_t state = seed;
    for (int death = 0; death < deaths; death++) {
        for (int i = 0; i <= clients; i++) {
            if (living[i]) continue;
            living[i] = fork();
            CHECK(living[i] >= 0);
            if (living[i]) continue;
            if (i) ask_for_sums(seed_of(seed, death * clients + i));
            const int service = caps_service("mortals", CAPS_WORLD);
            if (service < 0) _exit(2);
            sum_up(service);
        }
        usleep(draw(&state) % 30000);
        const int victim = death % 3 ? draw(&state) % (clients + 1) : 0;
        kill(living[victim], SIGKILL);
        CHECK_EQ(KILLED_BY(living[victim]), SIGKILL);
        living[victim] = 0;
    }
    for (int i = 0; i <= clients; i++)
        if (living[i]) end(living[i]);
}

TAP_MAIN(T(the_hostile_harm_nobody), T(a_hostile_server_harms_no_client), T(nobody_sees_what_was_not_sent),
         T(death_at_any_moment_loses_nothing))
