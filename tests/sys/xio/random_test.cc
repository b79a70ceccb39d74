// Everything at random against the model: the loop, and what must hold after each operation.
#include "tests/fuzz/xio_program.h"
#include "tests/sys/xio/program.h"

namespace fault_injection = mem::fault_injection;

namespace xio_model {

bool program::set_up() {
    block_ = support::allocate_block(3);
    if (!block_ || !singles_.allocate() || !scratch_ || !other_) return false;
    vm::page* pool[pool_frames];
    std::copy_n(singles_.span().begin(), singles_.size(), pool);
    for (u32 i = 0; i < 8; i++)
        pool[singles_.size() + i] = block_.get() + i;
    std::sort(pool, pool + pool_frames);
    for (u32 f = 0; f < pool_frames; f++) {
        memory_.frame_of[f].real = pool[f];
        memory_.frame_of[f].head = static_cast<u32>(std::find(pool, pool + f, vm::head_of(pool[f])) - pool);
        support::fill_pattern({memory_.bytes + f * page, page}, f);
        std::memcpy(vm::direct(pool[f]), memory_.bytes + f * page, page);
    }
    before_ = xio::read_ledger();
    return true;
}

void program::run() {
    while (decide_.more() && !selftest::failed()) {
        one_operation();
        operations_++;
        check_handles();
        check_pins();
        if (operations_ % 64 == 0) check_all_bytes();
    }
    if (!selftest::failed()) check_all_bytes();
    check_ledger();
    if (selftest::failed()) selftest::fail(k::where::here(), "at operation {}", operations_);
}

void program::tear_down() {
    for (auto& s : sources_)
        s = xio::source();
    for (auto& s : sinks_)
        s = xio::sink();
    for (xio::payer& p : payers_)
        EXPECT_EQ(p.source_pages() + p.sink_pages(), 0u);
    for (u32 f = 0; f < pool_frames; f++)
        if (memory_.frame_of[f].head == f) EXPECT(memory_.frame_of[f].real->holds.only(vm::hold::reference));
    constexpr auto built = unsigned(xio::happening::built), released = unsigned(xio::happening::released);
    const xio::ledger after = xio::read_ledger();
    EXPECT_EQ(after.count[built] - before_.count[built], after.count[released] - before_.count[released]);
}

void program::one_operation() {
    using operation = void (program::*)();
    constexpr operation all[] = {
        &program::build_run,
        &program::build_pages,
        &program::build_from_kernel,
        &program::build_copy,
        &program::build_fresh,
        &program::take_slice,
        &program::take_clone,
        &program::split,
        &program::append,
        &program::drop,
        &program::move,
        &program::copy,
        &program::read,
        &program::write,
        &program::zero,
        &program::become_sink,
        &program::become_source,
        &program::compare,
        &program::checksum,
        &program::segments,
        &program::segments,
        &program::whole_pages,
        &program::view_source,
        &program::view_sink,
        // Once more what the rest lives on.
        &program::build_pages,
        &program::append,
        &program::take_slice,
        &program::copy,
    };
    (this->*all[below(std::size(all))])();
}

void program::check_handles() {
    auto check = [](const xio::slice_base& real, const slice& model) {
        EXPECT_EQ(real.size(), model.bytes);
        EXPECT_EQ(real.promise(), model.of ? model.of->promise : xio::stability::stable);
        EXPECT_EQ(real.birth_ns() != 0, model.of != nullptr);
    };
    for (unsigned i = 0; i < slots; i++) {
        check(sources_[i], models_[0][i]);
        check(sinks_[i], models_[1][i]);
    }
}

void program::check_pins() {
    for (u32 f = 0; f < frames; f++) {
        const frame& expected = memory_.frame_of[f];
        if (!expected.real || expected.head != f) continue;
        EXPECT_EQ(expected.real->holds.count(vm::hold::source_pin), expected.pins[0]);
        EXPECT_EQ(expected.real->holds.count(vm::hold::sink_pin), expected.pins[1]);
        EXPECT_EQ(expected.real->holds.count(vm::hold::reference), f < pool_frames ? 1u : 0u);
    }
    for (unsigned p = 0; p < payers; p++) {
        EXPECT_EQ(payers_[p].source_pages(), charged_[p][0]);
        EXPECT_EQ(payers_[p].sink_pages(), charged_[p][1]);
    }
}

void program::check_all_bytes() {
    for (u32 f = 0; f < frames; f++)
        if (memory_.frame_of[f].real) EXPECT(memory_.same(f));
}

void program::check_written(const slice& s) {
    for_each_piece(s, [this](piece p) {
        for (u32 f = p.first_frame(); f < p.end_frame(); f++)
            EXPECT(memory_.same(f));
    });
}

void program::check_ledger() {
    const xio::ledger now = xio::read_ledger();
    for (unsigned r = 0; r < xio::reasons; r++)
        EXPECT_EQ(now.copied[r] - before_.copied[r], copied_[r]);
}

// Often near the edges of words, sectors and pages.
u32 program::length_up_to(u32 most) {
    constexpr u32 edges[] = {0, 1, 2, 7, 8, 9, 511, 512, page - 1, page, page + 1, 2 * page - 1, 2 * page};
    const u32 choice = below(2 * std::size(edges));
    return choice < std::size(edges) ? std::min(edges[choice], most) : below(u64{most} + 1);
}

xio::loan_terms program::terms(unsigned& payer, xio::stability& promise) {
    payer = below(payers);
    promise = static_cast<xio::stability>(below(3));
    return {payers_[payer], promise};
}

list& program::new_list(pin_kind kind, xio::stability promise, unsigned payer) {
    list* l = lists_;
    while (l->holders)
        l++;
    kassert(l < lists_ + lists);
    *l = list();
    l->holders = 1;
    l->kind = kind;
    l->promise = promise;
    l->payer = payer;
    return *l;
}

void program::charge(const list& l, int change) {
    charged_[l.payer][index(l.kind)] += static_cast<u64>(change * static_cast<k::i64>(l.pages()));
}

// Takes or gives up what a list holds.
void program::hold(const list& l, int change) {
    memory_.pin(l, change);
    charge(l, change);
}

void program::release(slice& s) {
    list* l = std::exchange(s, slice()).of;
    if (!l || --l->holders) return;
    hold(*l, -1);
    memory_.release_unpinned();
}

// The pieces of pages in any order: neighbours in a row make one piece.
void program::scatter(list& to, std::span<const u32> pages, u32 offset, u32 bytes) const {
    u32 previous = frames;
    for (u32 f : pages.subspan(offset / page)) {
        if (!bytes) break;
        const u32 start = offset % page, part = std::min(bytes, page - start);
        offset = 0;
        bytes -= part;
        if (previous + 1 == f && memory_.neighbours(previous))
            to.pieces[to.count - 1].bytes += part;
        else
            to.add({f * page + start, part});
        previous = f;
    }
}

void program::gather(const slice& s, std::byte* to) const {
    for_each_piece(s, [&](piece p) {
        std::memcpy(to, memory_.bytes + p.at, p.bytes);
        to += p.bytes;
    });
}

void program::spread(const slice& s, const std::byte* from) {
    for_each_piece(s, [&](piece p) {
        std::memcpy(memory_.bytes + p.at, from, p.bytes);
        from += p.bytes;
    });
}

void program::arm() {
    armed_ = decide_.one_in(16);
    if (armed_) fault_injection::fail_nth(1 + below(4));
}

bool program::disarm() {
    const bool failed = std::exchange(armed_, false) && fault_injection::fired();
    fault_injection::fail_nth(0);
    return failed;
}

} // namespace xio_model

void fuzz::run_xio_program(number_stream& decisions) {
    auto program = mem::make_box<xio_model::program>(decisions);
    REQUIRE(program && program->set_up());
    program->run();
    program->tear_down();
}

SELFTEST(xio, random_operations_match_the_model) {
    for (unsigned round = 0; round < 8 && !selftest::failed(); round++) {
        fuzz::number_stream decisions(selftest::seed() + round, 20'000);
        fuzz::run_xio_program(decisions);
    }
}

SELFTEST(xio, random_operations_from_bytes_match_the_model) {
    // What a fuzzer would feed, so that its way of deciding works everywhere.
    support::buffer bytes(20'000);
    REQUIRE(bytes);
    support::fill_pattern(bytes.bytes(), selftest::seed());
    fuzz::number_stream decisions(bytes.bytes());
    fuzz::run_xio_program(decisions);
}
