// Rule: bytes leave in the order in which they were written. Both rings belong to busy_, a spinlock held with
// interrupts off, for the interrupt arrives at one CPU and writers run on all.
#include "arch/x86_64/dev/console.h"

#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/instructions.h"

#include <algorithm>

namespace arch {

namespace x86 {

namespace {

constexpr u16 com1 = 0x3f8;
constexpr u16 debug_port = 0xe9;

enum uart_register : u16 {
    uart_data = com1,
    uart_interrupts = com1 + 1,
    uart_fifo = com1 + 2,
    uart_line = com1 + 3,
    uart_modem = com1 + 4,
    uart_status = com1 + 5,
};

constexpr u8 interrupt_received = 1, interrupt_empty = 2;
constexpr u8 status_received = 1, status_empty = 0x20, status_idle = 0x40;
constexpr u8 modem_ready = 0x0b, modem_loopback = 0x1b; // DTR, RTS and OUT2, which lets interrupts through
constexpr unsigned fifo_size = 16;
constexpr unsigned patience = 1'000'000; // looks at a port that takes no bytes before it is given up

template <std::size_t Size> class byte_ring {
  public:
    bool empty() const { return head_ == tail_; }
    bool full() const { return tail_ - head_ == Size; }
    bool put(char c) {
        if (full()) return false;
        bytes_[tail_++ % Size] = c;
        return true;
    }
    char take() { return bytes_[head_++ % Size]; }

  private:
    char bytes_[Size]{};
    std::size_t head_ = 0, tail_ = 0;
};

enum class device : u8 { none, debug_port, uart };

class serial_console {
  public:
    void start();
    void start_interrupts(bool routed);
    void write(std::string_view text);
    std::size_t read(std::span<char> buffer);
    void interrupt();
    void flush();
    bool polls_input() const { return kind_ == device::uart && !interrupts_; }

  private:
    class guard {
      public:
        explicit guard(serial_console& console) : console_(console), enabled_(cpu::interrupts_disable()) {
            while (!console_.ending_ && console_.busy_.exchange(true, std::memory_order_acquire))
                cpu::relax();
        }
        ~guard() {
            console_.busy_.store(false, std::memory_order_release);
            cpu::interrupts_restore(enabled_);
        }

      private:
        serial_console& console_;
        bool enabled_;
    };

    bool wait_empty();
    void put_polling(char c);
    void fill_fifo();
    void drain_input();
    void set_interrupts();
    void queue(char c);

    std::atomic<bool> busy_{};
    std::atomic<bool> ending_{};
    device kind_ = device::none;
    bool interrupts_ = false; // else every byte is polled
    bool sending_ = false;    // the empty interrupt is on
    bool held_up_ = false;    // the received interrupt is off until there is room: the sender waits
    byte_ring<16384> output_;
    byte_ring<1024> input_;
};

constinit serial_console serial{};

void serial_console::start() {
    out8(uart_interrupts, 0);
    out8(uart_line, 0x80); // the divisor: 115200 baud
    out8(uart_data, 1);
    out8(uart_interrupts, 0);
    out8(uart_line, 0x03); // 8 bits, no parity, 1 stop bit
    out8(uart_fifo, 0xc7); // FIFOs on and empty, interrupt at 14 bytes
    out8(uart_modem, modem_loopback);
    out8(uart_data, 0x5a);
    for (unsigned i = 0; i < 1000 && !(in8(uart_status) & status_received); i++)
        cpu::relax();
    if (in8(uart_data) == 0x5a) {
        out8(uart_modem, modem_ready);
        kind_ = device::uart;
    } else if (in8(debug_port) == 0xe9) {
        kind_ = device::debug_port;
    }
}

void serial_console::start_interrupts(bool routed) {
    guard g(*this);
    if (kind_ != device::uart || !routed) return;
    interrupts_ = true;
    out8(uart_interrupts, interrupt_received);
}

bool serial_console::wait_empty() {
    for (unsigned i = 0; i < patience; i++) {
        if (in8(uart_status) & status_empty) return true;
        cpu::relax();
    }
    kind_ = device::none; // it hangs; the kernel shall not
    return false;
}

void serial_console::put_polling(char c) {
    if (kind_ == device::debug_port) out8(debug_port, static_cast<u8>(c));
    if (kind_ == device::uart && wait_empty()) out8(uart_data, static_cast<u8>(c));
}

void serial_console::fill_fifo() {
    if (!(in8(uart_status) & status_empty)) return;
    for (unsigned i = 0; i < fifo_size && !output_.empty(); i++)
        out8(uart_data, static_cast<u8>(output_.take()));
}

void serial_console::queue(char c) {
    while (!output_.put(c)) {
        if (!wait_empty()) return;
        fill_fifo();
    }
}

void serial_console::write(std::string_view text) {
    guard g(*this);
    const bool queues = kind_ == device::uart && interrupts_ && !ending_;
    for (char c : text)
        queues ? queue(c) : put_polling(c);
    if (queues && !sending_ && !output_.empty()) {
        sending_ = true;
        set_interrupts();
    }
}

void serial_console::set_interrupts() {
    out8(uart_interrupts, static_cast<u8>((held_up_ ? 0 : interrupt_received) | (sending_ ? interrupt_empty : 0)));
}

// What finds no room stays in the device.
void serial_console::drain_input() {
    while (!input_.full() && (in8(uart_status) & status_received))
        input_.put(static_cast<char>(in8(uart_data)));
    held_up_ = input_.full();
}

std::size_t serial_console::read(std::span<char> buffer) {
    guard g(*this);
    if (polls_input()) drain_input();
    std::size_t count = 0;
    while (count < buffer.size() && !input_.empty())
        buffer[count++] = input_.take();
    if (held_up_ && !polls_input()) {
        drain_input();
        set_interrupts();
        if (!input_.empty()) this_cpu().pending.fetch_or(event_console, std::memory_order_relaxed);
    }
    return count;
}

void serial_console::interrupt() {
    guard g(*this);
    if (ending_) return; // it was on its way when flush() began
    // Off and on again: whatever is still to be told then makes a new edge, so that none can be missed.
    out8(uart_interrupts, 0);
    drain_input();
    if (sending_) {
        fill_fifo();
        sending_ = !output_.empty();
    }
    set_interrupts();
    if (!input_.empty()) this_cpu().pending.fetch_or(event_console, std::memory_order_relaxed);
}

// Whoever works at the rings on another CPU comes to his end first, unless that CPU was stopped meanwhile.
void serial_console::flush() {
    const bool enabled = cpu::interrupts_disable();
    for (unsigned i = 0; i < patience && !ending_ && busy_.exchange(true, std::memory_order_acquire); i++)
        cpu::relax();
    ending_ = true;
    cpu::interrupts_restore(enabled);
    if (kind_ != device::uart) return;
    out8(uart_interrupts, 0);
    while (!output_.empty() && kind_ == device::uart)
        put_polling(output_.take());
    for (unsigned i = 0; i < patience && !(in8(uart_status) & status_idle); i++)
        cpu::relax();
}

} // namespace

void start_console() {
    serial.start();
}
void start_console_interrupts(bool routed) {
    serial.start_interrupts(routed);
}
void console_interrupt() {
    serial.interrupt();
}
void poll_console_input() {
    if (serial.polls_input() && (in8(uart_status) & status_received))
        this_cpu().pending.fetch_or(event_console, std::memory_order_relaxed);
}
void flush_console() {
    serial.flush();
}

} // namespace x86

void console::write(std::string_view text) noexcept {
    x86::serial.write(text);
}

std::size_t console::read(std::span<char> buffer) noexcept {
    return x86::serial.read(buffer);
}

} // namespace arch
