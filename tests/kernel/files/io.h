// Reading and writing files from kernel threads: the payload is kernel memory.
#pragma once

#include "kernel/files/file.h"
#include "tests/support/bytes.h"

#include <string_view>

namespace tests {

inline k::result<k::u64> write_some(files::file& to, std::span<const std::byte> bytes) {
    const support::buffer copy(bytes.size() + 1);
    if (!copy) return k::error::nomem;
    std::ranges::copy(bytes, copy.data());
    xio::source from = TRY(xio::source::over_kernel(copy.first(bytes.size())));
    return to.write(from);
}
inline k::result<k::u64> write_text(files::file& to, std::string_view text) {
    return write_some(to, std::as_bytes(std::span(text)));
}

inline k::result<k::u64> read_some(files::file& from, std::span<std::byte> bytes) {
    const support::buffer room(bytes.size() + 1);
    if (!room) return k::error::nomem;
    xio::sink to = TRY(xio::sink::over_kernel(room.first(bytes.size())));
    const k::u64 done = TRY(from.read(to));
    std::ranges::copy(room.first(done), bytes.begin());
    return done;
}

// A short text that is read at once.
struct text_read {
    char text[128];
    k::u64 bytes = 0;
    k::error why{};

    explicit text_read(files::file& from, k::u64 most = sizeof(text)) {
        auto done = read_some(from, std::as_writable_bytes(std::span(text, most)));
        if (done)
            bytes = *done;
        else
            why = done.error();
    }
    std::string_view view() const { return {text, bytes}; }
};

inline k::result<k::u64> write_number(files::file& to, k::u64 value) {
    return write_some(to, std::as_bytes(std::span(&value, 1)));
}
inline k::result<k::u64> read_number(files::file& from) {
    k::u64 value = 0;
    TRY(read_some(from, std::as_writable_bytes(std::span(&value, 1))));
    return value;
}

// What went wrong; error{} if nothing did.
template <class T> k::error error_of(const k::result<T>& r) {
    return r ? k::error{} : r.error();
}

} // namespace tests
