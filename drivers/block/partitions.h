// What a partition table says: GPT (UEFI 5.3) or MBR with its chain of logical partitions (UEFI 5.2.1). A table is a
// stranger's: nothing in it is believed before it was checked, no size or count of it is allocated, and no chain is
// followed for ever. What lies outside of the disk or over another partition is left out.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lib/types.h"

#include <span>

namespace block {

// Where the table is read from.
class sector_reader {
  public:
    // Whole blocks of the disk from a sector of 512 bytes on.
    virtual k::status read(k::u64 sector, std::span<std::byte> to) noexcept = 0;

  protected:
    ~sector_reader() = default;
};

struct partition {
    unsigned number; // as in its name
    k::u64 first, sectors;
};

// Finds at most to.size() partitions, by number; numbers beyond to.size() are left out. 0: there is no table. EIO as
// from the reader; ENOMEM. Thread context.
k::result<unsigned> find_partitions(sector_reader& from, k::u64 sectors, k::u32 block_bytes,
                                    std::span<partition> to) noexcept;

// The sum of GPT's headers (CRC-32 of IEEE 802.3), continued from the sum of what came before.
k::u32 crc32(std::span<const std::byte> bytes, k::u32 before = 0) noexcept;

} // namespace block
