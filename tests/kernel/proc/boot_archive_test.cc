#include "kernel/proc/boot_archive.h"

#include "kernel/lib/random.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"
#include "tests/kernel/proc/cpio_builder.h"

using proc::archive_file;
using proc::boot_archive;
using proc_test::cpio_builder;

namespace {

constexpr k::u32 link_mode = 0120777, directory_mode = 0040755;

k::error error_of(const boot_archive& a, std::string_view path, bool follow = true) {
    auto found = a.find(path, follow);
    return found ? k::error{} : found.error();
}

std::string_view text_of(const boot_archive& a, std::string_view path) {
    auto found = a.find(path);
    return found ? (*found)->text() : "(nothing)";
}

} // namespace

SELFTEST(boot_archive, finds_files_and_the_directories_above_them) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    b->add({.name = "./bin/sh", .bytes = "shell"});
    b->add({.name = "/etc/a/b", .bytes = "deep"});
    b->add({.name = "init", .bytes = "first", .mode = 0100700});
    b->end();
    auto a = boot_archive::parse(b->bytes());
    REQUIRE(a);
    EXPECT_EQ(text_of(*a, "/bin/sh"), std::string_view("shell"));
    EXPECT_EQ(text_of(*a, "//bin/../etc/./a//b"), std::string_view("deep"));
    EXPECT_EQ(text_of(*a, "/../init"), std::string_view("first"));
    EXPECT(error_of(*a, "/bin/ls") == k::error::noent);
    EXPECT(error_of(*a, "/init/x") == k::error::notdir);
    EXPECT(error_of(*a, "/init/") == k::error::notdir);
    auto directory = a->find("/etc/a");
    REQUIRE(directory);
    EXPECT((*directory)->is(proc::type_directory));
    auto root = a->find("/");
    REQUIRE(root);
    EXPECT_EQ((*root)->path, std::string_view(""));
}

SELFTEST(boot_archive, lists_the_children_of_a_directory_once_each) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    for (const char* name : {"a/x", "a/y/z", "a-b", "a.c", "b", "a/y/w"})
        b->add({.name = name});
    b->end();
    auto a = boot_archive::parse(b->bytes());
    REQUIRE(a);
    auto count = [&](std::string_view path) {
        auto directory = a->find(path);
        unsigned n = 0;
        const archive_file* child = nullptr;
        while (directory && (child = a->next_child(**directory, child)))
            n++;
        return n;
    };
    EXPECT_EQ(count("/"), 4u);
    EXPECT_EQ(count("/a"), 2u);
    EXPECT_EQ(count("/a/y"), 2u);
    EXPECT_EQ(a->files().size(), 9u);
}

SELFTEST(boot_archive, follows_links_but_not_for_ever) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    b->add({.name = "bin/busybox", .bytes = "box"});
    b->add({.name = "bin/sh", .bytes = "busybox", .mode = link_mode});
    b->add({.name = "usr", .bytes = "/", .mode = link_mode});
    b->add({.name = "up", .bytes = "bin/../usr/bin", .mode = link_mode});
    b->add({.name = "self", .bytes = "self", .mode = link_mode});
    b->add({.name = "ping", .bytes = "pong/x", .mode = link_mode});
    b->add({.name = "pong", .bytes = "ping/x", .mode = link_mode});
    b->end();
    auto a = boot_archive::parse(b->bytes());
    REQUIRE(a);
    EXPECT_EQ(text_of(*a, "/bin/sh"), std::string_view("box"));
    EXPECT_EQ(text_of(*a, "/usr/usr/up/sh"), std::string_view("box"));
    EXPECT(error_of(*a, "/self") == k::error::loop);
    EXPECT(error_of(*a, "/ping") == k::error::loop || error_of(*a, "/ping") == k::error::nametoolong);
    auto link = a->find("/bin/sh", false);
    REQUIRE(link);
    EXPECT((*link)->is(proc::type_link));
    EXPECT_EQ((*link)->text(), std::string_view("busybox"));
}

SELFTEST(boot_archive, gives_all_names_of_a_file_its_bytes) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    b->add({.name = "one", .number = 7, .links = 3});
    b->add({.name = "two", .number = 7, .links = 3});
    b->add({.name = "three", .bytes = "same", .number = 7, .links = 3});
    b->end();
    auto a = boot_archive::parse(b->bytes());
    REQUIRE(a);
    EXPECT_EQ(text_of(*a, "/one"), std::string_view("same"));
    EXPECT_EQ((*a->find("/one"))->inode, (*a->find("/three"))->inode);
}

SELFTEST(boot_archive, leaves_out_what_is_not_as_it_should_be) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    b->add({.name = "good", .bytes = "1"});
    b->add({.name = "a/../../etc/passwd", .bytes = "2"});
    b->add({.name = "a//b", .bytes = "3"});
    b->add({.name = "device", .mode = 0020666});
    b->add({.name = "good/below", .bytes = "4"}); // below a file
    b->add({.name = "empty link", .mode = link_mode});
    b->add({.name = "", .bytes = "5"}); // the root as a file
    b->add({.name = "twice", .bytes = "old"});
    b->add({.name = "twice", .bytes = "new"});
    b->add({.name = "dir/file", .bytes = "6"});
    b->add({.name = "dir", .mode = directory_mode});
    b->end();
    b->add({.name = "behind the end"});
    auto a = boot_archive::parse(b->bytes());
    REQUIRE(a);
    EXPECT_EQ(a->files().size(), 5u); // the root, good, twice, dir, dir/file
    EXPECT_EQ(text_of(*a, "/twice"), std::string_view("new"));
    EXPECT_EQ(text_of(*a, "/dir/file"), std::string_view("6"));
    EXPECT(error_of(*a, "/good/below") == k::error::notdir);
    EXPECT((*a->find("/"))->is(proc::type_directory));
}

SELFTEST(boot_archive, ends_where_a_header_is_broken) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    b->add({.name = "first"});
    const std::size_t second = b->add({.name = "second", .bytes = "bytes"});
    b->add({.name = "third"});
    b->end();
    const auto files_with = [&](std::size_t offset, std::string_view text) {
        auto broken = mem::make_box<cpio_builder>(*b);
        if (!broken) return std::size_t{0};
        text.copy(broken->at(second + offset), text.size());
        auto a = boot_archive::parse(broken->bytes());
        return a ? a->files().size() : 0;
    };
    EXPECT_EQ(files_with(0, "070707"), 2u);         // another format
    EXPECT_EQ(files_with(54, "0000000g"), 2u);      // a size that is no number
    EXPECT_EQ(files_with(54, "ffffffff"), 2u);      // more than there is
    EXPECT_EQ(files_with(94, "00000000"), 2u);      // no name
    EXPECT_EQ(files_with(94, "ffffffff"), 2u);      // a name without end
    EXPECT_EQ(files_with(94, "00000005"), 2u);      // without its zero byte
    EXPECT_EQ(files_with(110, {"s\0cond", 6}), 2u); // with one too many
    for (std::size_t cut = 0; cut <= b->bytes().size(); cut++) {
        auto a = boot_archive::parse(b->bytes().first(cut));
        REQUIRE(a);
        EXPECT(a->files().size() >= 1 && a->files().size() <= 4);
    }
}

SELFTEST(boot_archive, survives_random_damage) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    b->add({.name = "bin/busybox", .bytes = "box", .number = 3, .links = 2});
    b->add({.name = "bin/sh", .bytes = "busybox", .mode = link_mode});
    b->add({.name = "bin/ls", .number = 3, .links = 2});
    b->add({.name = "etc/motd", .bytes = "hello"});
    b->end();
    k::random random(selftest::seed());
    for (int round = 0; round < 500; round++) {
        auto broken = mem::make_box<cpio_builder>(*b);
        REQUIRE(broken);
        for (k::u64 i = 0; i <= random.below(4); i++)
            *broken->at(random.below(b->bytes().size())) = "0f7/.\0 A"[random.below(8)];
        auto a = boot_archive::parse(broken->bytes());
        REQUIRE(a);
        for (const archive_file& f : a->files()) {
            EXPECT(f.inode >= 1 && f.inode <= a->files().size());
            (void)a->next_child(f, nullptr);
        }
        for (const char* path : {"/bin/sh", "/bin/ls", "/etc/../bin/busybox", "/etc/motd/"})
            (void)a->find(path);
    }
}
