// Does sys/xio live without the kernel around it? A few of its promises, on a foreign platform.
#include "sys/xio/checksum.h"
#include "sys/xio/segments.h"
#include "sys/xio/view.h"

#include <cstdio>
#include <cstring>

namespace xio::platform {
page pages[page_count];
alignas(page_size) std::byte storage[page_count * page_size];
std::byte* memory = storage;
} // namespace xio::platform

namespace k {
void panic_with(std::string_view format, format_args) {
    std::fprintf(stderr, "panic: %.*s\n", static_cast<int>(format.size()), format.data());
    std::abort();
}
void assertion_failed(const char* expression, where at) {
    std::fprintf(stderr, "%s:%d: %s\n", at.file, at.line, expression);
    std::abort();
}
} // namespace k

namespace {

unsigned passed, failed;

void check(bool good, const char* promise) {
    std::printf("%s - %s\n", good ? "ok" : "not ok", promise);
    good ? passed++ : failed++;
}

bool all_pages_free() {
    return std::none_of(std::begin(xio::platform::pages), std::end(xio::platform::pages),
                        [](const xio::platform::page& p) { return p.held(); });
}

std::span<const std::byte> bytes_of(const char* text) {
    return std::as_bytes(std::span(text, std::strlen(text)));
}

void try_slices() {
    auto text = *xio::source::copy_of(bytes_of("123456789"));
    check(xio::crc32c(text) == 0xe3069283, "the CRC32C of 123456789 is the one that everybody has");
    const auto before = xio::read_ledger();
    auto part = *text.slice(3, 4);
    auto twice = *xio::source::append(part, text);
    check(xio::read_ledger().copied_bytes() == before.copied_bytes(), "slicing and appending copy nothing");
    char out[13];
    check(bool(twice.read(0, std::as_writable_bytes(std::span(out)))) && !std::memcmp(out, "4567123456789", 13),
          "and the bytes are the right ones");
    check(!text.slice(5, 5).has_value(), "a slice beyond the end is refused");
}

void try_copy() {
    using xio::platform::page;
    page* scattered[3];
    for (page*& p : scattered)
        p = xio::platform::allocate_page();
    std::swap(scattered[0], scattered[2]);
    {
        auto to = *xio::sink::over_pages(scattered, 100, 9000);
        auto from = *xio::source::copy_of(std::as_bytes(std::span(xio::platform::storage, 1)));
        check(bool(xio::copy(from, to)), "copying crosses pages with any alignment");
        unsigned segments = 0;
        check(bool(xio::for_each_segment(to, {.segment_bytes = 512}, [&](xio::segment) { segments++; })) &&
                  segments == 8 + 8 + 2,
              "segments respect the device's limit");
        check(!xio::sink_view::map(to).has_value(), "what the platform cannot do is refused");
    }
    for (page* p : scattered)
        xio::platform::release_page(p);
}

} // namespace

int main() {
    try_slices();
    try_copy();
    check(all_pages_free(), "every page is back");
    std::printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
