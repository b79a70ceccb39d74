// The inbox of a stream socket: one queue of pieces.
#include "kernel/files/unix_socket_inbox.h"

namespace files {

namespace {

class stream_inbox final : public unix_inbox {
  public:
    explicit stream_inbox(pollable& watch) noexcept : bytes_(watch, watch) {}

    k::result<k::u64> send(xio::source& from, sending& how) noexcept override {
        return how.with ? bytes_.write_with(*how.with, from, how.until) : bytes_.write(from, how.until);
    }
    k::result<received> receive(xio::sink& to, receiving& how) noexcept override {
        const k::u64 done = TRY(bytes_.receive(to, how));
        return received{.bytes = done, .message = done};
    }

    void shut() noexcept override { bytes_.shut(); }
    void writer_left() noexcept override { bytes_.writer_left(); }
    void reader_left() noexcept override { bytes_.reader_left(); }

    k::u32 ready_to_read() noexcept override { return bytes_.ready_to_read(); }
    k::u32 ready_to_write() noexcept override { return bytes_.ready_to_write(); }
    k::u64 waiting_bytes() noexcept override { return bytes_.bytes(); }
    bool is_empty() noexcept override { return bytes_.bytes() == 0; }
    void set_limit(k::u64 bytes) noexcept override { (void)bytes_.set_capacity(bytes); } // or when less is in it
    void set_write_watch(pollable& to) noexcept override { bytes_.set_write_watch(to); }
    piece_queue* stream() noexcept override { return &bytes_; }

    void visit_flights(void (*visit)(void*, flight&), void* with) noexcept override {
        bytes_.for_each_flight([&](flight& f) { visit(with, f); });
    }
    void take_flights(flight_list& to) noexcept override { bytes_.take_flights(to); }

  private:
    piece_queue bytes_;
};

} // namespace

mem::box<unix_inbox> make_stream_inbox(pollable& watch) noexcept {
    return mem::box<unix_inbox>(mem::make<stream_inbox>(watch));
}

} // namespace files
