// What copying, lending and giving pages costs on this machine, and from how many bytes on the latter two are cheaper.
//
// Measured on real pages, with the machine's clock of cycles: each way of moving bytes with few pages and with many,
// which gives a line, so much to begin with and so much a page. Where the line of a loan comes below that of a copy is
// the threshold. To a stable loan belongs what it leads to, a fault a page when the owner writes again: a gain only for
// owners who never do would be none. Where there are several CPUs, what one costs that must be told comes on top.
//
// The least of several runs counts, because interrupts and emulators only ever add. What a copy costs the caches that
// are needed afterwards, and what an emulator makes up, does not show; hence thresholds stay near to where they begin.
#include "sys/vm/loan_priv.h"

#include "kernel/lib/log.h"
#include "kernel/lwkt/wait_queue.h"
#include "kernel/mem/slab.h"

namespace vm {

namespace {

using arch::page_size;
using k::i64;
using k::u64;

constexpr u64 few = 2, many = 18; // pages
constexpr unsigned runs = 5;      // of which the least counts
constexpr u64 granule = 1024;     // thresholds are multiples of it
// For all runs of one measurement: on a machine whose CPUs are often away, one run must do.
constexpr ktime::ns patience = 2 * ktime::millisecond;

// What bytes cost to move in one way, in cycles.
struct line {
    i64 begin, a_page;
};

// Loads a space on this CPU.
class visit {
  public:
    explicit visit(space& s) noexcept { load(&s.map_for_cpu()); }
    ~visit() { load(nullptr); }
    visit(const visit&) = delete;

  private:
    static void load(arch::user_map* map) noexcept {
        lwkt::critical section;
        lwkt::self().context.set_user(map, nullptr);
    }
};

// A thread of another CPU that has the space loaded and computes.
class neighbour {
  public:
    // There is none if there is no memory for it.
    neighbour(space& s, unsigned cpu) noexcept
        : space_(s), there_(bool(lwkt::spawn("neighbour", cpu, lwkt::normal_priority, run, this))) {
        if (there_) ready_.wait();
    }
    ~neighbour() {
        over_.store(true, std::memory_order_release);
        if (there_) gone_.wait();
    }
    neighbour(const neighbour&) = delete;
    bool there() const noexcept { return there_; }

  private:
    static void run(void* self) noexcept {
        auto& it = *static_cast<neighbour*>(self);
        {
            visit here(it.space_);
            it.ready_.signal();
            while (!it.over_.load(std::memory_order_acquire))
                arch::cpu::relax();
        }
        it.gone_.signal(); // the last that is seen of this object
    }

    space& space_;
    std::atomic<bool> over_ = false;
    lwkt::completion ready_, gone_;
    bool there_;
};

// The space in which all of it happens, and what is done there.
class laboratory {
  public:
    // Memory for two times `many` pages, all of it touched. ENOMEM.
    k::status prepare() noexcept {
        space_ = TRY(space::create());
        map_request what{.bytes = 2 * many * page_size};
        at_ = TRY(space_->map(what));
        for (u64 page = 0; page < 2 * many; page++)
            TRY(write_to(page));
        return {};
    }

    k::result<line> copying() noexcept {
        return line_of(
            [this](u64 pages) { return use(pages, [](auto&&... a) { return copied(a..., xio::reason::asked); }); });
    }
    k::result<line> lending(xio::stability promise) noexcept {
        return line_of([this, promise](u64 pages) -> k::status {
            TRY(use(pages, [promise](auto&&... a) { return lent(a..., promise); }));
            for (u64 page = 0; page < pages && promise == xio::stability::stable; page++)
                TRY(write_to(page));
            return {};
        });
    }
    k::result<line> reading() noexcept {
        const auto from = TRY(lent_for_reading());
        return line_of([&](u64 pages) -> k::status {
            const xio::user_range to{at_ + many * page_size, pages * page_size};
            const xio::user_ranges ranges{space_.get(), {&to, 1}};
            auto room = xio::sink::over_user(ranges);
            return xio::copy_some(from, room).status;
        });
    }
    k::result<line> giving() noexcept {
        const auto from = TRY(lent_for_reading());
        return line_of([&](u64 pages) -> k::status {
            const u64 bytes = pages * page_size;
            if (give_pages(*space_, at_ + many * page_size, bytes, from, 0) != bytes) return k::error::nomem;
            return {};
        });
    }

    // Of making a thread on another CPU, which has the space loaded, forget a translation.
    k::result<u64> telling(unsigned cpu) noexcept {
        neighbour other(*space_, cpu);
        if (!other.there()) return k::error::nomem;
        auto tell = [this](u64 pages) -> k::status {
            flush_cpus(space_->map_for_cpu().active(), at_, pages);
            return {};
        };
        return least_cycles(1, tell);
    }

    space& where() noexcept { return *space_; }

  private:
    k::status write_to(u64 page) noexcept { return space_->fault(at_ + page * page_size, arch::user_write); }

    // Calls way(space, range of so many pages) and lets go of what it gives.
    template <class Way> k::status use(u64 pages, Way way) noexcept {
        const xio::user_range part{at_, pages * page_size};
        const xio::user_ranges ranges{space_.get(), {&part, 1}};
        auto made = way(*space_, xio::source::over_user(ranges));
        if (!made) return made.error();
        return {};
    }
    k::result<xio::source> lent_for_reading() noexcept {
        const xio::user_range all{at_, many * page_size};
        const xio::user_ranges ranges{space_.get(), {&all, 1}};
        return lent(*space_, xio::source::over_user(ranges), xio::stability::stable);
    }

    template <class Work> static k::result<u64> least_cycles(u64 pages, Work& work) noexcept {
        const ktime::ns deadline = ktime::after(patience);
        u64 least = ~u64{0};
        for (unsigned run = 0; run == 0 || (run < runs && ktime::now() < deadline); run++) {
            const u64 start = arch::clock::cycles();
            TRY(work(pages));
            least = std::min(least, arch::clock::cycles() - start);
        }
        return least;
    }
    template <class Work> static k::result<line> line_of(Work work) noexcept {
        TRY(work(many)); // what is only done once is not the subject
        const u64 small = TRY(least_cycles(few, work)), large = TRY(least_cycles(many, work));
        const i64 a_page = (static_cast<i64>(large) - static_cast<i64>(small)) / static_cast<i64>(many - few);
        return line{static_cast<i64>(small) - a_page * static_cast<i64>(few), a_page};
    }

    k::ref<space> space_;
    user_address at_ = 0;
};

// From how many bytes on `other` is cheaper than copying, within [initial / 2, 4 * initial].
u64 crossing(line copying, line other, u64 initial) {
    const u64 least = initial / 2, most = 4 * initial;
    if (other.begin <= copying.begin && other.a_page <= copying.a_page) return least;
    if (other.a_page >= copying.a_page) return most;
    const auto more = static_cast<u64>(other.begin - copying.begin);
    const auto gain = static_cast<u64>(copying.a_page - other.a_page);
    return std::clamp(k::align_up<u64>(more * page_size / gain, granule), least, most);
}

unsigned some_other_cpu() {
    const unsigned here = arch::cpu::id();
    for (unsigned cpu = 0; cpu < arch::cpu::count(); cpu++)
        if (cpu != here && lwkt::is_running(cpu)) return cpu;
    return here;
}

k::result<loan_thresholds> measured() {
    auto lab = mem::make_box<laboratory>();
    if (!lab) return k::error::nomem;
    TRY(lab->prepare());
    loan_thresholds found = initial_thresholds;
    visit here(lab->where());
    const line copying = TRY(lab->copying());
    const line reading = TRY(lab->reading()); // before pages are given: they are no longer the reader's alone
    line stable = TRY(lab->lending(xio::stability::stable));
    found.blocked = crossing(copying, TRY(lab->lending(xio::stability::blocked)), found.blocked);
    found.stable_one_cpu = crossing(copying, stable, found.stable_one_cpu);
    found.deliver = crossing(reading, TRY(lab->giving()), found.deliver);
    if (const unsigned other = some_other_cpu(); other != arch::cpu::id())
        stable.begin += static_cast<i64>(TRY(lab->telling(other)));
    found.stable_many = std::max(crossing(copying, stable, found.stable_many), found.stable_one_cpu);
    return found;
}

} // namespace

void calibrate_loans() noexcept {
    if (auto found = measured()) set_thresholds(*found);
    const loan_thresholds& now = thresholds();
    k::log("loans: from {} KiB, {} where other CPUs are told, {} while the lender sleeps; {} given to a reader\n",
           now.stable_one_cpu >> 10, now.stable_many >> 10, now.blocked >> 10, now.deliver >> 10);
}

} // namespace vm
