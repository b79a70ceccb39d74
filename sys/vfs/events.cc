#include "sys/vfs/events.h"

namespace vfs {

void announce_slow(vnode& to, k::u32 event, std::string_view text, k::u32 cookie) noexcept {
    if (auto there = to.find_attached(attachment_kind::watchers))
        static_cast<watchers&>(*there).happened(event, text, cookie);
}

void announce_rename(directory& from, std::string_view from_text, directory& to, std::string_view to_text,
                     vnode& what) noexcept {
    static std::atomic<k::u32> last_cookie = 0;
    const k::u32 kind = what.is(node_type::directory) ? k::u32{event_of_directory} : 0;
    if (from.has_attached(attachment_kind::watchers) || to.has_attached(attachment_kind::watchers)) {
        const k::u32 cookie = last_cookie.fetch_add(1, std::memory_order_relaxed) + 1;
        announce_slow(from, event_moved_from | kind, from_text, cookie);
        announce_slow(to, event_moved_to | kind, to_text, cookie);
    }
    announce_self(what, event_move_self);
}

void announce_use_slow(vnode& to, const name* called, k::u32 event) noexcept {
    k::u32 kind = to.is(node_type::directory) ? k::u32{event_of_directory} : 0;
    if (called && called->removed() && event != event_attributes) kind |= event_of_unlinked;
    if (called && called->in().has_attached(attachment_kind::watchers)) [[unlikely]]
        announce_slow(called->in(), event | kind, called->text(), 0);
    announce_self(to, event | kind);
}

} // namespace vfs
