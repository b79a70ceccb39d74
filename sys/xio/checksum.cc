#include "sys/xio/checksum.h"

#include "sys/xio/walk.h"

#include <bit>
#include <cstring>

namespace xio {

namespace {

// Ones' complement sum of a run in the machine's byte order, which may be swapped at the end (RFC 1071, section 2 B).
k::u64 add_words(const std::byte* at, k::u64 bytes, k::u64 sum) {
    auto add = [&sum](k::u64 word) {
        k::u64 wide;
        sum = wide = sum + word;
        sum += wide < word; // end-around carry
    };
    for (; bytes >= 8; at += 8, bytes -= 8) {
        k::u64 word;
        std::memcpy(&word, at, 8);
        add(word);
    }
    k::u64 tail = 0;
    std::memcpy(&tail, at, bytes);
    add(tail);
    return sum;
}

k::u16 fold(k::u64 sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<k::u16>((sum & 0xffff) + (sum >> 16));
}

constexpr k::u32 polynomial = 0x82f63b78; // Castagnoli, bits reversed

// table[n][b]: the effect of byte b that is followed by n more bytes, so that eight are taken at a time.
struct crc_tables {
    k::u32 table[8][256];
    constexpr crc_tables() : table{} {
        for (k::u32 b = 0; b < 256; b++) {
            k::u32 crc = b;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ (crc & 1 ? polynomial : 0);
            table[0][b] = crc;
        }
        for (int n = 1; n < 8; n++)
            for (int b = 0; b < 256; b++)
                table[n][b] = (table[n - 1][b] >> 8) ^ table[0][table[n - 1][b] & 0xff];
    }
};
constexpr crc_tables crc;

k::u64 word_at(const std::byte* at) {
    k::u64 word;
    std::memcpy(&word, at, sizeof word);
    return word;
}

k::u32 crc_run(const std::byte* at, k::u64 bytes, k::u32 state) {
    if (platform::has_crc32c()) {
        k::u64 wide = state;
        for (; bytes >= 64; bytes -= 64)
#pragma GCC unroll 8
            for (int n = 0; n < 8; n++, at += 8)
                wide = platform::crc32c_after(wide, word_at(at));
        state = static_cast<k::u32>(wide);
    }
    for (; bytes >= 8; at += 8, bytes -= 8) {
        const k::u64 word = word_at(at) ^ state;
        state = 0;
#pragma GCC unroll 8
        for (int n = 0; n < 8; n++)
            state ^= crc.table[7 - n][(word >> (8 * n)) & 0xff];
    }
    for (; bytes; at++, bytes--)
        state = (state >> 8) ^ crc.table[0][(state ^ static_cast<k::u32>(*at)) & 0xff];
    return state;
}

} // namespace

k::u16 internet_checksum(const source& from, k::u32 before) noexcept {
    k::u64 sum = std::byteswap(static_cast<k::u16>(fold(before)));
    bool odd = false; // an odd number of bytes came before this run: its words are shifted by one
    for_each_run(walker(from), [&](const std::byte* at, k::u64 bytes) {
        k::u16 part = fold(add_words(at, bytes, 0));
        if (odd) part = std::byteswap(part);
        sum += part;
        odd ^= bytes & 1;
    });
    return static_cast<k::u16>(~std::byteswap(fold(sum)));
}

k::u32 crc32c(const source& from, k::u32 before) noexcept {
    k::u32 state = ~before;
    for_each_run(walker(from), [&](const std::byte* at, k::u64 bytes) { state = crc_run(at, bytes, state); });
    return ~state;
}

k::u32 crc32c(std::span<const std::byte> bytes, k::u32 before) noexcept {
    return ~crc_run(bytes.data(), bytes.size(), ~before);
}

} // namespace xio
