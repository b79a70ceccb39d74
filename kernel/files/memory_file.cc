#include "kernel/files/memory_file.h"

#include "kernel/lwkt/token.h"
#include "kernel/mem/slab.h"
#include "sys/vm/object.h"

namespace files {

namespace {

constexpr k::u64 most_file_bytes = k::u64{1} << 47;

constexpr k::u64 pages_for(k::u64 bytes) {
    return k::align_up(bytes, k::u64{arch::page_size}) >> arch::page_shift;
}

class memory_file final : public file {
  public:
    memory_file(k::ref<vm::object> object, k::u32 seals) noexcept
        : file(open_read_write, file_kind::memory), object_(std::move(object)), seals_(seals) {}

    k::result<k::u64> read(xio::sink& to) noexcept override {
        lwkt::token_hold hold(position_token_);
        const k::u64 done = TRY(read_at(to, position_));
        position_ += done;
        return done;
    }
    k::result<k::u64> write(xio::source& from) noexcept override {
        lwkt::token_hold hold(position_token_);
        const k::u64 at = flags() & open_append ? size() : position_;
        const k::u64 done = TRY(write_at(from, at));
        position_ = at + done;
        return done;
    }
    k::result<k::u64> read_at(xio::sink& to, k::u64 offset) noexcept override {
        const k::u64 end = size();
        if (offset >= end || to.empty()) return 0;
        xio::sink part = TRY(to.slice(0, std::min(to.size(), end - offset)));
        return object_->read(offset, part).as_result();
    }
    k::result<k::u64> write_at(xio::source& from, k::u64 offset) noexcept override;
    k::result<k::u64> seek(k::i64 offset, int whence) noexcept override;
    k::status truncate(k::u64 bytes) noexcept override;
    k::status stat(stat_record& out) noexcept override;
    k::result<k::ref<vm::object>> mapped_object() noexcept override { return object_.share(); }

    k::status add_seals(k::u32 more) noexcept;
    k::u32 seals() const noexcept { return seals_.load(std::memory_order_relaxed); }

  private:
    k::u64 size() const noexcept { return size_.load(std::memory_order_acquire); }
    k::status resize_locked(k::u64 bytes) noexcept REQUIRES(size_token_);

    const k::ref<vm::object> object_;
    const k::u64 inode_ = fresh_inode();
    lwkt::token position_token_;
    k::u64 position_ GUARDED_BY(position_token_) = 0;
    lwkt::token size_token_; // to change the size and the seals
    std::atomic<k::u64> size_ = 0;
    std::atomic<k::u32> seals_;
};

// What is behind the end of the last page reads as zeroes when the file grows over it, whatever a mapping put there.
k::status memory_file::resize_locked(k::u64 bytes) noexcept {
    const k::u64 before = size();
    if (bytes > most_file_bytes) return k::error::fbig;
    if (bytes == before) return {};
    if (bytes < before ? seals() & seal_shrink : seals() & seal_grow) return k::error::perm;
    if (const k::u64 cut = std::min(bytes, before) % arch::page_size) {
        auto nothing = TRY(xio::source::over_run(vm::zero_page(), 0, arch::page_size - cut));
        if (auto m = object_->write(std::min(bytes, before), nothing); !m.status) return m.status.error();
    }
    TRY(object_->resize(pages_for(bytes)));
    size_.store(bytes, std::memory_order_release);
    return {};
}

k::result<k::u64> memory_file::write_at(xio::source& from, k::u64 offset) noexcept {
    if (from.empty()) return 0;
    if (offset >= most_file_bytes) return k::error::fbig;
    const k::u64 bytes = std::min(from.size(), most_file_bytes - offset);
    lwkt::token_hold hold(size_token_);
    if (offset + bytes > size()) TRY(resize_locked(offset + bytes));
    const xio::source part = TRY(from.slice(0, bytes));
    return object_->write(offset, part).as_result();
}

k::result<k::u64> memory_file::seek(k::i64 offset, int whence) noexcept {
    enum : int { from_start, from_here, from_end, to_data, to_hole };
    lwkt::token_hold hold(position_token_);
    const auto end = static_cast<k::i64>(size());
    k::i64 base = 0;
    switch (whence) {
    case from_start: break;
    case from_here: base = static_cast<k::i64>(position_); break;
    case from_end: base = end; break;
    case to_data:
    case to_hole: // one stretch of data, and the hole at the end
        if (offset < 0 || offset >= end) return k::error::nxio;
        position_ = static_cast<k::u64>(whence == to_data ? offset : end);
        return position_;
    default: return k::error::inval;
    }
    k::i64 to;
    if (__builtin_add_overflow(base, offset, &to)) return k::error::overflow;
    if (to < 0) return k::error::inval;
    position_ = static_cast<k::u64>(to);
    return position_;
}

k::status memory_file::truncate(k::u64 bytes) noexcept {
    lwkt::token_hold hold(size_token_);
    return resize_locked(bytes);
}

k::status memory_file::stat(stat_record& out) noexcept {
    out = simple_stat(mode_regular | 0777, inode_);
    out.size = static_cast<k::i64>(size());
    out.blocks = static_cast<k::i64>(object_->resident_pages() * (arch::page_size / 512));
    return {};
}

k::status memory_file::add_seals(k::u32 more) noexcept {
    if (more & ~all_seals) return k::error::inval;
    if (!writable()) return k::error::perm;
    lwkt::token_hold hold(size_token_);
    if (seals() & seal_seal) return k::error::perm;
    seals_.fetch_or(more, std::memory_order_relaxed);
    return {};
}

} // namespace

k::result<file_ref> make_memory_file(bool sealable) noexcept {
    k::ref<vm::object> object = TRY(vm::object::anonymous(0));
    auto* made = mem::make<memory_file>(std::move(object), sealable ? 0 : seal_seal);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

k::status add_seals(file& f, k::u32 seals) noexcept {
    if (f.kind() != file_kind::memory) return k::error::inval;
    return static_cast<memory_file&>(f).add_seals(seals);
}

k::result<k::u64> seals_of(file& f) noexcept {
    if (f.kind() != file_kind::memory) return k::error::inval;
    return static_cast<memory_file&>(f).seals();
}

} // namespace files
