#include "kernel/syscall/socket_arguments.h"

#include <cstring>

namespace syscalls {

using files::cargo;
using files::file_ref;
using files::flight;
using files::socket_text;

k::result<socket_use> socket_of(fd which) noexcept {
    socket_use s(TRY(files::callers_file(which.number)));
    if (!s.exists()) return k::error::notsock;
    return s;
}

// --- Addresses
// --------------------------------------------------------------------------------------------------------

namespace {

constexpr k::u32 family_bytes = 2;

// struct sockaddr_un.
struct raw_address {
    k::u16 family;
    char text[socket_text::most];
};
static_assert(sizeof(raw_address) == 110);

} // namespace

k::result<socket_address> read_address(xio::user_address at, k::u32 bytes) noexcept {
    raw_address raw{};
    if (bytes < family_bytes || bytes > sizeof(raw)) return k::error::inval;
    if (callers_memory().copy_in(&raw, at, bytes) != bytes) return k::error::fault;
    socket_address read{.family = raw.family, .text = {}};
    socket_text& text = read.text;
    text.length = static_cast<k::u8>(bytes - family_bytes);
    std::memcpy(text.bytes, raw.text, text.length);
    // A path as others are told of it: with the zero byte behind it, if that has room, and nothing else.
    if (text.length && !text.is_abstract()) {
        text.length = static_cast<k::u8>(std::min(text.path().size() + 1, socket_text::most));
        if (text.path().size() < text.length) text.bytes[text.length - 1] = '\0';
    }
    return read;
}

k::result<socket_address> read_unix_address(xio::user_address at, k::u32 bytes) noexcept {
    socket_address read = TRY(read_address(at, bytes));
    if (read.family != files::family_unix || !read.text.length) return k::error::inval;
    return read;
}

k::result<k::u32> write_address(xio::user_address at, k::u32 room, const files::socket_name_ref& name) noexcept {
    raw_address raw{.family = files::family_unix, .text = {}};
    k::u32 bytes = family_bytes;
    if (name) {
        std::memcpy(raw.text, name->what.bytes, name->what.length);
        bytes += name->what.length;
    }
    const k::u32 part = std::min(bytes, room);
    if (callers_memory().copy_out(at, &raw, part) != part) return k::error::fault;
    return bytes;
}

k::status write_address_and_length(xio::user_address at, vm::user_pointer<int> length,
                                   const files::socket_name_ref& name) noexcept {
    const int room = TRY(length.read(callers_memory()));
    if (room < 0) return k::error::inval;
    const k::u32 bytes = TRY(write_address(at, static_cast<k::u32>(room), name));
    return length.write(callers_memory(), static_cast<int>(bytes));
}

// --- Control messages
// -------------------------------------------------------------------------------------------------

namespace {

// struct cmsghdr.
struct control_header {
    k::u64 bytes; // with this header
    int level, type;
};
static_assert(sizeof(control_header) == 16);

constexpr int level_socket = 1;
constexpr int control_rights = 1, control_credentials = 2;
constexpr k::u64 most_control = 20480;

// The descriptors of all SCM_RIGHTS of a message, as files.
class boarding {
  public:
    ~boarding() {
        for (k::u32 at = 0; at < count_; at++)
            files_[at].~file_ref();
        mem::free(files_);
    }
    k::status add(xio::user_address at, k::u64 count) noexcept {
        if (count > flight::most - count_) return k::error::inval;
        if (!files_) files_ = static_cast<file_ref*>(mem::allocate(flight::most * sizeof(file_ref)));
        if (!files_) return k::error::nomem;
        for (k::u64 i = 0; i < count; i++) {
            const int number = TRY((vm::user_pointer<const int>(at) + i).read(callers_memory()));
            file_ref held = files::callers_table().get(number);
            if (!held) return k::error::badf;
            new (&files_[count_++]) file_ref(std::move(held));
        }
        return {};
    }
    k::result<files::flight_hold> take_off() noexcept {
        if (!count_) return files::flight_hold();
        return flight::create({files_, count_});
    }

  private:
    file_ref* files_ = nullptr;
    k::u32 count_ = 0;
};

bool is_one_of(k::u32 id, const proc::identity& of) noexcept {
    return id == of.real || id == of.effective || id == of.saved;
}

// May the running process say that it is this one?
k::status check_sender(const files::sender& who) noexcept {
    const proc::process& p = proc::current_process();
    const proc::identity user = p.who.user();
    if (user.effective == 0) return {};
    if (who.pid != p.pid || !is_one_of(who.uid, user) || !is_one_of(who.gid, p.who.group())) return k::error::perm;
    return {};
}

} // namespace

k::result<cargo> read_control(const message_header& h) noexcept {
    cargo with;
    boarding files;
    if (!h.control) return with;
    if (h.control_bytes > most_control) return k::error::nobufs;
    for (k::u64 at = 0; h.control_bytes - at >= sizeof(control_header);) {
        const auto c = TRY(vm::user_pointer<const control_header>(h.control + at).read(callers_memory()));
        if (c.bytes < sizeof(c) || c.bytes > h.control_bytes - at) return k::error::inval;
        const xio::user_address data = h.control + at + sizeof(c);
        const k::u64 bytes = c.bytes - sizeof(c);
        if (c.level == level_socket) {
            if (c.type == control_rights) {
                TRY(files.add(data, bytes / sizeof(int)));
            } else if (c.type == control_credentials && bytes == sizeof(files::sender)) {
                with.who = TRY(vm::user_pointer<const files::sender>(data).read(callers_memory()));
                TRY(check_sender(*with.who));
            } else {
                return k::error::inval;
            }
        }
        at = std::min(at + k::align_up(c.bytes, k::u64{8}), h.control_bytes);
    }
    with.files = TRY(files.take_off());
    return with;
}

namespace {

// Writes control messages one behind the other.
class control_writer {
  public:
    explicit control_writer(message_header& h) noexcept : h_(h), room_(h.control ? h.control_bytes : 0) {
        h.control_bytes = 0;
    }
    // How many bytes of data one more could have.
    k::u64 room() const noexcept {
        const k::u64 left = room_ - h_.control_bytes;
        return left > sizeof(control_header) ? left - sizeof(control_header) : 0;
    }
    xio::user_address data() const noexcept { return h_.control + h_.control_bytes + sizeof(control_header); }
    // The header of what stands at data().
    void close(int type, k::u64 bytes) noexcept {
        const control_header c{sizeof(c) + bytes, level_socket, type};
        (void)vm::user_pointer<control_header>(h_.control + h_.control_bytes).write(callers_memory(), c);
        h_.control_bytes = std::min(room_, h_.control_bytes + k::align_up(sizeof(c) + bytes, k::u64{8}));
    }
    void no_room() noexcept { h_.flags |= msg_control_truncated; }

  private:
    message_header& h_;
    const k::u64 room_;
};

void write_sender(control_writer& to, const std::optional<files::sender>& who) noexcept {
    constexpr k::u32 nobody = 65534;
    const files::sender said = who.value_or(files::sender{0, nobody, nobody});
    const k::u64 bytes = std::min<k::u64>(to.room(), sizeof(said));
    if (bytes < sizeof(said)) to.no_room();
    if (!bytes) return;
    (void)callers_memory().copy_out(to.data(), &said, bytes);
    to.close(control_credentials, bytes);
}

// As many as there is room for, and descriptors to give; the others are closed.
void write_rights(control_writer& to, std::span<file_ref> what, bool close_on_exec) noexcept {
    const std::size_t fitting = std::min<std::size_t>(what.size(), to.room() / sizeof(int));
    std::size_t count = 0;
    for (; count < fitting; count++) {
        auto number = files::give_to_caller(what[count].share(), close_on_exec);
        if (!number) break;
        const auto at = vm::user_pointer<int>(to.data()) + count;
        if (at.write(callers_memory(), *number)) continue;
        (void)files::callers_table().close(*number);
        break;
    }
    if (count < what.size()) to.no_room();
    if (count) to.close(control_rights, count * sizeof(int));
}

} // namespace

void write_control(message_header& h, files::receiving& what, bool with_sender, bool close_on_exec) noexcept {
    control_writer to(h);
    if (with_sender) write_sender(to, what.who);
    if (!what.files) return;
    what.files->land();
    write_rights(to, what.files->files(), close_on_exec);
}

} // namespace syscalls
