// A pair of NVMe queues (4.1, 4.6): commands go into one, answers come out of the other. It belongs to one CPU, or to
// one thread before there are requests.
#pragma once

#include "drivers/busdma/busdma.h"
#include "drivers/nvme/port.h"

namespace nvme {

// Where bytes lie, or a list of these (SGL, 4.4).
struct descriptor {
    k::u64 address;
    k::u32 bytes;
    k::u8 reserved[3];
    k::u8 type;
};
static_assert(sizeof(descriptor) == 16);
constexpr k::u8 descriptor_of_data = 0x00, descriptor_of_list = 0x30; // the last one of a chain

struct command {
    k::u8 opcode = 0;
    k::u8 flags = 0;
    k::u16 id = 0;
    k::u32 name_space = 0;
    k::u64 unused = 0, metadata = 0;
    k::u64 pages[2] = {}; // PRP 1 and 2, or a descriptor
    k::u32 words[6] = {}; // 10 to 15
};
static_assert(sizeof(command) == 64);
constexpr k::u8 has_descriptor = 1u << 6; // of the flags

struct answer {
    k::u32 result, unused;
    k::u16 queue_head, queue;
    k::u16 id;
    k::u16 status; // with the phase in its low bit

    // 0: it went well.
    unsigned code() const { return status >> 1 & 0x7ff; }
};
static_assert(sizeof(answer) == 16);

class ring {
  public:
    static constexpr k::u16 size = 64; // more than there ever are at once, so that it is never full

    k::status create(const busdma::tag& t, port& bus, unsigned number, unsigned doorbell_bytes) noexcept; // ENOMEM
    // As it was made. The device does not use it.
    void clear() noexcept;

    arch::paddr commands() const noexcept { return memory_.address(); }
    arch::paddr answers() const noexcept { return memory_.address() + size * sizeof(command); }
    unsigned number() const noexcept { return number_; }

    void put(const command& c) noexcept;
    // The next answer, if there is one.
    bool take(answer& out) noexcept;
    // Tells the device which answers were taken.
    void acknowledge() noexcept;

  private:
    port* bus_ = nullptr;
    unsigned number_ = 0, submission_bell_ = 0, completion_bell_ = 0;
    busdma::memory memory_;
    k::u16 tail_ = 0, head_ = 0, acknowledged_ = 0;
    bool phase_ = true;
};

} // namespace nvme
