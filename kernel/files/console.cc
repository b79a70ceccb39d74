// The console's terminal: a kernel thread feeds it what is typed; what it shows goes the way of the kernel's log, so
// that neither tears the other's text.
#include "kernel/files/console.h"

#include "kernel/files/terminal.h"
#include "kernel/lib/log.h"
#include "kernel/lwkt/events.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

class console_device final : public terminal_device {
  public:
    void show(std::string_view bytes) noexcept override { k::log("{}", bytes); }
};

struct console {
    console_device device;
    terminal tty{device, device_number(4, 64)};
    lwkt::wait_queue waiting{}; // the thread that feeds the terminal
    std::atomic<bool> fed = false;
};

std::atomic<console*> the_console; // made once, for ever

void input_waits() {
    the_console.load(std::memory_order_acquire)->waiting.wake_all();
}

[[noreturn]] void feed(void* argument) {
    auto& c = *static_cast<console*>(argument);
    for (;;) {
        char bytes[128];
        std::size_t count = 0;
        c.waiting.wait([&] { return (count = arch::console::read(bytes)) != 0; });
        c.tty.typed({bytes, count});
    }
}

k::result<console*> find_console() noexcept {
    console* c = the_console.load(std::memory_order_acquire);
    if (!c) {
        auto made = mem::make_box<console>();
        if (!made) return k::error::nomem;
        if (the_console.compare_exchange_strong(c, made.get(), std::memory_order_acq_rel)) c = made.release();
    }
    if (c->fed.exchange(true)) return c;
    if (auto spawned = lwkt::spawn("console", arch::cpu::id(), lwkt::normal_priority + 1, feed, c); !spawned) {
        c->fed = false; // the next one tries again
        return spawned.error();
    }
    lwkt::on_console_input(input_waits);
    return c;
}

} // namespace

k::result<file_ref> open_console(k::u32 flags) noexcept {
    return open_terminal(TRY(find_console())->tty, flags, device_number(5, 1));
}

} // namespace files
