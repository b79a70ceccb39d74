#include "arch/common/user_tables.h"

#include "arch/machine.h"
#include "kernel/lib/panic.h"

#include <algorithm>
#include <bit>

namespace arch {

namespace {

using k::u64;

constexpr u64 present = 1u << 0;
constexpr u64 writable = 1u << 1;
constexpr u64 user = 1u << 2;
constexpr u64 accessed = 1u << 5; // set in advance, like dirty: nobody asks, and the CPU is spared the work
constexpr u64 dirty = 1u << 6;
constexpr u64 large = 1u << 7;
constexpr u64 no_execute = u64{1} << 63;
constexpr u64 address = 0x000f'ffff'ffff'f000;

// Eight bits that the hardware ignores in an entry that leads to a table: which eighths of that table were ever used.
// Whoever looks at all entries of a table (to free what is below, to take writing away) looks at those only.
constexpr unsigned used_shift = 52;
constexpr unsigned eighth = 64;
constexpr u64 used_by(unsigned index) {
    return u64{1} << (used_shift + index / eighth);
}
constexpr u64 used_all = u64{0xff} << used_shift;

constexpr u64 table_flags = present | writable | user | accessed;
constexpr u64 page_flags = present | user | accessed;

constexpr unsigned top_level = 3; // level 0 holds pages of 4 KiB, level 1 those of 2 MiB
constexpr unsigned table_entries = 512;

constexpr u64 span_of(unsigned level) {
    return u64{page_size} << (9 * level);
}
constexpr unsigned index_of(u64 va, unsigned level) {
    return va >> (page_shift + 9 * level) & (table_entries - 1);
}

// Without std::atomic_ref, whose check of the alignment would be paid at each level of a walk.
u64 load(const u64& entry) {
    return __atomic_load_n(&entry, __ATOMIC_ACQUIRE);
}
void store(u64& entry, u64 value) {
    __atomic_store_n(&entry, value, __ATOMIC_RELEASE);
}

u64* table_at(u64 entry) {
    return static_cast<u64*>(memory::direct(entry & address));
}

constexpr u64 flags_of(unsigned may) {
    if (may == user_none) return 0;
    return page_flags | (may & user_write ? writable | dirty : 0) | (may & user_execute ? 0 : no_execute);
}

bool is_user_range(u64 va, std::size_t pages) {
    return k::is_aligned<u64>(va, page_size) && va <= user_end && pages <= (user_end - va) >> page_shift;
}

// The same as over_range() of entries of the lowest level.
template <class Op> [[gnu::always_inline]] inline bool over_entries(u64* entry, u64* stop, Op& op) {
    bool any = false;
    if constexpr (requires { op.eight(entry); })
        for (; stop - entry >= 8; entry += 8)
            any |= op.eight(entry);
    for (; entry != stop; entry++)
        if (const u64 value = load(*entry); value & present) any |= op.page(*entry, value);
    return any;
}

// Calls op for the entries that are there and reach into [va, end), which lies in `table`'s span: op.page() for those
// that map (or op.eight(), if it has that, for eight of the lowest level, there or not), op.table() for those that lead
// on, to say whether to descend. True if any of the calls was.
template <unsigned Level, class Op> bool over_range(u64* table, u64 va, u64 end, Op& op) {
    bool any = false;
    if constexpr (Level == 0) {
        u64* const entry = &table[index_of(va, 0)];
        any = over_entries(entry, entry + ((end - va) >> page_shift), op);
    } else {
        u64* entry = &table[index_of(va, Level)];
        for (u64 next; va < end; va = next, entry++) {
            next = (va | (span_of(Level) - 1)) + 1;
            // Of much, eight at once that have nothing to take away.
            if (end - va >= 8 * span_of(Level) && next - va == span_of(Level) && !(any_of_eight(entry) & Op::takes)) {
                entry += 7;
                next = va + 8 * span_of(Level);
                continue;
            }
            const u64 value = load(*entry);
            if (!(value & present)) continue;
            const u64 stop = std::min(next, end);
            if (value & large)
                any |= op.page(*entry, value);
            else if (op.table(*entry, value, stop - va == span_of(Level), any))
                any |= over_range<Level - 1>(table_at(value), va, stop, op);
        }
    }
    return any;
}

struct removing {
    static constexpr u64 takes = present;
    bool table(u64&, u64, bool, bool&) { return true; }
    bool page(u64& entry, u64) {
        store(entry, 0);
        return true;
    }
    static bool eight(u64* entry) {
        if (!(any_of_eight(entry) & present)) return false;
#pragma GCC unroll 8
        for (unsigned i = 0; i < 8; i++)
            store(entry[i], 0);
        return true;
    }
};

struct write_protecting {
    static constexpr u64 takes = writable;
    bool page(u64& entry, u64 value) {
        if (!(value & writable)) return false;
        store(entry, value & ~writable);
        return true;
    }
    // The same for eight small pages together, of which most are alike. What is not there is zero.
    static bool eight(u64* entry) {
        u64 value[8], all = 0;
#pragma GCC unroll 8
        for (unsigned i = 0; i < 8; i++)
            all |= value[i] = load(entry[i]);
        if (!(all & writable)) return false;
#pragma GCC unroll 8
        for (unsigned i = 0; i < 8; i++)
            store(entry[i], value[i] & ~writable);
        return true;
    }
    bool table(u64& entry, u64 value, bool whole, bool& any) {
        if (!(value & writable)) return false; // and so is nothing below
        if (!whole) return true;
        store(entry, value & ~writable);
        any = true;
        return false;
    }
};

// Calls visit(entry) for the entries of the table behind `upper` that may be in use.
template <class Visit> void for_each_used(u64 upper, Visit visit) {
    u64* table = table_at(upper);
    for (u64 bits = upper >> used_shift & 0xff; bits; bits &= bits - 1) {
        u64* const first = table + static_cast<unsigned>(std::countr_zero(bits)) * eighth;
        for (u64* entry = first; entry != first + eighth; entry++)
            visit(*entry);
    }
}

// Gives back the tables that stand below the table of that level behind `upper`, and that one.
void free_table(u64 upper, unsigned level, void (*give)(u64)) {
    if (level > 0)
        for_each_used(upper, [&](const u64& entry) {
            const u64 value = load(entry);
            if ((value & present) && !(value & large)) free_table(value, level - 1, give);
        });
    give(upper & address);
}

} // namespace

constinit user_tables::frame_source user_tables::source_{};
constinit u64 user_tables::rights_[8] = {flags_of(0), flags_of(1), flags_of(2), flags_of(3),
                                         flags_of(4), flags_of(5), flags_of(6), flags_of(7)};

void user_tables::do_without_no_execute() noexcept {
    for (u64& flags : rights_)
        flags &= ~no_execute;
}

bool user_tables::create() noexcept {
    kassert(source_.take && !top_);
    const u64 frame = source_.take();
    if (!frame) return false;
    top_ = static_cast<u64*>(memory::direct(frame));
    return true;
}

void user_map::destroy() noexcept {
    kassert(active() == 0);
    give_back();
}

void user_tables::give_back() noexcept {
    if (!top_) return;
    for (unsigned i = 0; i < std::size(used_); i++)
        for (u64 left = used_[i]; left; left &= left - 1) {
            free_table(load(top_[i * 64 + static_cast<unsigned>(std::countr_zero(left))]), top_level - 1, source_.give);
        }
    while (retired_) {
        const u64 frame = retired_;
        retired_ = load(table_at(frame)[0]);
        source_.give(frame);
    }
    source_.give(memory::physical(top_));
    *this = {};
}

// Where an entry is to stand, the way to it made if need be. Nearly always it is there, and writing possible on it if
// the entry wants that: then this calls nothing and needs no stack. Null: no frame.
[[gnu::always_inline]] inline u64* user_tables::place_of(u64 va, u64 leaf) noexcept {
    const u64 need = present | (leaf & writable); // of the entries on the way
    u64* at = &top_[va >> (page_shift + 9 * top_level)];
    kassert(va < user_end && k::is_aligned<u64>(va, page_size) && (leaf & present));
#pragma GCC unroll 3
    for (unsigned level = top_level; level > 0; level--) {
        const u64 value = load(*at);
        const unsigned below = index_of(va, level - 1);
        const u64 wanted = need | used_by(below);
        if ((value & (wanted | large)) != wanted) [[unlikely]]
            return make_place(va, leaf);
        at = &table_at(value)[below];
    }
    return at;
}

bool user_tables::enter(u64 va, u64 pa, unsigned may) noexcept {
    const u64 leaf = pa | rights_[may & 7];
    u64* const entry = place_of(va, leaf);
    if (!entry) [[unlikely]]
        return false;
    store(*entry, leaf);
    return true;
}

u64* user_tables::run_at(u64 va, std::size_t done, u64 flags, std::size_t& here) noexcept {
    va += done * page_size;
    // The others of the same eighth of the table stand behind it.
    here = std::min<std::size_t>(here, eighth - index_of(va, 0) % eighth);
    return place_of(va, flags);
}

u64* user_tables::make_place(u64 va, u64 leaf) noexcept {
    u64* at = &top_[index_of(va, top_level)];
    for (unsigned level = top_level; level > 0; level--) {
        const u64 value = make_way(*at, va, level, leaf & writable);
        if (!value) return nullptr;
        at = &table_at(value)[index_of(va, level - 1)];
    }
    return at;
}

bool user_tables::enter_large(u64 va, u64 pa, unsigned may) noexcept {
    kassert(va < user_end && k::is_aligned<u64>(va | pa, large_page_size) && rights_[may & 7]);
    const u64 leaf = pa | rights_[may & 7] | large;
    u64* at = &top_[index_of(va, top_level)];
    for (unsigned level = top_level; level > 1; level--) {
        const u64 value = make_way(*at, va, level, leaf & writable);
        if (!value) return false;
        at = &table_at(value)[index_of(va, level - 1)];
    }
    const u64 before = load(*at);
    store(*at, leaf);
    if ((before & (present | large)) == present) retire(before & address, va);
    return true;
}

// The entry, made to lead to a table, and to one where writing is possible if there is to be written. 0: no frame.
u64 user_tables::make_way(u64& entry, u64 va, unsigned level, bool writing) noexcept {
    u64 value = load(entry);
    if (!(value & present)) {
        const u64 frame = take_table(va, level);
        if (!frame) return 0;
        if (level == top_level) used_[index_of(va, level) / 64] |= u64{1} << index_of(va, level) % 64;
        value = frame | table_flags;
    } else if (value & large) {
        value = split(entry, va);
        if (!value) return 0;
    } else if (writing && !(value & writable)) {
        // What was forbidden here is forbidden one level below instead, before it is allowed here.
        for_each_used(value, [](u64& below) {
            const u64 was = load(below);
            if (was & writable) store(below, was & ~writable);
        });
        value |= writable;
    }
    value |= used_by(index_of(va, level - 1));
    store(entry, value);
    return value;
}

u64 user_tables::split(u64& entry, u64 va) noexcept {
    const u64 frame = take_table(va, 1);
    if (!frame) return 0;
    const u64 first = load(entry) & ~large;
    u64* table = table_at(frame);
    for (unsigned i = 0; i < table_entries; i++)
        store(table[i], first + i * page_size);
    return frame | table_flags | used_all; // stored by the caller
}

// A table for the entry of that level: the one that was here before, or a new one. All zeroes.
u64 user_tables::take_table(u64 va, unsigned level) noexcept {
    if (level == 1 && retired_) {
        u64* link = nullptr; // in the table before
        for (u64 frame = retired_; frame;) {
            u64* table = table_at(frame);
            const u64 next = load(table[0]);
            if (load(table[1]) == k::align_down<u64>(va, large_page_size)) {
                if (link)
                    store(*link, next);
                else
                    retired_ = next;
                store(table[0], 0);
                store(table[1], 0);
                return frame;
            }
            link = table;
            frame = next;
        }
    }
    return source_.take();
}

// Another CPU may still walk through the table, hence it stays one, with no entry in it, for the same place. The two
// words that make a list of such tables do not look like entries: their lowest bit is clear.
void user_tables::retire(u64 frame, u64 va) noexcept {
    u64* table = table_at(frame);
    for (unsigned i = 0; i < table_entries; i++)
        store(table[i], 0);
    store(table[0], retired_);
    store(table[1], k::align_down<u64>(va, large_page_size));
    retired_ = frame;
}

// The entry that maps an address of user memory, and what all entries on the way have in common.
user_tables::leaf user_tables::leaf_of(u64 va) const noexcept {
    u64* at = &top_[va >> (page_shift + 9 * top_level)];
    u64 common = ~u64{0};
#pragma GCC unroll 3
    for (unsigned level = top_level; level > 0; level--) {
        const u64 value = load(*at);
        common &= value;
        if (!(value & present)) return {};
        if (value & large) return {at, value, common, level};
        at = &table_at(value)[index_of(va, level - 1)];
    }
    const u64 value = load(*at);
    if (!(value & present)) return {};
    return {at, value, common & value, 0};
}

// The table of small pages that an address is looked up in; null: there is none.
[[gnu::always_inline]] inline u64* user_tables::table_of(u64 va) const noexcept {
    u64* table = top_;
#pragma GCC unroll 3
    for (unsigned level = top_level; level > 0; level--) {
        const u64 value = load(table[index_of(va, level)]);
        if ((value & (present | large)) != present) return nullptr;
        table = table_at(value);
    }
    return table;
}

user_mapping user_tables::find(u64 va) const noexcept {
    if (va >= user_end) return {};
    const leaf found = leaf_of(va);
    if (!found.entry) return {};
    const u64 offset = k::align_down<u64>(va & (span_of(found.level) - 1), page_size);
    const unsigned may =
        user_read | (found.common & writable ? user_write : 0) | (found.value & no_execute ? 0 : user_execute);
    return {(found.value & address) + offset, static_cast<k::u8>(may), found.level > 0};
}

bool user_tables::remove(u64 va, std::size_t pages) noexcept {
    kassert(is_user_range(va, pages));
    removing op;
    // Mostly it lies in one table, to which the way is short.
    const unsigned first = index_of(va, 0);
    if (!pages) return false;
    if (pages <= table_entries - first)
        if (u64* table = table_of(va)) return over_entries(&table[first], &table[first + pages], op);
    return over_range<top_level>(top_, va, va + pages * page_size, op);
}

bool user_tables::write_protect(u64 va, std::size_t pages) noexcept {
    kassert(is_user_range(va, pages));
    if (pages == 1) {
        const leaf found = leaf_of(va);
        if (!(found.common & writable)) return false;
        store(*found.entry, found.value & ~writable);
        return true;
    }
    write_protecting op;
    return over_range<top_level>(top_, va, va + pages * page_size, op);
}

bool user_tables::write_protect_all() noexcept {
    bool any = false;
    for (unsigned i = 0; i < std::size(used_); i++)
        for (u64 left = used_[i]; left; left &= left - 1) {
            u64& entry = top_[i * 64 + static_cast<unsigned>(std::countr_zero(left))];
            const u64 value = load(entry);
            if (!(value & writable)) continue;
            store(entry, value & ~writable);
            any = true;
        }
    return any;
}

} // namespace arch
