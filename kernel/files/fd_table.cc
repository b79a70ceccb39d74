#include "kernel/files/fd_table.h"

#include "kernel/files/locks.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

constexpr k::u64 bit(k::u32 slot) {
    return k::u64{1} << slot;
}

} // namespace

k::result<k::ref<fd_table>> fd_table::create() noexcept {
    auto* made = mem::make<fd_table>();
    if (!made) return k::error::nomem;
    return k::ref<fd_table>(made);
}

fd_table::~fd_table() {
    for (k::u32 i = 0; i < chunks_; ++i)
        mem::free(more_[i]);
    mem::free(more_);
}

void fd_table::last_holder_left() noexcept {
    close_range(0, most);
    mem::destroy(this);
}

k::result<k::ref<fd_table>> fd_table::clone(bool for_child) noexcept {
    k::ref<fd_table> copy = TRY(create());
    lwkt::spin_guard guard(lock_);
    // Nobody else sees the copy yet, but its functions want its lock.
    lwkt::spin_guard inner(copy->lock_);
    for (k::u32 first = 0; chunk* from = chunk_of(first); first += chunk_slots) {
        if (!from->used) continue;
        if (auto room = copy->make_room(first); !room) return room.error();
        chunk& to = *copy->chunk_of(first);
        for (k::u64 left = from->used; left; left &= left - 1) {
            const auto slot = static_cast<k::u32>(std::countr_zero(left));
            file& same = *from->slots[slot];
            to.slots[slot] = file_ref::to(for_child ? same.in_child() : same).release();
        }
        to.used = from->used;
        to.close_on_exec = from->close_on_exec;
    }
    copy->first_free_ = first_free_;
    return copy;
}

file_ref fd_table::get(int fd) noexcept {
    lwkt::spin_guard guard(lock_);
    file* found = slot(static_cast<k::u32>(fd));
    return found ? file_ref::to(*found) : file_ref();
}

// Makes the chunks up to that of `fd`.
k::status fd_table::make_room(k::u32 fd) noexcept {
    const k::u32 needed = fd / chunk_slots;
    if (needed > directory_) {
        const k::u32 room = std::bit_ceil(needed);
        auto** wider = static_cast<chunk**>(mem::allocate(room * sizeof(chunk*)));
        if (!wider) return k::error::nomem;
        std::copy_n(more_, chunks_, wider);
        mem::free(std::exchange(more_, wider));
        directory_ = room;
    }
    while (chunks_ < needed) {
        chunk* made = mem::make<chunk>();
        if (!made) return k::error::nomem;
        more_[chunks_++] = made;
    }
    return {};
}

k::result<k::u32> fd_table::find_free(k::u32 least, k::u32 limit) noexcept {
    for (k::u32 fd = std::max(least, first_free_); fd < limit;) {
        chunk* in = chunk_of(fd);
        const k::u64 free = in ? ~in->used >> (fd % chunk_slots) : ~k::u64{0};
        if (free) {
            fd += static_cast<k::u32>(std::countr_zero(free));
            if (fd >= limit) break;
            return fd;
        }
        fd = k::align_down(fd, chunk_slots) + chunk_slots;
    }
    return k::error::mfile;
}

void fd_table::put(k::u32 fd, file* what, bool close_on_exec) noexcept {
    chunk& in = *chunk_of(fd);
    const k::u32 slot = fd % chunk_slots;
    in.slots[slot] = what;
    in.used |= bit(slot);
    in.close_on_exec = close_on_exec ? in.close_on_exec | bit(slot) : in.close_on_exec & ~bit(slot);
    if (fd == first_free_) first_free_ = fd + 1;
}

file* fd_table::take(k::u32 fd) noexcept {
    file* held = slot(fd);
    if (!held) return nullptr;
    chunk_of(fd)->used &= ~bit(fd % chunk_slots);
    first_free_ = std::min(first_free_, fd);
    return held;
}

k::result<int> fd_table::install(file_ref what, bool close_on_exec, k::u32 limit, int least) noexcept {
    limit = std::min(limit, most);
    if (least < 0 || static_cast<k::u32>(least) >= limit) return least ? k::error::inval : k::error::mfile;
    lwkt::spin_guard guard(lock_);
    const k::u32 fd = TRY(find_free(static_cast<k::u32>(least), limit));
    TRY(make_room(fd));
    put(fd, what.release(), close_on_exec);
    return static_cast<int>(fd);
}

k::status fd_table::install_at(int at, file_ref what, bool close_on_exec, k::u32 limit) noexcept {
    const auto fd = static_cast<k::u32>(at);
    if (fd >= std::min(limit, most)) return k::error::badf;
    file_ref before;
    {
        lwkt::spin_guard guard(lock_);
        TRY(make_room(fd));
        before = file_ref(take(fd));
        put(fd, what.release(), close_on_exec);
    }
    (void)let_go(std::move(before));
    return {};
}

k::status fd_table::close(int fd) noexcept {
    file_ref held;
    {
        lwkt::spin_guard guard(lock_);
        held = file_ref(take(static_cast<k::u32>(fd)));
    }
    if (!held) return k::error::badf;
    return let_go(std::move(held));
}

k::status fd_table::let_go(file_ref held) noexcept {
    if (!held || !held->origin()) return {};
    drop_locks(*held->origin().node, this);
    return held->flush();
}

file_ref fd_table::take_next(k::u32& first, k::u32 last, bool only_on_exec) noexcept {
    lwkt::spin_guard guard(lock_);
    while (first <= last) {
        chunk* in = chunk_of(first);
        if (!in) break;
        const k::u64 wanted = (only_on_exec ? in->used & in->close_on_exec : in->used) >> (first % chunk_slots);
        if (wanted) {
            first += static_cast<k::u32>(std::countr_zero(wanted));
            return first <= last ? file_ref(take(first)) : file_ref();
        }
        first = k::align_down(first, chunk_slots) + chunk_slots;
    }
    return {};
}

void fd_table::close_range(k::u32 first, k::u32 last) noexcept {
    last = std::min(last, most - 1);
    while (file_ref held = take_next(first, last, false))
        (void)let_go(std::move(held));
}

void fd_table::close_on_exec() noexcept {
    k::u32 first = 0;
    while (file_ref held = take_next(first, most - 1, true))
        (void)let_go(std::move(held));
}

void fd_table::set_close_on_exec_range(k::u32 first, k::u32 last) noexcept {
    last = std::min(last, most - 1);
    lwkt::spin_guard guard(lock_);
    for (k::u32 fd = first; fd <= last;) {
        chunk* in = chunk_of(fd);
        if (!in) return;
        const k::u32 base = k::align_down(fd, chunk_slots);
        k::u64 mask = ~k::u64{0} << (fd - base);
        if (last - base < chunk_slots - 1) mask &= bit(last - base + 1) - 1;
        in->close_on_exec |= mask;
        fd = base + chunk_slots;
    }
}

k::result<bool> fd_table::closes_on_exec(int fd) noexcept {
    lwkt::spin_guard guard(lock_);
    const auto number = static_cast<k::u32>(fd);
    if (!slot(number)) return k::error::badf;
    return (chunk_of(number)->close_on_exec & bit(number % chunk_slots)) != 0;
}

k::status fd_table::set_close_on_exec(int fd, bool on) noexcept {
    lwkt::spin_guard guard(lock_);
    const auto number = static_cast<k::u32>(fd);
    if (!slot(number)) return k::error::badf;
    chunk& in = *chunk_of(number);
    const k::u64 mask = bit(number % chunk_slots);
    in.close_on_exec = on ? in.close_on_exec | mask : in.close_on_exec & ~mask;
    return {};
}

int fd_table::next_used(int fd) noexcept {
    if (fd < 0) return -1;
    lwkt::spin_guard guard(lock_);
    for (auto at = static_cast<k::u32>(fd);; at = k::align_down(at, chunk_slots) + chunk_slots) {
        chunk* in = chunk_of(at);
        if (!in) return -1;
        if (const k::u64 used = in->used >> (at % chunk_slots)) return static_cast<int>(at) + std::countr_zero(used);
    }
}

k::u32 fd_table::count() noexcept {
    lwkt::spin_guard guard(lock_);
    k::u32 sum = 0;
    for (k::u32 first = 0; chunk* in = chunk_of(first); first += chunk_slots)
        sum += static_cast<k::u32>(std::popcount(in->used));
    return sum;
}

} // namespace files
