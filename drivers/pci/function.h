// pci::function: one function of a PCI device, as its driver sees it. Read this header first of drivers/pci.
//
// A device is a stranger: what its configuration space says about capabilities, sizes and places is checked before
// anybody uses it, and what makes no sense is left out. A function that was pulled out reads as ones everywhere.
// Everything here is for thread context, one thread at a time for each function.
#pragma once

#include "drivers/pci/config_space.h"
#include "kernel/lib/result.h"
#include "kernel/mem/kernel_space.h"
#include "kernel/mem/slab.h"

#include <array>

namespace iommu {
class domain;
}

namespace pci {

// Offsets in a function's header (PCI Local Bus 6.1, 6.2).
enum header_register : unsigned {
    reg_vendor = 0x00,
    reg_device = 0x02,
    reg_command = 0x04,
    reg_status = 0x06,
    reg_revision = 0x08,
    reg_class = 0x08, // with the revision in its low byte
    reg_header_type = 0x0e,
    reg_bars = 0x10,
    reg_secondary_bus = 0x19,
    reg_last_bus = 0x1a,
    reg_subsystem = 0x2e,
    reg_capabilities = 0x34,
};
enum command_bit : k::u16 {
    command_ports = 1u << 0,
    command_memory = 1u << 1,
    command_bus_master = 1u << 2,
    command_no_pin_interrupt = 1u << 10,
};
enum capability_id : k::u8 {
    capability_msi = 0x05,
    capability_vendor = 0x09,
    capability_express = 0x10,
    capability_msix = 0x11
};
constexpr k::u16 nobody = 0xffff; // vendor

// A range of addresses that a function answers to. Size 0: there is none, or it made no sense.
struct bar {
    k::u64 base;
    k::u64 bytes;
    bool in_ports;
};
constexpr unsigned most_bars = 6;

// What a driver leaves with its function if the device may be pulled out.
class user {
  public:
    virtual ~user() = default;
    // The device is to go, or is gone: uses it no more, and what waits for it ends. Called again, with `gone`, after
    // the first. Thread context, blocks.
    virtual void let_go(bool gone) noexcept = 0;
};

class function {
  public:
    // Reads what it is and where its registers are. For the length of sizing it does not answer to its addresses.
    function(config_space& space, address at) noexcept;
    function(const function&) = delete;

    const pci::address at;
    const k::u16 vendor, device;
    const k::u32 class_code; // class, subclass, interface

    k::u32 read(unsigned offset, unsigned width) const noexcept { return space_.read(at, offset, width); }
    void write(unsigned offset, unsigned width, k::u32 value) const noexcept { space_.write(at, offset, width, value); }
    bool is_present() const noexcept { return read(reg_vendor, 2) != nobody; }
    bool is_bridge() const noexcept { return kind_ == 1; }
    // Several functions at this slot?
    bool is_one_of_many() const noexcept { return many_; }

    // The place of the next capability of a kind behind `after` (0: the first); 0: there is none. It has room for
    // `bytes` before the end of the first 256.
    unsigned find_capability(k::u8 id, unsigned after = 0, unsigned bytes = 2) const noexcept;

    const bar& register_bar(unsigned index) const noexcept { return bars_[index]; }
    void forget_bar(unsigned index) noexcept { bars_[index] = {}; }
    // Maps part of a range, uncached. EINVAL: no such range, in ports, or it is shorter; ENOMEM.
    k::result<mem::register_window> map(unsigned index, k::u64 offset, k::u64 bytes) const noexcept;

    // What stands between it and memory, for its driver's tags; null: nothing.
    iommu::domain* domain() const noexcept { return domain_; }
    void set_domain(iommu::domain* d) noexcept { domain_ = d; }

    void set_user(mem::box<user> u) noexcept { user_ = std::move(u); }
    void let_go(bool gone) noexcept {
        if (user_) user_->let_go(gone);
    }

    // Turns command bits on and others off.
    void change_command(k::u16 on, k::u16 off) const noexcept;

  private:
    void read_bars() noexcept;
    bool size_bar(unsigned index, bool& takes_two) noexcept;

    config_space& space_;
    k::u8 kind_;
    bool many_;
    std::array<bar, most_bars> bars_{};
    mem::box<user> user_;
    iommu::domain* domain_ = nullptr;
};

// A function whose driver is attached: it answers to its addresses and may reach memory. Both end with this.
class attachment {
  public:
    attachment() = default;
    explicit attachment(function& f) noexcept : function_(&f) {
        f.change_command(command_memory | command_bus_master | command_no_pin_interrupt, 0);
    }
    attachment(attachment&& other) noexcept : function_(std::exchange(other.function_, nullptr)) {}
    attachment& operator=(attachment&& other) noexcept {
        std::swap(function_, other.function_);
        return *this;
    }
    ~attachment() {
        if (function_) function_->change_command(0, command_bus_master);
    }

  private:
    function* function_ = nullptr;
};

} // namespace pci
