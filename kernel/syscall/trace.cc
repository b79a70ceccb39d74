#include "kernel/syscall/trace_priv.h"

#include "kernel/lib/log.h"
#include "kernel/proc/process.h"

#include <algorithm>

namespace syscalls {

namespace {

constexpr std::size_t shown_text = 48;

// The beginning of a text in user memory, as far as it can be read, in quotes.
void put_text(k::text_sink& out, vm::space& space, xio::user_address at) {
    char buffer[shown_text];
    const k::u64 readable = space.copy_in(buffer, at, sizeof(buffer));
    if (!readable) return k::format_to(out, "{:x}", at);
    const std::size_t length = std::min<std::size_t>(std::string_view(buffer, readable).find('\0'), readable);
    for (char& c : std::span(buffer, length))
        if (c < ' ' || c > '~') c = '.';
    k::format_to(out, "\"{}\"{}", std::string_view(buffer, length), length == sizeof(buffer) ? "..." : "");
}

void put_argument(k::text_sink& out, vm::space& space, kind what, k::u64 value) {
    switch (what) {
    case kind::number: return k::format_to(out, "{}", static_cast<k::i64>(value));
    case kind::descriptor: return k::format_to(out, "{}", static_cast<int>(value));
    case kind::text: return put_text(out, space, value);
    case kind::hexadecimal: return k::format_to(out, "{:x}", value);
    case kind::address: return value ? k::format_to(out, "{:x}", value) : out.put("NULL");
    }
}

} // namespace

k::i64 run_traced(proc::thread& t, const entry& called) noexcept {
    const arch::user_registers& r = t.user.registers();
    char text[400];
    k::buffer_sink line(text);
    k::format_to(line, "[{} {}] {}(", t.owner.pid == t.tid ? t.owner.pid : t.tid, t.name, called.name);
    for (unsigned i = 0; i < called.arguments; i++) {
        if (i) line.put(", ");
        put_argument(line, *t.owner.space, called.kinds[i], detail::argument(r, i));
    }
    line.put(")");
    if (called.name.starts_with("exit")) k::log("{}\n", line.view()); // it does not come back
    const k::i64 result = called.run(r);
    if (result < 0 && result > -4096)
        k::log("{} = -1 {}\n", line.view(), static_cast<k::error>(-result));
    else if (result > 0xffff)
        k::log("{} = {:x}\n", line.view(), static_cast<k::u64>(result));
    else
        k::log("{} = {}\n", line.view(), result);
    return result;
}

} // namespace syscalls
