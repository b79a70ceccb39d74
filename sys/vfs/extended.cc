#include "sys/vfs/extended.h"

#include "sys/vfs/events.h"
#include "sys/vfs/file_system.h"

namespace vfs {

namespace {

constexpr std::string_view user = "user.", trusted = "trusted.", security = "security.";

// The rights that a kind of name asks for.
k::status check_kind(const vnode& of, const subject& who, std::string_view name, bool to_write) noexcept {
    for (const std::string_view kind : {user, trusted, security})
        if (name == kind) return k::error::inval;
    const k::error denied = to_write ? k::error::perm : k::error::nodata;
    if (name.starts_with(user)) {
        const bool is_directory = of.is(node_type::directory);
        if (!is_directory && !of.is(node_type::regular)) return denied;
        const bool is_sticky = of.mode.load(std::memory_order_relaxed) & sticky;
        if (to_write && is_directory && is_sticky && !who.owns(of)) return k::error::perm;
        return check(of, who, to_write ? may_write : may_read);
    }
    if (name.starts_with(trusted)) return who.privileged() ? k::status() : k::status(denied);
    if (name.starts_with(security)) return who.privileged() || !to_write ? k::status() : k::status(k::error::perm);
    return k::error::opnotsupp;
}

} // namespace

void extended_names::put(std::string_view front, std::string_view rest) noexcept {
    if (!who_.privileged() && (front.empty() ? rest : front).starts_with(trusted)) return;
    const auto add = [&](std::string_view text) {
        if (bytes_ + text.size() <= to_.size()) text.copy(to_.data() + bytes_, text.size());
        bytes_ += text.size();
    };
    add(front);
    add(rest);
    add({"", 1});
}

k::result<k::u64> extended_names::bytes() const noexcept {
    if (bytes_ > longest_extended_list) return k::error::toobig;
    if (!to_.empty() && bytes_ > to_.size()) return k::error::range;
    return bytes_;
}

k::result<k::u64> get_extended(const found& of, const subject& who, std::string_view name,
                               std::span<std::byte> to) noexcept {
    TRY(check_kind(*of.node, who, name, false));
    return of.node->fs.get_extended(*of.node, name, to);
}

k::status set_extended(const found& of, const subject& who, std::string_view name,
                       std::optional<std::span<const std::byte>> value, unsigned flags) noexcept {
    if (of.in && of.in->is_read_only()) return k::error::rofs;
    vnode& n = *of.node;
    TRY(check_kind(n, who, name, true));
    TRY(n.fs.set_extended(n, name, value, flags));
    n.touch_changed();
    announce_use(n, of.called.get(), event_attributes);
    return {};
}

k::result<k::u64> list_extended(const found& of, const subject& who, std::span<char> to) noexcept {
    extended_names names(to, who);
    TRY(of.node->fs.list_extended(*of.node, names));
    return names.bytes();
}

} // namespace vfs
