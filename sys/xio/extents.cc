#include "sys/xio/extents.h"

#include "sys/xio/guard.h"
#include "sys/xio/ledger.h"

#include <new>

namespace xio {

constinit payer kernel_payer;

namespace {

// Calls visit(head) once for each block that a run of pages lies in; stops at false and returns where.
template <class Visit> page* for_each_head(page* first, k::u64 pages, Visit visit) {
    if (pages == 1) [[likely]]
        return visit(platform::block_head(first)) ? first + 1 : first;
    page* const end = first + pages;
    for (page* p = first; p < end;) {
        page* head = platform::block_head(p);
        if (!visit(head)) [[unlikely]]
            return p;
        p = head + platform::block_pages(head);
    }
    return end;
}

bool is_sink(pin_kind kind) {
    return kind == pin_kind::sink;
}

// Does the run lie in the block of its first page?
bool in_one_block(page* first, page* head, k::u64 pages) {
    return first + pages <= head + platform::block_pages(head);
}

// The kind of pin is a template's parameter below, so that its field in a page's counts is a constant.
template <pin_kind Kind> [[gnu::noinline]] void unpin_blocks(page* first, k::u64 pages) {
    for_each_head(first, pages, [](page* head) {
        platform::unpin(head, Kind);
        return true;
    });
}

template <pin_kind Kind> [[gnu::noinline]] bool pin_blocks(page* first, k::u64 pages) {
    page* const reached = for_each_head(first, pages, [](page* head) { return platform::pin(head, Kind); });
    if (reached >= first + pages) return true;
    if (reached != first) unpin_blocks<Kind>(first, static_cast<k::u64>(reached - first));
    return false;
}

// Pins each block that a run lies in once: all or none.
template <pin_kind Kind> bool pin_run(page* first, k::u64 pages) {
    page* const head = platform::block_head(first);
    if (in_one_block(first, head, pages)) [[likely]]
        return platform::pin(head, Kind);
    return pin_blocks<Kind>(first, pages);
}

template <pin_kind Kind> void unpin_run(page* first, k::u64 pages) {
    page* const head = platform::block_head(first);
    if (in_one_block(first, head, pages)) [[likely]]
        return platform::unpin(head, Kind);
    unpin_blocks<Kind>(first, pages);
}

template <pin_kind Kind> void unpin_list(const extent_block* block) {
    for (; block; block = block->next)
        for (const extent *e = block->slots, *end = e + block->count; e != end; e++) {
            if (e->is_whole_page() && platform::stands_alone(e->first))
                platform::unpin(e->first, Kind);
            else
                unpin_run<Kind>(e->first, e->pages());
        }
}

// Writes extents over whole pages that are no part of a block and have no neighbour after them in the list, until one
// is or has: what scattered pages mostly are, in as few instructions as can be. at[most] is a page too. How many.
template <pin_kind Kind> k::u64 fill_with_lone_pages(extent* slot, page* const* at, k::u64 most) {
    for (k::u64 taken = 0; taken < most; taken++) {
        page* const p = at[taken];
        if (at[taken + 1] == p + 1 || !platform::stands_alone(p)) return taken;
        if (!platform::pin(p, Kind)) return taken; // append() will say so
        slot[taken] = extent{p, 0, platform::page_size};
        if constexpr (k::debug_build) guard::begin(p, 1, Kind);
    }
    return most;
}

} // namespace

template <pin_kind Kind> extent_list* extent_list::of_run(payer& who, stability promise, page* first, k::u64 offset,
                                                          k::u64 bytes, k::error& why) noexcept {
    if (bytes > max_bytes || offset > max_bytes) [[unlikely]] {
        why = k::error::overflow;
        return nullptr;
    }
    void* at = platform::allocate(sizeof(extent_list));
    if (!at) [[unlikely]] {
        why = k::error::nomem;
        return nullptr;
    }
    auto* list = new (at) extent_list(who, Kind, promise);
    const extent e{first + offset / platform::page_size, offset % platform::page_size, bytes};
    list->bytes_ = bytes;
    list->pages_ = e.pages();
    if (!pin_run<Kind>(e.first, list->pages_)) [[unlikely]] {
        list->free_blocks();
        why = k::error::again;
        return nullptr;
    }
    list->first_.slots[0] = e;
    list->first_.count = 1;
    if constexpr (k::debug_build) guard::begin(e.first, list->pages_, Kind);
    list->enter_in_books();
    return list;
}
template extent_list* extent_list::of_run<pin_kind::source>(payer&, stability, page*, k::u64, k::u64,
                                                            k::error&) noexcept;
template extent_list* extent_list::of_run<pin_kind::sink>(payer&, stability, page*, k::u64, k::u64, k::error&) noexcept;

extent_list* extent_list::of_snapshot(payer& who, stability promise, page_snapshot& what, k::u64 offset,
                                      k::u64 bytes) noexcept {
    auto* list = new (what.list_) extent_list(who, pin_kind::source, promise);
    list->snapshot_ = &what;
    list->bytes_ = bytes;
    list->pages_ = (offset + bytes + platform::page_size - 1) / platform::page_size;
    list->enter_in_books();
    return list;
}

// Charges the payer and counts the list, once it is whole.
inline void extent_list::enter_in_books() noexcept {
    payer_.charge(is_sink(kind_), pages_);
    platform::critical section;
    local_ledger& books = local_ledger::all.local();
    books.happened(happening::built, 1);
    books.happened(happening::bytes_lent, bytes_);
}

template <class Visit> bool extent_list::visit_heads(Visit visit) noexcept {
    for (const extent_block* block = blocks(); block; block = block->next)
        for (const extent* e = block->slots; e != block->slots + block->count; e++) {
            const k::u64 pages = e->pages();
            if (for_each_head(e->first, pages, visit) < e->first + pages) return false;
        }
    return true;
}

template <class Visit> void extent_list::visit_extents(Visit visit) noexcept {
    for (const extent_block* block = blocks(); block; block = block->next)
        for (const extent* e = block->slots; e != block->slots + block->count; e++)
            visit(*e);
}

inline void extent_list::unpin_all() noexcept {
    const pin_kind kind = kind_;
    if constexpr (k::debug_build) visit_extents([kind](const extent& e) { guard::end(e.first, e.pages(), kind); });
    if (kind == pin_kind::source)
        unpin_as<pin_kind::source>();
    else
        unpin_as<pin_kind::sink>();
}

template <pin_kind Kind> inline void extent_list::unpin_as() noexcept {
    if (first_.count == 1 && !first_.next) [[likely]]
        return unpin_run<Kind>(first_.slots[0].first, pages_);
    unpin_list<Kind>(blocks());
}

inline void extent_list::free_blocks() noexcept {
    for (extent_block* block = first_.next; block;) {
        extent_block* next = block->next;
        platform::free(block);
        block = next;
    }
    this->~extent_list();
    platform::free(this);
}

void extent_list::destroy() noexcept {
    note(happening::released);
    payer& who = payer_;
    const bool was_sink = is_sink(kind_);
    const k::u64 pages = pages_;
    if (snapshot_) {
        snapshot_->last_slice_gone(); // and this list with it
    } else {
        unpin_all();
        free_blocks();
    }
    who.discharge(was_sink, pages); // last: it may be the payer's end
}

bool extent_list::make_sole_sink() noexcept {
    if (kind_ != pin_kind::source || snapshot_ || !one_holder()) return false;
    // Whoever else could add a hold would have to hold the page already.
    if (!visit_heads([](page* head) { return platform::pinned_alone(head, pin_kind::source); })) return false;
    if constexpr (k::debug_build)
        visit_extents([](const extent& e) {
            guard::begin(e.first, e.pages(), pin_kind::sink);
            guard::end(e.first, e.pages(), pin_kind::source);
        });
    visit_heads([](page* head) {
        const bool pinned = platform::pin(head, pin_kind::sink);
        kassert(pinned); // its only hold is ours
        platform::unpin(head, pin_kind::source);
        return true;
    });
    payer_.source_becomes_sink(pages_);
    kind_ = pin_kind::sink;
    return true;
}

bool extent_list::only_sink() noexcept {
    return one_holder() && visit_heads([](page* head) { return platform::sink_pins(head) == 1; });
}

list_builder::list_builder(payer& who, pin_kind kind, stability promise) noexcept
    : payer_(who), kind_(kind), stability_(promise) {}

void list_builder::fail(k::error e) noexcept {
    if (failed_) return;
    failed_ = true;
    error_ = e;
}

// A free slot in the last block.
bool list_builder::make_room() noexcept {
    if (last_ && last_->count < capacity_) [[likely]]
        return true;
    if (!list_) {
        void* at = platform::allocate(sizeof(extent_list));
        if (!at) return false;
        list_ = new (at) extent_list(payer_, kind_, stability_);
        last_ = reinterpret_cast<extent_block*>(&list_->first_);
        capacity_ = std::extent_v<decltype(inline_block::slots)>;
        return true;
    }
    void* at = platform::allocate(sizeof(chained_block));
    if (!at) return false;
    auto* block = static_cast<extent_block*>(at);
    block->next = nullptr;
    block->count = 0;
    last_->next = block;
    last_ = block;
    capacity_ = std::extent_v<decltype(chained_block::slots)>;
    return true;
}

k::u64 list_builder::append_lone_pages(page* const* at, k::u64 most) noexcept {
    if (!last_) return 0;
    extent* const slot = last_->slots + last_->count;
    most = std::min<k::u64>(most, capacity_ - last_->count);
    const k::u64 taken = kind_ == pin_kind::source ? fill_with_lone_pages<pin_kind::source>(slot, at, most)
                                                   : fill_with_lone_pages<pin_kind::sink>(slot, at, most);
    last_->count += static_cast<k::u32>(taken);
    list_->pages_ += taken;
    list_->bytes_ += taken * platform::page_size;
    return taken;
}

// One extent, `offset` below a page's size.
inline void list_builder::append(page* first, k::u64 offset, k::u64 bytes) noexcept {
    if (!make_room()) [[unlikely]]
        return fail(k::error::nomem);
    const extent e{first, offset, bytes};
    const k::u64 pages = e.pages();
    if (!(kind_ == pin_kind::source ? pin_run<pin_kind::source>(first, pages) : pin_run<pin_kind::sink>(first, pages)))
        [[unlikely]]
        return fail(k::error::again);
    last_->slots[last_->count++] = e;
    list_->bytes_ += bytes;
    list_->pages_ += pages;
    if constexpr (k::debug_build) guard::begin(first, pages, kind_);
}

void list_builder::add(page* first, k::u64 offset, k::u64 bytes) noexcept {
    if (failed_ || !bytes) return;
    if (bytes > max_bytes || offset > max_bytes || (list_ && list_->bytes_ + bytes > max_bytes))
        return fail(k::error::overflow);
    append(first + offset / platform::page_size, offset % platform::page_size, bytes);
}

void list_builder::add_pages(std::span<page* const> pages, k::u64 offset, k::u64 bytes) noexcept {
    if (failed_ || !bytes) return;
    if (bytes > max_bytes || offset > max_bytes || (list_ && list_->bytes_ + bytes > max_bytes))
        return fail(k::error::overflow);
    page* const* at = pages.data() + offset / platform::page_size;
    if ((offset + bytes + platform::page_size - 1) / platform::page_size > pages.size()) return fail(k::error::inval);
    offset %= platform::page_size;
    // One page after the other, those that are neighbours joined.
    while (bytes && !failed_) {
        if (offset == 0 && bytes > platform::page_size) {
            const k::u64 alone = append_lone_pages(at, (bytes - 1) / platform::page_size);
            at += alone;
            bytes -= alone * platform::page_size;
        }
        page* const first = *at++;
        k::u64 run = platform::page_size - offset;
        for (page* next = first + 1; run < bytes && *at == next; at++, next++)
            run += platform::page_size;
        run = std::min(run, bytes);
        append(first, offset, run);
        offset = 0;
        bytes -= run;
    }
}

void list_builder::add(position from, k::u64 bytes) noexcept {
    if (list_ && list_->bytes_ + bytes > max_bytes) return fail(k::error::overflow);
    while (bytes && !failed_) {
        const extent& e = from.at();
        const k::u64 part = std::min(e.bytes - from.offset, bytes);
        const k::u64 start = e.offset + from.offset;
        append(e.first + start / platform::page_size, start % platform::page_size, part);
        bytes -= part;
        if (bytes) from.advance(part);
    }
}

void list_builder::abandon() noexcept {
    if (!list_) return;
    list_->unpin_all();
    std::exchange(list_, nullptr)->free_blocks();
}

k::result<extent_list*> list_builder::finish() noexcept {
    if (failed_) {
        abandon();
        note(happening::build_refused);
        return error_;
    }
    if (!list_) return nullptr;
    list_->enter_in_books();
    return std::exchange(list_, nullptr);
}

} // namespace xio
