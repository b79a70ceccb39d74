// The last lines that were entered. Blank ones and immediate repetitions are not kept.
#pragma once

#include "kernel/monitor/line_text.h"

namespace monitor {

class line_history {
  public:
    static constexpr std::size_t capacity = 16;

    void add(std::string_view line) {
        if (line.find_first_not_of(' ') == std::string_view::npos) return;
        if (count_ && line == recall(1)) return;
        lines_[next_].assign(line);
        next_ = (next_ + 1) % capacity;
        count_ = std::min(count_ + 1, capacity);
    }
    std::size_t count() const { return count_; }
    // The line entered `age` lines ago: 1, the newest, to count().
    std::string_view recall(std::size_t age) const { return lines_[(next_ + capacity - age) % capacity].view(); }

  private:
    line_text lines_[capacity] = {};
    std::size_t next_ = 0; // where the next one goes
    std::size_t count_ = 0;
};

} // namespace monitor
