// A terminal as an open file.
#include "kernel/files/terminal.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

class terminal_file final : public file {
  public:
    terminal_file(terminal& t, k::u32 flags, k::u64 number) noexcept
        : file(flags, file_kind::terminal), terminal_(t), number_(number) {
        terminal_.device().opened();
    }
    ~terminal_file() override { terminal_.device().closed(); }

    k::result<k::u64> read(xio::sink& to) noexcept override { return terminal_.read(to, nonblocking()); }
    k::result<k::u64> write(xio::source& from) noexcept override { return terminal_.write(from, nonblocking()); }
    k::result<k::u64> ioctl(k::u32 request, k::u64 argument) noexcept override {
        return terminal_.ioctl(request, argument);
    }
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(mode_character | 0620, number_);
        out.device_number = number_;
        out.gid = 5; // tty
        return {};
    }
    k::u32 ready() noexcept override { return terminal_.ready(); }
    pollable* watched() noexcept override { return &terminal_.watched(); }

    terminal& of() noexcept { return terminal_; }

  private:
    terminal& terminal_;
    const k::u64 number_;
};

} // namespace

k::result<file_ref> open_terminal(terminal& t, k::u32 flags, k::u64 number) noexcept {
    auto* made = mem::make<terminal_file>(t, flags, number);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

terminal* terminal_of(file& f) noexcept {
    return f.kind() == file_kind::terminal ? &static_cast<terminal_file&>(f).of() : nullptr;
}

} // namespace files
