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

#include "kernel/lwkt/spinlock.h"
#include "sys/userfs/fuse_request.h"
#include "sys/vfs/file_system.h"

namespace vfs::fuse {

// For whom something is asked, and what may end the wait for it.
struct asker {
    // Of the running thread, for the requests' heads.
    void (*identify)(request_head& to) = nullptr;
    // Does the running thread end, so that it waits no longer? Does a signal wait for it, of which the program is told?
    bool (*killed)() = nullptr, (*signalled)() = nullptr;
};

// Who hears what a program tells by itself (fuse::news). Waits for nothing that a program may have to do first: it is
// in the midst of telling. ENOENT: nothing of that is known.
class listener {
  public:
    // Its attributes are old and, from `offset` on if that is not below zero, so many bytes (not above zero: all).
    virtual k::status bytes_are_old(k::u64 node, k::i64 offset, k::i64 bytes) noexcept = 0;
    virtual k::status name_is_old(k::u64 directory, std::string_view name) noexcept = 0;
    // It leads to that node no more. ENOTEMPTY, EBUSY: of a directory that is in use.
    virtual k::status name_is_gone(k::u64 directory, std::string_view name, k::u64 node) noexcept = 0;
    // These bytes, of the program's own memory, stand at an offset, and the file reaches as far. EINVAL: it is no file;
    // EFBIG, EFAULT, ENOMEM.
    virtual k::status store(k::u64 node, k::u64 offset, const xio::source& bytes) noexcept = 0;
    // What is cached of a file from an offset on, at most so much, as far as there is no gap. EINVAL: it is none;
    // ENOMEM.
    virtual k::result<xio::source> retrieve(k::u64 node, k::u64 offset, k::u64 bytes) noexcept = 0;

  protected:
    ~listener() = default;
};

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
    // most_asked are unanswered it waits before it asks. ETIMEDOUT: not by the deadline; as after EINTR, the answer
    // will go nowhere.
    k::status ask(request& r, ktime::ns deadline = ktime::forever) noexcept;
    static constexpr unsigned most_asked = 1024;
    // Says something; the answer, if there is one, is thrown away. False: too much of that is unanswered already, or it
    // is over. Does not block.
    bool post(request_ref r) noexcept;
    bool is_full() noexcept; // would post() refuse?
    // The same however much is unanswered, of what there is no more of than was asked. Without memory for it (`r`) not.
    void post_regardless(k::result<request_ref> r) noexcept;
    // Is anything unanswered that was asked about a node? A program may not be told to forget it yet: its threads may
    // hear of that first.
    bool is_asked_about(k::u64 node) noexcept;
    // Since when has the program not answered what somebody asked of the node, in an order that counts, and left?
    // ktime::forever: there is nothing of that kind.
    ktime::ns unanswered_since(k::u64 node) noexcept;
    bool has_ended() const noexcept { return now_in() == phase::over; }
    // Over: who waits hears ENOTCONN. `politely`: what was posted, and `last` if it is not null, can still be taken.
    void end(request_ref last, bool politely) noexcept;

    // Waits for init's answer if need be; the errors of ask(). Then: bytes in one read and one write.
    k::status start(ktime::ns deadline = ktime::forever) noexcept;
    k::u64 most_read() const noexcept { return most_read_; }
    k::u64 most_write() const noexcept { return most_write_; }
    bool knows_forget_many() const noexcept { return minor_ >= least_minor_for_many; }
    bool lists_with_nodes() const noexcept { return flags_ & fuse::lists_with_nodes; }
    bool lists_as_is_useful() const noexcept { return flags_ & fuse::lists_as_is_useful; }
    // Who hears news: once, and until stop_listening(), which comes before `in` goes. Any context.
    void listen(file_system& in, listener& to) noexcept;
    void stop_listening() noexcept;

    // --- The device's side (fuse_device.cc). Thread context, with user memory.
    enum readiness : unsigned { has_requests = 1, is_over = 2, is_unused = 4 };
    unsigned ready() noexcept; // any context
    lwkt::wait_queue& readers() noexcept { return readers_; }
    // Gives the next request. EAGAIN: there is none; ENODEV: it is over; EPERM: nothing was mounted; EINVAL: too little
    // room for any; EFAULT.
    k::result<k::u64> read(xio::sink& to) noexcept;
    // Takes an answer, or news. EINVAL: it makes no sense; ENOENT: nobody asked, or nothing is known of that; EFAULT;
    // EPERM; of news: ENOTCONN, ENAMETOOLONG, ENOMEM, EOPNOTSUPP: not of that kind; EAGAIN: most_retrieved have not
    // been read yet; the errors of `listener`.
    k::result<k::u64> write(const xio::source& from) noexcept;
    static constexpr unsigned most_retrieved = 64;

  private:
    // Numbers are even; with the lowest bit set they say which request an interrupt is about.
    static constexpr k::u64 interrupt_bit = 1, unique_step = 2;
    static constexpr k::u64 most_pages = 256; // in one read or write

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
    k::status wait_for_place(ktime::ns deadline) noexcept;
    void undo(request& r) noexcept;
    void forget_listed(request& r) noexcept;
    void interrupt(request& r) noexcept;
    k::status hear(news what, const xio::source& from) noexcept;
    k::status give_back(listener& of, const retrieve_news& what) noexcept;
    void note_interrupt_answer(request& r, k::i32 error) noexcept REQUIRES(lock_);
    void started(const request& r, bool good) noexcept;
    phase now_in() const noexcept { return phase_.load(std::memory_order_acquire); }

    asker who_;
    std::atomic<phase> phase_ = phase::unused;
    k::u64 most_read_ = ~k::u64{0}, most_write_ = 4096; // as init's answer says
    k::u32 minor_ = 0, flags_ = 0;                      // too
    lwkt::wait_queue readers_, starting_, askers_;
    std::atomic<unsigned> asked_count_ = 0;
    std::atomic<unsigned> left_count_ = 0; // changed under the lock
    lwkt::spinlock lock_;
    k::u64 last_unique_ GUARDED_BY(lock_) = 0;
    unsigned posted_ GUARDED_BY(lock_) = 0;    // and not done
    unsigned retrieved_ GUARDED_BY(lock_) = 0; // of those
    bool interrupts_ GUARDED_BY(lock_) = true;
    list waiting_ GUARDED_BY(lock_);              // each held
    set asked_ GUARDED_BY(lock_);                 // each held
    nodes about_ GUARDED_BY(lock_);               // of both, those that have answers
    unsigned about_others_ GUARDED_BY(lock_) = 0; // of those, who are about another node as well
    interrupt_list interrupting_ GUARDED_BY(lock_);
    file_system* listening_ GUARDED_BY(lock_) = nullptr; // whose listener that is
    listener* listener_ GUARDED_BY(lock_) = nullptr;
};

using connection_ref = k::ref<connection>;

} // namespace vfs::fuse
