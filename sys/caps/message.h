// caps::message: what goes from a client to a service and comes back as its reply.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/wait_queue.h"
#include "sys/vm/object.h"
#include "sys/vm/reaper.h"
#include "sys/xio/xio.h"

#include <cstring>

namespace caps {

class client;
struct notice;

constexpr unsigned most_inline = 256; // bytes
constexpr unsigned most_items = 8;
constexpr unsigned most_groups = 16; // that a message tells of

// Names a message to its service, or to its client; each has numbers of its own, and uses none twice. 0: none.
using message_id = k::u64;

// Who sent something, filled in by the kernel. Its own threads are process 0 of user 0.
struct identity {
    int pid = 0;
    k::u32 uid = 0, gid = 0; // effective
    k::u32 group_count = 0;  // supplementary ones, of which the first most_groups follow
    k::u32 groups[most_groups];

    void set(int number, k::u32 user, k::u32 group, std::span<const k::u32> more) noexcept {
        pid = number;
        uid = user;
        gid = group;
        group_count = static_cast<k::u32>(more.size());
        std::copy_n(more.begin(), std::min<std::size_t>(more.size(), most_groups), groups);
    }
};

// What the receiver of an item may do with it.
enum class right : k::u8 {
    read,  // a source: bytes that stay as they are
    fill,  // a sink over pages of the kernel's, to be filled while the request lasts
    room,  // nothing yet: so many bytes that the reply may fill, by naming the item
    share, // memory that both sides see from now on
};

struct item {
    static constexpr k::u8 for_nothing = 0xff;

    right what = right::read;
    k::u8 fills = for_nothing; // of a reply's source: the number of the request's item that it is meant for
    k::u64 bytes = 0;
    vm::kept_source source; // a loan that lasts too long becomes a copy
    xio::sink sink;
    k::ref<vm::object> memory; // of a room that is passed on, and of what is shared
    bool writable = false;     // what is shared
};

// idle -> queued (put) -> taken (get) -> replying (the server writes its reply) -> replied -> idle, or
// replied -> fetching (the client's get) -> idle (its done).
enum class stage : k::u8 { idle, queued, taken, replying, replied, fetching };

class message final : public k::counted<message> {
  public:
    static k::result<k::ref<message>> create() noexcept; // ENOMEM
    void last_holder_left() noexcept;

    // --- Contents. By whoever has it; nothing here blocks.
    std::span<const std::byte> text() const noexcept { return {inline_, bytes_}; }
    // All of the room for inline bytes, and how much of it counts.
    std::span<std::byte> room() noexcept { return inline_; }
    void set_bytes(unsigned bytes) noexcept {
        kassert(bytes <= most_inline);
        bytes_ = bytes;
    }
    // EMSGSIZE.
    k::status set_text(std::span<const std::byte> text) noexcept;
    template <class T>
    requires std::is_trivially_copyable_v<T> k::status set_value(const T& value)
    noexcept { return set_text(std::as_bytes(std::span(&value, 1))); }
    // EINVAL: it is shorter.
    template <class T>
    requires std::is_trivially_copyable_v<T> k::result<T> value()
    const noexcept {
        if (bytes_ < sizeof(T)) return k::error::inval;
        T out;
        std::memcpy(&out, inline_, sizeof(T));
        return out;
    }

    unsigned items() const noexcept { return items_; }
    // Of all items together.
    k::u64 item_bytes() const noexcept {
        k::u64 sum = 0;
        for (unsigned i = 0; i < items_; i++)
            sum += table_[i].bytes;
        return sum;
    }
    item& at(unsigned index) noexcept {
        kassert(index < items_);
        return table_[index];
    }
    // One more item. E2BIG: there are eight; ENOMEM. A source is in pages, a sink in pages of the kernel's.
    k::status add(xio::source bytes, k::u8 fills = item::for_nothing) noexcept;
    k::status add(xio::sink pages) noexcept;
    // `memory`: where what is to come is being made already; none: wherever the receiver likes.
    k::status add_room(k::u64 bytes, k::ref<vm::object> memory = {}) noexcept;
    k::status add_shared(k::ref<vm::object> memory, k::u64 bytes, bool writable) noexcept;
    // One more holder of what an item has; EINVAL: it has none.
    k::result<xio::source> source(unsigned index) noexcept;

    // Lets go of all contents.
    void clear() noexcept;

    // Who put it, and in a reply who replied.
    identity from;
    // Did a server reply? Else the message came back for another reason, which result() tells: ECONNRESET, ECANCELED.
    bool answered() const noexcept { return answered_; }
    // What the server says of the request as a whole.
    k::status result() const noexcept { return result_ ? k::status() : result_.error(); }
    // The client wants it back, or is gone. Any context.
    bool abort_requested() const noexcept { return aborting_.load(std::memory_order_relaxed); }
    // Its name at the service, from get on.
    message_id id() const noexcept { return server_id_; }
    // Its name at the client that put it.
    message_id client_id() const noexcept { return client_id_; }

    message() = default; // for create()
    ~message();

  private:
    friend class service;
    friend class client;

    k::result<item*> next_item() noexcept;
    caps::stage at_stage() const noexcept { return stage_.load(std::memory_order_acquire); }

    // Its owner's.
    k::u32 bytes_ = 0;
    k::u32 items_ = 0;
    item* table_ = nullptr; // room for most_items, made when it is first needed; items_ of them live
    alignas(8) std::byte inline_[most_inline];

    // Guarded by the service's lock while it is on its way; stage_ is atomic, because who waits for the reply looks.
    std::atomic<caps::stage> stage_ = stage::idle;
    std::atomic<bool> aborting_ = false;
    bool unwanted_ = false; // nobody waits for the reply any more
    bool posted_ = false;   // nobody ever did
    bool answered_ = false;
    bool has_sinks_ = false;
    bool asks_to_connect_ = false;
    caps::client* owner_ = nullptr; // that fetches the reply; null: a thread waits in call()
    message_id server_id_ = 0, client_id_ = 0;
    k::status result_;
    notice* receipt_ = nullptr;   // told to the server when the reply was fetched
    lwkt::list_hook server_link_; // in the service's queue
    lwkt::list_hook reply_link_;  // in the client's list of replies
    lwkt::single_waiter done_;    // the thread in call()
};

using message_ref = k::ref<message>;

} // namespace caps
