// busdma::tag: what a device can reach, and what it takes in one transfer. Read busdma.h first.
#pragma once

#include "arch/machine.h"
#include "kernel/lib/types.h"

#include <bit>

namespace iommu {
class domain;
}

namespace busdma {

struct tag {
    unsigned address_bits = 64; // addresses that need more are out of reach
    k::u64 alignment = 1;       // of each segment's address
    k::u64 boundary = 0;        // that no segment crosses; 0: none
    k::u64 segments = 1;        // how many in one transfer
    k::u64 segment_bytes = 0;   // the longest; 0: no limit
    k::u64 bytes = 0;           // the most in one transfer; 0: no limit
    // Where one segment ends and the next begins: at a multiple of this (NVMe's page lists). Above 1, no less than the
    // alignment.
    k::u64 joint = 1;
    // What stands between the device and memory, and is told what it may reach; null: it reaches all.
    iommu::domain* domain = nullptr;

    // A tag that can be kept: powers of two that fit each other, none of the small ones above a page.
    constexpr bool is_sound() const {
        return address_bits > arch::page_shift && address_bits <= 64 && std::has_single_bit(alignment) &&
               alignment <= arch::page_size && std::has_single_bit(joint) && joint <= arch::page_size &&
               (joint == 1 || joint >= alignment) &&
               (!boundary || (std::has_single_bit(boundary) && boundary >= alignment && boundary >= joint)) &&
               segments && (!segment_bytes || (segment_bytes >= alignment && segment_bytes >= joint));
    }
    // The last address within reach.
    constexpr k::u64 highest() const { return address_bits == 64 ? ~k::u64{0} : (k::u64{1} << address_bits) - 1; }
    // The longest segment from a place on: neither too long nor across a boundary, and the next begins well.
    constexpr k::u64 room_at(arch::paddr at) const {
        k::u64 room = segment_bytes ? k::align_down(segment_bytes, std::max(alignment, joint)) : ~k::u64{0};
        if (joint > 1 && segment_bytes) room -= at & (joint - 1);
        if (boundary) room = std::min(room, boundary - (at & (boundary - 1)));
        return room;
    }
};

} // namespace busdma
