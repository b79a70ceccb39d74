#include "kernel/syscall/table.h"

#include "kernel/lib/panic.h"
#include "kernel/syscall/calls.h"

#include <algorithm>

namespace syscalls {

namespace detail {
constinit const entry* by_number[most_calls] = {};
constinit const entry* own_by_number[most_own_calls] = {};
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
                const entry*& place =
                    e.number < most_calls ? detail::by_number[e.number] : detail::own_by_number[e.number - own_calls];
                kassert((e.number < most_calls || e.number - own_calls < most_own_calls) && !place);
                place = &e;
            }
}

} // namespace syscalls
