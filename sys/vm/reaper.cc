#include "sys/vm/reaper.h"

#include "kernel/lwkt/spinlock.h"
#include "kernel/lwkt/wait_queue.h"
#include "kernel/mem/slab.h"
#include "sys/vm/object.h"

#include <optional>

namespace vm {

namespace {

// A shelf with something on it is looked at so often, so that a lack of memory is noticed.
constexpr ktime::ns look_again = longest_loan_when_short;

void call_reaper(unsigned cpu) noexcept;

// Only these hold what belongs to somebody else; and `live` ones are shared on purpose.
bool is_loan(const xio::source& s) {
    return s.promise() == xio::stability::stable && s.paid_by() && s.paid_by() != &xio::kernel_payer;
}

k::result<xio::source> private_copy(const xio::source& from) {
    if (!user_pages_left(pages_in(k::align_up<k::u64>(from.size(), arch::page_size)))) return k::error::nomem;
    auto room = TRY(xio::sink::fresh(from.size()));
    (void)xio::copy_some(from, room, xio::reason::loan_ended); // between pages all of it is good
    return room.into_source();
}

ktime::ns longest_now() {
    return memory_is_short() ? longest_loan_when_short : longest_loan;
}

} // namespace

class shelf {
  public:
    // On the CPU that it belongs to, in a critical section.
    void put(kept_source& loan) noexcept {
        lwkt::spin_guard guard(lock_);
        loan.listed_ = true;
        // One that was kept elsewhere before may be older than all: it does not begin anew.
        if (loans_.empty() || birth(loans_.back()) <= birth(loan))
            loans_.push_back(loan);
        else
            loans_.push_front(loan);
        if (!look_.armed()) look_.arm(ktime::after(look_again));
    }
    void remove(kept_source& loan) noexcept {
        lwkt::spin_guard guard(lock_);
        unlist(loan);
        if (in_work_ == &loan) in_work_ = nullptr;
    }
    // What is kept now: one more holder of it, and where in all that was kept it begins.
    struct part {
        xio::source bytes;
        k::u64 base;

        k::result<xio::source> slice(k::u64 offset, k::u64 count) const noexcept {
            if (offset < base) return k::error::inval;
            return bytes.slice(offset - base, count);
        }
    };
    static part part_of(const kept_source& loan) noexcept { return {loan.source_.clone(), loan.base_}; }
    part locked_part_of(const kept_source& loan) noexcept {
        lwkt::spin_guard guard(lock_);
        return part_of(loan);
    }

    xio::source all_of(const kept_source& loan) noexcept {
        lwkt::spin_guard guard(lock_);
        return loan.source_.clone();
    }

    // Makes copies of loans that were made before `end`. The reaper; ends early without memory.
    void reap(ktime::ns end) noexcept {
        while (reap_one(end))
            lwkt::yield(); // others want the CPU too
    }

  private:
    using list =
        boost::intrusive::list<kept_source,
                               boost::intrusive::member_hook<kept_source, lwkt::list_hook, &kept_source::link_>,
                               boost::intrusive::constant_time_size<false>>;
    struct work {
        part kept;
        k::u64 front; // from where on it is still wanted
    };

    static ktime::ns birth(const kept_source& loan) noexcept { return loan.source_.birth_ns(); }

    void unlist(kept_source& loan) noexcept REQUIRES(lock_) {
        if (!std::exchange(loan.listed_, false)) return;
        loans_.erase(loans_.iterator_to(loan));
    }

    // True if there may be more to do now. Keeps nothing that it has let go of.
    bool reap_one(ktime::ns end) noexcept {
        const auto found = begin(end);
        if (!found) return false;
        const auto& [kept, front] = *found;
        auto rest = kept.slice(front, kept.base + kept.bytes.size() - front);
        kassert(rest);
        auto fresh = private_copy(*rest);
        return exchange(front, fresh);
    }

    std::optional<work> begin(ktime::ns end) noexcept {
        lwkt::spin_guard guard(lock_);
        if (loans_.empty() || birth(loans_.front()) >= end) return std::nullopt;
        in_work_ = &loans_.front();
        return work{part_of(*in_work_), in_work_->front_.load(std::memory_order_relaxed)};
    }

    // False if there was no memory. What was kept until now is in `fresh` then, for the caller to let go of without the
    // lock.
    bool exchange(k::u64 front, k::result<xio::source>& fresh) noexcept {
        lwkt::spin_guard guard(lock_);
        kept_source* loan = std::exchange(in_work_, nullptr);
        if (!loan) return true; // it went meanwhile
        if (!fresh) return false;
        unlist(*loan);
        std::swap(loan->source_, *fresh);
        loan->base_ = front;
        return true;
    }

    static void look(ktime::callout&) noexcept;

    lwkt::spinlock lock_;
    // Oldest first, but for some at the front that came late.
    list loans_ GUARDED_BY(lock_);
    kept_source* in_work_ GUARDED_BY(lock_) = nullptr; // being copied; null again if it goes meanwhile
    ktime::callout look_{look};                        // its CPU's
};

namespace {

// Made at boot, for ever: a global object would want a destructor.
struct shelf_storage {
    alignas(shelf) std::byte bytes[sizeof(shelf)];
};
lwkt::per_cpu<shelf_storage> shelves;

shelf& shelf_of(unsigned cpu) {
    return reinterpret_cast<shelf&>(shelves.of(cpu).bytes);
}

class reaper {
  public:
    static void run(void* self) noexcept {
        for (;;)
            static_cast<reaper*>(self)->work();
    }
    // Any CPU, in a critical section.
    void call(unsigned cpu) noexcept {
        due_.fetch_or(1u << cpu, std::memory_order_relaxed);
        called_.wake_one();
    }
    void reap_all() noexcept {
        const k::u64 mine = asked_.fetch_add(1) + 1;
        called_.wake_one();
        answered_one_.wait([&] { return answered_.load() >= mine; });
    }

  private:
    void work() noexcept {
        called_.wait([this] { return due_.load() || asked_.load() != answered_.load(); });
        const k::u64 asked = asked_.load();
        const bool all = asked != answered_.load();
        const k::u32 due = due_.exchange(0);
        const ktime::ns age = all ? 0 : longest_now();
        const ktime::ns end = ktime::now() - std::min(ktime::now(), age) + 1;
        for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
            if (all || due & 1u << cpu) shelf_of(cpu).reap(end);
        if (!all) return;
        answered_.store(asked);
        answered_one_.wake_all();
    }

    std::atomic<k::u32> due_ = 0; // a bit a CPU
    std::atomic<k::u64> asked_ = 0, answered_ = 0;
    lwkt::wait_queue called_, answered_one_;
};
static_assert(arch::max_cpus <= 32);

reaper* the_reaper; // immutable after boot

void call_reaper(unsigned cpu) noexcept {
    the_reaper->call(cpu);
}

} // namespace

// Asks again until the shelf is empty: perhaps there was no memory for copies, or is less by then.
void shelf::look(ktime::callout&) noexcept {
    const unsigned cpu = arch::cpu::id();
    shelf& here = shelf_of(cpu);
    bool due;
    {
        lwkt::spin_guard guard(here.lock_);
        if (here.loans_.empty()) return;
        here.look_.arm(ktime::after(look_again));
        due = birth(here.loans_.front()) + longest_now() <= ktime::now();
    }
    if (due) call_reaper(cpu);
}

kept_source::~kept_source() {
    if (on_) on_->remove(*this);
}

void kept_source::keep(xio::source what) noexcept {
    kassert(!on_ && source_.empty() && what.binding() == xio::binding::pages);
    source_ = std::move(what);
    if (!is_loan(source_)) return;
    lwkt::critical section;
    on_ = &shelf_of(arch::cpu::id());
    on_->put(*this);
}

k::result<xio::source> kept_source::slice(k::u64 offset, k::u64 bytes) const noexcept {
    return (on_ ? on_->locked_part_of(*this) : shelf::part_of(*this)).slice(offset, bytes);
}

xio::source kept_source::all() const noexcept {
    return on_ ? on_->all_of(*this) : source_.clone();
}

k::result<xio::source> without_loan(const xio::source& from) noexcept {
    if (is_loan(from)) return private_copy(from);
    return from.clone();
}

void reap_all_loans() noexcept {
    the_reaper->reap_all();
}

void start_reaper() noexcept {
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        new (shelves.of(cpu).bytes) shelf;
    the_reaper = mem::make<reaper>();
    if (!the_reaper || !lwkt::spawn("reaper", 0, lwkt::normal_priority, reaper::run, the_reaper))
        k::panic("no memory for the reaper of loans");
}

} // namespace vm
