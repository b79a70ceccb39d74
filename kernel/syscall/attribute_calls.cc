// Extended attributes: no file system here keeps any. The calls look at what they are given, as Linux's do before they
// ask a file system, and then say so.
#include "kernel/syscall/calls.h"
#include "kernel/syscall/path_arguments.h"

namespace syscalls {

namespace {

using files::eyes;

constexpr std::size_t longest_name = 255;
constexpr k::u64 largest_value = 65536;
constexpr int flag_create = 1, flag_replace = 2;

k::status check_name(user_text name) noexcept {
    char buffer[longest_name + 1];
    auto text = vm::read_user_text(callers_memory(), name.at, buffer);
    if (!text) return text.error() == k::error::nametoolong ? k::error::range : text.error();
    if (text->empty()) return k::error::range;
    return {};
}

k::status check_value(user_text name, k::u64 bytes, int flags) noexcept {
    if (flags & ~(flag_create | flag_replace)) return k::error::inval;
    TRY(check_name(name));
    return bytes > largest_value ? k::status(k::error::toobig) : k::status();
}

// The file must be there, and the way to it open to the caller.
k::status look(user_text path, bool follow) noexcept {
    eyes as;
    TRY(find(as, at_working_directory, path, follow));
    return {};
}

k::status look(fd of) noexcept {
    file_use f = TRY(files::callers_file(of.number));
    return f->flags() & files::open_path ? k::status(k::error::badf) : k::status();
}

k::result<k::u64> sys_setxattr(user_text path, user_text name, user_buffer, k::u64 bytes, int flags) {
    TRY(check_value(name, bytes, flags));
    TRY(look(path, true));
    return k::error::opnotsupp;
}

k::result<k::u64> sys_lsetxattr(user_text path, user_text name, user_buffer, k::u64 bytes, int flags) {
    TRY(check_value(name, bytes, flags));
    TRY(look(path, false));
    return k::error::opnotsupp;
}

k::result<k::u64> sys_fsetxattr(fd of, user_text name, user_buffer, k::u64 bytes, int flags) {
    TRY(look(of));
    TRY(check_value(name, bytes, flags));
    return k::error::opnotsupp;
}

// Getting and removing.
k::result<k::u64> sys_getxattr(user_text path, user_text name) {
    TRY(look(path, true));
    TRY(check_name(name));
    return k::error::opnotsupp;
}

k::result<k::u64> sys_lgetxattr(user_text path, user_text name) {
    TRY(look(path, false));
    TRY(check_name(name));
    return k::error::opnotsupp;
}

k::result<k::u64> sys_fgetxattr(fd of, user_text name) {
    TRY(look(of));
    TRY(check_name(name));
    return k::error::opnotsupp;
}

// A list of none.
k::result<k::u64> sys_listxattr(user_text path) {
    TRY(look(path, true));
    return 0;
}

k::result<k::u64> sys_llistxattr(user_text path) {
    TRY(look(path, false));
    return 0;
}

k::result<k::u64> sys_flistxattr(fd of) {
    TRY(look(of));
    return 0;
}

constexpr std::string_view none = "no file system keeps any";

constexpr entry entries[] = {
    call<sys_setxattr>(188, "setxattr", ends, none),      call<sys_lsetxattr>(189, "lsetxattr", ends, none),
    call<sys_fsetxattr>(190, "fsetxattr", ends, none),    call<sys_getxattr>(191, "getxattr", ends, none),
    call<sys_lgetxattr>(192, "lgetxattr", ends, none),    call<sys_fgetxattr>(193, "fgetxattr", ends, none),
    call<sys_listxattr>(194, "listxattr", ends, none),    call<sys_llistxattr>(195, "llistxattr", ends, none),
    call<sys_flistxattr>(196, "flistxattr", ends, none),  call<sys_getxattr>(197, "removexattr", ends, none),
    call<sys_lgetxattr>(198, "lremovexattr", ends, none), call<sys_fgetxattr>(199, "fremovexattr", ends, none),
};

} // namespace

constinit const std::span<const entry> attribute_calls = entries;

} // namespace syscalls
