// Shows what is in a tar archive: `tarfs SERVICE ARCHIVE`, then `mount -t user SERVICE DIR`. Nothing is unpacked; a
// file's bytes are places in the archive.
#include "user/caps.h"
#include "user/tar.h"
#include "user/userfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static struct tar_tree tree;
static int archive;

static int tarfs_mount(void* fs, userfs_question q, struct userfs_attributes* root) {
    *root = tar_node_of(&tree, 1)->is;
    return 0;
}

static int tarfs_look_up(void* fs, userfs_question q, const char* name, struct userfs_attributes* out) {
    const uint64_t found = tar_find(&tree, q->node, name, strlen(name));
    if (found) *out = tar_node_of(&tree, found)->is;
    return found ? 0 : ENOENT;
}

// A name's place is its node's number.
static int tarfs_list(void* fs, userfs_question q, struct userfs_list* to) {
    for (uint64_t i = tar_node_of(&tree, q->node)->child; i; i = tar_node_of(&tree, i)->sibling)
        if (i > q->offset && !userfs_put(to, i, i, tar_node_of(&tree, i)->is.mode, tar_node_of(&tree, i)->name)) break;
    return 0;
}

static int tarfs_read(void* fs, userfs_question q, struct userfs_bytes* out) {
    const struct tar_node* n = tar_node_of(&tree, q->node);
    const uint64_t left = q->offset < n->is.size ? n->is.size - q->offset : 0;
    *out = (struct userfs_bytes){archive, n->at + q->offset, out->bytes < left ? out->bytes : left};
    return 0;
}

static int tarfs_read_link(void* fs, userfs_question q, const char** text) {
    *text = tar_node_of(&tree, q->node)->text;
    return *text ? 0 : EINVAL;
}

int main(int arguments, char** argument) {
    static const struct userfs_functions functions = {.mount = tarfs_mount,
                                                      .look_up = tarfs_look_up,
                                                      .list = tarfs_list,
                                                      .read = tarfs_read,
                                                      .read_link = tarfs_read_link};
    if (arguments != 3) return fprintf(stderr, "usage: tarfs SERVICE ARCHIVE\n"), 2;
    archive = open(argument[2], O_RDONLY);
    if (archive < 0 || (errno = tar_read(&tree, archive))) return perror(argument[2]), 1;
    if (tree.damaged)
        fprintf(stderr, "tarfs: damaged at byte %llu, from where nothing is shown\n", (long long)tree.damaged);
    if (tree.left_out) fprintf(stderr, "tarfs: %llu entries cannot be shown\n", (long long)tree.left_out);
    const int service = caps_service(argument[1], CAPS_USER);
    if (service < 0 || userfs_serve(service, &functions, NULL) < 0) return perror("tarfs"), 1;
    return 0;
}
