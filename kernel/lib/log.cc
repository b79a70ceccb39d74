#include "kernel/lib/log.h"

#include "arch/machine.h"

namespace k {

namespace {

// A lock of its own, taken with interrupts off: the log is used from every context and below the
// scheduler. A CPU that dies while holding it is served by log_without_lock().
std::atomic<bool> busy;
std::atomic<bool> lockless;

class log_guard {
  public:
    log_guard() : enabled_(arch::cpu::interrupts_disable()) {
        while (!lockless.load(std::memory_order_relaxed) && busy.exchange(true, std::memory_order_acquire)) {
            // No events may be delivered here (this may be interrupt context).
            while (busy.load(std::memory_order_relaxed) && !lockless.load(std::memory_order_relaxed))
                ;
        }
    }
    ~log_guard() {
        busy.store(false, std::memory_order_release);
        arch::cpu::interrupts_restore(enabled_);
    }
    log_guard(const log_guard&) = delete;
    log_guard& operator=(const log_guard&) = delete;

  private:
    bool enabled_;
};

// Gathers a line, so that the console sees few writes.
class console_sink final : public text_sink {
  public:
    ~console_sink() { flush(); }
    void put(std::string_view text) override {
        for (char c : text) {
            if (used_ == sizeof(line_)) flush();
            line_[used_++] = c;
        }
    }

  private:
    void flush() {
        arch::console::write({line_, used_});
        used_ = 0;
    }
    char line_[512];
    std::size_t used_ = 0;
};

} // namespace

void log_with(std::string_view format, format_args args) {
    log_guard guard;
    console_sink sink;
    format_with(sink, format, args);
}

void log_without_lock() {
    lockless.store(true, std::memory_order_relaxed);
}

} // namespace k
