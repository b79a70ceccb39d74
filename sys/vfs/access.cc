#include "sys/vfs/access.h"

#include "sys/vfs/file_system.h"

#include <algorithm>

namespace vfs {

bool subject::in_group(k::u32 group) const noexcept {
    return gid == group || std::ranges::binary_search(groups, group);
}

k::status check(const vnode& node, const subject& who, unsigned wishes) noexcept {
    const k::u32 mode = node.mode.load(std::memory_order_relaxed);
    if (node.fs.is_in_program()) {
        const access_rule rule = node.fs.rule(who);
        if (rule == access_rule::nobody) return k::error::acces;
        const bool runs = wishes & may_execute && !node.is(node_type::directory);
        if (rule == access_rule::programs) return runs && !(mode & 0111) ? k::error::acces : k::status();
    }
    if (who.privileged()) {
        constexpr k::u32 anybody_runs = 0111;
        if ((wishes & may_execute) && !node.is(node_type::directory) && !(mode & anybody_runs)) return k::error::acces;
        return {};
    }
    const k::u32 granted = who.uid == node.uid.load(std::memory_order_relaxed)      ? mode >> 6
                           : who.in_group(node.gid.load(std::memory_order_relaxed)) ? mode >> 3
                                                                                    : mode;
    if (wishes & ~granted & 7) return k::error::acces;
    return {};
}

k::status check_afresh(vnode& node, const subject& who, unsigned wishes) noexcept {
    if (node.fs.is_in_program() && node.is_told_old()) [[unlikely]] {
        const access_rule rule = node.fs.rule(who);
        const bool runs = wishes & may_execute && !node.is(node_type::directory);
        if (rule == access_rule::usual || (rule == access_rule::programs && runs)) TRY(node.fs.ask_again(node));
    }
    return check(node, who, wishes);
}

k::status check_asking(vnode& node, const subject& who, unsigned wishes) noexcept {
    TRY(check_afresh(node, who, wishes));
    if (!node.fs.is_in_program() || node.fs.rule(who) != access_rule::programs) return {};
    return node.fs.may_there(node, who, wishes);
}

k::status check_removal(const vnode& in, const vnode& what, const subject& who) noexcept {
    TRY(check(in, who, may_write | may_execute));
    if ((in.mode.load(std::memory_order_relaxed) & sticky) && !who.owns(in) && !who.owns(what)) return k::error::perm;
    return {};
}

} // namespace vfs
