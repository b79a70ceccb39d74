#include "sys/ext/attribute_list.h"

namespace ext {

namespace {

constexpr std::size_t padded(std::size_t bytes) {
    return k::align_up(bytes, std::size_t{4});
}
constexpr std::size_t end_bytes = 4; // the word that ends the entries

u32 word_at(std::span<const std::byte> area, std::size_t at) noexcept {
    u32 word;
    std::memcpy(&word, area.data() + at, sizeof(word));
    return word;
}

} // namespace

// Both are rotated by their own number of bits a step.
u32 attribute_hash(std::string_view name, std::span<const std::byte> value) noexcept {
    u32 hash = 0;
    for (const char c : name)
        hash = std::rotl(hash, 5) ^ static_cast<u8>(c);
    for (std::size_t at = 0; at < value.size(); at += sizeof(u32)) {
        u32 word = 0;
        std::memcpy(&word, value.data() + at, std::min(sizeof(word), value.size() - at));
        hash = std::rotl(hash, 16) ^ word;
    }
    return hash;
}

// --- Reading

k::status attribute_list::read(std::span<const std::byte> area, std::size_t first, bool by_the_record) noexcept {
    // Where the entries end is known first: no value may begin before that.
    std::size_t end = first, values = 0;
    for (;;) {
        if (end > area.size() || area.size() - end < end_bytes) return k::error::io;
        if (!word_at(area, end)) break;
        attribute_entry e;
        if (area.size() - end < sizeof(e)) return k::error::io;
        std::memcpy(&e, area.data() + end, sizeof(e));
        end += padded(sizeof(e) + e.name_bytes);
        values += e.value_bytes;
        // Together they are no longer than what they stand in: two cannot share one value.
        if (e.value_inode || e.value_bytes > area.size() || values > area.size()) return k::error::io;
    }
    for (std::size_t at = first; at < end;) {
        attribute_entry e;
        std::memcpy(&e, area.data() + at, sizeof(e));
        const std::size_t value_at = std::size_t{e.value_at};
        if (e.value_bytes &&
            (value_at < end + end_bytes || value_at > area.size() || area.size() - value_at < e.value_bytes))
            return k::error::io;
        const std::span name = area.subspan(at + sizeof(e), e.name_bytes);
        one fresh{.kind = e.kind,
                  .name_bytes = e.name_bytes,
                  .by_the_record = by_the_record,
                  .name_at = 0,
                  .value_bytes = e.value_bytes,
                  .value_at = 0};
        fresh.name_at = TRY(append(name));
        fresh.value_at = TRY(append(e.value_bytes ? area.subspan(value_at, e.value_bytes) : name.first(0)));
        TRY(list_.append(fresh));
        at += padded(sizeof(e) + e.name_bytes);
    }
    return {};
}

k::result<u32> attribute_list::append(std::span<const std::byte> what) noexcept {
    const std::size_t at = bytes_.size();
    TRY(bytes_.append_all(what));
    return static_cast<u32>(at);
}

const attribute_list::one* attribute_list::find(u8 kind, std::string_view wanted) const noexcept {
    for (const one& o : list_.all())
        if (o.kind == kind && name(o) == wanted) return &o;
    return nullptr;
}

// --- Changing

k::status attribute_list::set(u8 kind, std::string_view text, std::span<const std::byte> value) noexcept {
    const one* const there = find(kind, text);
    one fresh{.kind = kind,
              .name_bytes = static_cast<u8>(text.size()),
              .by_the_record = there && there->by_the_record,
              .name_at = 0,
              .value_bytes = static_cast<u32>(value.size()),
              .value_at = 0};
    TRY(list_.reserve(list_.size() + 1));
    fresh.name_at = TRY(append(std::as_bytes(std::span(text))));
    fresh.value_at = TRY(append(value));
    remove(kind, text);
    (void)list_.append(fresh);
    return {};
}

void attribute_list::remove(u8 kind, std::string_view text) noexcept {
    for (std::size_t i = 0; i < list_.size();)
        if (list_[i].kind == kind && name(list_[i]) == text)
            list_.erase(i);
        else
            i++;
}

std::size_t attribute_list::room_for(const one& of) noexcept {
    return padded(sizeof(attribute_entry) + of.name_bytes) + padded(of.value_bytes);
}

// In the order in which a block has them: by kind, then by the length of the name, then by the name.
void attribute_list::sort() noexcept {
    std::ranges::sort(list_.all(), [this](const one& a, const one& b) {
        if (a.kind != b.kind) return a.kind < b.kind;
        if (a.name_bytes != b.name_bytes) return a.name_bytes < b.name_bytes;
        return name(a) < name(b);
    });
}

// Those that stand by the record stay there as long as they fit; then others come. If that leaves too much for the
// block it is tried with the largest first.
bool attribute_list::distribute(std::size_t record_room, std::size_t block_room) noexcept {
    sort();
    const auto place = [&](auto goes_first) {
        for (one& o : list_.all())
            o.by_the_record = o.by_the_record && goes_first(o);
        std::size_t used = end_bytes, rest = end_bytes;
        for (const bool first : {true, false})
            for (one& o : list_.all()) {
                if (o.by_the_record != first) continue;
                if (first) o.by_the_record = false;
                if (used + room_for(o) > record_room) continue;
                used += room_for(o);
                o.by_the_record = true;
            }
        for (const one& o : list_.all())
            if (!o.by_the_record) rest += room_for(o);
        return rest == end_bytes || rest <= block_room;
    };
    if (place([](const one&) { return true; })) return true;
    std::size_t largest = 0;
    for (const one& o : list_.all())
        if (room_for(o) + end_bytes <= record_room) largest = std::max(largest, room_for(o));
    for (one& o : list_.all())
        o.by_the_record = true;
    return place([&](const one& o) { return room_for(o) == largest; });
}

std::size_t attribute_list::count(bool by_the_record) const noexcept {
    return static_cast<std::size_t>(
        std::ranges::count_if(list_.all(), [&](const one& o) { return o.by_the_record == by_the_record; }));
}

u32 attribute_list::write(std::span<std::byte> area, std::size_t first, bool by_the_record) const noexcept {
    std::size_t at = first, value_end = area.size();
    u32 sum = 0;
    bool hashed = true;
    for (const one& o : list_.all()) {
        if (o.by_the_record != by_the_record) continue;
        value_end -= padded(o.value_bytes);
        kassert(at + padded(sizeof(attribute_entry) + o.name_bytes) + end_bytes <= value_end);
        if (o.value_bytes) std::memcpy(area.data() + value_end, value(o).data(), o.value_bytes);
        const u32 hash = by_the_record ? 0 : attribute_hash(name(o), value(o));
        const attribute_entry e{.name_bytes = o.name_bytes,
                                .kind = o.kind,
                                .value_at = static_cast<u16>(o.value_bytes ? value_end : 0),
                                .value_inode = 0,
                                .value_bytes = o.value_bytes,
                                .hash = hash};
        std::memcpy(area.data() + at, &e, sizeof(e));
        name(o).copy(reinterpret_cast<char*>(area.data()) + at + sizeof(e), o.name_bytes);
        at += padded(sizeof(e) + o.name_bytes);
        sum = std::rotl(sum, 16) ^ hash;
        hashed = hashed && hash;
    }
    return hashed ? sum : 0;
}

} // namespace ext
