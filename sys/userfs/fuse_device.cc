// The device's side of a line: requests go out, answers come in.
#include "kernel/lwkt/trace.h"
#include "sys/userfs/fuse_connection.h"

#include <cstring>

namespace vfs::fuse {

namespace {

constexpr k::u64 least_read_room = 8192;
constexpr k::u64 usual_pages = 32;

} // namespace

// Init was answered.
void connection::started(const request& r, bool good) noexcept {
    init_answer said{};
    std::memcpy(&said, r.room(), std::min<k::u64>(r.answered(), sizeof(said)));
    good = good && r.answered() >= short_init_answer && said.major == major_version && said.minor >= least_minor;
    if (good) {
        k::u64 pages = usual_pages;
        if (said.flags & page_count && r.answered() == sizeof(said))
            pages = std::clamp<k::u64>(said.most_pages, 1, most_pages);
        const k::u64 most = pages << arch::page_shift;
        most_read_ = k::align_down(std::min(most_read_, most), k::u64{arch::page_size});
        most_write_ = std::clamp<k::u64>(said.most_write, arch::page_size, most);
        minor_ = said.minor;
        flags_ = said.flags;
    }
    phase before = phase::starting;
    (void)phase_.compare_exchange_strong(before, good ? phase::running : phase::refused, std::memory_order_acq_rel);
    starting_.wake_all();
}

unsigned connection::ready() noexcept {
    lwkt::spin_guard guard(lock_);
    if (now_in() == phase::unused) return is_unused;
    if (!waiting_.empty() || !interrupting_.empty()) return has_requests;
    return now_in() == phase::over ? unsigned{is_over} : 0;
}

// The one that waits longest, which is the caller's to hold; or, empty, the number of one to interrupt.
request_ref connection::next(interrupt_question& interrupt, k::u64& number) noexcept {
    lwkt::spin_guard guard(lock_);
    if (!interrupting_.empty()) {
        request& r = interrupting_.front();
        interrupting_.pop_front();
        interrupt.unique = r.unique_;
        number = r.unique_ | interrupt_bit;
        return {};
    }
    if (waiting_.empty()) return {};
    request& r = waiting_.front();
    waiting_.pop_front();
    if (!r.has_answer_ || now_in() == phase::over) {
        forget_locked(r);
        return request_ref(&r);
    }
    r.stage_.store(request::stage::asked, std::memory_order_relaxed);
    asked_.insert(r);
    if (r.to_interrupt_) {
        interrupting_.push_back(r);
        number = r.unique_ | interrupt_bit; // for another one to take: who takes this one will be busy with it
    }
    return request_ref::to(r);
}

k::result<k::u64> connection::read(xio::sink& to) noexcept {
    if (now_in() == phase::unused) return k::error::perm;
    if (to.size() < std::max(least_read_room, sizeof(request_head) + sizeof(write_question) + most_write_))
        return k::error::inval;
    for (;;) {
        interrupt_question about{};
        k::u64 number = 0;
        const request_ref r = next(about, number);
        if (r && number) {
            readers_.wake_one();
            changed();
        }
        if (!r && !number) return now_in() == phase::over ? k::error::nodev : k::error::again;
        if (!r) {
            struct {
                request_head head;
                interrupt_question about;
            } whole{{sizeof(whole), opcode::interrupt, number, 0, 0, 0, 0, 0}, about};
            TRY(to.write_value(0, whole));
            return sizeof(whole);
        }
        const k::u64 bytes = r->head_bytes_ + r->payload.size();
        k::status given = bytes > to.size() ? k::error::io : to.write(0, {r->head_, r->head_bytes_});
        if (given && !r->payload.empty()) {
            xio::sink rest = TRY(to.slice(r->head_bytes_, r->payload.size()));
            const xio::moved m = xio::copy_some(r->payload, rest, xio::reason::file_read);
            if (m.bytes != r->payload.size()) given = m.status ? k::error::io : m.status.error();
        }
        if (given) {
            trace::note(trace::event::message_got, reinterpret_cast<k::u64>(r.get()), 0, "fuse");
            r->payload = xio::source(); // the program has it now
            return bytes;
        }
        if (r->opcode_ == opcode::init) started(*r, false);
        if (take_out(*r)) finish(*r, -static_cast<k::i32>(k::error::io));
        if (bytes <= to.size()) return given.error();
    }
}

// A request that is the device's becomes the caller's alone. False: another was quicker.
bool connection::take_out(request& r) noexcept {
    request_ref lists;
    lwkt::spin_guard guard(lock_);
    if (!r.by_number_.is_linked()) return false;
    forget_locked(r);
    (void)request_ref(&r); // the list's hold, which is not the last
    return true;
}

void connection::note_interrupt_answer(request& r, k::i32 error) noexcept {
    if (error == -static_cast<k::i32>(k::error::nosys)) interrupts_ = false;
    // Once more: it came before what it interrupts.
    if (error == -static_cast<k::i32>(k::error::again) && !r.interrupting_.is_linked()) interrupting_.push_back(r);
}

k::result<k::u64> connection::write(const xio::source& from) noexcept {
    constexpr k::i32 end_of_errors = -512;
    if (now_in() == phase::unused) return k::error::perm;
    if (from.size() < sizeof(answer_head)) return k::error::inval;
    const auto head = TRY(from.read_value<answer_head>(0));
    if (head.bytes != from.size()) return k::error::inval;
    if (!head.unique) {
        TRY(hear(static_cast<news>(head.error), from));
        return from.size();
    }
    if (head.error > 0 || head.error <= end_of_errors) return k::error::inval;
    request_ref r;
    {
        lwkt::spin_guard guard(lock_);
        const auto found = asked_.find(head.unique & ~interrupt_bit);
        if (found == asked_.end()) return k::error::noent;
        if (head.unique & interrupt_bit) {
            if (from.size() != sizeof(answer_head)) return k::error::inval;
            note_interrupt_answer(*found, head.error);
            return from.size();
        }
        r = request_ref(&*found); // the list's hold
        forget_locked(*r);
    }
    trace::note(trace::event::replied, reinterpret_cast<k::u64>(r.get()), from.size() - sizeof(answer_head), "fuse");
    k::status taken;
    if (head.error)
        taken = from.size() == sizeof(answer_head) ? k::status() : k::status(k::error::io);
    else
        taken = r->take(from);
    if (r->opcode_ == opcode::init) started(*r, taken && !head.error);
    finish(*r, taken ? head.error : -static_cast<k::i32>(k::error::io));
    if (taken) return from.size();
    return taken.error() == k::error::io ? k::error::inval : taken.error();
}

} // namespace vfs::fuse
