#include "kernel/files/terminal.h"

#include "kernel/files/caller.h"
#include "kernel/files/requests.h"
#include "kernel/proc/group.h"

namespace files {

namespace {

// What a program writes in one call of at most this length reaches the device in one call too (unless most of it is
// tabs or ends of lines), so that nothing else comes between.
constexpr std::size_t chunk = 512;

// Gathers what the discipline shows.
class device_sink final : public k::text_sink {
  public:
    explicit device_sink(terminal_device& device) noexcept : device_(device) {}
    ~device_sink() { flush(); }
    void put(std::string_view text) override {
        for (char c : text) {
            if (used_ == sizeof(text_)) flush();
            text_[used_++] = c;
        }
    }

  private:
    void flush() {
        if (used_) device_.show({text_, used_});
        used_ = 0;
    }

    terminal_device& device_;
    std::size_t used_ = 0;
    char text_[2 * chunk];
};

} // namespace

// Makes what others may look at up to date and tells them. The token is held.
void terminal::publish() noexcept {
    bool can_read, can_write, was_stopped;
    {
        lwkt::spin_guard guard(lock_);
        was_stopped = stopped_;
        const termios& now = discipline_.settings();
        canonical_ = discipline_.canonical();
        used_ = discipline_.used();
        readable_ = discipline_.readable();
        line_ = discipline_.has_line();
        stopped_ = discipline_.stopped();
        minimum_ = now.characters[char_minimum];
        time_ = now.characters[char_time];
        can_read = canonical_ ? line_ : readable_ != 0;
        can_write = !stopped_;
    }
    if (was_stopped == can_write) device_.happened(can_write ? packet_started : packet_stopped);
    if (can_read) readers_.wake_all();
    if (can_write) writers_.wake_all();
    watched_.notify((can_read ? poll_can_read : 0) | (can_write ? poll_can_write : 0));
}

void terminal::typed(std::string_view bytes) noexcept {
    for (char c : bytes) {
        int signal;
        {
            lwkt::token_hold hold(token_);
            device_sink echo(device_);
            signal = discipline_.type(c, echo);
            if (signal && !(discipline_.settings().local & local_no_flush)) {
                device_.drop_output(); // but for the echo, which comes after this
                device_.happened(packet_input_dropped);
            }
        }
        if (signal) signal_foreground(signal);
    }
    lwkt::token_hold hold(token_);
    publish();
}

k::u32 terminal::ready() noexcept {
    const bool has_room = device_.has_room();
    lwkt::spin_guard guard(lock_);
    if (hung_up_) return poll_can_read | poll_can_write | poll_error | poll_hangup;
    const k::u32 least = time_ ? 1 : std::max<k::u32>(minimum_, 1);
    return ((canonical_ ? line_ : readable_ >= least) ? poll_can_read : 0) |
           (stopped_ || !has_room ? 0 : poll_can_write);
}

bool terminal::must_wait(k::u32 bytes) noexcept {
    lwkt::spin_guard guard(lock_);
    return used_ + bytes > line_discipline::capacity - 1 && (canonical_ ? line_ : readable_ != 0);
}

void terminal::has_room_again() noexcept {
    writers_.wake_all();
    watched_.notify(poll_can_write);
}

bool terminal::is_hung_up() noexcept {
    lwkt::spin_guard guard(lock_);
    return hung_up_;
}

// --- Reading
// ----------------------------------------------------------------------------------------------------------

// Sleeps until a read of that many bytes may return, or EAGAIN. The rules are those of termios(3): a line; or VMIN
// bytes and, if VTIME is set, no more after a pause of that length. True: there may be no byte at all by these rules.
k::result<bool> terminal::wait_for_input(k::u64 wanted, bool nonblocking) noexcept {
    ktime::ns pause;
    k::u32 least, have;
    const auto look = [&] {
        lwkt::spin_guard guard(lock_);
        pause = time_ * 100 * ktime::millisecond;
        have = canonical_ ? line_ : readable_;
        least = canonical_ ? 1 : static_cast<k::u32>(std::min<k::u64>(minimum_, wanted));
        if (canonical_) pause = 0;
        return have;
    };
    look();
    if (nonblocking) {
        if (!have && !(least == 0 && pause == 0)) return k::error::again;
        return least == 0;
    }
    while ((have < least || (least == 0 && pause && !have)) && !is_hung_up()) {
        const k::u32 before = have;
        // With VMIN the pause counts only from the first byte on.
        const bool limited = pause && (least == 0 || have);
        const k::status woken = proc::sleep(
            readers_, [&] { return look() > before || have >= std::max(least, 1u) || is_hung_up(); },
            limited ? ktime::after(pause) : ktime::forever);
        if (woken) continue;
        if (woken.error() == k::error::timedout) return least == 0;
        return woken.error();
    }
    return least == 0 || is_hung_up();
}

// Moves a chunk. False: the read is over, if it moved anything.
bool terminal::take_some(xio::sink& to, progress& so_far) noexcept {
    char bytes[chunk];
    line_discipline::taken taken;
    {
        lwkt::token_hold hold(token_);
        taken = discipline_.take({bytes, std::min<k::u64>(chunk, to.size() - so_far.bytes)});
        publish();
        device_.input_taken();
    }
    const xio::moved m = to.write_some(so_far.bytes, std::as_bytes(std::span(bytes, taken.bytes)));
    so_far.bytes += m.bytes;
    so_far.line_ended = taken.line_ended;
    if (!m.status) so_far.bad = m.status.error();
    return m.status && taken.bytes && !taken.line_ended && so_far.bytes < to.size();
}

k::result<k::u64> terminal::read(xio::sink& to, bool nonblocking) noexcept {
    TRY(check_foreground(use::read));
    if (to.empty()) return 0;
    progress so_far;
    bool may_be_empty;
    do {
        may_be_empty = TRY(wait_for_input(to.size(), nonblocking));
        while (take_some(to, so_far)) {
        }
        // Another reader may have been faster.
    } while (!so_far.bytes && !so_far.line_ended && !so_far.bad && !may_be_empty);
    if (!so_far.bytes && so_far.bad) return *so_far.bad;
    return so_far.bytes;
}

// --- Writing
// ----------------------------------------------------------------------------------------------------------

// Must a writer wait?
bool terminal::output_waits() noexcept {
    const bool has_room = device_.has_room();
    lwkt::spin_guard guard(lock_);
    return (stopped_ || !has_room) && !hung_up_;
}

k::result<k::u64> terminal::write(xio::source& from, bool nonblocking) noexcept {
    TRY(check_foreground(use::write));
    k::u64 done = 0;
    while (done < from.size()) {
        if (output_waits()) {
            const k::status woken =
                nonblocking ? k::error::again : proc::sleep(writers_, [&] { return !output_waits(); });
            if (!woken) {
                if (done) break;
                return woken.error();
            }
        }
        if (is_hung_up()) {
            if (done) break;
            return k::error::io;
        }
        if (done && proc::interrupted()) break; // the device is slow
        std::byte bytes[chunk];
        const xio::moved m = from.read_some(done, {bytes, std::min<k::u64>(chunk, from.size() - done)});
        {
            lwkt::token_hold hold(token_);
            device_sink out(device_);
            discipline_.print({reinterpret_cast<const char*>(bytes), m.bytes}, out);
        }
        done += m.bytes;
        if (m.status) continue;
        if (done) break;
        return m.status.error();
    }
    return done;
}

// --- Settings
// ---------------------------------------------------------------------------------------------------------

termios terminal::settings() noexcept {
    lwkt::token_hold hold(token_);
    return discipline_.settings();
}

// Do ^S and ^Q stop and start the output, as a master in packet mode is told?
static bool has_usual_flow(const termios& t) noexcept {
    return (t.input & input_flow) && t.characters[char_stop] == 023 && t.characters[char_start] == 021;
}

void terminal::set(const termios& to, bool drop_input) noexcept {
    lwkt::token_hold hold(token_);
    if (drop_input) discipline_.drop_input();
    const termios before = discipline_.settings();
    discipline_.set(to);
    publish();
    k::u8 events = drop_input ? packet_input_dropped : 0;
    if (has_usual_flow(before) != has_usual_flow(to)) events |= has_usual_flow(to) ? packet_flow : packet_no_flow;
    if ((before.local | to.local) & local_external) events |= packet_settings;
    if (events) device_.happened(events);
}

void terminal::set_window(const window_size& to) noexcept {
    {
        lwkt::token_hold hold(token_);
        if (to.rows == window_.rows && to.columns == window_.columns && to.width_pixels == window_.width_pixels &&
            to.height_pixels == window_.height_pixels)
            return;
        window_ = to;
    }
    signal_foreground(proc::sig_winch);
}

// TCFLSH: 0 input, 1 output, 2 both.
k::result<k::u64> terminal::flush(k::u64 which) noexcept {
    TRY(check_foreground(use::change));
    if (which > 2) return k::error::inval;
    if (which != 0) device_.drop_output();
    if (which == 1) return 0;
    lwkt::token_hold hold(token_);
    discipline_.drop_input();
    publish();
    device_.input_taken();
    device_.happened(packet_input_dropped);
    return 0;
}

// TCXONC: 0 stops output, 1 lets it go on; 2 and 3 concern a modem.
k::result<k::u64> terminal::set_flow(k::u64 how) noexcept {
    TRY(check_foreground(use::change));
    if (how > 3) return k::error::inval;
    if (how > 1) return 0;
    lwkt::token_hold hold(token_);
    discipline_.set_stopped(how == 0);
    publish();
    return 0;
}

k::result<k::u64> terminal::ioctl(k::u32 request, k::u64 argument) noexcept {
    if (is_hung_up()) return k::error::io;
    switch (request) {
    case request_get_termios: TRY(answer(argument, settings())); return 0;
    case request_set_termios:
    case request_set_termios_drained:
    case request_set_termios_flushed: {
        TRY(check_foreground(use::change));
        set(TRY(argument_at<termios>(argument)), request == request_set_termios_flushed);
        return 0;
    }
    case request_send_break:
    case request_send_break_posix: return 0; // output does not wait here, and there is no line to break
    case request_flow: return set_flow(argument);
    case request_flush: return flush(argument);
    case request_get_window: {
        window_size now;
        {
            lwkt::token_hold hold(token_);
            now = window_;
        }
        TRY(answer(argument, now));
        return 0;
    }
    case request_set_window: set_window(TRY(argument_at<window_size>(argument))); return 0;
    case request_bytes_queued: TRY(answer(argument, 0)); return 0;
    case request_bytes_waiting: {
        int bytes;
        {
            lwkt::spin_guard guard(lock_);
            bytes = static_cast<int>(readable_);
        }
        TRY(answer(argument, bytes));
        return 0;
    }
    default: return control_ioctl(request, argument);
    }
}

} // namespace files
