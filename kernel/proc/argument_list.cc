#include "kernel/proc/argument_list.h"

#include <algorithm>
#include <cstring>

namespace proc {

argument_list::~argument_list() {
    while (first_) {
        chunk* next = first_->next;
        vm::drop(vm::page_of(first_), vm::hold::reference);
        first_ = next;
    }
}

k::status argument_list::make_room() noexcept {
    if (last_ && last_->used < chunk_bytes) return {};
    vm::page_ref page = vm::page_ref::allocate(0, vm::page_use::buffer);
    if (!page) return k::error::nomem;
    auto* fresh = new (vm::direct(page.release())) chunk{nullptr, 0};
    (last_ ? last_->next : first_) = fresh;
    last_ = fresh;
    return {};
}

k::status argument_list::took(k::u64 bytes) noexcept {
    if (bytes > left_) return k::error::toobig;
    left_ -= bytes;
    last_->used += bytes;
    bytes_ += bytes;
    return {};
}

k::status argument_list::take_pointer() noexcept {
    if (left_ < sizeof(k::u64)) return k::error::toobig;
    left_ -= sizeof(k::u64);
    count_++;
    return {};
}

k::status argument_list::add(std::string_view text) noexcept {
    TRY(take_pointer());
    if (text.size() >= longest_text) return k::error::toobig;
    const char* end = text.data() + text.size();
    for (const char* at = text.data();;) {
        TRY(make_room());
        char* to = last_->text() + last_->used;
        const auto fits = std::min<std::size_t>(static_cast<std::size_t>(end - at), chunk_bytes - last_->used);
        at = std::copy_n(at, fits, to) - to + at;
        TRY(took(fits));
        if (at != end) continue;
        TRY(make_room());
        last_->text()[last_->used] = '\0';
        return took(1);
    }
}

k::status argument_list::add(vm::space& from, xio::user_address at) noexcept {
    TRY(take_pointer());
    for (k::u64 length = 0; length < longest_text;) {
        TRY(make_room());
        char* to = last_->text() + last_->used;
        // Not beyond the page: the next one need not be there.
        const k::u64 wanted = std::min(chunk_bytes - last_->used, arch::page_size - at % arch::page_size);
        const k::u64 good = from.copy_in(to, at, wanted);
        const std::string_view piece{to, good};
        const std::size_t end = piece.find('\0');
        TRY(took(end == piece.npos ? good : end + 1));
        if (end != piece.npos) return {};
        if (good < wanted) return k::error::fault;
        length += good;
        at += good;
    }
    return k::error::toobig;
}

} // namespace proc
