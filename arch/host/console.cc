// The console: a file descriptor for output, a ring of characters for input.
//
// The ring has one producer (a pthread that reads standard input, or type()) and one consumer (the
// kernel, which serialises its readers).
#include "arch/host/host_priv.h"

#include <array>
#include <cerrno>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

namespace arch {

namespace {

int output = STDOUT_FILENO;

std::array<char, 4096> ring;
std::atomic<std::size_t> produced, consumed; // counts of characters, taken modulo the ring's size

void* standard_input(void*) {
    for (;;) {
        char buffer[256];
        ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return nullptr;
        host::type({buffer, static_cast<std::size_t>(got)});
    }
}

} // namespace

void host::make_console(int output_descriptor) {
    output = output_descriptor;
}

void host::read_standard_input() {
    start_helper(standard_input);
}

void host::type(std::string_view text) {
    for (char c : text) {
        std::size_t at = produced.load(std::memory_order_relaxed);
        while (at - consumed.load(std::memory_order_acquire) == ring.size()) {
            latch(cpu_states[0], event_console);
            sched_yield();
        }
        ring[at % ring.size()] = c;
        produced.store(at + 1, std::memory_order_release);
    }
    latch(cpu_states[0], event_console);
}

std::size_t console::read(std::span<char> buffer) noexcept {
    std::size_t at = consumed.load(std::memory_order_relaxed);
    std::size_t end = produced.load(std::memory_order_acquire);
    std::size_t count = 0;
    while (count < buffer.size() && at != end)
        buffer[count++] = ring[at++ % ring.size()];
    consumed.store(at, std::memory_order_release);
    if (at != end) host::latch(host::cpu_states[0], event_console);
    return count;
}

void console::write(std::string_view text) noexcept {
    while (!text.empty()) {
        ssize_t put = ::write(output, text.data(), text.size());
        if (put > 0) {
            text.remove_prefix(static_cast<std::size_t>(put));
        } else if (put < 0 && errno == EAGAIN) {
            pollfd ready = {output, POLLOUT, 0};
            poll(&ready, 1, -1);
        } else if (put < 0 && errno != EINTR) {
            return; // the reader is gone; the kernel goes on
        }
    }
}

} // namespace arch
