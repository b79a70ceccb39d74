// The directory of a process, or of one of its threads, and the one of its threads.
#include "kernel/procfs/node_priv.h"

#include <algorithm>

namespace procfs {

namespace {

using vfs::node_type;
using vfs::vnode_ref;

// What is in it beside text files.
struct special_row {
    std::string_view name;
    node_type type;
    task_inode inode;
};
constexpr special_row specials[] = {
    {"exe", node_type::link, inode_exe},
    {"cwd", node_type::link, inode_cwd},
    {"root", node_type::link, inode_root},
    {"fd", node_type::directory, inode_descriptors},
    {"fdinfo", node_type::directory, inode_infos},
    {"task", node_type::directory, inode_threads}, // the last one: threads have none
};

name_of_row row_of(std::size_t index, const void* argument) noexcept {
    const auto& of = *static_cast<const task*>(argument);
    const auto files = task_files();
    if (index < files.size())
        return {files[index].name, node_type::regular, inode_of(of, static_cast<k::u32>(index) + 1)};
    const special_row& s = specials[index - files.size()];
    return {s.name, s.type, inode_of(of, s.inode)};
}

class task_folder final : public folder {
  public:
    // `with_threads`: of a process.
    task_folder(vfs::file_system& fs, task of, bool with_threads) noexcept
        : folder(fs, inode_of(of, inode_folder), owned_by(of, node_type::directory, 0555)), of_(std::move(of)),
          specials_(std::size(specials) - !with_threads) {}

    k::result<vnode_ref> look_up(std::string_view text, bool& cache) noexcept override {
        cache = false;
        if (!of_.exists()) return k::error::noent;
        const auto files = task_files();
        const auto file = std::ranges::find(files, text, &file_row::name);
        if (file != files.end()) {
            const auto number = static_cast<k::u32>(file - files.begin()) + 1;
            return fresh_node<text_file>(fs, inode_of(of_, number), owned_by(of_, node_type::regular, file->mode),
                                         *file, of_.share());
        }
        const std::span all(specials, specials_);
        const auto special = std::ranges::find(all, text, &special_row::name);
        if (special == all.end()) return k::error::noent;
        return make_special(special->inode);
    }
    k::status list(k::u64 place, vfs::file_system::lister& to) noexcept override {
        if (!of_.exists()) return k::error::noent;
        (void)put_rows(to, place, first_place, task_files().size() + specials_, row_of, &of_);
        return {};
    }

  private:
    k::result<vnode_ref> make_special(task_inode which) noexcept {
        switch (which) {
        case inode_descriptors: return make_descriptors_folder(fs, of_.share(), false);
        case inode_infos: return make_descriptors_folder(fs, of_.share(), true);
        case inode_threads: return make_threads_folder(fs, of_.share());
        default: return make_place_link(fs, of_.share(), which);
        }
    }

    const task of_;
    const std::size_t specials_;
};

class threads_folder final : public folder {
  public:
    threads_folder(vfs::file_system& fs, task of) noexcept
        : folder(fs, inode_of(of, inode_threads), owned_by(of, node_type::directory, 0555)), of_(std::move(of)) {}

    k::result<vnode_ref> look_up(std::string_view text, bool& cache) noexcept override {
        cache = false;
        task found = find_thread_of(of_, parse_name(text));
        if (!found) return k::error::noent;
        return fresh_node<task_folder>(fs, std::move(found), false);
    }
    k::status list(k::u64 place, vfs::file_system::lister& to) noexcept override {
        if (!of_.exists()) return k::error::noent;
        const auto numbers = mem::make_box<number_set>();
        if (!numbers) return k::error::nomem;
        add_threads(of_, *numbers);
        const auto inode = [](k::u32 tid, const void*) { return k::u64{tid} << 32 | k::u64{1} << 31 | inode_folder; };
        (void)put_numbers(to, place, first_place, *numbers, node_type::directory, inode, nullptr);
        return {};
    }

  private:
    const task of_;
};

} // namespace

k::result<vnode_ref> make_task_folder(vfs::file_system& fs, task of) noexcept {
    return fresh_node<task_folder>(fs, std::move(of), true);
}

k::result<vnode_ref> make_threads_folder(vfs::file_system& fs, task of) noexcept {
    return fresh_node<threads_folder>(fs, std::move(of));
}

} // namespace procfs
