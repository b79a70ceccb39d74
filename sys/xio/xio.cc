// Building sources and sinks, and turning one into the other where a sole owner may.
#include "sys/xio/xio.h"

#include "sys/xio/walk.h"

#include <cstring>

namespace xio {

namespace {

// Adds `bytes` in fresh pages, each then held by its pin alone.
template <class Fill> void add_fresh_pages(list_builder& builder, k::u64 bytes, Fill fill) {
    if (bytes > max_bytes) return builder.fail(k::error::overflow); // not only when memory is used up
    while (bytes && !builder.failed()) {
        page* p = platform::allocate_page();
        if (!p) return builder.fail(k::error::nomem);
        const k::u64 part = std::min<k::u64>(bytes, platform::page_size);
        fill(platform::direct(p), part);
        builder.add(p, 0, part);
        platform::release_page(p); // the pin keeps it; if there is none, it is free
        bytes -= part;
    }
}

page* kernel_page(std::span<const std::byte> bytes) {
    return platform::page_of(bytes.data());
}
k::u64 kernel_offset(std::span<const std::byte> bytes) {
    return reinterpret_cast<std::uintptr_t>(bytes.data()) % platform::page_size;
}

} // namespace

void slice_base::begin_ranges() noexcept {
    for (const user_range& r : user_->ranges)
        bytes_ += r.bytes;
    if (bytes_)
        advance_in_ranges(0); // over empty pieces at the start
    else
        user_ = nullptr;
}

k::result<source> source::from(list_builder& builder) noexcept {
    return source(TRY(builder.finish()));
}

k::result<source> source::over_run(page* first, k::u64 offset, k::u64 bytes, loan_terms terms) noexcept {
    if (!bytes) return source();
    k::error why;
    extent_list* list = extent_list::of_run<pin_kind::source>(terms.paid_by, terms.promise, first, offset, bytes, why);
    if (!list) [[unlikely]] {
        note(happening::build_refused);
        return why;
    }
    return source(list);
}

k::result<source> source::over_pages(std::span<page* const> pages, k::u64 offset, k::u64 bytes,
                                     loan_terms terms) noexcept {
    list_builder builder(terms.paid_by, pin_kind::source, terms.promise);
    builder.add_pages(pages, offset, bytes);
    return from(builder);
}

k::result<source> source::over_kernel(std::span<const std::byte> bytes, loan_terms terms) noexcept {
    if (bytes.empty()) return source();
    return over_run(kernel_page(bytes), kernel_offset(bytes), bytes.size(), terms);
}

k::result<source> source::copy_of(std::span<const std::byte> bytes, loan_terms terms, reason why) noexcept {
    list_builder builder(terms.paid_by, pin_kind::source, terms.promise);
    const std::byte* next = bytes.data();
    add_fresh_pages(builder, bytes.size(), [&next](std::byte* to, k::u64 part) {
        std::memcpy(to, next, part);
        next += part;
    });
    note_copied(why, static_cast<k::u64>(next - bytes.data()));
    return from(builder);
}

source source::over_snapshot(page_snapshot& what, k::u64 offset, k::u64 bytes, loan_terms terms) noexcept {
    kassert(bytes && bytes <= max_bytes && offset < platform::page_size);
    source whole(extent_list::of_snapshot(terms.paid_by, terms.promise, what, offset, bytes));
    whole.start_.offset = offset;
    return whole;
}

namespace {

void add_slice(list_builder& builder, const slice_base& slice) {
    if (!slice.snapshot()) return builder.add(slice.start(), slice.size());
    for (walker w(slice); w.left();) {
        const k::u64 run = w.run();
        builder.add(platform::page_of(w.address()), w.physical() % platform::page_size, run);
        w.advance(run);
    }
}

} // namespace

k::result<source> source::append(const source& front, const source& back) noexcept {
    const source& terms = front.empty() ? back : front;
    if (terms.empty()) return source();
    list_builder builder(terms.list_->paid_by(), pin_kind::source, weaker(front.promise(), back.promise()));
    add_slice(builder, front);
    add_slice(builder, back);
    return from(builder);
}

k::result<sink> source::into_sole_sink() noexcept {
    if (!list_) return sink();
    if (!list_->make_sole_sink()) return k::error::busy;
    sink filled(std::exchange(list_, nullptr));
    filled.start_ = start_;
    filled.bytes_ = std::exchange(bytes_, 0);
    return filled;
}

k::result<sink> sink::from(list_builder& builder) noexcept {
    return sink(TRY(builder.finish()));
}

k::result<sink> sink::over_run(page* first, k::u64 offset, k::u64 bytes, loan_terms terms) noexcept {
    if (!bytes) return sink();
    k::error why;
    extent_list* list = extent_list::of_run<pin_kind::sink>(terms.paid_by, terms.promise, first, offset, bytes, why);
    if (!list) [[unlikely]] {
        note(happening::build_refused);
        return why;
    }
    return sink(list);
}

k::result<sink> sink::over_pages(std::span<page* const> pages, k::u64 offset, k::u64 bytes, loan_terms terms) noexcept {
    list_builder builder(terms.paid_by, pin_kind::sink, terms.promise);
    builder.add_pages(pages, offset, bytes);
    return from(builder);
}

k::result<sink> sink::over_kernel(std::span<std::byte> bytes, loan_terms terms) noexcept {
    if (bytes.empty()) return sink();
    return over_run(kernel_page(bytes), kernel_offset(bytes), bytes.size(), terms);
}

k::result<sink> sink::fresh(k::u64 bytes, loan_terms terms) noexcept {
    list_builder builder(terms.paid_by, pin_kind::sink, terms.promise);
    add_fresh_pages(builder, bytes, [](std::byte*, k::u64) {});
    return from(builder);
}

k::result<sink> sink::append(const sink& front, const sink& back) noexcept {
    const sink& terms = front.empty() ? back : front;
    if (terms.empty()) return sink();
    list_builder builder(terms.list_->paid_by(), pin_kind::sink, weaker(front.promise(), back.promise()));
    builder.add(front.start_, front.bytes_);
    builder.add(back.start_, back.bytes_);
    return from(builder);
}

k::result<source> sink::into_source() noexcept {
    if (!list_) return source();
    if (!list_->only_sink()) return k::error::busy;
    list_builder builder(list_->paid_by(), pin_kind::source, list_->promise());
    builder.add(start_, bytes_);
    source filled = TRY(source::from(builder));
    *this = sink();
    return filled;
}

} // namespace xio
