// arch::user_context: ring 3 is entered, every way out of it is told apart, and nothing that user code or a
// careless kernel puts into registers hurts.
#include "tests/arch/user_world.h"

#include "kernel/time/callout.h"
#include "tests/support/threads.h"

using namespace arch_test;
using arch::page_size;
using arch::user_context;
using arch::user_execute;
using arch::user_exit;
using arch::user_exit_kind;
using arch::user_read;
using arch::user_registers;
using arch::user_write;
using arch::vaddr;

namespace {

constexpr k::u64 flag_carry = 1, flag_trap = 1u << 8, flag_interrupts = 1u << 9, flag_direction = 1u << 10;
constexpr k::u64 flag_alignment = 1u << 18;
constexpr unsigned divide_error = 0, debug = 1, breakpoint = 3, invalid_opcode = 6, stack_fault = 12, protection = 13;

k::u64 kernel_flags() {
    k::u64 flags;
    asm volatile("pushfq; popq %0" : "=r"(flags));
    return flags;
}

void fill(user_registers& r, k::u64 seed) {
    k::random random(seed);
    for (k::u64* word : {&r.r15, &r.r14, &r.r13, &r.r12, &r.r11, &r.r10, &r.r9, &r.r8, &r.rbp, &r.rdi, &r.rsi, &r.rdx,
                         &r.rcx, &r.rbx, &r.rax})
        *word = random.next();
}

// All but rcx and r11, which `syscall` uses.
void expect_same(const user_registers& a, const user_registers& b) {
    EXPECT_EQ(a.rax, b.rax);
    EXPECT_EQ(a.rbx, b.rbx);
    EXPECT_EQ(a.rdx, b.rdx);
    EXPECT_EQ(a.rsi, b.rsi);
    EXPECT_EQ(a.rdi, b.rdi);
    EXPECT_EQ(a.rbp, b.rbp);
    EXPECT_EQ(a.rsp, b.rsp);
    EXPECT_EQ(a.r8, b.r8);
    EXPECT_EQ(a.r9, b.r9);
    EXPECT_EQ(a.r10, b.r10);
    EXPECT_EQ(a.r12, b.r12);
    EXPECT_EQ(a.r13, b.r13);
    EXPECT_EQ(a.r14, b.r14);
    EXPECT_EQ(a.r15, b.r15);
}

// Runs one program from its beginning and gives the first exit.
struct attempt {
    table_frames frames;
    user_world world;
    user_exit exit{};

    explicit attempt(std::string_view program, k::u64 rdi = 0) : world(program) {
        if (!world) return;
        world.registers().rdi = rdi;
        exit = world.run();
    }
};

} // namespace

SELFTEST(user_context, a_system_call_shows_all_registers_and_keeps_them) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x0f\x05\x0f\x05\x0f\x05"));
    REQUIRE(w);
    fill(w.registers(), selftest::seed());
    user_registers before = w.registers();
    for (unsigned i = 1; i <= 3; i++) {
        EXPECT_SYSCALL(w.run()); // the first way in is iretq, the others are sysretq
        const user_registers& r = w.registers();
        expect_same(before, r);
        EXPECT_EQ(r.rip, code_at + 2 * i);
        EXPECT_EQ(r.rcx, r.rip);
        EXPECT_EQ(r.r11, r.rflags);
        EXPECT_EQ(r.rflags & flag_interrupts, flag_interrupts);
        w.registers().rax = i * 1000; // a result
        before = w.registers();
    }
}

SELFTEST(user_context, registers_that_the_kernel_changed_after_a_system_call_arrive) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x0f\x05\xcc\xcc")); // syscall; int3
    REQUIRE(w);
    EXPECT_SYSCALL(w.run());
    fill(w.registers(), selftest::seed() + 1); // rcx and r11 too, as after a signal handler
    w.registers().rip = code_at + 3;
    w.registers().rflags |= flag_carry | flag_direction;
    const user_registers before = w.registers();
    EXPECT_EXCEPTION(w.run(), breakpoint);
    expect_same(before, w.registers());
    EXPECT_EQ(w.registers().rcx, before.rcx);
    EXPECT_EQ(w.registers().r11, before.r11);
    EXPECT_EQ(w.registers().rip, code_at + 4);
    EXPECT_EQ(w.registers().rflags & (flag_carry | flag_direction), flag_carry | flag_direction);
}

SELFTEST(user_context, a_page_fault_tells_where_and_how) {
    if (!user_context::supported()) return;
    // mov (%rdi),%rax; mov %rax,(%rdi); jmp *%rsi; and in the data page a system call
    table_frames frames;
    user_world w(code("\x48\x8b\x07\x48\x89\x07\xff\xe6"));
    REQUIRE(w);
    support::page_set<1> page;
    REQUIRE(page.allocate());
    constexpr vaddr far = 0x1234'5678'9000;
    w.registers().rdi = far + 8;
    w.registers().rsi = far;
    std::memcpy(page.data(0), syscall_code.data(), syscall_code.size());
    page.data(0)[8] = std::byte{77};
    const k::u64 frame = vm::physical(page[0]);

    EXPECT_FAULT(w.run(), far + 8, user_read);
    EXPECT_EQ(w.registers().rip, code_at);
    REQUIRE(w.map.enter(far, frame, user_read));
    EXPECT_FAULT(w.run(), far + 8, user_write);
    EXPECT_EQ(w.registers().rax, 77u);
    EXPECT_EQ(w.registers().rip, code_at + 3);
    REQUIRE(w.map.enter(far, frame, user_read | user_write));
    EXPECT_FAULT(w.run(), far, user_execute);
    EXPECT_EQ(w.registers().rip, far);
    REQUIRE(w.map.enter(far, frame, user_read | user_execute));
    {
        lwkt::critical section;
        arch::user_map::flush_here(far, 1);
    }
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rip, far + 2);
    w.map.remove(far, 1);
    {
        lwkt::critical section;
        arch::user_map::flush_here(far, 1);
    }
    EXPECT_FAULT(w.run(), far + 2, user_execute);
}

SELFTEST(user_context, protecting_all_is_felt_and_undone_page_by_page) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x48\xff\x07\x0f\x05\xeb\xf9")); // 1: incq (%rdi); syscall; jmp 1b
    REQUIRE(w);
    w.registers().rdi = data_at;
    EXPECT_SYSCALL(w.run());
    EXPECT(w.map.write_protect_all());
    {
        lwkt::critical section;
        arch::user_map::flush_here(0, 0);
    }
    EXPECT_FAULT(w.run(), data_at, user_write);
    REQUIRE(w.map.enter(data_at, vm::physical(w.data_page()), user_read | user_write));
    EXPECT_SYSCALL(w.run());
    k::u64 count;
    std::memcpy(&count, w.data(), sizeof(count));
    EXPECT_EQ(count, 2u);
    EXPECT_EQ(unsigned{w.map.find(stack_at).access}, unsigned{user_read});
}

SELFTEST(user_context, a_large_page_is_used_and_split) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x48\x8b\x07\x0f\x05\xeb\xf9")); // 1: mov (%rdi),%rax; syscall; jmp 1b
    vm::page_ref block = support::allocate_block(9);
    REQUIRE(w && block);
    constexpr vaddr base = 0x2000'0000;
    auto* words = static_cast<k::u64*>(block.data());
    words[512 * 3] = 33;
    REQUIRE(w.map.enter_large(base, vm::physical(block.get()), user_read | user_write));
    w.registers().rdi = base + 3 * page_size;
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rax, 33u);
    REQUIRE(w.map.enter(base + 4 * page_size, vm::physical(w.data_page()), user_read));
    {
        lwkt::critical section;
        arch::user_map::flush_here(base, 512);
    }
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rax, 33u);
    w.data()[0] = std::byte{44};
    w.registers().rdi = base + 4 * page_size;
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rax, 44u);
}

SELFTEST(user_context, kernel_memory_cannot_be_reached) {
    if (!user_context::supported()) return;
    {
        const auto kernel = reinterpret_cast<k::u64>(&lwkt::self());
        attempt a(code("\x48\x8b\x07"), kernel); // mov (%rdi),%rax
        EXPECT_FAULT(a.exit, kernel, user_read);
    }
    {
        const auto kernel = reinterpret_cast<k::u64>(&kernel_flags);
        attempt a(code("\xff\xe7"), kernel); // jmp *%rdi
        EXPECT_FAULT(a.exit, kernel, user_execute);
    }
}

SELFTEST(user_context, exceptions_are_told_apart) {
    if (!user_context::supported()) return;
    struct {
        std::string_view program;
        unsigned vector;
        k::u64 rdi;
        k::u64 rip; // after it
    } cases[] = {
        {code("\x31\xc9\xf7\xf1"), divide_error, 0, 2},              // xor %ecx,%ecx; div %ecx
        {code("\x0f\x0b"), invalid_opcode, 0, 0},                    // ud2
        {code("\xcc"), breakpoint, 0, 1},                            // int3
        {code("\xcd\x03"), breakpoint, 0, 2},                        // int $3
        {code("\xcd\x80"), protection, 0, 0},                        // int $0x80
        {code("\xcd\x02"), protection, 0, 0},                        // int $2
        {code("\xcd\xf0"), protection, 0, 0},                        // int $0xf0: the kernel's IPI
        {code("\xf4"), protection, 0, 0},                            // hlt
        {code("\xfa"), protection, 0, 0},                            // cli
        {code("\xe4\x60"), protection, 0, 0},                        // in $0x60,%al
        {code("\x0f\x20\xd8"), protection, 0, 0},                    // mov %cr3,%rax
        {code("\x0f\x01\xf8"), protection, 0, 0},                    // swapgs
        {code("\x0f\x32"), protection, 0, 0},                        // rdmsr
        {code("\x0f\x07"), protection, 0, 0},                        // sysret
        {code("\xf3\x48\x0f\xae\xdf"), invalid_opcode, 0, 0},        // wrgsbase %rdi
        {code("\xf3\x48\x0f\xae\xd7"), invalid_opcode, 0, 0},        // wrfsbase %rdi
        {code("\x48\x8b\x07"), protection, k::u64{1} << 47, 0},      // mov (%rdi),%rax: not canonical
        {code("\x48\x89\xfc\x50"), stack_fault, k::u64{1} << 60, 3}, // mov %rdi,%rsp; push %rax
        {code("\x66\x8e\xd7"), protection, 0x10, 0},                 // mov %di,%ss: the kernel's data
    };
    for (const auto& c : cases) {
        attempt a(c.program, c.rdi);
        REQUIRE(a.world);
        // An emulator may call a bad stack address a general protection fault too.
        const bool right = a.exit.vector == c.vector || (c.vector == stack_fault && a.exit.vector == protection);
        if (a.exit.kind != user_exit_kind::exception || !right)
            selftest::fail(k::where::here(), "vector {} expected, kind {} vector {}", c.vector,
                           static_cast<unsigned>(a.exit.kind), unsigned{a.exit.vector});
        EXPECT_EQ(a.world.registers().rip, code_at + c.rip);
    }
}

SELFTEST(user_context, whatever_the_kernel_is_told_to_load_is_put_right) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x0f\x05\x0f\x05\x0f\x05\x0f\x05"));
    REQUIRE(w);
    for (unsigned round = 0; round < 2; round++) {
        user_registers& r = w.registers();
        // No such place: user code would fault on it, so that is what it looks like.
        for (const k::u64 rip : {k::u64{1} << 47, k::u64{0xffff'7fff'ffff'ffff}, k::u64{1} << 63}) {
            const user_registers before = r;
            r.rip = r.rcx = rip;
            r.r11 = r.rflags;
            EXPECT_EXCEPTION(w.context.run(), protection);
            EXPECT_EQ(r.rip, rip);
            EXPECT_EQ(r.error_code, 0u);
            r = before;
        }
        r.rflags = r.r11 = ~flag_trap;
        r.cs = 0x08;
        r.ss = 0x10;
        EXPECT_SYSCALL(w.run());
        EXPECT_EQ(r.cs, 0x23u);
        EXPECT_EQ(r.ss, 0x1bu);
        // Status flags, direction, interrupts, alignment, identity; resume, if the CPU shows it.
        EXPECT_EQ(r.rflags & ~(k::u64{1} << 16), 0x240ed7u);
        r.rflags = r.r11 = 0; // interrupts off
        EXPECT_SYSCALL(w.run());
        EXPECT_EQ(r.rflags, 0x202u);
        w.registers().rip = code_at;
    }
    w.registers().rip = w.registers().rcx = reinterpret_cast<k::u64>(&kernel_flags);
    EXPECT_FAULT(w.run(), reinterpret_cast<k::u64>(&kernel_flags), user_execute);
}

SELFTEST(user_context, a_stack_pointer_may_be_anything) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x0f\x05\xcc\x0f\x05"));
    REQUIRE(w);
    for (const k::u64 rsp : {k::u64{0}, k::u64{1} << 47, ~k::u64{0}, k::u64{0xffff'8000'0000'0000}}) {
        w.registers().rip = code_at;
        w.registers().rsp = rsp;
        EXPECT_SYSCALL(w.run());
        EXPECT_EQ(w.registers().rsp, rsp);
        EXPECT_EXCEPTION(w.run(), breakpoint); // in by sysretq
        EXPECT_EQ(w.registers().rsp, rsp);
        EXPECT_SYSCALL(w.run()); // in by iretq
        EXPECT_EQ(w.registers().rsp, rsp);
    }
}

SELFTEST(user_context, a_system_call_in_the_very_last_bytes_of_user_memory) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w({});
    support::page_set<1> last;
    REQUIRE(w && last.allocate());
    constexpr vaddr last_page = arch::user_end - page_size;
    std::memcpy(last.data(0) + page_size - 2, syscall_code.data(), 2);
    REQUIRE(w.map.enter(last_page, vm::physical(last[0]), user_read | user_execute));
    w.registers().rip = arch::user_end - 2;
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rip, arch::user_end);
    EXPECT_FAULT(w.run(), arch::user_end, user_execute);
}

SELFTEST(user_context, a_program_that_never_traps_is_interrupted) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x48\xff\xc0\xeb\xfb")); // 1: inc %rax; jmp 1b
    REQUIRE(w);
    struct alarm {
        ktime::callout callout{[](ktime::callout& c) { reinterpret_cast<alarm&>(c).rang = true; }};
        std::atomic<bool> rang{};
    } a;
    // A host that is slow to run this machine may let the time pass before user code has begun.
    unsigned advanced = 0;
    for (unsigned i = 0; i < 1000 && advanced < 5; i++) {
        const k::u64 before = w.registers().rax;
        a.rang = false;
        {
            lwkt::critical section;
            a.callout.arm(ktime::after(2 * ktime::millisecond));
        }
        while (!a.rang)
            EXPECT(w.context.run().kind == user_exit_kind::interrupt);
        advanced += w.registers().rax > before;
        EXPECT((kernel_flags() & flag_interrupts) != 0);
    }
    EXPECT_EQ(advanced, 5u);
}

SELFTEST(user_context, an_event_that_waits_is_delivered_before_user_code_runs) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(syscall_code);
    REQUIRE(w);
    arch::cpu::local().pending.fetch_or(arch::event_timer);
    EXPECT(w.context.run().kind == user_exit_kind::interrupt);
    EXPECT_EQ(w.registers().rip, code_at);
    EXPECT_SYSCALL(w.run());
}

SELFTEST(user_context, flags_of_user_code_do_not_reach_the_kernel) {
    if (!user_context::supported()) return;
    table_frames frames;
    // pushfq; orq $0x40400,(%rsp) (alignment checks, direction); popfq; syscall; int3
    user_world w(code("\x9c\x48\x81\x0c\x24\x00\x04\x04\x00\x9d\x0f\x05\xcc"));
    REQUIRE(w);
    constexpr k::u64 mask = flag_alignment | flag_direction | flag_trap | flag_interrupts;
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(kernel_flags() & mask, flag_interrupts);
    EXPECT_EQ(w.registers().rflags & mask, flag_alignment | flag_direction | flag_interrupts);
    EXPECT_EXCEPTION(w.run(), breakpoint);
    EXPECT_EQ(kernel_flags() & mask, flag_interrupts);
    EXPECT_EQ(w.registers().rflags & mask, flag_alignment | flag_direction | flag_interrupts);
}

SELFTEST(user_context, single_steps_end_after_an_instruction_and_leave_the_kernel_alone) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x90\x90\x0f\x05\x90\x90")); // nop; nop; syscall; nop; nop
    REQUIRE(w);
    w.registers().rflags |= flag_trap;
    EXPECT_EXCEPTION(w.run(), debug);
    EXPECT_EQ(w.registers().rip, code_at + 1);
    EXPECT_EXCEPTION(w.run(), debug);
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rflags & flag_trap, flag_trap);
    EXPECT_EQ(kernel_flags() & flag_trap, 0u);
    EXPECT_EXCEPTION(w.run(), debug);
    EXPECT_EQ(w.registers().rip, code_at + 5);
}

SELFTEST(user_context, segment_registers_are_user_codes_own_affair) {
    if (!user_context::supported()) return;
    table_frames frames;
    // mov $0x1b,%eax; mov %eax,%gs; mov %eax,%fs; mov %eax,%ds; xor %eax,%eax; mov %eax,%gs; syscall; int3; syscall
    user_world w(code("\xb8\x1b\x00\x00\x00\x8e\xe8\x8e\xe0\x8e\xd8\x31\xc0\x8e\xe8\x0f\x05\xcc\x0f\x05"));
    REQUIRE(w);
    EXPECT_SYSCALL(w.run());
    EXPECT_EXCEPTION(w.run(), breakpoint);
    EXPECT_SYSCALL(w.run());
}

SELFTEST(user_context, the_thread_pointer_is_fs_base_and_the_threads_own) {
    if (!user_context::supported()) return;
    table_frames frames;
    user_world w(code("\x64\x48\x8b\x04\x25\x00\x00\x00\x00\x0f\x05\xeb\xf3")); // 1: mov %fs:0,%rax; syscall; jmp 1b
    REQUIRE(w);
    const k::u64 values[2] = {111, 222};
    std::memcpy(w.data() + 64, values, sizeof(values));
    w.context.set_thread_pointer(data_at + 64);
    EXPECT_EQ(w.context.thread_pointer(), data_at + 64);
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rax, 111u);
    w.context.set_thread_pointer(data_at + 72);
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rax, 222u);
    lwkt::sleep_for(100 * ktime::microsecond);
    EXPECT_SYSCALL(w.run());
    EXPECT_EQ(w.registers().rax, 222u);
}
