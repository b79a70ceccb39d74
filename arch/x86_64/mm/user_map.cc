// arch::user_map: loading a user address space on a CPU, forgetting translations, and copying through it. The
// tables themselves are arch/common/user_tables.
//
// Rule: a CPU notes itself in active() before it loads a map and strikes itself out after it has loaded another, so
// that whoever changes an entry and then reads active() misses no CPU that could have seen the old one.
#include "arch/machine.h"
#include "arch/x86_64/cpu/cpu_data.h"
#include "arch/x86_64/cpu/features.h"
#include "arch/x86_64/cpu/instructions.h"
#include "arch/x86_64/mm/page_table.h"

#include <algorithm>
#include <cstring>

extern "C" std::size_t arch_zero_catching(void* to, std::size_t bytes);

namespace arch {

namespace {

using namespace x86;

constexpr std::size_t many_pages = 32; // from here on forgetting everything is cheaper
constexpr unsigned kernel_half = 256;  // the first entry of the top table that is the kernel's

} // namespace

void user_map::set_table_source(paddr (*take)(), void (*give)(paddr)) noexcept {
    set_frame_source({take, give});
    if (!features.no_execute) do_without_no_execute();
}

bool user_map::create() {
    if (!user_tables::create()) return false;
    std::memcpy(top() + kernel_half, table_at(kernel_top) + kernel_half, kernel_half * sizeof(table_entry));
    return true;
}

void user_map::activate() noexcept {
    cpu_data& cpu = this_cpu();
    user_map* const before = cpu.loaded_map;
    if (before == this) return;
    active_.fetch_or(1u << cpu.id);
    cpu.loaded_map = this;
    write_cr3(memory::physical(top()));
    if (before) before->active_.fetch_and(~(1u << cpu.id));
}

void user_map::deactivate() noexcept {
    cpu_data& cpu = this_cpu();
    user_map* const before = cpu.loaded_map;
    if (!before) return;
    cpu.loaded_map = nullptr;
    write_cr3(kernel_top);
    before->active_.fetch_and(~(1u << cpu.id));
}

void user_map::leave(user_map& map) noexcept {
    if (this_cpu().loaded_map == &map) deactivate();
}

void user_map::flush_here(vaddr va, std::size_t pages) noexcept {
    if (pages == 0 || pages > many_pages) return write_cr3(read_cr3()); // the kernel's are global: they stay
#pragma GCC unroll 4
    for (std::size_t i = 0; i < pages; i++)
        invalidate_page(va + i * page_size);
}

std::size_t user_map::zero_out(vaddr to, std::size_t bytes) noexcept {
    const std::size_t good = to < user_end ? std::min<std::size_t>(bytes, user_end - to) : 0;
    return arch_zero_catching(reinterpret_cast<void*>(to), good) + (bytes - good);
}

} // namespace arch
