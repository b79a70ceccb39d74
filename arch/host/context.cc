// Contexts as fibers: the stacks are switched by arch/common, the sanitizers are told.
//
// Both sanitizers keep a shadow of the running stack. They learn of a switch before it is made
// (announce_*) and AddressSanitizer again after it, on the new stack. A context may resume on another pthread than
// the one it left; nothing here may be remembered across arch_switch_stacks but what lies on the stack itself.
#include "arch/common/fresh_stack.h"
#include "arch/host/host_priv.h"

#include <pthread.h>

namespace arch {

namespace {

// `fake_stack` is where AddressSanitizer leaves its own data of the stack that is left; null: never to be resumed.
void announce_stack([[maybe_unused]] void** fake_stack, [[maybe_unused]] vaddr stack,
                    [[maybe_unused]] std::size_t size) {
#ifdef HOST_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(fake_stack, reinterpret_cast<const void*>(stack), size);
#endif
}

void announce_arrival([[maybe_unused]] void* fake_stack) {
#ifdef HOST_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void announce_fiber([[maybe_unused]] void* fiber) {
#ifdef HOST_THREAD_SANITIZER
    __tsan_switch_to_fiber(fiber, 0);
#endif
}

void begin_secondary(void* entry) {
    announce_arrival(nullptr);
    reinterpret_cast<void (*)()>(entry)();
    cpu::die("a secondary CPU returned from its start");
}

} // namespace

void context::prepare(vaddr stack, std::size_t size, void (*entry)(void*), void* argument) noexcept {
    retire();
    map_ = nullptr;
    stack_ = stack;
    size_ = size;
    entry_ = entry;
    argument_ = argument;
    fake_stack_ = nullptr;
    memory::unpoison(reinterpret_cast<const void*>(stack), size); // what a former user of the stack left
    saved_sp_ = fresh_stack(stack, size, begin, this);
#ifdef HOST_THREAD_SANITIZER
    fiber_ = __tsan_create_fiber(0);
    owns_fiber_ = true;
#endif
}

void context::begin(void* self) {
    announce_arrival(nullptr);
    auto& me = *static_cast<context*>(self);
    me.entry_(me.argument_);
    cpu::die("a thread returned from its entry");
}

void context::switch_to(context& from, context& to, leaving how) noexcept {
    void* load_sp = to.saved_sp_;
    if (to.map_) to.map_->activate();
    announce_stack(how == leaving::for_good ? nullptr : &from.fake_stack_, to.stack_, to.size_);
    announce_fiber(to.fiber_);
    arch_switch_stacks(&from.saved_sp_, load_sp);
    announce_arrival(from.fake_stack_);
}

void context::set_user(user_map* map, user_context*) noexcept {
    if (map)
        map->activate();
    else if (map_)
        user_map::deactivate();
    map_ = map;
}

void context::retire() noexcept {
#ifdef HOST_THREAD_SANITIZER
    if (owns_fiber_) __tsan_destroy_fiber(fiber_);
#endif
    fiber_ = nullptr;
    owns_fiber_ = false;
}

void context::adopt(vaddr stack, std::size_t size) noexcept {
    auto here = reinterpret_cast<vaddr>(__builtin_frame_address(0));
    if (here - stack >= size) {
        // Where it ends matters; where it begins is only said in reports, so the page we stand in will do.
        stack = here & ~(page_size - 1);
        size = host::boot_stack_top() - stack;
    }
    stack_ = stack;
    size_ = size;
#ifdef HOST_THREAD_SANITIZER
    fiber_ = __tsan_get_current_fiber();
#endif
}

vaddr host::boot_stack_top() noexcept {
    if (vaddr given = this_cpu()->start_stack_top) return given;
    pthread_attr_t attributes;
    void* base;
    std::size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0 || pthread_attr_getstack(&attributes, &base, &size) != 0)
        cpu::die("cannot find the pthread's stack");
    pthread_attr_destroy(&attributes);
    return reinterpret_cast<vaddr>(base) + size;
}

void host::leave_pthread_stack(vaddr top, void (*entry)()) {
    // How large the stack is, nobody has said; AddressSanitizer is content with the topmost page.
    vaddr stack = top - page_size;
    void* left;
    announce_stack(nullptr, stack, page_size);
    arch_switch_stacks(&left, fresh_stack(stack, page_size, begin_secondary, reinterpret_cast<void*>(entry)));
    __builtin_unreachable();
}

} // namespace arch
