// Characters from the console, for one thread, which sleeps while there are none. The console's interrupt wakes it.
#pragma once

#include "kernel/lwkt/wait_queue.h"

namespace monitor {

class console_reader {
  public:
    // Takes the console's input for itself: there is one reader, and it stays for ever.
    console_reader();
    ~console_reader() = delete;

    // Would next() sleep, as far as can be told without asking the console?
    bool empty() const { return used_ == count_; }

    // The next character. Thread context; sleeps until there is one.
    char next();

  private:
    lwkt::wait_queue waiting_;
    char buffer_[128];
    std::size_t used_ = 0, count_ = 0;
};

} // namespace monitor
