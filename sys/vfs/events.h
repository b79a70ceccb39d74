// Telling who watches a file or a directory (inotify) what happens to it. Costs a look at a pointer where nobody does.
// Any thread context; nothing here sleeps.
#pragma once

#include "sys/vfs/name.h"

namespace vfs {

// Linux's IN_ values.
enum event : k::u32 {
    event_access = 0x1,
    event_modify = 0x2,
    event_attributes = 0x4,
    event_close_write = 0x8,
    event_close_no_write = 0x10,
    event_open = 0x20,
    event_moved_from = 0x40,
    event_moved_to = 0x80,
    event_create = 0x100,
    event_delete = 0x200,
    event_delete_self = 0x400,
    event_move_self = 0x800,
    event_of_directory = 0x4000'0000,
    event_of_unlinked = 0x0400'0000, // by a file that was opened under a name which has been removed; not told
};

// The watchers of a node, attached to it.
class watchers : public attachment {
  public:
    // `text`: the name in the directory that is watched; empty: the node itself. `cookie` joins the two halves of a
    // rename.
    virtual void happened(k::u32 event, std::string_view text, k::u32 cookie) noexcept = 0;
};

void announce_slow(vnode& to, k::u32 event, std::string_view text, k::u32 cookie) noexcept;

// Something happened to a name in a directory.
inline void announce(directory& in, k::u32 event, std::string_view text, bool of_directory) noexcept {
    if (in.has_attached(attachment_kind::watchers)) [[unlikely]]
        announce_slow(in, event | (of_directory ? k::u32{event_of_directory} : 0), text, 0);
}
// Something happened to a node itself.
inline void announce_self(vnode& to, k::u32 event) noexcept {
    if (to.has_attached(attachment_kind::watchers)) [[unlikely]]
        announce_slow(to, event, {}, 0);
}
void announce_rename(directory& from, std::string_view from_text, directory& to, std::string_view to_text,
                     vnode& what) noexcept;
void announce_use_slow(vnode& to, const name* called, k::u32 event) noexcept;
// The same of what an open file does: to its name in its directory, and then to the node.
inline void announce_use(vnode& to, const name* called, k::u32 event) noexcept {
    if (to.has_attached(attachment_kind::watchers) || (called && called->in().has_attached(attachment_kind::watchers)))
        [[unlikely]]
        announce_use_slow(to, called, event);
}

} // namespace vfs
