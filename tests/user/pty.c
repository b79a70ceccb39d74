// Pseudo-terminals: the pair, its name, editing, job control, and what becomes of either end when the other goes.
#include "tests/user/tap.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

static int open_master(void) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(master >= 0);
    CHECK(grantpt(master) == 0 && unlockpt(master) == 0);
    return master;
}

static const char* name_of(int master) {
    static char name[64];
    unsigned number = ~0u;
    CHECK(ioctl(master, TIOCGPTN, &number) == 0);
    snprintf(name, sizeof name, "/dev/pts/%u", number);
    return name;
}

static int open_slave(int master) {
    const int slave = open(name_of(master), O_RDWR | O_NOCTTY);
    CHECK(slave >= 0);
    return slave;
}

static void make_raw(int terminal) {
    struct termios t;
    CHECK(tcgetattr(terminal, &t) == 0);
    cfmakeraw(&t);
    CHECK(tcsetattr(terminal, TCSANOW, &t) == 0);
}

static void expect(int from, const char* text) {
    char bytes[256];
    size_t have = 0;
    while (have < strlen(text)) {
        const ssize_t got = read(from, bytes + have, strlen(text) - have);
        if (got < 0 && errno == EINTR) continue;
        CHECK(got > 0);
        have += (size_t)got;
    }
    bytes[have] = 0;
    if (strcmp(bytes, text)) note("read \"%s\"", bytes);
    CHECK(strcmp(bytes, text) == 0);
}

static void send_text(int to, const char* text) {
    CHECK_EQ(write(to, text, strlen(text)), strlen(text));
}

// Becomes the leader of a session whose terminal is the slave.
static int take_slave(const char* name) {
    CHECK(setsid() > 0);
    const int slave = open(name, O_RDWR);
    CHECK(slave >= 0);
    return slave;
}

static volatile sig_atomic_t came[65];
static void note_signal(int number) {
    came[number]++;
}
static void catch_signal(int number) {
    struct sigaction action = {.sa_handler = note_signal};
    CHECK(sigaction(number, &action, NULL) == 0);
}
static void wait_for_signal(int number) {
    for (int turn = 0; turn < 1000 && !came[number]; turn++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    CHECK(came[number]);
}

// --- The pair

static void what_one_end_writes_the_other_reads(void) {
    const int master = open_master(), slave = open_slave(master);
    make_raw(slave);
    send_text(slave, "to the master");
    expect(master, "to the master");
    send_text(master, "to the slave");
    expect(slave, "to the slave");
}

static void a_slave_is_locked_until_it_is_unlocked(void) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(master >= 0);
    CHECK_ERROR(open(name_of(master), O_RDWR | O_NOCTTY), EIO);
    CHECK(unlockpt(master) == 0);
    CHECK(open(name_of(master), O_RDWR | O_NOCTTY) >= 0);
    int on = 1;
    CHECK(ioctl(master, TIOCSPTLCK, &on) == 0);
    CHECK_ERROR(open(name_of(master), O_RDWR | O_NOCTTY), EIO);
}

static void a_name_is_there_while_the_master_is_open(void) {
    const int master = open_master();
    char name[64];
    strcpy(name, name_of(master));
    struct stat s;
    CHECK(stat(name, &s) == 0);
    CHECK(S_ISCHR(s.st_mode));
    CHECK((s.st_mode & 0777 & ~0020) == 0600); // its group may write, if the mount says so
    CHECK_EQ(s.st_uid, getuid());
    CHECK_EQ(s.st_rdev >> 8, 136);
    CHECK(chmod(name, 0600) == 0);
    CHECK(stat(name, &s) == 0);
    CHECK_EQ(s.st_mode & 0777, 0600);
    const int slave = open_slave(master);
    CHECK(isatty(slave));
    close(master);
    CHECK_ERROR(stat(name, &s), ENOENT);
    CHECK_ERROR(open(name, O_RDWR), ENOENT);
    CHECK(fstat(slave, &s) == 0);
}

static void each_master_has_a_slave_of_its_own(void) {
    const int first = open_master(), second = open_master();
    char name[64];
    strcpy(name, name_of(first));
    CHECK(strcmp(name, name_of(second)) != 0);
    const int a = open_slave(first), b = open_slave(second);
    make_raw(a);
    make_raw(b);
    send_text(a, "a");
    send_text(b, "b");
    expect(first, "a");
    expect(second, "b");
}

static void the_peer_can_be_opened_without_its_name(void) {
    const int master = open_master();
    const int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(slave >= 0);
    CHECK_EQ(fcntl(slave, F_GETFD), FD_CLOEXEC);
    char link[64], path[64] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", slave);
    CHECK(readlink(link, path, sizeof path - 1) > 0);
    CHECK(strcmp(path, name_of(master)) == 0);
    send_text(slave, "x\n");
    expect(master, "x\r\n");
}

static void there_are_not_endlessly_many(void) {
    enum { most = 5000 };
    struct rlimit limit = {most, most};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        limit.rlim_cur = limit.rlim_max;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    int count = 0, last = -1;
    for (int fd; count < most && (fd = open("/dev/ptmx", O_RDWR | O_NOCTTY)) >= 0; count++)
        last = fd;
    CHECK(count > 100);
    CHECK(count == most || errno == ENOSPC || errno == EMFILE);
    close(last);
    CHECK(open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0);
}

// --- Editing

static void lines_are_edited_and_echoed(void) {
    const int master = open_master(), slave = open_slave(master);
    send_text(master, "helo\177lo\n");
    expect(slave, "hello\n");
    expect(master, "helo\b \blo\r\n");
}

static void output_is_processed(void) {
    const int master = open_master(), slave = open_slave(master);
    send_text(slave, "one\ntwo\n");
    expect(master, "one\r\ntwo\r\n");
}

static void an_end_of_input_ends_a_read(void) {
    const int master = open_master(), slave = open_slave(master);
    send_text(master, "\004");
    char byte;
    CHECK_EQ(read(slave, &byte, 1), 0);
    send_text(master, "x\n");
    expect(slave, "x\n");
}

// --- Ends that go

static void a_master_without_slaves_reads_the_rest_and_then_an_error(void) {
    const int master = open_master(), slave = open_slave(master);
    make_raw(slave);
    send_text(slave, "rest");
    close(slave);
    expect(master, "rest");
    char byte;
    CHECK_ERROR(read(master, &byte, 1), EIO);
    struct pollfd p = {.fd = master, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 20000), 1);
    CHECK(p.revents & POLLHUP);
    const int again = open_slave(master);
    make_raw(again);
    send_text(again, "again");
    expect(master, "again");
}

static void a_master_that_waits_is_told_when_the_last_slave_closes(void) {
    const int master = open_master(), slave = open_slave(master);
    IN_CHILD(child) {
        close(slave);
        char byte;
        CHECK_ERROR(read(master, &byte, 1), EIO);
    }
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    close(slave);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void a_slave_whose_master_went_fails(void) {
    const int master = open_master(), slave = open_slave(master);
    close(master);
    CHECK_ERROR(write(slave, "x", 1), EIO);
    char byte;
    const ssize_t got = read(slave, &byte, 1);
    CHECK(got == 0 || (got < 0 && errno == EIO));
    struct termios t;
    CHECK_ERROR(tcgetattr(slave, &t), EIO);
    struct pollfd p = {.fd = slave, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 20000), 1);
    CHECK(p.revents & POLLHUP);
}

static void a_hangup_ends_who_waits_and_tells_the_session(void) {
    const int master = open_master();
    int ready[2];
    CHECK(pipe(ready) == 0);
    char name[64];
    strcpy(name, name_of(master));
    IN_CHILD(child) {
        close(master);
        catch_signal(SIGHUP);
        const int slave = take_slave(name);
        CHECK(write(ready[1], "x", 1) == 1);
        char byte;
        ssize_t got;
        do
            got = read(slave, &byte, 1);
        while (got < 0 && errno == EINTR);
        CHECK(got == 0 || errno == EIO);
        wait_for_signal(SIGHUP);
        CHECK_ERROR(open("/dev/tty", O_RDWR), ENXIO);
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    close(master);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

// --- Sessions

static void a_leader_that_opens_a_slave_has_it_for_terminal(void) {
    const int master = open_master();
    char name[64];
    strcpy(name, name_of(master));
    IN_CHILD(child) {
        CHECK(setsid() > 0);
        const int no_terminal = open(name, O_RDWR | O_NOCTTY);
        CHECK(no_terminal >= 0);
        CHECK_ERROR(open("/dev/tty", O_RDWR), ENXIO);
        CHECK(ioctl(no_terminal, TIOCSCTTY, 0) == 0);
        const int tty = open("/dev/tty", O_RDWR);
        CHECK(tty >= 0);
        CHECK_EQ(tcgetpgrp(tty), getpid());
        CHECK_EQ(tcgetsid(tty), getpid());
        send_text(tty, "hello");
    }
    CHECK_EQ(EXIT_STATUS(child), 0);
    expect(master, "hello");
    IN_CHILD(other) {
        take_slave(name);
        CHECK(open("/dev/tty", O_RDWR) >= 0);
    }
    CHECK_EQ(EXIT_STATUS(other), 0);
}

static void the_keyboard_sends_signals_to_the_foreground(void) {
    const int master = open_master();
    int ready[2];
    CHECK(pipe(ready) == 0);
    char name[64], byte;
    strcpy(name, name_of(master));
    IN_CHILD(child) {
        catch_signal(SIGINT);
        take_slave(name);
        CHECK(write(ready[1], "x", 1) == 1);
        wait_for_signal(SIGINT);
    }
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    send_text(master, "\003");
    CHECK_EQ(EXIT_STATUS(child), 0);
}

static void a_new_window_size_is_told(void) {
    const int master = open_master();
    int ready[2];
    CHECK(pipe(ready) == 0);
    char name[64], byte;
    strcpy(name, name_of(master));
    IN_CHILD(child) {
        catch_signal(SIGWINCH);
        const int slave = take_slave(name);
        CHECK(write(ready[1], "x", 1) == 1);
        wait_for_signal(SIGWINCH);
        struct winsize size;
        CHECK(ioctl(slave, TIOCGWINSZ, &size) == 0);
        CHECK(size.ws_row == 50 && size.ws_col == 132);
    }
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    struct winsize size;
    CHECK(ioctl(master, TIOCGWINSZ, &size) == 0);
    CHECK(size.ws_row == 0 && size.ws_col == 0);
    size = (struct winsize){.ws_row = 50, .ws_col = 132};
    CHECK(ioctl(master, TIOCSWINSZ, &size) == 0);
    CHECK_EQ(EXIT_STATUS(child), 0);
}

// --- Waiting, and much

static void both_ends_can_be_polled(void) {
    const int master = open_master(), slave = open_slave(master);
    make_raw(slave);
    struct pollfd p[2] = {{.fd = master, .events = POLLIN | POLLOUT}, {.fd = slave, .events = POLLIN | POLLOUT}};
    CHECK_EQ(poll(p, 2, 0), 2);
    CHECK_EQ(p[0].revents, POLLOUT);
    CHECK_EQ(p[1].revents, POLLOUT);
    const int set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = master};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, master, &event) == 0);
    event.data.fd = slave;
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, slave, &event) == 0);
    CHECK_EQ(epoll_wait(set, &event, 1, 0), 0);
    send_text(slave, "m");
    CHECK_EQ(epoll_wait(set, &event, 1, 20000), 1);
    CHECK_EQ(event.data.fd, master);
    expect(master, "m");
    send_text(master, "s");
    CHECK_EQ(epoll_wait(set, &event, 1, 20000), 1);
    CHECK_EQ(event.data.fd, slave);
    expect(slave, "s");
    CHECK(fcntl(master, F_SETFL, O_NONBLOCK) == 0);
    char byte;
    CHECK_ERROR(read(master, &byte, 1), EAGAIN);
}

static void a_slow_reader_holds_writers_up_and_loses_nothing(void) {
    enum { bytes = 200000 };
    const int master = open_master(), slave = open_slave(master);
    make_raw(slave);
    for (int way = 0; way < 2; way++) {
        const int from = way ? slave : master, to = way ? master : slave;
        IN_CHILD(child) {
            for (int at = 0; at < bytes;) {
                char piece[700];
                for (int i = 0; i < 700; i++)
                    piece[i] = (char)((at + i) % 251);
                const int wanted = bytes - at < 700 ? bytes - at : 700;
                const ssize_t done = write(to, piece, (size_t)wanted);
                CHECK(done > 0);
                at += (int)done;
            }
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        for (int at = 0; at < bytes;) {
            char piece[1000];
            const ssize_t got = read(from, piece, sizeof piece);
            CHECK(got > 0);
            for (int i = 0; i < got; i++)
                CHECK_EQ((unsigned char)piece[i], (at + i) % 251);
            at += (int)got;
        }
        CHECK_EQ(EXIT_STATUS(child), 0);
    }
}

static void a_full_slave_is_not_writable(void) {
    const int master = open_master(), slave = open_slave(master);
    make_raw(slave);
    CHECK(fcntl(slave, F_SETFL, O_NONBLOCK) == 0);
    char piece[512] = {0};
    int total = 0;
    for (ssize_t done; (done = write(slave, piece, sizeof piece)) > 0;)
        total += (int)done;
    CHECK_EQ(errno, EAGAIN);
    CHECK(total > 1000);
    struct pollfd p = {.fd = slave, .events = POLLOUT};
    CHECK_EQ(poll(&p, 1, 0), 0);
    while (total > 0) {
        const ssize_t got = read(master, piece, sizeof piece);
        CHECK(got > 0);
        total -= (int)got;
    }
    CHECK_EQ(poll(&p, 1, 20000), 1);
}

static int event_of(int master) {
    unsigned char got[100];
    struct pollfd p = {master, POLLPRI, 0};
    CHECK(poll(&p, 1, 20000) == 1 && (p.revents & POLLPRI));
    CHECK_EQ(read(master, got, sizeof got), 1);
    return got[0];
}

static void set_packets(int master, int on) {
    CHECK(ioctl(master, TIOCPKT, &on) == 0);
    int now = -1;
    CHECK(ioctl(master, TIOCGPKT, &now) == 0);
    CHECK_EQ(now, on);
}

static void in_packet_mode_bytes_come_behind_a_zero(void) {
    const int master = open_master(), slave = open_slave(master);
    make_raw(slave);
    set_packets(master, 1);
    char got[100];
    send_text(slave, "hello");
    CHECK_EQ(read(master, got, sizeof got), 6);
    CHECK(got[0] == TIOCPKT_DATA && !memcmp(got + 1, "hello", 5));
    send_text(slave, "hello");
    CHECK_EQ(read(master, got, 3), 3);
    CHECK(got[0] == TIOCPKT_DATA && !memcmp(got + 1, "he", 2));
    CHECK_EQ(read(master, got, sizeof got), 4);
    CHECK(got[0] == TIOCPKT_DATA && !memcmp(got + 1, "llo", 3));
    struct pollfd p = {master, POLLIN | POLLPRI, 0};
    CHECK_EQ(poll(&p, 1, 0), 0);
    set_packets(master, 0);
    send_text(slave, "plain");
    expect(master, "plain");
    CHECK_ERROR(ioctl(master, TIOCPKT, (void*)8), EFAULT);
    int on = 1;
    CHECK_ERROR(ioctl(slave, TIOCPKT, &on), ENOTTY);
    CHECK_EQ(write(slave, "", 0), 0);
}

static void in_packet_mode_the_master_is_told(void) {
    const int master = open_master(), slave = open_slave(master);
    struct termios t;
    char got[100];
    CHECK(tcgetattr(slave, &t) == 0);
    set_packets(master, 1);
    CHECK(tcflush(slave, TCOFLUSH) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_FLUSHWRITE);
    CHECK(tcflush(slave, TCIFLUSH) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_FLUSHREAD);
    // Several at once are told at once, and before any bytes.
    send_text(slave, "x");
    CHECK(tcflush(slave, TCIFLUSH) == 0 && tcflow(slave, TCOOFF) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_FLUSHREAD | TIOCPKT_STOP);
    CHECK(tcflow(slave, TCOON) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_START);
    CHECK_EQ(read(master, got, sizeof got), 2);
    CHECK(got[0] == TIOCPKT_DATA && got[1] == 'x');
    // Whether ^S and ^Q mean what they usually do.
    t.c_iflag &= ~IXON;
    CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_NOSTOP);
    t.c_iflag |= IXON;
    CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_DOSTOP);
    t.c_cc[VSTOP] = 1;
    CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_NOSTOP);
    struct pollfd p = {master, POLLIN | POLLPRI, 0};
    CHECK_EQ(poll(&p, 1, 0), 0);
    // Who switches it on is not told of what was before.
    CHECK(tcflush(slave, TCIFLUSH) == 0);
    set_packets(master, 0);
    set_packets(master, 1);
    CHECK_EQ(poll(&p, 1, 0), 0);
    close(slave);
    CHECK_ERROR(read(master, got, sizeof got), EIO);
}

// EXTPROC: the master edits and echoes, and hears of every change of the settings.
static void another_may_edit_the_lines(void) {
    const int master = open_master(), slave = open_slave(master);
    struct termios t;
    char got[100];
    CHECK(tcgetattr(slave, &t) == 0);
    set_packets(master, 1);
    t.c_lflag |= EXTPROC;
    CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_IOCTL);
    CHECK(tcgetattr(slave, &t) == 0 && (t.c_lflag & EXTPROC) && (t.c_lflag & ICANON));
    // Nothing is echoed, edited or made a signal of, and no line is waited for.
    send_text(master, "a\x7f\x03");
    CHECK_EQ(read(slave, got, sizeof got), 3);
    CHECK(!memcmp(got, "a\x7f\x03", 3));
    struct pollfd p = {master, POLLIN | POLLPRI, 0};
    CHECK_EQ(poll(&p, 1, 0), 0);
    t.c_lflag &= ~EXTPROC;
    CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
    CHECK_EQ(event_of(master), TIOCPKT_IOCTL);
}

static void a_signal_from_the_keyboard_drops_the_output(void) {
    const int master = open_master(), slave = open_slave(master);
    char got[100];
    set_packets(master, 1);
    send_text(slave, "lost");
    send_text(master, "\x03");
    CHECK_EQ(event_of(master), TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE);
    // How far the bytes had come by then is nobody's business; the echo comes behind.
    const ssize_t bytes = read(master, got, sizeof got);
    CHECK(bytes >= 3 && !got[0] && !memcmp(got + bytes - 2, "^C", 2));
}

static void hostile_requests_are_refused(void) {
    const int master = open_master(), slave = open_slave(master);
    int number;
    CHECK_ERROR(ioctl(master, TIOCGPTN, (void*)8), EFAULT);
    CHECK_ERROR(ioctl(master, TIOCSPTLCK, (void*)8), EFAULT);
    CHECK_ERROR(ioctl(slave, TIOCGPTN, &number), ENOTTY);
    CHECK_ERROR(ioctl(master, TIOCSWINSZ, (void*)8), EFAULT);
    CHECK_ERROR(ioctl(master, 0x54ff, 0), ENOTTY);
    CHECK_ERROR(write(master, (void*)8, 1), EFAULT);
    CHECK_ERROR(lseek(master, 0, SEEK_SET), ESPIPE);
    struct stat s;
    CHECK_ERROR(stat("/dev/pts/00", &s), ENOENT);
    CHECK_ERROR(stat("/dev/pts/99999999999", &s), ENOENT);
}

static void pairs_come_and_go_on_all_cpus(void) {
    for (int worker = 0; worker < 4; worker++) {
        IN_CHILD(child) {
            for (int turn = 0; turn < 100; turn++) {
                const int master = open_master();
                char name[64];
                strcpy(name, name_of(master));
                IN_CHILD(user) {
                    close(master);
                    signal(SIGHUP, SIG_IGN);
                    setsid();
                    const int slave = open(name, O_RDWR);
                    if (slave >= 0) (void)!write(slave, "x\n", 2);
                    const int tty = open("/dev/tty", O_RDWR);
                    if (tty >= 0) (void)!write(tty, "y\n", 2);
                }
                char byte;
                if (turn % 2) (void)!read(master, &byte, 1);
                close(master);
                CHECK_EQ(EXIT_STATUS(user), 0);
            }
        }
        (void)child;
    }
    for (int worker = 0, raw; worker < 4; worker++) {
        CHECK(wait(&raw) > 0);
        CHECK(WIFEXITED(raw) && WEXITSTATUS(raw) == 0);
    }
}

TAP_MAIN(T(what_one_end_writes_the_other_reads), T(a_slave_is_locked_until_it_is_unlocked),
         T(a_name_is_there_while_the_master_is_open), T(each_master_has_a_slave_of_its_own),
         T(the_peer_can_be_opened_without_its_name), T(there_are_not_endlessly_many), T(lines_are_edited_and_echoed),
         T(output_is_processed), T(an_end_of_input_ends_a_read),
         T(a_master_without_slaves_reads_the_rest_and_then_an_error),
         T(a_master_that_waits_is_told_when_the_last_slave_closes), T(a_slave_whose_master_went_fails),
         T(a_hangup_ends_who_waits_and_tells_the_session), T(a_leader_that_opens_a_slave_has_it_for_terminal),
         T(the_keyboard_sends_signals_to_the_foreground), T(a_new_window_size_is_told), T(both_ends_can_be_polled),
         T(a_slow_reader_holds_writers_up_and_loses_nothing), T(a_full_slave_is_not_writable),
         T(in_packet_mode_bytes_come_behind_a_zero), T(in_packet_mode_the_master_is_told),
         T(another_may_edit_the_lines), T(a_signal_from_the_keyboard_drops_the_output), T(hostile_requests_are_refused),
         T(pairs_come_and_go_on_all_cpus))
