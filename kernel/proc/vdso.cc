#include "kernel/proc/vdso.h"

#include "arch/machine.h"
#include "kernel/lib/log.h"
#include "kernel/proc/clock.h"

namespace proc {

namespace {

using arch::user_clock;

bool wanted = true;

// Set at boot and kept for ever; none: there is no vDSO.
struct objects {
    vm::object* clock = nullptr;
    vm::object* code = nullptr;
    k::u64 code_bytes = 0;
} kept;

user_clock& clock_in(std::span<std::byte> page) {
    return *reinterpret_cast<user_clock*>(page.data());
}

k::status make(std::span<const std::byte> image) {
    k::ref<vm::object> clock = TRY(vm::object::anonymous(1)), code = TRY(vm::object::of_bytes(image));
    const ktime::ns ahead = ktime::realtime_offset();
    TRY(clock->change_page(0, [ahead](std::span<std::byte> page) {
        arch::user_context::describe_clock(clock_in(page));
        clock_in(page).realtime_offset = ahead;
    }));
    kept = {clock.release(), code.release(), k::align_up<k::u64>(image.size(), arch::page_size)};
    return {};
}

} // namespace

void initialise_vdso() noexcept {
    const auto image = arch::user_context::vdso();
    if (!wanted || image.empty()) return;
    if (const k::status made = make(image); !made) k::log("vdso: {}\n", made.error());
}

void switch_vdso_off() noexcept {
    wanted = false;
}

k::result<xio::user_address> map_vdso(vm::space& into, xio::user_address wish) noexcept {
    if (!kept.code) return xio::user_address{0};
    // Room for both; then the code takes the place of all but the first page.
    vm::map_request clock{.hint = wish, .bytes = arch::user_clock_bytes + kept.code_bytes, .access = arch::user_read};
    clock.what = k::ref<vm::object>::to(*kept.clock);
    clock.most_access = arch::user_read;
    const xio::user_address base = TRY(into.map(clock)), at = base + arch::user_clock_bytes;
    vm::map_request code{.hint = at, .bytes = kept.code_bytes, .access = arch::user_read | arch::user_execute};
    code.what = k::ref<vm::object>::to(*kept.code);
    code.fixed = true;
    TRY(into.map(code));
    return at;
}

k::status change_realtime_offset(ktime::ns to) noexcept {
    if (!kept.clock) {
        ktime::set_realtime_offset(to);
        return {};
    }
    // A program that sees the odd number makes the system call. So the kernel's number changes while it is odd: nobody
    // who has had the new time from either is told the old one by the other.
    return kept.clock->change_page(0, [&](std::span<std::byte> page) {
        user_clock& clock = clock_in(page);
        std::atomic_ref<k::u32> sequence(clock.sequence);
        const k::u32 before = sequence.load(std::memory_order_relaxed);
        sequence.store(before + 1, std::memory_order_seq_cst);
        std::atomic_ref<k::u64>(clock.realtime_offset).store(to, std::memory_order_relaxed);
        ktime::set_realtime_offset(to);
        sequence.store(before + 2, std::memory_order_release);
    });
}

} // namespace proc
