// files::terminal: a line discipline on a device, who may use it, and who waits for it.
//
// Input is typed() by whoever feeds the device, a kernel thread: editing, echo and the signals of the keyboard happen
// at once, also when nobody reads. A token guards the discipline; what ready() and sleepers look at is kept beside it,
// under a spinlock.
//
// Job control is proc's: a terminal controls at most one session, whose foreground group may use it. A process of
// another group of that session that reads (or changes settings, or writes if the terminal says so) stops by a signal.
// Where nobody could continue it (an orphaned group), or it wants no such signal, it gets an error instead.
#pragma once

#include "kernel/files/file.h"
#include "kernel/files/line_discipline.h"
#include "kernel/lwkt/token.h"

#include <optional>

namespace proc {
struct session;
}

namespace files {

// What a terminal stands on.
class terminal_device {
  public:
    // Shows these bytes as they are. Must not block.
    virtual void show(std::string_view bytes) noexcept = 0;
    // Is there room for what a program writes at once? When there is again it calls terminal::has_room_again(). Any
    // context.
    virtual bool has_room() noexcept { return true; }
    // Forgets what it has not shown yet.
    virtual void drop_output() noexcept {}
    // Something happened of which it may be told: bits of packet_event.
    virtual void happened(k::u8 events) noexcept { (void)events; }
    // Input was taken out of the terminal. Thread context, under its token.
    virtual void input_taken() noexcept {}
    // Something other than an open file uses the terminal, or does not any more. Any thread.
    virtual void hold() noexcept {}
    virtual void let_go() noexcept {}
    // An open file of it was made, or goes. Thread context.
    virtual void opened() noexcept {}
    virtual void closed() noexcept {}

  protected:
    ~terminal_device() = default;
};

class terminal {
  public:
    explicit terminal(terminal_device& device, k::u64 number = 0, window_size window = {24, 80, 0, 0}) noexcept
        : device_(device), number_(number), window_(window) {}
    ~terminal();
    terminal(const terminal&) = delete;
    terminal& operator=(const terminal&) = delete;

    k::u64 number() const noexcept { return number_; } // of its device

    terminal_device& device() const noexcept { return device_; }

    // Bytes came from the keyboard. Thread context.
    void typed(std::string_view bytes) noexcept;

    // Would typing so many bytes lose some, which waiting for a reader would save?
    bool must_wait(k::u32 bytes) noexcept;
    // The device can show more again.
    void has_room_again() noexcept;
    // The line is gone: reads find the end, all else fails (EIO); the session is told by SIGHUP, and has no terminal
    // any more. Thread context.
    void hang_up() noexcept;
    // Sends a signal to the foreground group. Thread context.
    void signal_foreground(int number) noexcept;
    // Its session and that's foreground group; 0: none. Thread context.
    struct users {
        int session, foreground;
    };
    users who_uses() noexcept;

    k::result<k::u64> read(xio::sink& to, bool nonblocking) noexcept;
    k::result<k::u64> write(xio::source& from, bool nonblocking) noexcept;
    k::result<k::u64> ioctl(k::u32 request, k::u64 argument) noexcept;
    k::u32 ready() noexcept;
    pollable& watched() noexcept { return watched_; }

    // Settings as ioctl() changes them. Waiting input is dropped if asked so.
    void set(const termios& to, bool drop_input) noexcept;
    termios settings() noexcept;

    // Makes it the controlling terminal of the running process's session. EPERM: it leads no session, has another
    // terminal, or this one has another session (unless `steal` and privileged).
    k::status control_callers_session(bool steal) noexcept;
    // The session loses its terminal; its foreground group gets SIGHUP and SIGCONT. For the exit of its leader. Nothing
    // if there is none. Thread context.
    static void leave(proc::session& s) noexcept;
    // Keeps a terminal from going.
    class hold {
      public:
        hold() = default;
        explicit hold(terminal& t) noexcept : terminal_(&t) { t.device_.hold(); }
        hold(hold&& other) noexcept : terminal_(std::exchange(other.terminal_, nullptr)) {}
        ~hold() {
            if (terminal_) terminal_->device_.let_go();
        }
        terminal* get() const noexcept { return terminal_; }

      private:
        terminal* terminal_ = nullptr;
    };
    // The controlling terminal of the running process; empty: none.
    static hold of_caller() noexcept;

  private:
    enum class use : k::u8 { read, write, change };
    // May the running process do this now? EINTR: it was sent a signal that stops it; EIO.
    k::status check_foreground(use what) noexcept;
    bool is_callers() noexcept;
    bool is_hung_up() noexcept;
    bool output_waits() noexcept;
    k::u32 least_bytes(k::u64 wanted) noexcept;
    // How far a read has come.
    struct progress {
        k::u64 bytes = 0;
        bool line_ended = false;
        std::optional<k::error> bad;
    };
    k::result<bool> wait_for_input(k::u64 wanted, bool nonblocking) noexcept;
    bool take_some(xio::sink& to, progress& so_far) noexcept;
    void publish() noexcept REQUIRES(token_);
    void set_window(const window_size& to) noexcept;
    k::result<k::u64> control_ioctl(k::u32 request, k::u64 argument) noexcept;
    k::result<k::u64> flush(k::u64 which) noexcept;
    k::result<k::u64> set_flow(k::u64 how) noexcept;
    k::result<k::u64> set_foreground(int group) noexcept;

    terminal_device& device_;
    const k::u64 number_;
    lwkt::token token_;
    line_discipline discipline_ GUARDED_BY(token_);
    window_size window_ GUARDED_BY(token_);

    // What can be seen of the discipline without the token.
    lwkt::spinlock lock_;
    bool hung_up_ GUARDED_BY(lock_) = false;
    k::u32 used_ GUARDED_BY(lock_) = 0;     // bytes, those of an unfinished line too
    k::u32 readable_ GUARDED_BY(lock_) = 0; // bytes
    bool line_ GUARDED_BY(lock_) = false;   // canonical: a line waits
    bool canonical_ GUARDED_BY(lock_) = true;
    bool stopped_ GUARDED_BY(lock_) = false;
    k::u8 minimum_ GUARDED_BY(lock_) = 1; // VMIN and VTIME, the latter in tenths of a second
    k::u8 time_ GUARDED_BY(lock_) = 0;

    lwkt::wait_queue readers_;
    lwkt::wait_queue writers_; // while stopped
    pollable watched_;

    proc::session* session_ = nullptr; // proc::tree guards it; it has a hold of it
};

// The terminal as an open file. `number` is its device number, as stat() shows it. ENOMEM.
k::result<file_ref> open_terminal(terminal& t, k::u32 flags, k::u64 number) noexcept;
// The terminal behind a file, if it is one.
terminal* terminal_of(file& f) noexcept;

} // namespace files
