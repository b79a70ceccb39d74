// The hashes of names in directories against what debugfs (dx_hash) of e2fsprogs 1.47.0 says of them.
#include "kernel/selftest/selftest.h"
#include "sys/ext/directory_hash.h"

namespace {

using namespace ext;

constexpr std::array<char, 255> long_text = [] {
    std::array<char, 255> made{};
    made.fill('x');
    return made;
}();
constexpr std::string_view long_name(long_text.data(), long_text.size());

struct known {
    std::string_view name;
    u32 hashes[hash_kinds];
};
constexpr known without_seed[] = {
    {"a", {0xe74b53e2, 0xd5fa7d7a, 0x6d0ea4c0, 0xe74b53e2, 0xd5fa7d7a, 0x6d0ea4c0}},
    {"hello", {0x32252546, 0x1746da32, 0x6f5bb1a8, 0x32252546, 0x1746da32, 0x6f5bb1a8}},
    {"one-of-many-files-00042", {0x1f526f3c, 0x4a403fc8, 0xdb5c968c, 0x1f526f3c, 0x4a403fc8, 0xdb5c968c}},
    {"a-name-of-fifty-bytes-which-takes-two-rounds-of-it",
     {0x92ac93cc, 0x6442d360, 0xa8def9b2, 0x92ac93cc, 0x6442d360, 0xa8def9b2}},
    {"äöü-umlaut", {0x38b8cca2, 0x82c7e5aa, 0xba16cc1a, 0x6ba5149e, 0x6dc8028e, 0xf345de54}},
    {long_name, {0x30557da6, 0x2aa7169e, 0x6c4c00ee, 0x30557da6, 0x2aa7169e, 0x6c4c00ee}},
};
constexpr known with_seed[] = {
    {"a", {0xe74b53e2, 0x35dc0cc4, 0x6d0ea4c0, 0xe74b53e2, 0x35dc0cc4, 0x6d0ea4c0}},
    {"hello", {0x32252546, 0xa26e4a80, 0x6f5bb1a8, 0x32252546, 0xa26e4a80, 0x6f5bb1a8}},
    {"one-of-many-files-00042", {0x1f526f3c, 0xf8101f36, 0xdb5c968c, 0x1f526f3c, 0xf8101f36, 0xdb5c968c}},
    {"a-name-of-fifty-bytes-which-takes-two-rounds-of-it",
     {0x92ac93cc, 0xeda966e6, 0xa8def9b2, 0x92ac93cc, 0xeda966e6, 0xa8def9b2}},
    {"äöü-umlaut", {0x38b8cca2, 0xa6e60fb0, 0xba16cc1a, 0x6ba5149e, 0x995165b6, 0xf345de54}},
    {long_name, {0x30557da6, 0xac11f156, 0x6c4c00ee, 0x30557da6, 0xac11f156, 0x6c4c00ee}},
};
constexpr hash_seed seed{{0x67452301, 0xefcdab89, 0x67452301, 0xefcdab89}};

void compare(std::span<const known> all, const hash_seed& with) {
    for (const known& one : all)
        for (unsigned kind = 0; kind < hash_kinds; kind++)
            EXPECT_EQ(directory_hash(static_cast<hash_kind>(kind), with, one.name), one.hashes[kind]);
}

} // namespace

SELFTEST(ext_hash, names_have_the_hashes_that_others_give_them) {
    compare(without_seed, {});
}

SELFTEST(ext_hash, a_seed_counts) {
    compare(with_seed, seed);
}
