#include "drivers/pci/message_interrupts.h"

#include <algorithm>

namespace pci {

namespace {

constexpr unsigned control = 2; // offset in either capability
// MSI-X.
constexpr k::u32 msix_enable = 1u << 15, msix_mask_all = 1u << 14, msix_count = 0x7ff;
constexpr unsigned msix_table = 4, msix_bytes = 12, entry_bytes = 16;
constexpr k::u32 entry_masked = 1;
// MSI.
constexpr k::u32 msi_enable = 1, msi_64_bits = 1u << 7, msi_many = 7u << 4;
constexpr unsigned msi_address = 4, msi_bytes = 14;

} // namespace

message_interrupts& message_interrupts::operator=(message_interrupts&& other) noexcept {
    std::swap(function_, other.function_);
    std::swap(place_, other.place_);
    std::swap(count_, other.count_);
    std::swap(table_, other.table_);
    std::swap(lines_, other.lines_);
    return *this;
}

k::result<message_interrupts> message_interrupts::create(const function& f) noexcept {
    message_interrupts made;
    made.function_ = &f;
    if (const unsigned place = f.find_capability(capability_msix, 0, msix_bytes)) {
        TRY(made.find_table(place));
        return made;
    }
    made.place_ = f.find_capability(capability_msi, 0, msi_bytes);
    if (!made.place_) return k::error::nxio;
    made.count_ = 1;
    return made;
}

k::status message_interrupts::find_table(unsigned place) noexcept {
    const k::u32 has = function_->read(place + control, 2);
    const k::u32 where = function_->read(place + msix_table, 4);
    count_ = std::min((has & msix_count) + 1, most);
    auto table = function_->map(where & 7, where & ~k::u32{7}, k::u64{count_} * entry_bytes);
    if (!table) return table.error() == k::error::inval ? k::error::nxio : table.error();
    table_ = *std::move(table);
    place_ = place;
    function_->write(place + control, 2, (has & ~msix_mask_all) | msix_enable | msix_mask_all);
    for (unsigned i = 0; i < count_; i++)
        table_.at<k::u32>(i * entry_bytes + 12) = entry_masked;
    function_->write(place + control, 2, (has & ~msix_mask_all) | msix_enable);
    return {};
}

k::status message_interrupts::connect(unsigned index, unsigned cpu, lwkt::interrupt_handler handler,
                                      void* argument) noexcept {
    kassert(index < count_ && !lines_[index]);
    lines_[index] = TRY(lwkt::interrupt::connect(cpu, handler, argument));
    const arch::interrupt_message m = lines_[index].message();
    const auto low = static_cast<k::u32>(m.address), high = static_cast<k::u32>(m.address >> 32);
    if (table_) {
        const unsigned entry = index * entry_bytes;
        table_.at<k::u32>(entry) = low;
        table_.at<k::u32>(entry + 4) = high;
        table_.at<k::u32>(entry + 8) = m.data;
        table_.at<k::u32>(entry + 12) = 0;
        return {};
    }
    const k::u32 has = function_->read(place_ + control, 2);
    if (high && !(has & msi_64_bits)) return k::error::nxio;
    function_->write(place_ + msi_address, 4, low);
    if (has & msi_64_bits) function_->write(place_ + msi_address + 4, 4, high);
    function_->write(place_ + msi_address + (has & msi_64_bits ? 8 : 4), 2, m.data);
    function_->write(place_ + control, 2, (has & ~msi_many) | msi_enable);
    return {};
}

void message_interrupts::disable() noexcept {
    if (!place_) return;
    const k::u32 has = function_->read(place_ + control, 2);
    function_->write(place_ + control, 2, has & ~(table_ ? msix_enable : msi_enable));
    place_ = 0;
    for (lwkt::interrupt& line : lines_)
        line = {};
}

} // namespace pci
