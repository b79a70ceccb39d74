// Extended attributes: what is set is found, listed and removed; who may; what makes no sense.
#include "tests/user/tap.h"

#include <sys/stat.h>
#include <sys/xattr.h>

static const char* base = "/attributes";

// A directory of its own for each test, on the file system of the root.
static void begin(const char* name) {
    char path[100];
    if (getenv("ATTRIBUTES_IN")) base = getenv("ATTRIBUTES_IN");
    mkdir(base, 0755);
    snprintf(path, sizeof path, "%s/%s-%d", base, name, getpid());
    CHECK(mkdir(path, 0755) == 0);
    CHECK(chdir(path) == 0);
    const int fd = open("f", O_CREAT | O_RDWR, 0644);
    CHECK(fd >= 0 && close(fd) == 0);
}

static char large[70000], value[70000];

static void values_are_kept(void) {
    begin("kept");
    CHECK(setxattr("f", "user.one", "1", 1, 0) == 0);
    CHECK_EQ(getxattr("f", "user.one", NULL, 0), 1);
    CHECK_EQ(getxattr("f", "user.one", value, sizeof value), 1);
    CHECK(value[0] == '1');
    CHECK(setxattr("f", "user.one", "another", 7, 0) == 0);
    CHECK_EQ(getxattr("f", "user.one", value, 7), 7);
    CHECK(!memcmp(value, "another", 7));
    CHECK_ERROR(getxattr("f", "user.one", value, 6), ERANGE);
    CHECK(setxattr("f", "user.empty", "", 0, 0) == 0);
    CHECK_EQ(getxattr("f", "user.empty", value, sizeof value), 0);
    CHECK_ERROR(getxattr("f", "user.two", value, sizeof value), ENODATA);
    CHECK(removexattr("f", "user.one") == 0);
    CHECK_ERROR(removexattr("f", "user.one"), ENODATA);
    CHECK_ERROR(getxattr("f", "user.one", value, sizeof value), ENODATA);
}

static void flags_say_what_must_be_there(void) {
    begin("flags");
    CHECK_ERROR(setxattr("f", "user.x", "1", 1, XATTR_REPLACE), ENODATA);
    CHECK(setxattr("f", "user.x", "1", 1, XATTR_CREATE) == 0);
    CHECK_ERROR(setxattr("f", "user.x", "2", 1, XATTR_CREATE), EEXIST);
    CHECK(setxattr("f", "user.x", "3", 1, XATTR_REPLACE) == 0);
    CHECK_EQ(getxattr("f", "user.x", value, 1), 1);
    CHECK(value[0] == '3');
    CHECK_ERROR(setxattr("f", "user.x", "1", 1, 4), EINVAL);
}

static int has(const char* list, ssize_t bytes, const char* name) {
    for (const char* at = list; at < list + bytes; at += strlen(at) + 1)
        if (!strcmp(at, name)) return 1;
    return 0;
}

static void names_are_listed(void) {
    begin("listed");
    CHECK_EQ(listxattr("f", NULL, 0), 0);
    CHECK(setxattr("f", "user.a", "1", 1, 0) == 0 && setxattr("f", "user.bb", "2", 1, 0) == 0);
    CHECK(setxattr("f", "trusted.t", "3", 1, 0) == 0 && setxattr("f", "security.s", "4", 1, 0) == 0);
    const ssize_t bytes = listxattr("f", NULL, 0);
    CHECK_EQ(bytes, 7 + 8 + 10 + 11);
    CHECK_EQ(listxattr("f", value, bytes), bytes);
    CHECK(has(value, bytes, "user.a") && has(value, bytes, "user.bb") && has(value, bytes, "trusted.t") &&
          has(value, bytes, "security.s"));
    CHECK_ERROR(listxattr("f", value, bytes - 1), ERANGE);
    const pid_t somebody = fork();
    if (!somebody) {
        CHECK(setgid(1000) == 0 && setuid(1000) == 0);
        CHECK_EQ(listxattr("f", value, sizeof value), bytes - 10);
        CHECK(!has(value, bytes - 10, "trusted.t"));
        CHECK_ERROR(getxattr("f", "trusted.t", value, sizeof value), ENODATA);
        CHECK_ERROR(setxattr("f", "trusted.t", "x", 1, 0), EPERM);
        CHECK_ERROR(setxattr("f", "security.s", "x", 1, 0), EPERM);
        CHECK_ERROR(setxattr("f", "user.a", "x", 1, 0), EACCES);
        CHECK_EQ(getxattr("f", "security.s", value, sizeof value), 1);
        _exit(0);
    }
    int status;
    CHECK(waitpid(somebody, &status, 0) == somebody && status == 0);
    CHECK(chmod("f", 0600) == 0);
}

static void descriptors_and_links_have_them(void) {
    begin("links");
    const int fd = open("f", O_RDONLY);
    CHECK(fsetxattr(fd, "user.x", "1", 1, 0) == 0);
    CHECK_EQ(fgetxattr(fd, "user.x", value, 1), 1);
    CHECK_EQ(flistxattr(fd, value, sizeof value), 7);
    CHECK(fremovexattr(fd, "user.x") == 0);
    CHECK(symlink("f", "l") == 0);
    CHECK(setxattr("l", "user.y", "2", 1, 0) == 0);
    CHECK_EQ(getxattr("f", "user.y", value, 1), 1);
    CHECK_ERROR(lsetxattr("l", "user.y", "2", 1, 0), EPERM);
    CHECK_ERROR(lgetxattr("l", "user.y", value, 1), ENODATA);
    CHECK(lsetxattr("l", "trusted.y", "link", 4, 0) == 0);
    CHECK_EQ(lgetxattr("l", "trusted.y", value, 4), 4);
    CHECK_EQ(llistxattr("l", value, sizeof value), 10);
    CHECK_ERROR(getxattr("f", "trusted.y", value, 4), ENODATA);
    CHECK(lremovexattr("l", "trusted.y") == 0);
    CHECK(mkfifo("p", 0644) == 0);
    CHECK_ERROR(setxattr("p", "user.x", "1", 1, 0), EPERM);
    CHECK(setxattr("p", "security.x", "fifo", 4, 0) == 0);
    CHECK(setxattr(".", "user.d", "directory", 9, 0) == 0);
    CHECK_EQ(getxattr(".", "user.d", value, sizeof value), 9);
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK_EQ(fsetxattr(ends[0], "user.x", "1", 1, 0), -1);
}

static void kinds_that_are_unknown_are_refused(void) {
    begin("kinds");
    CHECK_ERROR(setxattr("f", "nothing", "1", 1, 0), EOPNOTSUPP);
    CHECK_ERROR(setxattr("f", "other.x", "1", 1, 0), EOPNOTSUPP);
    CHECK_ERROR(getxattr("f", "other.x", value, 1), EOPNOTSUPP);
    CHECK_ERROR(setxattr("f", "user.", "1", 1, 0), EINVAL);
    CHECK_ERROR(setxattr("f", "user.x", large, 65537, 0), E2BIG);
    CHECK_ERROR(setxattr("f", "user.x", (void*)8, 10, 0), EFAULT);
    CHECK(setxattr("f", "user.x", "12345", 5, 0) == 0);
    CHECK_ERROR(getxattr("f", "user.x", (void*)8, 10), EFAULT);
    CHECK_EQ(getxattr("f", "user.x", (void*)8, 0), 5);
    CHECK_EQ(getxattr("f", "user.x", value, (size_t)1 << 40), 5);
    char name[257];
    memset(name, 'n', sizeof name);
    memcpy(name, "user.", 5);
    name[255] = 0;
    CHECK(setxattr("f", name, "long", 4, 0) == 0);
    CHECK_EQ(getxattr("f", name, value, 4), 4);
    name[255] = 'n', name[256] = 0;
    CHECK_ERROR(setxattr("f", name, "long", 4, 0), ERANGE);
}

// Many, in any order, against a model; where there is no more room nothing changes.
static void a_model_agrees(void) {
    enum { names = 16 };
    begin("model");
    int lengths[names];
    memset(lengths, -1, sizeof lengths);
    for (int i = 0; i < (int)sizeof large; i++)
        large[i] = (char)(i * 31 + i / 256);
    unsigned seed = 12345, full = 0;
    for (int step = 0; step < 1500; step++) {
        seed = seed * 1103515245 + 12345;
        const int n = seed >> 16 & 15, bytes = (seed >> 20) % 3 ? (int)((seed >> 22) % (step % 50 ? 90 : 1000)) : -1;
        char name[40];
        snprintf(name, sizeof name, "user.model-%.*d", 1 + n, n);
        const int done = bytes < 0 ? removexattr("f", name) : setxattr("f", name, large + n, bytes, 0);
        if (done < 0 && bytes >= 0) {
            CHECK(errno == ENOSPC);
            full++;
        } else {
            CHECK((done == 0) == (bytes >= 0 || lengths[n] >= 0));
            lengths[n] = bytes;
        }
        for (int i = 0; i < names; i++) {
            snprintf(name, sizeof name, "user.model-%.*d", 1 + i, i);
            const ssize_t have = getxattr("f", name, value, sizeof value);
            CHECK_EQ(have, lengths[i]);
            CHECK(have < 0 || !memcmp(value, large + i, have));
        }
    }
    note("%u times there was no room", full);
}

static void others_keep_theirs(void) {
    begin("others");
    for (int i = 0; i < 40; i++) {
        char name[20];
        snprintf(name, sizeof name, "file-%d", i);
        close(open(name, O_CREAT | O_RDWR, 0644));
        CHECK(setxattr(name, "user.number", &i, sizeof i, 0) == 0);
        CHECK(setxattr(name, "user.long", large, 300 + i, 0) == 0);
    }
    for (int i = 0; i < 40; i += 2) {
        char name[20];
        snprintf(name, sizeof name, "file-%d", i);
        CHECK(i % 4 ? unlink(name) == 0 : removexattr(name, "user.long") == 0);
    }
    for (int i = 1; i < 40; i += 2) {
        char name[20];
        int number;
        snprintf(name, sizeof name, "file-%d", i);
        CHECK(getxattr(name, "user.number", &number, sizeof number) == sizeof number && number == i);
        CHECK_EQ(getxattr(name, "user.long", value, sizeof value), 300 + i);
    }
}

// What others put on the disk, where somebody did: two files share a block of attributes.
static void what_was_there_is_found(void) {
    struct stat s;
    if (stat("/foreign", &s) < 0) tap_skip("no file that others have put there");
    CHECK_EQ(getxattr("/foreign", "user.small", value, sizeof value), 5);
    CHECK(!memcmp(value, "small", 5));
    CHECK_EQ(getxattr("/foreign", "user.large", value, sizeof value), 600);
    for (int i = 0; i < 600; i++)
        CHECK(value[i] == 'L');
    CHECK_EQ(getxattr("/sharing", "user.large", value, sizeof value), 600);
    CHECK(setxattr("/sharing", "user.large", "mine", 4, 0) == 0);
    CHECK_EQ(getxattr("/foreign", "user.large", value, sizeof value), 600);
    CHECK_EQ(getxattr("/sharing", "user.large", value, sizeof value), 4);
    CHECK(setxattr("/foreign", "user.added", "here", 4, 0) == 0);
}

TAP_MAIN(T(values_are_kept), T(flags_say_what_must_be_there), T(names_are_listed), T(descriptors_and_links_have_them),
         T(kinds_that_are_unknown_are_refused), T(a_model_agrees), T(others_keep_theirs), T(what_was_there_is_found))
