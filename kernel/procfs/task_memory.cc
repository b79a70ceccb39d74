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

// What maps says of entries, beside their numbers. The path of one is kept: the next is often of the same file.
class entry_names {
  public:
    entry_names(const proc::process& of, vm::space& space, const vfs::place* root, std::span<char> room) noexcept
        : heap_(space.heap()), vdso_(of.vdso_base), root_(root), room_(room) {}

    std::string_view of(const vm::entry_view& e) noexcept {
        if (e.of) return path_of(static_cast<const vfs::mapped*>(e.of)->what());
        if (e.base == vdso_) return "[vdso]";
        if (e.end == vdso_) return "[vvar]";
        if (e.grows_down) return "[stack]";
        if (e.how == vm::sharing::shared) return "/dev/zero (deleted)"; // as Linux calls shared memory without a name
        if (!e.shown && e.base < heap_.end && e.end > heap_.base) return "[heap]";
        return {};
    }

  private:
    std::string_view path_of(const vfs::found& file) noexcept {
        if (&file == last_ || !root_) return path_;
        auto path = vfs::path_of(*root_, file, room_);
        last_ = &file;
        return path_ = path ? *path : std::string_view();
    }

    const vm::space::address_range heap_;
    const xio::user_address vdso_;
    const vfs::place* const root_; // of who reads; null: the kernel
    const std::span<char> room_;
    const vfs::found* last_ = nullptr;
    std::string_view path_;
};

// What would be the end of a line or of a word.
void put_path(std::string_view path, k::text_sink& to) noexcept {
    for (const char& c : path)
        to.put(c == '\n' ? std::string_view("\\012") : std::string_view(&c, 1));
}

void put_entry(const vm::entry_view& e, entry_names& names, k::text_sink& to) noexcept {
    char access[] = "---p";
    if (e.access & arch::user_read) access[0] = 'r';
    if (e.access & arch::user_write) access[1] = 'w';
    if (e.access & arch::user_execute) access[2] = 'x';
    if (e.how == vm::sharing::shared) access[3] = 's';
    const vfs::vnode* file = e.of ? static_cast<const vfs::mapped*>(e.of)->what().node.get() : nullptr;
    char line[128];
    k::buffer_sink text(line);
    k::format_to(text, "{:08X}-{:08X} {} {:08X} 00:{:02X} {} ", e.base, e.end, access, file ? e.offset : 0,
                 file ? file->fs.device() : 0, file ? file->inode : 0);
    to.put(text.view());
    if (const std::string_view name = names.of(e); !name.empty()) {
        constexpr std::size_t column = 73;
        constexpr std::string_view blanks = "                                                                         ";
        if (text.view().size() < column) to.put(blanks.substr(0, column - text.view().size()));
        put_path(name, to);
    }
    to.put("\n");
}

} // namespace

k::status make_maps(const task& of, k::text_sink& to) {
    const k::ref<vm::space> space = of.process->share_space();
    if (!space) return {};
    files::path_buffer buffer;
    if (!buffer) return k::error::nomem;
    k::ref<proc::places> where;
    if (proc::is_user_thread()) where = proc::current_process().where();
    entry_names names(*of.process, *space, where ? &where->root : nullptr, buffer.room());
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
