// What procfs is made of: rows that say which files there are, and the nodes that come of them.
#pragma once

#include "kernel/lib/format.h"
#include "kernel/procfs/task_priv.h"
#include "sys/vfs/file_system.h"

namespace procfs {

// Writes the text of a file; of a machine's file `of` is empty. It may be called several times for one reading, keeps
// nothing and may sleep; the sink takes all there is.
using text_maker = k::status (*)(const task& of, k::text_sink& to);
// Takes what was written to a file.
using text_taker = k::status (*)(const task& of, std::string_view text);

struct file_row {
    std::string_view name;
    k::u32 mode;
    text_maker make;
    text_taker take = nullptr;
    bool is_private = false; // of a process: for those only who may look into it
};

struct folder_row {
    std::string_view name;
    k::u32 number; // for inodes
    std::span<const file_row> files;
    std::span<const folder_row> folders;
};

// The machine's files, and those of a process.
extern const folder_row machine_files;
std::span<const file_row> task_files() noexcept;

// A directory that asks what it is of for its entries.
class folder : public vfs::directory {
  public:
    folder(vfs::file_system& fs, k::u64 inode, const vfs::node_attributes& a) noexcept
        : directory(fs, inode, a, false) {
        links.store(2, std::memory_order_relaxed);
    }
    // ENOENT, ENOMEM. `cache`: may a name that was found be kept?
    virtual k::result<vfs::vnode_ref> look_up(std::string_view text, bool& cache) noexcept = 0;
    virtual k::status list(k::u64 place, vfs::file_system::lister& to) noexcept = 0;
};

// A file whose text is made on reading.
class text_file final : public vfs::vnode {
  public:
    text_file(vfs::file_system& fs, k::u64 inode, const vfs::node_attributes& a, const file_row& row, task of) noexcept
        : vnode(fs, inode, a), row_(row), of_(std::move(of)) {}
    bool is_made_on_reading() const noexcept override { return true; }
    k::result<k::u64> read(k::u64 offset, xio::sink& to) noexcept;
    k::result<k::u64> write(const xio::source& from) noexcept;

  private:
    k::status check() const noexcept;

    const file_row& row_;
    const task of_;
};

// A symbolic link whose text was known when it was looked up.
class text_link final : public vfs::vnode {
  public:
    text_link(vfs::file_system& fs, k::u64 inode, std::string_view text) noexcept
        : vnode(fs, inode, {.type = vfs::node_type::link, .mode = 0777}), length_(text.copy(text_, sizeof(text_))) {}
    std::string_view link_text() const noexcept override { return {text_, length_}; }

  private:
    char text_[40];
    std::size_t length_;
};

template <class Node, class... Args> k::result<vfs::vnode_ref> fresh_node(Args&&... args) noexcept {
    auto* made = mem::make<Node>(std::forward<Args>(args)...);
    if (!made) return k::error::nomem;
    return vfs::vnode_ref(made);
}

// --- Of a process (task_folder.cc, descriptors.cc, task_links.cc).

// Inodes: the task's number, and which of its files.
inline k::u64 inode_of(const task& of, k::u32 which) noexcept {
    return k::u64{static_cast<k::u32>(of.number)} << 32 | (of.thread ? k::u64{1} << 31 : 0) | which;
}
enum task_inode : k::u32 { // text files have 1 to 99
    inode_folder = 100,
    inode_threads,
    inode_descriptors,
    inode_infos,
    inode_exe,
    inode_cwd,
    inode_root,
    first_descriptor_inode = 1 << 20,
    first_info_inode = 1 << 24,
};

k::result<vfs::vnode_ref> make_task_folder(vfs::file_system& fs, task of) noexcept;
k::result<vfs::vnode_ref> make_threads_folder(vfs::file_system& fs, task of) noexcept;
// fd/, or fdinfo/.
k::result<vfs::vnode_ref> make_descriptors_folder(vfs::file_system& fs, task of, bool infos) noexcept;
// exe, cwd or root.
k::result<vfs::vnode_ref> make_place_link(vfs::file_system& fs, task of, task_inode which) noexcept;

// Attributes of a node that belongs to a process's user.
vfs::node_attributes owned_by(const task& of, vfs::node_type type, k::u32 mode) noexcept;

// Lists rows from a place on that are numbered from `first` on. False: there is no more room.
struct name_of_row {
    std::string_view name;
    vfs::node_type type;
    k::u64 inode;
};
bool put_rows(vfs::file_system::lister& to, k::u64& place, k::u64 first, std::size_t count,
              name_of_row (*row)(std::size_t index, const void* argument), const void* argument) noexcept;
// The same of numbers, each at the place `first` plus itself.
bool put_numbers(vfs::file_system::lister& to, k::u64& place, k::u64 first, const number_set& numbers,
                 vfs::node_type type, k::u64 (*inode)(k::u32 number, const void* argument),
                 const void* argument) noexcept;

// A number as procfs writes it; -1: that is none.
int parse_name(std::string_view text) noexcept;

} // namespace procfs
