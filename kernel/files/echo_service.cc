#include "kernel/files/echo_service.h"

#include "kernel/lwkt/thread.h"
#include "sys/caps/caps.h"

#include <cstring>

namespace files {

namespace {

caps::service* echo; // immutable after boot; never goes

// The text stays. What can be read goes back, the first of it into the first room that was offered, and so on. Nothing
// blocks: a call is answered in its caller's context.
k::status turn_round(caps::message& m) noexcept {
    xio::source sources[caps::most_items];
    k::u8 rooms[caps::most_items];
    unsigned source_count = 0, room_count = 0;
    for (unsigned i = 0; i < m.items(); i++) {
        if (m.at(i).what == caps::right::read) sources[source_count++] = TRY(m.source(i));
        if (m.at(i).what == caps::right::room) rooms[room_count++] = static_cast<k::u8>(i);
    }
    std::byte text[caps::most_inline];
    const std::size_t bytes = m.text().size();
    std::memcpy(text, m.text().data(), bytes);
    m.clear();
    for (unsigned i = 0; i < source_count; i++)
        TRY(m.add(std::move(sources[i]), i < room_count ? rooms[i] : caps::item::for_nothing));
    return m.set_text({text, bytes});
}

void answer(caps::message& m) noexcept {
    if (!turn_round(m)) m.clear();
    m.from.set(0, 0, 0, {});
}

bool begin(caps::service&, caps::message& m) {
    answer(m);
    return true;
}

// For those who put and do not wait.
void serve(void*) {
    while (auto a = echo->get()) {
        if (a->what) {
            answer(*a->what);
            (void)echo->reply(*a);
        }
    }
}

} // namespace

k::status start_echo_service() noexcept {
    auto made = TRY(caps::service::create({.name = "nutcracker.echo", .exclusive = true, .begin = begin}));
    echo = made.release();
    return lwkt::spawn("echo", arch::cpu::id(), lwkt::normal_priority, serve, nullptr);
}

} // namespace files
