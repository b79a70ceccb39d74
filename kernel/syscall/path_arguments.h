// What the calls that take paths share.
#pragma once

#include "kernel/files/paths.h"
#include "kernel/syscall/file_arguments.h"
#include "sys/vfs/vfs.h"

#include <optional>

namespace syscalls {

using files::at_working_directory;

enum at_flag : k::u64 {
    at_no_follow = 0x100,
    at_effective = 0x200, // faccessat2()
    at_remove_directory = 0x200,
    at_follow = 0x400,
    at_no_automount = 0x800,
    at_empty_path = 0x1000,
};

// A path of the caller's, copied once.
class path_argument {
  public:
    // EFAULT, ENAMETOOLONG, ENOMEM.
    k::status read(user_text from) noexcept {
        auto text = vm::read_user_text(callers_memory(), from.at, few_);
        if (!text && text.error() == k::error::nametoolong) {
            buffer_.emplace();
            if (!*buffer_) return k::error::nomem;
            text = vm::read_user_text(callers_memory(), from.at, buffer_->room());
        }
        if (!text) return text.error();
        text_ = *text;
        return {};
    }
    std::string_view text() const noexcept { return text_; }

  private:
    char few_[256]; // enough for most
    std::optional<files::path_buffer> buffer_;
    std::string_view text_;
};

// What a path of the caller's leads to, as it sees it; with `or_empty` an empty one means the file of the descriptor
// itself.
inline k::result<vfs::found> find(files::eyes& as, int directory, user_text path, bool follow, bool or_empty = false) {
    path_argument argument;
    TRY(argument.read(path));
    return files::find_file(as, directory, argument.text(), follow ? vfs::last_link::follow : vfs::last_link::keep,
                            or_empty);
}

// Where the last name of a path stands or would stand.
inline k::result<vfs::spot> find_spot(files::eyes& as, int directory, user_text path) {
    path_argument argument;
    TRY(argument.read(path));
    return vfs::find_spot(TRY(as.from(directory, argument.text())), argument.text());
}

} // namespace syscalls
