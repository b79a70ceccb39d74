// busdma: how the bytes of an xio reach a device without being looked at. Read this header first of drivers/busdma.
//
// A driver keeps a tag (what the device can take), maps (one a request that can be in flight) and a pool of bounce
// pages. Loading a map with a source (the device reads) or a sink (the device writes) gives segments: physical
// addresses and lengths within all of the tag's limits, no byte of them mapped or copied. Only pieces that lie beyond
// the device's reach, or not as it wants them, go by way of a bounce page. The map holds its xio, and so the pages'
// pins, until it is unloaded, whoever else lets go.
//
// Order of calls: load, sync_for_device, the transfer, sync_for_cpu if it went well, unload. A map whose transfer was
// given up while the device may still work on it is put into quarantine instead: nothing of it is given back before its
// driver knows that the device has stopped (a reset, bus mastering off, gone) and says so.
//
// A map and its pool belong to one CPU. All calls there, in a critical section.
#pragma once

#include "drivers/busdma/bounce.h"
#include "drivers/iommu/domain.h"
#include "sys/xio/segments.h"
#include "sys/xio/xio.h"

namespace busdma {

using xio::segment;

// How much of the front of a slice one load can take with a pool of `pages`, in whole units of `granule` bytes; 0: not
// even one. Any context.
k::u64 fitting(const tag& t, unsigned pages, const xio::slice_base& what, k::u64 granule) noexcept;

class map {
  public:
    // ENOMEM. The tag and the pool outlive it. Any context.
    static k::result<mem::box<map>> create(const tag& t, bounce_pool& pool) noexcept;
    map(const tag& t, bounce_pool& pool) noexcept : tag_(t), pool_(pool) {} // for create()
    ~map();
    map(const map&) = delete;

    // Holds one more reference to the bytes, which are bound to pages. E2BIG: more segments, or more bounce pages, than
    // there can ever be at once; EAGAIN: too few bounce pages now. Nothing is held then.
    k::status load(const xio::source& from) noexcept;
    k::status load(const xio::sink& to) noexcept;
    // The same, but without enough bounce pages the load waits in line, and `ready` is called in a critical section of
    // this CPU when it is done. True: done at once, and it is not called. Until then the map may only be unloaded.
    using ready_function = void (*)(map& m, void* argument);
    k::result<bool> load_or_wait(const xio::source& from, ready_function ready, void* argument) noexcept;
    k::result<bool> load_or_wait(const xio::sink& to, ready_function ready, void* argument) noexcept;

    // What the device is told. Empty unless loaded, and for no bytes.
    std::span<const segment> segments() const noexcept { return {segments_, count_}; }
    k::u64 bytes() const noexcept { return source_.size() + sink_.size(); }
    bool is_loaded() const noexcept { return state_ == state::loaded; }
    bool is_in_quarantine() const noexcept { return state_ == state::quarantined; }

    // Before the device looks / after it has written: bounced bytes are copied, and stores are ordered.
    void sync_for_device() noexcept;
    void sync_for_cpu() noexcept;

    // Gives everything back, or stops waiting. The device does not touch the segments any more.
    void unload() noexcept;
    // The device may still touch them: nothing is given back.
    void quarantine() noexcept;
    // It has stopped: gives back what was in quarantine.
    void device_stopped() noexcept;

  private:
    friend class bounce_pool;
    enum class state : k::u8 { empty, waiting, loaded, quarantined };
    struct bounce {
        vm::page* page;
        k::u64 at; // in the xio
        k::u32 in_page, bytes;
    };

    const xio::slice_base& what() const noexcept;
    k::result<bool> begin(bool may_wait) noexcept;
    void build_with_bounces() noexcept;
    void become_loaded(unsigned segments) noexcept;
    void finish_waiting() noexcept;
    void release() noexcept;
    iommu::access wanted() const noexcept;

    const tag& tag_;
    bounce_pool& pool_;
    xio::source source_; // at most one of the two has bytes
    xio::sink sink_;
    segment* segments_ = nullptr;
    bounce* bounced_ = nullptr;
    unsigned count_ = 0;
    unsigned bounces_ = 0; // pages that it has, or waits for
    state state_ = state::empty;
    map* next_waiting_ = nullptr;
    ready_function ready_ = nullptr;
    void* argument_ = nullptr;
};

// Pages of loads that are in quarantine now, on all CPUs.
k::u64 pages_in_quarantine() noexcept;

// Memory that a CPU and a device share for as long as the device lives: rings, tables. Contiguous, zeroed, within
// reach.
class memory {
  public:
    memory() = default;
    memory(memory&& other) noexcept
        : block_(std::move(other.block_)), bytes_(other.bytes_), domain_(std::exchange(other.domain_, nullptr)) {}
    memory& operator=(memory&& other) noexcept {
        std::swap(block_, other.block_);
        std::swap(bytes_, other.bytes_);
        std::swap(domain_, other.domain_);
        return *this;
    }
    ~memory(); // the device has stopped
    // ENOMEM. At most 16 MiB.
    static k::result<memory> create(const tag& t, std::size_t bytes) noexcept;

    std::byte* data() const noexcept { return static_cast<std::byte*>(block_.data()); }
    arch::paddr address() const noexcept { return vm::physical(block_.get()); }
    explicit operator bool() const { return bool(block_); }

  private:
    vm::page_ref block_;
    k::u64 bytes_ = 0;
    iommu::domain* domain_ = nullptr;
};

} // namespace busdma
