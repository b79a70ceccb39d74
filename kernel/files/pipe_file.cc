// The ends of a pipe as open files.
#include "kernel/files/caller.h"
#include "kernel/files/pipe.h"
#include "kernel/files/requests.h"
#include "kernel/mem/slab.h"
#include "sys/vfs/events.h"

namespace files {

namespace {

class pipe_end final : public file {
  public:
    pipe_end(k::ref<pipe> of, k::u32 flags, k::u32 writers_before) noexcept
        : file(flags, file_kind::pipe_end), pipe_(std::move(of)), writers_before_(writers_before) {}
    ~pipe_end() override {
        if (readable()) pipe_->queue.reader_left();
        if (writable()) pipe_->queue.writer_left();
        if (origin())
            vfs::announce_use(*origin().node, origin().called.get(),
                              writable() ? vfs::event_close_write : vfs::event_close_no_write);
    }

    k::result<k::u64> read(xio::sink& to) noexcept override { return pipe_->read(to, nonblocking()); }
    k::result<k::u64> write(xio::source& from) noexcept override {
        if (flags() & open_direct) [[unlikely]]
            return pipe_->write_packets(from, nonblocking());
        return pipe_->write(from, nonblocking());
    }
    k::result<k::u64> ioctl(k::u32 request, k::u64 argument) noexcept override {
        if (request != request_bytes_waiting) return k::error::notty;
        const auto bytes = static_cast<int>(std::min(pipe_->bytes(), k::u64{0x7fff'ffff}));
        TRY(answer(argument, bytes));
        return 0;
    }
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(mode_pipe | 0600, pipe_->inode());
        return {};
    }
    k::u32 ready() noexcept override {
        return (readable() ? pipe_->queue.ready_to_read(writers_before_) : 0) |
               (writable() ? pipe_->queue.ready_to_write() : 0);
    }
    pollable* watched() noexcept override { return readable() ? &pipe_->read_watch() : &pipe_->write_watch(); }

    pipe& of() noexcept { return *pipe_; }

  private:
    const k::ref<pipe> pipe_;
    const k::u32 writers_before_;
};

} // namespace

k::result<pipe_ends> make_pipe(k::u32 flags) noexcept {
    k::ref<pipe> made = TRY(pipe::create());
    file_ref reader = TRY(make_pipe_end(made.share(), (flags & ~k::u32{open_direct}) | open_read_only));
    return pipe_ends{std::move(reader), TRY(make_pipe_end(std::move(made), flags | open_write_only))};
}

k::result<file_ref> make_pipe_end(k::ref<pipe> of, k::u32 flags, k::u32 writers_before) noexcept {
    auto* made = mem::make<pipe_end>(std::move(of), flags, writers_before);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

pipe* pipe_of(file& f) noexcept {
    return f.kind() == file_kind::pipe_end ? &static_cast<pipe_end&>(f).of() : nullptr;
}

} // namespace files
