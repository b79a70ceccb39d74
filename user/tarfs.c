// Shows what is in a tar archive: `tarfs SERVICE ARCHIVE`, then `mount -t user SERVICE DIR`. Nothing is unpacked; a
// file's bytes are places in the archive.
#include "user/caps.h"
#include "user/userfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct node {
    struct userfs_attributes is;
    char *name, *text;   // text: of a link
    uint64_t parent, at; // node number; where its bytes are
};
static struct node* nodes; // by number - 1; the first is the root
static uint64_t count;
static int archive;

// The node of a name in a directory; 0: none.
static uint64_t find(uint64_t dir, const char* name, size_t length) {
    for (uint64_t i = count; i > 1; i--) // what stands later in an archive counts
        if (nodes[i - 1].parent == dir && !strncmp(nodes[i - 1].name, name, length) && !nodes[i - 1].name[length])
            return i;
    return 0;
}

static uint64_t make(uint64_t dir, const char* name, size_t length, uint32_t mode) {
    if (!(count & (count + 1)) && !(nodes = realloc(nodes, (count + 1) * 2 * sizeof *nodes))) exit(1);
    struct node* n = &nodes[count++];
    *n = (struct node){.is = {.node = count, .mode = mode, .links = S_ISDIR(mode) ? 2 : 1},
                       .name = strndup(name, length),
                       .parent = dir};
    if (S_ISDIR(mode) && dir) nodes[dir - 1].is.links++;
    return count;
}

// The node at a path, made with its directories where they are not there yet. 0: the path is none.
static uint64_t at_path(const char* path, uint32_t mode) {
    uint64_t at = 1;
    while (*path) {
        const size_t length = strcspn(path, "/");
        const char* rest = path + length + strspn(path + length, "/");
        const int is_dots = !strncmp(path, "..", length) && length <= 2;
        if (length == 2 && is_dots) return 0;
        if (length && !is_dots) {
            const uint64_t there = find(at, path, length);
            if (there && *rest && !S_ISDIR(nodes[there - 1].is.mode)) return 0;
            at = there ? there : make(at, path, length, *rest ? S_IFDIR | 0755 : mode);
        }
        path = rest;
    }
    return at;
}

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], time[12], sum[8], type, link[100], magic[8], user[32], group[32];
    char major[8], minor[8], prefix[155], padding[12];
};

static uint64_t number(const char* digits, size_t bytes) {
    char text[16] = {0};
    memcpy(text, digits, bytes);
    return strtoull(text, NULL, 8);
}

static int read_archive(void) {
    struct header h;
    struct stat is;
    if (fstat(archive, &is) < 0) return errno;
    char path[4096] = {0}, link[4096] = {0};
    for (off_t at = 0; pread(archive, &h, sizeof h, at) == sizeof h && h.name[0];) {
        const uint64_t said = number(h.size, sizeof h.size), mode = number(h.mode, sizeof h.mode) & 07777;
        at += sizeof h;
        const uint64_t left = is.st_size > at ? is.st_size - at : 0, size = said < left ? said : left;
        if (h.type == 'L' || h.type == 'K') { // GNU: the next one's name or link is longer
            char* to = h.type == 'L' ? path : link;
            if (size >= sizeof path || pread(archive, to, size, at) != (ssize_t)size) return EINVAL;
            to[size] = 0;
        } else if (h.type != 'x' && h.type != 'g') {
            if (!*path) snprintf(path, sizeof path, "%.155s%s%.100s", h.prefix, *h.prefix ? "/" : "", h.name);
            if (!*link) snprintf(link, sizeof link, "%.100s", h.link);
            const uint32_t type = h.type == '5' ? S_IFDIR : h.type == '2' ? S_IFLNK : S_IFREG;
            const uint64_t target = h.type == '1' ? at_path(link, S_IFREG) : 0; // a hard link shows the same bytes
            const uint64_t found = at_path(path, type | mode);
            if (found > 1 && strchr("015"
                                    "2",
                                    h.type ? h.type : '0')) {
                struct node* n = &nodes[found - 1];
                n->is.mode = type | mode;
                n->is.uid = number(h.uid, sizeof h.uid);
                n->is.gid = number(h.gid, sizeof h.gid);
                n->is.modified_ns = n->is.changed_ns = n->is.accessed_ns = number(h.time, 12) * 1000000000;
                n->is.size = target ? nodes[target - 1].is.size : size;
                n->at = target ? nodes[target - 1].at : (uint64_t)at;
                n->text = type == S_IFLNK ? strdup(link) : NULL;
            }
            path[0] = link[0] = 0;
        }
        at += (size + 511) & ~(off_t)511;
    }
    return 0;
}

static int tarfs_mount(void* fs, userfs_question q, struct userfs_attributes* root) {
    *root = nodes[0].is;
    return 0;
}

static int tarfs_look_up(void* fs, userfs_question q, const char* name, struct userfs_attributes* out) {
    const uint64_t found = find(q->node, name, strlen(name));
    if (found) *out = nodes[found - 1].is;
    return found ? 0 : ENOENT;
}

static int tarfs_list(void* fs, userfs_question q, struct userfs_list* to) {
    for (uint64_t i = q->offset + 1; i <= count; i++) // a name's place is its node's number
        if (nodes[i - 1].parent == q->node && !userfs_put(to, i, i, nodes[i - 1].is.mode, nodes[i - 1].name)) break;
    return 0;
}

static int tarfs_read(void* fs, userfs_question q, struct userfs_bytes* out) {
    const struct node* n = &nodes[q->node - 1];
    const uint64_t left = q->offset < n->is.size ? n->is.size - q->offset : 0;
    *out = (struct userfs_bytes){archive, n->at + q->offset, out->bytes < left ? out->bytes : left};
    return 0;
}

static int tarfs_read_link(void* fs, userfs_question q, const char** text) {
    *text = nodes[q->node - 1].text;
    return *text ? 0 : EINVAL;
}

int main(int arguments, char** argument) {
    static const struct userfs_functions functions = {.mount = tarfs_mount,
                                                      .look_up = tarfs_look_up,
                                                      .list = tarfs_list,
                                                      .read = tarfs_read,
                                                      .read_link = tarfs_read_link};
    if (arguments != 3) return fprintf(stderr, "usage: tarfs SERVICE ARCHIVE\n"), 2;
    make(0, "", 0, S_IFDIR | 0755);
    if ((archive = open(argument[2], O_RDONLY)) < 0 || read_archive()) return perror(argument[2]), 1;
    const int service = caps_service(argument[1], CAPS_USER);
    if (service < 0 || userfs_serve(service, &functions, NULL) < 0) return perror("tarfs"), 1;
    return 0;
}
