// Pipes, and bytes that go from file to file without the caller seeing them.
#include "kernel/files/pipe.h"
#include "kernel/files/transfer.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/file_arguments.h"
#include "sys/vm/reaper.h"

namespace syscalls {

namespace {

using files::transfer_end;
using vm::user_pointer;

struct two_descriptors {
    int reader, writer;
};

k::result<k::u64> sys_pipe2(user_pointer<two_descriptors> to, bits flags) {
    constexpr k::u32 kept = files::open_nonblock | files::open_direct;
    if (flags.value & ~k::u64{kept | files::open_cloexec}) return k::error::inval;
    const bool close_on_exec = flags.value & files::open_cloexec;
    files::pipe_ends ends = TRY(files::make_pipe(static_cast<k::u32>(flags.value) & kept));
    const int reader = TRY(files::give_to_caller(std::move(ends.reader), close_on_exec));
    auto writer = files::give_to_caller(std::move(ends.writer), close_on_exec);
    k::status told = writer ? to.write(callers_memory(), {reader, *writer}) : k::status(writer.error());
    if (told) return 0;
    (void)files::callers_table().close(reader);
    if (writer) (void)files::callers_table().close(*writer);
    return told.error();
}

k::result<k::u64> sys_pipe(user_pointer<two_descriptors> to) {
    return sys_pipe2(to, {0});
}

// A position that a call takes from user memory and writes back.
class user_offset {
  public:
    explicit user_offset(user_pointer<k::i64> at) noexcept : at_(at) {}
    // None if there is no pointer. EINVAL, EFAULT; ESPIPE for a file without places.
    k::result<std::optional<k::u64>> read(files::file& of) const noexcept {
        if (!at_) return std::optional<k::u64>();
        if (of.kind() == files::file_kind::pipe_end) return k::error::spipe;
        const k::i64 offset = TRY(at_.read(callers_memory()));
        if (offset < 0) return k::error::inval;
        return std::optional<k::u64>(static_cast<k::u64>(offset));
    }
    k::status write(const transfer_end& end) const noexcept {
        if (!at_) return {};
        return at_.write(callers_memory(), static_cast<k::i64>(*end.offset));
    }

  private:
    user_pointer<k::i64> at_;
};

k::result<k::u64> move_bytes(files::file& from, user_offset from_at, files::file& to, user_offset to_at, k::u64 bytes,
                             bool nonblocking) {
    transfer_end source{from, TRY(from_at.read(from))};
    transfer_end target{to, TRY(to_at.read(to))};
    const k::u64 done = TRY(written(to, files::transfer(source, target, std::min(bytes, most_bytes), nonblocking)));
    TRY(from_at.write(source));
    TRY(to_at.write(target));
    return done;
}

k::result<k::u64> sys_sendfile(fd to, fd from, user_pointer<k::i64> offset, k::u64 bytes) {
    file_use source = TRY(file_to_read(from));
    file_use target = TRY(file_to_write(to));
    if (target->flags() & files::open_append) return k::error::inval;
    return move_bytes(*source, user_offset(offset), *target, user_offset({}), bytes, false);
}

constexpr k::u64 splice_move = 1, splice_nonblock = 2, splice_more = 4, splice_gift = 8;
constexpr k::u64 splice_flags = splice_move | splice_nonblock | splice_more | splice_gift;

k::result<k::u64> sys_splice(fd from, user_pointer<k::i64> from_at, fd to, user_pointer<k::i64> to_at, k::u64 bytes,
                             bits flags) {
    if (flags.value & ~splice_flags) return k::error::inval;
    if (!bytes) return 0;
    file_use source = TRY(file_to_read(from));
    file_use target = TRY(file_to_write(to));
    const files::pipe* in = files::pipe_of(*source);
    const files::pipe* out = files::pipe_of(*target);
    if ((!in && !out) || in == out || (target->flags() & files::open_append)) return k::error::inval;
    return move_bytes(*source, user_offset(from_at), *target, user_offset(to_at), bytes, flags.value & splice_nonblock);
}

// Pages of the caller into a pipe, which lends them if that pays, or out of one.
k::result<k::u64> sys_vmsplice(fd of, user_pointer<const xio::user_range> ranges, k::u64 count, bits flags) {
    if (flags.value & ~splice_flags) return k::error::inval;
    file_use f = TRY(files::callers_file(of.number));
    files::pipe* p = files::pipe_of(*f);
    if (!p) return k::error::badf;
    many_ranges where;
    TRY(where.read(ranges, count));
    const bool nonblocking = (flags.value & splice_nonblock) || f->nonblocking();
    if (f->writable()) {
        xio::source source = where.source();
        return written(*f, p->write(source, nonblocking));
    }
    xio::sink sink = where.sink();
    return p->read(sink, nonblocking);
}

// What can be read next in one pipe is put into another too; it stays where it is. A loan of somebody's memory becomes
// a copy, for it may have to wait.
k::result<k::u64> sys_tee(fd from, fd to, k::u64 bytes, bits flags) {
    if (flags.value & ~splice_flags) return k::error::inval;
    file_use source = TRY(file_to_read(from));
    file_use target = TRY(file_to_write(to));
    files::pipe* in = files::pipe_of(*source);
    files::pipe* out = files::pipe_of(*target);
    if (!in || !out || in == out) return k::error::inval;
    if (!bytes) return 0;
    const bool nonblocking = flags.value & splice_nonblock;
    const xio::source seen = TRY(in->queue.peek(std::min(bytes, most_bytes), nonblocking || source->nonblocking()));
    if (seen.empty()) return 0;
    xio::source copy = TRY(vm::without_loan(seen));
    return written(*target, out->write(copy, nonblocking || target->nonblocking()));
}

k::result<k::u64> sys_copy_file_range(fd from, user_pointer<k::i64> from_at, fd to, user_pointer<k::i64> to_at,
                                      k::u64 bytes, bits flags) {
    if (flags.value) return k::error::inval;
    file_use source = TRY(file_to_read(from));
    file_use target = TRY(file_to_write(to));
    const auto has_places = [](files::file& f) { return f.kind() == files::file_kind::stored; };
    if (!has_places(*source) || !has_places(*target)) return k::error::inval;
    if (target->flags() & files::open_append) return k::error::badf;
    return move_bytes(*source, user_offset(from_at), *target, user_offset(to_at), bytes, false);
}

constexpr entry entries[] = {
    call<sys_pipe>(22, "pipe"),
    call<sys_sendfile>(40, "sendfile", restarts),
    call<sys_splice>(275, "splice", restarts),
    call<sys_tee>(276, "tee", restarts, "what lies together in the pipe, as one call"),
    call<sys_vmsplice>(278, "vmsplice", restarts),
    call<sys_pipe2>(293, "pipe2"),
    call<sys_copy_file_range>(326, "copy_file_range"),
};

} // namespace

constinit const std::span<const entry> pipe_calls = entries;

} // namespace syscalls
