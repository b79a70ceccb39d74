// Walking the bytes of a slice in the direct map: the one place that turns extents into addresses. Each step is a
// physically contiguous run, as long as the extent allows.
#pragma once

#include "sys/xio/xio.h"

#include <algorithm>
#include <span>

namespace xio {

class walker {
  public:
    explicit walker(const slice_base& slice) noexcept : walker(slice, 0, slice.size()) {}
    // Starts `offset` bytes in, at most to the end.
    walker(const slice_base& slice, k::u64 offset, k::u64 bytes) noexcept
        : at_(slice.start()), snapshot_(slice.snapshot()), left_(bytes) {
        if (offset && bytes) move(offset);
        if (snapshot_ && bytes) find_page();
    }

    k::u64 left() const { return left_; }
    // Bytes that lie together here.
    k::u64 run() const {
        if (snapshot_) [[unlikely]]
            return std::min(platform::page_size - at_.offset % platform::page_size, left_);
        return std::min(at_.at().bytes - at_.offset, left_);
    }
    // Where they are.
    std::byte* address() const {
        if (snapshot_) [[unlikely]]
            return platform::direct(page_) + at_.offset % platform::page_size;
        const extent& e = at_.at();
        return platform::direct(e.first) + e.offset + at_.offset;
    }
    // The whole page that lies here; null where none begins.
    platform::page* whole_page() const {
        if (snapshot_) [[unlikely]]
            return at_.offset % platform::page_size || left_ < platform::page_size ? nullptr : page_;
        const extent& e = at_.at();
        const k::u64 in_extent = e.offset + at_.offset;
        if (in_extent % platform::page_size || run() < platform::page_size) return nullptr;
        return e.first + in_extent / platform::page_size;
    }
    platform::physical_address physical() const {
        if (snapshot_) [[unlikely]]
            return platform::physical(page_) + at_.offset % platform::page_size;
        const extent& e = at_.at();
        return platform::physical(e.first) + e.offset + at_.offset;
    }
    // The whole pages from here on, as many as there are and into.size() at most; moves past them. How many.
    std::size_t take_pages(std::span<platform::page*> into) {
        std::size_t taken = 0;
        while (taken < into.size() && left_) {
            taken += take_extents(into.subspan(taken));
            page* p = whole_page();
            if (!p || taken == into.size()) break;
            const auto together = std::min<std::size_t>(run() / platform::page_size, into.size() - taken);
            for (std::size_t i = 0; i < together; i++)
                into[taken++] = p++;
            advance(together * platform::page_size);
        }
        return taken;
    }
    void advance(k::u64 bytes) {
        left_ -= bytes;
        if (!left_) return;
        move(bytes);
        if (snapshot_) [[unlikely]]
            find_page();
    }

  private:
    // The same for extents of whole pages that are taken as they are: in few instructions, as most consist of them. The
    // last one stays.
    std::size_t take_extents(std::span<platform::page*> into) {
        std::size_t taken = 0;
        while (!snapshot_ && !at_.offset) {
            const extent& e = at_.at();
            const k::u64 pages = e.bytes / platform::page_size;
            if (e.offset || e.bytes % platform::page_size || e.bytes >= left_ || pages > into.size() - taken) break;
            for (page *p = e.first, *const end = p + pages; p != end; p++)
                into[taken++] = p;
            left_ -= e.bytes;
            at_.next_extent();
        }
        return taken;
    }
    void move(k::u64 bytes) {
        if (snapshot_) [[unlikely]]
            at_.offset += bytes;
        else
            at_.advance(bytes);
    }
    void find_page() { page_ = snapshot_->page_at(at_.offset / platform::page_size); }

    position at_;
    const page_snapshot* snapshot_;
    page* page_ = nullptr; // of a snapshot: where this stands
    k::u64 left_;
};

// Calls visit(address, bytes) for each contiguous run.
template <class Visit> void for_each_run(walker w, Visit visit) {
    while (w.left()) {
        const k::u64 run = w.run();
        visit(w.address(), run);
        w.advance(run);
    }
}

} // namespace xio
