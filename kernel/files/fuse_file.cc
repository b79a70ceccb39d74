#include "kernel/files/fuse_file.h"

#include "kernel/files/caller.h"
#include "kernel/files/mount_options.h"
#include "kernel/lib/text.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/thread.h"
#include "sys/userfs/fuse_server.h"

namespace files {

namespace {

using vfs::fuse::connection;

// The line, with who watches the device. Either end may go first.
class watched_line final : public connection {
  public:
    void last_holder_left() noexcept override { mem::destroy(this); }
    void changed() noexcept override { watchers.notify(poll_can_read | poll_error); }

    pollable watchers;
};

class fuse_file final : public file {
  public:
    fuse_file(vfs::fuse::connection_ref line, k::u32 flags) noexcept
        : file(flags, file_kind::fuse), line_(std::move(line)) {}
    ~fuse_file() override { line_->end({}, false); }

    k::result<k::u64> read(xio::sink& to) noexcept override;
    k::result<k::u64> write(xio::source& from) noexcept override { return line_->write(from); }
    k::u32 ready() noexcept override;
    pollable* watched() noexcept override { return &static_cast<watched_line&>(*line_).watchers; }
    vfs::fuse::connection_ref line() const noexcept { return line_.share(); }

  private:
    k::status describe(stat_record&) noexcept override { return k::error::badf; } // it always has a node

    const vfs::fuse::connection_ref line_;
};

k::result<k::u64> fuse_file::read(xio::sink& to) noexcept {
    for (;;) {
        auto got = line_->read(to);
        if (got || got.error() != k::error::again || nonblocking()) return got;
        TRY(proc::sleep(line_->readers(), [&] { return line_->ready() != 0; }));
    }
}

k::u32 fuse_file::ready() noexcept {
    const unsigned now = line_->ready();
    if (now & connection::is_unused) return poll_error;
    if (now & connection::is_over) return poll_error | poll_can_read;
    return poll_can_write | (now & connection::has_requests ? poll_can_read : 0);
}

// --- Who asks

void identify(vfs::fuse::request_head& to) noexcept {
    if (!proc::is_user_thread()) return;
    proc::process& p = proc::current_process();
    const proc::identity user = p.who.user();
    to.uid = user.for_files;
    to.gid = p.who.group().for_files;
    to.pid = static_cast<k::u32>(p.pid);
}

bool is_signalled() noexcept {
    return proc::is_user_thread() && proc::interrupted();
}

// --- mount(2)

struct wanted {
    vfs::fuse_options how;
    std::optional<k::u32> fd = {}, mode = {}, uid = {}, gid = {};
};

k::status read_option(const mount_option& o, wanted& to) noexcept {
    constexpr std::size_t mode_digits = 6;
    if (o.name == "default_permissions" && o.value.empty()) {
        to.how.default_permissions = true;
        return {};
    }
    if (o.name == "allow_other" && o.value.empty()) {
        to.how.allow_other = true;
        return {};
    }
    if (o.name == "rootmode") {
        to.mode = parse_octal(o.value, mode_digits);
        return to.mode ? k::status() : k::error::inval;
    }
    if (o.name == "timeout") {
        const auto patience = parse_patience(o.value);
        if (!patience) return k::error::inval;
        to.how.timeout = *patience;
        return {};
    }
    const auto number = k::parse_number(o.value);
    if (!number || *number > ~k::u32{0}) return k::error::inval;
    const auto small = static_cast<k::u32>(*number);
    if (o.name == "fd")
        to.fd = small;
    else if (o.name == "user_id")
        to.uid = small;
    else if (o.name == "group_id")
        to.gid = small;
    else if (o.name == "max_read" && small)
        to.how.most_read = small;
    else if (o.name != "blksize" || !small)
        return k::error::inval;
    return {};
}

bool begins(std::string_view type, std::string_view with) noexcept {
    return type == with || (type.starts_with(with) && type[with.size()] == '.');
}

} // namespace

k::result<file_ref> open_fuse_device(k::u32 flags) noexcept {
    auto* line = mem::make<watched_line>();
    if (!line) return k::error::nomem;
    vfs::fuse::connection_ref held(line);
    auto* made = mem::make<fuse_file>(std::move(held), flags);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

bool is_fuse(std::string_view type) noexcept {
    return begins(type, "fuse") || begins(type, "fuseblk");
}

k::result<vfs::file_system_ref> mount_fuse(std::string_view type, std::string_view options) noexcept {
    wanted w{.how = {.type = type, .who = {identify, proc::is_killed, is_signalled}}};
    TRY(read_options(options, [&](const mount_option& o) { return read_option(o, w); }));
    if (!w.fd || !w.mode || !w.uid || !w.gid) return k::error::inval;
    if (static_cast<vfs::node_type>(*w.mode & 0170000) != vfs::node_type::directory) return k::error::inval;
    w.how.root_mode = *w.mode;
    w.how.uid = *w.uid;
    w.how.gid = *w.gid;
    w.how.says_last = begins(type, "fuseblk");
    const file_ref device = callers_table().get(static_cast<int>(*w.fd));
    if (!device || device->kind() != file_kind::fuse) return k::error::inval;
    return vfs::make_fuse(static_cast<fuse_file&>(*device).line(), w.how);
}

} // namespace files
