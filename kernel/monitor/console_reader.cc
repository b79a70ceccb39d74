#include "kernel/monitor/console_reader.h"

#include "kernel/lwkt/events.h"

namespace monitor {

namespace {

std::atomic<lwkt::wait_queue*> readers; // null until there is a reader

void input_waits() {
    if (lwkt::wait_queue* queue = readers.load(std::memory_order_acquire)) queue->wake_all();
}

} // namespace

console_reader::console_reader() {
    readers.store(&waiting_, std::memory_order_release);
    lwkt::on_console_input(input_waits);
}

char console_reader::next() {
    if (empty()) {
        used_ = count_ = 0;
        waiting_.wait([this] { return (count_ = arch::console::read(buffer_)) != 0; });
    }
    return buffer_[used_++];
}

} // namespace monitor
