#include "kernel/files/fifo.h"

#include "kernel/files/pipe.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"

namespace files {

namespace {

class fifo final : public vfs::attachment {
  public:
    explicit fifo(k::ref<pipe> through) noexcept : bytes(std::move(through)) {}
    void last_holder_left() noexcept override { mem::destroy(this); }

    const k::ref<pipe> bytes;
    lwkt::wait_queue comers; // who has come to one end and waits for the other
};

k::ref<vfs::attachment> make_fifo() noexcept {
    auto bytes = pipe::create(piece_queue::ends::come_and_go);
    if (!bytes) return {};
    return k::ref<vfs::attachment>(mem::make<fifo>(*std::move(bytes)));
}

// The file of who has come, and sleeping until somebody comes to the other end.
k::result<file_ref> open_to_read(fifo& f, k::u32 flags) noexcept {
    piece_queue& bytes = f.bytes->queue;
    const piece_queue::attendance found = bytes.reader_came();
    f.comers.wake_all();
    auto made = make_pipe_end(f.bytes.share(), flags, found.now ? 0 : found.ever);
    if (!made) return bytes.reader_left(), made.error();
    if (!found.now && !(flags & open_nonblock))
        TRY(proc::sleep(f.comers, [&] { return bytes.writers().ever != found.ever; }));
    return made;
}

k::result<file_ref> open_to_write(fifo& f, k::u32 flags) noexcept {
    piece_queue& bytes = f.bytes->queue;
    if ((flags & open_nonblock) && !bytes.readers().now) return k::error::nxio;
    const piece_queue::attendance found = bytes.writer_came();
    f.comers.wake_all();
    auto made = make_pipe_end(f.bytes.share(), flags);
    if (!made) return bytes.writer_left(), made.error();
    if (!found.now) TRY(proc::sleep(f.comers, [&] { return bytes.readers().ever != found.ever; }));
    return made;
}

k::result<file_ref> open_for_both(fifo& f, k::u32 flags) noexcept {
    piece_queue& bytes = f.bytes->queue;
    (void)bytes.reader_came();
    (void)bytes.writer_came();
    f.comers.wake_all();
    auto made = make_pipe_end(f.bytes.share(), flags);
    if (made) return made;
    bytes.reader_left();
    bytes.writer_left();
    return made;
}

} // namespace

k::result<file_ref> open_fifo(vfs::found what, k::u32 flags) noexcept {
    auto attached = what.node->attached(vfs::attachment_kind::channel, make_fifo);
    if (!attached) return k::error::nomem;
    auto& f = static_cast<fifo&>(*attached);
    k::result<file_ref> opened = k::error::inval;
    switch (flags & open_access_mode) {
    case open_read_only: opened = open_to_read(f, flags); break;
    case open_write_only: opened = open_to_write(f, flags); break;
    case open_read_write: opened = open_for_both(f, flags); break;
    }
    if (opened) (*opened)->set_origin(std::move(what));
    return opened;
}

} // namespace files
