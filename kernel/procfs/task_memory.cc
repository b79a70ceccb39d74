// What is in a process's memory: its mappings, its arguments and its environment.
#include "kernel/files/paths.h"
#include "kernel/proc/current.h"
#include "kernel/proc/user_loop.h"
#include "kernel/procfs/task_texts_priv.h"

#include <algorithm>

namespace procfs {

namespace {

constexpr k::u64 longest_texts = 1 << 21; // nobody's arguments are longer

// Texts of a process's memory, as far as they are there.
k::status put_memory(const task& of, xio::user_address from, xio::user_address end, k::text_sink& to) noexcept {
    const k::ref<vm::space> space = of.process->share_space();
    if (!space || from >= end || !proc::is_user_thread()) return {};
    end = std::min(end, from + longest_texts);
    proc::visit_space visit(proc::current(), *space);
    char piece[512];
    while (from < end) {
        const k::u64 wanted = std::min<k::u64>(end - from, sizeof(piece));
        const k::u64 good = space->copy_in(piece, from, wanted);
        to.put({piece, good});
        if (good != wanted) break;
        from += good;
    }
    return {};
}

// What maps says of one entry, beside its numbers.
struct place_names {
    const vm::object* program = nullptr; // the object of the program's file
    k::u64 device = 0, inode = 0;
    std::string_view path;
    vm::space::address_range heap{};
    xio::user_address vdso = 0;

    std::string_view of(const vm::entry_view& e) const noexcept {
        if (e.shown && e.shown == program) return path;
        if (e.base == vdso) return "[vdso]";
        if (e.grows_down) return "[stack]";
        if (!e.shown && e.base < heap.end && e.end > heap.base) return "[heap]";
        return {};
    }
};

void put_entry(const vm::entry_view& e, const place_names& names, k::text_sink& to) noexcept {
    char access[] = "---p";
    if (e.access & arch::user_read) access[0] = 'r';
    if (e.access & arch::user_write) access[1] = 'w';
    if (e.access & arch::user_execute) access[2] = 'x';
    if (e.how == vm::sharing::shared) access[3] = 's';
    const bool is_file = e.shown && e.shown == names.program;
    char line[128];
    k::buffer_sink text(line);
    k::format_to(text, "{:08X}-{:08X} {} {:08X} 00:{:02X} {}", e.base, e.end, access, is_file ? e.offset : 0,
                 is_file ? names.device : 0, is_file ? names.inode : 0);
    to.put(text.view());
    if (const std::string_view name = names.of(e); !name.empty()) {
        constexpr std::size_t column = 73;
        constexpr std::string_view blanks = "                                                                         ";
        to.put(blanks.substr(0, text.view().size() < column ? column - text.view().size() : 1));
        to.put(name);
    }
    to.put("\n");
}

} // namespace

k::status make_maps(const task& of, k::text_sink& to) {
    const k::ref<vm::space> space = of.process->share_space();
    if (!space) return {};
    files::path_buffer buffer;
    if (!buffer) return k::error::nomem;
    const k::ref<proc::held_program> program = of.process->program();
    place_names names;
    names.heap = space->heap();
    names.vdso = of.process->vdso_base;
    if (program && proc::is_user_thread()) {
        const vfs::found& file = program->file;
        names.program = file.node->pages();
        names.device = file.node->fs.device();
        names.inode = file.node->inode;
        const auto where = proc::current_process().where();
        auto path = vfs::path_of(where->root, *file.in, *file.node, file.called.get(), buffer.room());
        if (path) names.path = *path;
    }
    space->for_each_entry([&](const vm::entry_view& e) { put_entry(e, names, to); });
    return {};
}

k::status make_command_line(const task& of, k::text_sink& to) {
    return put_memory(of, of.process->arguments_base, of.process->arguments_end, to);
}

k::status make_environment(const task& of, k::text_sink& to) {
    return put_memory(of, of.process->arguments_end, of.process->environment_end, to);
}

} // namespace procfs
