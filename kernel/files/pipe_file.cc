// The ends of a pipe as open files.
#include "kernel/files/caller.h"
#include "kernel/files/pipe.h"
#include "kernel/files/requests.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

class pipe_end final : public file {
  public:
    pipe_end(k::ref<pipe> of, k::u32 flags) noexcept : file(flags, file_kind::pipe_end), pipe_(std::move(of)) {}
    ~pipe_end() override { readable() ? pipe_->reader_left() : pipe_->writer_left(); }

    k::result<k::u64> read(xio::sink& to) noexcept override { return pipe_->read(to, nonblocking()); }
    k::result<k::u64> write(xio::source& from) noexcept override { return pipe_->write(from, nonblocking()); }
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
    k::u32 ready() noexcept override { return readable() ? pipe_->ready_to_read() : pipe_->ready_to_write(); }
    pollable* watched() noexcept override { return readable() ? &pipe_->read_watch() : &pipe_->write_watch(); }

    pipe& of() noexcept { return *pipe_; }

  private:
    k::ref<pipe> pipe_;
};

} // namespace

k::result<pipe_ends> make_pipe(k::u32 flags) noexcept {
    k::ref<pipe> made = TRY(pipe::create());
    auto* reader = mem::make<pipe_end>(made.share(), flags | open_read_only);
    if (!reader) return k::error::nomem;
    file_ref read_end(reader);
    auto* writer = mem::make<pipe_end>(std::move(made), flags | open_write_only);
    if (!writer) return k::error::nomem;
    return pipe_ends{std::move(read_end), file_ref(writer)};
}

pipe* pipe_of(file& f) noexcept {
    return f.kind() == file_kind::pipe_end ? &static_cast<pipe_end&>(f).of() : nullptr;
}

} // namespace files
