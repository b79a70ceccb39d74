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
        CHECK_ERROR(tell(NEWS_STORE, said, 24, "", 0), EOPNOTSUPP);
        CHECK_ERROR(tell(NEWS_RETRIEVE, said, 24, "", 0), EOPNOTSUPP);
    }
    CHECK(stat("hello", &is) == 0 && stat("dir/deep", &is) == 0);
    CHECK(close(line) == 0);
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

TAP_MAIN(T(room_is_made_and_given_back_there), T(holes_are_where_the_program_says), T(the_program_says_who_may),
         T(names_are_believed_as_long_as_they_last), T(directories_come_and_go_with_their_names),
         T(what_a_list_leads_to_is_known), T(lists_of_nodes_that_make_no_sense_are_refused),
         T(what_a_killed_asker_would_have_listed_is_forgotten), T(news_is_heard),
         T(news_that_makes_no_sense_is_refused), T(news_of_what_is_being_asked_is_heard))
