// An example of CAPS: a service that counts the lines of what it is sent, and a client that sends it files. However
// long a file is, none of its bytes are copied on the way: the server sees the file's own pages.
//
//     caps-count serve &
//     caps-count FILE...
#include "user/caps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char name[] = "example.count";

static int complain(const char* what) {
    fprintf(stderr, "caps-count: %s: %s\n", what, strerror(errno));
    return 1;
}

static uint64_t lines_in(const struct caps_item* item) {
    uint64_t lines = 0;
    const char *at = (const char*)item->at, *end = at + item->bytes;
    while ((at = memchr(at, '\n', end - at)))
        lines++, at++;
    return lines;
}

static int serve(void) {
    struct caps_item items[CAPS_MOST_ITEMS];
    struct caps_message m = {.items = items, .item_room = CAPS_MOST_ITEMS}; // id 0: nothing to reply to yet
    const int service = caps_service(name, CAPS_WORLD);
    if (service < 0) return complain(name);
    for (;;) {
        if (caps_reply_wait(service, &m, &m, CAPS_MAP) < 0) return complain("caps_reply_wait");
        if (m.kind != CAPS_REQUEST) { // a client that went away; there is nothing to be done about it here
            m.id = 0;
            continue;
        }
        uint64_t lines = 0;
        for (uint32_t i = 0; i < m.item_count; i++) {
            if (items[i].kind == CAPS_MAPPED) {
                lines += lines_in(&items[i]);
                caps_unmap(&items[i]);
            } else {
                close(items[i].fd); // room or shared memory: not asked for
            }
        }
        memcpy(m.text, &lines, sizeof lines);
        m.text_bytes = sizeof lines;
        m.item_count = 0;
        m.result = 0;
    }
}

static int count(int client, const char* path) {
    struct stat s;
    const int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &s) < 0) return complain(path);
    struct caps_item item = {.kind = CAPS_DESCRIPTOR, .fd = file, .bytes = s.st_size, .fills = CAPS_NOTHING};
    struct caps_message m = {.items = &item, .item_count = s.st_size != 0};
    if (caps_call(client, &m, &m, 0) < 0) return complain(path);
    uint64_t lines;
    memcpy(&lines, m.text, sizeof lines);
    printf("%7llu %s\n", (unsigned long long)lines, path);
    return close(file);
}

int main(int arguments, char** argument) {
    if (arguments == 2 && !strcmp(argument[1], "serve")) return serve();
    if (arguments < 2) {
        fprintf(stderr, "usage: caps-count serve | caps-count FILE...\n");
        return 2;
    }
    const int client = caps_connect(name, CAPS_WAIT, 10000000000);
    if (client < 0) return complain(name);
    int failed = 0;
    for (int i = 1; i < arguments; i++)
        failed |= count(client, argument[i]);
    return failed;
}
