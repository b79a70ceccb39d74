// What user/tar.c reads from archives that are odd, old, damaged or made to mislead.
#include "user/tar.h"
#include "tests/user/tap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { block = 512 };

static int archive;
static struct tar_tree tree;

static void begin(void) {
    archive = memfd_create("archive", MFD_CLOEXEC);
    CHECK(archive >= 0);
}

static void put_block(const void* bytes, size_t count) {
    char padded[block] = {0};
    memcpy(padded, bytes, count);
    CHECK_EQ(write(archive, padded, block), block);
}

static void put_bytes(const char* bytes, size_t count) {
    for (; count > block; bytes += block, count -= block)
        put_block(bytes, block);
    if (count) put_block(bytes, count);
}

static void seal(char* header) {
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < block; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
}

// A header in POSIX's format; `link` and what stands in `size` as they are.
static char* header_of(const char* path, char type, const char* link, size_t size) {
    static char h[block];
    memset(h, 0, sizeof h);
    strncpy(h, path, 100);
    memcpy(h + 100, "0000640", 8);
    memcpy(h + 108, "0000007", 8);
    memcpy(h + 116, "0000010", 8);
    snprintf(h + 124, 12, "%011o", (unsigned)size);
    memcpy(h + 136, "00000001750", 12);
    h[156] = type;
    strncpy(h + 157, link, 100);
    memcpy(h + 257, "ustar\00000", 8);
    seal(h);
    return h;
}

static void put(const char* path, char type, const char* link, const char* bytes) {
    put_block(header_of(path, type, link, strlen(bytes)), block);
    put_bytes(bytes, strlen(bytes));
}

static void read_it(void) {
    CHECK_EQ(tar_read(&tree, archive), 0);
}

static const struct tar_node* node(const char* path) {
    uint64_t at = 1;
    for (const char* rest = path; at && *rest; rest += *rest == '/') {
        const size_t length = strcspn(rest, "/");
        at = tar_find(&tree, at, rest, length);
        rest += length;
    }
    return at ? tar_node_of(&tree, at) : NULL;
}

static int holds(const char* path, const char* bytes) {
    const struct tar_node* n = node(path);
    char got[4096];
    const size_t count = strlen(bytes);
    return n && S_ISREG(n->is.mode) && n->is.size == count && pread(archive, got, count, n->at) == (ssize_t)count &&
           !memcmp(got, bytes, count);
}

static void every_type_is_shown(void) {
    begin();
    put("./", '5', "", "");
    put("dir", '5', "", "");
    put("dir/file", '0', "", "hello");
    put("dir/old", 0, "", "old");
    put("dir/hard", '1', "dir/file", "");
    put("dir/soft", '2', "file", "");
    put("dir/hard-to-soft", '1', "dir/soft", "");
    char* h = header_of("console", '3', "", 0);
    memcpy(h + 329, "0000005", 8);
    memcpy(h + 337, "0000001", 8);
    seal(h);
    put_block(h, block);
    put("fifo", '6', "", "");
    put("made/on/the/way", '0', "", "deep");
    put("old-directory/", 0, "", "");
    read_it();
    CHECK(tree.left_out == 0 && tree.damaged == 0);
    CHECK_EQ(node("")->is.mode, S_IFDIR | 0640); // its own entry is taken seriously
    CHECK_EQ(node("")->is.uid, 7);
    CHECK(holds("dir/file", "hello") && holds("dir/hard", "hello") && holds("dir/old", "old"));
    CHECK(holds("made/on/the/way", "deep") && S_ISDIR(node("old-directory")->is.mode));
    CHECK(S_ISLNK(node("dir/soft")->is.mode) && !strcmp(node("dir/soft")->text, "file"));
    CHECK(S_ISLNK(node("dir/hard-to-soft")->is.mode) && !strcmp(node("dir/hard-to-soft")->text, "file"));
    CHECK(S_ISCHR(node("console")->is.mode) && node("console")->is.device == makedev(5, 1));
    CHECK(S_ISFIFO(node("fifo")->is.mode));
    CHECK_EQ(node("dir")->is.modified_ns, 1000000000000);
    CHECK_EQ(node("")->is.links, 2 + 3); // dir, made, old-directory
}

static void long_names_come_in_headers_of_their_own(void) {
    begin();
    char one[300] = "d/", two[300] = "d/";
    memset(one + 2, 'x', 150);
    memset(two + 2, 'x', 150);
    strcpy(one + 152, "-one");
    strcpy(two + 152, "-two");
    put("ignored", 'L', "", one); // GNU's
    put("cut", '0', "", "1");
    char record[400];
    snprintf(record, sizeof record, "%d path=%s\n30 mtime=1000000000.250000000\n14 uid=300000\n", 3 + 1 + 5 + 156 + 1,
             two);
    put("ignored", 'x', "", record); // pax
    put("cut", '0', "", "22");
    put("ignored", 'K', "", one);
    put("link", '2', "cut", "");
    put("plain", '0', "", "of itself again");
    read_it();
    CHECK_EQ(tree.left_out, 0);
    CHECK(holds(one, "1") && holds(two, "22") && holds("plain", "of itself again"));
    CHECK(!node("cut") && !node("ignored"));
    CHECK_EQ(node(two)->is.modified_ns, 1000000000250000000);
    CHECK_EQ(node(two)->is.uid, 300000);
    CHECK(!strcmp(node("link")->text, one) && node("plain")->is.uid == 7);
}

static void big_numbers_are_read(void) {
    begin();
    // A length in base 256, and one that only pax tells: what the file holds is no header.
    for (int turn = 0; turn < 2; turn++) {
        if (turn) put("x", 'x', "", "12 size=512\n");
        char* h = header_of(turn ? "second" : "first", '0', "", 0);
        if (!turn) memcpy(h + 124, "\x80\0\0\0\0\0\0\0\0\0\2\0", 12);
        memcpy(h + 108, "\x80\0\0\0\0\x2d\xc6\xc0", 8);
        seal(h);
        put_block(h, block);
        put_block(header_of("hidden", '0', "", 0), block);
    }
    char* h = header_of("early", '0', "", 0);
    memset(h + 136, 0xff, 12); // before 1970
    memset(h + 124, 0xff, 12);
    h[124] = 0x80; // longer than anything
    seal(h);
    put_block(h, block);
    put_bytes("rest", 4);
    read_it();
    CHECK(!node("hidden") && tree.count == 4);
    CHECK(node("first")->is.size == 512 && node("second")->is.size == 512 && node("first")->is.uid == 3000000);
    CHECK(node("early")->is.size == 512 && node("early")->is.modified_ns == 0);
}

static void what_cannot_be_shown_is_left_out(void) {
    begin();
    put("../outside", '0', "", "no");
    put("in/../../outside", '0', "", "no");
    put("to-nothing", '1', "missing/target", "");
    put("dir", '5', "", "");
    put("to-directory", '1', "dir", "");
    put("volume", 'V', "", "");
    put("of/dir", '0', "", "a file");
    put("of/dir/below", '0', "", "no");
    char name[300] = {0};
    memset(name, 'n', 256);
    put("x", 'L', "", name);
    put("cut", '0', "", "no");
    char* h = header_of("sparse", 'S', "", 5);
    h[482] = 1; // one more header
    seal(h);
    put_block(h, block);
    put_block("map", 3);
    put_bytes("parts", 5);
    put("x", 'x', "", "22 GNU.sparse.major=1\n");
    put("sparse-too", '0', "", "parts");
    put("/after", '0', "", "here");
    read_it();
    CHECK_EQ(tree.left_out, 9);
    CHECK(holds("after", "here") && holds("of/dir", "a file"));
    CHECK(!node("outside") && !node("missing") && !node("to-nothing") && !node("to-directory") && !node("sparse"));
    CHECK_EQ(tree.count, 1 + 5); // in, dir, of, of/dir, after
}

static void later_entries_count(void) {
    begin();
    put("f", '0', "", "first");
    put("same", '1', "f", "");
    put("f", '0', "", "second");
    put("was-directory", '5', "", "");
    put("was-directory/in", '0', "", "x");
    put("was-directory", '0', "", "a file");
    read_it();
    CHECK(holds("f", "second") && holds("same", "first") && holds("was-directory", "a file"));
    CHECK_EQ(node("")->is.links, 2);
}

static void what_is_no_archive_is_refused(void) {
    begin();
    CHECK_EQ(tar_read(&tree, archive), EINVAL); // empty
    put_block("\x1f\x8b\x08", 3);
    CHECK_EQ(tar_read(&tree, archive), EINVAL);
    begin();
    put("good", '0', "", "good");
    char* h = header_of("bad", '0', "", 0);
    h[0] = 'B';
    put_block(h, block);
    put("behind", '0', "", "x");
    read_it();
    CHECK(holds("good", "good") && tree.count == 2);
    CHECK_EQ(tree.damaged, 1024);
}

static void one_bad_entry_takes_no_other_with_it(void) {
    begin();
    put("good", '0', "", "good");
    static char text[2 << 20];
    memset(text, 'n', sizeof text);
    put_block(header_of("x", 'L', "", sizeof text), block); // a name of two mebibytes
    put_bytes(text, sizeof text);
    put("cut", '0', "", "no");
    for (size_t i = 1; i < 6000; i += 2)
        text[i] = '/';
    put_block(header_of("x", 'L', "", 6000), block); // of three thousand directories
    put_bytes(text, 6000);
    put("cut", '0', "", "no");
    char* h = header_of("caf\xe9", '0', "", 0); // whose sum some compute with signs
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < block; i++)
        sum += (signed char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    put_block(h, block);
    h = header_of("sparse", 'S', "", 5);
    h[482] = 1; // one more header, which is not there
    seal(h);
    put_block(h, block);
    read_it();
    CHECK(holds("good", "good") && node("caf\xe9") && tree.count == 3);
    CHECK_EQ(tree.left_out, 3);
}

static void many_names_are_found(void) {
    begin();
    enum { directories = 400, files = 50 };
    for (int d = 0; d < directories; d++)
        for (int f = 0; f < files; f++) {
            char path[40];
            snprintf(path, sizeof path, "directory-%d/file-%d", d, f);
            put_block(header_of(path, '0', "", 0), block);
        }
    read_it();
    CHECK_EQ(tree.count, 1 + directories + directories * files);
    CHECK(node("directory-399/file-49") && !node("directory-399/file-50"));
    unsigned listed = 0;
    for (uint64_t i = node("directory-7")->child; i; i = tar_node_of(&tree, i)->sibling)
        listed++;
    CHECK_EQ(listed, files);
}

// Whatever is changed in an archive, its bytes and its tree can be gone through.
static void damage_does_no_harm(void) {
    enum { blocks = 11 };
    unsigned state = 1;
    for (int round = 0; round < 200; round++) {
        begin();
        put("dir/", '5', "", "");
        put("x", 'L', "", "dir/a-long-name");
        put("cut", '0', "", "hello");
        put("x", 'x', "", "22 path=dir/another-o\n");
        put("cut", '1', "dir/a-long-name", "");
        put("sparse", 'S', "", "parts");
        put("last", '2', "dir", "");
        for (int change = 0; change < 8; change++) {
            char h[block];
            state = state * 1103515245 + 12345;
            const off_t at = state / 65536 % blocks * block;
            CHECK_EQ(pread(archive, h, block, at), block);
            state = state * 1103515245 + 12345;
            h[state / 65536 % 3 ? 124 + state / 65536 % 40 : state / 65536 % block] = state >> 24;
            if (change % 4) seal(h);
            CHECK_EQ(pwrite(archive, h, block, at), block);
        }
        CHECK(ftruncate(archive, blocks * block - state / 65536 % 600) == 0);
        const int failed = tar_read(&tree, archive);
        CHECK(failed == 0 || failed == EINVAL);
        struct stat is;
        CHECK(fstat(archive, &is) == 0);
        for (uint64_t i = 1; !failed && i <= tree.count; i++) {
            const struct tar_node* n = tar_node_of(&tree, i);
            CHECK(!S_ISREG(n->is.mode) || (n->at + n->is.size <= (uint64_t)is.st_size));
            CHECK(!S_ISLNK(n->is.mode) || n->text);
            CHECK(i == 1 || tar_find(&tree, n->parent, n->name, strlen(n->name)) == i);
        }
        CHECK(close(archive) == 0);
    }
}

TAP_MAIN(T(every_type_is_shown), T(long_names_come_in_headers_of_their_own), T(big_numbers_are_read),
         T(what_cannot_be_shown_is_left_out), T(later_entries_count), T(what_is_no_archive_is_refused),
         T(one_bad_entry_takes_no_other_with_it), T(many_names_are_found), T(damage_does_no_harm))
