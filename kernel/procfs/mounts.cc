// mounts and mountinfo: what is mounted where, as seen from a process's root.
#include "kernel/files/paths.h"
#include "kernel/procfs/task_texts_priv.h"

namespace procfs {

namespace {

// Blanks and their like in names would end a field.
void put_escaped(std::string_view text, k::text_sink& to) noexcept {
    for (char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\\') {
            const char octal[] = {'\\', static_cast<char>('0' + (byte >> 6)), static_cast<char>('0' + (byte >> 3 & 7)),
                                  static_cast<char>('0' + (byte & 7))};
            to.put({octal, sizeof(octal)});
        } else {
            to.put({&c, 1});
        }
    }
}

void put_flags(k::u32 flags, bool read_only, k::text_sink& to) noexcept {
    to.put(read_only ? "ro" : "rw");
    if (flags & vfs::mount_no_set_id) to.put(",nosuid");
    if (flags & vfs::mount_no_devices) to.put(",nodev");
    if (flags & vfs::mount_no_programs) to.put(",noexec");
}

struct walk {
    const vfs::place& root;
    std::span<char> room, more_room;
    k::text_sink& to;
    bool long_form;

    // Where it is seen; nothing: not from this root.
    std::string_view path_of(vfs::mount& m) const noexcept {
        auto path = vfs::path_of(root, m, m.root(), nullptr, room);
        if (!path || path->starts_with("(unreachable)")) return {};
        return *path;
    }
    void put_short(vfs::mount& m, std::string_view path) const noexcept {
        put_escaped(m.source().empty() ? "none" : m.source(), to);
        to.put(" ");
        put_escaped(path, to);
        k::format_to(to, " {} ", m.fs().type());
        put_flags(m.flags(), m.is_read_only(), to);
        to.put(" 0 0\n");
    }
    // Which directory of its file system it shows.
    std::string_view root_of(vfs::mount& m) const noexcept {
        std::size_t start = more_room.size();
        const auto put = [&](std::string_view text) {
            if (text.size() > start) return false;
            start -= text.size();
            text.copy(more_room.data() + start, text.size());
            return true;
        };
        if (m.root().is_dead() && !put("//deleted")) return {};
        for (vfs::directory* at = &m.root(); vfs::name* own = at->own_name(); at = &own->in())
            if (!put(own->text()) || !put("/")) return {};
        if (start == more_room.size()) return "/";
        return {more_room.data() + start, more_room.size() - start};
    }
    void put_long(vfs::mount& m, std::string_view path) const noexcept {
        const vfs::mount* parent = m.parent();
        k::format_to(to, "{} {} 0:{} ", m.id(), parent ? parent->id() : m.id(), m.fs().device());
        put_escaped(root_of(m), to);
        to.put(" ");
        put_escaped(path, to);
        to.put(" ");
        put_flags(m.flags(), m.flags() & vfs::mount_read_only, to);
        if (m.group()) k::format_to(to, " shared:{}", m.group());
        if (m.master()) k::format_to(to, " master:{}", m.master());
        if (m.is_unbindable()) to.put(" unbindable");
        k::format_to(to, " - {} ", m.fs().type());
        put_escaped(m.source().empty() ? "none" : m.source(), to);
        to.put(m.fs().is_read_only() ? " ro\n" : " rw\n");
    }
    void put(vfs::mount& m) const noexcept {
        lwkt::critical section;
        const std::string_view path = path_of(m);
        if (path.empty()) return;
        long_form ? put_long(m, path) : put_short(m, path);
    }
};

k::status put_all(const task& of, k::text_sink& to, bool long_form) noexcept {
    const k::ref<proc::places> where = of.process->where();
    if (!where) return k::error::inval; // it has ended
    files::path_buffer buffer, another;
    if (!buffer || !another) return k::error::nomem;
    walk w{where->root, buffer.room(), another.room(), to, long_form};
    vfs::for_each_mount([](vfs::mount& m, void* argument) { static_cast<walk*>(argument)->put(m); }, &w);
    return {};
}

} // namespace

k::status make_mounts(const task& of, k::text_sink& to) {
    return put_all(of, to, false);
}

k::status make_mount_info(const task& of, k::text_sink& to) {
    return put_all(of, to, true);
}

} // namespace procfs
