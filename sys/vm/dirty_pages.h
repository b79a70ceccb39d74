// Which pages of a file are newer than where they are kept: a bit a page, in pieces that are made when they are first
// needed. Its owner's lock guards it.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/mem/slab.h"

#include <algorithm>
#include <bit>
#include <boost/intrusive/set.hpp>

namespace vm {

class dirty_pages {
  public:
    dirty_pages() = default;
    ~dirty_pages() {
        pieces_.clear_and_dispose([](piece* p) { mem::destroy(p); });
    }
    dirty_pages(const dirty_pages&) = delete;

    k::u64 count() const noexcept { return count_; }
    bool has(k::u64 page) const noexcept {
        const piece* p = piece_of(page);
        return p && p->has(page);
    }
    // False: no memory.
    bool set(k::u64 page) noexcept {
        piece* p = piece_of(page);
        if (!p) {
            if (!(p = mem::make<piece>())) return false;
            p->number = page / piece::pages;
            pieces_.insert(*p);
            last_ = p;
        }
        count_ += !p->has(page);
        p->word_of(page) |= bit(page);
        return true;
    }
    // How many were set.
    k::u64 clear(k::u64 first, k::u64 count) noexcept {
        const k::u64 before = count_, end = count < ~k::u64{0} - first ? first + count : ~k::u64{0};
        for (k::u64 page = first; (page = next(page, end, true)) < end;) {
            piece& p = *piece_of(page);
            do {
                p.word_of(page) &= ~bit(page);
                count_--;
            } while (++page < end && page % piece::pages && p.has(page));
            if (p.is_empty()) let_go(p);
        }
        return before - count_;
    }
    // The first page in [from, end) that is (not) set; `end` if there is none.
    k::u64 next(k::u64 from, k::u64 end, bool wanted) const noexcept {
        auto at = pieces_.lower_bound(from / piece::pages);
        for (k::u64 page = from; page < end; ++at) {
            if (at == pieces_.end()) return wanted ? end : page;
            const k::u64 first = at->number * piece::pages;
            if (page < first) {
                if (!wanted) return page;
                page = first;
            }
            while (page < end && page < first + piece::pages) {
                const k::u64 word = at->words[page % piece::pages / 64];
                const k::u64 left = (wanted ? word : ~word) >> page % 64;
                if (left) return std::min(end, page + static_cast<unsigned>(std::countr_zero(left)));
                page = (page / 64 + 1) * 64;
            }
        }
        return end;
    }

  private:
    struct piece {
        static constexpr k::u64 pages = 2048;
        bool has(k::u64 page) const noexcept { return words[page % pages / 64] >> page % 64 & 1; }
        k::u64& word_of(k::u64 page) noexcept { return words[page % pages / 64]; }
        bool is_empty() const noexcept {
            return std::ranges::all_of(words, [](k::u64 word) { return !word; });
        }
        k::u64 number = 0;
        boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> link;
        k::u64 words[pages / 64] = {};
    };
    struct number_of {
        using type = k::u64;
        const type& operator()(const piece& p) const { return p.number; }
    };
    static constexpr k::u64 bit(k::u64 page) { return k::u64{1} << page % 64; }
    void let_go(piece& p) noexcept {
        if (last_ == &p) last_ = nullptr;
        pieces_.erase(pieces_.iterator_to(p));
        mem::destroy(&p);
    }
    piece* piece_of(k::u64 page) const noexcept {
        if (last_ && last_->number == page / piece::pages) return last_;
        const auto found = pieces_.find(page / piece::pages);
        if (found == pieces_.end()) return nullptr;
        return last_ = const_cast<piece*>(&*found);
    }

    boost::intrusive::set<
        piece,
        boost::intrusive::member_hook<
            piece, boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>,
            &piece::link>,
        boost::intrusive::key_of_value<number_of>, boost::intrusive::constant_time_size<false>>
        pieces_;
    mutable piece* last_ = nullptr; // looked at last
    k::u64 count_ = 0;
};

} // namespace vm
