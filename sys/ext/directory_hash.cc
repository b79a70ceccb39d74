#include "sys/ext/directory_hash.h"

#include <algorithm>
#include <span>
#include <utility>

namespace ext {

namespace {

struct state {
    u32 a, b, c, d;
};

constexpr state usual_seed{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};

// The value of a byte of a name.
u32 value_of(char c, bool is_signed) {
    return is_signed ? static_cast<u32>(k::i32{static_cast<signed char>(c)}) : u32{static_cast<unsigned char>(c)};
}

// Packs the front of a name into words, high bytes first; what is left over of them is filled with its length.
void pack(std::string_view name, bool is_signed, std::span<u32> to) {
    u32 filler = static_cast<u32>(name.size()) | static_cast<u32>(name.size()) << 8;
    filler |= filler << 16;
    const std::string_view front = name.substr(0, to.size() * 4);
    for (std::size_t i = 0; i < to.size(); i++) {
        to[i] = filler;
        for (const char c : front.substr(std::min(front.size(), i * 4), 4))
            to[i] = value_of(c, is_signed) + (to[i] << 8);
    }
}

void half_md4(state& s, const u32 (&in)[8]) {
    constexpr u32 second = 0x5a82'7999, third = 0x6ed9'eba1;
    constexpr u8 order[3][8] = {{0, 1, 2, 3, 4, 5, 6, 7}, {1, 3, 5, 7, 0, 2, 4, 6}, {3, 7, 2, 6, 1, 5, 0, 4}};
    constexpr u8 turns[3][4] = {{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}};
    u32 w[4] = {s.a, s.b, s.c, s.d};
    for (unsigned round = 0; round < 3; round++)
        for (unsigned step = 0; step < 8; step++) {
            u32& target = w[(4 - step % 4) % 4];
            const u32 x = w[(5 - step % 4) % 4], y = w[(6 - step % 4) % 4], z = w[(7 - step % 4) % 4];
            const u32 mixed = round == 0   ? z ^ (x & (y ^ z))
                              : round == 1 ? (x & y) + ((x ^ y) & z) + second
                                           : (x ^ y ^ z) + third;
            target = std::rotl(target + mixed + in[order[round][step]], turns[round][step % 4]);
        }
    s.a += w[0], s.b += w[1], s.c += w[2], s.d += w[3];
}

void tea(state& s, const u32 (&in)[4]) {
    constexpr u32 delta = 0x9e37'79b9;
    u32 x = s.a, y = s.b, sum = 0;
    for (unsigned round = 0; round < 16; round++) {
        sum += delta;
        x += ((y << 4) + in[0]) ^ (y + sum) ^ ((y >> 5) + in[1]);
        y += ((x << 4) + in[2]) ^ (x + sum) ^ ((x >> 5) + in[3]);
    }
    s.a += x, s.b += y;
}

u32 legacy(std::string_view name, bool is_signed) {
    u32 last = 0x12a3'fe2d, before = 0x37ab'e8f9;
    for (const char c : name) {
        u32 next = before + (last ^ (value_of(c, is_signed) * 7152373));
        if (next & 0x8000'0000) next -= 0x7fff'ffff;
        before = std::exchange(last, next);
    }
    return last << 1;
}

} // namespace

u32 directory_hash(hash_kind kind, const hash_seed& seed, std::string_view name) noexcept {
    const bool is_signed = kind < hash_kind::legacy_unsigned;
    const bool is_seeded = std::ranges::any_of(seed.words, [](u32 word) { return word != 0; });
    state s = is_seeded ? state{seed.words[0], seed.words[1], seed.words[2], seed.words[3]} : usual_seed;
    u32 hash = 0;
    switch (kind) {
    case hash_kind::legacy:
    case hash_kind::legacy_unsigned: hash = legacy(name, is_signed); break;
    case hash_kind::half_md4:
    case hash_kind::half_md4_unsigned:
        for (std::string_view rest = name; !rest.empty(); rest.remove_prefix(std::min<std::size_t>(rest.size(), 32))) {
            u32 in[8];
            pack(rest, is_signed, in);
            half_md4(s, in);
        }
        hash = s.b;
        break;
    case hash_kind::tea:
    case hash_kind::tea_unsigned:
        for (std::string_view rest = name; !rest.empty(); rest.remove_prefix(std::min<std::size_t>(rest.size(), 16))) {
            u32 in[4];
            pack(rest, is_signed, in);
            tea(s, in);
        }
        hash = s.a;
        break;
    }
    // The lowest bit is the tree's: "the names before have this hash, too". The largest one is its end.
    constexpr u32 end = 0xffff'fffe;
    hash &= ~u32{1};
    return hash == end ? end - 2 : hash;
}

} // namespace ext
