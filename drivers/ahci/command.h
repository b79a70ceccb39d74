// What a port and its disk read and write in memory (AHCI 1.3.1, 4.2; Serial ATA 3.2, 10.5), and the ATA commands that
// are used (ATA8-ACS).
#pragma once

#include "drivers/busdma/busdma.h"

namespace ahci {

enum ata_command : k::u8 {
    ata_manage_data = 0x06, // TRIM
    ata_read = 0x25,        // READ DMA EXT
    ata_write = 0x35,
    ata_read_log = 0x2f,      // READ LOG EXT
    ata_write_through = 0x3d, // WRITE DMA FUA EXT
    ata_read_queued = 0x60,   // READ FPDMA QUEUED
    ata_write_queued = 0x61,
    ata_flush = 0xea, // FLUSH CACHE EXT
    ata_identify = 0xec,
};

// The log of errors of queued commands (ATA8-ACS A.15, now ACS-4 9.14), whose bytes sum up to zero. Reading it ends the
// state in which the device refuses everything else.
constexpr k::u8 log_of_queued_errors = 0x10, log_not_queued = 0x80, log_tag = 0x1f;

struct command_header {
    k::u16 flags; // with the length of the FIS, in words
    k::u16 regions;
    k::u32 moved; // bytes; the controller counts them, but not of queued commands
    k::u64 table;
    k::u32 reserved[4];
};
static_assert(sizeof(command_header) == 32);
constexpr k::u16 header_fis_words = 5, header_writes = 1u << 6;

// To the device.
struct register_fis {
    k::u8 type = 0x27;
    k::u8 flags = 0x80; // it is a command
    k::u8 command = 0, features = 0;
    k::u8 address[3] = {}, device = 0;
    k::u8 address_high[3] = {}, features_high = 0;
    k::u8 count = 0, count_high = 0, icc = 0, control = 0;
    k::u8 reserved[4] = {};
};
static_assert(sizeof(register_fis) == 20);
constexpr k::u8 device_by_address = 1u << 6, device_force_access = 1u << 7;

struct region {
    k::u64 address;
    k::u32 reserved;
    k::u32 last; // the length less one
};
static_assert(sizeof(region) == 16);

// One for each slot.
struct command_table {
    static constexpr unsigned most_regions = (arch::page_size - 128) / sizeof(region);
    register_fis fis;
    k::u8 unused[108];
    region regions[most_regions];
};
static_assert(sizeof(command_table) == arch::page_size && command_table::most_regions == 248);

// What comes from the device: only the register FIS is looked at, and only its type.
constexpr std::size_t received_bytes = 256, received_register = 0x40;
constexpr k::u8 type_from_device = 0x34;

// Fills a FIS with a command for sectors of the disk.
inline register_fis make_fis(ata_command what, k::u64 first, k::u32 count) {
    register_fis f;
    f.command = what;
    f.device = device_by_address;
    for (unsigned i = 0; i < 3; i++) {
        f.address[i] = static_cast<k::u8>(first >> 8 * i);
        f.address_high[i] = static_cast<k::u8>(first >> (24 + 8 * i));
    }
    f.count = static_cast<k::u8>(count); // 65,536 is written as 0
    f.count_high = static_cast<k::u8>(count >> 8);
    return f;
}
// The same for a queued command, where the count has another place.
inline register_fis make_queued_fis(ata_command what, k::u64 first, k::u32 count, unsigned tag) {
    register_fis f = make_fis(what, first, 0);
    f.features = static_cast<k::u8>(count);
    f.features_high = static_cast<k::u8>(count >> 8);
    f.count = static_cast<k::u8>(tag << 3);
    return f;
}

} // namespace ahci
