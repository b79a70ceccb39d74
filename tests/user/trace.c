// The kernel's list of events (/proc/trace), as a program sees it.
#include "tests/user/tap.h"
#include "user/caps.h"

static char text[4 << 20];

static int tell(const char* what) {
    const int fd = open("/proc/trace", O_WRONLY);
    if (fd < 0) return -1;
    const ssize_t done = write(fd, what, strlen(what));
    const int number = errno;
    close(fd);
    errno = number;
    return done < 0 ? -1 : 0;
}

static void read_all(void) {
    const int fd = open("/proc/trace", O_RDONLY);
    CHECK(fd >= 0);
    size_t have = 0;
    for (ssize_t got; (got = read(fd, text + have, sizeof text - 1 - have)) > 0; have += (size_t)got)
        ;
    text[have] = 0;
    close(fd);
}

static unsigned lines_with(const char* what) {
    unsigned count = 0;
    for (const char* at = text; (at = strstr(at, what)); at++)
        count++;
    return count;
}

static void a_message_between_processes_is_seen_from_put_to_reply(void) {
    if (access("/proc/trace", F_OK) < 0) tap_skip("this kernel keeps no such list");
    char name[32];
    snprintf(name, sizeof name, "trace.%d", getpid());
    const int service = caps_service(name, CAPS_USER);
    CHECK(service >= 0);
    const int client = caps_connect(name, 0, 0);
    CHECK(client >= 0);
    enum { some = 2 }; // pages, which are lent one by one
    char* memory = anonymous(some * page);
    memset(memory, 1, some * page);
    CHECK(tell("1\n") == 0);
    struct caps_item item = {.kind = CAPS_MEMORY, .fd = -1, .at = (uintptr_t)memory, .bytes = some * page};
    struct caps_message m = {.items = &item, .item_count = 1};
    CHECK(caps_put(client, &m, 0) == 0);
    memory[0] = 2; // while it is lent
    m = (struct caps_message){.items = &item, .item_room = 1};
    CHECK(caps_get(service, &m, 0) == 0 && m.item_count == 1);
    m.item_count = 0;
    CHECK(caps_reply(service, &m, 0) == 0);
    CHECK(tell("0") == 0);
    close(item.fd);
    read_all();
    char line[64];
    CHECK_EQ(lines_with(" put "), 1);
    CHECK_EQ(lines_with(" got "), 1);
    CHECK_EQ(lines_with(" reply "), 1);
    snprintf(line, sizeof line, " %#x %s\n", some * page, name);
    CHECK(strstr(text, line)); // of the put: so many bytes travelled
    CHECK(lines_with(" lent ") >= 1 && lines_with(" broken ") >= 1 && lines_with(" fault ") >= 1);
    CHECK(tell("clear") == 0);
    read_all();
    CHECK_EQ(text[0], 0);
}

static void only_its_owner_may(void) {
    if (access("/proc/trace", F_OK) < 0) tap_skip("this kernel keeps no such list");
    CHECK_ERROR(tell("2"), EINVAL);
    CHECK_ERROR(tell("nonsense"), EINVAL);
    if (getuid()) return;
    IN_CHILD(somebody) {
        CHECK(setuid(1000) == 0);
        CHECK_ERROR(open("/proc/trace", O_RDONLY), EACCES);
        CHECK_ERROR(tell("1"), EACCES);
    }
    CHECK_EQ(EXIT_STATUS(somebody), 0);
}

TAP_MAIN(T(a_message_between_processes_is_seen_from_put_to_reply), T(only_its_owner_may))
