// An xio as a descriptor: bytes as they were at one moment.
#include "user/xio.h"
#include "tests/user/tap.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { many = 64 * page };

// Other kernels have no such calls.
static void begin(void) {
    if (xio_from_memory("x", 1, 0) < 0 && errno == ENOSYS) tap_skip("this kernel has no xio");
}

static char* memory(size_t bytes, char fill) {
    char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return NULL;
    memset(at, fill, bytes);
    return at;
}

static int all_are(const char* bytes, size_t count, char what) {
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != what) return 0;
    return 1;
}

static void memory_stays_as_it_was(void) {
    begin();
    char *at = memory(many, 'a'), *got = memory(many, 0);
    const int fd = xio_from_memory(at, many, 0);
    CHECK(fd >= 0);
    memset(at, 'b', many);
    struct stat s;
    CHECK(fstat(fd, &s) == 0 && s.st_size == many);
    CHECK_EQ(read(fd, got, many), many);
    CHECK(all_are(got, many, 'a'));
    CHECK_EQ(read(fd, got, many), 0);
    CHECK_EQ(pread(fd, got, 10, many - 4), 4);
    CHECK(lseek(fd, -page, SEEK_END) == many - page);
    CHECK_EQ(read(fd, got, many), page);
    CHECK(all_are(at, many, 'b'));
    close(fd);
}

static void small_and_odd_pieces_too(void) {
    begin();
    char* at = memory(many, 'a');
    char got[100];
    const int fd = xio_from_memory(at + 7, 50, O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    at[7] = 'x';
    CHECK_EQ(read(fd, got, sizeof got), 50);
    CHECK(all_are(got, 50, 'a'));
    close(fd);
    CHECK_ERROR(xio_from_memory(at, 0, 0), EINVAL);
    CHECK_ERROR(xio_from_memory(at, (size_t)2 << 30, 0), EINVAL);
    CHECK_ERROR(xio_from_memory(at, page, 1), EINVAL);
    CHECK_ERROR(xio_from_memory((void*)16, many, 0), EFAULT);
    CHECK_ERROR(xio_from_memory((void*)-4096L, many, 0), EFAULT);
}

static int file_with(char fill, size_t bytes) {
    const int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    char* at = memory(bytes, fill);
    if (write(fd, at, bytes) != (ssize_t)bytes) return -1;
    munmap(at, bytes);
    return fd;
}

static void a_file_stays_as_it_was(void) {
    begin();
    char* got = memory(many, 0);
    const int file = file_with('f', many);
    const int fd = xio_from_file(file, page, 10 * page, 0);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(file, "XXXX", 4, 2 * page), 4);
    CHECK(ftruncate(file, 0) == 0);
    CHECK_EQ(read(fd, got, many), 10 * page);
    CHECK(all_are(got, 10 * page, 'f'));
    CHECK_ERROR(xio_from_file(file, 0, page, 0), EINVAL); // nothing is there
    CHECK_ERROR(xio_from_file(file, -1, page, 0), EINVAL);
    CHECK_ERROR(xio_from_file(99, 0, page, 0), EBADF);
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK_ERROR(xio_from_file(ends[0], 0, page, 0), EOPNOTSUPP);
    const int part = xio_from_file(fd, page, 2 * page, 0);
    CHECK(part >= 0);
    close(fd);
    memset(got, 0, many);
    CHECK_EQ(read(part, got, many), 2 * page);
    CHECK(all_are(got, 2 * page, 'f'));
    close(part);
}

static void a_mapping_copies_when_it_is_written_to(void) {
    begin();
    char* at = memory(many, 'm');
    const int fd = xio_from_memory(at, many, 0);
    char* shown = mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(shown != MAP_FAILED);
    CHECK(mmap(NULL, many, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
    const char* shared = mmap(NULL, many, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(shared != MAP_FAILED);
    memset(at, 'n', many);
    CHECK(all_are(shown, many, 'm'));
    shown[page] = 'o';
    CHECK(shown[page + 1] == 'm' && shared[page] == 'm' && at[page] == 'n');
    close(fd);
    CHECK(all_are(shared, many, 'm'));
    CHECK_ERROR(mprotect((void*)shared, many, PROT_READ | PROT_WRITE), EACCES);
    munmap(shown, many);
    munmap((void*)shared, many);
}

// A mapping of an xio shows its bytes from the start of a page, and zeroes after them.
static void shows_only(int fd, size_t bytes, char what) {
    struct stat s;
    CHECK(fstat(fd, &s) == 0);
    CHECK_EQ(s.st_size, bytes);
    const size_t pages = (bytes + page - 1) & -(size_t)page;
    for (int kind = 0; kind < 3; kind++) {
        char* shown =
            mmap(NULL, pages, kind ? PROT_READ | PROT_WRITE : PROT_READ, kind ? MAP_PRIVATE : MAP_SHARED, fd, 0);
        CHECK(shown != MAP_FAILED);
        if (kind == 2) { // also beside what was written first
            memset(shown, what, 1);
            if (bytes < pages) shown[pages - 1] = 0;
        }
        CHECK(all_are(shown, bytes, what));
        CHECK(all_are(shown + bytes, pages - bytes, 0));
        if (kind) memset(shown, 'w', pages); // nobody else's affair
        CHECK(munmap(shown, pages) == 0);
    }
    // Behind its last page there is nothing.
    char* longer = mmap(NULL, pages + page, PROT_READ, MAP_SHARED, fd, 0);
    if (longer == MAP_FAILED) return;
    CHECK_EQ(TRY_FAULT((void)*(volatile char*)(longer + pages)), SIGBUS);
    CHECK(munmap(longer, pages + page) == 0);
}

static void what_lies_around_an_odd_piece_is_not_shown(void) {
    begin();
    catch_faults();
    static const size_t pieces[][2] = {{100, 50},     {0, 50},       {page - 1, 1},        {page - 10, 20},
                                       {512, page},   {0, page + 7}, {100, 3 * page},      {512, 8 * page - 512},
                                       {page, 4000},  {8, 16},       {page / 2, 2 * page}, {0, 8 * page + 1},
                                       {1, 16 * page}};
    for (unsigned i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        const size_t from = pieces[i][0], bytes = pieces[i][1];
        char* at = memory(many, 'S'); // what nobody is told
        CHECK(at != NULL);
        memset(at + from, 'a', bytes);
        const int of_memory = xio_from_memory(at + from, bytes, 0);
        CHECK(of_memory >= 0);
        const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
        CHECK(file >= 0 && write(file, at, many) == many);
        const int of_file = xio_from_file(file, from, bytes, 0);
        CHECK(of_file >= 0);
        memset(at, 'T', many);
        CHECK_EQ(pwrite(file, at, many, 0), many);
        shows_only(of_memory, bytes, 'a');
        shows_only(of_file, bytes, 'a');
        // A part of it that begins elsewhere in its pages.
        const size_t skipped = bytes / 3;
        if (skipped) {
            const int part = xio_from_file(of_memory, skipped, bytes, 0), other = xio_from_file(of_file, skipped, 1, 0);
            CHECK(part >= 0 && other >= 0);
            shows_only(part, bytes - skipped, 'a');
            shows_only(other, 1, 'a');
            CHECK(close(part) == 0 && close(other) == 0);
        }
        // Its end is its end for everybody.
        char got[2 * page];
        memset(got, 0, sizeof got);
        CHECK_EQ(pread(of_file, got, sizeof got, bytes - 1), 1);
        CHECK(got[0] == 'a' && all_are(got + 1, sizeof got - 1, 0));
        CHECK_EQ(pread(of_memory, got, sizeof got, bytes), 0);
        CHECK(close(of_memory) == 0 && close(of_file) == 0 && close(file) == 0 && munmap(at, many) == 0);
    }
}

static void it_is_passed_on(void) {
    begin();
    char *at = memory(many, 'p'), *got = memory(many, 0);
    const int fd = xio_from_memory(at, many, 0);
    memset(at, 'q', many);
    const int file = file_with('x', page);
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    CHECK_EQ(sendfile(file, fd, NULL, many), many);
    CHECK_EQ(pread(file, got, many, 0), many);
    CHECK(all_are(got, many, 'p'));
    int ends[2];
    CHECK(pipe(ends) == 0);
    loff_t offset = page;
    CHECK_EQ(splice(fd, &offset, ends[1], NULL, 4 * page, 0), 4 * page);
    memset(got, 0, many);
    CHECK_EQ(read(ends[0], got, many), 4 * page);
    CHECK(all_are(got, 4 * page, 'p'));
    CHECK_ERROR(write(fd, "x", 1), EBADF);
    CHECK(ftruncate(fd, 0) < 0);
    close(fd);
}

static void it_goes_over_a_socket(void) {
    begin();
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    char byte = 'x', *got = memory(many, 0);
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec one = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    const pid_t sender = fork();
    if (sender == 0) {
        char* at = memory(many, 's');
        const int fd = xio_from_memory(at, many, 0);
        memset(&control, 0, sizeof control);
        control.head =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
        const int good = sendmsg(ends[1], &message, 0) == 1;
        memset(at, 't', many);
        _exit(!good);
    }
    CHECK_EQ(EXIT_STATUS(sender), 0); // the sender is gone before it is received
    CHECK_EQ(recvmsg(ends[0], &message, 0), 1);
    int fd;
    memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
    CHECK_EQ(read(fd, got, many), many);
    CHECK(all_are(got, many, 's'));
}

static void a_child_has_it_when_the_maker_is_gone(void) {
    begin();
    int ends[2];
    CHECK(pipe(ends) == 0);
    const pid_t maker = fork();
    if (maker == 0) {
        char* at = memory(many, 'c');
        const int fd = xio_from_memory(at, many, 0);
        if (fork() == 0) {
            usleep(700000); // the maker is gone, and the loan has become a copy
            static char got[many];
            const char good = read(fd, got, many) == many && all_are(got, many, 'c');
            if (write(ends[1], &good, 1) != 1) _exit(1);
            _exit(0);
        }
        _exit(fd < 0);
    }
    int status;
    CHECK(waitpid(maker, &status, 0) == maker && status == 0);
    char good = 0;
    CHECK_EQ(read(ends[0], &good, 1), 1);
    CHECK(good == 1);
}

TAP_MAIN(T(memory_stays_as_it_was), T(small_and_odd_pieces_too), T(a_file_stays_as_it_was),
         T(a_mapping_copies_when_it_is_written_to), T(what_lies_around_an_odd_piece_is_not_shown), T(it_is_passed_on),
         T(it_goes_over_a_socket), T(a_child_has_it_when_the_maker_is_gone))
