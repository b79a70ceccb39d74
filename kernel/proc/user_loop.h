// The life of a thread that runs user code: out to user mode, back for a reason, deal with it, and out again.
#pragma once

#include "kernel/proc/process.h"

namespace proc {

// The entry function of the LWKT thread; `argument` is a proc::thread, a reference of which comes with it.
void run_user_thread(void* argument);

// Leads the running thread into the given space: at its start, and in exec.
void use_space(thread& t, vm::space& space) noexcept;
// Has the running thread look at another space for a scope; the caller holds that.
class visit_space {
  public:
    visit_space(thread& t, vm::space& other) noexcept : thread_(t) { use_space(t, other); }
    ~visit_space() { use_space(thread_, *thread_.owner.space); }
    visit_space(const visit_space&) = delete;

  private:
    thread& thread_;
};
// Leaves the running thread without one.
void use_no_space(thread& t) noexcept;

} // namespace proc
