// files::pty: the pair of master and slave. It lives while one of them is open.
#pragma once

#include "kernel/files/pty.h"
#include "kernel/files/terminal.h"

namespace files {

class pty final : public k::counted<pty>, public terminal_device {
  public:
    // One with a number and a name. ENOSPC, ENOMEM.
    static k::result<k::ref<pty>> create(k::u32 uid) noexcept;
    void last_holder_left() noexcept;
    explicit pty(unsigned index) noexcept; // for create()

    const unsigned number;
    terminal tty;
    // Its name's node; of the file system of names.
    const vfs::vnode_ref& node() const noexcept { return node_; }

    // --- The slave, as its terminal sees it.
    void show(std::string_view bytes) noexcept override;
    bool has_room() noexcept override;
    void drop_output() noexcept override;
    void happened(k::u8 events) noexcept override;
    void input_taken() noexcept override;
    void hold() noexcept override { (void)k::ref<pty>::to(*this).release(); }
    void let_go() noexcept override { k::ref<pty>(this).reset(); }
    void opened() noexcept override;
    void closed() noexcept override;

    // --- The master.
    k::result<k::u64> read(xio::sink& to, bool nonblocking) noexcept;
    k::result<k::u64> write(const xio::source& from, bool nonblocking) noexcept;
    k::u32 ready() noexcept;
    pollable& watched() noexcept { return watched_; }
    k::u32 bytes_to_read() noexcept;
    bool is_locked() const noexcept { return locked_.load(std::memory_order_relaxed); }
    void set_locked(bool on) noexcept { locked_.store(on, std::memory_order_relaxed); }
    // Packet mode: a read gives either one byte that tells what happened, or a zero and bytes.
    void set_packets(bool on) noexcept;
    bool has_packets() noexcept;
    // The master goes: no more name, and the terminal is hung up.
    void master_left() noexcept;

  private:
    static constexpr k::u32 capacity = 8192; // of output that the master has not read
    // What one write of a program may become at most (tabs); echo finds room beside it.
    static constexpr k::u32 room_for_a_write = 4096 + 512;

    bool is_abandoned_locked() const noexcept REQUIRES(lock_) { return was_opened_ && !slaves_; }
    bool can_read() noexcept;
    k::u8 take_events() noexcept;
    bool can_write() noexcept;
    k::u32 take(std::span<char> to) noexcept;

    vfs::vnode_ref node_;
    std::atomic<bool> locked_ = true;
    lwkt::wait_queue readers_, writers_; // of the master
    pollable watched_;                   // the master's

    lwkt::spinlock lock_;
    k::u32 head_ GUARDED_BY(lock_) = 0, tail_ GUARDED_BY(lock_) = 0; // positions that only grow
    k::u32 slaves_ GUARDED_BY(lock_) = 0;                            // open files
    bool was_opened_ GUARDED_BY(lock_) = false;
    bool packets_ GUARDED_BY(lock_) = false;
    k::u8 events_ GUARDED_BY(lock_) = 0; // that a master in packet mode was not told of
    char ring_[capacity] GUARDED_BY(lock_);
};

// The pair of a number whose master is open. Empty: none.
k::ref<pty> find_pty(unsigned number) noexcept;
// The next number from `number` on that such a pair has; most_ptys: none.
unsigned next_pty(unsigned number) noexcept;
// For create(): a node for a name. ENOMEM.
k::result<vfs::vnode_ref> make_pty_node(unsigned number, k::u32 uid) noexcept;

} // namespace files
