#include "arch/x86_64/mm/physical.h"

#include "arch/x86_64/boot/boot_info.h"
#include "arch/x86_64/boot/image.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/mm/layout.h"
#include "kernel/lib/log.h"
#include "kernel/lib/panic.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace arch::x86 {

region_list ram;
region_list usable;
paddr low_frame;

namespace {

constexpr u64 first_mebibyte = 1u << 20;
constexpr u64 early_limit = u64{1} << 32; // the early tables map no more
u64 early_offset;                         // from a physical address to where it is mapped now

void remove_pages(region_list& list, u64 base, u64 size) {
    const u64 start = k::align_down<u64>(base, page_size);
    u64 end;
    if (__builtin_add_overflow(base, size, &end) || end > ~u64{0} - page_size)
        end = ~u64{0};
    else
        end = k::align_up<u64>(end, page_size);
    if (size) list.remove(start, end - start);
}

void drop_module(std::size_t index, const char* why) {
    const module_info& module = loaded.modules[index];
    k::log("boot: module {} at {:x} {}: ignored\n", std::string_view(module.name.data(), module.name_length),
           module.base, why);
    std::copy(loaded.modules.begin() + index + 1, loaded.modules.begin() + loaded.module_count,
              loaded.modules.begin() + index);
    loaded.module_count--;
}

void exclude_modules() {
    for (std::size_t i = 0; i < loaded.module_count;) {
        const module_info& module = loaded.modules[i];
        const u64 size = k::align_up<u64>(module.size, page_size);
        if (size && !usable.contains(module.base, size)) {
            drop_module(i, "does not lie in free memory");
            continue;
        }
        remove_pages(usable, module.base, module.size);
        i++;
    }
}

void choose_low_frame() {
    // Not page 0, and nothing that the firmware keeps at the top of the first 640 KiB.
    for (const region& r : usable.view())
        if (r.base > 0 ? r.base < 0x9f000 : r.size > page_size)
            low_frame = std::min<u64>(r.base + r.size, 0x9f000) - page_size;
}

} // namespace

paddr image_physical(const void* symbol) {
    return reinterpret_cast<u64>(symbol) - image_base + image_moved_by;
}

void find_memory() {
    const u64 limit = std::min(physical_limit, u64{1} << features.physical_bits);
    const std::span<const memory_map_entry> map(loaded.memory.data(), loaded.memory_count);
    region_list reclaimable;
    for (const memory_map_entry& e : map) {
        if (e.type == memory_available || e.type == memory_acpi_reclaimable) ram.add(e.base, e.size);
        if (e.type == memory_acpi_reclaimable) reclaimable.add(e.base, e.size);
    }
    for (const memory_map_entry& e : map)
        if (e.type != memory_available && e.type != memory_acpi_reclaimable) remove_pages(ram, e.base, e.size);
    ram.trim(limit);

    usable = ram;
    for (const region& r : reclaimable.view())
        remove_pages(usable, r.base, r.size);
    const paddr image = image_physical(image_text_start);
    remove_pages(usable, image, image_physical(image_end) - image);
    exclude_modules(); // UEFI machines may have them in the first MiB
    choose_low_frame();
    usable.remove(0, first_mebibyte);
    if (usable.view().empty()) k::panic("boot: no usable memory");
}

void let_tests_go() {
    const paddr base = image_physical(image_tests_start);
    const u64 size = image_physical(image_tests_end) - base;
    if (!ram.contains(base, size)) return; // the loader's map does not know where it put the image
    usable.add(base, size);
    image_has_tests = false;
}

paddr take_frames(u64 bytes, u64 limit) {
    const u64 alignment = std::has_single_bit(bytes) ? bytes : page_size;
    if (!early_offset) limit = std::min(limit, early_limit);
    const auto runs = usable.view();
    for (std::size_t i = runs.size(); i-- > 0;) {
        const u64 end = std::min(runs[i].base + runs[i].size, limit);
        if (end < bytes) continue;
        const u64 base = k::align_down(end - bytes, alignment);
        if (base < runs[i].base) continue;
        usable.remove(base, bytes);
        std::memset(early_address(base), 0, bytes);
        return base;
    }
    return 0;
}

paddr take_table() {
    // Below 4 GiB, where the early tables reach and a starting CPU's cr3 too.
    const paddr frame = take_frames(page_size, early_limit);
    if (!frame) k::panic("boot: no memory left for page tables");
    return frame;
}

void* early_address(paddr pa) {
    return reinterpret_cast<void*>(early_offset + pa);
}

void use_direct_map() {
    early_offset = direct_base;
}

} // namespace arch::x86
