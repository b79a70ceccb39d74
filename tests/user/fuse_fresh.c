// Files of a FUSE program that others change, too: what the kernel knew is asked for again when it counts.
#include <sys/uio.h>

#include "tests/user/fuse_server.h"

static void rights_are_those_of_now(void) {
    begin_with(no_lie, ",allow_other,default_permissions");
    seen->short_lived = 1;
    CHECK(chdir("/") == 0);
    IN_CHILD(other) {
        CHECK(setgid(1000) == 0 && setuid(1000) == 0 && chdir(base) == 0);
        int fd = open("hello", O_RDONLY);
        CHECK(fd >= 0 && close(fd) == 0);
        seen->modes[2] = 0600;
        CHECK_ERROR(open("hello", O_RDONLY), EACCES);
        CHECK_ERROR(access("hello", R_OK), EACCES);
        CHECK_ERROR(truncate("hello", 0), EACCES);
        seen->modes[2] = 0666;
        CHECK((fd = open("hello", O_RDWR)) >= 0 && close(fd) == 0);
        CHECK(access("hello", R_OK | W_OK) == 0);
    }
    CHECK_EQ(EXIT_STATUS(other), 0);
    end();
}

static void files_have_as_many_blocks_as_their_program_says(void) {
    begin_with(no_lie, "");
    struct stat is;
    CHECK(stat("big", &is) == 0);
    CHECK_EQ(is.st_blocks, 9); // with none at all tar -S would take it for a hole
    const int fd = open("out", O_RDWR);
    CHECK(fd >= 0 && fstat(fd, &is) == 0);
    CHECK_EQ(is.st_blocks, 0);
    CHECK_EQ(pwrite(fd, "bytes", 5, 1000), 5);
    CHECK(fstat(fd, &is) == 0);
    CHECK(is.st_size == 1005 && is.st_blocks > 0);
    CHECK(close(fd) == 0);
    end();
}

static void names_that_are_too_long_are_passed_over(void) {
    begin_with(list_name_of_300, "");
    DIR* list = opendir(".");
    CHECK(list);
    int count = 0;
    for (struct dirent* e; (errno = 0, e = readdir(list)); count++)
        CHECK(strcmp(e->d_name, "big") != 0);
    if (copied() >= 0) CHECK(count == 6 && errno == 0); // Linux shows it
    CHECK(closedir(list) == 0);
    end();
}

static void now_is_said_to_be_now(void) {
    begin_with(no_lie, "");
    CHECK(utimensat(AT_FDCWD, "hello", NULL, 0) == 0);
    CHECK_EQ(seen->set & 0x1b0, 0x1b0); // both times, and both now
    const struct timespec given[2] = {{1, 0}, {0, UTIME_NOW}};
    CHECK(utimensat(AT_FDCWD, "hello", given, 0) == 0);
    CHECK_EQ(seen->set & 0x1b0, 0x130);
    end();
}

static void who_reads_at_the_end_finds_what_came(void) {
    begin_with(no_lie, "");
    seen->short_lived = 1;
    char got[8];
    const int fd = open("out", O_RDONLY);
    CHECK(fd >= 0);
    CHECK_EQ(read(fd, got, sizeof got), 0);
    memcpy(seen->written, "line", 4);
    seen->size = 4;
    CHECK_EQ(read(fd, got, sizeof got), 4);
    CHECK(!memcmp(got, "line", 4));
    CHECK_EQ(read(fd, got, sizeof got), 0);
    CHECK(close(fd) == 0);
    end();
}

static void links_lead_where_they_lead_now(void) {
    char text[8] = {0};
    struct stat is;
    begin_with(no_lie, "");
    seen->valid = 0;
    seen->short_lived = 1;
    CHECK(readlink("link", text, sizeof text) == 5 && !memcmp(text, "hello", 5));
    CHECK(stat("link", &is) == 0 && is.st_size == sizeof hello - 1);
    seen->link_moved = 1;
    CHECK(readlink("link", text, sizeof text) == 3 && !memcmp(text, "big", 3));
    CHECK(stat("link", &is) == 0 && is.st_size == big_bytes);
    const int asked = seen->asked[READLINK];
    if (copied() >= 0) CHECK(readlink("link", text, sizeof text) == 3 && seen->asked[READLINK] == asked); // Linux asks
    end();
}

static void runs_and_says(const char* wanted) {
    char said[100] = {0};
    int out[2];
    CHECK(pipe(out) == 0);
    IN_CHILD(runner) {
        CHECK(dup2(out[1], 1) == 1);
        execl("out", "out", NULL);
        _exit(1);
    }
    CHECK_EQ(EXIT_STATUS(runner), 0);
    CHECK(read(out[0], said, sizeof said - 1) > 0);
    CHECK(!strncmp(said, wanted, strlen(wanted)));
    CHECK(close(out[0]) == 0 && close(out[1]) == 0);
}

static void programs_are_run_as_they_are_now(void) {
    static const char one[] = "#!/bin/echo one\n", two[] = "#!/bin/echo two\n";
    begin_with(no_lie, "");
    seen->drops_cache = 1;
    seen->modes[6] = 0755;
    seen->size = sizeof one - 1;
    memcpy(seen->written, one, sizeof one);
    runs_and_says("one");
    memcpy(seen->written, two, sizeof two);
    runs_and_says("two");
    seen->modes[6] = 0644;
    seen->short_lived = 1;
    end();
    CHECK(seen->asked[OPEN] >= 2);
    CHECK_EQ(seen->asked[OPEN], seen->asked[RELEASE]);
}

static void a_directory_is_empty_if_its_program_says_so(void) {
    struct stat is;
    begin_with(no_lie, "");
    CHECK(stat("dir/deep", &is) == 0);
    seen->hidden = 1 << 7;
    CHECK(rmdir("dir") == 0);
    CHECK_EQ(seen->asked[RMDIR], 1);
    seen->hidden |= 1 << 4;
    CHECK_ERROR(stat("dir", &is), ENOENT);
    // And one that another takes the place of.
    seen->hidden = 0;
    CHECK(mkdir("made", 0755) == 0);
    CHECK(stat("dir/deep", &is) == 0);
    CHECK(rename("made", "dir") == 0);
    CHECK(stat("dir", &is) == 0 && is.st_ino == 108);
    CHECK_ERROR(stat("dir/deep", &is), ENOENT);
    CHECK_ERROR(stat("made", &is), ENOENT);
    end();
}

static void who_may_only_write_writes(void) {
    begin_with(no_lie, "");
    seen->lets_none_read = 1;
    seen->size = 100;
    memset(seen->written, 'o', 100);
    const int fd = open("out", O_WRONLY | O_APPEND);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, "x\n", 2), 2);
    CHECK_EQ(write(fd, "y\n", 2), 2);
    CHECK(!memcmp(seen->written + 98, "oox\ny\n", 6));
    CHECK_EQ(seen->size, 104);
    struct stat is;
    CHECK(fstat(fd, &is) == 0 && is.st_size == 104);
    const int again = open("out", O_WRONLY);
    CHECK(again >= 0 && pwrite(again, "", 0, 200) == 0 && close(again) == 0);
    CHECK(fstat(fd, &is) == 0 && is.st_size == 104);
    for (unsigned i = 0; i < 300; i++) { // over pages' ends, in which nobody looks
        char record[32];
        memset(record, 'a' + i % 26, sizeof record);
        CHECK_EQ(write(fd, record, sizeof record), sizeof record);
    }
    CHECK_EQ(seen->size, 104 + 300 * 32);
    for (unsigned i = 0; i < 300 * 32; i++)
        CHECK_EQ(seen->written[104 + i], 'a' + i / 32 % 26);
    CHECK(ftruncate(fd, 104) == 0 && close(fd) == 0);
    CHECK_ERROR(open("out", O_RDONLY), EACCES);
    seen->lets_none_read = 0;
    char got[200];
    const int reader = open("out", O_RDONLY);
    CHECK(reader >= 0);
    CHECK_EQ(read(reader, got, sizeof got), 104);
    CHECK(!memcmp(got + 98, "oox\ny\n", 6) && close(reader) == 0);
    end();
}

TAP_MAIN(T(rights_are_those_of_now), T(files_have_as_many_blocks_as_their_program_says),
         T(names_that_are_too_long_are_passed_over), T(now_is_said_to_be_now), T(who_reads_at_the_end_finds_what_came),
         T(links_lead_where_they_lead_now), T(programs_are_run_as_they_are_now),
         T(a_directory_is_empty_if_its_program_says_so), T(who_may_only_write_writes))
