// /dev/fuse: what a program is asked only if it wants to be, how long its answers hold, and what it tells by itself;
// with what makes no sense, as in fuse.c.
#include <sys/uio.h>

#include "tests/user/fuse_server.h"

static void room_is_made_and_given_back_there(void) {
    begin_with(no_lie, "");
    char text[page];
    int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    memset(text, 'x', sizeof text);
    CHECK_EQ(pwrite(fd, text, sizeof text, 0), (ssize_t)sizeof text);
    CHECK(fallocate(fd, 3, 100, 200) == 0); // punched, with the size kept
    CHECK_EQ(seen->mode, 3);
    CHECK(seen->range[0] == 100 && seen->range[1] == 200);
    CHECK_EQ(pread(fd, text, sizeof text, 0), (ssize_t)sizeof text);
    CHECK(text[99] == 'x' && text[100] == 0 && text[299] == 0 && text[300] == 'x');
    CHECK(fallocate(fd, 1, 10000, 10000) == 0);
    struct stat is;
    CHECK(fstat(fd, &is) == 0);
    CHECK_EQ(is.st_size, page);
    CHECK(fallocate(fd, 0, 10000, 10000) == 0);
    CHECK(fstat(fd, &is) == 0);
    CHECK_EQ(is.st_size, 20000);
    CHECK_EQ(pread(fd, text, sizeof text, 19000), 1000);
    CHECK(!text[0] && !text[999]);
    CHECK_ERROR(fallocate(fd, 16, 0, 100), EOPNOTSUPP);
    CHECK_EQ(seen->asked[FALLOCATE], 4);
    CHECK(close(fd) == 0);
    end();
    begin_with(no_allocate, "");
    fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    for (int i = 0; i < 2; i++)
        CHECK_ERROR(fallocate(fd, 0, 0, 100), EOPNOTSUPP);
    CHECK_EQ(seen->asked[FALLOCATE], 1);
    CHECK(close(fd) == 0);
    end();
}

static void holes_are_where_the_program_says(void) {
    begin_with(no_lie, "");
    int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(lseek(fd, 0, SEEK_DATA), 5000);
    CHECK_EQ(lseek(fd, 100, SEEK_HOLE), 100);
    CHECK_EQ(lseek(fd, 6000, SEEK_HOLE), 9000);
    CHECK_ERROR(lseek(fd, 9000, SEEK_DATA), ENXIO);
    CHECK_ERROR(lseek(fd, big_bytes, SEEK_HOLE), ENXIO);
    CHECK(close(fd) == 0);
    end();
    begin_with(no_seek, "");
    fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(lseek(fd, 10, SEEK_DATA), 10);
    CHECK_EQ(lseek(fd, 10, SEEK_HOLE), big_bytes);
    CHECK_EQ(seen->asked[LSEEK], 1);
    CHECK(close(fd) == 0);
    end();
    if (copied() < 0) return;
    begin_with(seeks_back, "");
    fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_ERROR(lseek(fd, 10, SEEK_DATA), EIO);
    CHECK(close(fd) == 0);
    end();
}

static void the_program_says_who_may(void) {
    begin_with(no_lie, ",allow_other");
    const int before = seen->asked[ACCESS];
    CHECK(access("hello", R_OK) == 0);
    CHECK_EQ(seen->access, R_OK);
    CHECK_ERROR(access("big", W_OK), EACCES);
    CHECK_EQ(seen->asked[ACCESS], before + 2);
    CHECK(chdir("dir") == 0);
    CHECK_EQ(seen->access, X_OK);
    CHECK_EQ(seen->asked[ACCESS], before + 3);
    IN_CHILD(other) {
        CHECK(setresuid(1000, 0, 0) == 0); // the real one counts
        char path[100];
        snprintf(path, sizeof path, "%s/hello", base);
        CHECK(access(path, R_OK) == 0);
    }
    CHECK_EQ(EXIT_STATUS(other), 0);
    CHECK_EQ(seen->uid, 1000);
    end();
    begin_with(no_access, "");
    for (int i = 0; i < 2; i++)
        CHECK(access("big", W_OK) == 0);
    CHECK_EQ(seen->asked[ACCESS], 1);
    end();
    begin_with(no_lie, ",default_permissions");
    CHECK(access("big", R_OK) == 0 && chdir("dir") == 0);
    CHECK_EQ(seen->asked[ACCESS], 0);
    end();
}

static void names_are_believed_as_long_as_they_last(void) {
    struct stat is;
    begin_with(no_lie, "");
    CHECK(stat("hello", &is) == 0 && stat("hello", &is) == 0);
    CHECK_EQ(seen->asked[LOOKUP], 1);
    CHECK_ERROR(stat("nothing", &is), ENOENT);
    CHECK_ERROR(stat("nothing", &is), ENOENT);
    CHECK_EQ(seen->asked[LOOKUP], 3); // an error says of no time
    end();
    begin_with(no_name_lasts, "");
    CHECK_ERROR(stat("nothing", &is), ENOENT);
    CHECK_ERROR(stat("nothing", &is), ENOENT);
    CHECK_EQ(seen->asked[LOOKUP], 1);
    end();
    begin_with(no_lie, "");
    seen->valid = 0;
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(is.st_ino, 102);
    const int fd = open("hello", O_RDONLY);
    CHECK(fd >= 0);
    const int asked = seen->asked[LOOKUP];
    CHECK(stat("hello", &is) == 0);
    CHECK(seen->asked[LOOKUP] > asked);
    seen->moved = 1;
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(is.st_ino, 103);
    CHECK(fstat(fd, &is) == 0); // what is open is what it was
    CHECK_EQ(is.st_ino, 102);
    CHECK(close(fd) == 0);
    seen->hidden = 1 << 3;
    CHECK_ERROR(stat("hello", &is), ENOENT);
    seen->moved = 0;
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(is.st_ino, 102);
    end();
}

static void directories_come_and_go_with_their_names(void) {
    struct stat is;
    begin_with(no_lie, "");
    seen->valid = 0;
    CHECK(stat("dir/deep", &is) == 0);
    CHECK_EQ(is.st_size, 77);
    CHECK(stat("dir/deep", &is) == 0); // the same directory again
    CHECK(chdir("dir") == 0 && stat("deep", &is) == 0);
    seen->hidden = 1 << 4;
    CHECK_ERROR(stat("../dir/deep", &is), ENOENT);
    seen->hidden = 0;
    char path[100];
    snprintf(path, sizeof path, "%s/dir/deep", base);
    CHECK(stat(path, &is) == 0); // while somebody is still where it was
    CHECK_EQ(is.st_ino, 107);
    CHECK(chdir(base) == 0 && stat("dir/deep", &is) == 0);
    end();
}

static int entries_in(const char* path) {
    DIR* list = opendir(path);
    CHECK(list);
    int count = 0;
    errno = 0;
    while (readdir(list))
        count++;
    const int error = errno;
    CHECK(closedir(list) == 0);
    return error ? -error : count;
}

static void what_a_list_leads_to_is_known(void) {
    struct stat is;
    begin_with(lists_nodes, "");
    CHECK_EQ(entries_in("."), 8); // with "." and ".."
    CHECK(stat("hello", &is) == 0 && stat("big", &is) == 0 && stat("dir", &is) == 0 && stat("out", &is) == 0);
    CHECK_EQ(is.st_ino, 106);
    CHECK_EQ(seen->asked[LOOKUP], 0);
    CHECK_EQ(entries_in("."), 8); // they are known, and told of once more
    CHECK(stat("dir/deep", &is) == 0);
    end();
    CHECK_EQ(seen->asked[READDIR], 0);
    if (copied() >= 0) CHECK(seen->asked[FORGET] >= 2); // the link each time, which is not kept
    begin_with(no_list_of_nodes, "");
    CHECK_EQ(entries_in("."), 7);
    CHECK_EQ(entries_in("."), 7);
    end();
    CHECK_EQ(seen->asked[READDIRPLUS], 1);
}

static void what_is_known_is_listed_anew(void) {
    struct stat is;
    begin_with(lists_nodes, "");
    CHECK_EQ(entries_in("."), 8);
    CHECK(stat("out", &is) == 0 && is.st_size == 0);
    seen->touched = 7;
    memcpy(seen->written, "anew", 4);
    seen->size = 4;
    CHECK_EQ(entries_in("."), 8);
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(is.st_mtime, 1000000007);
    CHECK(stat("out", &is) == 0);
    CHECK_EQ(is.st_size, 4);
    CHECK_EQ(seen->asked[LOOKUP], 0);
    end();
}

static void names_of_one_node_are_no_more_than_nodes(void) {
    if (copied() < 0) tap_skip("Linux keeps them");
    struct stat is;
    begin_with(lists_nodes_twice, "");
    CHECK_EQ(entries_in("."), 8);
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(seen->asked[LOOKUP], 0);
    CHECK(stat("big", &is) == 0);
    CHECK_EQ(seen->asked[LOOKUP], 1);
    end();
}

static void what_was_told_in_vain_is_forgotten(void) {
    if (copied() < 0) tap_skip("Linux keeps some of it");
    struct stat is;
    begin_with(of_no_type, "");
    for (int i = 0; i < 2; i++)
        CHECK_ERROR(stat("hello", &is), EIO);
    for (int i = 0; i < 500 && !seen->asked[FORGET]; i++)
        sleep_ms(10);
    CHECK_EQ(seen->asked[FORGET], 1); // of the first; the second's goes before the next question
    CHECK_ERROR(stat("hello", &is), EIO);
    for (int i = 0; i < 500 && seen->asked[FORGET] < 2; i++)
        sleep_ms(10);
    CHECK_EQ(seen->asked[FORGET], 2);
    end();
}

static void lists_of_nodes_that_make_no_sense_are_refused(void) {
    if (copied() < 0) tap_skip("Linux takes some of it for the end");
    for (enum lie lie = lists_nodes_cut_off; lie <= lists_nodes_as_root; lie++) {
        begin_with(lie, "");
        struct stat is;
        const int listed = entries_in(".");
        if (lie <= lists_nodes_with_slash)
            CHECK_EQ(listed, -EIO);
        else
            CHECK_EQ(listed, 8); // of one nothing is known
        CHECK(stat("hello", &is) == 0 && stat("big", &is) == 0);
        CHECK_EQ(is.st_size, big_bytes);
        CHECK(stat(".", &is) == 0 && S_ISDIR(is.st_mode));
        end();
    }
}

static void what_a_killed_asker_would_have_listed_is_forgotten(void) {
    begin_with(lists_nodes_late, "");
    IN_CHILD(reader) {
        DIR* list = opendir(".");
        CHECK(list && readdir(list));
    }
    while (!seen->asked[READDIRPLUS])
        sleep_ms(5);
    CHECK(kill(reader, SIGKILL) == 0);
    sleep_ms(50);
    seen->may_go_on = 1;
    CHECK_EQ(KILLED_BY(reader), SIGKILL);
    for (int i = 0; i < 5000 && !seen->asked[BATCH_FORGET] && !seen->asked[FORGET]; i++)
        sleep_ms(10);
    if (copied() >= 0) CHECK_EQ(seen->batch, 5);
    end();
}

// --- News

static int tell(int code, const void* head, size_t head_bytes, const char* name, size_t name_bytes) {
    const struct out_head h = {sizeof h + head_bytes + name_bytes, code, 0};
    const struct iovec parts[] = {{(void*)&h, sizeof h}, {(void*)head, head_bytes}, {(void*)name, name_bytes}};
    return writev(line, parts, 3) == (ssize_t)h.len ? 0 : -1;
}
static int tell_inode(uint64_t node, int64_t offset, int64_t bytes) {
    const int64_t said[] = {node, offset, bytes};
    return tell(NEWS_INODE, said, sizeof said, NULL, 0);
}
static int tell_name(uint64_t in, const char* name) {
    const uint64_t said[] = {in, strlen(name)};
    return tell(NEWS_ENTRY, said, sizeof said, name, strlen(name) + 1);
}
static int tell_gone(uint64_t in, uint64_t node, const char* name) {
    const uint64_t said[] = {in, node, strlen(name)};
    return tell(NEWS_DELETE, said, sizeof said, name, strlen(name) + 1);
}

static void news_is_heard(void) {
    begin_sharing(no_lie, "");
    struct stat is;
    char text[100];
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, "before", 6, 0), 6);
    memcpy(seen->written, "behind", 6); // by itself
    CHECK_EQ(pread(fd, text, 100, 0), 6);
    CHECK(!memcmp(text, "before", 6));
    seen->size = 9;
    CHECK(tell_inode(6, 0, 0) == 0);
    CHECK(fstat(fd, &is) == 0);
    CHECK_EQ(is.st_size, 9);
    CHECK_EQ(pread(fd, text, 100, 0), 9);
    CHECK(!memcmp(text, "behind", 6));
    CHECK(close(fd) == 0);
    CHECK(stat("hello", &is) == 0);
    const int asked = seen->asked[LOOKUP];
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(seen->asked[LOOKUP], asked);
    seen->moved = 1;
    CHECK(tell_name(1, "hello") == 0);
    CHECK(stat("hello", &is) == 0);
    CHECK_EQ(is.st_ino, 103);
    CHECK(stat("dir/deep", &is) == 0);
    CHECK_ERROR(tell_gone(1, 3, "dir"), ENOENT); // that is another
    seen->hidden = 1 << 7;
    CHECK(tell_gone(4, 7, "deep") == 0);
    CHECK_ERROR(stat("dir/deep", &is), ENOENT);
    CHECK(close(line) == 0);
    end();
}

static void news_that_makes_no_sense_is_refused(void) {
    begin_sharing(no_lie, "");
    struct stat is;
    CHECK(stat("hello", &is) == 0 && stat("dir/deep", &is) == 0);
    CHECK_ERROR(tell_inode(1000, 0, 0), ENOENT);
    CHECK_ERROR(tell_name(1000, "hello"), ENOENT);
    CHECK_ERROR(tell_name(2, "hello"), ENOTDIR);
    CHECK_ERROR(tell_name(1, "nobody"), ENOENT);
    CHECK_ERROR(tell_gone(1, 4, "dir"), ENOTEMPTY);
    static const int64_t ends[] = {0, 1, -1, INT64_MAX, INT64_MIN, INT64_MAX - 4095};
    for (unsigned i = 0; i < 36; i++)
        CHECK(tell_inode(2, ends[i / 6], ends[i % 6]) == 0);
    char name[2000];
    memset(name, 'n', sizeof name);
    uint64_t said[3] = {1, 5};
    CHECK_ERROR(tell(NEWS_ENTRY, said, 16, "hello", 5), EINVAL); // no zero
    CHECK_ERROR(tell(NEWS_ENTRY, said, 16, "hello!!", 7), EINVAL);
    CHECK_ERROR(tell(NEWS_ENTRY, said, 8, "", 0), EINVAL);
    CHECK_ERROR(tell(NEWS_INODE, said, 16, "", 0), EINVAL);
    CHECK_ERROR(tell(NEWS_INODE, said, 24, "more", 4), EINVAL);
    said[1] = 1500;
    CHECK_ERROR(tell(NEWS_ENTRY, said, 16, name, 1501), ENAMETOOLONG);
    said[1] = ~0u;
    CHECK_ERROR(tell(NEWS_ENTRY, said, 16, name, 1501), copied() < 0 ? ENAMETOOLONG : EINVAL);
    CHECK_ERROR(tell(99, said, 16, "", 0), EINVAL);
    CHECK_ERROR(tell(-1, said, 16, "", 0), EINVAL);
    if (copied() >= 0) {
        said[1] = 5;
        CHECK_ERROR(tell(NEWS_ENTRY, said, 16, "hello!", 6), EINVAL);
        CHECK_ERROR(tell_name(1, "a/b"), EINVAL);
    }
    CHECK(stat("hello", &is) == 0 && stat("dir/deep", &is) == 0);
    CHECK(close(line) == 0);
    end();
}

// Who asked for something else has the file's lock meanwhile, and is killed.
static void news_of_bytes_is_not_forgotten_by_who_is_killed(void) {
    if (copied() < 0) tap_skip("Linux waits for the answer");
    begin_sharing(attributes_late, "");
    char text[100];
    const int fd = open("hello", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, text, sizeof text), sizeof hello - 1);
    CHECK_EQ(seen->asked[READ], 1);
    CHECK(tell_inode(2, -1, 0) == 0);
    const int asked = seen->asked[GETATTR];
    IN_CHILD(looks) {
        struct stat is;
        (void)!stat("hello", &is);
    }
    while (seen->asked[GETATTR] == asked)
        sleep_ms(5);
    CHECK(tell_inode(2, 0, 0) == 0);
    CHECK(kill(looks, SIGKILL) == 0);
    CHECK_EQ(KILLED_BY(looks), SIGKILL);
    seen->may_go_on = 1;
    CHECK_EQ(pread(fd, text, sizeof text, 0), sizeof hello - 1);
    CHECK_EQ(seen->asked[READ], 2);
    CHECK(close(fd) == 0 && close(line) == 0);
    end();
}

// A program that tells while it is asked waits for nobody.
static void news_of_what_is_being_asked_is_heard(void) {
    begin_sharing(opens_late, "");
    struct stat is;
    CHECK(stat("dir", &is) == 0);
    IN_CHILD(opener) {
        const int fd = open("hello", O_RDONLY);
        CHECK(fd >= 0);
    }
    while (!seen->asked[OPEN])
        sleep_ms(5);
    CHECK(tell_inode(2, 0, 0) == 0);
    CHECK(tell_name(1, "hello") == 0);
    CHECK(tell_gone(1, 2, "hello") == 0);
    seen->may_go_on = 1;
    CHECK_EQ(EXIT_STATUS(opener), 0);
    CHECK(close(line) == 0);
    end();
}

// Between the answer and what is kept of it there is time, for a link's text is asked for as well.
static void news_of_a_link_whose_text_is_asked_for_is_heard(void) {
    begin_sharing(reads_link_late, "");
    struct stat is;
    IN_CHILD(looker) {
        CHECK(lstat("link", &is) == 0);
    }
    while (!seen->asked[READLINK])
        sleep_ms(5);
    (void)tell_name(1, "link");
    seen->may_go_on = 1;
    CHECK_EQ(EXIT_STATUS(looker), 0);
    CHECK(lstat("link", &is) == 0);
    CHECK_EQ(seen->asked[LOOKUP], 2); // by whichever of the two comes to see that the name is old
    CHECK(close(line) == 0);
    end();
}

static void rename_aside(const char* from, const char* to, int (*told)(void)) {
    const int asked = seen->asked[RENAME];
    seen->may_go_on = 0;
    IN_CHILD(renamer) {
        CHECK(rename(from, to) == 0);
    }
    while (seen->asked[RENAME] == asked)
        sleep_ms(5);
    CHECK(told() == 0);
    seen->may_go_on = 1;
    CHECK_EQ(EXIT_STATUS(renamer), 0);
}
static int big_is_old(void) {
    return tell_name(1, "big");
}
static int hello_is_gone(void) {
    return tell_gone(1, 2, "hello");
}
static int out_is_gone(void) {
    return tell_gone(1, 6, "out");
}

static void news_of_what_is_being_renamed_is_heard(void) {
    if (copied() < 0) tap_skip("Linux has who tells wait for the answer");
    begin_sharing(renames_late, "");
    struct stat is;
    CHECK(stat("hello", &is) == 0 && stat("big", &is) == 0 && stat("dir", &is) == 0 && stat("out", &is) == 0);
    rename_aside("big", "other", big_is_old);
    int asked = seen->asked[LOOKUP];
    CHECK_ERROR(stat("other", &is), ENOENT); // the program knows of no such name, and it is asked
    CHECK_EQ(seen->asked[LOOKUP], asked + 1);
    rename_aside("hello", "another", hello_is_gone);
    CHECK(stat("hello", &is) == 0); // asked for again
    rename_aside("hello", "out", out_is_gone);
    asked = seen->asked[LOOKUP];
    CHECK(stat("hello", &is) == 0 && stat("out", &is) == 0);
    CHECK_EQ(seen->asked[LOOKUP], asked + 2);
    CHECK(close(line) == 0);
    end();
}

// --- Bytes that come by themselves, and go back

static int tell_store(uint64_t node, uint64_t offset, const void* bytes, uint32_t count) {
    const uint64_t said[] = {node, offset, count};
    return tell(NEWS_STORE, said, sizeof said, bytes, count);
}
// The last answer stands in seen->back.
static int tell_retrieve(uint64_t unique, uint64_t node, uint64_t offset, uint32_t count) {
    const uint64_t said[] = {unique, node, offset, count};
    return tell(NEWS_RETRIEVE, said, sizeof said, NULL, 0);
}
static uint64_t retrieve(uint64_t node, uint64_t offset, uint32_t count) {
    static uint64_t unique = 1000;
    CHECK(tell_retrieve(++unique, node, offset, count) == 0);
    for (int i = 0; i < 2000 && seen->back[0] != unique; i++)
        sleep_ms(5);
    CHECK_EQ(seen->back[0], unique);
    CHECK(seen->back[1] == node && seen->back[2] == offset);
    return seen->back[3];
}

static void bytes_that_are_stored_are_read(void) {
    begin_sharing(no_lie, "");
    static unsigned char text[3 * page], got[3 * page];
    enum { bytes = 2 * page + 10 };
    struct stat is;
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)(pattern(i) + 1);
    memcpy(seen->written, text, bytes);
    seen->size = bytes;
    CHECK(tell_store(6, 0, text, bytes) == 0);
    CHECK(fstat(fd, &is) == 0);
    CHECK_EQ(is.st_size, bytes);
    CHECK_EQ(pread(fd, got, sizeof got, 0), bytes);
    CHECK(!memcmp(got, text, bytes));
    CHECK_EQ(seen->asked[READ], 0);
    CHECK_EQ(retrieve(6, 0, 1u << 31), bytes);
    CHECK(!memcmp(seen->back_bytes, text, bytes));
    // A page that is mapped, and a part of one.
    const unsigned char* map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(map != MAP_FAILED && map[page] == text[page]);
    memset(seen->written + page, 'S', page + 5);
    CHECK(tell_store(6, page, seen->written + page, page + 5) == 0);
    CHECK(map[page - 1] == text[page - 1] && map[page] == 'S' && map[2 * page + 4] == 'S');
    CHECK_EQ(map[2 * page + 5], text[2 * page + 5]);
    seen->written[100] = 'T';
    CHECK(tell_store(6, 100, "T", 1) == 0);
    CHECK(map[99] == text[99] && map[100] == 'T' && map[101] == text[101]);
    CHECK(munmap((void*)map, bytes) == 0);
    // Behind the end: what is in between is the program's.
    CHECK(tell_store(6, 4 * page, "end", 3) == 0);
    memcpy(seen->written + 4 * page, "end", 3);
    seen->written[3 * page] = 'U';
    seen->size = 4 * page + 3;
    CHECK_EQ(pread(fd, got, 100, 4 * page), 3);
    CHECK(!memcmp(got, "end", 3));
    CHECK_EQ(pread(fd, got, 1, 3 * page), 1);
    CHECK_EQ(got[0], 'U');
    // What users write afterwards is theirs.
    CHECK_EQ(pwrite(fd, "mine", 4, page), 4);
    CHECK(!memcmp(seen->written + page, "mineS", 5));
    CHECK(close(fd) == 0);
    CHECK(close(line) == 0);
    end();
}

static void what_is_cached_comes_back_as_far_as_there_is_no_gap(void) {
    begin_sharing(no_lie, "");
    static unsigned char got[64 << 10];
    const int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(retrieve(3, 0, 100), 0);
    CHECK_EQ(pread(fd, got, sizeof got, 0), (ssize_t)sizeof got);
    const uint64_t back = retrieve(3, 0, ~0u);
    CHECK(back >= sizeof got && back <= 128 << 10); // the most that is written at a time
    CHECK(!memcmp(seen->back_bytes, got, sizeof got));
    CHECK_EQ(retrieve(3, 4090, 50), 50);
    CHECK(!memcmp(seen->back_bytes, got + 4090, 50));
    CHECK_EQ(retrieve(3, 2 * mib, 100), 0);
    CHECK_EQ(pread(fd, got, 1234, big_bytes - 1234), 1234);
    CHECK_EQ(retrieve(3, big_bytes - 1000, 5000), 1000);
    CHECK(!memcmp(seen->back_bytes, got + 234, 1000));
    CHECK_EQ(retrieve(3, big_bytes, 100), 0);
    CHECK_EQ(retrieve(3, UINT64_MAX, ~0u), 0);
    CHECK(tell_inode(3, 0, 0) == 0);
    CHECK_EQ(retrieve(3, 0, 100), 0);
    CHECK(close(fd) == 0);
    CHECK(close(line) == 0);
    end();
}

static void stores_that_make_no_sense_are_refused(void) {
    begin_sharing(no_lie, "");
    struct stat is;
    CHECK(stat("out", &is) == 0 && stat("dir", &is) == 0);
    CHECK_ERROR(tell_store(1000, 0, "abc", 3), ENOENT);
    CHECK_ERROR(tell_retrieve(1, 1000, 0, 3), ENOENT);
    uint64_t said[4] = {6, 0, 4};
    static const uint32_t lengths[] = {0, 2, 4, 1u << 31, ~0u, ~0u - 23, ~0u - 39};
    for (unsigned i = 0; i < 7; i++) {
        said[2] = lengths[i];
        CHECK_ERROR(tell(NEWS_STORE, said, 24, "abc", 3), EINVAL);
    }
    CHECK_ERROR(tell(NEWS_STORE, said, 16, "", 0), EINVAL);
    CHECK_ERROR(tell(NEWS_RETRIEVE, said, 24, "", 0), EINVAL);
    CHECK_ERROR(tell(NEWS_RETRIEVE, said, 32, "more", 4), EINVAL);
    said[2] = 5000;
    CHECK_ERROR(tell(NEWS_STORE, said, 24, (void*)16, 5000), EFAULT);
    if (copied() >= 0) {
        CHECK_ERROR(tell_store(4, 0, "abc", 3), EINVAL);
        CHECK_ERROR(tell_retrieve(1, 4, 0, 3), EINVAL);
        static const uint64_t ends[] = {1ull << 47, (1ull << 47) - 2, 1ull << 63, UINT64_MAX, UINT64_MAX - 1};
        for (unsigned i = 0; i < 5; i++)
            CHECK_ERROR(tell_store(6, ends[i], "abc", 3), EFBIG);
    }
    CHECK_EQ(seen->asked[NOTIFY_REPLY], 0);
    CHECK(close(line) == 0);
    end();
}

// The bytes lie in a mapping of the file itself, and must be asked for first.
static void a_file_is_stored_from_its_own_mapping(void) {
    begin_sharing(no_lie, "");
    const int fd = open("big", O_RDONLY);
    CHECK(fd >= 0);
    const unsigned char* map = mmap(NULL, mib, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(map != MAP_FAILED);
    CHECK(tell_store(3, 0, map + mib / 2, 2 * page) == 0);
    CHECK(map[0] == pattern(mib / 2) && map[2 * page - 1] == pattern(mib / 2 + 2 * page - 1));
    CHECK_EQ(map[2 * page], pattern(2 * page));
    CHECK(munmap((void*)map, mib) == 0 && close(fd) == 0);
    CHECK(close(line) == 0);
    end();
}

static void what_is_being_written_is_not_stored_over(void) {
    if (copied() < 0) tap_skip("Linux waits for it, or stores over it");
    begin_sharing(writes_late, "");
    static char got[page], its[2 * page];
    memset(its, 'I', sizeof its);
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    IN_CHILD(writer) {
        CHECK_EQ(pwrite(fd, "mine", 4, 0), 4);
    }
    while (!seen->asked[WRITE])
        sleep_ms(5);
    CHECK(tell_store(6, 0, its, sizeof its) == 0);
    CHECK_EQ(tell_retrieve(5, 6, 0, 100), 0);
    seen->may_go_on = 1;
    CHECK_EQ(EXIT_STATUS(writer), 0);
    CHECK_EQ(pread(fd, got, sizeof got, 0), 4);
    CHECK(!memcmp(got, "mine", 4) && !memcmp(seen->written, "mine", 4));
    CHECK_EQ(seen->asked[READ], 1); // what was cached of it is not believed
    CHECK(close(fd) == 0);
    CHECK(close(line) == 0);
    end();
}

static void what_was_stored_into_a_mapping_is_not_stored_over(void) {
    if (copied() < 0) tap_skip("Linux stores over it");
    begin_sharing(no_lie, "");
    static char its[2 * page];
    memset(its, 'I', sizeof its);
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0 && pwrite(fd, its, sizeof its, 0) == sizeof its);
    char* at = mmap(NULL, sizeof its, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    at[5] = 'm';
    memset(its, 'J', sizeof its);
    CHECK(tell_store(6, 0, its, page) == 0);
    CHECK(tell_store(6, page, its, page) == 0); // nobody's: it is the program's to say
    CHECK(at[4] == 'I' && at[5] == 'm' && at[page] == 'J');
    CHECK(msync(at, sizeof its, MS_SYNC) == 0);
    CHECK(seen->written[4] == 'I' && seen->written[5] == 'm');
    CHECK(munmap(at, sizeof its) == 0 && close(fd) == 0 && close(line) == 0);
    end();
}

static void what_lies_behind_the_end_is_not_seen_when_that_moves(void) {
    if (copied() < 0) tap_skip("Linux shows it");
    begin_sharing(no_lie, "");
    char c = 1;
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0 && pwrite(fd, "abc", 3, 0) == 3);
    char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    at[1] = 'm';
    at[200] = 'x';
    CHECK(tell_store(6, page, "more", 4) == 0);
    CHECK_EQ(lseek(fd, 0, SEEK_END), page + 4);
    CHECK(pread(fd, &c, 1, 200) == 1 && c == 0 && at[200] == 0);
    CHECK(at[0] == 'a' && at[1] == 'm' && at[2] == 'c');
    CHECK(munmap(at, page) == 0 && close(fd) == 0 && close(line) == 0);
    end();
}

static void a_program_that_does_not_look_gets_no_more_back(void) {
    if (copied() < 0) tap_skip("Linux has no such limit");
    begin_sharing(renames_late, "");
    char got[100];
    const int fd = open("big", O_RDONLY);
    CHECK(fd >= 0 && pread(fd, got, sizeof got, 0) == sizeof got);
    IN_CHILD(renamer) {
        CHECK(rename("hello", "other") == 0);
    }
    while (!seen->asked[RENAME])
        sleep_ms(5);
    for (uint64_t i = 1; i <= 64; i++)
        CHECK(tell_retrieve(i, 3, 0, 100) == 0);
    CHECK_ERROR(tell_retrieve(65, 3, 0, 100), EAGAIN);
    seen->may_go_on = 1;
    CHECK_EQ(EXIT_STATUS(renamer), 0);
    for (int i = 0; i < 2000 && seen->back[0] != 64; i++)
        sleep_ms(5);
    CHECK_EQ(retrieve(3, 0, 100), 100);
    CHECK_EQ(seen->asked[NOTIFY_REPLY], 65);
    CHECK(!memcmp(seen->back_bytes, got, 100));
    CHECK(close(fd) == 0);
    CHECK(close(line) == 0);
    end();
}

// What was stored into a mapping stands in the page where the file's end is; what is behind that is the program's.
static void what_a_program_has_behind_the_end_stays(void) {
    if (copied() < 0) tap_skip("Linux writes whole pages back");
    static char got[page], its[page];
    begin_sharing(no_lie, "");
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    memset(its, 'o', sizeof its);
    CHECK_EQ(pwrite(fd, its, 100, 0), 100);
    char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    at[50] = 'm', at[150] = 'j';
    memset(seen->written + 100, 'p', 100); // it grows there
    seen->size = 200;
    CHECK(tell_inode(6, -1, 0) == 0);
    struct stat is;
    CHECK(fstat(fd, &is) == 0);
    CHECK_EQ(is.st_size, 200);
    CHECK_EQ(pread(fd, got, sizeof got, 0), 200);
    CHECK(got[49] == 'o' && got[50] == 'm' && got[99] == 'o' && got[100] == 'p' && got[150] == 'p' && got[199] == 'p');
    at[250] = 'j';
    memset(its, 'S', sizeof its);
    memcpy(seen->written + 190, its, 110);
    seen->size = 300;
    CHECK(tell_store(6, 190, its, 110) == 0);
    CHECK(fstat(fd, &is) == 0 && is.st_size == 300); // somebody may have been writing
    CHECK_EQ(pread(fd, got, sizeof got, 0), 300);
    CHECK(got[189] == 'p' && got[199] == 'p' && got[200] == 'S' && got[250] == 'S' && got[299] == 'S');
    CHECK(msync(at, page, MS_SYNC) == 0);
    CHECK(seen->written[50] == 'm' && seen->written[150] == 'p' && seen->written[200] == 'S' &&
          seen->written[250] == 'S' && seen->written[299] == 'S');
    CHECK_EQ(seen->size, 300);
    CHECK(munmap(at, page) == 0 && close(fd) == 0 && close(line) == 0);
    end();
}

// It has grown there, but what is behind the old end cannot be had.
static void a_file_that_cannot_grow_stays_as_it_is(void) {
    if (copied() < 0) tap_skip("Linux does not look");
    begin_sharing(no_lie, "");
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, "mine", 4, 0), 4);
    volatile char* at = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED && at[0] == 'm');
    memset(seen->written + 4, 'p', 2 * page);
    seen->size = 2 * page + 4;
    seen->reads_fail = 1;
    CHECK(tell_inode(6, -1, 0) == 0);
    struct stat is;
    at[1] = 'M'; // which is not carried at once
    CHECK_ERROR(fstat(fd, &is), EIO);
    catch_faults();
    CHECK_EQ(TRY_FAULT(at[page] = 's'), SIGBUS);
    CHECK_ERROR(lseek(fd, 0, SEEK_END), EIO);
    seen->reads_fail = 0;
    CHECK(fstat(fd, &is) == 0);
    CHECK_EQ(is.st_size, 2 * page + 4);
    CHECK(at[0] == 'm' && at[1] == 'M' && at[4] == 'p' && at[page] == 'p');
    at[page + 1] = 's';
    CHECK(msync((void*)at, 3 * page, MS_SYNC) == 0);
    CHECK(seen->written[1] == 'M' && seen->written[4] == 'p' && seen->written[page] == 'p' &&
          seen->written[page + 1] == 's' && seen->written[2 * page + 3] == 'p');
    CHECK(munmap((void*)at, 3 * page) == 0 && close(fd) == 0 && close(line) == 0);
    end();
}

static void a_program_may_store_while_it_is_asked(void) {
    if (copied() < 0) tap_skip("Linux may wait for the page");
    begin_with(stores_when_read, "");
    memset(seen->written, 'w', 100);
    seen->size = 100;
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0);
    char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    at[1] = 'm'; // dirty before it is there
    CHECK(at[0] == 'w' && at[99] == 'w' && at[100] == 0);
    char got[8];
    CHECK_EQ(pread(fd, got, sizeof got, page), 5);
    CHECK(!strcmp(got, "more"));
    CHECK(munmap(at, page) == 0 && close(fd) == 0);
    end();
}

TAP_MAIN(T(room_is_made_and_given_back_there), T(holes_are_where_the_program_says), T(the_program_says_who_may),
         T(names_are_believed_as_long_as_they_last), T(directories_come_and_go_with_their_names),
         T(what_a_list_leads_to_is_known), T(what_is_known_is_listed_anew), T(names_of_one_node_are_no_more_than_nodes),
         T(what_was_told_in_vain_is_forgotten), T(lists_of_nodes_that_make_no_sense_are_refused),
         T(what_a_killed_asker_would_have_listed_is_forgotten), T(news_is_heard),
         T(news_that_makes_no_sense_is_refused), T(news_of_what_is_being_asked_is_heard),
         T(news_of_a_link_whose_text_is_asked_for_is_heard), T(news_of_what_is_being_renamed_is_heard),
         T(bytes_that_are_stored_are_read), T(what_is_cached_comes_back_as_far_as_there_is_no_gap),
         T(stores_that_make_no_sense_are_refused), T(a_file_is_stored_from_its_own_mapping),
         T(what_is_being_written_is_not_stored_over), T(what_was_stored_into_a_mapping_is_not_stored_over),
         T(what_lies_behind_the_end_is_not_seen_when_that_moves), T(a_program_that_does_not_look_gets_no_more_back),
         T(news_of_bytes_is_not_forgotten_by_who_is_killed), T(what_a_program_has_behind_the_end_stays),
         T(a_file_that_cannot_grow_stays_as_it_is), T(a_program_may_store_while_it_is_asked))
