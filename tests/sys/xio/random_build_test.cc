// Random operations that make, share and drop handles.
#include "sys/xio/walk.h"
#include "tests/sys/xio/program.h"

namespace xio_model {

namespace {

// The piece of neighbours in the pool that begins at frame `first`, in frames.
u32 run_frames(const memory& m, u32 first) {
    u32 end = first + 1;
    while (end < pool_frames && m.neighbours(end - 1))
        end++;
    return end - first;
}

} // namespace

void program::build_run() {
    either([this]<class Handle>() {
        unsigned payer;
        xio::stability promise;
        const auto lent = terms(payer, promise);
        const u32 first = below(pool_frames), size = run_frames(memory_, first) * page;
        const u32 offset = length_up_to(size), bytes = length_up_to(size - offset);
        list& planned = new_list(kind_of<Handle>, promise, payer);
        planned.add({first * page + offset, bytes});
        arm();
        settle(Handle::over_run(memory_.frame_of[first].real, offset, bytes, lent), planned);
    });
}

void program::build_pages() {
    either([this]<class Handle>() {
        unsigned payer;
        xio::stability promise;
        const auto lent = terms(payer, promise);
        u32 chosen[9];
        vm::page* pages[9];
        const u32 count = below(std::size(chosen) + 1);
        for (u32 i = 0; i < count; i++) {
            chosen[i] = i && below(2) ? std::min(chosen[i - 1] + 1, pool_frames - 1) : below(pool_frames);
            pages[i] = memory_.frame_of[chosen[i]].real;
        }
        const u32 offset = length_up_to(count * page + 1), bytes = length_up_to(count * page + 1);
        const bool enough = !bytes || offset + bytes <= count * page;
        list& planned = new_list(kind_of<Handle>, promise, payer);
        if (enough && bytes) scatter(planned, {chosen, count}, offset, bytes);
        arm();
        settle(Handle::over_pages({pages, count}, offset, bytes, lent), planned,
               enough ? std::nullopt : std::optional(k::error::inval));
    });
}

void program::build_from_kernel() {
    either([this]<class Handle>() {
        unsigned payer;
        xio::stability promise;
        const auto lent = terms(payer, promise);
        const u32 first = below(pool_frames), size = run_frames(memory_, first) * page;
        const u32 offset = length_up_to(size), bytes = length_up_to(size - offset);
        list& planned = new_list(kind_of<Handle>, promise, payer);
        planned.add({first * page + offset, bytes});
        arm();
        auto* at = static_cast<std::byte*>(vm::direct(memory_.frame_of[first].real)) + offset;
        settle(Handle::over_kernel({at, bytes}, lent), planned);
    });
}

namespace {

// Frames for the pages that a list has alone; each is a piece.
void adopt_pages(memory& m, list& planned, const xio::slice_base& real) {
    for (xio::walker w(real); w.left(); w.advance(w.run())) {
        const u32 f = m.adopt(vm::page_at(w.physical()));
        EXPECT_EQ(w.physical() % page, 0u);
        std::memcpy(m.bytes + f * page, w.address(), page);
        planned.add({f * page, static_cast<u32>(w.run())});
    }
}

} // namespace

void program::build_copy() {
    const u32 bytes = length_up_to(3 * page);
    if (memory_.own_free() < 3) return drop();
    unsigned payer;
    xio::stability promise;
    const auto lent = terms(payer, promise);
    support::fill_pattern(scratch_.first(bytes), below(1000));
    list& planned = new_list(pin_kind::source, promise, payer);
    const u64 copied = xio::read_ledger().copied[unsigned(xio::reason::kernel_write)];
    arm();
    auto made = xio::source::copy_of(scratch_.first(bytes), lent);
    const u64 now = xio::read_ledger().copied[unsigned(xio::reason::kernel_write)];
    copied_[unsigned(xio::reason::kernel_write)] += now - copied;
    if (made) {
        EXPECT_EQ(now - copied, bytes);
        adopt_pages(memory_, planned, *made);
        u32 done = 0;
        for (u32 i = 0; i < planned.count; done += planned.pieces[i++].bytes)
            EXPECT(!std::memcmp(memory_.bytes + planned.pieces[i].at, scratch_.data() + done, planned.pieces[i].bytes));
        EXPECT_EQ(done, bytes);
    }
    settle(std::move(made), planned);
}

void program::build_fresh() {
    const u32 bytes = length_up_to(3 * page);
    if (memory_.own_free() < 3) return drop();
    unsigned payer;
    xio::stability promise;
    const auto lent = terms(payer, promise);
    list& planned = new_list(pin_kind::sink, promise, payer);
    arm();
    auto made = xio::sink::fresh(bytes, lent);
    if (made) adopt_pages(memory_, planned, *made);
    EXPECT(!made || planned.bytes() == bytes);
    settle(std::move(made), planned);
}

void program::take_slice() {
    either([this]<class Handle>() {
        auto from = choose<Handle>();
        const u32 offset = length_up_to(from.model.bytes + 2), bytes = length_up_to(from.model.bytes + 2);
        auto part = from.real.slice(offset, bytes);
        const bool inside = offset + bytes <= from.model.bytes;
        EXPECT_EQ(bool(part), inside);
        if (!part) {
            EXPECT(part.error() == k::error::inval);
            return;
        }
        slice model = bytes ? slice{from.model.of, from.model.offset + offset, bytes} : slice();
        if (bytes) model.of->holders++;
        put(std::move(part).value(), model);
    });
}

void program::take_clone() {
    either([this]<class Handle>() {
        auto from = choose<Handle>();
        if (from.model.of) from.model.of->holders++;
        put(from.real.clone(), from.model);
    });
}

void program::split() {
    either([this]<class Handle>() {
        auto from = choose<Handle>();
        const u32 bytes = length_up_to(from.model.bytes);
        Handle front = from.real.split_front(bytes);
        slice model = bytes ? slice{from.model.of, from.model.offset, bytes} : slice();
        if (bytes) model.of->holders++;
        from.model.offset += bytes;
        from.model.bytes -= bytes;
        if (!from.model.bytes) release(from.model);
        put(std::move(front), model);
    });
}

void program::append() {
    either([this]<class Handle>() {
        auto front = choose<Handle>(), back = choose<Handle>();
        if (count_pieces(front.model) + count_pieces(back.model) > max_pieces) return;
        if (front.model.bytes + back.model.bytes > max_list_bytes) return;
        const list* a = front.model.of ? front.model.of : back.model.of;
        const list* b = back.model.of ? back.model.of : a;
        auto promise = xio::stability::stable;
        if (a && (a->promise == xio::stability::live || b->promise == xio::stability::live))
            promise = xio::stability::live;
        else if (a && (a->promise == xio::stability::blocked || b->promise == xio::stability::blocked))
            promise = xio::stability::blocked;
        list& planned = new_list(kind_of<Handle>, promise, a ? a->payer : 0);
        add_pieces(planned, front.model);
        add_pieces(planned, back.model);
        arm();
        settle(Handle::append(front.real, back.real), planned);
    });
}

void program::drop() {
    either([this]<class Handle>() {
        auto which = choose<Handle>();
        which.real = Handle();
        release(which.model);
    });
}

void program::move() {
    either([this]<class Handle>() {
        auto from = choose<Handle>(), to = choose<Handle>();
        if (below(2)) return put(std::move(from.real), std::exchange(from.model, slice()));
        std::swap(from.real, to.real);
        std::swap(from.model, to.model);
    });
}

} // namespace xio_model
