// A request on the line to a program that speaks FUSE, and its answer (fuse_connection.h).
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/wait_queue.h"
#include "sys/userfs/fuse_protocol.h"
#include "sys/xio/xio.h"

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <optional>
#include <string_view>

namespace vfs::fuse {

// How an answer's bytes are taken.
enum class taking : k::u8 {
    nothing, // there are none
    exactly, // so many, into `room`
    at_most, // as many as there are, into `room`
    pages,   // the same, into fresh pages
};

// One that goes over the line. Made by who asks, and shared with who answers.
class request : public k::counted<request> {
  public:
    struct form {
        fuse::opcode opcode{};
        k::u64 node = 0, other = 0; // what it is about
        std::span<const std::byte> arguments = {};
        std::string_view names[2] = {}; // each with a zero behind it
        unsigned name_count = 0;
        taking how = taking::nothing;
        k::u64 most = 0; // bytes of the answer
        // In the place of the running thread's; both or neither.
        std::optional<k::u32> uid = {}, gid = {};
        bool counts = false; // nothing like it may be asked while it may still be done
    };
    // ENOMEM.
    static k::result<k::ref<request>> make(const form& f) noexcept;
    void last_holder_left() noexcept;
    // What it is about, and other arguments, as many bytes as there were. Before it is asked.
    void set_node(k::u64 to) noexcept {
        node_ = to;
        __builtin_memcpy(head_ + offsetof(request_head, node), &to, sizeof(to));
    }
    void set_arguments(std::span<const std::byte> to) noexcept {
        kassert(head_bytes_ >= sizeof(request_head) + to.size());
        __builtin_memcpy(head_ + sizeof(request_head), to.data(), to.size());
    }

    xio::source payload; // behind the head; set before it is asked
    // When it is done: how many bytes came.
    k::u64 answered() const noexcept { return answered_; }
    const std::byte* room() const noexcept { return room_; }
    template <class T> T value() const noexcept {
        static_assert(sizeof(T) <= small);
        T out;
        __builtin_memcpy(&out, room_, sizeof(T));
        return out;
    }
    // Whole pages, with zeroes behind the bytes that came.
    xio::source& pages() noexcept { return pages_; }

  private:
    friend class connection;
    friend k::ref<request>;
    static constexpr std::size_t small = sizeof(create_answer);
    enum class stage : k::u8 { made, waits, asked, done };

    request() = default;
    ~request();
    k::status take(const xio::source& from) noexcept;

    std::byte* head_ = nullptr; // the request_head and what follows
    k::u32 head_bytes_ = 0;
    k::u64 unique_ = 0;
    k::u64 node_ = 0, other_ = 0;
    k::ref<request> next_; // what is said when this one is done
    taking how_ = taking::nothing;
    k::u64 most_ = 0;
    fuse::opcode opcode_{};
    bool is_for_another_ = false; // the head says whom
    bool has_answer_ = true;
    bool counts_ = false;
    ktime::ns asked_at_ = 0;  // if it counts
    bool has_number_ = false; // the program's own, for what it wants back
    // Of who asked; the connection's lock guards these and what links it.
    bool posted_ = false;    // nobody waits
    bool counted_ = false;   // among those that are asked
    bool abandoned_ = false; // who asked is gone
    bool is_left_ = false;   // so, and it counts
    bool settled_ = false;   // it will be done at once, whoever has gone
    k::i32 error_ = 0;
    k::u64 answered_ = 0;
    std::byte* room_ = small_room_;
    alignas(8) std::byte small_room_[small];
    xio::source pages_;
    std::atomic<stage> stage_ = stage::made;
    bool to_interrupt_ = false;
    lwkt::wait_queue waiter_;

    boost::intrusive::list_member_hook<> queued_, interrupting_;
    boost::intrusive::set_member_hook<> by_number_, by_node_;
};

using request_ref = k::ref<request>;

// A copy of bytes in fresh pages that can stand in a cache, with zeroes behind their end. ENOMEM; EFAULT.
k::result<xio::source> in_fresh_pages(const xio::source& bytes) noexcept;

} // namespace vfs::fuse
