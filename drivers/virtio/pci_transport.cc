#include "drivers/virtio/pci_transport.h"

namespace virtio {

namespace {

constexpr k::u16 vendor_virtio = 0x1af4;
constexpr k::u16 first_old = 0x1000, first_modern = 0x1040;

// Kinds of capability (4.1.4) and their fields.
enum capability_kind : k::u8 { kind_common = 1, kind_notify = 2, kind_config = 4 };
constexpr unsigned cap_kind = 3, cap_bar = 4, cap_offset = 8, cap_length = 12, cap_multiplier = 16;
constexpr unsigned capability_bytes = 16, notify_capability_bytes = 20;

// Common registers (4.1.4.3).
enum common_register : unsigned {
    device_feature_select = 0,
    device_feature = 4,
    driver_feature_select = 8,
    driver_feature = 12,
    config_vector = 16,
    num_queues = 18,
    device_status = 20,
    generation = 21,
    queue_select = 22,
    queue_length = 24,
    queue_vector = 26,
    queue_enable = 28,
    queue_notify_place = 30,
    queue_descriptors = 32,
    queue_available = 40,
    queue_used = 48,
    common_bytes = 56,
};
constexpr k::u16 no_vector = 0xffff;

} // namespace

bool is_on(const pci::function& f, k::u16 device) noexcept {
    if (f.vendor != vendor_virtio) return false;
    if (f.device == first_modern + device) return true;
    // What can do both has an old number; the subsystem says what it is.
    return f.device >= first_old && f.device < first_modern && f.read(pci::reg_subsystem, 2) == device;
}

k::result<mem::box<pci_transport>> pci_transport::create(pci::function& f) noexcept {
    auto made = mem::make_box<pci_transport>(f);
    if (!made) return k::error::nomem;
    TRY(made->find_registers());
    return made;
}

// The first capability of a kind whose range can be mapped.
k::result<mem::register_window> pci_transport::map_capability(k::u8 kind, std::size_t least, unsigned* where) noexcept {
    const unsigned needs = where ? notify_capability_bytes : capability_bytes;
    unsigned place = 0;
    while ((place = function_.find_capability(pci::capability_vendor, place, needs))) {
        if (function_.read(place + cap_kind, 1) != kind) continue;
        const k::u32 length = function_.read(place + cap_length, 4);
        if (length < least) continue;
        constexpr k::u32 most = 1 << 20; // of which anything is used
        auto window = function_.map(function_.read(place + cap_bar, 1), function_.read(place + cap_offset, 4),
                                    std::min(length, most));
        if (!window && window.error() == k::error::inval) continue;
        if (where) *where = place;
        return window;
    }
    return k::error::opnotsupp;
}

k::status pci_transport::find_registers() noexcept {
    unsigned place = 0;
    common_ = TRY(map_capability(kind_common, common_bytes));
    notify_ = TRY(map_capability(kind_notify, 2, &place));
    notify_multiplier_ = function_.read(place + cap_multiplier, 4);
    config_ = TRY(map_capability(kind_config, 1));
    interrupts_ = TRY(pci::message_interrupts::create(function_));
    if (!interrupts_.has_table()) return k::error::opnotsupp;
    return {};
}

k::u64 pci_transport::device_features() noexcept {
    k::u64 features = 0;
    for (k::u32 half = 0; half < 2; half++) {
        common_.at<k::u32>(device_feature_select) = half;
        features |= k::u64{common_.at<k::u32>(device_feature)} << (32 * half);
    }
    return features;
}

void pci_transport::set_driver_features(k::u64 features) noexcept {
    for (k::u32 half = 0; half < 2; half++) {
        common_.at<k::u32>(driver_feature_select) = half;
        common_.at<k::u32>(driver_feature) = static_cast<k::u32>(features >> (32 * half));
    }
}

k::u8 pci_transport::status() noexcept {
    return common_.at<k::u8>(device_status);
}

void pci_transport::set_status(k::u8 bits) noexcept {
    common_.at<k::u8>(device_status) = bits;
}

k::u32 pci_transport::read_config(unsigned offset, unsigned width) noexcept {
    if (offset + width > config_.size()) return 0;
    switch (width) {
    case 1: return config_.at<k::u8>(offset);
    case 2: return config_.at<k::u16>(offset);
    default: return config_.at<k::u32>(offset);
    }
}

k::u8 pci_transport::config_generation() noexcept {
    return common_.at<k::u8>(generation);
}

unsigned pci_transport::queue_count() noexcept {
    return std::min({unsigned{common_.at<k::u16>(num_queues)}, interrupts_.count(), most_queues});
}

k::u16 pci_transport::queue_size(unsigned q) noexcept {
    common_.at<k::u16>(queue_select) = static_cast<k::u16>(q);
    return common_.at<k::u16>(queue_length);
}

void pci_transport::write_address(unsigned offset, arch::paddr address) noexcept {
    common_.at<k::u32>(offset) = static_cast<k::u32>(address);
    common_.at<k::u32>(offset + 4) = static_cast<k::u32>(address >> 32);
}

k::status pci_transport::start_queue(unsigned q, k::u16 size, const queue_place& where, unsigned cpu,
                                     lwkt::interrupt_handler handler, void* argument) noexcept {
    if (!interrupts_.is_on()) interrupts_ = TRY(pci::message_interrupts::create(function_)); // after a reset
    common_.at<k::u16>(config_vector) = no_vector;
    common_.at<k::u16>(queue_select) = static_cast<k::u16>(q);
    const k::u64 bell = k::u64{common_.at<k::u16>(queue_notify_place)} * notify_multiplier_;
    if (bell + 2 > notify_.size() || bell % 2) return k::error::opnotsupp;
    notify_place_[q] = static_cast<k::u32>(bell);
    TRY(interrupts_.connect(q, cpu, handler, argument));
    common_.at<k::u16>(queue_length) = size;
    common_.at<k::u16>(queue_vector) = static_cast<k::u16>(q);
    if (common_.at<k::u16>(queue_vector) != q) return k::error::nospc; // the device has no room for it
    write_address(queue_descriptors, where.descriptors);
    write_address(queue_available, where.available);
    write_address(queue_used, where.used);
    common_.at<k::u16>(queue_enable) = 1;
    return {};
}

void pci_transport::notify(unsigned q) noexcept {
    notify_.at<k::u16>(notify_place_[q]) = static_cast<k::u16>(q);
}

} // namespace virtio
