// The block layer: requests, and the disks that serve them. Read this header first of drivers/block.
//
// A request carries an xio: a sink that a read fills or a source that a write takes. It is submitted on some CPU,
// handed to the disk's driver there without a lock, and completed there, wherever its interrupt came. A disk counts in
// sectors of 512 bytes, whatever it counts in itself.
//
// A request that fails says so: EIO, and nothing is to be believed of a sink; ETIMEDOUT becomes EIO before a program
// sees it. When a request is over its owner may let go of everything, even if the device did not answer: pages that the
// device may still touch are kept by busdma's quarantine.
#pragma once

#include "drivers/busdma/tag.h"
#include "kernel/lib/ref.h"
#include "kernel/lib/result.h"
#include "kernel/lwkt/critical.h"
#include "kernel/time/callout.h"
#include "sys/xio/xio.h"

#include <boost/intrusive/list.hpp>

namespace block {

constexpr unsigned sector_shift = 9;
constexpr k::u64 sector_bytes = 1u << sector_shift;

enum class operation : k::u8 { read, write, flush, discard };
constexpr unsigned operations = 4;

class device;
class disk;

struct request {
    using hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;

    // --- Its owner's. It stays where it is until done(*this) is called: on the CPU that submitted it, in a critical
    // section, perhaps in an IPI function. done() must neither block nor send; it may wake_local(). The request is the
    // owner's again then.
    operation what = operation::read;
    bool durable = false; // of a write: on the medium when it is over (FUA)
    k::u64 sector = 0;    // of the device
    k::u64 sectors = 0;   // of a discard; else the bytes say it
    xio::sink into;       // of a read, bound to pages
    xio::source from;     // of a write, bound and stable
    void (*done)(request&) noexcept = nullptr;
    void* argument = nullptr;
    k::status status; // when it is over

    k::u64 bytes() const noexcept { return into.size() + from.size(); }
    k::u64 length() const noexcept { return what == operation::discard ? sectors : bytes() >> sector_shift; }

    // --- The block layer's.
    device* of = nullptr;
    unsigned cpu = 0;
    ktime::ns started = 0;
    // --- The driver's, while it has it: `sector` counts from the disk's start.
    hook link;
    unsigned tries = 0; // how often the device was given it
};
using request_list =
    boost::intrusive::list<request, boost::intrusive::member_hook<request, request::hook, &request::link>,
                           boost::intrusive::constant_time_size<false>>;

struct disk_properties {
    k::u64 sectors = 0;
    k::u32 block_bytes = sector_bytes; // the least that it reads and writes
    k::u32 physical_bytes = sector_bytes;
    bool read_only = false;
    bool has_flush = false, has_durable = false, has_discard = false;
    k::u32 most_discard = 0; // sectors
};

// What a driver offers.
class disk : public k::counted<disk> {
  public:
    virtual ~disk() = default;
    virtual void last_holder_left() noexcept = 0;

    virtual const disk_properties& properties() const noexcept = 0;
    // What one request may carry, and how many pieces of it may have to bounce.
    virtual const busdma::tag& limits() const noexcept = 0;
    virtual unsigned bounce_pages() const noexcept { return 0; }
    // Takes a request that lies on the disk and in its limits; complete() follows, once, perhaps before this is over.
    // On the request's CPU, in a critical section.
    virtual void start(request& r) noexcept = 0;
    virtual std::string_view driver() const noexcept = 0;
};

// The driver is done with a request. In a critical section of any CPU, not in an IPI function of another than the
// request's.
void complete(request& r, k::status status) noexcept;

} // namespace block
