// File systems in programs whose servers say nonsense.
#include "tests/user/userfs_mount.h"

#include <sys/statfs.h>

// What a server of a test's own says; result and text of each kind of question.
struct answers {
    struct userfs_attributes look_up[4]; // one after the other, the last for ever
    int looked_up;
    char list[400];
    size_t list_bytes;
    const void* bytes; // of read
    size_t byte_count;
    const char* link_text;
    size_t link_bytes;
    int make_result;
};

// Replies to what `m` was, unless its id is 0, and waits for the next question. False: there will be none.
static int next_question(int service, struct caps_message* m, struct userfs_request* q) {
    for (;; m->id = 0) {
        m->item_room = CAPS_MOST_ITEMS;
        if (caps_reply_wait(service, m, m, 0) < 0) return 0;
        for (unsigned i = 0; i < m->item_count; i++)
            close(m->items[i].fd);
        if (m->kind != CAPS_REQUEST) continue;
        *q = (struct userfs_request){0};
        memcpy(q, m->text, m->text_bytes < sizeof *q ? m->text_bytes : sizeof *q);
        return 1;
    }
}

static void serve(const struct answers* a) {
    int looked_up = 0;
    struct caps_item items[CAPS_MOST_ITEMS];
    struct caps_message m = {.items = items};
    const int service = caps_service(name, CAPS_USER);
    CHECK(service >= 0);
    for (;;) {
        struct userfs_request q;
        if (!next_question(service, &m, &q)) _exit(1);
        static const struct userfs_attributes root = {.node = 1, .mode = S_IFDIR | 0755, .links = 2};
        const void* text = NULL;
        size_t bytes = 0;
        m.item_count = m.text_bytes = 0;
        m.result = 0;
        switch (q.operation) {
        case USERFS_MOUNT: text = &root, bytes = sizeof root; break;
        case USERFS_LOOK_UP:
            text = &a->look_up[looked_up], bytes = sizeof root;
            if (!a->look_up[looked_up].node) m.result = ENOENT;
            if (looked_up + 1 < a->looked_up) looked_up++;
            break;
        case USERFS_LIST: text = a->list, bytes = a->list_bytes; break;
        case USERFS_READ_LINK: text = a->link_text, bytes = a->link_bytes; break;
        case USERFS_READ:
            items[0] = (struct caps_item){CAPS_MEMORY, -1, (uint64_t)a->bytes, a->byte_count, CAPS_NOTHING, 0};
            m.item_count = a->byte_count != 0;
            break;
        case USERFS_UNMOUNT: caps_reply(service, &m, 0); _exit(0);
        case USERFS_MAKE: m.result = a->make_result ? a->make_result : EPROTO; break;
        default: m.result = EPROTO;
        }
        if (bytes > CAPS_MOST_TEXT) {
            items[0] = (struct caps_item){CAPS_MEMORY, -1, (uint64_t)text, bytes, CAPS_NOTHING, 0};
            m.item_count = 1;
        } else if (bytes) {
            memcpy(m.text, text, bytes);
            m.text_bytes = bytes;
        }
        const uint64_t id = m.id;
        const struct caps_message again = m;
        if (caps_reply(service, &m, 0) < 0) _exit(1);
        if (caps_reply(service, &again, 0) != -1 || errno != EINVAL) _exit(3); // one reply each
        (void)id;
        m.id = 0;
    }
}

static void begin_with(const struct answers* a) {
    begin();
    server = fork();
    CHECK(server >= 0);
    if (!server) serve(a);
    wait_for_service();
    CHECK(mount(name, base, "user", 0, "timeout=5") == 0);
    CHECK(chdir(base) == 0);
}

static size_t list_entry(char* to, uint64_t next, const char* text, size_t length) {
    const struct userfs_entry e = {next, 5, S_IFREG, length};
    memcpy(to, &e, sizeof e);
    memcpy(to + sizeof e, text, length);
    return (sizeof e + length + 7) & ~(size_t)7;
}

static void nodes_that_make_no_sense_are_refused(void) {
    static const struct userfs_attributes lies[] = {
        {.node = 7, .mode = 0644, .links = 1},                               // of no type
        {.node = 7, .mode = 0170000 | 0644, .links = 1},                     // of all
        {.node = 7, .mode = S_IFREG | 0644, .links = 1, .size = 1ull << 63}, // longer than a file may be
        {.node = 1, .mode = S_IFDIR | 0755, .links = 2},                     // the root, below itself
        {.node = 1, .mode = S_IFREG | 0755, .links = 2},                     // the root, a file
    };
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct answers a = {.look_up = {lies[i]}, .looked_up = 1};
        begin_with(&a);
        CHECK_ERROR(open("x", O_RDONLY), EIO);
        end();
    }
    // One that changes its type, and a directory that is in two places (a loop).
    struct answers changes = {
        .look_up = {{.node = 7, .mode = S_IFREG | 0644, .links = 1}, {.node = 7, .mode = S_IFDIR | 0755, .links = 2}},
        .looked_up = 2};
    begin_with(&changes);
    struct stat is;
    CHECK(stat("x", &is) == 0);
    CHECK_ERROR(stat("y", &is), EIO);
    end();
    struct answers loop = {.look_up = {{.node = 7, .mode = S_IFDIR | 0755, .links = 2}}, .looked_up = 1};
    begin_with(&loop);
    CHECK(stat("x", &is) == 0);
    CHECK_ERROR(stat("x/x", &is), EIO);
    CHECK_ERROR(stat("y", &is), EIO);
    end();
}

// That there is something and that there is nothing.
static void a_contradiction_ends(void) {
    struct answers a = {.looked_up = 1, .make_result = EEXIST};
    begin_with(&a);
    CHECK_ERROR(open("x", O_CREAT | O_RDWR, 0600), EIO);
    CHECK_ERROR(open("x", O_CREAT | O_RDWR, 0600), EIO);
    CHECK_ERROR(mkdir("x", 0700), EIO);
    end();
}

static void lists_that_make_no_sense_are_refused(void) {
    struct answers a = {.looked_up = 1};
    const int count = 9;
    for (int i = 0; i < count; i++) {
        memset(a.list, 0, sizeof a.list);
        switch (i) {
        case 0: a.list_bytes = list_entry(a.list, 1, "a/b", 3); break;
        case 1: a.list_bytes = list_entry(a.list, 1, "", 0); break;
        case 2: a.list_bytes = list_entry(a.list, 1, "a\0b", 3); break;
        case 3: a.list_bytes = list_entry(a.list, 0, "a", 1); break; // does not go on
        case 4: a.list_bytes = list_entry(a.list, ~0ull, "a", 1); break;
        case 5: // goes back
            a.list_bytes = list_entry(a.list, 5, "a", 1);
            a.list_bytes += list_entry(a.list + a.list_bytes, 4, "b", 1);
            break;
        case 6: a.list_bytes = list_entry(a.list, 1, "abcdefghijkl", 12) - 8; break; // cut off
        case 7: a.list_bytes = 5; break;
        default: list_entry(a.list, 1, "", 300); a.list_bytes = 350;
        }
        begin_with(&a);
        char room[1000];
        const int fd = open(".", O_RDONLY);
        long got, turns = 0;
        while ((got = syscall(SYS_getdents64, fd, room, sizeof room)) > 0 && turns < 10)
            turns++;
        if (got != -1 || errno != EIO) note("list %d", i);
        CHECK(got == -1 && errno == EIO && close(fd) == 0);
        end();
    }
}

static void bytes_that_make_no_sense_are_refused(void) {
    static char much[mib];
    memset(much, 7, sizeof much);
    struct answers a = {.look_up = {{.node = 7, .mode = S_IFREG | 0644, .links = 1, .size = 10000}},
                        .looked_up = 1,
                        .bytes = much,
                        .byte_count = sizeof much};
    char got[20000];
    begin_with(&a);
    int fd = open("x", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_ERROR(read(fd, got, sizeof got), EIO); // more than was asked for
    char* seen = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    catch_faults();
    CHECK(seen != MAP_FAILED);
    CHECK_EQ(TRY_FAULT(got[0] = *(volatile char*)seen), SIGBUS);
    CHECK(munmap(seen, page) == 0 && close(fd) == 0);
    end();
    a.byte_count = 5; // fewer: the rest is zeroes
    begin_with(&a);
    fd = open("x", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, got, 4096), 4096);
    CHECK(got[4] == 7 && got[5] == 0 && got[4095] == 0 && close(fd) == 0);
    end();
    static const char long_text[5000] = {1};
    struct answers links = {.look_up = {{.node = 7, .mode = S_IFLNK | 0777, .links = 1}}, .looked_up = 1};
    const size_t lengths[] = {0, 4, sizeof long_text};
    for (int i = 0; i < 3; i++) {
        links.link_text = i == 1 ? "a\0bc" : long_text;
        links.link_bytes = lengths[i];
        begin_with(&links);
        CHECK_ERROR(readlink("x", got, sizeof got), EIO);
        end();
    }
}

// Random answers of random lengths with random results, to whatever is asked.
static void serve_noise(unsigned seed) {
    static char noise[8192];
    struct caps_item items[CAPS_MOST_ITEMS];
    struct caps_message m = {.items = items};
    const int service = caps_service(name, CAPS_USER);
    CHECK(service >= 0);
    srand(seed);
    for (unsigned turn = 0;; turn++) {
        struct userfs_request q;
        if (!next_question(service, &m, &q)) _exit(0);
        for (unsigned i = 0; i < 512; i++)
            noise[i] = (char)(rand() >> 7);
        struct userfs_attributes is = {
            .node = 1 + rand() % 6,
            .mode = (uint32_t)(rand() % 4 ? (rand() % 2 ? S_IFREG : S_IFDIR) : (rand() % 16) << 12) | 0777,
            .links = rand() % 3,
            .size = (uint64_t)(rand() % 100000)};
        if (q.operation == USERFS_MOUNT) is.mode = S_IFDIR | 0777;
        m.result = rand() % 4 || q.operation == USERFS_MOUNT ? 0 : rand() % 134;
        m.item_count = m.text_bytes = 0;
        memcpy(m.text, noise, sizeof m.text);
        if (rand() % 4 || q.operation == USERFS_MOUNT) memcpy(m.text, &is, sizeof is);
        m.text_bytes = q.operation == USERFS_MOUNT || rand() % 4 ? sizeof is : (unsigned)rand() % 257;
        if (q.operation == USERFS_LIST && rand() % 2) {
            size_t used = 0;
            for (int i = 0; i < 5; i++)
                used += list_entry(m.text + used, i + 1, "abcd", 1 + rand() % 4);
            m.text_bytes = used;
        }
        if (q.operation == USERFS_READ || !(rand() % 8)) {
            const unsigned bytes = q.operation == USERFS_READ && rand() % 4 ? q.bytes : 1 + (unsigned)rand() % 8000;
            items[0] = (struct caps_item){CAPS_MEMORY,  -1, (uint64_t)noise + rand() % 100, bytes > 8000 ? 8000 : bytes,
                                          CAPS_NOTHING, 0};
            m.item_count = rand() % 8 != 0;
        }
        if (!(rand() % 300)) _exit(0); // or dies
    }
}

static void noise_harms_nobody(void) {
    static char bytes[20000];
    const int rounds = 20;
    begin();
    for (int round = 0; round < rounds; round++) {
        server = fork();
        CHECK(server >= 0);
        if (!server) serve_noise(round + 1);
        wait_for_service();
        CHECK(mount(name, base, "user", 0, "timeout=2,nodes=50") == 0);
        srand(round);
        for (int turn = 0; turn < 200; turn++) {
            char path[200], other[200];
            snprintf(path, sizeof path, "%s/%c/%c", base, 'a' + rand() % 3, 'a' + rand() % 3);
            snprintf(other, sizeof other, "%s/%c", base, 'a' + rand() % 3);
            if (rand() % 2) path[strlen(path) - 2] = 0;
            struct stat is;
            struct statfs fs;
            int fd;
            switch (rand() % 10) {
            case 0: (void)!stat(path, &is); break;
            case 1: (void)!mkdir(path, 0777); break;
            case 2: (void)!rename(path, other); break;
            case 3: (void)!unlink(path); break;
            case 4: (void)!rmdir(path); break;
            case 5: (void)!link(path, other); break;
            case 6: (void)!statfs(path, &fs); break;
            case 7: (void)!symlink("x", path); break;
            case 8:
                if ((fd = open(path, O_RDONLY | O_DIRECTORY)) >= 0) {
                    for (int i = 0; i < 5; i++)
                        (void)!syscall(SYS_getdents64, fd, bytes, sizeof bytes);
                    close(fd);
                }
                break;
            default:
                if ((fd = open(path, O_RDWR | O_CREAT, 0666)) >= 0) {
                    (void)!pread(fd, bytes, rand() % sizeof bytes, rand() % 100000);
                    (void)!pwrite(fd, bytes, rand() % sizeof bytes, rand() % 100000);
                    (void)!ftruncate(fd, rand() % 50000);
                    close(fd);
                }
            }
        }
        CHECK(umount(base) == 0);
        (void)kill(server, SIGKILL);
        int status;
        CHECK(waitpid(server, &status, 0) == server);
        if (WIFEXITED(status)) CHECK_EQ(WEXITSTATUS(status), 0);
    }
    CHECK(rmdir(base) == 0);
}

TAP_MAIN(T(a_contradiction_ends), T(nodes_that_make_no_sense_are_refused), T(lists_that_make_no_sense_are_refused),
         T(bytes_that_make_no_sense_are_refused), T(noise_harms_nobody))
