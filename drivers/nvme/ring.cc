#include "drivers/nvme/ring.h"

#include <cstring>

namespace nvme {

k::status ring::create(const busdma::tag& t, port& bus, unsigned number, unsigned doorbell_bytes) noexcept {
    bus_ = &bus;
    number_ = number;
    submission_bell_ = reg_doorbells + 2 * number * doorbell_bytes;
    completion_bell_ = submission_bell_ + doorbell_bytes;
    if (completion_bell_ + 4 > bus.size()) return k::error::opnotsupp;
    memory_ = TRY(busdma::memory::create(t, size * (sizeof(command) + sizeof(answer))));
    return {};
}

void ring::clear() noexcept {
    std::memset(memory_.data(), 0, size * (sizeof(command) + sizeof(answer)));
    tail_ = head_ = acknowledged_ = 0;
    phase_ = true;
}

void ring::put(const command& c) noexcept {
    std::memcpy(memory_.data() + tail_ * sizeof(command), &c, sizeof(c));
    tail_ = (tail_ + 1) % size;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    bus_->write(submission_bell_, tail_);
}

// An answer is there when its phase is the one of this round; what else it says is read after that.
bool ring::take(answer& out) noexcept {
    std::byte* at = memory_.data() + size * sizeof(command) + head_ * sizeof(answer);
    auto& status = *reinterpret_cast<k::u16*>(at + offsetof(answer, status));
    const k::u16 seen = std::atomic_ref(status).load(std::memory_order_acquire);
    if ((seen & 1) != phase_) return false;
    std::memcpy(&out, at, sizeof(out));
    std::atomic_signal_fence(std::memory_order_seq_cst); // once: the device may change it
    head_ = (head_ + 1) % size;
    if (head_ == 0) phase_ = !phase_;
    return true;
}

void ring::acknowledge() noexcept {
    if (head_ == acknowledged_) return;
    acknowledged_ = head_;
    bus_->write(completion_bell_, head_);
}

} // namespace nvme
