#include "kernel/files/xio_file.h"

#include "kernel/lwkt/token.h"
#include "kernel/mem/slab.h"
#include "sys/vm/loan.h"
#include "sys/vm/reaper.h"

namespace files {

namespace {

class xio_file final : public file {
  public:
    explicit xio_file(xio::source bytes) noexcept : file(open_read_only, file_kind::xio), size_(bytes.size()) {
        bytes_.keep(std::move(bytes)); // a loan becomes a copy if this lasts
    }

    k::result<k::u64> read(xio::sink& to) noexcept override {
        lwkt::token_hold hold(position_token_);
        const k::u64 done = TRY(read_at(to, position_));
        position_ += done;
        return done;
    }
    k::result<k::u64> read_at(xio::sink& to, k::u64 offset) noexcept override {
        const xio::source from = TRY(part(offset, to.size()));
        if (from.empty()) return 0;
        const xio::moved m = to.binding() == xio::binding::range
                                 ? vm::deliver(static_cast<vm::space&>(to.memory()), to, from)
                                 : xio::copy_some(from, to);
        return m.as_result();
    }
    k::result<k::u64> seek(k::i64 offset, int whence) noexcept override;
    k::result<k::ref<vm::object>> mapped_object() noexcept override;

    k::result<xio::source> part(k::u64 offset, k::u64 most) noexcept {
        if (offset >= size_) return xio::source();
        return bytes_.slice(offset, std::min(most, size_ - offset));
    }

  private:
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(static_cast<k::u32>(vfs::node_type::regular) | 0400, inode_);
        out.size = static_cast<k::i64>(size_);
        return {};
    }

    const k::u64 size_;
    const k::u64 inode_ = fresh_inode();
    vm::kept_source bytes_;
    lwkt::token position_token_;
    k::u64 position_ GUARDED_BY(position_token_) = 0;
    lwkt::token object_token_;
    k::ref<vm::object> object_ GUARDED_BY(object_token_); // made when it is first mapped
};

k::result<k::u64> xio_file::seek(k::i64 offset, int whence) noexcept {
    enum : int { from_start, from_here, from_end };
    lwkt::token_hold hold(position_token_);
    k::u64 base = 0;
    switch (whence) {
    case from_start: break;
    case from_here: base = position_; break;
    case from_end: base = size_; break;
    default: return k::error::inval;
    }
    k::i64 to;
    if (__builtin_add_overflow(static_cast<k::i64>(base), offset, &to)) return k::error::overflow;
    if (to < 0) return k::error::inval;
    position_ = static_cast<k::u64>(to);
    return position_;
}

// Whole aligned pages come to stand in the object as they are, the others as copies. Nobody may write to a page of it:
// a private mapping gets its own copies, and the file is not open for writing.
k::result<k::ref<vm::object>> xio_file::mapped_object() noexcept {
    lwkt::token_hold hold(object_token_);
    if (object_) return object_.share();
    const k::u64 pages = k::align_up(size_, k::u64{arch::page_size}) >> arch::page_shift;
    k::ref<vm::object> made = TRY(vm::object::anonymous(pages));
    const xio::source all = TRY(part(0, size_));
    const xio::source whole = TRY(all.slice(0, k::align_down(size_, k::u64{arch::page_size})));
    const k::u64 taken = made->adopt(0, whole);
    if (taken < size_) {
        const xio::source rest = TRY(all.slice(taken, size_ - taken));
        if (const xio::moved m = made->write(taken, rest); !m.status) return m.status.error();
    }
    object_ = made.share();
    return made;
}

} // namespace

k::result<file_ref> make_xio_file(xio::source bytes) noexcept {
    auto* made = mem::make<xio_file>(std::move(bytes));
    if (!made) return k::error::nomem;
    return file_ref(made);
}

k::result<xio::source> xio_of(file& f, k::u64 offset, k::u64 most) noexcept {
    if (f.kind() != file_kind::xio) return k::error::inval;
    return static_cast<xio_file&>(f).part(offset, most);
}

} // namespace files
