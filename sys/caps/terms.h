// The terms of a service, and how long somebody waits for something.
#pragma once

#include "kernel/time/callout.h"

#include <string_view>

namespace caps {

class service;
class message;

constexpr unsigned longest_name = 63;

// Who may become a client, as both sides must agree: the service of those it admits, the client of those that it seeks.
enum access : k::u8 {
    same_user = 1,  // the service's user is the client's
    same_group = 2, // the client is in the service's group
    anybody = 4,
};

constexpr ktime::ns at_once = 0; // a deadline: EAGAIN instead of waiting

// How long somebody waits: until a deadline (ETIMEDOUT, or EAGAIN if that was at_once), or until interrupted() is true
// (EINTR), which is asked in a critical section whenever the thread is woken. Null: never.
struct waiting {
    ktime::ns deadline = ktime::forever;
    bool (*interrupted)() = nullptr;
    bool only_if_room = false; // EAGAIN instead of waiting for room in a queue, whatever the deadline
};

// Runs in the client's context, thread context, and may finish the request there and then: true, and the message holds
// the reply. It must not block if it does. False: the message is queued.
using begin_function = bool (*)(service& s, message& m);

struct terms {
    std::string_view name;   // 1 to 63 of letters, digits, '_', '.', '-'
    k::u32 uid = 0, gid = 0; // whose it is
    k::u8 admits = anybody;  // access bits
    bool exclusive = false;  // nobody else offers a service of this name; else others of other users may
    bool sinks = true;       // takes requests with sinks (right::fill)
    bool asks = false;       // each connection is a request first, and refused if the reply's result is an error
    k::u32 most_queued = 1024;
    begin_function begin = nullptr;
    void* owner = nullptr; // begin's business
};

// What changed, for those who poll.
enum class change : k::u8 { request, reply, room, closed };

} // namespace caps
