#include "kernel/proc/signal_frame.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/group.h"

#include <cstring>

namespace proc {

namespace {

constexpr k::u64 red_zone = 128;

enum flag : k::u64 {
    carry = 1,
    parity = 4,
    adjust = 0x10,
    zero = 0x40,
    sign = 0x80,
    trap = 0x100,
    direction = 0x400,
    overflow = 0x800,
    resume = 0x1'0000,
    alignment_check = 0x4'0000,
};
// What a frame may change.
constexpr k::u64 user_flags =
    carry | parity | adjust | zero | sign | trap | direction | overflow | resume | alignment_check;

// Linux's marks in the part of an FXSAVE area that is left to software.
struct float_marks {
    static constexpr std::size_t offset = 464;
    static constexpr k::u32 magic1_value = 0x4650'5853, magic2_value = 0x4650'5845;

    k::u32 magic1;
    k::u32 extended_bytes; // the image and the second mark
    k::u64 features;
    k::u32 image_bytes;
    k::u32 pad[7];
};
constexpr std::size_t fxsave_bytes = 512, xsave_header_bytes = 64;
static_assert(float_marks::offset + sizeof(float_marks) == fxsave_bytes);

constexpr k::u64 down_to(k::u64 at, k::u64 alignment) {
    return at & ~(alignment - 1);
}

bool copy_out(thread& t, k::u64 to, const void* from, std::size_t bytes) {
    return t.owner.space->copy_out(to, from, bytes) == bytes;
}

bool copy_in(thread& t, void* to, k::u64 from, std::size_t bytes) {
    return t.owner.space->copy_in(to, from, bytes) == bytes;
}

k::u64 marked_bytes(std::size_t image_bytes) {
    return image_bytes > fxsave_bytes ? image_bytes + sizeof(k::u32) : image_bytes;
}

k::status write_float(thread& t, k::u64 at, std::span<const std::byte> image) {
    float_marks marks{};
    const bool extended = image.size() > fxsave_bytes;
    if (extended) {
        marks.magic1 = float_marks::magic1_value;
        marks.extended_bytes = static_cast<k::u32>(marked_bytes(image.size()));
        marks.features = arch::user_context::float_features();
        marks.image_bytes = static_cast<k::u32>(image.size());
    }
    const k::u32 magic2 = float_marks::magic2_value;
    const bool written = copy_out(t, at, image.data(), float_marks::offset) &&
                         copy_out(t, at + float_marks::offset, &marks, sizeof(marks)) &&
                         copy_out(t, at + fxsave_bytes, image.data() + fxsave_bytes, image.size() - fxsave_bytes) &&
                         (!extended || copy_out(t, at + image.size(), &magic2, sizeof(magic2)));
    return written ? k::status() : k::error::fault;
}

// Is there a whole extended image of our size at that address?
k::result<bool> is_extended(thread& t, k::u64 at, const std::byte* legacy, std::size_t bytes) {
    float_marks marks;
    std::memcpy(&marks, legacy + float_marks::offset, sizeof(marks));
    if (marks.magic1 != float_marks::magic1_value || marks.image_bytes != bytes ||
        marks.extended_bytes != marked_bytes(bytes))
        return false;
    k::u32 magic2;
    if (!copy_in(t, &magic2, at + bytes, sizeof(magic2))) return k::error::fault;
    return magic2 == float_marks::magic2_value;
}

// Reads an image into `image`, which is as large as ours are and all zeroes: that is the initial state but for the
// control words.
k::status read_float(thread& t, k::u64 at, std::span<std::byte> image) {
    const bool extends = image.size() >= fxsave_bytes + xsave_header_bytes;
    if (!at) {
        const k::u16 control = 0x37f;
        const k::u32 mxcsr = 0x1f80;
        std::memcpy(image.data(), &control, sizeof(control));
        std::memcpy(image.data() + 24, &mxcsr, sizeof(mxcsr));
        return {};
    }
    if (!copy_in(t, image.data(), at, fxsave_bytes)) return k::error::fault;
    if (extends) {
        if (TRY(is_extended(t, at, image.data(), image.size()))) {
            if (!copy_in(t, image.data() + fxsave_bytes, at + fxsave_bytes, image.size() - fxsave_bytes))
                return k::error::fault;
        } else {
            const k::u64 x87_and_sse = 3;
            std::memcpy(image.data() + fxsave_bytes, &x87_and_sse, sizeof(x87_and_sse));
        }
    }
    std::memset(image.data() + float_marks::offset, 0, sizeof(float_marks));
    return {};
}

machine_context machine_state(const arch::user_registers& r) {
    machine_context m{};
    m.r8 = r.r8, m.r9 = r.r9, m.r10 = r.r10, m.r11 = r.r11;
    m.r12 = r.r12, m.r13 = r.r13, m.r14 = r.r14, m.r15 = r.r15;
    m.rdi = r.rdi, m.rsi = r.rsi, m.rbp = r.rbp, m.rbx = r.rbx;
    m.rdx = r.rdx, m.rax = r.rax, m.rcx = r.rcx, m.rsp = r.rsp;
    m.rip = r.rip, m.rflags = r.rflags;
    m.cs = static_cast<k::u16>(r.cs), m.ss = static_cast<k::u16>(r.ss);
    return m;
}

// Code and stack segments stay what they are, and of the flags only the user's own are taken.
void set_registers(arch::user_registers& r, const machine_context& m) {
    r.r8 = m.r8, r.r9 = m.r9, r.r10 = m.r10, r.r11 = m.r11;
    r.r12 = m.r12, r.r13 = m.r13, r.r14 = m.r14, r.r15 = m.r15;
    r.rdi = m.rdi, r.rsi = m.rsi, r.rbp = m.rbp, r.rbx = m.rbx;
    r.rdx = m.rdx, r.rax = m.rax, r.rcx = m.rcx, r.rsp = m.rsp;
    r.rip = m.rip;
    r.rflags = (r.rflags & ~k::u64{user_flags}) | (m.rflags & user_flags);
}

} // namespace

// What signal_frame.cc sees of a thread's signals.
class signal_frame_access {
  public:
    static void fault(const thread_signals& s, machine_context& m) noexcept {
        m.fault_address = s.fault_address_;
        m.vector = s.fault_vector_;
        m.error_code = s.fault_code_;
    }
};

k::u64 signal_frame_bytes() noexcept {
    // Aligning loses up to 64 + 16 + 8 bytes; the image is at most what a context keeps.
    return red_zone + arch::user_context::memory_needed() + sizeof(k::u32) + sizeof(signal_frame) + 88;
}

k::status push_signal_frame(thread& t, const signal_info& info, const signal_action& action, signal_set mask) noexcept {
    if (!(action.flags & sa_restorer)) return k::error::fault; // there is no other way back
    arch::user_registers& r = t.user.registers();
    alternate_stack& alternate = t.signals.alternate();
    const bool disarms = alternate.flags & static_cast<k::i32>(alternate_stack::auto_disarm);
    const bool on_it = alternate.usable() && !disarms && alternate.contains(r.rsp);

    k::u64 sp = r.rsp - red_zone;
    bool enters = false;
    if ((action.flags & sa_on_stack) && alternate.usable() && !on_it) {
        sp = alternate.base + alternate.bytes;
        enters = true;
    }
    const std::span<const std::byte> image = t.user.save_float();
    sp = down_to(sp - marked_bytes(image.size()), 64);
    const k::u64 float_at = sp;
    sp = down_to(sp - sizeof(signal_frame), 16) - 8; // as if the handler had been called
    // Over the end of the alternate stack there may lie anything.
    if ((enters || on_it) && !alternate.contains(sp)) return k::error::fault;

    TRY(write_float(t, float_at, image));
    signal_frame frame{};
    frame.return_address = action.restorer;
    frame.context.flags = user_machine_context::has_ss | user_machine_context::strict_ss |
                          (image.size() > fxsave_bytes ? user_machine_context::has_xstate : 0);
    frame.context.stack = alternate;
    if (!alternate.usable()) frame.context.stack.flags = alternate_stack::disabled;
    frame.context.machine = machine_state(r);
    frame.context.machine.old_mask = mask.bits();
    frame.context.machine.float_state = float_at;
    signal_frame_access::fault(t.signals, frame.context.machine);
    frame.context.mask = mask;
    frame.info = info;
    if (!copy_out(t, sp, &frame, sizeof(frame))) return k::error::fault;

    if (disarms) alternate = {};
    r.rdi = static_cast<k::u64>(info.number);
    r.rsi = sp + offsetof(signal_frame, info);
    r.rdx = sp + offsetof(signal_frame, context);
    r.rax = 0; // of a variadic function: no vector registers
    r.rsp = sp;
    r.rip = action.handler;
    r.rflags &= ~k::u64{direction | resume | trap};
    return {};
}

k::status load_signal_frame(thread& t) noexcept {
    arch::user_registers& r = t.user.registers();
    user_machine_context context;
    // The handler's return took the return address off.
    if (!copy_in(t, &context, r.rsp - sizeof(k::u64) + offsetof(signal_frame, context), sizeof(context)))
        return k::error::fault;

    const std::size_t bytes = t.user.save_float().size();
    struct heap_bytes {
        std::byte* at;
        ~heap_bytes() { mem::free(at); }
    } image{static_cast<std::byte*>(mem::allocate(bytes))};
    if (!image.at) return k::error::nomem;
    std::memset(image.at, 0, bytes);
    TRY(read_float(t, context.machine.float_state, {image.at, bytes}));
    if (!t.user.load_float({image.at, bytes})) return k::error::inval;

    set_registers(r, context.machine);
    t.signals.set_blocked(context.mask);
    // A bad stack in the frame is no reason to fail, as in Linux: the one that was set stays.
    (void)set_alternate_stack(t, context.stack);
    return {};
}

k::status set_alternate_stack(thread& t, const alternate_stack& to) noexcept {
    alternate_stack& mine = t.signals.alternate();
    const k::u32 flags = static_cast<k::u32>(to.flags);
    const k::u32 mode = flags & ~alternate_stack::auto_disarm;
    const bool disarms = static_cast<k::u32>(mine.flags) & alternate_stack::auto_disarm;
    if (mine.usable() && !disarms && mine.contains(t.user.registers().rsp)) return k::error::perm;
    if (mode != 0 && mode != alternate_stack::disabled && mode != alternate_stack::on_stack) return k::error::inval;
    if (mode == alternate_stack::disabled) {
        mine = {};
        return {};
    }
    if (to.bytes < least_alternate_stack) return k::error::nomem;
    mine = {to.base, static_cast<k::i32>(flags & alternate_stack::auto_disarm), 0, to.bytes};
    return {};
}

} // namespace proc
