#include "kernel/syscall/table.h"

#include "kernel/lib/panic.h"
#include "kernel/syscall/calls.h"

#include <algorithm>

namespace syscalls {

namespace detail {
constinit const entry* by_number[all_numbers] = {};
constinit std::atomic<const entry*> at_once[all_numbers] = {};
} // namespace detail

namespace {

const std::span<const entry>* const parts[] = {
    &process_calls,    &credential_calls,    &limit_calls, &sched_calls,     &misc_calls, &memory_calls, &file_calls,
    &descriptor_calls, &pipe_calls,          &poll_calls,  &event_calls,     &path_calls, &edit_calls,   &mount_calls,
    &xio_calls,        &signal_calls,        &time_calls,  &futex_calls,     &lock_calls, &watch_calls,  &socket_calls,
    &message_calls,    &socket_option_calls, &caps_calls,  &attribute_calls,
};

} // namespace

void initialise() noexcept {
    for (const std::span<const entry>* part : parts)
        if (part)
            for (const entry& e : *part) {
                kassert(e.number < most_calls || (e.number >= own_calls && e.number < detail::all_numbers));
                kassert(!detail::by_number[e.number]);
                detail::by_number[e.number] = &e;
                if (!e.needs_registers) detail::at_once[e.number].store(&e, std::memory_order_relaxed);
            }
}

void hold_back_all() noexcept {
    for (std::atomic<const entry*>& e : detail::at_once)
        e.store(nullptr, std::memory_order_relaxed);
}

} // namespace syscalls
