#include "kernel/files/signal_file.h"

#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/process.h"

#include <cstring>

namespace files {

namespace {

// struct signalfd_siginfo.
struct signal_record {
    k::u32 number;
    k::i32 error, code;
    k::u32 pid, uid;
    k::i32 descriptor;
    k::u32 timer_id, band, overrun, trap;
    k::i32 status, integer;
    k::u64 pointer, user_ticks, system_ticks, address;
    k::u16 lsb, pad0;
    k::i32 call;
    k::u64 call_address;
    k::u32 architecture;
    std::byte pad[28];
};
static_assert(sizeof(signal_record) == 128);

signal_record record_of(const proc::signal_info& info) {
    signal_record r{};
    r.number = static_cast<k::u32>(info.number);
    r.error = info.error;
    r.code = info.code;
    const bool faulted = proc::fault_signals.has(info.number) && info.code > 0 && info.code != proc::si_kernel;
    if (info.code == proc::si_timer) {
        r.timer_id = static_cast<k::u32>(info.timer.id);
        r.overrun = static_cast<k::u32>(info.timer.overrun);
        r.pointer = info.timer.value;
    } else if (faulted) {
        r.address = info.fault.address;
    } else if (info.number == proc::sig_chld && info.code > 0 && info.code != proc::si_kernel) {
        r.pid = static_cast<k::u32>(info.child.pid);
        r.uid = info.child.uid;
        r.status = info.child.status;
        r.user_ticks = static_cast<k::u64>(info.child.user_ticks);
        r.system_ticks = static_cast<k::u64>(info.child.system_ticks);
    } else if (info.code != proc::si_kernel) {
        r.pid = static_cast<k::u32>(info.sender.pid);
        r.uid = info.sender.uid;
        r.pointer = info.sender.value;
    }
    r.integer = static_cast<k::i32>(r.pointer);
    return r;
}

class signal_file final : public file {
  public:
    signal_file(k::ref<proc::process> maker, proc::signal_set wanted, k::u32 flags) noexcept
        : file(flags | open_read_only, file_kind::signals), maker_(std::move(maker)), wanted_(wanted.bits()) {
        relay_.to = &watched_;
        relay_.watch(maker_->signals.arrivals());
    }
    ~signal_file() override { relay_.leave(); }

    k::result<k::u64> read(xio::sink& to) noexcept override;
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(0600, inode_);
        return {};
    }
    k::u32 ready() noexcept override {
        if (!lwkt::self().user) return 0;
        proc::thread& t = proc::current();
        return (t.owner.signals.pending(t.signals) & wanted()).empty() ? 0 : poll_can_read;
    }
    pollable* watched() noexcept override { return &watched_; }

    void change(proc::signal_set wanted) noexcept {
        wanted_.store(wanted.bits(), std::memory_order_relaxed);
        watched_.notify(poll_can_read);
    }

  private:
    // Stands at the signals of the process that made the file.
    struct relay : watcher {
        pollable* to = nullptr;
        relay() noexcept : watcher(fire) {}
        static void fire(watcher& w, k::u32, lwkt::wake_list& woken) {
            static_cast<relay&>(w).to->notify(poll_can_read, woken);
        }
    };
    // Stands at those of the process that reads.
    struct reader : watcher {
        lwkt::wait_queue queue;
        reader() noexcept : watcher(fire) {}
        ~reader() { leave(); }
        static void fire(watcher& w, k::u32, lwkt::wake_list& woken) { woken.take_all(static_cast<reader&>(w).queue); }
    };

    proc::signal_set wanted() const noexcept {
        return proc::signal_set(wanted_.load(std::memory_order_relaxed)).without(proc::uncatchable_signals);
    }
    k::status wait() noexcept {
        reader here;
        here.watch(proc::current_process().signals.arrivals());
        return proc::sleep(here.queue, [this] { return ready() != 0; });
    }

    const k::u64 inode_ = fresh_inode();
    const k::ref<proc::process> maker_;
    std::atomic<k::u64> wanted_;
    pollable watched_;
    relay relay_;
};

k::result<k::u64> signal_file::read(xio::sink& to) noexcept {
    if (to.size() < sizeof(signal_record)) return k::error::inval;
    proc::thread& t = proc::current();
    k::u64 done = 0;
    while (to.size() - done >= sizeof(signal_record)) {
        proc::signal_info info;
        if (t.owner.signals.take(t.signals, wanted(), info)) {
            const k::status written = to.write_value(done, record_of(info));
            if (!written && !done) return written.error();
            if (!written) break;
            done += sizeof(signal_record);
            continue;
        }
        if (done) break;
        if (nonblocking()) return k::error::again;
        TRY(wait());
    }
    return done;
}

} // namespace

k::result<file_ref> make_signal_file(proc::signal_set wanted, k::u32 flags) noexcept {
    auto* made = mem::make<signal_file>(k::ref<proc::process>::to(proc::current_process()), wanted, flags);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

k::status change_signal_file(file& f, proc::signal_set wanted) noexcept {
    if (f.kind() != file_kind::signals) return k::error::inval;
    static_cast<signal_file&>(f).change(wanted);
    return {};
}

} // namespace files
