// The ends of a pseudo-terminal as open files.
#include "kernel/files/caller.h"
#include "kernel/files/paths.h"
#include "kernel/files/pty_priv.h"
#include "kernel/files/requests.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

constexpr k::u32 first_major = 136;

class pty_master final : public file {
  public:
    pty_master(k::ref<pty> of, k::u32 flags) noexcept : file(flags), pty_(std::move(of)) {}
    ~pty_master() override { pty_->master_left(); }

    k::result<k::u64> read(xio::sink& to) noexcept override { return pty_->read(to, nonblocking()); }
    k::result<k::u64> write(xio::source& from) noexcept override { return pty_->write(from, nonblocking()); }
    k::result<k::u64> ioctl(k::u32 request, k::u64 argument) noexcept override;
    k::u32 ready() noexcept override { return pty_->ready(); }
    pollable* watched() noexcept override { return &pty_->watched(); }
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(mode_character | 0666, pty_->node()->inode);
        out.device_number = device_number(5, 2);
        return {};
    }

  private:
    k::result<k::u64> lock_or_ask(k::u32 request, k::u64 argument) noexcept;
    k::result<k::u64> session_ioctl(k::u32 request, k::u64 argument) noexcept;
    k::result<k::u64> open_peer(k::u32 flags) noexcept;

    const k::ref<pty> pty_;
};

// Opens a slave, with what names it.
k::result<file_ref> open_slave(pty& of, k::u32 flags, vfs::found named) noexcept {
    if (of.is_locked()) return k::error::io;
    file_ref opened = TRY(open_terminal(of.tty, flags, device_number(first_major, of.number)));
    if (named) opened->set_origin(std::move(named));
    if (!(flags & open_no_terminal)) (void)of.tty.control_callers_session(false);
    return opened;
}

// How the caller would find a slave.
vfs::found name_of(const pty& of) noexcept {
    char room[24];
    k::buffer_sink path(room);
    k::format_to(path, "/dev/pts/{}", of.number);
    eyes as;
    auto there = vfs::find(as.from_here(), path.view());
    if (there && there->node == of.node()) return *std::move(there);
    vfs::found node_only;
    node_only.node = of.node().share();
    return node_only;
}

k::result<k::u64> pty_master::open_peer(k::u32 flags) noexcept {
    constexpr k::u32 kept = open_access_mode | open_nonblock | open_no_terminal;
    file_ref opened = TRY(open_slave(*pty_, flags & kept, name_of(*pty_)));
    return static_cast<k::u64>(TRY(give_to_caller(std::move(opened), flags & open_cloexec)));
}

k::result<k::u64> pty_master::lock_or_ask(k::u32 request, k::u64 argument) noexcept {
    switch (request) {
    case request_pty_lock: pty_->set_locked(TRY(argument_at<int>(argument)) != 0); return 0;
    case request_pty_number: TRY(answer(argument, static_cast<int>(pty_->number))); return 0;
    default: TRY(answer(argument, static_cast<int>(pty_->is_locked()))); return 0;
    }
}

// Of the slave's session, whichever that is.
k::result<k::u64> pty_master::session_ioctl(k::u32 request, k::u64 argument) noexcept {
    const terminal::users who = pty_->tty.who_uses();
    switch (request) {
    case request_get_group: TRY(answer(argument, who.foreground)); return 0;
    case request_get_session:
        if (!who.session) return k::error::notty;
        TRY(answer(argument, who.session));
        return 0;
    default: return k::error::notty;
    }
}

k::result<k::u64> pty_master::ioctl(k::u32 request, k::u64 argument) noexcept {
    switch (request) {
    case request_pty_number:
    case request_pty_lock:
    case request_pty_is_locked: return lock_or_ask(request, argument);
    case request_pty_peer: return open_peer(static_cast<k::u32>(argument));
    case request_set_packets: pty_->set_packets(TRY(argument_at<int>(argument)) != 0); return 0;
    case request_get_packets: TRY(answer(argument, static_cast<int>(pty_->has_packets()))); return 0;
    case request_pty_signal:
        if (argument < 1 || argument > proc::sig_max) return k::error::inval;
        pty_->tty.signal_foreground(static_cast<int>(argument));
        return 0;
    case request_bytes_waiting: TRY(answer(argument, static_cast<int>(pty_->bytes_to_read()))); return 0;
    case request_get_group:
    case request_get_session:
    case request_set_group:
    case request_take_terminal:
    case request_leave_terminal: return session_ioctl(request, argument);
    default: return pty_->tty.ioctl(request, argument);
    }
}

} // namespace

k::result<file_ref> open_pty_master(k::u32 flags) noexcept {
    k::ref<pty> made = TRY(pty::create(proc::current_process().who.user().for_files));
    auto* master = mem::make<pty_master>(std::move(made), flags);
    if (!master) return k::error::nomem;
    return file_ref(master);
}

bool is_pty_slave(k::u64 number) noexcept {
    return number >= device_number(first_major, 0) && number < device_number(first_major, 0) + most_ptys;
}

k::result<file_ref> open_pty_slave(k::u64 number, k::u32 flags) noexcept {
    const k::ref<pty> of = find_pty(static_cast<unsigned>(number - device_number(first_major, 0)));
    if (!of) return k::error::nxio;
    return open_slave(*of, flags, {});
}

} // namespace files
