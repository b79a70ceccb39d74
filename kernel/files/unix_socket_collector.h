// The collector finds sockets in flight that nobody can reach any more.
//
// A socket whose every holder is a flight is a suspect. Suspects that are in a flight outside of the suspects' own
// queues can still be received, and so can what waits in the queues of those. The others are garbage: what waits in
// their queues is let go of, which closes them. While the collector looks, nobody makes a hold of a file in flight: the
// suspects' numbers of holders only fall, and the answer stays right.
//
// It looks when a socket was closed while others were in flight, and once a second while some are; the cost is that of
// walking through the queues of the suspects. It is a thread of the machine; where nothing is in flight it sleeps.
#pragma once

#include "kernel/files/flight.h"
#include "kernel/lwkt/sleep_lock.h"

namespace files {

class unix_socket;

class collector {
  public:
    // Boot, once. ENOMEM.
    static k::status start() noexcept;
    // The sockets of a flight are in flight from now on / not any more. The flight is not in a queue.
    static void take_off(flight& f) noexcept;
    static void land(flight& f) noexcept;
    // Lets go of a flight that nobody will receive, soon.
    static void take_over(flight* f) noexcept;
    // A socket was closed: others may be unreachable now.
    static void look_soon() noexcept;
    // Calls work() while the collector does not look.
    template <class Work> static void while_idle(Work work) noexcept {
        lwkt::sleep_hold hold(lock());
        work();
    }

  private:
    static lwkt::sleep_lock& lock() noexcept;
    static void run(void*) noexcept;
    static void let_go() noexcept;
    static void look() noexcept;
};

// What the collector knows of a socket. Under its lock.
struct collected {
    enum class verdict : k::u8 { reachable, suspect, found };

    k::u32 in_flight = 0; // how many times
    k::u32 unseen = 0;    // of these, outside of the suspects' queues
    verdict is = verdict::reachable;
    unix_socket* next_found = nullptr;
};

} // namespace files
