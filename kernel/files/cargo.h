// What travels with bytes through a socket besides the bytes: who sent them, and open files.
#pragma once

#include "kernel/files/flight.h"
#include "kernel/mem/slab.h"

#include <optional>

namespace files {

// struct ucred.
struct sender {
    int pid;
    k::u32 uid, gid;
};
static_assert(sizeof(sender) == 12);
inline bool operator==(const sender& a, const sender& b) noexcept {
    return a.pid == b.pid && a.uid == b.uid && a.gid == b.gid;
}

struct cargo {
    std::optional<sender> who;
    flight_hold files;
};

// How something is to be received, and what came besides the bytes.
struct receiving {
    ktime::ns until; // a deadline
    bool peek = false;
    bool by_sender = false; // who sent it matters: a read does not go on to another one's bytes
    bool going_on = false;  // some bytes came before
    std::optional<sender> who = {};
    flight_hold files = {};

    // May bytes with this cargo (null: none) follow those that came?
    bool goes_on_to(const cargo* with) const noexcept { return !by_sender || who == (with ? with->who : std::nullopt); }

    // Takes what belongs to the receiver, or one more hold of it. Without memory for that: nothing.
    void unload(cargo& from) noexcept {
        who = from.who;
        if (peek)
            files = from.files.copy();
        else
            files = std::move(from.files);
    }
};

} // namespace files
