#include "kernel/proc/program.h"

#include "sys/vfs/data.h"

namespace proc {

namespace {

k::u64 page_down(k::u64 at) {
    return k::align_down<k::u64>(at, arch::page_size);
}
k::u64 page_up(k::u64 at) {
    return k::align_up<k::u64>(at, arch::page_size);
}

k::status map_fixed(vm::space& into, k::u64 at, k::u64 bytes, k::u8 access, const program_file* what, k::u64 offset) {
    vm::map_request request{.hint = at, .bytes = bytes, .access = access};
    if (what) {
        request.what = k::ref<vm::object>::to(*what->what().node->pages());
        request.of = vm::backing_ref(what->held.get());
    }
    request.offset = offset;
    request.fixed = true;
    TRY(into.map(request));
    return {};
}

// The pages that hold bytes of the file come from its object; what is left of the last of them, and the pages after it,
// are zeroes.
k::status map_segment(vm::space& into, const elf::segment& s, const program_file& file, k::u64 bias) {
    const k::u64 base = page_down(s.address + bias);
    const k::u64 file_end = s.address + bias + s.file_bytes, end = s.address + bias + s.memory_bytes;
    k::u64 zeroes_from = base;
    if (s.file_bytes) {
        zeroes_from = page_up(file_end);
        TRY(map_fixed(into, base, zeroes_from - base, s.access, &file, page_down(s.offset)));
        // To the end of the page, also beyond the segment's: the C library's loader allocates there, and relies on
        // zeroes.
        if (end > file_end && (s.access & arch::user_write)) {
            const k::u64 rest = zeroes_from - file_end;
            if (into.zero_out(file_end, rest) != rest) return k::error::nomem;
        }
    }
    if (page_up(end) <= zeroes_from) return {};
    return map_fixed(into, zeroes_from, page_up(end) - zeroes_from, s.access, nullptr, 0);
}

// A free place for all of a program that may lie anywhere.
k::result<k::u64> choose_bias(vm::space& into, const elf::image& program, k::u64 wanted) {
    if (!program.anywhere) return k::u64{0};
    const k::u64 lowest = program.lowest(), span = program.end() - lowest;
    if (wanted) return k::align_up(wanted, program.alignment) - k::align_down(lowest, program.alignment);
    const k::u64 slack = program.alignment - arch::page_size;
    vm::map_request place{.bytes = span + slack, .access = arch::user_none};
    const k::u64 at = TRY(into.map(place));
    TRY(into.unmap(at, span + slack));
    return k::align_up(at, program.alignment) - k::align_down(lowest, program.alignment);
}

} // namespace

k::status program_file::read(k::u64 offset, std::span<std::byte> to) const noexcept {
    xio::sink sink = TRY(xio::sink::over_kernel(to));
    const k::u64 done = TRY(vfs::read(*what().node, offset, sink));
    if (done != to.size()) return k::error::noexec;
    return {};
}

k::status open_program(const vfs::view& v, std::string_view path, program_file& out) noexcept {
    return open_program(v.who, TRY(vfs::find(v, path)), out);
}

k::status open_program(const vfs::subject& who, vfs::found what, program_file& out) noexcept {
    vfs::vnode& n = *what.node;
    if (!n.is(vfs::node_type::regular) || !n.pages()) return k::error::acces;
    TRY(vfs::check_afresh(n, who, vfs::may_execute));
    if (what.in && (what.in->flags() & vfs::mount_no_programs)) return k::error::acces;
    vfs::file_system::opened_ref opened;
    if (n.fs.is_in_program()) opened = TRY(n.fs.open(n, 0)); // what is cached of it may be old
    out.held = TRY(held_program::create(std::move(what), std::move(opened)));
    out.head_bytes = std::min<k::u64>(out.size(), program_file::head_room);
    return out.read(0, {out.head, out.head_bytes});
}

k::result<loaded_program> load_program(vm::space& into, const elf::image& program, const program_file& file,
                                       k::u64 wanted) noexcept {
    const k::u64 bias = TRY(choose_bias(into, program, wanted));
    if (!elf::fits(program, bias)) return k::error::noexec;
    for (const elf::segment& s : program.loaded())
        TRY(map_segment(into, s, file, bias));
    return loaded_program{bias, program.entry + bias, program.end() + bias};
}

} // namespace proc
