// Reading and writing: each call makes an xio of user addresses and hands it to the file.
#include "drivers/block/registry.h"
#include "kernel/files/requests.h"
#include "kernel/files/stored_file.h"
#include "kernel/proc/signal_abi.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/file_arguments.h"
#include "sys/ext/ext.h"
#include "sys/userfs/userfs.h"

namespace syscalls {

k::status many_ranges::read(vm::user_pointer<const xio::user_range> from, k::u64 count) noexcept {
    if (count > most) return k::error::inval;
    xio::user_range* ranges = inline_;
    if (count > few) {
        ranges = heap_ = static_cast<xio::user_range*>(mem::allocate(count * sizeof(xio::user_range)));
        if (!heap_) return k::error::nomem;
    }
    TRY(from.read_array(callers_memory(), {ranges, count}));
    k::u64 room = most_bytes;
    for (k::u64 i = 0; i < count; i++) {
        if (ranges[i].bytes >> 63) return k::error::inval;
        ranges[i].bytes = std::min(ranges[i].bytes, room);
        room -= ranges[i].bytes;
    }
    all_ = {&callers_memory(), {ranges, count}};
    return {};
}

void note_broken_pipe(const files::file& to) noexcept {
    if (to.signals_pipe()) proc::signal_self(proc::sig_pipe);
}

namespace {

using vm::user_pointer;
using iovecs = user_pointer<const xio::user_range>;

k::result<k::u64> sys_read(fd from, user_buffer to, k::u64 bytes) {
    file_use f = TRY(file_to_read(from));
    const one_range where(to, bytes);
    xio::sink sink = where.sink();
    return f->read(sink);
}

k::result<k::u64> sys_write(fd to, user_buffer from, k::u64 bytes) {
    file_use f = TRY(file_to_write(to));
    const one_range where(from, bytes);
    xio::source source = where.source();
    return written(*f, f->write(source));
}

k::result<k::u64> sys_readv(fd from, iovecs to, k::u64 count) {
    file_use f = TRY(file_to_read(from));
    many_ranges where;
    TRY(where.read(to, count));
    xio::sink sink = where.sink();
    return f->read(sink);
}

k::result<k::u64> sys_writev(fd to, iovecs from, k::u64 count) {
    file_use f = TRY(file_to_write(to));
    many_ranges where;
    TRY(where.read(from, count));
    xio::source source = where.source();
    return written(*f, f->write(source));
}

k::result<k::u64> sys_pread64(fd from, user_buffer to, k::u64 bytes, k::i64 offset) {
    if (offset < 0) return k::error::inval;
    file_use f = TRY(file_to_read(from));
    const one_range where(to, bytes);
    xio::sink sink = where.sink();
    return f->read_at(sink, static_cast<k::u64>(offset));
}

k::result<k::u64> sys_pwrite64(fd to, user_buffer from, k::u64 bytes, k::i64 offset) {
    if (offset < 0) return k::error::inval;
    file_use f = TRY(file_to_write(to));
    const one_range where(from, bytes);
    xio::source source = where.source();
    return written(*f, f->write_at(source, static_cast<k::u64>(offset)));
}

k::result<k::u64> sys_preadv(fd from, iovecs to, k::u64 count, k::i64 offset) {
    if (offset < 0) return k::error::inval;
    file_use f = TRY(file_to_read(from));
    many_ranges where;
    TRY(where.read(to, count));
    xio::sink sink = where.sink();
    return f->read_at(sink, static_cast<k::u64>(offset));
}

k::result<k::u64> sys_pwritev(fd to, iovecs from, k::u64 count, k::i64 offset) {
    if (offset < 0) return k::error::inval;
    file_use f = TRY(file_to_write(to));
    many_ranges where;
    TRY(where.read(from, count));
    xio::source source = where.source();
    return written(*f, f->write_at(source, static_cast<k::u64>(offset)));
}

constexpr k::u64 harmless_hints = 1 | 2 | 4; // RWF_HIPRI, RWF_DSYNC, RWF_SYNC: nothing here is late

// The second half of the offset is beyond 64 bits.
k::result<k::u64> sys_preadv2(fd from, iovecs to, k::u64 count, k::i64 offset, k::u64, bits hints) {
    if (hints.value & ~harmless_hints) return k::error::opnotsupp;
    return offset == -1 ? sys_readv(from, to, count) : sys_preadv(from, to, count, offset);
}

k::result<k::u64> sys_pwritev2(fd to, iovecs from, k::u64 count, k::i64 offset, k::u64, bits hints) {
    if (hints.value & ~harmless_hints) return k::error::opnotsupp;
    return offset == -1 ? sys_writev(to, from, count) : sys_pwritev(to, from, count, offset);
}

k::result<k::u64> sys_lseek(fd of, k::i64 offset, int whence) {
    file_use f = TRY(files::callers_file(of.number));
    return f->seek(offset, whence);
}

k::result<k::u64> sys_ioctl(fd of, k::u32 request, k::u64 argument) {
    file_use f = TRY(files::callers_file(of.number));
    switch (request) {
    case files::request_close_on_exec: TRY(files::callers_table().set_close_on_exec(of.number, true)); return 0;
    case files::request_keep_on_exec: TRY(files::callers_table().set_close_on_exec(of.number, false)); return 0;
    case files::request_set_nonblocking:
        f->change_flags(files::open_nonblock, TRY(files::argument_at<int>(argument)) ? ~0u : 0);
        return 0;
    default: return f->ioctl(request, argument);
    }
}

k::result<k::u64> sys_ftruncate(fd of, k::i64 bytes) {
    if (bytes < 0) return k::error::inval;
    file_use f = TRY(files::callers_file(of.number));
    if (f->flags() & files::open_path) return k::error::badf;
    if (!f->writable()) return k::error::inval;
    TRY(f->truncate(static_cast<k::u64>(bytes)));
    return 0;
}

k::result<k::u64> sys_fsync(fd of) {
    file_use f = TRY(files::callers_file(of.number));
    if (!f->origin() || f->kind() == files::file_kind::terminal) return k::error::inval;
    TRY(f->sync());
    return 0;
}

// What fails is told to who calls fsync.
k::result<k::u64> sys_sync() {
    vfs::write_back_programs(); // whose disks may be in files
    (void)ext::sync_all();
    (void)block::write_all_back();
    return 0;
}

k::result<k::u64> sys_sync_file_range(fd of, k::i64 offset, k::i64 bytes, bits flags) {
    constexpr k::u64 known_flags = 1 | 2 | 4; // wait before, write, wait after
    file_use f = TRY(files::callers_file(of.number));
    k::i64 end;
    if (flags.value & ~known_flags || offset < 0 || bytes < 0 || __builtin_add_overflow(offset, bytes, &end))
        return k::error::inval;
    const bool of_a_place = f->kind() == files::file_kind::stored || f->kind() == files::file_kind::directory;
    if (f->flags() & files::open_path) return k::error::badf;
    return of_a_place ? k::result<k::u64>(0) : k::error::spipe;
}

k::result<k::u64> sys_fadvise64(fd of, k::i64, k::i64 bytes, int advice) {
    file_use f = TRY(files::callers_file(of.number));
    if (f->kind() == files::file_kind::pipe_end) return k::error::spipe;
    if (bytes < 0 || advice < 0 || advice > 5) return k::error::inval;
    return 0;
}

k::result<k::u64> sys_fallocate(fd of, int mode, k::i64 offset, k::i64 bytes) {
    file_use f = TRY(files::callers_file(of.number));
    if (offset < 0 || bytes <= 0) return k::error::inval;
    if (!f->writable()) return k::error::badf;
    if (f->kind() == files::file_kind::pipe_end) return k::error::spipe;
    k::u64 end;
    if (__builtin_add_overflow(static_cast<k::u64>(offset), static_cast<k::u64>(bytes), &end) || end >> 63)
        return k::error::fbig;
    TRY(files::allocate(*f, mode, static_cast<k::u64>(offset), static_cast<k::u64>(bytes)));
    return 0;
}

constexpr entry entries[] = {
    call<sys_read>(0, "read", restarts),
    call<sys_write>(1, "write", restarts),
    call<sys_lseek>(8, "lseek"),
    call<sys_ioctl>(16, "ioctl", restarts),
    call<sys_pread64>(17, "pread64", restarts),
    call<sys_pwrite64>(18, "pwrite64", restarts),
    call<sys_readv>(19, "readv", restarts),
    call<sys_writev>(20, "writev", restarts),
    call<sys_fsync>(74, "fsync"),
    call<sys_fsync>(75, "fdatasync"),
    call<sys_ftruncate>(77, "ftruncate"),
    call<sys_sync>(162, "sync"),
    call<sys_fadvise64>(221, "fadvise64", ends, "takes no advice"),
    call<sys_sync_file_range>(277, "sync_file_range"),
    call<sys_fallocate>(285, "fallocate", ends, "no collapsing, inserting or unsharing"),
    call<sys_preadv>(295, "preadv", restarts),
    call<sys_pwritev>(296, "pwritev", restarts),
    call<sys_fsync>(306, "syncfs"),
    call<sys_preadv2>(327, "preadv2", restarts, "flags that change anything are refused"),
    call<sys_pwritev2>(328, "pwritev2", restarts, "flags that change anything are refused"),
};

} // namespace

constinit const std::span<const entry> file_calls = entries;

} // namespace syscalls
