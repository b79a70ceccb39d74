// Who reads a text in several pieces shall see one text: what the first read made is kept until it was read to the end,
// if it is short. A longer one is made anew for each read.
#include "kernel/files/made_file.h"

#include "kernel/lwkt/sleep_lock.h"
#include "kernel/mem/page.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

class made_file final : public file {
  public:
    explicit made_file(k::u32 flags) noexcept : file(flags) {}
    ~made_file() override { mem::free(text_); }

    k::result<k::u64> read(xio::sink& to) noexcept override {
        lwkt::sleep_hold hold(lock_);
        const k::u64 done = TRY(read_locked(to, position_));
        position_ += done;
        return done;
    }
    k::result<k::u64> write(xio::source& from) noexcept override { return node().fs.write_made(node(), from); }
    k::result<k::u64> read_at(xio::sink& to, k::u64 offset) noexcept override {
        lwkt::sleep_hold hold(lock_);
        return read_locked(to, offset);
    }
    k::result<k::u64> write_at(xio::source& from, k::u64) noexcept override { return write(from); }
    k::result<k::u64> seek(k::i64 offset, int from) noexcept override;
    k::status truncate(k::u64) noexcept override { return k::error::inval; }

  private:
    static constexpr unsigned kept_order = 4;

    vfs::vnode& node() const noexcept { return *origin().node; }
    k::status describe(stat_record&) noexcept override { return k::error::badf; } // it always has a node
    k::result<k::u64> read_locked(xio::sink& to, k::u64 offset) noexcept REQUIRES(lock_);
    k::status make_text() noexcept REQUIRES(lock_);
    void forget_text() noexcept REQUIRES(lock_) { mem::free(std::exchange(text_, nullptr)); }

    lwkt::sleep_lock lock_; // also while user memory is at fault: the text must stay
    k::u64 position_ GUARDED_BY(lock_) = 0;
    char* text_ GUARDED_BY(lock_) = nullptr;
    k::u64 length_ GUARDED_BY(lock_) = 0;
};

// Makes the text and keeps it, if it is short enough and there is memory.
k::status made_file::make_text() noexcept {
    forget_text();
    const vm::page_ref room = vm::page_ref::allocate(kept_order, vm::page_use::buffer);
    if (!room) return {};
    xio::sink whole = TRY(xio::sink::over_run(room.get(), 0, room.size()));
    length_ = TRY(node().fs.read_made(node(), 0, whole));
    if (length_ == room.size()) return {}; // there may be more
    text_ = static_cast<char*>(mem::allocate(std::max(length_, k::u64{1})));
    if (!text_ || !length_) return {};
    const xio::source made = TRY(xio::source::over_run(room.get(), 0, length_));
    return made.read(0, std::as_writable_bytes(std::span(text_, length_)));
}

k::result<k::u64> made_file::read_locked(xio::sink& to, k::u64 offset) noexcept {
    if (to.empty()) return 0;
    if (!offset || !text_) TRY(make_text());
    if (!text_) return node().fs.read_made(node(), offset, to);
    if (offset >= length_) {
        forget_text();
        return 0;
    }
    return to.write_some(0, std::as_bytes(std::span(text_ + offset, std::min(length_ - offset, to.size()))))
        .as_result();
}

k::result<k::u64> made_file::seek(k::i64 offset, int from) noexcept {
    lwkt::sleep_hold hold(lock_);
    if (from != 0 && from != 1) return k::error::inval; // it has no end before it is read
    k::i64 at;
    if (__builtin_add_overflow(from ? static_cast<k::i64>(position_) : 0, offset, &at)) return k::error::overflow;
    if (at < 0) return k::error::inval;
    position_ = static_cast<k::u64>(at);
    return position_;
}

} // namespace

k::result<file_ref> open_made(vfs::found what, k::u32 flags) noexcept {
    auto* made = mem::make<made_file>(flags);
    if (!made) return k::error::nomem;
    made->set_origin(std::move(what));
    return file_ref(made);
}

} // namespace files
