#include "kernel/files/names.h"

#include "kernel/files/archive_file.h"
#include "kernel/files/caller.h"
#include "kernel/lib/text.h"

#include <algorithm>

namespace files {

namespace {

using proc::archive_file;

// The path without ".", ".." and double slashes, as text; false if it does not fit.
bool normalise(std::string_view path, std::span<char> to, std::string_view& out) {
    std::size_t used = 0;
    while (!path.empty()) {
        const std::size_t end = std::min(path.find('/'), path.size());
        const std::string_view part = path.substr(0, end);
        path.remove_prefix(std::min(end + 1, path.size()));
        if (part.empty() || part == ".") continue;
        if (part == "..") {
            while (used && to[--used] != '/') {
            }
            continue;
        }
        if (used + 1 + part.size() > to.size()) return false;
        to[used++] = '/';
        std::ranges::copy(part, to.begin() + static_cast<std::ptrdiff_t>(used));
        used += part.size();
    }
    out = {to.data(), used};
    return true;
}

const device* find_device(std::string_view path) {
    if (!path.starts_with("/dev/")) return nullptr;
    const auto devices = all_devices();
    const auto found = std::ranges::find(devices, path.substr(5), &device::name);
    return found == devices.end() ? nullptr : &*found;
}

// The descriptor that a path under /dev/fd and its relatives names, or -1.
int find_descriptor(std::string_view path) {
    if (path == "/dev/stdin") return 0;
    if (path == "/dev/stdout") return 1;
    if (path == "/dev/stderr") return 2;
    for (std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
        if (!path.starts_with(folder)) continue;
        const auto number = k::parse_number(path.substr(folder.size()));
        return number && *number < fd_table::most ? static_cast<int>(*number) : -1;
    }
    return -1;
}

// An absolute path for one that may be relative, in `to`.
k::result<std::string_view> absolute(int directory, std::string_view path, std::span<char> to) noexcept {
    if (path.starts_with('/')) return path;
    k::buffer_sink text(to);
    std::size_t needed = path.size() + 1;
    if (directory == at_working_directory) {
        const auto working = proc::current_process().working_directory();
        const std::string_view base = working ? working->view() : std::string_view("/");
        needed += base.size();
        text.put(base);
    } else {
        file_use f = TRY(callers_file(directory));
        const archive_file* base = directory_of(*f);
        if (!base) return k::error::notdir;
        needed += base->path.size() + 1;
        text.put("/");
        text.put(base->path);
    }
    text.put("/");
    text.put(path);
    if (needed >= to.size()) return k::error::nametoolong;
    return text.view();
}

bool in_group(const proc::credentials& who, k::u32 group, bool effective) {
    if (effective) return who.in_group(group);
    return who.group.real == group || (who.more_groups && who.more_groups->contains(group));
}

} // namespace

k::result<named> find_named(int directory, std::string_view path, bool follow_last) noexcept {
    if (path.empty()) return k::error::noent;
    path_buffer joined, plain;
    if (!joined || !plain) return k::error::nomem;
    const std::string_view whole = TRY(absolute(directory, path, joined.room()));
    std::string_view normal;
    if (!normalise(whole, plain.room(), normal)) return k::error::nametoolong;
    named found;
    if (const int fd = find_descriptor(normal); fd >= 0) {
        found.open = callers_table().get(fd);
        if (!found.open) return k::error::noent;
        return found;
    }
    found.special = find_device(normal);
    if (!found.special) {
        const bool must_be_directory = whole.ends_with('/');
        found.archived = TRY(proc::boot_files().find(whole, follow_last || must_be_directory));
        if (must_be_directory && !found.is_directory()) return k::error::notdir;
    }
    return found;
}

k::status check_access(const named& what, unsigned wanted, bool effective) noexcept {
    constexpr unsigned may_write = 2, may_execute = 1;
    if (what.open) return {};
    const proc::credentials who = proc::current_process().who.read();
    const k::u32 user = effective ? who.user.effective : who.user.real;
    const k::u32 mode = what.special ? what.special->permissions : what.archived->mode;
    const k::u32 owner = what.special ? 0 : what.archived->uid, group = what.special ? 0 : what.archived->gid;
    if (what.archived && (wanted & may_write)) return k::error::rofs;
    if (user == 0) {
        if ((wanted & may_execute) && !what.is_directory() && !(mode & 0111)) return k::error::acces;
        return {};
    }
    const unsigned bits = user == owner ? mode >> 6 : in_group(who, group, effective) ? mode >> 3 : mode;
    if (wanted & ~bits & 7) return k::error::acces;
    return {};
}

k::result<file_ref> open_named(named& what, k::u32 flags) noexcept {
    // The same open file again: a new one with its own position would need a file system.
    if (what.open) return std::move(what.open);
    const bool writes = (flags & open_access_mode) != open_read_only;
    const k::u32 kept = flags & (open_access_mode | open_append | open_nonblock | open_async | open_no_access_time |
                                 open_path | open_no_terminal);
    if (what.archived && what.archived->is(proc::type_link) && !(flags & open_path)) return k::error::loop;
    if ((flags & open_directory) && !what.is_directory()) return k::error::notdir;
    if (what.is_directory() && (writes || (flags & (open_create | open_truncate)))) return k::error::isdir;
    if (!(flags & open_path)) {
        const unsigned wanted = ((flags & open_access_mode) != open_write_only ? 4 : 0) | (writes ? 2 : 0);
        TRY(check_access(what, wanted, true));
        if (what.archived && !what.is_directory() && (flags & open_truncate)) return k::error::rofs;
    }
    if (what.special) return open_device(*what.special, kept);
    return open_archived(*what.archived, kept & ~k::u32{open_no_terminal});
}

k::status stat_named(const named& what, stat_record& out) noexcept {
    if (what.open) return what.open->stat(out);
    out = what.special ? stat_of(*what.special) : stat_of(*what.archived);
    return {};
}

} // namespace files
