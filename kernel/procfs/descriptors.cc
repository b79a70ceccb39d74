// fd/ and fdinfo/ of a process: its open files, as links to them and as texts.
#include "kernel/files/magic_link.h"
#include "kernel/procfs/node_priv.h"

namespace procfs {

namespace {

using files::file_kind;
using files::file_ref;
using vfs::node_type;
using vfs::vnode_ref;

// ENOENT: that is not open.
k::result<file_ref> file_of(const task& of, int fd) noexcept {
    file_ref f = TRY(table_of(of))->get(fd);
    if (!f) return k::error::noent;
    return f;
}

// What readlink() says of a file that has no path.
std::string_view describe(files::file& f, std::span<char> room) noexcept {
    constexpr k::u32 type_bits = 0170000, socket = static_cast<k::u32>(node_type::socket);
    files::stat_record record{};
    (void)f.stat(record);
    k::buffer_sink text(room);
    switch (f.kind()) {
    case file_kind::epoll: text.put("anon_inode:[eventpoll]"); return text.view();
    case file_kind::signals: text.put("anon_inode:[signalfd]"); return text.view();
    case file_kind::timer: text.put("anon_inode:[timerfd]"); return text.view();
    case file_kind::event: text.put("anon_inode:[eventfd]"); return text.view();
    case file_kind::xio: text.put("anon_inode:[xio]"); return text.view();
    case file_kind::watches: text.put("anon_inode:inotify"); return text.view();
    case file_kind::terminal: text.put("/dev/console"); return text.view();
    default: break;
    }
    if ((record.mode & type_bits) == files::mode_pipe)
        k::format_to(text, "pipe:[{}]", record.inode);
    else if ((record.mode & type_bits) == socket)
        k::format_to(text, "socket:[{}]", record.inode);
    else
        text.put("anon_inode:[file]");
    return text.view();
}

class descriptor_link final : public files::magic_link {
  public:
    descriptor_link(vfs::file_system& fs, task of, int fd, k::u32 mode) noexcept
        : magic_link(fs, inode_of(of, first_descriptor_inode + static_cast<k::u32>(fd)),
                     owned_by(of, node_type::link, mode)),
          of_(std::move(of)), fd_(fd) {}

    k::result<file_ref> target() noexcept override { return file_of(of_, fd_); }
    // Terminals are opened by who they are, not by a node that may be another user's.
    k::status jump(vfs::found& to) noexcept override {
        file_ref f = TRY(target());
        const vfs::found& origin = f->origin();
        if (!origin || f->kind() == file_kind::terminal || origin.node->is(node_type::socket))
            return k::error::opnotsupp;
        to = {origin.in.share(), origin.node.share(), origin.called.share()};
        return {};
    }
    k::result<std::string_view> read_link(const vfs::place& root, std::span<char> room) noexcept override {
        file_ref f = TRY(target());
        const vfs::found& origin = f->origin();
        if (!origin) return describe(*f, room);
        auto path = vfs::path_of(root, origin, room);
        if (!path && path.error() == k::error::noent) return describe(*f, room);
        return path;
    }

  private:
    const task of_;
    const int fd_;
};

// --- fdinfo

void put_octal(k::u32 value, k::text_sink& to) noexcept {
    char digits[12];
    char* at = std::end(digits);
    do
        *--at = static_cast<char>('0' + value % 8);
    while (value /= 8);
    to.put({at, static_cast<std::size_t>(std::end(digits) - at)});
}

k::status make_info(const task& of, k::text_sink& to) {
    constexpr int from_here = 1;
    const k::ref<files::fd_table> table = TRY(table_of(of));
    file_ref f = table->get(of.descriptor);
    if (!f) return k::error::noent;
    k::u32 flags = f->flags();
    if (auto closes = table->closes_on_exec(of.descriptor); closes && *closes) flags |= files::open_cloexec;
    auto position = f->seek(0, from_here);
    files::stat_record record{};
    (void)f->stat(record);
    k::format_to(to, "pos:\t{}\nflags:\t0", position ? *position : 0);
    put_octal(flags, to);
    k::format_to(to, "\nmnt_id:\t{}\nino:\t{}\n", f->origin().in ? f->origin().in->id() : 0, record.inode);
    return {};
}

constexpr file_row info_row{"", 0400, make_info, nullptr, true};

// --- The directories

class descriptors_folder final : public folder {
  public:
    descriptors_folder(vfs::file_system& fs, task of, bool infos) noexcept
        : folder(fs, inode_of(of, infos ? inode_infos : inode_descriptors),
                 owned_by(of, node_type::directory, infos ? 0555 : 0500)),
          of_(std::move(of)), infos_(infos) {}

    k::result<vnode_ref> look_up(std::string_view text, bool& cache) noexcept override;
    k::status list(k::u64 place, vfs::file_system::lister& to) noexcept override;

  private:
    const task of_;
    const bool infos_;
};

k::result<vnode_ref> descriptors_folder::look_up(std::string_view text, bool& cache) noexcept {
    cache = false;
    const int fd = parse_name(text);
    if (fd < 0) return k::error::noent;
    const file_ref f = TRY(file_of(of_, fd));
    if (!infos_) {
        const k::u32 mode = 0100 | (f->readable() ? 0400 : 0) | (f->writable() ? 0200 : 0);
        return fresh_node<descriptor_link>(fs, of_.share(), fd, mode);
    }
    task about = of_.share();
    about.descriptor = fd;
    return fresh_node<text_file>(fs, inode_of(of_, first_info_inode + static_cast<k::u32>(fd)),
                                 owned_by(of_, node_type::regular, info_row.mode), info_row, std::move(about));
}

k::status descriptors_folder::list(k::u64 place, vfs::file_system::lister& to) noexcept {
    const k::ref<files::fd_table> table = TRY(table_of(of_));
    const auto numbers = mem::make_box<number_set>();
    if (!numbers) return k::error::nomem;
    table->for_each([&](int fd, files::file&) { numbers->add(static_cast<k::u32>(fd)); });
    const k::u64 first_inode = inode_of(of_, infos_ ? first_info_inode : first_descriptor_inode);
    const auto inode = [](k::u32 fd, const void* first) { return *static_cast<const k::u64*>(first) + fd; };
    (void)put_numbers(to, place, first_place, *numbers, infos_ ? node_type::regular : node_type::link, inode,
                      &first_inode);
    return {};
}

} // namespace

k::result<k::ref<files::fd_table>> table_of(const task& of) noexcept {
    TRY(of.check_access());
    const k::ref<proc::thread> t = of.any_thread();
    k::ref<files::fd_table> table = t ? t->share_files() : k::ref<files::fd_table>();
    if (!table) return k::error::noent;
    return table;
}

k::result<vnode_ref> make_descriptors_folder(vfs::file_system& fs, task of, bool infos) noexcept {
    return fresh_node<descriptors_folder>(fs, std::move(of), infos);
}

} // namespace procfs
