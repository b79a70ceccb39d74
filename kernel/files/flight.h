// files::flight: open files on their way through a socket (SCM_RIGHTS). They are held until somebody receives them, or
// nobody can any more.
//
// A socket in flight may be all that leads to another one, in a circle too: the collector (unix_socket_collector.h)
// finds out and takes them apart. Therefore flights that have sockets aboard take off, land and are copied under its
// lock, and those that nobody receives are let go of by its thread, one after the other: never does closing one socket
// close the next one on the same stack.
//
// All functions: thread context, no spinlock held.
#pragma once

#include "kernel/files/file.h"

namespace files {

class flight;
struct flight_account;

// Owns a flight; the files of one that nobody received are let go of.
class flight_hold {
  public:
    flight_hold() = default;
    explicit flight_hold(flight* f) noexcept : flight_(f) {}
    flight_hold(flight_hold&& other) noexcept : flight_(std::exchange(other.flight_, nullptr)) {}
    flight_hold& operator=(flight_hold&& other) noexcept {
        std::swap(flight_, other.flight_);
        return *this;
    }
    ~flight_hold() {
        if (flight_) [[unlikely]]
            discard(flight_);
    }

    explicit operator bool() const { return flight_ != nullptr; }
    flight& operator*() const { return *flight_; }
    flight* operator->() const { return flight_; }
    flight* release() noexcept { return std::exchange(flight_, nullptr); }
    // One more of the same files; none without memory.
    flight_hold copy() const noexcept;

  private:
    static void discard(flight* f) noexcept;
    flight* flight_ = nullptr;
};

class flight {
  public:
    static constexpr k::u32 most = 253; // files aboard

    // Boot, once. ENOMEM.
    static k::status initialise() noexcept;

    // Takes the files over. ETOOMANYREFS: the running process's user has more than RLIMIT_NOFILE of them in flight;
    // ENOMEM.
    static k::result<flight_hold> create(std::span<file_ref> what) noexcept;

    std::span<file_ref> files() noexcept { return {reinterpret_cast<file_ref*>(this + 1), count_}; }
    bool has_sockets() const noexcept { return has_sockets_; }
    // The receiver has it: its files are not in flight any more.
    void land() noexcept;

    flight* next = nullptr; // of who holds many

  private:
    friend class flight_hold;
    friend class collector;
    static flight_hold make(std::span<file_ref> what) noexcept; // none without memory
    flight() = default;
    ~flight() = default;
    static void destroy(flight* f) noexcept;

    flight_account* paid_by_ = nullptr; // null: a copy, or landed
    k::u32 count_ = 0;
    bool has_sockets_ = false;
    bool landed_ = true;
};

// Flights taken out under a spinlock.
class flight_list {
  public:
    flight_list() = default;
    ~flight_list();
    flight_list(const flight_list&) = delete;
    void add(flight_hold f) noexcept {
        flight* one = f.release();
        one->next = first_;
        first_ = one;
    }

  private:
    friend class collector;
    flight* first_ = nullptr;
};

} // namespace files
