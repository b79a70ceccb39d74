// sys/xio in a tree that is not ours: the least that a host of it must supply, here over malloc'ed pages in a
// single-threaded program. It stands before our own sys/xio/platform.h on the include path of xio-alone, and
// nothing of arch/ or of the kernel but kernel/lib is linked. docs/porting.md walks through it.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lib/types.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <span>
#include <utility>

namespace xio::platform {

using physical_address = k::u64;
constexpr std::size_t page_size = 4096;
enum class pin_kind : k::u8 { source, sink };
enum class access : k::u8 { read, read_write };

// A page knows who holds it. Runs are neighbours in `pages`, whose bytes are neighbours in `memory`.
struct page {
    k::u32 references;
    k::u32 pins[2];
    k::u32 guards;

    k::u32& pins_of(pin_kind kind) { return pins[kind == pin_kind::sink]; }
    bool held() const { return references || pins[0] || pins[1]; }
};
constexpr std::size_t page_count = 256;
extern page pages[page_count];
extern std::byte* memory; // aligned to a page
constexpr k::u32 most_pins = 1000;

inline page* block_head(page* p) noexcept {
    return p; // no blocks: each page is pinned by itself
}
inline std::size_t block_pages(const page*) noexcept {
    return 1;
}
inline bool stands_alone(const page*) noexcept {
    return true;
}
[[nodiscard]] inline bool pin(page* p, pin_kind kind) noexcept {
    if (p->pins_of(kind) == most_pins) return false;
    p->pins_of(kind)++;
    return true;
}
inline void unpin(page* p, pin_kind kind) noexcept {
    p->pins_of(kind)--;
}
inline bool pinned_alone(page* p, pin_kind kind) noexcept {
    return !p->references && p->pins[0] + p->pins[1] == 1 && p->pins_of(kind) == 1;
}
inline page* allocate_page() noexcept {
    page* p = std::find_if(pages, pages + page_count, [](const page& p) { return !p.held(); });
    if (p == pages + page_count) return nullptr;
    p->references = 1;
    return p;
}
inline void release_page(page* p) noexcept {
    p->references--;
}

inline std::byte* direct(const page* p) noexcept {
    return memory + (p - pages) * page_size;
}
inline physical_address physical(const page* p) noexcept {
    return static_cast<physical_address>(p - pages) * page_size;
}
inline page* page_of(const void* address) noexcept {
    return pages + (static_cast<const std::byte*>(address) - memory) / page_size;
}

inline bool guardable(const page*) noexcept {
    return false;
}
inline bool protect(const page*, bool) noexcept {
    return false;
}
inline k::u32& guard_count(page* p) noexcept {
    return p->guards;
}
inline k::u32 sink_pins(page* p) noexcept {
    return p->pins_of(pin_kind::sink);
}

inline void* allocate(std::size_t bytes) noexcept {
    return std::malloc(bytes);
}
inline void free(void* at) noexcept {
    std::free(at);
}
inline bool has_crc32c() noexcept {
    return false;
}
inline k::u64 crc32c_after(k::u64 state, k::u64) noexcept {
    return state; // is not called
}
inline k::u64 now_ns() noexcept {
    return 0;
}

// One CPU, no interrupts.
struct critical {
    critical() noexcept {}
};
struct spinlock {};
struct spin_guard {
    explicit spin_guard(spinlock&) noexcept {}
};
template <class T> class per_cpu {
  public:
    T& local() { return value_; }
    T& of(unsigned) { return value_; }

  private:
    T value_;
};
inline unsigned cpu_count() noexcept {
    return 1;
}

// No way to show scattered pages together: views of those are refused, all else works.
struct window {
    static k::result<window> create(std::size_t) { return k::error::nomem; }
    void show(std::size_t, physical_address, access) {}
    void* data() const { return nullptr; }
};

} // namespace xio::platform
