// What was stored into mappings of files in a program, and has not been carried there yet.
//
// write(2) asks the program at once. A store into a mapping is noticed by the fault that lets it happen: its page
// becomes dirty then, and is carried by a thread some time later, or by whoever wants that sooner (msync, fsync, close,
// unmount). A file with dirty pages is listed, which keeps it, its file system, and what it can be written by; the
// thread lives as long as any is.
//
// A program that is silent must not fill the memory: of one mount, and of all together, only so many pages can be
// dirty. Who would make one more waits for the thread, as long as a program may take to answer, and then gets an error
// (SIGBUS); at once if nobody is there to be asked.
//
// What a program refuses, or could not be asked to keep, is lost as on Linux: the page is clean from then on, and who
// calls msync or fsync is told, once a descriptor (vnode::losses).
#pragma once

#include "kernel/lwkt/spinlock.h"
#include "sys/vfs/file_system.h"

#include <boost/intrusive/set.hpp>

namespace vfs::userfs {

class file_node;
class file_pages;
class server;

// What a file_node has for its place in the list.
struct dirty_file : boost::intrusive::set_base_hook<> {
    std::atomic<k::u64> turn = 0;       // 0: it is not listed; changed under the list's lock
    file_system::opened_ref written_by; // while it is
};

// Of one server. All but charge(), note_loss() and over(): thread context, may sleep.
class dirty_files {
  public:
    explicit dirty_files(server& of) noexcept : server_(of) {}

    // Some pages are about to become dirty. EIO: nobody can be asked to keep them, or there was no room in time; EINTR:
    // the running thread ends; ENOMEM.
    k::status reserve(file_pages& of, k::u64 pages) noexcept;
    // So many are dirty, or were reserved for, beyond what is known.
    void charge(file_pages& of, k::i64 pages) noexcept;
    // Until nothing is dirty in any file. ETIMEDOUT: the program takes its time, or more becomes dirty; EINTR: the
    // running thread ends.
    k::status wait_until_clean() noexcept;
    // A file was written back: it need not be kept any more if nothing of it is dirty.
    void settle(file_node& n) noexcept;
    // Of what was dirty something is lost: the log has that once.
    void note_loss(file_node& n, k::error why) noexcept;
    // All of all servers, as far as they listen in time.
    static void write_everything() noexcept;
    // Nobody is asked any more.
    void over() noexcept {
        writer_.wake_all();
        room_.wake_all();
    }

  private:
    enum class writer : k::u8 { none, starts, runs };
    struct turn_of {
        using type = k::u64;
        type operator()(const dirty_file& f) const noexcept { return f.turn.load(std::memory_order_relaxed); }
    };
    using files = boost::intrusive::set<dirty_file, boost::intrusive::key_of_value<turn_of>,
                                        boost::intrusive::constant_time_size<false>>;

    static void write_for_ever(void* of) noexcept;
    bool take(k::u64 pages) noexcept;
    k::status wait_for_room(k::u64 pages) noexcept;
    void list(file_pages& of, file_node& n, k::u64 pages) noexcept;
    k::status start_writer() noexcept;
    void set_writer(writer now) noexcept;
    void come_in() noexcept; // among those whose threads run
    void go_out() noexcept;
    void write_while_dirty() noexcept;
    k::status write_all(k::u64& turn) noexcept;
    void hurry() noexcept;
    vnode_ref next(k::u64& turn, k::u64 last) noexcept;
    file_system_ref holds() noexcept {
        lwkt::spin_guard guard(lock_);
        return fs_.share();
    }

    server& server_; // whose this is
    std::atomic<k::u64> pages_ = 0;
    std::atomic<unsigned> listed_ = 0; // changed under the lock
    std::atomic<bool> hurries_ = false;
    lwkt::wait_queue room_, writer_;
    lwkt::spinlock lock_;
    files files_ GUARDED_BY(lock_); // each held
    k::u64 last_turn_ GUARDED_BY(lock_) = 0;
    file_system_ref fs_ GUARDED_BY(lock_);   // whose they are, while there are any
    std::atomic<writer> now_ = writer::none; // changed under the lock
    bool said_ GUARDED_BY(lock_) = false;    // that something was lost
    // Of those whose threads run: guarded by the lock of their list.
    dirty_files* next_ = nullptr;
    k::u64 started_ = 0;
};

} // namespace vfs::userfs
