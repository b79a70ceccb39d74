#include "sys/caps/message.h"

#include "kernel/mem/slab.h"
#include "sys/caps/service.h"

namespace caps {

k::result<message_ref> message::create() noexcept {
    auto* made = mem::make<message>();
    if (!made) return k::error::nomem;
    return message_ref(made);
}

void message::last_holder_left() noexcept {
    mem::destroy(this);
}

message::~message() {
    kassert(at_stage() == stage::idle);
    clear();
    mem::free(table_);
    mem::destroy(receipt_);
}

void message::clear() noexcept {
    bytes_ = 0;
    while (items_)
        table_[--items_].~item();
}

k::status message::set_text(std::span<const std::byte> text) noexcept {
    if (text.size() > most_inline) return k::error::msgsize;
    std::ranges::copy(text, inline_);
    bytes_ = static_cast<k::u32>(text.size());
    return {};
}

k::result<item*> message::next_item() noexcept {
    if (items_ == most_items) return k::error::toobig;
    if (!table_) table_ = static_cast<item*>(mem::allocate(most_items * sizeof(item)));
    if (!table_) return k::error::nomem;
    return new (&table_[items_++]) item;
}

k::status message::add(xio::source bytes, k::u8 fills) noexcept {
    kassert(bytes.binding() == xio::binding::pages);
    item& made = *TRY(next_item());
    made.fills = fills;
    made.bytes = bytes.size();
    made.source.keep(std::move(bytes));
    return {};
}

k::status message::add(xio::sink pages) noexcept {
    kassert(pages.binding() == xio::binding::pages);
    item& made = *TRY(next_item());
    made.what = right::fill;
    made.bytes = pages.size();
    made.sink = std::move(pages);
    return {};
}

k::status message::add_room(k::u64 bytes, k::ref<vm::object> memory) noexcept {
    item& made = *TRY(next_item());
    made.what = right::room;
    made.bytes = bytes;
    made.memory = std::move(memory);
    return {};
}

k::status message::add_shared(k::ref<vm::object> memory, k::u64 bytes, bool writable) noexcept {
    item& made = *TRY(next_item());
    made.what = right::share;
    made.bytes = bytes;
    made.memory = std::move(memory);
    made.writable = writable;
    return {};
}

k::result<xio::source> message::source(unsigned index) noexcept {
    if (index >= items_ || table_[index].what != right::read) return k::error::inval;
    return table_[index].source.all();
}

} // namespace caps
