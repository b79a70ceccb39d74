#include "kernel/files/devices.h"

#include "kernel/files/console.h"
#include "kernel/files/fuse_file.h"
#include "kernel/files/pty.h"
#include "kernel/files/terminal.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/random.h"

#include <algorithm>

namespace files {

namespace {

constexpr device devices[] = {
    {"null", device_kind::null, 1, 3, 0666},       {"zero", device_kind::zero, 1, 5, 0666},
    {"full", device_kind::full, 1, 7, 0666},       {"random", device_kind::random, 1, 8, 0666},
    {"urandom", device_kind::random, 1, 9, 0666},  {"tty", device_kind::terminal, 5, 0, 0666},
    {"console", device_kind::console, 5, 1, 0600}, {"ptmx", device_kind::pty_master, 5, 2, 0666},
    {"ttyS0", device_kind::console, 4, 64, 0620},  {"fuse", device_kind::fuse, 10, 229, 0666},
};

// Devices without a state.
class simple_device final : public file {
  public:
    simple_device(const device& d, k::u32 flags) noexcept : file(flags), device_(d) {}

    k::result<k::u64> read(xio::sink& to) noexcept override;
    k::result<k::u64> write(xio::source& from) noexcept override {
        if (device_.kind == device_kind::full) return k::error::nospc;
        return from.size(); // unread: it would only be thrown away
    }
    k::result<k::u64> read_at(xio::sink& to, k::u64) noexcept override { return read(to); }
    k::result<k::u64> write_at(xio::source& from, k::u64) noexcept override { return write(from); }
    k::result<k::u64> seek(k::i64, int) noexcept override { return 0; }
    k::status truncate(k::u64) noexcept override { return k::error::inval; }
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(mode_character | device_.permissions, device_.number());
        out.device_number = device_.number();
        return {};
    }

  private:
    const device& device_;
};

// Fills a sink in pieces by fill(offset, bytes) -> moved. A signal ends it after the first.
template <class Fill> k::result<k::u64> fill_in_pieces(xio::sink& to, k::u64 piece, Fill fill) noexcept {
    k::u64 done = 0;
    while (done < to.size()) {
        if (done && proc::interrupted()) break;
        const xio::moved m = fill(done, std::min(piece, to.size() - done));
        done += m.bytes;
        if (m.status) continue;
        if (done) break;
        return m.status.error();
    }
    return done;
}

k::result<k::u64> read_zeroes(xio::sink& to) noexcept {
    return fill_in_pieces(to, 1 << 20, [&](k::u64 at, k::u64 bytes) { return to.zero_some(at, bytes); });
}

k::result<k::u64> read_random(xio::sink& to) noexcept {
    std::byte bytes[256];
    return fill_in_pieces(to, sizeof(bytes), [&](k::u64 at, k::u64 count) {
        const auto part = std::span(bytes).first(count);
        proc::fill_random(part);
        return to.write_some(at, part);
    });
}

k::result<k::u64> simple_device::read(xio::sink& to) noexcept {
    switch (device_.kind) {
    case device_kind::null: return 0;
    case device_kind::random: return read_random(to);
    default: return read_zeroes(to);
    }
}

} // namespace

std::span<const device> all_devices() noexcept {
    return devices;
}

k::result<file_ref> open_device(k::u64 number, k::u32 flags) noexcept {
    if (is_pty_slave(number)) return open_pty_slave(number, flags);
    const auto found = std::ranges::find(devices, number, &device::number);
    if (found == std::end(devices)) return k::error::nxio;
    const device& d = *found;
    switch (d.kind) {
    case device_kind::terminal: {
        const terminal::hold t = terminal::of_caller();
        if (!t.get()) return k::error::nxio;
        return open_terminal(*t.get(), flags, number);
    }
    case device_kind::pty_master: return open_pty_master(flags);
    case device_kind::fuse: return open_fuse_device(flags);
    case device_kind::console: {
        file_ref opened = TRY(open_console(flags));
        // As in Linux: the console as such belongs to nobody, its line does.
        const bool may_control = d.major != 5 && !(flags & open_no_terminal);
        if (may_control) (void)terminal_of(*opened)->control_callers_session(false);
        return opened;
    }
    default: {
        auto* made = mem::make<simple_device>(d, flags);
        if (!made) return k::error::nomem;
        return file_ref(made);
    }
    }
}

} // namespace files
