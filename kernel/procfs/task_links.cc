// exe, cwd and root of a process: links to the things themselves.
#include "kernel/files/magic_link.h"
#include "kernel/procfs/node_priv.h"

namespace procfs {

namespace {

class place_link final : public files::magic_link {
  public:
    place_link(vfs::file_system& fs, task of, task_inode which) noexcept
        : magic_link(fs, inode_of(of, which), owned_by(of, vfs::node_type::link, 0777)), of_(std::move(of)),
          which_(which) {}

    k::status jump(vfs::found& to) noexcept override {
        TRY(of_.check_access());
        if (which_ == inode_exe) {
            const k::ref<proc::held_program> program = of_.process->program();
            if (!program) return k::error::noent;
            to = {program->file.in.share(), program->file.node.share(), program->file.called.share()};
            return {};
        }
        const k::ref<proc::places> where = of_.process->where();
        if (!where) return k::error::noent;
        const vfs::place& p = which_ == inode_cwd ? where->directory : where->root;
        to = {p.in.share(), p.at.share(), {}};
        return {};
    }
    k::result<std::string_view> read_link(const vfs::place& root, std::span<char> room) noexcept override {
        vfs::found to;
        TRY(jump(to));
        return vfs::path_of(root, to, room);
    }

  private:
    const task of_;
    const task_inode which_;
};

} // namespace

k::result<vfs::vnode_ref> make_place_link(vfs::file_system& fs, task of, task_inode which) noexcept {
    return fresh_node<place_link>(fs, std::move(of), which);
}

} // namespace procfs
