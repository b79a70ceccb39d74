#include "sys/vfs/fuse_connection.h"

#include "kernel/mem/slab.h"
#include "sys/vfs/userfs_server.h"
#include "sys/vm/object.h"

#include <cstring>

namespace vfs::fuse {

namespace {

// Numbers are even; with the lowest bit set they say which request an interrupt is about.
constexpr k::u64 interrupt_bit = 1, unique_step = 2;
constexpr unsigned most_posted = 4096;
constexpr k::i32 was_ended = 1; // in the place of an answer's error, which is never above 0
constexpr k::u64 least_read_room = 8192;
constexpr k::u64 usual_pages = 32, most_pages = 256;

} // namespace

k::result<request_ref> request::make(const form& f) noexcept {
    auto* at = static_cast<request*>(mem::allocate(sizeof(request)));
    if (!at) return k::error::nomem;
    request_ref made(new (at) request);
    std::size_t bytes = sizeof(request_head) + f.arguments.size();
    for (unsigned i = 0; i < f.name_count; i++)
        bytes += f.names[i].size() + 1;
    made->head_ = static_cast<std::byte*>(mem::allocate(bytes));
    if (!made->head_) return k::error::nomem;
    if (f.how == taking::at_most && f.most > small) {
        auto* room = static_cast<std::byte*>(mem::allocate(f.most));
        if (!room) return k::error::nomem;
        made->room_ = room;
    }
    const request_head head{.bytes = static_cast<k::u32>(bytes),
                            .opcode = f.opcode,
                            .unique = 0,
                            .node = f.node,
                            .uid = 0,
                            .gid = 0,
                            .pid = 0,
                            .unused = 0};
    std::byte* to = made->head_;
    std::memcpy(to, &head, sizeof(head));
    to += sizeof(head);
    if (!f.arguments.empty()) std::memcpy(to, f.arguments.data(), f.arguments.size());
    to += f.arguments.size();
    for (unsigned i = 0; i < f.name_count; i++) {
        std::memcpy(to, f.names[i].data(), f.names[i].size());
        to += f.names[i].size();
        *to++ = std::byte{0};
    }
    made->head_bytes_ = static_cast<k::u32>(bytes);
    made->how_ = f.how;
    made->most_ = f.most;
    made->node_ = f.node;
    made->is_init_ = f.opcode == opcode::init;
    made->is_extended_ = f.opcode >= opcode::set_extended && f.opcode <= opcode::remove_extended;
    made->has_answer_ = f.opcode != opcode::forget && f.opcode != opcode::forget_many;
    return made;
}

request::~request() {
    mem::free(head_);
    if (room_ != small_room_) mem::free(room_);
}

void request::last_holder_left() noexcept {
    this->~request();
    mem::free(this);
}

// What follows the head of an answer. EIO: not so many can have been asked for; EFAULT, ENOMEM.
k::status request::take(const xio::source& from) noexcept {
    const k::u64 bytes = from.size() - sizeof(answer_head);
    const bool fits = how_ == taking::nothing ? bytes == 0 : how_ == taking::exactly ? bytes == most_ : bytes <= most_;
    if (!fits) return k::error::io;
    answered_ = bytes;
    if (how_ == taking::pages) return bytes ? take_pages(from) : k::status();
    return bytes ? from.read(sizeof(answer_head), {room_, bytes}) : k::status();
}

k::status request::take_pages(const xio::source& from) noexcept {
    const k::u64 count = k::align_up(answered_, k::u64{arch::page_size}) >> arch::page_shift;
    xio::sink to;
    {
        auto** const fresh = static_cast<vm::page**>(mem::allocate(count * sizeof(vm::page*)));
        if (!fresh) return k::error::nomem;
        k::u64 n = 0;
        while (n < count && (fresh[n] = vm::user_page(vm::fill::any).release()))
            n++;
        auto over = n == count ? xio::sink::over_pages({fresh, count}, 0, count << arch::page_shift)
                               : k::result<xio::sink>(k::error::nomem);
        for (k::u64 i = 0; i < n; i++)
            (void)vm::page_ref(fresh[i]); // the sink's alone from here on
        mem::free(fresh);
        to = TRY(std::move(over));
    }
    const xio::source bytes = TRY(from.slice(sizeof(answer_head), answered_));
    const xio::moved m = xio::copy_some(bytes, to, xio::reason::page_in);
    if (m.bytes != answered_) return m.status ? k::error::io : m.status.error();
    if (answered_ < to.size()) TRY(to.zero(answered_, to.size() - answered_));
    pages_ = TRY(to.into_source());
    return {};
}

connection::~connection() {
    lwkt::spin_guard guard(lock_);
    kassert(waiting_.empty() && asked_.empty());
}

// --- The file system's side

k::status connection::begin(const asker& who, k::u64 most_read) noexcept {
    const init_question wanted{.major = major_version,
                               .minor = minor_version,
                               .most_ahead = most_pages << arch::page_shift,
                               .flags = async_read | big_writes | no_open_needed | parallel_directories | page_count |
                                        no_open_directory_needed};
    request_ref init = TRY(request::make({.opcode = opcode::init,
                                          .arguments = std::as_bytes(std::span(&wanted, 1)),
                                          .how = taking::at_most,
                                          .most = sizeof(init_answer)}));
    phase before = phase::unused;
    if (!phase_.compare_exchange_strong(before, phase::starting, std::memory_order_acq_rel)) return k::error::inval;
    who_ = who;
    most_read_ = std::max<k::u64>(most_read, arch::page_size);
    (void)queue(std::move(init)); // closed meanwhile: so will be told who asks
    return {};
}

k::status connection::start() noexcept {
    bool killed = false;
    starting_.wait([&] { return now_in() != phase::starting || (killed = who_.killed && who_.killed()); });
    switch (now_in()) {
    case phase::running: return {};
    case phase::starting: return k::error::intr;
    case phase::refused: return k::error::connrefused;
    default: return k::error::notconn;
    }
}

// False: it is over.
bool connection::queue(request_ref r) noexcept {
    auto* head = reinterpret_cast<request_head*>(r->head_);
    head->bytes += static_cast<k::u32>(r->payload.size());
    if (who_.identify) who_.identify(*head);
    {
        lwkt::spin_guard guard(lock_);
        if (now_in() == phase::over) return false;
        last_unique_ += unique_step;
        head->unique = r->unique_ = last_unique_;
        if (r->posted_) posted_++;
        r->stage_.store(request::stage::waits, std::memory_order_relaxed);
        if (r->has_answer_) about_.insert(*r);
        waiting_.push_back(*r.release());
    }
    readers_.wake_one();
    changed();
    return true;
}

bool connection::take_place() noexcept {
    unsigned seen = asked_count_.load(std::memory_order_relaxed);
    while (seen < most_asked)
        if (asked_count_.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) return true;
    return false;
}

k::status connection::wait_for_place() noexcept {
    if (take_place()) [[likely]]
        return {};
    bool taken = false, killed = false;
    askers_.wait([&] {
        killed = who_.killed && who_.killed();
        return killed || now_in() == phase::over || (taken = take_place());
    });
    if (taken) return {};
    askers_.wake_one(); // it may have been this one's turn
    return killed ? k::error::intr : k::error::notconn;
}

k::status connection::ask(request& r) noexcept {
    TRY(start());
    TRY(wait_for_place());
    r.counted_ = true;
    if (!queue(request_ref::to(r))) {
        asked_count_.fetch_sub(1, std::memory_order_relaxed);
        return k::error::notconn;
    }
    bool told = false;
    for (;;) {
        bool done = false, killed = false;
        r.waiter_.wait([&] {
            done = r.stage_.load(std::memory_order_acquire) == request::stage::done;
            killed = !done && who_.killed && who_.killed();
            return done || killed || (!told && who_.signalled && who_.signalled());
        });
        if (done) break;
        if (killed && abandon(r)) return k::error::intr;
        if (killed) { // the answer is there, but for a moment
            r.waiter_.wait([&] { return r.stage_.load(std::memory_order_acquire) == request::stage::done; });
            break;
        }
        told = true;
        interrupt(r);
    }
    if (r.error_ == was_ended) return k::error::notconn;
    if (!r.error_) return {};
    const auto said = static_cast<k::error>(-r.error_);
    if (said == k::error::xdev || (said == k::error::intr && told)) return said;
    if (r.is_extended_ && (said == k::error::nodata || said == k::error::range || said == k::error::opnotsupp))
        return said;
    if (said == k::error::opnotsupp) return k::error::inval; // not of this file; ENOSYS: it never does it
    return userfs::believable(said);
}

bool connection::post(request_ref r) noexcept {
    r->posted_ = true;
    if (now_in() != phase::running || is_full()) return false;
    return queue(std::move(r));
}

bool connection::is_full() noexcept {
    lwkt::spin_guard guard(lock_);
    return posted_ >= most_posted;
}

bool connection::is_asked_about(k::u64 node) noexcept {
    lwkt::spin_guard guard(lock_);
    return about_.find(node) != about_.end();
}

// It is in no list any more; the list's hold is the caller's to let go of.
void connection::forget_locked(request& r) noexcept {
    if (r.queued_.is_linked()) waiting_.erase(waiting_.iterator_to(r));
    if (r.by_number_.is_linked()) asked_.erase(asked_.iterator_to(r));
    if (r.by_node_.is_linked()) about_.erase(about_.iterator_to(r));
    if (r.interrupting_.is_linked()) interrupting_.erase(interrupting_.iterator_to(r));
    if (std::exchange(r.posted_, false)) posted_--;
    if (std::exchange(r.counted_, false)) asked_count_.fetch_sub(1, std::memory_order_release);
}

void connection::finish(request& r, k::i32 error) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        r.settled_ = true;
    }
    if (r.abandoned_ && !error) undo(r);
    r.error_ = error;
    r.stage_.store(request::stage::done, std::memory_order_release);
    r.waiter_.wake_all();
    askers_.wake_one();
    if (r.next_) say_internally(std::move(r.next_));
}

// Who asked waits no longer: what was not taken yet will not be. False: it will be done at once.
bool connection::abandon(request& r) noexcept {
    request_ref unasked;
    {
        lwkt::spin_guard guard(lock_);
        if (r.settled_) return false;
        r.abandoned_ = true;
        if (r.queued_.is_linked()) {
            forget_locked(r);
            unasked = request_ref(&r);
        }
    }
    if (unasked)
        askers_.wake_one();
    else
        interrupt(r);
    return true;
}

// Beyond what may be posted: there are no more of these than were asked.
void connection::say_internally(k::result<request_ref> r) noexcept {
    if (!r) return;
    (*r)->posted_ = true;
    (void)queue(*std::move(r));
}

// Nobody is there to use what was answered: the node, the handle are not kept.
void connection::undo(request& r) noexcept {
    request_head asked;
    std::memcpy(&asked, r.head_, sizeof(asked));
    const auto close = [&](k::u64 node, const open_answer& opened, bool is_directory, request_ref then) {
        open_question as{}; // CREATE's question begins alike
        std::memcpy(&as, r.head_ + sizeof(asked), sizeof(as));
        const release_question how{opened.handle, as.flags, 0, 0};
        auto said = request::make({.opcode = is_directory ? opcode::release_directory : opcode::release,
                                   .node = node,
                                   .arguments = std::as_bytes(std::span(&how, 1))});
        if (said) (*said)->next_ = std::move(then);
        say_internally(std::move(said));
    };
    const auto forgetting = [&](const entry_answer& e) {
        const forget_question how{1};
        return request::make(
            {.opcode = opcode::forget, .node = e.node, .arguments = std::as_bytes(std::span(&how, 1))});
    };
    const auto forget = [&](const entry_answer& e) {
        if (e.node) say_internally(forgetting(e));
    };
    switch (asked.opcode) {
    case opcode::look_up:
    case opcode::make_link:
    case opcode::make_node:
    case opcode::make_directory:
    case opcode::link: forget(r.value<entry_answer>()); break;
    case opcode::open:
    case opcode::open_directory:
        close(asked.node, r.value<open_answer>(), asked.opcode == opcode::open_directory, {});
        break;
    case opcode::create: {
        const auto made = r.value<create_answer>();
        auto then = forgetting(made.entry);
        if (made.entry.node) close(made.entry.node, made.opened, false, then ? *std::move(then) : request_ref());
        break;
    }
    default: break;
    }
}

void connection::interrupt(request& r) noexcept {
    {
        lwkt::spin_guard guard(lock_);
        if (!interrupts_ || r.to_interrupt_) return;
        r.to_interrupt_ = true; // when it is taken, if it was not yet
        if (!r.by_number_.is_linked()) return;
        interrupting_.push_back(r);
    }
    readers_.wake_one();
    changed();
}

void connection::end(request_ref last, bool politely) noexcept {
    list gone;
    {
        lwkt::spin_guard guard(lock_);
        const phase before = phase_.exchange(phase::over, std::memory_order_acq_rel);
        if (before == phase::over && politely) return;
        const auto take_out = [&](request& r) NO_THREAD_SAFETY_ANALYSIS {
            forget_locked(r);
            gone.push_back(r);
        };
        while (!asked_.empty())
            take_out(*asked_.begin());
        for (auto at = waiting_.begin(); at != waiting_.end();) {
            request& r = *at++;
            if (!politely || !r.posted_) take_out(r);
        }
        if (politely && last && before == phase::running) {
            last_unique_ += unique_step;
            reinterpret_cast<request_head*>(last->head_)->unique = last->unique_ = last_unique_;
            waiting_.push_back(*last.release());
        }
    }
    while (!gone.empty()) {
        request_ref r(&gone.front());
        gone.pop_front();
        finish(*r, was_ended);
    }
    starting_.wake_all();
    readers_.wake_all();
    askers_.wake_all();
    changed();
}

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
    }
    phase before = phase::starting;
    (void)phase_.compare_exchange_strong(before, good ? phase::running : phase::refused, std::memory_order_acq_rel);
    starting_.wake_all();
}

// --- The device's side

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
        if (given) return bytes;
        if (r->is_init_) started(*r, false);
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
    if (!head.unique) return k::error::opnotsupp; // news
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
    k::status taken;
    if (head.error)
        taken = from.size() == sizeof(answer_head) ? k::status() : k::status(k::error::io);
    else
        taken = r->take(from);
    if (r->is_init_) started(*r, taken && !head.error);
    finish(*r, taken ? head.error : -static_cast<k::i32>(k::error::io));
    if (taken) return from.size();
    return taken.error() == k::error::io ? k::error::inval : taken.error();
}

} // namespace vfs::fuse
