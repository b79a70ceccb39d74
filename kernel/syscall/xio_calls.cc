// Calls of our own: an xio as a descriptor. Their numbers are far from Linux's; user/xio.h has them for programs.
#include "kernel/files/stored_file.h"
#include "kernel/files/xio_file.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/file_arguments.h"
#include "sys/vm/loan.h"

namespace syscalls {

namespace {

constexpr k::u64 close_on_exec = files::open_cloexec;

k::result<k::u64> give(xio::source bytes, k::u64 flags) {
    if (bytes.empty()) return k::error::inval;
    return static_cast<k::u64>(
        TRY(files::give_to_caller(TRY(files::make_xio_file(std::move(bytes))), flags & close_on_exec)));
}

// The bytes as they are now; what the caller writes there afterwards is not seen.
k::result<k::u64> sys_xio_from_memory(user_buffer from, k::u64 bytes, bits flags) {
    if (flags.value & ~close_on_exec) return k::error::inval;
    if (!bytes || bytes > files::most_xio_bytes) return k::error::inval;
    const one_range where(from, bytes);
    auto& space = static_cast<vm::space&>(callers_memory());
    return give(TRY(vm::bind_source(space, where.source(), xio::stability::stable)), flags.value);
}

// As many of them as the file has there, at least one.
k::result<k::u64> sys_xio_from_file(fd from, k::i64 offset, k::u64 bytes, bits flags) {
    if (flags.value & ~close_on_exec) return k::error::inval;
    if (offset < 0 || !bytes || bytes > files::most_xio_bytes) return k::error::inval;
    file_use f = TRY(file_to_read(from));
    const auto at = static_cast<k::u64>(offset);
    if (f->kind() == files::file_kind::xio) return give(TRY(files::xio_of(*f, at, bytes)), flags.value);
    auto lent = files::lend_from(*f, at, bytes);
    if (!lent && lent.error() == k::error::again) return k::error::opnotsupp; // a file without pages
    return give(TRY(std::move(lent)), flags.value);
}

constexpr entry entries[] = {
    call<sys_xio_from_memory>(own_calls + 0, "xio_from_memory"),
    call<sys_xio_from_file>(own_calls + 1, "xio_from_file", ends, "of files whose bytes are pages"),
};

} // namespace

constinit const std::span<const entry> xio_calls = entries;

} // namespace syscalls
