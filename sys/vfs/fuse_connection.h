// The line between a file system and a program that speaks FUSE (fuse_protocol.h): requests go into it here, the
// program takes them out by reading a device and answers by writing to it (kernel/files/fuse_file.h).
//
// A request has one answer, told by its number: a second one, or one to a number that nobody has, is the program's
// error. Lengths are checked before anything is copied. Bytes of files are copied once each way, by the program's
// system call: out of the pages that the file's cache lent, and into fresh pages that become the cache's.
//
// No more than `most_asked` wait for answers, or did until they were killed: who comes next waits to ask, and can be
// killed, too. What a program opens or names for somebody who is gone it is told to let go of.
//
// When the device is closed, or the file system gives up, all who wait hear ENOTCONN, and who asks later does, too.
#pragma once

#include "kernel/lib/ref.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/lwkt/wait_queue.h"
#include "sys/vfs/fuse_protocol.h"
#include "sys/xio/xio.h"

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <string_view>

namespace vfs::fuse {

// For whom something is asked, and what may end the wait for it.
struct asker {
    // Of the running thread, for the requests' heads.
    void (*identify)(request_head& to) = nullptr;
    // Does the running thread end, so that it waits no longer? Does a signal wait for it, of which the program is told?
    bool (*killed)() = nullptr, (*signalled)() = nullptr;
};

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
        k::u64 node = 0;
        std::span<const std::byte> arguments = {};
        std::string_view names[2] = {}; // each with a zero behind it
        unsigned name_count = 0;
        taking how = taking::nothing;
        k::u64 most = 0; // bytes of the answer
    };
    // ENOMEM.
    static k::result<k::ref<request>> make(const form& f) noexcept;
    void last_holder_left() noexcept;

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
    k::status take_pages(const xio::source& from) noexcept;

    std::byte* head_ = nullptr; // the request_head and what follows
    k::u32 head_bytes_ = 0;
    k::u64 unique_ = 0;
    k::u64 node_ = 0;
    k::ref<request> next_; // what is said when this one is done
    taking how_ = taking::nothing;
    k::u64 most_ = 0;
    bool is_init_ = false, is_extended_ = false, has_answer_ = true;
    // Of who asked; the connection's lock guards these and what links it.
    bool posted_ = false;    // nobody waits
    bool counted_ = false;   // among those that are asked
    bool abandoned_ = false; // who asked is gone
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

class connection : public k::counted<connection> {
  public:
    virtual ~connection();
    virtual void last_holder_left() noexcept = 0;
    // What ready() says has changed. Any thread or critical section, under no spinlock.
    virtual void changed() noexcept = 0;

    // --- The file system's side. Thread context.
    // Begins with it, once; init is asked. EINVAL: it has begun before, or the device is closed; ENOMEM.
    k::status begin(const asker& who, k::u64 most_read) noexcept;
    // Asks, and waits for the answer, also to init if need be. The program's error if that may be; ENOTCONN;
    // ECONNREFUSED: it speaks another version; EINTR: the thread ends; EIO: the answer makes no sense. While
    // most_asked are unanswered it waits before it asks.
    k::status ask(request& r) noexcept;
    static constexpr unsigned most_asked = 1024;
    // Says something; the answer, if there is one, is thrown away. False: too much of that is unanswered already, or it
    // is over. Does not block.
    bool post(request_ref r) noexcept;
    bool is_full() noexcept; // would post() refuse?
    // Is anything unanswered that was asked about a node? A program may not be told to forget it yet: its threads may
    // hear of that first.
    bool is_asked_about(k::u64 node) noexcept;
    bool has_ended() const noexcept { return now_in() == phase::over; }
    // Over: who waits hears ENOTCONN. `politely`: what was posted, and `last` if it is not null, can still be taken.
    void end(request_ref last, bool politely) noexcept;

    // Waits for init's answer if need be; the errors of ask(). Then: bytes in one read and one write.
    k::status start() noexcept;
    k::u64 most_read() const noexcept { return most_read_; }
    k::u64 most_write() const noexcept { return most_write_; }

    // --- The device's side. Thread context, with user memory.
    enum readiness : unsigned { has_requests = 1, is_over = 2, is_unused = 4 };
    unsigned ready() noexcept; // any context
    lwkt::wait_queue& readers() noexcept { return readers_; }
    // Gives the next request. EAGAIN: there is none; ENODEV: it is over; EPERM: nothing was mounted; EINVAL: too little
    // room for any; EFAULT.
    k::result<k::u64> read(xio::sink& to) noexcept;
    // Takes an answer. EINVAL: it makes no sense; ENOENT: nobody asked; EFAULT; EPERM; EOPNOTSUPP: news.
    k::result<k::u64> write(const xio::source& from) noexcept;

  private:
    enum class phase : k::u8 { unused, starting, running, refused, over };
    using list = boost::intrusive::list<
        request, boost::intrusive::member_hook<request, boost::intrusive::list_member_hook<>, &request::queued_>>;
    using interrupt_list = boost::intrusive::list<
        request, boost::intrusive::member_hook<request, boost::intrusive::list_member_hook<>, &request::interrupting_>>;
    struct number_of {
        using type = k::u64;
        type operator()(const request& r) const noexcept { return r.unique_; }
    };
    using set = boost::intrusive::set<
        request, boost::intrusive::member_hook<request, boost::intrusive::set_member_hook<>, &request::by_number_>,
        boost::intrusive::key_of_value<number_of>>;

    struct node_of {
        using type = k::u64;
        type operator()(const request& r) const noexcept { return r.node_; }
    };
    using nodes = boost::intrusive::multiset<
        request, boost::intrusive::member_hook<request, boost::intrusive::set_member_hook<>, &request::by_node_>,
        boost::intrusive::key_of_value<node_of>>;

    bool queue(request_ref r) noexcept;
    request_ref next(interrupt_question& interrupt, k::u64& interrupted) noexcept;
    void forget_locked(request& r) noexcept REQUIRES(lock_);
    bool take_out(request& r) noexcept;
    void finish(request& r, k::i32 error) noexcept;
    bool abandon(request& r) noexcept;
    bool take_place() noexcept;
    k::status wait_for_place() noexcept;
    void undo(request& r) noexcept;
    void say_internally(k::result<request_ref> r) noexcept;
    void interrupt(request& r) noexcept;
    void note_interrupt_answer(request& r, k::i32 error) noexcept REQUIRES(lock_);
    void started(const request& r, bool good) noexcept;
    phase now_in() const noexcept { return phase_.load(std::memory_order_acquire); }

    asker who_;
    std::atomic<phase> phase_ = phase::unused;
    k::u64 most_read_ = ~k::u64{0}, most_write_ = 4096; // as init's answer says
    lwkt::wait_queue readers_, starting_, askers_;
    std::atomic<unsigned> asked_count_ = 0;
    lwkt::spinlock lock_;
    k::u64 last_unique_ GUARDED_BY(lock_) = 0;
    unsigned posted_ GUARDED_BY(lock_) = 0; // and not done
    bool interrupts_ GUARDED_BY(lock_) = true;
    list waiting_ GUARDED_BY(lock_); // each held
    set asked_ GUARDED_BY(lock_);    // each held
    nodes about_ GUARDED_BY(lock_);  // of both, those that have answers
    interrupt_list interrupting_ GUARDED_BY(lock_);
};

using connection_ref = k::ref<connection>;

} // namespace vfs::fuse
