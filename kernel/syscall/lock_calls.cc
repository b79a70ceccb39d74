// Advisory locks: flock(2), and fcntl(2) as far as it concerns them.
#include "kernel/syscall/lock_calls.h"

#include "kernel/files/locks.h"
#include "kernel/syscall/calls.h"

namespace syscalls {

namespace {

using files::byte_lock;
using files::lock_mode;

enum command : int { get = 5, set = 6, set_and_wait = 7, of_file = 31 }; // of_file is added for an open file's own

// struct flock.
struct lock_record {
    k::u16 type, whence;
    k::i32 pad0;
    k::i64 start, length;
    k::i32 pid, pad1;
};
static_assert(sizeof(lock_record) == 32);
enum record_type : k::u16 { read_lock = 0, write_lock = 1, no_lock = 2 };

// The range of a record: from start on, or in front of it if the length is negative; of length 0 to the end of all
// files.
k::status read_range(files::file& f, const lock_record& r, byte_lock& out) {
    k::i64 base = 0, start, last = static_cast<k::i64>(files::last_lockable);
    switch (r.whence) {
    case 0: break;
    case 1: base = static_cast<k::i64>(TRY(f.seek(0, 1))); break;
    case 2: base = static_cast<k::i64>(f.origin().node->size.load(std::memory_order_relaxed)); break;
    default: return k::error::inval;
    }
    if (__builtin_add_overflow(base, r.start, &start)) return k::error::overflow;
    if (start < 0) return k::error::inval;
    if (r.length > 0 && __builtin_add_overflow(start, r.length - 1, &last)) return k::error::overflow;
    if (r.length < 0) {
        last = start - 1;
        if (__builtin_add_overflow(start, r.length, &start) || start < 0) return k::error::inval;
    }
    out.first = static_cast<k::u64>(start);
    out.last = static_cast<k::u64>(last);
    return {};
}

k::result<lock_mode> mode_of(k::u16 type) {
    switch (type) {
    case read_lock: return lock_mode::shared;
    case write_lock: return lock_mode::exclusive;
    case no_lock: return lock_mode::none;
    default: return k::error::inval;
    }
}

lock_record record_of(const byte_lock& l) {
    return {.type = l.mode == lock_mode::exclusive ? write_lock : read_lock,
            .whence = 0,
            .pad0 = 0,
            .start = static_cast<k::i64>(l.first),
            .length = l.last == files::last_lockable ? 0 : static_cast<k::i64>(l.last - l.first + 1),
            .pid = l.pid,
            .pad1 = 0};
}

} // namespace

k::result<k::u64> lock_fcntl(fd of, int command, k::u64 argument) {
    file_use f = TRY(files::callers_file(of.number));
    const bool by_process = command < of_file;
    if (!by_process) command -= of_file;
    lock_record record = TRY(files::argument_at<lock_record>(argument));
    if (f->flags() & files::open_path) return k::error::badf;
    if (!f->origin()) return k::error::inval; // no node: nothing that another could have open
    byte_lock wanted{.mode = TRY(mode_of(record.type))};
    TRY(read_range(*f, record, wanted));
    if (!by_process && record.pid) return k::error::inval;
    wanted.by_process = by_process;
    wanted.owner = by_process ? static_cast<const void*>(&files::callers_table()) : f.get();
    wanted.pid = by_process ? proc::current_process().pid : -1;
    vfs::vnode& node = *f->origin().node;
    if (command == get) {
        if (wanted.mode == lock_mode::none) return k::error::inval;
        const byte_lock other = files::blocking_lock(node, wanted);
        if (other.mode == lock_mode::none)
            record.type = no_lock;
        else
            record = record_of(other);
        TRY(files::answer(argument, record));
        return 0;
    }
    if (wanted.mode == lock_mode::shared ? !f->readable() : wanted.mode == lock_mode::exclusive && !f->writable())
        return k::error::badf;
    TRY(files::set_lock(node, files::lock_kind::ranges, wanted, command == set_and_wait));
    // Closed by another thread meanwhile: that took the locks away which were there then.
    if (by_process && files::callers_table().get(of.number).get() != f.get()) files::drop_locks(node, wanted.owner);
    return 0;
}

namespace {

k::result<k::u64> sys_flock(fd of, int operation) {
    enum : int { shared = 1, exclusive = 2, at_once = 4, unlock = 8 };
    file_use f = TRY(files::callers_file(of.number));
    if (f->flags() & files::open_path) return k::error::badf;
    byte_lock wanted{.owner = f.get()};
    switch (operation & ~at_once) {
    case shared: wanted.mode = lock_mode::shared; break;
    case exclusive: wanted.mode = lock_mode::exclusive; break;
    case unlock: break;
    default: return k::error::inval;
    }
    if (!f->origin()) return k::error::inval;
    TRY(files::set_lock(*f->origin().node, files::lock_kind::whole, wanted, !(operation & at_once)));
    return 0;
}

constexpr entry entries[] = {
    call<sys_flock>(73, "flock", restarts, "only of files that have a name"),
};

} // namespace

constinit const std::span<const entry> lock_calls = entries;

} // namespace syscalls
