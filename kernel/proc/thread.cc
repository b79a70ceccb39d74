#include "kernel/proc/thread.h"

#include "kernel/lwkt/ipiq.h"
#include "kernel/lwkt/trace.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/process.h"

namespace proc {

thread::thread(int number, process& of) noexcept
    : tid(number), owner(of), signals(of.signals, this, number, lwkt::user_part::attention),
      owner_held_(k::ref<process>::to(of)) {}

thread::~thread() {
    kassert(!files && !lease && !kernel);
    mem::free(float_memory_);
}

k::result<k::ref<thread>> thread::create(int number, process& of) noexcept {
    const std::size_t bytes = arch::user_context::memory_needed();
    void* memory = mem::allocate(bytes);
    if (!memory) return k::error::nomem;
    auto* made = mem::make<thread>(number, of);
    if (!made) {
        mem::free(memory);
        return k::error::nomem;
    }
    made->float_memory_ = memory;
    made->user.attach({static_cast<std::byte*>(memory), bytes});
    return k::ref<thread>(made);
}

void thread::last_holder_left() noexcept {
    mem::destroy(this);
}

k::ref<files::fd_table> thread::share_files() const noexcept {
    lwkt::spin_guard guard(owner.threads_lock);
    return files.share();
}

void thread::set_files(k::ref<files::fd_table> to) noexcept {
    lwkt::spin_guard guard(owner.threads_lock);
    std::swap(files, to); // `to` goes after the lock: it was made before the guard
}

void set_name(thread& t, std::string_view name) noexcept {
    const std::size_t length = name.copy(t.name, sizeof(t.name) - 1);
    std::fill(t.name + length, std::end(t.name), '\0');
    if (&t != &current()) return;
    put_kernel_name(t, t.kernel->name);
    const auto self = reinterpret_cast<k::u64>(t.kernel);
    trace::note(trace::event::switched, self, self, t.kernel->name); // it goes on under another name
}

void put_kernel_name(const thread& t, std::span<char> to) noexcept {
    std::ranges::fill(to, '\0');
    k::buffer_sink text(to.first(to.size() - 1));
    k::format_to(text, "{}/{}", std::string_view(t.name), t.tid);
}

void vfork_lease::wait_for_end(thread& waiter) noexcept {
    queue_.wait([&] { return over_.load(std::memory_order_acquire) || waiter.asked(attention_end); });
}

void vfork_lease::last_holder_left() noexcept {
    mem::destroy(this);
}

void kick(k::ref<thread> t) noexcept {
    // Whoever asked something of it did so before; the thread looks at its attention bits after it has said where it is
    // and where it waits. So either it sees the bits or we see it there.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    thread* kicked = t.release();
    lwkt::send(
        kicked->home.load(std::memory_order_relaxed),
        [](void* argument) {
            k::ref<thread> held(static_cast<thread*>(argument));
            // One that has moved meanwhile was running and looked. The interrupt itself brings it out of user mode.
            if (held->home.load(std::memory_order_relaxed) == arch::cpu::id() && held->kernel)
                lwkt::interrupt_wait(*held->kernel);
        },
        kicked);
}

namespace {

k::u64 to_ns(k::u64 cycles) {
    const k::u64 hz = arch::clock::cycles_hz();
    return cycles / hz * ktime::second + cycles % hz * ktime::second / hz;
}

} // namespace

cpu_time cpu_time_of(const thread& t) noexcept {
    const k::i64 counted = t.user_cycles.load(std::memory_order_relaxed);
    const k::u64 user = static_cast<k::u64>(counted) + (counted < 0 ? arch::clock::cycles() : 0);
    const k::u64 all = lwkt::cycles_of(t, t.home);
    return {to_ns(user), all > user ? to_ns(all - user) : 0};
}

} // namespace proc
