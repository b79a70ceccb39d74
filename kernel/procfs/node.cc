#include "kernel/procfs/node_priv.h"

#include "kernel/lib/text.h"
#include "kernel/mem/page.h"

#include <cstring>

namespace procfs {

namespace {

// Keeps a window of the text that is put in.
class window_sink final : public k::text_sink {
  public:
    window_sink(k::u64 from, std::span<char> room) noexcept : from_(from), room_(room) {}
    void put(std::string_view text) override {
        const k::u64 begin = at_, end = at_ + text.size();
        at_ = end;
        const k::u64 first = std::max(begin, from_ + used_), last = std::min(end, from_ + room_.size());
        if (first >= last) return;
        std::memcpy(room_.data() + (first - from_), text.data() + (first - begin), last - first);
        used_ = last - from_;
    }
    std::span<const char> kept() const noexcept { return {room_.data(), used_}; }

  private:
    const k::u64 from_;
    const std::span<char> room_;
    k::u64 at_ = 0, used_ = 0;
};

} // namespace

k::status text_file::check() const noexcept {
    if (!of_) return {};
    if (!of_.exists()) return k::error::srch;
    if (row_.is_private) TRY(of_.check_access());
    return {};
}

// The text is made anew for each piece that is read at once: whoever wants to read one and the same text reads it in
// one piece (files::made_file).
k::result<k::u64> text_file::read(k::u64 offset, xio::sink& to) noexcept {
    constexpr unsigned order = 4;
    constexpr k::u64 piece = arch::page_size << order;
    TRY(check());
    if (to.empty() || offset + piece < offset) return 0;
    vm::page_ref memory = vm::page_ref::allocate(to.size() > arch::page_size ? order : 0, vm::page_use::buffer);
    if (!memory) memory = vm::page_ref::allocate(0, vm::page_use::buffer);
    if (!memory) return k::error::nomem;
    const std::span room(static_cast<char*>(memory.data()), std::min<k::u64>(memory.size(), to.size()));
    for (k::u64 done = 0;;) {
        window_sink text(offset + done, room.first(std::min<k::u64>(room.size(), to.size() - done)));
        TRY(row_.make(of_, text));
        const xio::moved m = to.write_some(done, std::as_bytes(text.kept()));
        done += m.bytes;
        if (!m.status && !done) return m.status.error();
        if (!m.status || text.kept().size() < room.size() || done == to.size()) return done;
    }
}

k::result<k::u64> text_file::write(const xio::source& from) noexcept {
    if (!row_.take) return k::error::acces;
    TRY(check());
    char text[256];
    const k::u64 bytes = std::min<k::u64>(from.size(), sizeof(text));
    const xio::moved m = from.read_some(0, std::as_writable_bytes(std::span(text, bytes)));
    if (!m.status) return m.status.error();
    std::string_view given(text, m.bytes);
    if (given.ends_with('\n')) given.remove_suffix(1);
    TRY(row_.take(of_, given));
    return from.size();
}

vfs::node_attributes owned_by(const task& of, vfs::node_type type, k::u32 mode) noexcept {
    const bool open = of.process->dumpable.load();
    return {.type = type,
            .mode = mode,
            .uid = open ? of.process->who.user().effective : 0,
            .gid = open ? of.process->who.group().effective : 0};
}

bool put_rows(vfs::file_system::lister& to, k::u64& place, k::u64 first, std::size_t count,
              name_of_row (*row)(std::size_t index, const void* argument), const void* argument) noexcept {
    for (place = std::max(place, first); place < first + count; place++) {
        const name_of_row r = row(place - first, argument);
        if (!to.put(place + 1, r.name, r.type, r.inode)) return false;
    }
    return true;
}

bool put_numbers(vfs::file_system::lister& to, k::u64& place, k::u64 first, const number_set& numbers,
                 vfs::node_type type, k::u64 (*inode)(k::u32 number, const void* argument),
                 const void* argument) noexcept {
    if (place > first + number_set::most) return true;
    place = std::max(place, first);
    for (;; place++) {
        const k::u32 number = numbers.next(static_cast<k::u32>(place - first));
        if (number == number_set::most) return true;
        place = first + number;
        char text[12];
        k::buffer_sink digits(text);
        k::format_to(digits, "{}", number);
        if (!to.put(place + 1, digits.view(), type, inode(number, argument))) return false;
    }
}

int parse_name(std::string_view text) noexcept {
    if (text.empty() || text.size() > 9 || (text[0] == '0' && text.size() > 1)) return -1;
    int number = 0;
    for (char c : text) {
        if (c < '0' || c > '9') return -1;
        number = number * 10 + (c - '0');
    }
    return number;
}

} // namespace procfs
