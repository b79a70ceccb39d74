// The open file of a socket.
#include "kernel/files/caller.h"
#include "kernel/files/requests.h"
#include "kernel/files/unix_socket.h"

namespace files {

class socket_file final : public file {
  public:
    socket_file(k::ref<unix_socket> s, k::u32 flags) noexcept
        : file(flags | open_read_write, file_kind::socket), socket_(std::move(s)) {
        socket_->file_ = this;
    }
    ~socket_file() override { socket_->close(); }

    k::result<k::u64> read(xio::sink& to) noexcept override {
        if (to.empty()) return 0;
        receiving how{.until = socket_->receive_deadline(nonblocking())};
        return TRY(socket_->receive(to, how)).bytes;
    }
    k::result<k::u64> write(xio::source& from) noexcept override {
        outgoing how{.until = socket_->send_deadline(nonblocking())};
        return socket_->send(from, how);
    }
    bool signals_pipe() const noexcept override { return socket_->type == socket_type::stream; }
    k::result<k::u64> ioctl(k::u32 request, k::u64 argument) noexcept override {
        if (request != request_bytes_waiting) return k::error::notty;
        if (socket_->is_listening()) return k::error::inval;
        const auto bytes = static_cast<int>(std::min(socket_->waiting_bytes(), k::u64{0x7fff'ffff}));
        TRY(answer(argument, bytes));
        return 0;
    }
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(static_cast<k::u32>(vfs::node_type::socket) | 0777, inode_);
        return {};
    }
    k::u32 ready() noexcept override { return socket_->ready(); }
    pollable* watched() noexcept override { return &socket_->watch(); }

    unix_socket& of() const noexcept { return *socket_; }

  private:
    const k::u64 inode_ = fresh_inode();
    k::ref<unix_socket> socket_;
};

k::result<file_ref> make_socket_file(k::ref<unix_socket> s, k::u32 flags) noexcept {
    unix_socket& of = *s;
    auto* made = mem::make<socket_file>(s.share(), flags);
    if (made) return file_ref(made);
    of.close(true);
    return k::error::nomem;
}

unix_socket* unix_socket_of(file& f) noexcept {
    return f.kind() == file_kind::socket ? &static_cast<socket_file&>(f).of() : nullptr;
}

} // namespace files
