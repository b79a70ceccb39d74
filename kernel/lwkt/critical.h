// Critical sections: while one is open on a CPU, that CPU runs no event (IPI function, timer,
// interrupt thread) and does not switch threads unless the code itself blocks. They nest, cost a
// handful of instructions, and exclude nobody on other CPUs.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/panic.h"

#include <algorithm>
#include <bit>

namespace lwkt {

class [[nodiscard]] critical {
  public:
    critical() noexcept { arch::cpu::critical_enter(); }
    ~critical() { arch::cpu::critical_exit(); }
    critical(const critical&) = delete;
    critical& operator=(const critical&) = delete;
};

// One T a CPU, which only that CPU touches, in a critical section. Zero-initialised; T needs no constructor
// run in order.
template <class T> class per_cpu {
  public:
    T& local() {
        slot* mine = &slots_[arch::cpu::id()];
        asm("" : "+r"(mine)); // so that the address is computed once and kept
        return mine->value;
    }
    T& of(unsigned cpu) {
        kassert(cpu < arch::max_cpus);
        return slots_[cpu].value;
    }

  private:
    // A power of two, so that the address is a shift away from the CPU's number.
    struct alignas(std::max<std::size_t>(64, std::bit_ceil(sizeof(T)))) slot {
        T value;
    };
    slot slots_[arch::max_cpus];
};

} // namespace lwkt
