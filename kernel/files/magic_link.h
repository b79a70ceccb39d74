// Links that lead to an open file, not by a text: /proc/self/fd/1.
#pragma once

#include "kernel/files/file.h"

namespace files {

class magic_link : public vfs::vnode {
  public:
    using vnode::vnode;
    bool is_magic() const noexcept final { return true; }
    // The open file behind it. ENOENT: it was closed. Thread context.
    virtual k::result<file_ref> target() noexcept { return k::error::noent; }
};

} // namespace files
