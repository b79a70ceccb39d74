// What the calls of *_calls.cc that concern files share: the file of a descriptor, payload at user addresses.
#pragma once

#include "kernel/files/caller.h"
#include "kernel/mem/slab.h"
#include "kernel/syscall/table.h"

namespace syscalls {

using files::callers_memory;
using files::file_use;

// The most that one call moves, as in Linux; what is beyond is cut off.
constexpr k::u64 most_bytes = 0x7fff'f000;

[[gnu::always_inline]] inline k::result<file_use> file_to_read(fd from) noexcept {
    file_use f = TRY(files::callers_file(from.number));
    if (!f->readable()) return k::error::badf;
    return f;
}
[[gnu::always_inline]] inline k::result<file_use> file_to_write(fd to) noexcept {
    file_use f = TRY(files::callers_file(to.number));
    if (!f->writable()) return k::error::badf;
    return f;
}

// Payload in one piece. Lives until the call is over: sources and sinks refer to it.
class one_range {
  public:
    one_range(user_buffer at, k::u64 bytes) noexcept
        : range_{at.at, std::min(bytes, most_bytes)}, all_{&callers_memory(), {&range_, 1}} {}
    one_range(const one_range&) = delete;
    one_range& operator=(const one_range&) = delete;

    xio::source source() const noexcept { return xio::source::over_user(all_); }
    xio::sink sink() const noexcept { return xio::sink::over_user(all_); }

  private:
    xio::user_range range_;
    xio::user_ranges all_;
};

// Payload as readv and writev name it: struct iovec is a user_range.
class many_ranges {
  public:
    static constexpr k::u64 most = 1024; // IOV_MAX

    many_ranges() = default;
    ~many_ranges() { mem::free(heap_); }
    many_ranges(const many_ranges&) = delete;
    many_ranges& operator=(const many_ranges&) = delete;

    // EINVAL: too many, or lengths that make no sense; EFAULT; ENOMEM. Once.
    k::status read(vm::user_pointer<const xio::user_range> from, k::u64 count) noexcept;

    xio::source source() const noexcept { return xio::source::over_user(all_); }
    xio::sink sink() const noexcept { return xio::sink::over_user(all_); }

  private:
    static constexpr k::u64 few = 8;
    xio::user_range inline_[few];
    xio::user_range* heap_ = nullptr;
    xio::user_ranges all_{};
};

// What a write came to: EPIPE sends SIGPIPE too, where it does so.
void note_broken_pipe(const files::file& to) noexcept;
inline k::result<k::u64> written(const files::file& to, k::result<k::u64> outcome) noexcept {
    if (!outcome && outcome.error() == k::error::pipe) [[unlikely]]
        note_broken_pipe(to);
    return outcome;
}

} // namespace syscalls
