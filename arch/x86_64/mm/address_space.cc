#include "arch/x86_64/mm/address_space.h"

#include "arch/x86_64/boot/image.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/mm/layout.h"
#include "arch/x86_64/mm/page_table.h"
#include "arch/x86_64/mm/physical.h"
#include "kernel/lib/log.h"
#include "kernel/lib/panic.h"

#include <algorithm>

namespace arch::x86 {

namespace {

u64 window_next = window_base;

void map_image_part(const char* start, const char* end, u64 flags) {
    map_early(reinterpret_cast<u64>(start), image_physical(start), static_cast<u64>(end - start), flags, 0);
}

// RAM at its fixed place. Debug builds use small pages only, for protect_direct() to take one page at a time.
void map_direct(paddr base, paddr end, u64 flags) {
    const unsigned largest = k::debug_build ? 0 : features.gigabyte_pages ? 2 : 1;
    if (base < end) map_early(direct_base + base, base, end - base, flags, largest);
}

// The image's text and rodata are not writable by this way either.
void map_direct_run(const region& r) {
    paddr base = r.base;
    const auto map_to = [&](paddr to, u64 flags) {
        const paddr end = std::clamp(to, base, r.base + r.size);
        map_direct(base, end, flags);
        base = end;
    };
    map_to(image_physical(image_text_start), flags_data);
    if (!image_has_tests) {
        map_to(image_physical(image_tests_start), flags_read);
        map_to(image_physical(image_tests_end), flags_data);
    }
    map_to(image_physical(image_rodata_end), flags_read);
    map_to(r.base + r.size, flags_data);
}

void unmap_guard(const char* page) {
    const found_leaf found = find_leaf(reinterpret_cast<u64>(page));
    kassert(found.entry && found.level == 0);
    *found.entry = 0;
}

// Room in the window, with an unmapped page before it.
u64 take_window(u64 bytes) {
    const u64 va = window_next + page_size;
    if (bytes > window_base + window_size - va) return 0;
    window_next = va + bytes;
    return va;
}

} // namespace

void enter_kernel_address_space() {
    kernel_top = take_table();
    map_image_part(image_text_start, image_has_tests ? image_text_end : image_tests_start, flags_text);
    map_image_part(image_has_tests ? image_rodata_start : image_tests_end, image_rodata_end, flags_read);
    map_image_part(image_data_start, image_end, flags_data);
    unmap_guard(arch_boot_stack_guard);

    // Taking tables cuts `usable`, not `ram`: this list stands still.
    for (const region& r : ram.view())
        map_direct_run(r);
    make_slots(window_base, window_size);
    make_slots(kernel_map_base, kernel_map_size);

    enable_protections();
    write_cr3(kernel_top);
    use_direct_map();
}

void* map_device(paddr pa, u64 bytes, device_memory kind) {
    const paddr base = k::align_down<u64>(pa, page_size);
    if (bytes == 0 || bytes > 1u << 24 || pa > (u64{1} << features.physical_bits) - bytes) return nullptr;
    const u64 size = k::align_up<u64>(pa + bytes, page_size) - base;
    const u64 va = take_window(size);
    if (!va) return nullptr;
    map_early(va, base, size, kind == device_memory::registers ? flags_device : flags_read, 0);
    return reinterpret_cast<void*>(va + (pa - base));
}

u64 make_stack(u64 bytes) {
    const u64 va = take_window(bytes);
    for (u64 offset = 0; va && offset < bytes; offset += page_size) {
        const paddr frame = take_frames(page_size);
        if (!frame) k::panic("boot: no memory left for stacks");
        map_early(va + offset, frame, page_size, flags_data, 0);
    }
    return va + bytes;
}

} // namespace arch::x86
