// Clients and servers that do anything at any moment, and die in the midst of it: whoever is left hears a defined
// error, sees only whole bytes, and all memory comes back. 20 seconds, or fuzz_seconds in the environment (which
// the kernel's command line is).
#include "tests/user/ledger.h"
#include "user/caps.h"

enum { services = 3, children = 9, most_bytes = 96 << 10 };

static unsigned long long state;
static unsigned below(unsigned limit) {
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (unsigned)((state * 0x2545f4914f6cdd1dull) >> 33) % limit;
}

// Bytes that tell whether they are all of one sending: a number, and what follows from it.
static void sign(unsigned char* at, size_t bytes, unsigned seed) {
    for (size_t i = 0; i < bytes; i += 512)
        at[i] = (unsigned char)(seed + i / 512 * 31);
}
static int is_signed(const unsigned char* at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 512)
        if (at[i] != (unsigned char)(at[0] + i / 512 * 31)) return 0;
    return 1;
}

static char* name_of(unsigned number) {
    static char name[32];
    snprintf(name, sizeof name, "stress.%d.%u", (int)getppid(), number);
    return name;
}

static void expect(int line, int one_of_them) {
    if (one_of_them) return;
    note("line %d: errno %d (%s)", line, errno, strerror(errno));
    _exit(3);
}
// What may happen to who talks to somebody that dies.
static int is_usual(int number) {
    switch (number) {
    case EAGAIN:
    case ECANCELED:
    case ECONNREFUSED:
    case ECONNRESET:
    case EINTR:
    case ENOBUFS:
    case ENOENT:
    case ENOMEM:
    case ENOTCONN:
    case ETIMEDOUT: return 1;
    default: return 0;
    }
}

struct letter {
    struct caps_message m;
    struct caps_item items[CAPS_MOST_ITEMS];
};

static void begin(struct letter* l, uint64_t id) {
    l->m = (struct caps_message){.id = id, .items = l->items, .timeout_ns = 1000000ull * (1 + below(100))};
}

static void add_memory(struct letter* l, unsigned char* at, unsigned fills) {
    const size_t any = 1 + below(below(2) ? most_bytes : page);
    const size_t bytes = below(3) || any < page ? any : any / page * page; // whole pages are shared as they are
    sign(at, bytes, below(256));
    l->items[l->m.item_count++] =
        (struct caps_item){.kind = CAPS_MEMORY, .fd = -1, .at = (uint64_t)at, .bytes = bytes, .fills = fills};
}

// Looks at everything that came, and lets it go. Is it whole?
static int take(struct letter* l) {
    static unsigned char bytes[most_bytes];
    int whole = 1;
    for (unsigned i = 0; i < l->m.item_count; i++) {
        struct caps_item* it = &l->items[i];
        if (it->kind == CAPS_MAPPED) {
            whole &= is_signed((unsigned char*)it->at, it->bytes);
            caps_unmap(it);
        } else if (it->kind == CAPS_DESCRIPTOR) {
            whole &= pread(it->fd, bytes, it->bytes, 0) == (ssize_t)it->bytes && is_signed(bytes, it->bytes);
            close(it->fd);
        } else if (it->kind == CAPS_FILLED) {
            whole &= is_signed((unsigned char*)it->at, it->bytes);
        } else {
            close(it->fd);
        }
    }
    return whole;
}

static void serve(unsigned number) {
    static unsigned char memory[most_bytes] __attribute__((aligned(page)));
    uint64_t kept[4] = {0};
    struct letter l;
    const int service = caps_service(name_of(number), CAPS_WORLD | (below(4) ? 0 : CAPS_ASK));
    if (service < 0) expect(__LINE__, errno == EEXIST);
    if (service < 0) _exit(0);
    for (unsigned turn = 0, last = 20 + below(2000); turn < last; turn++) {
        begin(&l, 0);
        l.m.item_room = CAPS_MOST_ITEMS;
        if (caps_get(service, &l.m, (below(2) ? CAPS_MAP : 0) | (below(8) ? 0 : CAPS_DONTWAIT)) < 0) {
            expect(__LINE__, is_usual(errno));
            continue;
        }
        if (l.m.kind != CAPS_REQUEST && l.m.kind != CAPS_CONNECTION) continue;
        const uint64_t id = l.m.id;
        const unsigned had = l.m.item_count;
        const int room_at = had && l.items[had - 1].kind == CAPS_ROOM ? (int)had - 1 : -1;
        const int whole = l.m.kind == CAPS_CONNECTION || take(&l);
        if (!below(8)) { // not now; whoever was kept before is answered too late, or never
            uint64_t* place = &kept[below(4)];
            begin(&l, *place);
            if (*place && caps_reply(service, &l.m, 0) < 0) expect(__LINE__, errno == ECANCELED || errno == EINVAL);
            *place = id;
            continue;
        }
        begin(&l, id);
        l.m.text[0] = whole ? 'y' : 'n';
        l.m.text_bytes = 1;
        if (room_at >= 0)
            add_memory(&l, memory, (unsigned)room_at);
        else if (below(2))
            add_memory(&l, memory, CAPS_NOTHING);
        if (caps_reply(service, &l.m, below(4) ? 0 : CAPS_RECEIPT) < 0)
            expect(__LINE__, errno == ECANCELED || errno == ENOMEM);
        sign(memory, sizeof memory, below(256)); // at once: the client sees what was sent
        if (!below(64) && caps_reply(service, &l.m, 0) == 0) expect(__LINE__, 0); // one reply each
    }
    _exit(0);
}

static void be_client(void) {
    static unsigned char memory[3][most_bytes] __attribute__((aligned(page))), room[most_bytes];
    struct letter l, back;
    for (unsigned turn = 0, last = 5 + below(20); turn < last; turn++) {
        const int client = caps_connect(name_of(below(services)), below(2) ? CAPS_WAIT : 0, 50000000);
        if (client < 0) {
            expect(__LINE__, is_usual(errno));
            sleep_ms(1);
            continue;
        }
        uint64_t sent[8] = {0};
        for (unsigned call = 0, calls = below(200); call < calls; call++) {
            begin(&l, 0);
            l.m.text_bytes = below(CAPS_MOST_TEXT + 1);
            for (unsigned i = below(4); i; i--)
                add_memory(&l, memory[i - 1], CAPS_NOTHING);
            if (!below(3))
                l.items[l.m.item_count++] =
                    (struct caps_item){.kind = CAPS_ROOM, .fd = -1, .at = (uint64_t)room, .bytes = sizeof room};
            begin(&back, 0);
            back.m.item_room = CAPS_MOST_ITEMS;
            uint64_t* place = &sent[below(8)];
            int got;
            switch (below(5)) {
            case 0:
                got = caps_put(client, &l.m, below(2) ? CAPS_DONTWAIT : 0);
                if (!got) *place = l.m.id;
                if (got < 0) expect(__LINE__, is_usual(errno));
                got = -1;
                break;
            case 1: // any, or one that was put
                back.m.id = below(2) ? 0 : *place;
                got = caps_get(client, &back.m, CAPS_DONTWAIT | (below(2) ? CAPS_MAP : 0));
                if (got < 0) expect(__LINE__, is_usual(errno) || errno == EINVAL);
                break;
            case 2:
                got = caps_abort(client, *place, below(2) ? CAPS_HARD : 0);
                if (got < 0) expect(__LINE__, errno == EINVAL || is_usual(errno));
                got = -1;
                break;
            case 3:
                if (caps_dispose(client, *place) < 0) expect(__LINE__, errno == EINVAL);
                got = -1;
                break;
            default:
                got = caps_call(client, &l.m, &back.m, below(2) ? CAPS_MAP : 0);
                if (got < 0) expect(__LINE__, is_usual(errno));
            }
            for (int i = 0; i < 3; i++)
                sign(memory[i], sizeof memory[i], below(256)); // the server sees what was sent
            if (got < 0) continue;
            const int whole = take(&back);
            expect(__LINE__, whole);
            if (back.m.kind == CAPS_REPLY && back.m.text_bytes) expect(__LINE__, back.m.text[0] == 'y');
        }
        close(client);
    }
    _exit(0);
}

// --- What the kernel has: objects of its small memory (a service, a client, a message are one at least each), and
// pages that are lent. A message that is lost is seen in the first, though the machine has memory for thousands of
// them.

static long long objects(void) {
    return in_text("/proc/pages", "slab objects in use");
}

// The fewest of some moments: what others do in passing does not count.
static long long fewest_objects(void) {
    long long fewest = objects();
    for (int i = 0; i < 10; i++) {
        sleep_ms(10);
        const long long now = objects();
        if (now < fewest) fewest = now;
    }
    return fewest;
}

static void all_objects_come_back(long long before, unsigned killed) {
    if (before < 0) return;
    // What one CPU has freed of another's travels in batches, which count as freed; what the test itself made is gone.
    // Each CPU keeps four threads that have ended for the next ones, and some caches grow once.
    const int slack = 64;
    long long now = 0;
    for (const long long until = now_ns() + 10000000000LL; now_ns() < until; sleep_ms(50))
        if ((now = fewest_objects()) <= before + slack) break;
    note("%lld objects of the kernel's before, %lld after %u deaths", before, now, killed);
    CHECK(now <= before + slack);
}

// One of each kind has lived and died: what the kernel makes once for all is made.
static void warm_up(void) {
    for (unsigned i = 0; i < children; i++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (!child) {
            state += 2 * i;
            if (i < services) {
                alarm(1);
                serve(i);
            }
            be_client();
        }
        int status;
        if (i >= services) CHECK_EQ(waitpid(child, &status, 0), child);
    }
    while (wait(NULL) > 0)
        ;
}

static void whoever_dies_the_others_hear_it_and_all_comes_back(void) {
    if (caps_room(0, 0) < 0 && errno == ENOSYS) tap_skip("this kernel has no services");
    const char* wished = getenv("fuzz_seconds");
    const long long seconds = wished ? atoll(wished) : 20;
    state = (unsigned long long)now_ns() | 1;
    note("seed %llu, %lld seconds", state, seconds);
    warm_up();
    const long long before = fewest_objects();
    pid_t there[children] = {0};
    unsigned made = 0, killed = 0;
    const long long end = now_ns() + seconds * 1000000000LL;
    while (now_ns() < end) {
        for (unsigned i = 0; i < children; i++) {
            if (there[i]) continue;
            const unsigned long long seed = state + below(1u << 30) * 2;
            there[i] = fork();
            CHECK(there[i] >= 0);
            if (!there[i]) {
                state = seed | 1;
                if (i < services) serve(i);
                be_client();
            }
            made++;
        }
        sleep_ms(1 + below(20));
        const unsigned victim = below(children);
        if (!below(6) && there[victim] > 0 && kill(there[victim], SIGKILL) == 0) killed++;
        for (unsigned i = 0; i < children; i++) {
            int status;
            if (waitpid(there[i], &status, WNOHANG) != there[i]) continue;
            if (WIFSIGNALED(status)) CHECK_EQ(WTERMSIG(status), SIGKILL);
            if (WIFEXITED(status)) CHECK_EQ(WEXITSTATUS(status), 0);
            there[i] = 0;
        }
    }
    for (unsigned i = 0; i < children; i++) {
        if (!there[i]) continue;
        int status;
        CHECK(kill(there[i], SIGKILL) == 0 && waitpid(there[i], &status, 0) == there[i]);
    }
    note("%u processes, %u of them killed", made, killed);
    CHECK(made > children && killed > 0);
    all_objects_come_back(before, killed);
    for (unsigned i = 0; i < services; i++) { // no name outlives its service
        char name[32];
        snprintf(name, sizeof name, "stress.%d.%u", (int)getpid(), i);
        CHECK_ERROR(caps_connect(name, 0, 0), ENOENT);
    }
}

TAP_MAIN(T(whoever_dies_the_others_hear_it_and_all_comes_back))
