// The library of user/userfs.h: from messages to functions and back.
#include "user/userfs.h"

#include "user/caps.h"

#include <errno.h>
#include <stdlib.h>

enum { list_room = 32 << 10, names_room = 2 * 256 + 4096 };

struct turn {
    struct caps_message m;
    struct caps_sender sender;
    struct caps_item items[CAPS_MOST_ITEMS];
    struct userfs_request q;
    char names[names_room]; // both, each with a zero behind it
    const char *name, *second;
    char list[list_room];
};

int userfs_put(struct userfs_list* to, uint64_t next, uint64_t node, uint32_t mode, const char* name) {
    const struct userfs_entry entry = {next, node, mode, strlen(name)};
    const size_t bytes = (sizeof entry + entry.text_bytes + 7) & ~(size_t)7;
    if (to->room - to->used < bytes) return 0;
    memset(to->to + to->used, 0, bytes);
    memcpy(to->to + to->used, &entry, sizeof entry);
    memcpy(to->to + to->used + sizeof entry, name, entry.text_bytes);
    to->used += bytes;
    return 1;
}

// The request and its names, with which nothing is taken for granted.
static int read_request(struct turn* t) {
    if (t->m.text_bytes < sizeof t->q) return EPROTO;
    memcpy(&t->q, t->m.text, sizeof t->q);
    if (t->q.version != USERFS_VERSION) return EPROTO;
    const size_t first = t->q.text_bytes[0], second = t->q.text_bytes[1];
    if (first + second + 2 > names_room) return EPROTO;
    char both[names_room];
    if (sizeof t->q + first + second <= t->m.text_bytes) {
        memcpy(both, t->m.text + sizeof t->q, first + second);
    } else {
        const int fd = t->m.item_count ? t->items[t->m.item_count - 1].fd : -1;
        if (pread(fd, both, first + second, 0) != (ssize_t)(first + second)) return EPROTO;
    }
    memcpy(t->names, both, first);
    t->names[first] = 0;
    memcpy(t->names + first + 1, both + first, second);
    t->names[first + 1 + second] = 0;
    t->name = t->names;
    t->second = t->names + first + 1;
    return 0;
}

// What the answer consists of: text that fits, or one item.
static void say(struct turn* t, const void* text, size_t bytes) {
    if (bytes <= CAPS_MOST_TEXT) {
        memcpy(t->m.text, text, bytes);
        t->m.text_bytes = bytes;
        return;
    }
    t->items[0] = (struct caps_item){.kind = CAPS_MEMORY, .at = (uint64_t)text, .bytes = bytes, .fills = CAPS_NOTHING};
    t->m.item_count = 1;
}

#define ANSWER(function, ...) (f->function ? f->function(fs, &t->q __VA_OPT__(, ) __VA_ARGS__) : ENOSYS)

static int answer(struct turn* t, const struct userfs_functions* f, void* fs, int payload) {
    struct userfs_attributes attributes = {0};
    struct userfs_state state = {0};
    struct userfs_list list = {t->list, 0, t->q.bytes < list_room ? t->q.bytes : list_room};
    struct userfs_bytes bytes = {-1, 0, t->q.bytes};
    const char* text = "";
    int failed;
    switch (t->q.operation) {
    case USERFS_MOUNT:
        if (!(failed = ANSWER(mount, &attributes))) say(t, &attributes, sizeof attributes);
        return failed;
    case USERFS_UNMOUNT: return 0;
    case USERFS_LOOK_UP:
        if (!(failed = ANSWER(look_up, t->name, &attributes))) say(t, &attributes, sizeof attributes);
        return failed;
    case USERFS_FORGET: return f->forget ? f->forget(fs, &t->q) : 0;
    case USERFS_LIST:
        if (!(failed = ANSWER(list, &list))) say(t, t->list, list.used);
        return failed;
    case USERFS_READ:
        if ((failed = ANSWER(read, &bytes)) || !bytes.bytes) return failed;
        t->items[0] = (struct caps_item){.kind = bytes.fd < 0 ? CAPS_MEMORY : CAPS_DESCRIPTOR,
                                         .fd = bytes.fd,
                                         .at = bytes.at,
                                         .bytes = bytes.bytes,
                                         .fills = CAPS_NOTHING};
        t->m.item_count = 1;
        return 0;
    case USERFS_WRITE: return payload < 0 ? EPROTO : ANSWER(write, payload);
    case USERFS_MAKE:
        if (!(failed = ANSWER(make, t->name, t->second, &attributes))) say(t, &attributes, sizeof attributes);
        return failed;
    case USERFS_LINK: return ANSWER(link, t->name);
    case USERFS_REMOVE: return ANSWER(remove, t->name);
    case USERFS_RENAME: return ANSWER(rename, t->name, t->second);
    case USERFS_CHANGE: return ANSWER(change);
    case USERFS_READ_LINK:
        if (!(failed = ANSWER(read_link, &text))) say(t, text, strlen(text));
        return failed;
    case USERFS_STATE:
        if (!(failed = ANSWER(state, &state))) say(t, &state, sizeof state);
        return failed;
    case USERFS_SYNC: return f->sync ? f->sync(fs, &t->q) : 0;
    default: return ENOSYS;
    }
}

// What came cannot be received, for want of descriptors or memory: it is got as mappings, of which there are more, and
// refused. 0: it is not there any more.
static int refuse(int service, struct turn* t) {
    t->m.item_room = CAPS_MOST_ITEMS;
    if (caps_get(service, &t->m, CAPS_MAP | CAPS_DONTWAIT) < 0) return errno == EAGAIN ? 0 : -1;
    for (unsigned i = 0; i < t->m.item_count; i++)
        caps_unmap(&t->items[i]);
    t->m.text_bytes = t->m.item_count = 0;
    t->m.result = ENOMEM;
    return t->m.kind == CAPS_REQUEST ? caps_reply(service, &t->m, 0) : 0;
}

static int serve(int service, const struct userfs_functions* functions, void* fs, struct turn* t) {
    t->m = (struct caps_message){.items = t->items, .sender = &t->sender}; // id 0: nothing to reply to yet
    for (;;) {
        t->m.item_room = CAPS_MOST_ITEMS;
        if (caps_reply_wait(service, &t->m, &t->m, 0) < 0) {
            const int is_full = errno == EMFILE || errno == ENOMEM;
            if (!t->m.id && is_full && (refuse(service, t) == 0 || errno == ECANCELED)) {
                t->m.id = 0;
                continue;
            }
            if (!t->m.id || errno == EINTR) return -1;
            // An answer that the kernel does not take is the function's fault, and of this question only.
            t->m.result = EIO;
            t->m.text_bytes = t->m.item_count = 0;
            (void)caps_reply(service, &t->m, 0);
            t->m.id = 0;
            continue;
        }
        if (t->m.kind != CAPS_REQUEST) { // one that the kernel wants no answer to any more; it gets one
            t->m.id = 0;
            t->m.text_bytes = t->m.item_count = 0;
            continue;
        }
        int came[CAPS_MOST_ITEMS];
        const unsigned count = t->m.item_count;
        for (unsigned i = 0; i < count; i++)
            came[i] = t->items[i].fd;
        int failed = t->sender.pid ? EPERM : read_request(t); // only the kernel is told of files
        t->m.text_bytes = t->m.item_count = 0;
        if (!failed) failed = answer(t, functions, fs, count ? came[0] : -1);
        t->m.result = failed;
        for (unsigned i = 0; i < count; i++)
            close(came[i]);
        if (!failed && t->q.operation == USERFS_UNMOUNT) {
            if (functions->unmount) functions->unmount(fs);
            return caps_reply(service, &t->m, 0);
        }
    }
}

int userfs_serve(int service, const struct userfs_functions* functions, void* fs) {
    struct turn* t = malloc(sizeof *t);
    if (!t) return -1;
    const int outcome = serve(service, functions, fs, t);
    free(t);
    return outcome;
}
