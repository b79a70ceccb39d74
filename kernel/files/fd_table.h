// files::fd_table: which open file each descriptor of a process means.
//
// Slots stand in chunks of 64 with a word of "used" and a word of "close on exec" bits each: the first chunk is part of
// the table, more come as descriptors do, and no slot ever moves. A spinlock guards all of it, held for dozens
// of instructions; files are let go of after it was given up, because closing may block.
//
// Each *thread* that uses a table holds a reference to it (fork() makes another table, CLONE_FILES shares one).
// The look-ups of system calls rely on that: when the caller is the only holder, nobody can close the file under it,
// and look_up() touches neither the lock nor the file's count.
#pragma once

#include "kernel/files/file.h"
#include "kernel/lwkt/spinlock.h"

namespace files {

// A file for the length of a system call: counted only if another thread could close the descriptor meanwhile.
class file_use {
  public:
    file_use() = default;
    file_use(file* f, bool counted) noexcept : file_(f), counted_(counted) {}
    file_use(file_use&& other) noexcept : file_(std::exchange(other.file_, nullptr)), counted_(other.counted_) {}
    file_use& operator=(file_use&& other) noexcept {
        std::swap(file_, other.file_);
        std::swap(counted_, other.counted_);
        return *this;
    }
    ~file_use() {
        if (counted_ && file_) (void)file_ref(file_);
    }

    explicit operator bool() const { return file_ != nullptr; }
    file* get() const { return file_; }
    file& operator*() const { return *file_; }
    file* operator->() const { return file_; }

  private:
    file* file_ = nullptr;
    bool counted_ = false;
};

class fd_table final : public k::counted<fd_table> {
  public:
    // Descriptors lie below; no RLIMIT_NOFILE may be above.
    static constexpr k::u32 most = 65536;

    // An empty table. ENOMEM.
    static k::result<k::ref<fd_table>> create() noexcept;
    // Another table that refers to the same files, each one held once more; `for_child`: or to what stands for them in
    // a child. ENOMEM.
    k::result<k::ref<fd_table>> clone(bool for_child) noexcept;
    void last_holder_left() noexcept; // closes everything. Thread context

    // The file of a descriptor, for the length of a system call of a thread that holds this table; empty: EBADF. Any
    // number is fine.
    file_use look_up(int fd) noexcept {
        if (alone()) [[likely]]
            return file_use(slot(static_cast<k::u32>(fd)), false);
        return file_use(get(fd).release(), true);
    }
    // The same to keep.
    file_ref get(int fd) noexcept;

    // Gives the file the lowest free descriptor that is at least `least` and below `limit`. EMFILE; EINVAL if `least`
    // is not below the limit; ENOMEM.
    k::result<int> install(file_ref what, bool close_on_exec, k::u32 limit, int least = 0) noexcept;
    // The same with descriptor `at`; what stood there is closed. EBADF if `at` is not below the limit; ENOMEM.
    k::status install_at(int at, file_ref what, bool close_on_exec, k::u32 limit) noexcept;

    // EBADF; what the file's flush() says: it is closed all the same. Thread context: the last holder of a file closes
    // it.
    k::status close(int fd) noexcept;
    // Those from first to last, whichever are open.
    void close_range(k::u32 first, k::u32 last) noexcept;
    void set_close_on_exec_range(k::u32 first, k::u32 last) noexcept;
    // exec's: those whose bit is set.
    void close_on_exec() noexcept;

    // EBADF.
    k::result<bool> closes_on_exec(int fd) noexcept;
    k::status set_close_on_exec(int fd, bool on) noexcept;

    // Calls visit(fd, file&) for each open one, lowest first, each time with the file held and the lock let go.
    template <class Visit> void for_each(Visit visit) noexcept {
        for (int fd = 0; (fd = next_used(fd)) >= 0; ++fd)
            if (file_ref held = get(fd)) visit(fd, *held);
    }
    // The lowest open descriptor from `fd` on; -1: none.
    int next_used(int fd) noexcept;
    k::u32 count() noexcept; // of open descriptors

    fd_table() = default; // for create()
    ~fd_table();

  private:
    static constexpr k::u32 chunk_slots = 64;
    struct chunk {
        k::u64 used = 0;
        k::u64 close_on_exec = 0;
        file* slots[chunk_slots]; // meaningful where the used bit is set
    };

    bool alone() const noexcept { return holders() == 1; }
    // Null: no such chunk.
    chunk* chunk_of(k::u32 fd) noexcept {
        if (fd < chunk_slots) [[likely]]
            return &first_;
        const k::u32 index = fd / chunk_slots - 1;
        return index < chunks_ ? more_[index] : nullptr;
    }
    file* slot(k::u32 fd) noexcept {
        chunk* in = chunk_of(fd);
        return in && in->used >> (fd % chunk_slots) & 1 ? in->slots[fd % chunk_slots] : nullptr;
    }
    k::status make_room(k::u32 fd) noexcept REQUIRES(lock_);
    k::result<k::u32> find_free(k::u32 least, k::u32 limit) noexcept REQUIRES(lock_);
    void put(k::u32 fd, file* what, bool close_on_exec) noexcept REQUIRES(lock_);
    // Lets go of what a descriptor meant. A process that closes any descriptor of a file loses all its locks there.
    k::status let_go(file_ref held) noexcept;
    // Takes out the lowest descriptor from `first` to `last`, of those only that close on exec if asked so.
    file_ref take_next(k::u32& first, k::u32 last, bool only_on_exec) noexcept;
    file* take(k::u32 fd) noexcept REQUIRES(lock_);

    // Guarded by lock_; what look_up() reads of it without, only the sole holder could change.
    lwkt::spinlock lock_;
    chunk first_;
    chunk** more_ = nullptr;
    k::u32 chunks_ = 0;     // that exist behind the first
    k::u32 directory_ = 0;  // room in more_
    k::u32 first_free_ = 0; // no free descriptor lies below
};

} // namespace files
