#include "kernel/proc/random.h"

#include "arch/machine.h"
#include "kernel/lwkt/spinlock.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace proc {

namespace {

using key = k::u32[8];
constexpr std::size_t block_bytes = 64;

void quarter_round(k::u32& a, k::u32& b, k::u32& c, k::u32& d) {
    a += b, d = std::rotl(d ^ a, 16);
    c += d, b = std::rotl(b ^ c, 12);
    a += b, d = std::rotl(d ^ a, 8);
    c += d, b = std::rotl(b ^ c, 7);
}

// ChaCha20's block function (RFC 8439) with a 64-bit counter and no nonce.
void make_block(const key& secret, k::u64 counter, k::u32 (&out)[16]) {
    const k::u32 start[16] = {0x61707865,
                              0x3320646e,
                              0x79622d32,
                              0x6b206574, // "expand 32-byte k"
                              secret[0],
                              secret[1],
                              secret[2],
                              secret[3],
                              secret[4],
                              secret[5],
                              secret[6],
                              secret[7],
                              static_cast<k::u32>(counter),
                              static_cast<k::u32>(counter >> 32),
                              0,
                              0};
    std::ranges::copy(start, out);
    for (int i = 0; i < 10; i++) {
        for (unsigned column = 0; column < 4; column++)
            quarter_round(out[column], out[4 + column], out[8 + column], out[12 + column]);
        for (unsigned column = 0; column < 4; column++)
            quarter_round(out[column], out[4 + (column + 1) % 4], out[8 + (column + 2) % 4],
                          out[12 + (column + 3) % 4]);
    }
    for (unsigned i = 0; i < 16; i++)
        out[i] += start[i];
}

// The generator's own key. Each user gets a key of its own from it.
struct {
    lwkt::spinlock lock;
    bool seeded GUARDED_BY(lock) = false;
    key secret GUARDED_BY(lock);
} generator;

void take_key(key& out) {
    lwkt::spin_guard guard(generator.lock);
    if (!generator.seeded) {
        const k::u64 seed = arch::boot::entropy();
        std::memcpy(generator.secret, &seed, sizeof(seed));
        generator.seeded = true;
    }
    generator.secret[7] ^= static_cast<k::u32>(arch::clock::cycles()); // whatever that adds
    k::u32 block[16];
    make_block(generator.secret, 0, block);
    std::copy_n(block, 8, generator.secret);
    std::copy_n(block + 8, 8, out);
}

} // namespace

void fill_random(std::span<std::byte> out) noexcept {
    key own;
    take_key(own);
    for (k::u64 counter = 0; !out.empty(); counter++) {
        k::u32 block[16];
        make_block(own, counter, block);
        const std::size_t count = std::min(out.size(), block_bytes);
        std::memcpy(out.data(), block, count);
        out = out.subspan(count);
    }
}

k::u64 random_number() noexcept {
    k::u64 number;
    fill_random(std::as_writable_bytes(std::span(&number, 1)));
    return number;
}

} // namespace proc
