#include "kernel/files/room_file.h"

#include "kernel/mem/slab.h"
#include "sys/vm/object.h"

namespace files {

namespace {

constexpr k::u64 pages_of(k::u64 bytes) {
    return vm::pages_in(k::align_up<k::u64>(bytes, arch::page_size));
}

class room_file final : public file {
  public:
    room_file(k::ref<vm::object> memory, k::u64 bytes, bool writable) noexcept
        : file(writable ? open_read_write : open_read_only, file_kind::room), bytes_(bytes),
          memory_(std::move(memory)) {}

    k::result<k::u64> read_at(xio::sink& to, k::u64 offset) noexcept override {
        if (offset >= bytes_) return 0;
        xio::sink part = TRY(to.slice(0, std::min(to.size(), bytes_ - offset)));
        return memory_->read(offset, part).as_result();
    }
    k::result<k::u64> write_at(xio::source& from, k::u64 offset) noexcept override {
        if (offset >= bytes_) return k::error::nospc;
        const xio::source part = TRY(from.slice(0, std::min(from.size(), bytes_ - offset)));
        return memory_->write(offset, part).as_result();
    }
    k::result<k::u64> read(xio::sink& to) noexcept override { return move_on(read_at(to, position_.load())); }
    k::result<k::u64> write(xio::source& from) noexcept override { return move_on(write_at(from, position_.load())); }
    k::result<k::u64> seek(k::i64 offset, int whence) noexcept override {
        if (whence != 0 || offset < 0) return k::error::inval;
        position_.store(static_cast<k::u64>(offset));
        return static_cast<k::u64>(offset);
    }
    k::result<k::ref<vm::object>> mapped_object() noexcept override { return memory_.share(); }

    room_view view() const noexcept { return {memory_.share(), bytes_, writable()}; }

  private:
    // Two threads that share a position get what they get.
    k::result<k::u64> move_on(k::result<k::u64> done) noexcept {
        if (done) position_.fetch_add(*done);
        return done;
    }
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(static_cast<k::u32>(vfs::node_type::regular) | 0600, inode_);
        out.size = static_cast<k::i64>(bytes_);
        return {};
    }

    const k::u64 bytes_;
    const k::u64 inode_ = fresh_inode();
    const k::ref<vm::object> memory_;
    std::atomic<k::u64> position_ = 0;
};

} // namespace

k::result<k::ref<vm::object>> memory_for_room(k::u64 bytes) noexcept {
    return vm::object::anonymous(pages_of(bytes));
}

k::result<file_ref> make_room_file(k::u64 bytes, k::ref<vm::object> memory, bool writable) noexcept {
    if (!memory) memory = TRY(memory_for_room(bytes));
    auto* made = mem::make<room_file>(std::move(memory), bytes, writable);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

k::result<room_view> room_of(file& f) noexcept {
    if (f.kind() != file_kind::room) return k::error::inval;
    return static_cast<room_file&>(f).view();
}

k::result<xio::source> lend_from_room(const room_view& room, k::u64 offset, k::u64 bytes) noexcept {
    if (!bytes || offset > room.bytes || bytes > room.bytes - offset) return k::error::inval;
    auto lent = room.memory->lend(offset, bytes);
    if (lent || lent.error() != k::error::again) return lent;
    xio::sink copy = TRY(xio::sink::fresh(bytes)); // somebody fills a page of it just now
    TRY(room.memory->read(offset, copy).as_result());
    return copy.into_source();
}

void empty_room(vm::object& memory, k::u64 bytes) noexcept {
    (void)memory.punch(0, pages_of(bytes));
}

} // namespace files
