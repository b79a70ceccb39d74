// Calls about a process's address space. What they mean is vm::space's affair; here Linux's flags become requests.
#include "kernel/proc/current.h"
#include "kernel/proc/process.h"
#include "kernel/syscall/calls.h"
#include "sys/vm/space.h"

namespace syscalls {

namespace {

using k::error, k::u64, k::u8;

enum protection : u64 { prot_read = 1, prot_write = 2, prot_exec = 4, prot_growsdown = 0x01000000 };
enum map_flag : u64 {
    map_shared = 1,
    map_private = 2,
    map_shared_validate = 3,
    map_type = 15,
    map_fixed = 0x10,
    map_anonymous = 0x20,
    map_32bit = 0x40,
    map_growsdown = 0x100,
    map_locked = 0x2000,
    map_populate = 0x8000,
    map_fixed_noreplace = 0x100000,
    map_huge = 0x40000,
};
enum remap_flag : u64 { remap_may_move = 1, remap_fixed = 2, remap_dont_unmap = 4 };
enum advice : int {
    advice_normal = 0,
    advice_random = 1,
    advice_sequential = 2,
    advice_will_need = 3,
    advice_dont_need = 4,
    advice_free = 8,
    advice_remove = 9,
    advice_dont_fork = 10,
    advice_do_fork = 11,
    advice_mergeable = 12,
    advice_unmergeable = 13,
    advice_huge = 14,
    advice_no_huge = 15,
    advice_dont_dump = 16,
    advice_do_dump = 17,
    advice_wipe_on_fork = 18,
    advice_keep_on_fork = 19,
};

u8 access_of(u64 protection) {
    u8 access = 0;
    if (protection & prot_read) access |= arch::user_read;
    if (protection & prot_write) access |= arch::user_write | arch::user_read;
    if (protection & prot_exec) access |= arch::user_execute | arch::user_read;
    return access;
}

bool is_protection(u64 value) {
    return !(value & ~u64{prot_read | prot_write | prot_exec});
}

u64 page_up(u64 bytes) {
    return k::align_up<u64>(bytes, arch::page_size);
}

// What a file may be mapped as, from how it was opened.
k::status take_file(vm::map_request& what, int number, u64 offset) {
    const files::file_use file = proc::current().files->look_up(number);
    if (!file || (file->flags() & files::open_path)) return error::badf;
    if (!file->readable()) return error::acces;
    if (what.how == vm::sharing::shared && !file->writable()) {
        if (what.access & arch::user_write) return error::acces;
        what.most_access &= static_cast<u8>(~arch::user_write);
    }
    what.what = TRY(file->mapped_object());
    what.of = vm::backing_ref(file->mapped_as());
    what.offset = offset;
    return {};
}

k::result<u64> sys_mmap(u64 hint, u64 bytes, bits protection, bits flags, int number, u64 offset) {
    if (!is_protection(protection.value & ~u64{prot_growsdown}) || offset % arch::page_size) return error::inval;
    if (offset + bytes < offset || offset > vm::page_tree::max_index) return error::overflow;
    vm::map_request what{
        .hint = hint,
        .bytes = bytes,
        .access = access_of(protection.value),
        .fixed = (flags.value & (map_fixed | map_fixed_noreplace)) != 0,
        .no_replace = (flags.value & map_fixed_noreplace) != 0,
        .populate = (flags.value & map_populate) != 0,
        .lock = (flags.value & map_locked) != 0,
    };
    if (what.fixed && hint % arch::page_size) return error::inval;
    switch (flags.value & map_type) {
    case map_private: what.how = vm::sharing::private_copy; break;
    case map_shared:
    case map_shared_validate: what.how = vm::sharing::shared; break;
    default: return error::inval;
    }
    if (flags.value & map_huge) return error::nomem; // no pool of huge pages; large ones come by themselves
    if (!(flags.value & map_anonymous)) TRY(take_file(what, number, offset));
    return proc::current_space().map(what);
}

k::result<u64> sys_munmap(u64 base, u64 bytes) {
    TRY(proc::current_space().unmap(base, bytes));
    return 0;
}

k::result<u64> sys_mprotect(u64 base, u64 bytes, bits protection) {
    if (!is_protection(protection.value)) return error::inval;
    TRY(proc::current_space().protect(base, bytes, access_of(protection.value)));
    return 0;
}

k::result<u64> sys_mremap(u64 base, u64 old_bytes, u64 new_bytes, bits flags, u64 target) {
    constexpr u64 known = remap_may_move | remap_fixed | remap_dont_unmap;
    const bool fixed = flags.value & remap_fixed, may_move = flags.value & remap_may_move;
    if (flags.value & ~known || (fixed && (!may_move || !target || target % arch::page_size))) return error::inval;
    if (!old_bytes) return error::inval; // a second mapping of shared memory: mmap makes that
    return proc::current_space().remap(base, page_up(old_bytes), new_bytes, may_move, fixed ? target : 0,
                                       flags.value & remap_dont_unmap);
}

k::result<u64> sys_madvise(u64 base, u64 bytes, int what) {
    vm::space& space = proc::current_space();
    if (base % arch::page_size) return error::inval;
    if (!bytes) return 0;
    k::status done;
    switch (what) {
    case advice_normal:
    case advice_random:
    case advice_sequential:
    case advice_will_need:
    case advice_mergeable:
    case advice_unmergeable:
    case advice_huge:
    case advice_no_huge:
    case advice_dont_dump:
    case advice_do_dump: // hints, and this kernel knows better or does not care
        if (!space.is_mapped(base, bytes)) return error::nomem;
        break;
    case advice_dont_need:
    case advice_free: done = space.discard(base, bytes); break;
    case advice_dont_fork: done = space.set_inheritance(base, bytes, vm::inheritance::none); break;
    case advice_wipe_on_fork: done = space.set_inheritance(base, bytes, vm::inheritance::zeroed); break;
    case advice_do_fork:
    case advice_keep_on_fork: done = space.set_inheritance(base, bytes, vm::inheritance::as_is); break;
    default: return error::inval;
    }
    TRY(std::move(done));
    return 0;
}

k::result<u64> sys_msync(u64 base, u64 bytes, bits flags) {
    constexpr u64 async = 1, invalidate = 2, sync = 4;
    if (base % arch::page_size || flags.value & ~(async | invalidate | sync) ||
        (flags.value & (async | sync)) == (async | sync))
        return error::inval;
    if (bytes && !proc::current_space().is_mapped(base, page_up(bytes))) return error::nomem;
    if (!(flags.value & sync)) return 0;
    // Each file once, where its mappings lie together; the first error is told when all were tried.
    vm::backing_ref last;
    k::status outcome;
    for (u64 at = base, end = base + page_up(bytes); at < end;) {
        vm::backing_ref of = proc::current_space().shared_backing(at, end);
        if (!of.get()) break;
        if (of.get() == last.get()) continue;
        if (const k::status kept = of.get()->keep_bytes(); !kept && outcome) outcome = kept;
        last = std::move(of);
    }
    TRY(std::move(outcome));
    return 0;
}

k::result<u64> sys_brk(u64 end) {
    return proc::current_space().move_break(end);
}

k::result<u64> sys_mincore(u64 base, u64 bytes, vm::user_pointer<u8> out) {
    if (base % arch::page_size) return error::inval;
    vm::space& space = proc::current_space();
    u8 some[256];
    const u64 pages = page_up(bytes) / arch::page_size;
    for (u64 done = 0; done < pages; done += sizeof(some)) {
        const u64 count = std::min<u64>(pages - done, sizeof(some));
        TRY(space.residency(base + done * arch::page_size, count * arch::page_size, {some, count}));
        TRY((out + done).write_array(space, {some, count}));
    }
    return 0;
}

// The pages that a range touches.
struct whole_pages {
    u64 base, bytes;
    whole_pages(u64 at, u64 length)
        : base(k::align_down<u64>(at, arch::page_size)), bytes(page_up(length + (at - base))) {}
};

k::status set_locked(u64 base, u64 bytes, bool locked) {
    if (!bytes) return {};
    if (base + bytes < base) return error::inval;
    const whole_pages r(base, bytes);
    vm::space& space = proc::current_space();
    const u64 limit = proc::current_process().limits.soft(proc::resource::locked);
    if (locked && limit != ~u64{0}) {
        const u64 sum = (space.size().locked_pages << arch::page_shift) + r.bytes;
        if (sum > limit) return limit ? error::nomem : error::perm;
    }
    return space.set_locked(r.base, r.bytes, locked);
}

k::result<u64> sys_mlock(u64 base, u64 bytes) {
    TRY(set_locked(base, bytes, true));
    return 0;
}

k::result<u64> sys_mlock2(u64 base, u64 bytes, bits flags) {
    constexpr u64 on_fault = 1; // nothing is ever paged out: what is there stays there
    if (flags.value & ~on_fault) return error::inval;
    if (flags.value & on_fault)
        return proc::current_space().is_mapped(base, bytes) ? k::result<u64>(u64{0}) : error::nomem;
    return sys_mlock(base, bytes);
}

k::result<u64> sys_munlock(u64 base, u64 bytes) {
    TRY(set_locked(base, bytes, false));
    return 0;
}

// Memory of this kernel is never paged out: locking everything is a promise that it keeps anyway.
k::result<u64> sys_mlockall(bits flags) {
    return flags.value & ~u64{7} || !(flags.value & 3) ? k::result<u64>(error::inval) : u64{0};
}

k::result<u64> sys_munlockall() {
    return u64{0};
}

constexpr entry table[] = {
    call<sys_mmap>(9, "mmap"),         call<sys_mprotect>(10, "mprotect"),  call<sys_munmap>(11, "munmap"),
    call<sys_brk>(12, "brk"),          call<sys_mremap>(25, "mremap"),      call<sys_msync>(26, "msync"),
    call<sys_mincore>(27, "mincore"),  call<sys_madvise>(28, "madvise"),    call<sys_mlock>(149, "mlock"),
    call<sys_munlock>(150, "munlock"), call<sys_mlockall>(151, "mlockall"), call<sys_munlockall>(152, "munlockall"),
    call<sys_mlock2>(325, "mlock2"),
};

} // namespace

constinit const std::span<const entry> memory_calls{table};

} // namespace syscalls
