#define _GNU_SOURCE // asprintf
#include "user/tar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { block = 512, longest_name = 255, longest_path = 4095, longest_extension = 1 << 20 };

struct header { // POSIX.1-2017, pax, "ustar Interchange Format"
    char name[100], mode[8], uid[8], gid[8], size[12], time[12], sum[8], type, link[100], magic[6], version[2];
    char user[32], group[32], major[8], minor[8], prefix[155], padding[12];
};
_Static_assert(sizeof(struct header) == block, "a block");

// An entry: its header, and what headers before it say in its place.
struct entry {
    struct header h;
    char *path, *link; // on the heap; NULL: not said
    uint64_t size, uid, gid, time_ns;
    int has_size, has_uid, has_gid, has_time, is_left_out;
};

// --- The tree

static uint64_t sum_of(uint64_t dir, const char* name, size_t length) {
    uint64_t sum = dir * 0x9e3779b97f4a7c15;
    while (length--)
        sum = (sum ^ (unsigned char)*name++) * 0x100000001b3;
    return sum ^ sum >> 32;
}

uint64_t tar_find(const struct tar_tree* tree, uint64_t dir, const char* name, size_t length) {
    uint64_t at = tree->sums[sum_of(dir, name, length) & (tree->room - 1)];
    for (; at; at = tar_node_of(tree, at)->next_of_sum) {
        const struct tar_node* n = tar_node_of(tree, at);
        if (n->parent == dir && !strncmp(n->name, name, length) && !n->name[length]) break;
    }
    return at;
}

static void enter_sum(struct tar_tree* tree, struct tar_node* n) {
    uint64_t* first = &tree->sums[sum_of(n->parent, n->name, strlen(n->name)) & (tree->room - 1)];
    n->next_of_sum = *first;
    *first = n->is.node;
}

static int make_room(struct tar_tree* tree) {
    if (tree->count < tree->room) return 1;
    const uint64_t room = tree->room ? 2 * tree->room : 64;
    void* nodes = realloc(tree->nodes, room * sizeof *tree->nodes);
    if (nodes) tree->nodes = nodes;
    uint64_t* sums = calloc(room, sizeof *sums);
    if (!nodes || !sums) return free(sums), 0;
    free(tree->sums);
    tree->sums = sums;
    tree->room = room;
    for (uint64_t i = 1; i <= tree->count; i++)
        enter_sum(tree, tar_node_of(tree, i));
    return 1;
}

static void set_mode(struct tar_tree* tree, struct tar_node* n, uint32_t mode) {
    const int was = S_ISDIR(n->is.mode), is = S_ISDIR(mode);
    n->is.mode = mode;
    if (is != was || !is) n->is.links = is ? 2 : 1;
    if (n->parent) tar_node_of(tree, n->parent)->is.links += is - was;
}

// 0: no memory.
static uint64_t make(struct tar_tree* tree, uint64_t dir, const char* name, size_t length, uint32_t mode) {
    char* copy = strndup(name, length);
    if (!copy || !make_room(tree)) return free(copy), 0;
    const uint64_t number = ++tree->count;
    struct tar_node* n = tar_node_of(tree, number);
    *n = (struct tar_node){.is = {.node = number}, .parent = dir, .name = copy};
    set_mode(tree, n, mode);
    enter_sum(tree, n);
    if (!dir) return number;
    struct tar_node* in = tar_node_of(tree, dir);
    *(in->last_child ? &tar_node_of(tree, in->last_child)->sibling : &in->child) = number;
    return in->last_child = number;
}

enum { only_look = 0 };

// The node at a path, made with its directories where they are not there yet unless one only looks. 0: there is none,
// the path is none, or (ENOMEM) there is no memory.
static uint64_t at_path(struct tar_tree* tree, const char* path, uint32_t mode) {
    uint64_t at = 1;
    for (const char* rest; *path; path = rest) {
        const size_t length = strcspn(path, "/");
        rest = path + length + strspn(path + length, "/");
        const int dots = length <= 2 && !strncmp(path, "..", length);
        if (length > longest_name || (dots && length == 2)) return 0;
        if (dots) continue; // also what begins with a slash
        uint64_t there = tar_find(tree, at, path, length);
        if (there && *rest && !S_ISDIR(tar_node_of(tree, there)->is.mode)) return 0;
        if (!there && mode) there = make(tree, at, path, length, *rest ? S_IFDIR | 0755 : mode);
        if (!there) return 0;
        at = there;
    }
    return at;
}

// --- Numbers

static uint64_t times(uint64_t seconds, uint64_t scale) {
    uint64_t out;
    return __builtin_mul_overflow(seconds, scale, &out) ? UINT64_MAX : out;
}

// Octal digits, or GNU's base 256 with the first bit set; what is negative is 0.
static uint64_t number(const char* field, size_t bytes) {
    const unsigned char* at = (const unsigned char*)field;
    if (!(*at & 0x80)) {
        char text[16] = {0};
        memcpy(text, field, bytes);
        return strtoull(text, NULL, 8);
    }
    if (*at & 0x40) return 0;
    uint64_t value = *at & 0x3f;
    while (--bytes)
        value = value >> 56 ? UINT64_MAX : value << 8 | *++at;
    return value;
}
#define NUMBER(field) number(field, sizeof(field))

static int is_good(const struct header* h) {
    uint64_t sum = 0, signed_sum = 0; // as some have it
    for (size_t i = 0; i < sizeof *h; i++) {
        const char byte = i - offsetof(struct header, sum) < sizeof h->sum ? ' ' : ((const char*)h)[i];
        sum += (unsigned char)byte;
        signed_sum += (signed char)byte;
    }
    return NUMBER(h->sum) == sum || NUMBER(h->sum) == signed_sum;
}

static int is_zero(const struct header* h) {
    static const struct header zero;
    return !memcmp(h, &zero, sizeof zero);
}

// --- Headers before headers

static int read_all(int fd, void* to, uint64_t bytes, uint64_t at) {
    errno = EINVAL; // it ends before
    return pread(fd, to, bytes, at) == (ssize_t)bytes ? 0 : errno;
}

static void replace(char** old, char* by) {
    free(*old);
    *old = by;
}

static uint64_t nanoseconds(const char* decimal) {
    char* rest;
    const uint64_t whole = *decimal == '-' ? 0 : strtoull(decimal, &rest, 10);
    if (*decimal == '-') return 0;
    uint64_t part = 0, digit = 100000000;
    if (*rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, digit /= 10)
            part += digit * (*rest - '0');
    const uint64_t sum = times(whole, 1000000000);
    return sum > UINT64_MAX - part ? UINT64_MAX : sum + part;
}

// Records "LENGTH KEY=VALUE\n". What makes no sense ends them.
static void read_pax(struct entry* e, char* text, uint64_t bytes) {
    while (bytes) {
        char* key;
        const uint64_t length = strtoull(text, &key, 10); // there is a zero behind all of it
        if (length > bytes || *key != ' ' || key + 1 >= text + length || text[length - 1] != '\n') return;
        text[length - 1] = 0;
        char* value = strchr(++key, '=');
        if (!value) return;
        *value++ = 0;
        if (!strcmp(key, "path")) replace(&e->path, strdup(value));
        if (!strcmp(key, "linkpath")) replace(&e->link, strdup(value));
        if (!strcmp(key, "size")) e->size = strtoull(value, NULL, 10), e->has_size = 1;
        if (!strcmp(key, "uid")) e->uid = strtoull(value, NULL, 10), e->has_uid = 1;
        if (!strcmp(key, "gid")) e->gid = strtoull(value, NULL, 10), e->has_gid = 1;
        if (!strcmp(key, "mtime")) e->time_ns = nanoseconds(value), e->has_time = 1;
        e->is_left_out |= !strncmp(key, "GNU.sparse.", 11);
        text += length;
        bytes -= length;
    }
}

// Of a name or pax header: what it says of the next entry.
static int read_extension(struct entry* e, int fd, uint64_t at, uint64_t bytes) {
    if (bytes > longest_extension) return e->is_left_out = 1, 0;
    char* text = malloc(bytes + 1);
    if (!text) return ENOMEM;
    const int failed = bytes ? read_all(fd, text, bytes, at) : 0;
    if (failed) return free(text), failed;
    text[bytes] = 0;
    switch (e->h.type) {
    case 'L': replace(&e->path, text); return 0;
    case 'K': replace(&e->link, text); return 0;
    default: read_pax(e, text, bytes);
    }
    free(text);
    return 0;
}

// --- Entries

static uint32_t type_of(const struct header* h) {
    switch (h->type) {
    case 0:
    case '0':
    case '1':
    case '7': return S_IFREG;
    case '2': return S_IFLNK;
    case '3': return S_IFCHR;
    case '4': return S_IFBLK;
    case '5':
    case 'D': return S_IFDIR; // GNU: with a list of what was in it
    case '6': return S_IFIFO;
    default: return 0;
    }
}

// The header's own name and link, unless they were said.
static int complete(struct entry* e) {
    const struct header* h = &e->h;
    const int has_prefix = !memcmp(h->magic, "ustar", 6) && *h->prefix;
    if (!e->path &&
        asprintf(&e->path, "%.155s%s%.100s", has_prefix ? h->prefix : "", has_prefix ? "/" : "", h->name) < 0)
        e->path = NULL;
    if (!e->link) e->link = strndup(h->link, sizeof h->link);
    if (!e->has_uid) e->uid = NUMBER(h->uid);
    if (!e->has_gid) e->gid = NUMBER(h->gid);
    if (!e->has_time) e->time_ns = times(NUMBER(h->time), 1000000000);
    return e->path && e->link ? 0 : ENOMEM;
}

static int add(struct tar_tree* tree, struct entry* e, uint64_t at, uint64_t size) {
    const int failed = complete(e);
    if (failed) return failed;
    uint32_t type = type_of(&e->h);
    // A hard link shows the same; only what is there already has bytes.
    const uint64_t target = e->h.type == '1' ? at_path(tree, e->link, only_look) : 0;
    if (target) type = tar_node_of(tree, target)->is.mode & S_IFMT;
    if (!type || e->is_left_out || (e->h.type == '1' && (!target || type == S_IFDIR))) return tree->left_out++, 0;
    // Old archives have directories as files whose name ends with a slash.
    const size_t length = strlen(e->path);
    if (length > longest_path) return tree->left_out++, 0;
    if (type == S_IFREG && !target && length && e->path[length - 1] == '/') type = S_IFDIR;
    errno = 0;
    const uint64_t found = at_path(tree, e->path, type | 0600);
    if (!found) return errno == ENOMEM ? ENOMEM : (tree->left_out++, 0);
    if (found == 1 && type != S_IFDIR) return tree->left_out++, 0;
    char* text = type == S_IFLNK ? strdup(target ? tar_node_of(tree, target)->text : e->link) : NULL;
    if (type == S_IFLNK && !text) return ENOMEM;
    struct tar_node* n = tar_node_of(tree, found);
    const struct tar_node* same = target ? tar_node_of(tree, target) : NULL;
    replace(&n->text, text);
    set_mode(tree, n, type | (NUMBER(e->h.mode) & 07777));
    n->is.uid = e->uid;
    n->is.gid = e->gid;
    n->is.modified_ns = n->is.changed_ns = n->is.accessed_ns = e->time_ns;
    n->is.device = same ? same->is.device : makedev(NUMBER(e->h.major), NUMBER(e->h.minor));
    n->is.size = same ? same->is.size : type == S_IFREG ? size : text ? strlen(text) : 0;
    n->at = same ? same->at : at;
    return 0;
}

// GNU's old sparse files have more headers behind the first, each of which says whether another one follows.
static void skip_sparse_headers(struct entry* e, int fd, uint64_t* at) {
    e->is_left_out = 1;
    char map[block];
    for (char more = ((char*)&e->h)[482]; more && !read_all(fd, map, block, *at); *at += block)
        more = map[504];
}

static void forget(struct entry* e) {
    free(e->path);
    free(e->link);
    *e = (struct entry){0};
}

// One entry, or one header before it. Sets the place behind it; 0 for the end.
static int read_next(struct tar_tree* tree, struct entry* e, int fd, uint64_t* at, uint64_t end) {
    const uint64_t place = *at;
    *at = 0;
    if (end - place < block) return 0;
    int failed = read_all(fd, &e->h, block, place);
    if (failed || is_zero(&e->h)) return failed;
    if (!is_good(&e->h)) return tree->damaged = place, place ? 0 : EINVAL;
    uint64_t begin = place + block;
    const int type = e->h.type, is_before = type && strchr("LKxg", type), has_bytes = !type || !strchr("123456", type);
    if (type == 'S') skip_sparse_headers(e, fd, &begin);
    const uint64_t said = !has_bytes ? 0 : e->has_size && !is_before ? e->size : NUMBER(e->h.size);
    const uint64_t left = end > begin ? end - begin : 0, size = said < left ? said : left;
    if (!is_before)
        failed = add(tree, e, begin, size);
    else if (type != 'g')
        failed = read_extension(e, fd, begin, size);
    if (!is_before) forget(e);
    const uint64_t next = begin + ((size + block - 1) & ~(uint64_t)(block - 1));
    if (next < end) *at = next;
    return failed;
}

int tar_read(struct tar_tree* tree, int fd) {
    struct stat is;
    if (fstat(fd, &is) < 0) return errno;
    *tree = (struct tar_tree){0};
    if (!make(tree, 0, "", 0, S_IFDIR | 0755)) return ENOMEM;
    if (is.st_size < block) return EINVAL;
    struct entry e = {0};
    int failed = 0;
    uint64_t at = 0;
    do
        failed = read_next(tree, &e, fd, &at, is.st_size);
    while (!failed && at);
    forget(&e);
    return failed;
}
