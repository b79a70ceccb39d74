// Several processes work in directories that they share, each with names of its own: each knows exactly what should
// have become of its files, because a model too simple to be wrong says so. Links, renames, truncation, mappings, open
// files without names, and what a directory lists.
#include "tests/user/tap.h"

#include <dirent.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

enum { processes = 6, directories = 3, names = 6, all_names = directories * names, most = 6 * page, steps = 1200 };

static char base[64];
static int me;
static unsigned long long state;

static unsigned below(unsigned limit) {
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (unsigned)((state * 0x2545f4914f6cdd1dull) >> 33) % limit;
}

// --- The model

enum kind { none, regular, directory, text_link };
struct entry {
    enum kind is;
    int file; // of a regular file; a number for a link's text
};
struct file {
    int links, fd; // -1: not open
    unsigned size;
    unsigned char bytes[most];
};
static struct entry entries[all_names];
static struct file files[all_names + 4];
static unsigned char got[most];

static const char* path_of(int at) {
    static char room[4][64];
    static int turn;
    char* path = room[turn++ % 4];
    snprintf(path, 64, "d%d/p%d-%d", at / names, me, at % names);
    return path;
}

static struct file* file_at(int at) {
    return entries[at].is == regular ? &files[entries[at].file] : NULL;
}

// What a call must answer: 0, or an error.
static void answers(int line, const char* what, int result, int error) {
    const int number = errno;
    if (error ? result < 0 && number == error : result >= 0) return;
    note("line %d, process %d: %s gives %d, errno %d (%s), not %d", line, me, what, result, number, strerror(number),
         error);
    exit(1);
}
#define ANSWERS(call, error)                                                                                           \
    ({                                                                                                                 \
        errno = 0;                                                                                                     \
        const int result_ = (call);                                                                                    \
        answers(__LINE__, #call, result_, error);                                                                      \
        result_;                                                                                                       \
    })

static void drop(int at) {
    struct file* f = file_at(at);
    if (f) f->links--;
    entries[at].is = none;
}

// --- Names

static void make(int at) {
    const int there = entries[at].is ? EEXIST : 0;
    switch (below(4)) {
    case 0:
        ANSWERS(mkdir(path_of(at), 0700), there);
        if (!there) entries[at] = (struct entry){directory, 0};
        return;
    case 1: {
        char text[16];
        const int number = below(1000);
        snprintf(text, sizeof text, "%d", number);
        ANSWERS(symlink(text, path_of(at)), there);
        if (!there) entries[at] = (struct entry){text_link, number};
        return;
    }
    default:
        for (int f = 0; f < all_names + 4; f++) {
            if (files[f].links || files[f].fd >= 0) continue;
            const int fd = ANSWERS(open(path_of(at), O_CREAT | O_EXCL | O_RDWR, 0600), there);
            if (there) return;
            entries[at] = (struct entry){regular, f};
            files[f].links = 1;
            files[f].size = 0;
            if (below(2))
                files[f].fd = fd;
            else
                close(fd);
            return;
        }
    }
}

static void remove_one(int at) {
    if (entries[at].is == directory) {
        ANSWERS(unlink(path_of(at)), EISDIR);
        ANSWERS(rmdir(path_of(at)), 0);
    } else if (entries[at].is) {
        ANSWERS(rmdir(path_of(at)), ENOTDIR);
        ANSWERS(unlink(path_of(at)), 0);
    } else {
        ANSWERS(unlink(path_of(at)), ENOENT);
    }
    drop(at);
}

// What this file system is known not to have: words of an option of the machine's command line.
static int lacks(const char* what) {
    const char* all = getenv("FS_MODEL_WITHOUT");
    return all && strstr(all, what);
}

static void link_one(int from, int to) {
    if (lacks("links")) return;
    int error = 0;
    if (entries[from].is == none)
        error = ENOENT;
    else if (entries[to].is)
        error = EEXIST;
    else if (entries[from].is == directory)
        error = EPERM;
    ANSWERS(link(path_of(from), path_of(to)), error);
    if (error) return;
    entries[to] = entries[from];
    if (file_at(to)) file_at(to)->links++;
}

static int are_one(int a, int b) {
    if (entries[a].is != entries[b].is || entries[a].is == none || entries[a].is == directory) return 0;
    struct stat s, t;
    CHECK(lstat(path_of(a), &s) == 0 && lstat(path_of(b), &t) == 0);
    if (entries[a].is == regular) CHECK_EQ(s.st_ino == t.st_ino, entries[a].file == entries[b].file);
    return s.st_ino == t.st_ino;
}

static void rename_one(int from, int to) {
    const enum kind moved = entries[from].is, there = entries[to].is;
    int error = 0;
    if (!moved)
        error = ENOENT;
    else if (there && from != to && moved == directory && there != directory)
        error = ENOTDIR;
    else if (there && from != to && moved != directory && there == directory)
        error = EISDIR;
    const int same = from == to || are_one(from, to);
    ANSWERS(rename(path_of(from), path_of(to)), error);
    if (error || same) return;
    drop(to);
    entries[to] = entries[from];
    entries[from].is = none;
}

static void exchange(int a, int b) {
    if (lacks("exchange")) return;
    const int error = entries[a].is && entries[b].is ? 0 : ENOENT;
    ANSWERS(syscall(SYS_renameat2, AT_FDCWD, path_of(a), AT_FDCWD, path_of(b), RENAME_EXCHANGE), error);
    if (error) return;
    const struct entry first = entries[a];
    entries[a] = entries[b];
    entries[b] = first;
}

static void list(int d) {
    char path[16], mine[16];
    int seen[names] = {0};
    snprintf(path, sizeof path, "d%d", d);
    snprintf(mine, sizeof mine, "p%d-", me);
    DIR* dir = opendir(path);
    CHECK(dir);
    for (struct dirent* e; (e = readdir(dir));) {
        if (strncmp(e->d_name, mine, strlen(mine))) continue;
        const int at = atoi(e->d_name + strlen(mine));
        seen[at]++;
        static const int types[] = {DT_UNKNOWN, DT_REG, DT_DIR, DT_LNK};
        if (e->d_type != DT_UNKNOWN || !lacks("types")) CHECK_EQ(e->d_type, types[entries[d * names + at].is]);
    }
    closedir(dir);
    for (int i = 0; i < names; i++)
        CHECK_EQ(seen[i], entries[d * names + i].is != none);
}

// --- Bytes

static int open_one(int at) {
    struct file* f = file_at(at);
    return f->fd >= 0 ? dup(f->fd) : open(path_of(at), O_RDWR);
}

static void grow(struct file* f, unsigned size) {
    if (size > f->size) memset(f->bytes + f->size, 0, size - f->size);
    f->size = size;
}

static void change_bytes(int at) {
    struct file* f = file_at(at);
    if (!f) return;
    const int fd = open_one(at);
    CHECK(fd >= 0);
    const unsigned offset = below(most), bytes = 1 + below(most - offset);
    switch (below(5)) {
    case 0: {
        const unsigned size = below(most);
        ANSWERS(ftruncate(fd, size), 0);
        grow(f, size);
        break;
    }
    case 1: { // through a mapping, which outlives the descriptor
        if (!f->size || lacks("mappings")) break;
        unsigned char* map = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(map != MAP_FAILED);
        for (unsigned i = 0; i < 20; i++) {
            const unsigned place = below(f->size);
            CHECK_EQ(map[place], f->bytes[place]);
            map[place] = f->bytes[place] = (unsigned char)below(256);
        }
        CHECK(munmap(map, most) == 0);
        break;
    }
    case 2: { // whole pages, which may change hands
        unsigned char* from = (unsigned char*)anonymous(most);
        for (unsigned i = 0; i < most; i += 64)
            from[i] = (unsigned char)below(256);
        CHECK_EQ(pwrite(fd, from, most, 0), most);
        memcpy(f->bytes, from, most);
        memset(from, 0xff, most);
        CHECK(munmap(from, most) == 0);
        f->size = most;
        break;
    }
    default:
        for (unsigned i = 0; i < bytes; i++)
            got[i] = (unsigned char)(i * 3 + offset);
        CHECK_EQ(pwrite(fd, got, bytes, offset), bytes);
        if (offset + bytes > f->size) grow(f, offset + bytes);
        memcpy(f->bytes + offset, got, bytes);
    }
    close(fd);
}

static void copy(int a, int b) {
    struct file *from = file_at(a), *to = file_at(b);
    if (!from || !to || from == to) return;
    const int in = open_one(a), out = open_one(b);
    CHECK(in >= 0 && out >= 0 && ftruncate(out, 0) == 0);
    off_t at = 0, into = 0;
    const int by_range = below(2);
    CHECK(lseek(out, 0, SEEK_SET) == 0);
    while ((unsigned)at < from->size) {
        const ssize_t moved = by_range ? syscall(SYS_copy_file_range, in, &at, out, &into, (size_t)most, 0)
                                       : sendfile(out, in, &at, most);
        CHECK(moved > 0);
    }
    close(in);
    close(out);
    memcpy(to->bytes, from->bytes, from->size);
    to->size = from->size;
}

static void compare(int fd, const struct file* f) {
    struct stat s;
    CHECK(fstat(fd, &s) == 0);
    CHECK_EQ(s.st_size, f->size);
    CHECK_EQ(s.st_nlink, f->links);
    CHECK_EQ(pread(fd, got, most, 0), f->size);
    CHECK(!memcmp(got, f->bytes, f->size));
}

static void look(int at) {
    struct stat s;
    ANSWERS(lstat(path_of(at), &s), entries[at].is ? 0 : ENOENT);
    switch (entries[at].is) {
    case none: return;
    case directory: CHECK(S_ISDIR(s.st_mode) && s.st_nlink == 2); return;
    case text_link: {
        char text[16] = "";
        CHECK(readlink(path_of(at), text, sizeof text - 1) > 0);
        CHECK_EQ(atoi(text), entries[at].file);
        return;
    }
    case regular: {
        const int fd = open(path_of(at), O_RDONLY);
        CHECK(fd >= 0);
        compare(fd, file_at(at));
        close(fd);
    }
    }
}

// Those that are open, whether they have names or not; some are let go of.
static void look_at_open_ones(void) {
    for (int f = 0; f < all_names + 4; f++) {
        if (files[f].fd < 0) continue;
        compare(files[f].fd, &files[f]);
        if (below(3)) continue;
        close(files[f].fd);
        files[f].fd = -1;
    }
}

static void work(unsigned long long seed) {
    state = seed;
    for (int f = 0; f < all_names + 4; f++)
        files[f].fd = -1;
    for (int step = 0; step < steps; step++) {
        const int a = below(all_names), b = below(all_names);
        switch (below(14)) {
        case 0:
        case 1: make(a); break;
        case 2: remove_one(a); break;
        case 3: link_one(a, b); break;
        case 4:
        case 5: rename_one(a, b); break;
        case 6: exchange(a, b); break;
        case 7:
        case 8:
        case 9: change_bytes(a); break;
        case 10: copy(a, b); break;
        case 11: list(a / names); break;
        case 12: look_at_open_ones(); break;
        default: look(a); break;
        }
    }
    for (int at = 0; at < all_names; at++)
        look(at);
    for (int d = 0; d < directories; d++)
        list(d);
    for (int at = 0; at < all_names; at++)
        if (entries[at].is) remove_one(at);
    look_at_open_ones();
}

static void each_process_finds_what_it_has_made(void) {
    snprintf(base, sizeof base, "/tmp/fs_model.%d", getpid());
    CHECK(mkdir(base, 0700) == 0 && chdir(base) == 0);
    for (int d = 0; d < directories; d++) {
        char path[16];
        snprintf(path, sizeof path, "d%d", d);
        CHECK(mkdir(path, 0700) == 0);
    }
    const unsigned long long seed = (unsigned long long)now_ns() | 1;
    note("seed %llu", seed);
    pid_t children[processes];
    for (me = 0; me < processes; me++) {
        IN_CHILD(child) work(seed * (2 * me + 1));
        children[me] = child;
    }
    int bad = 0;
    for (int who = 0; who < processes; who++)
        bad |= EXIT_STATUS(children[who]);
    CHECK_EQ(bad, 0);
    for (int d = 0; d < directories; d++) {
        char path[16];
        snprintf(path, sizeof path, "d%d", d);
        CHECK(rmdir(path) == 0);
    }
}

TAP_MAIN(T(each_process_finds_what_it_has_made))
