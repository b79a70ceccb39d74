// Extended attributes: setxattr and its relatives. Names and values are copied once, before anything is looked at; what
// comes back is made in the kernel's memory and copied out when nothing is held any more.
#include "kernel/syscall/calls.h"
#include "kernel/syscall/path_arguments.h"
#include "sys/vfs/extended.h"

namespace syscalls {

namespace {

using files::eyes;
using vfs::found;

// The name of an attribute. ERANGE: empty or too long; EFAULT.
class name_argument {
  public:
    k::status read(user_text from) noexcept {
        auto text = vm::read_user_text(callers_memory(), from.at, room_);
        if (!text) return text.error() == k::error::nametoolong ? k::error::range : text.error();
        if (text->empty()) return k::error::range;
        text_ = *text;
        return {};
    }
    std::string_view text() const noexcept { return text_; }

  private:
    char room_[vfs::longest_extended_name + 1];
    std::string_view text_;
};

// Room for a value or a list in the kernel's memory.
class heap_bytes {
  public:
    // ENOMEM.
    k::status make(k::u64 bytes) noexcept {
        if (!bytes) return {};
        at_ = static_cast<std::byte*>(mem::allocate(bytes));
        if (!at_) return k::error::nomem;
        bytes_ = bytes;
        return {};
    }
    heap_bytes() = default;
    heap_bytes(const heap_bytes&) = delete;
    ~heap_bytes() { mem::free(at_); }
    std::span<std::byte> all() const noexcept { return {at_, bytes_}; }
    std::span<char> text() const noexcept { return {reinterpret_cast<char*>(at_), bytes_}; }

  private:
    std::byte* at_ = nullptr;
    k::u64 bytes_ = 0;
};

// What the file of a descriptor is. EBADF; EOPNOTSUPP: it has no node.
k::result<found> node_of(fd of) {
    file_use f = TRY(files::callers_file(of.number));
    if (f->flags() & files::open_path) return k::error::badf;
    const found& o = f->origin();
    if (!o) return k::error::opnotsupp;
    return found{o.in.share(), o.node.share(), o.called.share()};
}

// --- Setting

// What is to be set, looked at before the file is.
struct setting {
    name_argument name;
    heap_bytes value;
    unsigned flags;

    k::status read(user_text from, user_buffer bytes, k::u64 count, int how) noexcept {
        if (how & ~static_cast<int>(vfs::extended_create | vfs::extended_replace)) return k::error::inval;
        flags = static_cast<unsigned>(how);
        TRY(name.read(from));
        if (count > vfs::longest_extended_value) return k::error::toobig;
        TRY(value.make(count));
        if (callers_memory().copy_in(value.all().data(), bytes.at, count) != count) return k::error::fault;
        return {};
    }
    k::result<k::u64> apply(const eyes& as, const found& to) noexcept {
        TRY(vfs::set_extended(to, as.who(), name.text(), value.all(), flags));
        return 0;
    }
};

k::result<k::u64> set_at(user_text path, bool follow, user_text name, user_buffer value, k::u64 bytes, int flags) {
    setting what;
    TRY(what.read(name, value, bytes, flags));
    eyes as;
    return what.apply(as, TRY(find(as, at_working_directory, path, follow)));
}

k::result<k::u64> sys_setxattr(user_text path, user_text name, user_buffer value, k::u64 bytes, int flags) {
    return set_at(path, true, name, value, bytes, flags);
}

k::result<k::u64> sys_lsetxattr(user_text path, user_text name, user_buffer value, k::u64 bytes, int flags) {
    return set_at(path, false, name, value, bytes, flags);
}

k::result<k::u64> sys_fsetxattr(fd of, user_text name, user_buffer value, k::u64 bytes, int flags) {
    const found to = TRY(node_of(of));
    setting what;
    TRY(what.read(name, value, bytes, flags));
    return what.apply(eyes(), to);
}

// --- Getting

k::result<k::u64> get(const eyes& as, const found& of, user_text name, user_buffer to, k::u64 bytes) {
    name_argument wanted;
    TRY(wanted.read(name));
    heap_bytes value;
    TRY(value.make(std::min(bytes, vfs::longest_extended_value)));
    const k::u64 length = TRY(vfs::get_extended(of, as.who(), wanted.text(), value.all()));
    if (bytes && callers_memory().copy_out(to.at, value.all().data(), length) != length) return k::error::fault;
    return length;
}

k::result<k::u64> sys_getxattr(user_text path, user_text name, user_buffer to, k::u64 bytes) {
    eyes as;
    return get(as, TRY(find(as, at_working_directory, path, true)), name, to, bytes);
}

k::result<k::u64> sys_lgetxattr(user_text path, user_text name, user_buffer to, k::u64 bytes) {
    eyes as;
    return get(as, TRY(find(as, at_working_directory, path, false)), name, to, bytes);
}

k::result<k::u64> sys_fgetxattr(fd of, user_text name, user_buffer to, k::u64 bytes) {
    return get(eyes(), TRY(node_of(of)), name, to, bytes);
}

// --- Listing

k::result<k::u64> list(const eyes& as, const found& of, user_buffer to, k::u64 bytes) {
    heap_bytes names;
    TRY(names.make(std::min(bytes, vfs::longest_extended_list)));
    const k::u64 length = TRY(vfs::list_extended(of, as.who(), names.text()));
    if (bytes && callers_memory().copy_out(to.at, names.all().data(), length) != length) return k::error::fault;
    return length;
}

k::result<k::u64> sys_listxattr(user_text path, user_buffer to, k::u64 bytes) {
    eyes as;
    return list(as, TRY(find(as, at_working_directory, path, true)), to, bytes);
}

k::result<k::u64> sys_llistxattr(user_text path, user_buffer to, k::u64 bytes) {
    eyes as;
    return list(as, TRY(find(as, at_working_directory, path, false)), to, bytes);
}

k::result<k::u64> sys_flistxattr(fd of, user_buffer to, k::u64 bytes) {
    return list(eyes(), TRY(node_of(of)), to, bytes);
}

// --- Removing

k::result<k::u64> remove(const eyes& as, const found& of, user_text name) {
    name_argument wanted;
    TRY(wanted.read(name));
    TRY(vfs::set_extended(of, as.who(), wanted.text(), std::nullopt, 0));
    return 0;
}

k::result<k::u64> sys_removexattr(user_text path, user_text name) {
    eyes as;
    return remove(as, TRY(find(as, at_working_directory, path, true)), name);
}

k::result<k::u64> sys_lremovexattr(user_text path, user_text name) {
    eyes as;
    return remove(as, TRY(find(as, at_working_directory, path, false)), name);
}

k::result<k::u64> sys_fremovexattr(fd of, user_text name) {
    return remove(eyes(), TRY(node_of(of)), name);
}

constexpr std::string_view which = "tmpfs and disks keep user, trusted and security; no access lists";

constexpr entry entries[] = {
    call<sys_setxattr>(188, "setxattr", ends, which),
    call<sys_lsetxattr>(189, "lsetxattr", ends, which),
    call<sys_fsetxattr>(190, "fsetxattr", ends, which),
    call<sys_getxattr>(191, "getxattr"),
    call<sys_lgetxattr>(192, "lgetxattr"),
    call<sys_fgetxattr>(193, "fgetxattr"),
    call<sys_listxattr>(194, "listxattr"),
    call<sys_llistxattr>(195, "llistxattr"),
    call<sys_flistxattr>(196, "flistxattr"),
    call<sys_removexattr>(197, "removexattr"),
    call<sys_lremovexattr>(198, "lremovexattr"),
    call<sys_fremovexattr>(199, "fremovexattr"),
};

} // namespace

constinit const std::span<const entry> attribute_calls = entries;

} // namespace syscalls
