// A file system in memory, as a program: `memfs SERVICE`. Each file's bytes are a memfd, whose pages go to the kernel's
// cache and come from there without being copied.
#define _GNU_SOURCE
#include "user/caps.h"
#include "user/userfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

struct name {
    struct name* next;
    struct node* node;
    uint64_t place;
    char text[256];
};
struct node { // the protocol's number of a node is its address
    struct userfs_attributes is;
    uint64_t answers, places; // the kernel's; the last one given to a name
    struct name* names;       // of a directory
    int fd;                   // of a file
    char* text;               // of a link
};

static struct node* node_of(uint64_t number) {
    return (struct node*)number;
}

// A file more would leave no descriptors for questions that bring items.
static int is_last_file(int fd) {
    struct rlimit most;
    return getrlimit(RLIMIT_NOFILE, &most) == 0 && (rlim_t)fd + 2 * CAPS_MOST_ITEMS >= most.rlim_cur;
}

static struct node* make_node(userfs_question q, uint32_t mode, const char* text) {
    struct node* n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->is = (struct userfs_attributes){
        (uint64_t)n, mode, S_ISDIR(mode) ? 2 : 1, q->uid, q->gid, 0, q->now_ns, q->now_ns, q->now_ns, q->device};
    n->fd = S_ISREG(mode) ? memfd_create("memfs", MFD_CLOEXEC) : -1;
    if (n->fd >= 0 && is_last_file(n->fd)) close(n->fd), n->fd = -1;
    n->text = S_ISLNK(mode) ? strdup(text) : NULL;
    n->is.size = n->text ? strlen(text) : 0;
    if ((S_ISREG(mode) && n->fd < 0) || (S_ISLNK(mode) && !n->text)) return free(n), NULL;
    return n;
}

// Without names and unknown to the kernel it goes.
static void let_go(struct node* n) {
    if (n->answers || n->is.links > (S_ISDIR(n->is.mode) ? 1 : 0)) return;
    if (n->fd >= 0) close(n->fd);
    free(n->text);
    free(n);
}

static struct name** find(uint64_t dir, const char* text) {
    struct name** at = &node_of(dir)->names;
    while (*at && strcmp((*at)->text, text))
        at = &(*at)->next;
    return at;
}

static int tell(struct node* n, struct userfs_attributes* out) {
    n->answers++;
    if (n->fd >= 0) n->is.size = lseek(n->fd, 0, SEEK_END);
    *out = n->is;
    return 0;
}

static int add(userfs_question q, uint64_t dir, const char* text, struct node* n) {
    struct name* made = calloc(1, sizeof *made);
    if (!made) return ENOSPC;
    made->node = n;
    made->place = ++node_of(dir)->places;
    strncpy(made->text, text, sizeof made->text - 1);
    struct name** end = &node_of(dir)->names; // places grow along the list
    while (*end)
        end = &(*end)->next;
    *end = made;
    if (S_ISDIR(n->is.mode)) node_of(dir)->is.links++;
    node_of(dir)->is.modified_ns = node_of(dir)->is.changed_ns = q->now_ns;
    return 0;
}

static struct node* take_out(userfs_question q, uint64_t dir, struct name** at) {
    struct name* old = *at;
    struct node* n = old->node;
    *at = old->next;
    free(old);
    if (S_ISDIR(n->is.mode)) node_of(dir)->is.links--;
    node_of(dir)->is.modified_ns = node_of(dir)->is.changed_ns = n->is.changed_ns = q->now_ns;
    return n;
}

static int memfs_mount(void* fs, userfs_question q, struct userfs_attributes* root) {
    return tell(fs, root);
}

static int memfs_look_up(void* fs, userfs_question q, const char* name, struct userfs_attributes* out) {
    struct name* there = *find(q->node, name);
    return there ? tell(there->node, out) : ENOENT;
}

static int memfs_forget(void* fs, userfs_question q) {
    node_of(q->node)->answers -= q->bytes;
    let_go(node_of(q->node));
    return 0;
}

static int memfs_list(void* fs, userfs_question q, struct userfs_list* to) {
    for (struct name* n = node_of(q->node)->names; n; n = n->next)
        if (n->place > q->offset && !userfs_put(to, n->place, n->node->is.node, n->node->is.mode, n->text)) break;
    return 0;
}

static int memfs_read(void* fs, userfs_question q, struct userfs_bytes* out) {
    const uint64_t end = lseek(node_of(q->node)->fd, 0, SEEK_END), left = q->offset < end ? end - q->offset : 0;
    *out = (struct userfs_bytes){node_of(q->node)->fd, q->offset, out->bytes < left ? out->bytes : left};
    return 0;
}

static int memfs_write(void* fs, userfs_question q, int fd) {
    struct node* n = node_of(q->node);
    off_t from = 0;
    if (lseek(n->fd, q->offset, SEEK_SET) < 0) return errno;
    while ((uint64_t)from < q->bytes)
        if (sendfile(n->fd, fd, &from, q->bytes - from) <= 0) return errno ? errno : EIO;
    n->is.modified_ns = n->is.changed_ns = q->now_ns;
    return 0;
}

static int memfs_make(void* fs, userfs_question q, const char* name, const char* text, struct userfs_attributes* out) {
    if (*find(q->node, name)) return EEXIST;
    struct node* n = make_node(q, q->mode, text);
    if (!n) return ENOSPC;
    const int failed = add(q, q->node, name, n);
    if (!failed) return tell(n, out);
    n->is.links = 0;
    return let_go(n), failed;
}

static int memfs_link(void* fs, userfs_question q, const char* name) {
    if (*find(q->node, name)) return EEXIST;
    const int failed = add(q, q->node, name, node_of(q->other));
    if (!failed) node_of(q->other)->is.links++;
    return failed;
}

static int memfs_remove(void* fs, userfs_question q, const char* name) {
    struct name** at = find(q->node, name);
    if (!*at) return ENOENT;
    if ((*at)->node->names) return ENOTEMPTY;
    struct node* n = take_out(q, q->node, at);
    n->is.links--;
    let_go(n);
    return 0;
}

static int memfs_rename(void* fs, userfs_question q, const char* name, const char* second) {
    struct name *old = *find(q->node, name), **target = find(q->other, second);
    if (!old) return ENOENT;
    if (q->what & USERFS_EXCHANGE) {
        if (!*target) return ENOENT;
        struct node *one = old->node, *other = (*target)->node;
        const int moves = !!S_ISDIR(one->is.mode) - !!S_ISDIR(other->is.mode);
        old->node = other;
        (*target)->node = one;
        node_of(q->node)->is.links -= moves;
        node_of(q->other)->is.links += moves;
        return 0;
    }
    if (*target && (*target)->node->names) return ENOTEMPTY;
    struct node* n = old->node;
    const int failed = add(q, q->other, second, n);
    if (failed) return failed;
    if (*(target = find(q->other, second)) && (*target)->node != n) { // it comes before the fresh one
        struct node* gone = take_out(q, q->other, target);
        gone->is.links--;
        let_go(gone);
    }
    take_out(q, q->node, find(q->node, name));
    return 0;
}

static int memfs_change(void* fs, userfs_question q) {
    struct node* n = node_of(q->node);
    if (q->what & USERFS_SET_SIZE && (n->fd < 0 || ftruncate(n->fd, q->bytes) < 0)) return EINVAL;
    if (q->what & USERFS_SET_MODE) n->is.mode = (n->is.mode & S_IFMT) | q->mode;
    if (q->what & USERFS_SET_OWNER && q->uid != USERFS_KEEP) n->is.uid = q->uid;
    if (q->what & USERFS_SET_OWNER && q->gid != USERFS_KEEP) n->is.gid = q->gid;
    if (q->what & USERFS_SET_ACCESSED) n->is.accessed_ns = q->accessed_ns;
    if (q->what & USERFS_SET_SIZE) n->is.modified_ns = q->now_ns;
    if (q->what & USERFS_SET_MODIFIED) n->is.modified_ns = q->modified_ns;
    n->is.changed_ns = q->now_ns;
    return 0;
}

static int memfs_read_link(void* fs, userfs_question q, const char** text) {
    *text = node_of(q->node)->text;
    return *text ? 0 : EINVAL;
}

int main(int arguments, char** argument) {
    static const struct userfs_functions functions = {
        .mount = memfs_mount,
        .look_up = memfs_look_up,
        .forget = memfs_forget,
        .list = memfs_list,
        .read = memfs_read,
        .write = memfs_write,
        .make = memfs_make,
        .link = memfs_link,
        .remove = memfs_remove,
        .rename = memfs_rename,
        .change = memfs_change,
        .read_link = memfs_read_link,
    };
    if (arguments != 2) return fprintf(stderr, "usage: memfs SERVICE\n"), 2;
    struct rlimit many = {1 << 16, 1 << 16}; // a descriptor a file
    if (setrlimit(RLIMIT_NOFILE, &many) < 0 && getrlimit(RLIMIT_NOFILE, &many) == 0) {
        many.rlim_cur = many.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &many);
    }
    struct node* root = make_node(&(struct userfs_request){0}, S_IFDIR | 01777, "");
    const int service = caps_service(argument[1], CAPS_USER);
    if (!root || service < 0 || userfs_serve(service, &functions, root) < 0) return perror("memfs"), 1;
    return 0;
}
