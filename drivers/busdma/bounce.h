// Pages for what a device cannot reach, or not as it lies: bytes stop there on their way, copied by a CPU, and the
// ledger shows it.
//
// A pool belongs to one CPU, which takes and gives in critical sections: there is one for each queue of a device that
// may need it. Loads that find too little wait in line and are tried again, in order, as pages come back.
#pragma once

#include "drivers/busdma/tag.h"
#include "kernel/lib/result.h"
#include "kernel/mem/page.h"
#include "kernel/mem/slab.h"

#include <boost/intrusive/list.hpp>

namespace busdma {

class map;

class bounce_pool {
  public:
    // So many pages within the tag's reach; none if it reaches all memory whatever way that lies. ENOMEM. Thread
    // context.
    static k::result<mem::box<bounce_pool>> create(const tag& t, unsigned pages) noexcept;
    explicit bounce_pool(unsigned pages) noexcept : size_(pages) {} // for create()
    ~bounce_pool();
    bounce_pool(const bounce_pool&) = delete;

    unsigned size() const noexcept { return size_; } // when nobody has any
    unsigned left() const noexcept { return left_; }

  private:
    friend class map;
    using hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;

    vm::page* take() noexcept;
    void give(vm::page* p) noexcept;
    void join(map& m) noexcept;
    void leave(map& m) noexcept;
    void serve() noexcept;

    const unsigned size_;
    unsigned left_ = 0;
    vm::page** pages_ = nullptr;
    map* first_ = nullptr; // who waits, in line
    map* last_ = nullptr;
    bool serving_ = false;
};

// Does all memory lie within the tag's reach, so that only alignment can ask for bouncing?
bool reaches_all(const tag& t) noexcept;

} // namespace busdma
