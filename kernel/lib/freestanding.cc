// What compilers and libstdc++'s headers expect of a C library, for a kernel that has none. The x86-64
// port compiles this file; the host port has the real library.
//
// Rule: the mem functions move eight bytes at a time, by plain instructions while that is short: a repeated
// string instruction takes long to start, and a byte at a time would cost eight times the instructions.
#include "kernel/lib/panic.h"
#include "kernel/lib/types.h"

#include <cstddef>
#include <new>

namespace {

using k::u32;
using k::u64;
using k::u8;

// A word at any address, of memory of any type.
template <class T> struct [[gnu::packed, gnu::may_alias]] loose {
    T value;
};

template <class T = u64> T load(const void* at) {
    return static_cast<const loose<T>*>(at)->value;
}
void store(void* at, u64 value) {
    static_cast<loose<u64>*>(at)->value = value;
}

constexpr std::size_t repeat_from = 512; // bytes from which a string instruction is used

} // namespace

extern "C" {

void* memcpy(void* to, const void* from, std::size_t count) {
    u8* d = static_cast<u8*>(to);
    const u8* s = static_cast<const u8*>(from);
    if (count >= repeat_from) {
        std::size_t words = count / 8;
        count %= 8;
        asm volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(words) : : "memory");
    }
    for (; count >= 32; count -= 32, d += 32, s += 32) {
        const u64 a = load(s), b = load(s + 8), c = load(s + 16), e = load(s + 24);
        store(d, a), store(d + 8, b), store(d + 16, c), store(d + 24, e);
    }
    for (; count >= 8; count -= 8, d += 8, s += 8)
        store(d, load(s));
    for (; count; count--) {
        *d++ = *s++;
        asm volatile("" : : : "memory"); // the loop shall not be turned into a call of this function
    }
    return to;
}

void* memmove(void* to, const void* from, std::size_t count) {
    u8* d = static_cast<u8*>(to);
    const u8* s = static_cast<const u8*>(from);
    if (reinterpret_cast<u64>(d) - reinterpret_cast<u64>(s) >= count) return memcpy(to, from, count);
    for (; count >= 8; count -= 8)
        store(d + count - 8, load(s + count - 8));
    for (; count; count--) {
        d[count - 1] = s[count - 1];
        asm volatile("" : : : "memory");
    }
    return to;
}

void* memset(void* to, int value, std::size_t count) {
    u8* d = static_cast<u8*>(to);
    const u64 pattern = static_cast<u8>(value) * u64{0x0101'0101'0101'0101};
    if (count >= repeat_from) {
        std::size_t words = count / 8;
        count %= 8;
        asm volatile("rep stosq" : "+D"(d), "+c"(words) : "a"(pattern) : "memory");
    }
    for (; count >= 32; count -= 32, d += 32)
        store(d, pattern), store(d + 8, pattern), store(d + 16, pattern), store(d + 24, pattern);
    for (; count >= 8; count -= 8, d += 8)
        store(d, pattern);
    for (; count; count--) {
        *d++ = static_cast<u8>(value);
        asm volatile("" : : : "memory");
    }
    return to;
}

int memcmp(const void* left, const void* right, std::size_t count) {
    const u8* a = static_cast<const u8*>(left);
    const u8* b = static_cast<const u8*>(right);
    for (; count >= 8; count -= 8, a += 8, b += 8) {
        const u64 x = load(a), y = load(b);
        if (x != y) return __builtin_bswap64(x) < __builtin_bswap64(y) ? -1 : 1;
    }
    const std::size_t half = count & 4;
    if (half && load<u32>(a) == load<u32>(b)) a += 4, b += 4, count -= 4;
    for (; count; count--, a++, b++)
        if (*a != *b) return *a < *b ? -1 : 1;
    return 0;
}

std::size_t strlen(const char* text) {
    std::size_t length = 0;
    while (text[length]) {
        length++;
        asm volatile("" : : : "memory");
    }
    return length;
}

void* memchr(const void* in, int value, std::size_t count) {
    const u8* at = static_cast<const u8*>(in);
    const u64 ones = 0x0101'0101'0101'0101, pattern = static_cast<u8>(value) * ones;
    for (; count >= 8; count -= 8, at += 8) {
        const u64 differs = load(at) ^ pattern;
        // The lowest byte that is zero has its top bit set here, and no byte below it has.
        if (const u64 equal = (differs - ones) & ~differs & ones << 7)
            return const_cast<u8*>(at) + __builtin_ctzll(equal) / 8;
    }
    for (; count; count--, at++)
        if (*at == static_cast<u8>(value)) return const_cast<u8*>(at);
    return nullptr;
}

// What std::popcount becomes where the CPU is not known to have the instruction.
int __popcountdi2(long value) {
    u64 v = static_cast<u64>(value);
    v -= v >> 1 & 0x5555'5555'5555'5555;
    v = (v & 0x3333'3333'3333'3333) + (v >> 2 & 0x3333'3333'3333'3333);
    v = (v + (v >> 4)) & 0x0f0f'0f0f'0f0f'0f0f;
    return static_cast<int>(v * 0x0101'0101'0101'0101 >> 56);
}

[[noreturn]] void abort() {
    k::panic("abort");
}

[[noreturn]] void __cxa_pure_virtual() {
    k::panic("pure virtual function called");
}

} // extern "C"

// The compiler names these in every virtual destructor; nothing of ours is deleted through one, for nothing is
// made by a throwing operator new.
void operator delete(void*) noexcept {
    k::panic("operator delete called");
}
void operator delete(void*, std::size_t) noexcept {
    k::panic("operator delete called");
}
void operator delete(void*, std::size_t, std::align_val_t) noexcept {
    k::panic("operator delete called");
}

// What the library's inline functions do instead of returning. Under -fno-exceptions there is no other way.
namespace std {

__attribute__((noreturn)) void __throw_bad_function_call();
__attribute__((noreturn)) void __throw_length_error(const char*);
__attribute__((noreturn)) void __throw_logic_error(const char*);
__attribute__((noreturn)) void __throw_out_of_range(const char*);
__attribute__((noreturn)) void __throw_out_of_range_fmt(const char*, ...);
__attribute__((noreturn)) void __throw_invalid_argument(const char*);
__attribute__((noreturn)) void __throw_bad_variant_access(const char*);
__attribute__((noreturn)) void __glibcxx_assert_fail(const char*, int, const char*, const char*) noexcept;

void __throw_bad_function_call() {
    k::panic("an empty std::function was called");
}
void __throw_length_error(const char* what) {
    k::panic("length error: {}", what);
}
void __throw_logic_error(const char* what) {
    k::panic("logic error: {}", what);
}
void __throw_out_of_range(const char* what) {
    k::panic("out of range: {}", what);
}
void __throw_out_of_range_fmt(const char* what, ...) {
    k::panic("out of range: {}", what);
}
void __throw_invalid_argument(const char* what) {
    k::panic("invalid argument: {}", what);
}
void __throw_bad_variant_access(const char* what) {
    k::panic("std::variant: {}", what);
}

void __glibcxx_assert_fail(const char* file, int line, const char* function, const char* condition) noexcept {
    k::panic("library assertion failed: {} in {} at {}:{}", condition, function, file, line);
}

} // namespace std
