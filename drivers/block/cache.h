// The cached pages of a block device: one object, whose pager reads the device, and a map of what is newer than the
// disk.
//
// Cached reads and writes move bytes between the object and the caller. Writing back takes a stable loan of the
// object's pages: whoever writes to them meanwhile writes to other pages, and nobody waits for the disk. At most one
// write-back of a device runs at a time, so the older of two versions of a block is on the disk before the newer
// leaves; what is written during that is dirty again and is not cleaned by its end. A write-back that fails leaves its
// pages dirty, and the next sync() says EIO.
//
// All functions: thread context, no token held, may block.
#pragma once

#include "drivers/block/device.h"
#include "drivers/block/dirty_map.h"
#include "drivers/block/gather.h"
#include "kernel/lwkt/sleep_lock.h"
#include "sys/vm/object.h"

namespace block {

class cache final : vm::pager {
  public:
    static k::result<mem::box<cache>> create(device& of) noexcept;
    explicit cache(device& of) noexcept : device_(of), on_its_way_(of, written_back, this) {} // for create()
    ~cache();

    // Bytes at an offset, as many as the device has. EIO, EFAULT, ENOMEM.
    xio::moved read(k::u64 offset, xio::sink& to) noexcept;
    xio::moved write(k::u64 offset, const xio::source& from) noexcept;
    // The same past the cache, bound to pages; what is cached of the range is on the disk before, or gone after.
    xio::moved read_direct(k::u64 offset, const xio::sink& to) noexcept;
    xio::moved write_direct(k::u64 offset, const xio::source& from, bool durable) noexcept;
    k::status discard(k::u64 offset, k::u64 bytes) noexcept;

    // What was written to these bytes need not reach the disk: nobody reads it any more. Only of whole pages.
    void abandon(k::u64 offset, k::u64 bytes) noexcept;

    // What was written before is on the disk / on its medium. EIO, also for what failed since the last time.
    k::status write_back() noexcept { return write_back(0, ~k::u64{0}); }
    k::status sync() noexcept;
    // Lets go of all that the disk has as well.
    void drop_clean() noexcept;

    k::u64 dirty_pages() const noexcept { return dirty_.count(); }
    k::u64 cached_pages() const noexcept { return pages_->resident_pages(); }

  private:
    k::result<vm::page_ref> page_in(k::u64 index) noexcept override;
    void object_gone() noexcept override {}

    k::u64 page_count() const noexcept { return (device_.bytes() + arch::page_size - 1) >> arch::page_shift; }
    k::u64 bytes_of_pages(k::u64 first, k::u64 count) const noexcept;
    xio::moved deliver(k::u64 offset, xio::sink& to) noexcept;
    k::u64 adopt(k::u64 offset, const xio::source& from) noexcept;
    void read_ahead(k::u64 offset, k::u64 bytes) noexcept;
    void fill(k::u64 first, unsigned count) noexcept;
    k::status write_back(k::u64 first, k::u64 count) noexcept;
    k::result<xio::source> bytes_to_write(k::u64 offset, k::u64 bytes) noexcept;
    void write_run(k::u64 first, k::u64 count) noexcept;
    static void written_back(k::u64 offset, k::u64 bytes, k::status status, void* self);
    void forget_clean(k::u64 first, k::u64 count) noexcept;
    void keep_within_limits() noexcept;

    device& device_;
    k::ref<vm::object> pages_;
    dirty_map dirty_;
    // Held by who writes to the cached pages and who forgets some: a page is not forgotten while it is written.
    lwkt::sleep_lock writers_;
    lwkt::sleep_lock writing_back_;
    gather on_its_way_;                 // of who has writing_back_
    k::status outcome_;                 // of the same: the first that went wrong
    std::atomic<bool> failed_ = false;  // a write-back, since the last sync()
    std::atomic<k::u64> next_read_ = 0; // where the last read ended: one that goes on there is read ahead of
};

} // namespace block
