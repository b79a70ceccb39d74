// The page tables of one user address space, in x86-64's four-level format. The hardware of one port walks
// them, the other port's software does: both share what builds and changes them.
//
// Rules. What may be done at an address is what all four levels allow, so that writing can be taken away from much at
// once by an upper entry; whoever needs writing somewhere below pushes that down along its own path first. A table is
// given back with the whole map only: another CPU may remember where it lies. Entries are read and written
// as atomics, for other CPUs walk the tables meanwhile; who changes them is serialised by the caller.
#pragma once

#include "arch/common/user_registers.h"
#include "kernel/lib/types.h"

#include <cstddef>

namespace arch {

// The contracts of these functions are those of arch::user_map (machine.h).
class user_tables {
  public:
    using u64 = k::u64;

    struct frame_source {
        u64 (*take)();
        void (*give)(u64);
    };
    static void set_frame_source(frame_source source) noexcept { source_ = source; }
    static frame_source source() noexcept { return source_; }
    // For a CPU that lacks the no-execute bit: then everything can be executed.
    static void do_without_no_execute() noexcept;

    bool create() noexcept;
    bool enter(u64 va, u64 pa, unsigned may) noexcept;
    template <class FrameOf>
    bool enter_run(u64 va, std::size_t count, FrameOf frame_of, unsigned may, bool* stale) noexcept;
    bool enter_large(u64 va, u64 pa, unsigned may) noexcept;
    user_mapping find(u64 va) const noexcept;
    bool remove(u64 va, std::size_t pages) noexcept;
    bool write_protect(u64 va, std::size_t pages) noexcept;
    bool write_protect_all() noexcept;

  protected:
    void give_back() noexcept; // all tables
    u64* top() const noexcept { return top_; }

  private:
    struct leaf {
        u64* entry; // null: nothing is mapped
        u64 value, common;
        unsigned level;
    };
    leaf leaf_of(u64 va) const noexcept;
    u64* table_of(u64 va) const noexcept;
    u64* place_of(u64 va, u64 leaf) noexcept;
    u64* make_place(u64 va, u64 leaf) noexcept;
    u64 make_way(u64& entry, u64 va, unsigned level, bool writing) noexcept;
    u64 split(u64& entry, u64 va) noexcept;
    u64 take_table(u64 va, unsigned level) noexcept;
    // The place of the page `done` behind `va`, and in how many of the entries from there on pages behind it stand.
    u64* run_at(u64 va, std::size_t done, u64 flags, std::size_t& here) noexcept;
    void retire(u64 table, u64 va) noexcept;

    static frame_source source_;
    static u64 rights_[8]; // the flags of an entry, by user_access bits

    u64* top_ = nullptr;
    u64 used_[4] = {}; // a bit for each entry of the top table that is there
    u64 retired_ = 0;  // tables that large mappings replaced, each kept for the same place
};

// What any of eight entries has, for who may change them: nobody else does.
inline k::u64 any_of_eight(const k::u64* entry) noexcept {
    return entry[0] | entry[1] | entry[2] | entry[3] | entry[4] | entry[5] | entry[6] | entry[7];
}

template <class FrameOf>
bool user_tables::enter_run(u64 va, std::size_t count, FrameOf frame_of, unsigned may, bool* stale) noexcept {
    constexpr u64 present = 1;
    const u64 flags = rights_[may & 7];
    for (std::size_t done = 0; done < count;) {
        std::size_t here = count - done;
        u64* const first = run_at(va, done, flags, here);
        if (!first) return false;
        std::size_t i = 0;
        // Eight entries at once where there are none: the usual case.
        for (; here - i >= 8; i += 8) {
            if (stale && (any_of_eight(&first[i]) & present)) break;
#pragma GCC unroll 8
            for (unsigned one = 0; one < 8; one++)
                __atomic_store_n(&first[i + one], frame_of(done + i + one) + flags, __ATOMIC_RELEASE);
        }
        u64 lost = 0;
        for (; i < here; i++) {
            const u64 leaf = frame_of(done + i) + flags, before = first[i];
            if (before == leaf) continue;
            lost |= before;
            __atomic_store_n(&first[i], leaf, __ATOMIC_RELEASE);
        }
        if (stale) *stale |= lost & present;
        done += here;
    }
    return true;
}

} // namespace arch
