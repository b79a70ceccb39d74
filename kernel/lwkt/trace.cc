#include "kernel/lwkt/trace.h"

#include "kernel/lwkt/critical.h"
#include "kernel/lwkt/grace.h"
#include "kernel/lwkt/sleep_lock.h"
#include "kernel/mem/slab.h"
#include "kernel/time/callout.h"

#include <algorithm>
#include <bit>

namespace trace {

namespace {

// What is written in one go, and what says that this is over: who reads while it is written sees the number change.
struct content {
    k::u64 at_ns;
    k::u64 a, b;
    event what;
    char text[22];
};
constexpr unsigned words = sizeof(content) / sizeof(k::u64);
static_assert(sizeof(content) == words * sizeof(k::u64));

class record {
  public:
    void write(k::u64 number, const content& from) noexcept {
        number_.store(0, std::memory_order_relaxed);
        const auto parts = std::bit_cast<std::array<k::u64, words>>(from);
        for (unsigned i = 0; i < words; i++)
            words_[i].store(parts[i], std::memory_order_release); // not before the number went
        number_.store(number + 1, std::memory_order_release);
    }
    // False: it is not that event's, or not any more.
    bool read(k::u64 number, content& to) const noexcept {
        std::array<k::u64, words> parts;
        if (number_.load(std::memory_order_acquire) != number + 1) return false;
        for (unsigned i = 0; i < words; i++)
            parts[i] = words_[i].load(std::memory_order_acquire); // before the number is looked at again
        to = std::bit_cast<content>(parts);
        return number_.load(std::memory_order_relaxed) == number + 1;
    }

  private:
    std::atomic<k::u64> number_ = 0; // from 1 on; 0: being written
    std::atomic<k::u64> words_[words] = {};
};
static_assert(sizeof(record) == 56);

struct ring : lwkt::retirable {
    unsigned size; // a power of two
    std::atomic<k::u64> next = 0;
    record* records() noexcept { return reinterpret_cast<record*>(this + 1); }
};

std::atomic<ring*> rings[arch::max_cpus];
lwkt::sleep_lock changing;

constexpr std::string_view names[events] = {"switch", "put",   "got",  "reply",  "ipi",
                                            "taken",  "fault", "lent", "broken", "dma"};

ring* make_ring(unsigned size) noexcept {
    void* at = mem::allocate(sizeof(ring) + size * sizeof(record));
    if (!at) return nullptr;
    auto* made = new (at) ring;
    made->size = size;
    for (unsigned i = 0; i < size; i++)
        new (made->records() + i) record;
    return made;
}

// Whoever is writing to one is in a critical section.
void drop_rings() noexcept {
    for (auto& slot : rings)
        if (ring* r = slot.exchange(nullptr, std::memory_order_acq_rel))
            lwkt::retire(*r, [](lwkt::retirable& gone) { mem::free(&static_cast<ring&>(gone)); });
}

// A name may be a program's, who can put anything in it.
void put_line(k::text_sink& to, unsigned cpu, content& e) noexcept {
    std::span text(e.text, std::char_traits<char>::length(e.text)); // it ends with 0
    std::ranges::replace_if(
        text, [](char c) { return static_cast<k::u8>(c) < ' ' || c == 0x7f; }, '?');
    k::format_to(to, "{} {} {} {:x} {:x} {}\n", cpu, e.at_ns, names[static_cast<unsigned>(e.what)], e.a, e.b,
                 std::string_view(text.begin(), text.end()));
}

} // namespace

void write_down(event what, k::u64 a, k::u64 b, std::string_view name) noexcept {
    lwkt::critical section;
    ring* r = rings[arch::cpu::id()].load(std::memory_order_acquire);
    if (!r) return;
    // An interrupt may come in between and writes to the next one.
    const k::u64 number = r->next.fetch_add(1, std::memory_order_relaxed);
    content c{.at_ns = ktime::now(), .a = a, .b = b, .what = what, .text = {}};
    name.copy(c.text, sizeof(c.text) - 1);
    r->records()[number & (r->size - 1)].write(number, c);
}

k::status start(unsigned events_a_cpu) noexcept {
    lwkt::sleep_hold hold(changing);
    if (rings[0].load(std::memory_order_relaxed)) return k::error::busy;
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++) {
        ring* made = make_ring(std::bit_ceil(events_a_cpu));
        if (!made) {
            drop_rings();
            return k::error::nomem;
        }
        rings[cpu].store(made, std::memory_order_release);
    }
    is_on.store(true, std::memory_order_relaxed);
    return {};
}

void stop() noexcept {
    lwkt::sleep_hold hold(changing);
    is_on.store(false, std::memory_order_relaxed);
}

void clear() noexcept {
    lwkt::sleep_hold hold(changing);
    is_on.store(false, std::memory_order_relaxed);
    drop_rings();
}

void put(k::text_sink& to) noexcept {
    lwkt::sleep_hold hold(changing); // the rings stay
    for (unsigned cpu = 0; cpu < arch::max_cpus; cpu++) {
        ring* r = rings[cpu].load(std::memory_order_acquire);
        if (!r) continue;
        const k::u64 end = r->next.load(std::memory_order_acquire);
        k::u64 lost = end > r->size ? end - r->size : 0;
        for (k::u64 i = lost; i < end; i++) {
            content e;
            if (!r->records()[i & (r->size - 1)].read(i, e)) continue; // just being written
            if (lost) k::format_to(to, "{} {} lost {:x} 0x0 \n", cpu, e.at_ns, std::exchange(lost, 0));
            put_line(to, cpu, e);
        }
    }
}

} // namespace trace
