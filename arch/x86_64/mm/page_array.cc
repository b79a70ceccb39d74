// The list of free memory as the kernel sees it, and the array with one element a frame.
#include "arch/x86_64/mm/layout.h"
#include "arch/x86_64/mm/page_table.h"
#include "arch/x86_64/mm/physical.h"
#include "kernel/lib/log.h"

#include <algorithm>

namespace arch {

namespace x86 {

namespace {

constexpr u64 large_page = u64{1} << 21;

// Backs the array's bytes [base, end) that are not backed yet. Large pages where a whole one is wanted and
// to be had. False: out of memory.
bool back_array(u64& backed_to, u64 base, u64 end) {
    base = std::max(base, backed_to);
    while (base < end) {
        const bool wants_large = k::is_aligned(base, large_page) && end - base >= large_page;
        u64 bytes = wants_large ? large_page : u64{page_size};
        paddr frame = take_frames(bytes);
        if (!frame && wants_large) frame = take_frames(bytes = page_size);
        if (!frame) return false;
        map_early(base, frame, bytes, flags_data, wants_large ? 1 : 0);
        base += bytes;
    }
    backed_to = std::max(backed_to, base);
    return true;
}

} // namespace

} // namespace x86

std::span<const region> memory::regions() noexcept {
    return x86::usable.view();
}

std::uint64_t memory::frame_limit() noexcept {
    const auto runs = regions();
    return runs.empty() ? 0 : (runs.back().base + runs.back().size) >> page_shift;
}

void* memory::map_page_array(std::size_t element_bytes) {
    using namespace x86;
    // The frames that back the array come out of the very list: walk a copy, a little backing too much does no harm.
    const region_list before = usable;
    u64 backed_to = page_array_base;
    for (const region& r : before.view()) {
        const u64 first = r.base >> page_shift, last = (r.base + r.size) >> page_shift;
        if (last > (page_array_end - page_array_base) / element_bytes) return nullptr;
        const u64 base = k::align_down<u64>(page_array_base + first * element_bytes, page_size);
        const u64 end = k::align_up<u64>(page_array_base + last * element_bytes, page_size);
        if (!back_array(backed_to, base, end)) return nullptr;
    }
    return reinterpret_cast<void*>(page_array_base);
}

} // namespace arch
