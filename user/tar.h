// What is in a tar archive, as a tree of nodes: POSIX.1 (ustar and pax), GNU's and older ones. Nothing of an archive is
// taken for granted. Later entries of a name replace earlier ones, as if it were unpacked.
#pragma once

#include "user/userfs.h"

#include <stdint.h>

struct tar_node {
    struct userfs_attributes is;      // is.node: its number
    uint64_t parent, child, sibling;  // numbers; 0: none. Siblings are in the order of their numbers
    uint64_t last_child, next_of_sum; // for tar_read
    uint64_t at;                      // where a file's bytes are in the archive
    char* name;
    char* text; // of a link
};

struct tar_tree {
    struct tar_node* nodes; // by number - 1; the first is the root
    uint64_t count;
    uint64_t* sums;    // the first node of each sum of directory and name
    uint64_t room;     // of both, a power of two
    uint64_t left_out; // entries that cannot be shown: sparse files, names that are none, links to nothing
    uint64_t damaged;  // from this place on the archive is none, and not shown; 0: it is good
};

// 0; EINVAL: it is no archive; and other error numbers.
int tar_read(struct tar_tree* tree, int fd);

// The node of a name in a directory; 0: none.
uint64_t tar_find(const struct tar_tree* tree, uint64_t dir, const char* name, size_t length);

static inline struct tar_node* tar_node_of(const struct tar_tree* tree, uint64_t number) {
    return &tree->nodes[number - 1];
}
