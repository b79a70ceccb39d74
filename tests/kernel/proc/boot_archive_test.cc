#include "kernel/proc/boot_archive.h"

#include "kernel/lib/random.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"
#include "tests/kernel/proc/cpio_builder.h"

#include <algorithm>

using proc::archive_file;
using proc::boot_archive;
using proc_test::cpio_builder;

namespace {

constexpr k::u32 link_mode = 0120777, directory_mode = 0040755;

const archive_file* find(const boot_archive& a, std::string_view path) {
    const auto found = std::ranges::find(a.files(), path, &archive_file::path);
    return found == a.files().end() ? nullptr : &*found;
}

std::string_view text_of(const boot_archive& a, std::string_view path) {
    const archive_file* found = find(a, path);
    return found ? found->text() : "(nothing)";
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
    EXPECT_EQ(text_of(*a, "bin/sh"), std::string_view("shell"));
    EXPECT_EQ(text_of(*a, "etc/a/b"), std::string_view("deep"));
    EXPECT_EQ(text_of(*a, "init"), std::string_view("first"));
    EXPECT(!find(*a, "bin/ls"));
    const archive_file *directory = find(*a, "etc/a"), *root = find(*a, "");
    REQUIRE(directory && root);
    EXPECT(directory->is(proc::type_directory) && root->is(proc::type_directory));
    EXPECT_EQ(root, a->files().data());
    EXPECT(directory < find(*a, "etc/a/b")); // a directory stands before what is in it
}

SELFTEST(boot_archive, has_each_file_and_directory_once) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    for (const char* name : {"a/x", "a/y/z", "a-b", "a.c", "b", "a/y/w"})
        b->add({.name = name});
    b->add({.name = "sh", .bytes = "busybox", .mode = link_mode});
    b->end();
    auto a = boot_archive::parse(b->bytes());
    REQUIRE(a);
    EXPECT_EQ(a->files().size(), 10u);
    const archive_file* link = find(*a, "sh");
    REQUIRE(link);
    EXPECT(link->is(proc::type_link));
    EXPECT_EQ(link->text(), std::string_view("busybox"));
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
    EXPECT_EQ(text_of(*a, "one"), std::string_view("same"));
    const archive_file *one = find(*a, "one"), *three = find(*a, "three");
    REQUIRE(one && three);
    EXPECT_EQ(one->inode, three->inode);
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
    EXPECT_EQ(text_of(*a, "twice"), std::string_view("new"));
    EXPECT_EQ(text_of(*a, "dir/file"), std::string_view("6"));
    EXPECT(!find(*a, "good/below"));
    EXPECT(a->files()[0].is(proc::type_directory));
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

// Every number of a header with every absurd value, in the first entry, one in the middle and the end's: what stands
// before is there, and nothing that was not in the archive.
SELFTEST(boot_archive, believes_no_absurd_numbers) {
    auto b = mem::make_box<cpio_builder>();
    REQUIRE(b);
    std::size_t entries[3];
    entries[0] = b->add({.name = "first", .bytes = "1", .number = 3, .links = 2});
    entries[1] = b->add({.name = "dir/second", .bytes = "two"});
    b->add({.name = "third", .bytes = "333", .number = 3, .links = 2});
    entries[2] = b->bytes().size();
    b->end();
    constexpr std::string_view values[] = {"00000000", "00000001", "0000000B", "7FFFFFFF", "80000000", "FFFFFFF0",
                                           "FFFFFFFC", "FFFFFFFF", "-0000001", "0x000001", "        ", "0000 001"};
    for (std::size_t entry = 0; entry < std::size(entries); entry++)
        for (std::size_t field = 0; field < 13; field++)
            for (const std::string_view value : values) {
                auto broken = mem::make_box<cpio_builder>(*b);
                REQUIRE(broken);
                value.copy(broken->at(entries[entry] + 6 + field * 8), value.size());
                auto a = boot_archive::parse(broken->bytes());
                REQUIRE(a);
                EXPECT(a->files().size() >= 1 && a->files().size() <= 5);
                if (entry > 0) EXPECT(find(*a, "first"));
                for (const archive_file& f : a->files()) {
                    EXPECT(f.text().size() <= b->bytes().size());
                    const bool known = f.path.empty() || f.path == "first" || f.path == "dir" || f.path == "third" ||
                                       std::string_view("dir/second").starts_with(f.path);
                    EXPECT(known);
                }
            }
}

SELFTEST(boot_archive, leaves_no_name_out_of_the_root) {
    constexpr std::string_view names[] = {"..",     "../x", "../../x", "a/..",    "a/../..", "a/../../x", "./..",
                                          "./../x", "/..",  "/../x",   "a/./x",   ".//x",    "a//x",      "//",
                                          "a/..//", "a/.",  "../",     "a/../b/", "..../x",  "...",       "..x"};
    for (const std::string_view name : names) {
        auto b = mem::make_box<cpio_builder>();
        REQUIRE(b);
        b->add({.name = name, .bytes = "x"});
        b->add({.name = "good", .bytes = "1"});
        b->end();
        auto a = boot_archive::parse(b->bytes());
        REQUIRE(a);
        EXPECT_EQ(text_of(*a, "good"), std::string_view("1"));
        for (const archive_file& f : a->files())
            for (std::string_view rest = f.path; !rest.empty();) {
                const std::size_t end = std::min(rest.find('/'), rest.size());
                const std::string_view part = rest.substr(0, end);
                EXPECT(!part.empty() && part != "." && part != "..");
                rest.remove_prefix(std::min(end + 1, rest.size()));
            }
    }
}

SELFTEST(boot_archive, bytes_that_are_no_archive_are_an_empty_one) {
    constexpr std::string_view texts[] = {"",
                                          "0",
                                          "070701",
                                          "070702",
                                          "070707",
                                          "\x1f\x8b\x08",
                                          "\x7f"
                                          "ELF",
                                          "\xfd"
                                          "7zXZ"};
    for (const std::string_view text : texts) {
        auto a = boot_archive::parse(std::as_bytes(std::span(text)));
        EXPECT(a && a->files().size() == 1); // the root
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
        for (const archive_file& f : a->files())
            EXPECT(f.inode >= 1 && f.inode <= a->files().size());
    }
}
