#include "drivers/busdma/bounce.h"

#include "drivers/busdma/busdma.h"

namespace busdma {

bool reaches_all(const tag& t) noexcept {
    return t.highest() >= (arch::memory::frame_limit() << arch::page_shift) - 1;
}

k::result<mem::box<bounce_pool>> bounce_pool::create(const tag& t, unsigned pages) noexcept {
    kassert(t.is_sound());
    if (reaches_all(t) && t.alignment == 1 && t.joint == 1) pages = 0;
    auto made = mem::make_box<bounce_pool>(pages);
    if (!made) return k::error::nomem;
    if (!pages) return made;
    made->pages_ = static_cast<vm::page**>(mem::allocate(pages * sizeof(vm::page*)));
    if (!made->pages_) return k::error::nomem;
    while (made->left_ < pages) {
        vm::page* p = vm::allocate_below(t.highest(), 0, vm::page_use::buffer);
        if (!p) return k::error::nomem;
        made->pages_[made->left_++] = p;
        if (t.domain) TRY(t.domain->reserve(vm::physical(p), arch::page_size));
    }
    return made;
}

bounce_pool::~bounce_pool() {
    kassert(!first_);
    while (left_)
        vm::drop(take(), vm::hold::reference);
    mem::free(pages_);
}

vm::page* bounce_pool::take() noexcept {
    kassert(left_);
    return pages_[--left_];
}

void bounce_pool::give(vm::page* p) noexcept {
    pages_[left_++] = p;
}

void bounce_pool::join(map& m) noexcept {
    m.next_waiting_ = nullptr;
    (last_ ? last_->next_waiting_ : first_) = &m;
    last_ = &m;
}

void bounce_pool::leave(map& m) noexcept {
    map* before = nullptr;
    map** at = &first_;
    while (*at != &m) {
        before = *at;
        at = &before->next_waiting_;
    }
    *at = m.next_waiting_;
    if (last_ == &m) last_ = before;
}

// In order: one that needs much is not passed by those that need little. Whoever is served may unload at once, which
// comes here again.
void bounce_pool::serve() noexcept {
    if (serving_) return;
    serving_ = true;
    while (first_ && first_->bounces_ <= left_) {
        map& m = *first_;
        leave(m);
        m.finish_waiting();
    }
    serving_ = false;
}

} // namespace busdma
