#include "kernel/files/archive_file.h"

#include "kernel/files/names.h"
#include "kernel/lwkt/token.h"
#include "kernel/mem/slab.h"

#include <algorithm>
#include <cstring>

namespace files {

namespace {

using proc::archive_file;

// A position that can be moved as lseek(2) does, in something `size` long.
class seek_position {
  public:
    lwkt::token token;
    k::u64 at GUARDED_BY(token) = 0;

    k::result<k::u64> move(k::i64 offset, int whence, k::u64 size) noexcept {
        lwkt::token_hold hold(token);
        const auto end = static_cast<k::i64>(size);
        k::i64 base = 0;
        switch (whence) {
        case 0: break;                                 // SEEK_SET
        case 1: base = static_cast<k::i64>(at); break; // SEEK_CUR
        case 2: base = end; break;                     // SEEK_END
        case 3:                                        // SEEK_DATA
        case 4:                                        // SEEK_HOLE: the one at the end
            if (offset < 0 || offset >= end) return k::error::nxio;
            if (whence == 4) offset = end;
            break;
        default: return k::error::inval;
        }
        k::i64 to;
        if (__builtin_add_overflow(base, offset, &to)) return k::error::overflow;
        if (to < 0) return k::error::inval;
        return at = static_cast<k::u64>(to);
    }
};

class archived_file final : public file {
  public:
    archived_file(const archive_file& what, k::u32 flags) noexcept : file(flags, file_kind::stored), what_(what) {}

    k::result<k::u64> read(xio::sink& to) noexcept override {
        lwkt::token_hold hold(position_.token);
        const k::u64 at = position_.at;
        const k::u64 done = TRY(read_at(to, at));
        position_.at = at + done;
        return done;
    }
    k::result<k::u64> read_at(xio::sink& to, k::u64 offset) noexcept override {
        if (offset >= what_.bytes.size()) return 0;
        const k::u64 bytes = std::min<k::u64>(to.size(), what_.bytes.size() - offset);
        return to.write_some(0, what_.bytes.subspan(offset, bytes)).as_result();
    }
    k::result<k::u64> seek(k::i64 offset, int whence) noexcept override {
        return position_.move(offset, whence, what_.bytes.size());
    }
    k::status stat(stat_record& out) noexcept override {
        out = stat_of(what_);
        return {};
    }
    k::result<k::ref<vm::object>> mapped_object() noexcept override { return proc::object_of(what_); }

  private:
    const archive_file& what_;
    seek_position position_;
};

// The directory that a file is in; the root is in itself. A directory's contents follow it in the archive's order.
const archive_file* parent_of(const archive_file& of) {
    const std::size_t slash = of.path.rfind('/');
    const std::string_view path = slash == of.path.npos ? std::string_view() : of.path.substr(0, slash);
    const archive_file* at = &of;
    while (at->path != path)
        at--;
    return at;
}

// struct linux_dirent64, but for the name that follows it.
struct [[gnu::packed]] directory_record {
    k::u64 inode;
    k::i64 next;
    k::u16 bytes;
    k::u8 type;
};
static_assert(sizeof(directory_record) == 19);

class archived_directory final : public file {
  public:
    archived_directory(const archive_file& what, k::u32 flags) noexcept
        : file(flags, file_kind::directory), what_(what), parent_(parent_of(what)) {}

    k::result<k::u64> read(xio::sink&) noexcept override { return k::error::isdir; }
    k::result<k::u64> read_at(xio::sink&, k::u64) noexcept override { return k::error::isdir; }
    k::result<k::u64> seek(k::i64 offset, int whence) noexcept override {
        return position_.move(offset, whence, count());
    }
    k::status stat(stat_record& out) noexcept override {
        out = stat_of(what_);
        return {};
    }
    k::result<k::u64> list(xio::sink& to) noexcept;
    const archive_file& what() const noexcept { return what_; }

  private:
    // What stands at a place: itself, its parent, its children. Null: the end.
    const archive_file* entry_at(k::u64 place, std::string_view& name) noexcept;
    k::u64 count() noexcept {
        k::u64 n = 2;
        for (const archive_file* child = nullptr; (child = proc::boot_files().next_child(what_, child));)
            n++;
        return n;
    }

    const archive_file& what_;
    const archive_file* const parent_;
    seek_position position_; // counts entries
    // The child found last and its place, so that going on does not begin anew. Guarded by the position's token.
    const archive_file* last_child_ = nullptr;
    k::u64 last_place_ = 0;
};

const archive_file* archived_directory::entry_at(k::u64 place, std::string_view& name) noexcept {
    if (place < 2) {
        name = place ? ".." : ".";
        return place ? parent_ : &what_;
    }
    if (!last_child_ || last_place_ >= place) {
        last_child_ = nullptr;
        last_place_ = 1;
    }
    while (last_place_ < place) {
        const archive_file* next = proc::boot_files().next_child(what_, last_child_);
        if (!next) return nullptr;
        last_child_ = next;
        last_place_++;
    }
    name = last_child_->name();
    return last_child_;
}

k::result<k::u64> archived_directory::list(xio::sink& to) noexcept {
    constexpr std::size_t longest_name = 255;
    lwkt::token_hold hold(position_.token);
    k::u64 done = 0;
    for (;;) {
        std::string_view name;
        const archive_file* entry = entry_at(position_.at, name);
        if (!entry) break;
        name = name.substr(0, longest_name);
        std::byte record[k::align_up(sizeof(directory_record) + longest_name + 1, std::size_t{8})]{};
        const std::size_t bytes = k::align_up(sizeof(directory_record) + name.size() + 1, std::size_t{8});
        if (to.size() - done < bytes) {
            if (done) break;
            return k::error::inval;
        }
        const directory_record head{entry->inode, static_cast<k::i64>(position_.at + 1), static_cast<k::u16>(bytes),
                                    static_cast<k::u8>((entry->mode & proc::type_mask) >> 12)};
        std::memcpy(record, &head, sizeof(head));
        std::memcpy(record + sizeof(head), name.data(), name.size());
        if (auto written = to.write(done, {record, bytes}); !written) {
            if (done) break;
            return written.error();
        }
        done += bytes;
        position_.at++;
    }
    return done;
}

} // namespace

k::result<file_ref> open_archived(const archive_file& what, k::u32 flags) noexcept {
    file* made = what.is(proc::type_directory) ? static_cast<file*>(mem::make<archived_directory>(what, flags))
                                               : mem::make<archived_file>(what, flags);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

stat_record stat_of(const archive_file& what) noexcept {
    stat_record out = simple_stat(what.mode, what.inode);
    out.device = device_number(0, 2);
    out.links = what.links;
    out.uid = what.uid;
    out.gid = what.gid;
    out.size = static_cast<k::i64>(what.bytes.size());
    out.blocks = static_cast<k::i64>((what.bytes.size() + 511) / 512);
    out.access_s = out.modify_s = out.change_s = what.modified_s;
    return out;
}

k::result<k::u64> list_directory(file& f, xio::sink& to) noexcept {
    if (f.kind() != file_kind::directory) return k::error::notdir;
    return static_cast<archived_directory&>(f).list(to);
}

const archive_file* directory_of(file& f) noexcept {
    return f.kind() == file_kind::directory ? &static_cast<archived_directory&>(f).what() : nullptr;
}

} // namespace files
