// The file system itself, its root and the directories of the machine's files.
#include "kernel/proc/current.h"
#include "kernel/procfs/node_priv.h"
#include "kernel/procfs/procfs.h"

#include <algorithm>

namespace procfs {

namespace {

using vfs::directory;
using vfs::node_type;
using vfs::vnode_ref;

// Of the folders and files that are always there.
k::u64 inode_of(const folder_row& in, std::size_t index) noexcept {
    return k::u64{in.number} << 8 | (index + 1);
}

name_of_row row_of(std::size_t index, const void* argument) noexcept {
    const auto& of = *static_cast<const folder_row*>(argument);
    if (index < of.files.size()) return {of.files[index].name, node_type::regular, inode_of(of, index)};
    const folder_row& f = of.folders[index - of.files.size()];
    return {f.name, node_type::directory, k::u64{f.number} << 8};
}

class machine_folder : public folder {
  public:
    machine_folder(vfs::file_system& of, const folder_row& row) noexcept
        : folder(of, k::u64{row.number} << 8, {.type = node_type::directory, .mode = 0555}), row_(row) {}

    k::result<vnode_ref> look_up(std::string_view text, bool& cache) noexcept override {
        cache = true;
        const auto file = std::ranges::find(row_.files, text, &file_row::name);
        if (file != row_.files.end()) {
            const auto index = static_cast<std::size_t>(file - row_.files.begin());
            return fresh_node<text_file>(fs, inode_of(row_, index),
                                         vfs::node_attributes{.type = node_type::regular, .mode = file->mode}, *file,
                                         task{});
        }
        const auto below = std::ranges::find(row_.folders, text, &folder_row::name);
        if (below == row_.folders.end()) return k::error::noent;
        return fresh_node<machine_folder>(fs, *below);
    }
    k::status list(k::u64 place, vfs::file_system::lister& to) noexcept override {
        (void)put_own(place, to);
        return {};
    }

  protected:
    bool put_own(k::u64& place, vfs::file_system::lister& to) noexcept {
        return put_rows(to, place, first_place, row_.files.size() + row_.folders.size(), row_of, &row_);
    }

  private:
    const folder_row& row_;
};

// --- The root: links, and the processes.

constexpr std::string_view root_links[] = {"self", "thread-self", "mounts"};
constexpr k::u64 first_link_inode = 0xf000, first_link_place = 64, first_number_place = 128;

class root_folder final : public machine_folder {
  public:
    explicit root_folder(vfs::file_system& of) noexcept : machine_folder(of, machine_files) {}

    k::result<vnode_ref> look_up(std::string_view text, bool& cache) noexcept override {
        cache = false;
        const int number = parse_name(text);
        if (number >= 0) {
            task of = find_task(number);
            if (!of) return k::error::noent;
            return make_task_folder(fs, std::move(of));
        }
        const auto link = std::ranges::find(root_links, text);
        if (link != std::end(root_links)) return make_link(static_cast<std::size_t>(link - root_links));
        auto found = machine_folder::look_up(text, cache);
        if (!found) cache = false;
        return found;
    }
    k::status list(k::u64 place, vfs::file_system::lister& to) noexcept override {
        if (!put_own(place, to)) return {};
        const auto link_row = [](std::size_t i, const void*) {
            return name_of_row{root_links[i], node_type::link, first_link_inode + i};
        };
        if (!put_rows(to, place, first_link_place, std::size(root_links), link_row, nullptr)) return {};
        const auto numbers = mem::make_box<number_set>();
        if (!numbers) return k::error::nomem;
        add_processes(*numbers);
        const auto inode = [](k::u32 pid, const void*) { return k::u64{pid} << 32 | inode_folder; };
        (void)put_numbers(to, place, first_number_place, *numbers, node_type::directory, inode, nullptr);
        return {};
    }

  private:
    k::result<vnode_ref> make_link(std::size_t which) noexcept {
        char room[40];
        k::buffer_sink text(room);
        if (which < 2) {
            if (!proc::is_user_thread()) return k::error::noent;
            const proc::thread& t = proc::current();
            k::format_to(text, "{}", t.owner.pid);
            if (which == 1) k::format_to(text, "/task/{}", t.tid);
        } else {
            text.put("self/mounts");
        }
        return fresh_node<text_link>(fs, first_link_inode + which, text.view());
    }
};

class proc_fs final : public vfs::file_system {
  public:
    k::status make_root() noexcept {
        set_root(TRY(fresh_node<root_folder>(*this)));
        return {};
    }
    std::string_view type() const noexcept override { return "proc"; }
    k::u32 magic() const noexcept override { return 0x9fa0; }
    vfs::file_system_state state() noexcept override { return {arch::page_size, 0, 0, 0, 0}; }
    k::result<vnode_ref> look_up(directory& in, std::string_view text, bool& cache) noexcept override {
        return static_cast<folder&>(in).look_up(text, cache);
    }
    k::status list(directory& in, k::u64 place, lister& to) noexcept override {
        return static_cast<folder&>(in).list(place, to);
    }
    k::result<k::u64> read_made(vfs::vnode& node, k::u64 offset, xio::sink& to) noexcept override {
        return static_cast<text_file&>(node).read(offset, to);
    }
    k::result<k::u64> write_made(vfs::vnode& node, const xio::source& from) noexcept override {
        return static_cast<text_file&>(node).write(from);
    }
    bool is_virtual() const noexcept override { return true; }
};

} // namespace

k::result<vfs::file_system_ref> make() noexcept {
    auto made = mem::make_box<proc_fs>();
    if (!made) return k::error::nomem;
    TRY(made->make_root());
    return vfs::file_system_ref(made.release());
}

} // namespace procfs
