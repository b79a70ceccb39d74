#include "drivers/block/partitions.h"

#include "kernel/mem/slab.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace block {

namespace {

constexpr k::u64 sector_bytes = 512;
constexpr std::size_t most_block_bytes = 4096;

using bytes = std::span<const std::byte>;

template <class T> T field(bytes from, std::size_t offset) noexcept {
    T value;
    std::memcpy(&value, from.data() + offset, sizeof(T));
    return value;
}

// The partitions found so far.
class finding {
  public:
    finding(k::u64 sectors, std::span<partition> to) noexcept : sectors_(sectors), to_(to) {}

    void add(unsigned number, k::u64 first, k::u64 count) noexcept {
        if (!count || first >= sectors_ || count > sectors_ - first) return;
        if (!number || number > to_.size() || found_ == to_.size()) return;
        for (const partition& p : to_.first(found_))
            if (p.number == number || (first < p.first + p.sectors && p.first < first + count)) return;
        to_[found_++] = {number, first, count};
    }
    unsigned count() const noexcept { return found_; }

  private:
    const k::u64 sectors_;
    std::span<partition> to_;
    unsigned found_ = 0;
};

class table_search {
  public:
    table_search(sector_reader& from, k::u64 sectors, k::u32 block_bytes, finding& to) noexcept
        : from_(from), blocks_(sectors * sector_bytes / block_bytes), block_bytes_(block_bytes), to_(to) {}
    ~table_search() { mem::free(room_); }

    k::status run() noexcept {
        room_ = static_cast<std::byte*>(mem::allocate(2 * most_block_bytes));
        if (!room_) return k::error::nomem;
        const bytes first = TRY(read_block(0, 0));
        if (!is_boot_record(first)) return {};
        // A table that keeps old programs away from a GPT.
        bool protects = false;
        for (unsigned i = 0; i < primaries; i++)
            protects |= field<k::u8>(first, entry_at(i) + 4) == type_gpt;
        if (!protects) return read_primaries(first);
        if (TRY(read_gpt(1))) return {};
        (void)TRY(read_gpt(blocks_ - 1));
        return {};
    }

  private:
    // --- MBR
    static constexpr unsigned primaries = 4, most_logicals = 128;
    static constexpr k::u8 type_gpt = 0xee;

    static constexpr std::size_t entry_at(unsigned i) { return 446 + 16 * std::size_t{i}; }
    static bool is_boot_record(bytes b) noexcept { return field<k::u16>(b, 510) == 0xaa55; }
    static bool is_extended(k::u8 type) noexcept { return type == 0x05 || type == 0x0f || type == 0x85; }

    k::u64 in_sectors(k::u64 blocks) const noexcept { return blocks * (block_bytes_ / sector_bytes); }

    k::status read_primaries(bytes table) noexcept {
        k::u64 chain = 0;
        for (unsigned i = 0; i < primaries; i++) {
            const k::u8 type = field<k::u8>(table, entry_at(i) + 4);
            const k::u32 first = field<k::u32>(table, entry_at(i) + 8), count = field<k::u32>(table, entry_at(i) + 12);
            if (!type) continue;
            if (is_extended(type)) {
                if (!chain) chain = first;
            } else {
                to_.add(i + 1, in_sectors(first), in_sectors(count));
            }
        }
        return chain ? read_logicals(chain) : k::status();
    }
    // Each link has one partition, counted from the link, and the next link, counted from the first one.
    k::status read_logicals(k::u64 start) noexcept {
        k::u64 link = start;
        for (unsigned n = 0; n < most_logicals && link < blocks_; n++) {
            const bytes table = TRY(read_block(link, 0));
            if (!is_boot_record(table)) return {};
            const k::u32 first = field<k::u32>(table, entry_at(0) + 8), count = field<k::u32>(table, entry_at(0) + 12);
            if (field<k::u8>(table, entry_at(0) + 4)) to_.add(5 + n, in_sectors(link + first), in_sectors(count));
            const k::u32 next = field<k::u32>(table, entry_at(1) + 8);
            if (!is_extended(field<k::u8>(table, entry_at(1) + 4)) || !next) return {};
            link = start + next;
        }
        return {};
    }

    // --- GPT
    static constexpr k::u32 least_header = 92, least_entry = 128, most_entry = 4096, most_entries = 1024;

    // False: there is no sound header there, or what it describes is not sound.
    k::result<bool> read_gpt(k::u64 at) noexcept {
        if (at >= blocks_) return false;
        const bytes header = TRY(read_block(at, 0));
        if (std::memcmp(header.data(), "EFI PART", 8) != 0) return false;
        const k::u32 size = field<k::u32>(header, 12);
        if (size < least_header || size > header.size()) return false;
        constexpr std::array<std::byte, 4> no_sum{};
        k::u32 sum = crc32(header.first(16));
        sum = crc32(no_sum, sum);
        if (crc32(header.subspan(20, size - 20), sum) != field<k::u32>(header, 16)) return false;
        if (field<k::u64>(header, 24) != at) return false;
        const k::u64 lowest = field<k::u64>(header, 40), highest = field<k::u64>(header, 48);
        const k::u64 entries = field<k::u64>(header, 72);
        const k::u32 count = field<k::u32>(header, 80), each = field<k::u32>(header, 84);
        const k::u32 wanted_sum = field<k::u32>(header, 88);
        if (lowest > highest || highest >= blocks_ || count > most_entries || each < least_entry || each > most_entry ||
            (each & (each - 1)))
            return false;
        const k::u64 length = (k::u64{count} * each + block_bytes_ - 1) / block_bytes_;
        if (!entries || entries >= blocks_ || length > blocks_ - entries) return false;
        // First the sum, then what it covers: both times as it is on the disk.
        if (TRY(walk_entries(entries, count, each, nullptr)) != wanted_sum) return false;
        const bounds within{lowest, highest};
        return TRY(walk_entries(entries, count, each, &within)) == wanted_sum;
    }

    struct bounds {
        k::u64 lowest, highest;
    };
    // The sum of all entries; those within bounds, if given, become partitions.
    k::result<k::u32> walk_entries(k::u64 at, k::u32 count, k::u32 each, const bounds* within) noexcept {
        k::u32 sum = 0;
        for (k::u32 i = 0; i < count;) {
            const k::u64 offset = k::u64{i} * each;
            const bytes block =
                TRY(read_block(at + offset / block_bytes_, 1, each > block_bytes_ ? each : block_bytes_));
            std::size_t in_block = offset % block_bytes_;
            for (; i < count && in_block + each <= block.size(); i++, in_block += each) {
                const bytes entry = block.subspan(in_block, each);
                sum = crc32(entry, sum);
                if (within) add_entry(i, entry, *within);
            }
        }
        return sum;
    }
    void add_entry(k::u32 index, bytes entry, const bounds& within) noexcept {
        constexpr std::array<std::byte, 16> unused{};
        const k::u64 first = field<k::u64>(entry, 32), last = field<k::u64>(entry, 40);
        if (std::memcmp(entry.data(), unused.data(), unused.size()) == 0) return;
        if (first > last || first < within.lowest || last > within.highest) return;
        to_.add(index + 1, in_sectors(first), in_sectors(last - first + 1));
    }

    // Into one of two places, so that a header stays while entries are read.
    k::result<bytes> read_block(k::u64 at, unsigned place, std::size_t size = 0) noexcept {
        const std::span to(room_ + place * most_block_bytes, size ? size : block_bytes_);
        if (at >= blocks_) return k::error::io;
        TRY(from_.read(in_sectors(at), to));
        return bytes(to);
    }

    sector_reader& from_;
    const k::u64 blocks_;
    const k::u32 block_bytes_;
    finding& to_;
    std::byte* room_ = nullptr;
};

constexpr auto crc_table = [] {
    std::array<k::u32, 256> table{};
    for (k::u32 i = 0; i < table.size(); i++) {
        k::u32 value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xedb8'8320 : value >> 1;
        table[i] = value;
    }
    return table;
}();

} // namespace

k::u32 crc32(std::span<const std::byte> all, k::u32 before) noexcept {
    k::u32 state = ~before;
    for (std::byte b : all)
        state = crc_table[(state ^ std::to_integer<k::u32>(b)) & 0xff] ^ state >> 8;
    return ~state;
}

k::result<unsigned> find_partitions(sector_reader& from, k::u64 sectors, k::u32 block_bytes,
                                    std::span<partition> to) noexcept {
    const bool can_hold_a_table = block_bytes >= sector_bytes && block_bytes <= most_block_bytes &&
                                  (block_bytes & (block_bytes - 1)) == 0 && sectors >= 4 * block_bytes / sector_bytes;
    if (!can_hold_a_table) return 0u;
    finding found(sectors, to);
    TRY(table_search(from, sectors, block_bytes, found).run());
    return found.count();
}

} // namespace block
