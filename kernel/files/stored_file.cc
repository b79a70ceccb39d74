#include "kernel/files/stored_file.h"

#include "kernel/files/made_file.h"
#include "kernel/lwkt/token.h"
#include "kernel/mem/slab.h"
#include "kernel/proc/current.h"
#include "kernel/proc/process.h"
#include "kernel/proc/signal_abi.h"
#include "sys/ext/ext.h"
#include "sys/vfs/data.h"
#include "sys/vfs/edit.h"
#include "sys/vfs/events.h"
#include "sys/vfs/tmpfs.h"
#include "sys/vfs/vop.h"
#include "sys/vm/loan.h"

#include <cstring>

namespace files {

namespace {

using opened_ref = vfs::file_system::opened_ref;

enum whence : int { from_start, from_here, from_end, to_data, to_hole };

// EINVAL: before the start; EOVERFLOW.
k::result<k::u64> moved_by(k::u64 base, k::i64 offset) noexcept {
    k::i64 to;
    if (__builtin_add_overflow(static_cast<k::i64>(base), offset, &to)) return k::error::overflow;
    if (to < 0) return k::error::inval;
    return static_cast<k::u64>(to);
}

// What RLIMIT_FSIZE lets a write reach.
k::u64 size_limit() noexcept {
    if (!proc::is_user_thread()) return vfs::most_file_bytes;
    return std::min(proc::current_process().limits.soft(proc::resource::file_size), vfs::most_file_bytes);
}

// --- Regular files

class stored_file final : public file, public vfs::mapped {
  public:
    // `losses`: of its node, when it is opened: not this one's business.
    stored_file(k::u32 flags, vfs::claim writing, vfs::mount_writing through, opened_ref with, k::u32 losses) noexcept
        : file(flags, file_kind::stored), writing_(std::move(writing)), through_(std::move(through)),
          with_(std::move(with)), losses_told_(losses) {}
    ~stored_file() override {
        if (origin())
            vfs::announce_use(node(), origin().called.get(),
                              writable() ? vfs::event_close_write : vfs::event_close_no_write);
    }

    // Its program wants each question itself.
    bool bypasses_cache() const noexcept { return with_ && with_->bypasses_cache(); }

    k::result<k::u64> read(xio::sink& to) noexcept override {
        lwkt::token_hold hold(position_token_);
        const k::u64 done = TRY(read_at(to, position_));
        position_ += done;
        return done;
    }
    k::result<k::u64> write(xio::source& from) noexcept override {
        lwkt::token_hold hold(position_token_);
        k::u64 at = position_;
        const k::u64 done = TRY(write_bytes(from, at, flags() & open_append));
        position_ = at + done;
        return done;
    }
    k::result<k::u64> read_at(xio::sink& to, k::u64 offset) noexcept override {
        const k::u64 done = TRY(is_usual() ? vfs::read(node(), offset, to) : read_unusual(to, offset));
        vfs::announce_use(node(), origin().called.get(), vfs::event_access);
        return done;
    }
    k::result<k::u64> write_at(xio::source& from, k::u64 offset) noexcept override {
        return write_bytes(from, offset, flags() & open_append);
    }
    k::result<k::u64> seek(k::i64 offset, int from) noexcept override;
    k::status sync() noexcept override {
        const k::status done = node().fs.sync(&node()), lost = tell_losses();
        return done ? lost : done;
    }
    k::status flush() noexcept override;
    k::status truncate(k::u64 bytes) noexcept override;
    k::result<k::ref<vm::object>> mapped_object() noexcept override {
        if (!node().pages() || bypasses_cache()) return k::error::nodev;
        return k::ref<vm::object>::to(*node().pages());
    }
    // A mapping keeps the file open.
    vfs::mapped* mapped_as() noexcept override { return this; }
    void keep() noexcept override { (void)file_ref::to(*this).release(); }
    void let_go() noexcept override { (void)file_ref(this); }
    const vfs::found& what() const noexcept override { return origin(); }
    k::status keep_bytes() noexcept override { return sync(); }

    k::status add_seals(k::u32 more) noexcept;
    k::u32 seals() const noexcept { return node().seals.load(std::memory_order_relaxed); }
    vfs::vnode& node() const noexcept { return *origin().node; }

  private:
    // Of what was stored into it, something could not be kept since this was asked last.
    k::status tell_losses() noexcept {
        const k::u32 now = node().losses.load(std::memory_order_acquire);
        if (losses_told_.exchange(now, std::memory_order_relaxed) == now) return {};
        return vfs::vnode::loss_of(now);
    }
    k::status describe(stat_record&) noexcept override { return k::error::badf; } // it always has a node
    k::result<k::u64> write_bytes(const xio::source& from, k::u64& at, bool append) noexcept;
    // Nothing is to be asked on the way of its bytes.
    bool is_usual() const noexcept { return !with_ && !(flags() & open_direct); }
    [[gnu::noinline]] k::result<k::u64> read_unusual(xio::sink& to, k::u64 offset) noexcept {
        return bypasses_cache() ? read_past_cache(to, offset)
               : is_direct()    ? read_direct(to, offset)
                                : read_cached(to, offset);
    }
    // Whoever reads up to the end wants to know whether that is still the end. Who may not ask, or of a file that has
    // no name any more, reads as far as is known.
    k::result<k::u64> read_cached(xio::sink& to, k::u64 offset) noexcept {
        if (node().is_told_old() && offset + to.size() > node().size.load(std::memory_order_acquire))
            (void)node().fs.ask_again(node());
        return vfs::read(node(), offset, to);
    }
    [[gnu::noinline]] k::result<k::u64> write_unusual(const vfs::write_request& what, const xio::source& from,
                                                      k::u64& at) noexcept {
        return bypasses_cache() ? write_past_cache(what, from, at)
               : is_direct()    ? write_direct(what, from, at)
                                : write_cached(what, from, at);
    }
    k::result<k::u64> write_cached(const vfs::write_request& what, const xio::source& from, k::u64& at) noexcept;
    bool may_not_read_at(k::u64 place) noexcept;
    // Do its bytes go past memory? Elsewhere than on disks there is nothing else.
    bool is_direct() const noexcept { return (flags() & open_direct) && node().fs.is_on_disk(); }
    k::result<k::u64> read_direct(xio::sink& to, k::u64 offset) noexcept;
    k::result<k::u64> write_direct(const vfs::write_request& what, const xio::source& from, k::u64& at) noexcept;
    k::result<k::u64> write_past_cache(const vfs::write_request& what, const xio::source& from, k::u64& at) noexcept;
    // What others have stored into mappings comes first.
    k::result<k::u64> read_past_cache(xio::sink& to, k::u64 offset) noexcept {
        TRY(node().write_back());
        return with_->read(offset, to);
    }

    // Of one that is open for writing.
    const vfs::claim writing_;
    const vfs::mount_writing through_;
    const opened_ref with_;
    std::atomic<k::u32> losses_told_;
    lwkt::token position_token_;
    k::u64 position_ GUARDED_BY(position_token_) = 0;
};

// A descriptor is closed. Its program has what was stored into mappings before it is told; but who ends does not wait.
k::status stored_file::flush() noexcept {
    if (!with_) return {};
    const k::status kept = writable() && !proc::is_killed() ? node().write_back() : k::status();
    const k::status said = with_->flush();
    return kept ? said : kept;
}

// RLIMIT_FSIZE sends its signal as well as the error.
k::status too_long() noexcept {
    proc::signal_self(proc::sig_xfsz);
    return k::error::fbig;
}

constexpr k::u64 direct_unit = 512; // bytes, of places and lengths

k::result<k::u64> stored_file::read_direct(xio::sink& to, k::u64 offset) noexcept {
    if ((offset | to.size()) % direct_unit) return k::error::inval;
    const k::u64 size = node().size.load(std::memory_order_acquire);
    const k::u64 bytes = offset < size ? std::min(to.size(), size - offset) : 0;
    if (!bytes) return 0;
    TRY(ext::put_out(node(), offset, bytes)); // so what comes is what the disk has
    const k::u64 done = TRY(vfs::read(node(), offset, to));
    TRY(ext::put_out(node(), offset, bytes));
    return done;
}

// The program's pages are lent, stand in the file until the disk has taken its bytes from them, and are the program's
// alone again. Whoever changes them meanwhile changes copies.
k::result<k::u64> stored_file::write_direct(const vfs::write_request& what, const xio::source& from,
                                            k::u64& at) noexcept {
    const k::u64 offset = what.append ? node().size.load(std::memory_order_acquire) : what.offset;
    if ((offset | from.size()) % direct_unit) return k::error::inval;
    if (from.empty()) return 0;
    k::u64 done = 0;
    {
        const xio::source bound =
            TRY(from.binding() == xio::binding::pages
                    ? from.clone()
                    : vm::bind_source(static_cast<vm::space&>(from.memory()), from, xio::stability::stable));
        done = TRY(vfs::write(node(), what, bound, at));
    }
    TRY(ext::put_out(node(), at, done));
    return done;
}

k::result<k::u64> stored_file::write_bytes(const xio::source& from, k::u64& at, bool append) noexcept {
    const k::u64 limit = size_limit();
    vfs::write_request what{.offset = at, .append = append, .limit = limit};
    if (node().seals.load(std::memory_order_relaxed) & seal_grow) {
        const k::u64 size = node().size.load(std::memory_order_relaxed);
        if (append || at > size || from.size() > size - at) return k::error::perm;
    }
    auto done = is_usual() ? vfs::write(node(), what, from, at) : write_unusual(what, from, at);
    if (!done) {
        if (done.error() == k::error::fbig && limit < vfs::most_file_bytes) return too_long().error();
        return done;
    }
    if (*done) {
        if (node().mode.load(std::memory_order_relaxed) & (vfs::set_user | vfs::set_group)) [[unlikely]] {
            const proc::identity user = proc::current_process().who.user();
            vfs::drop_set_id(node(), {user.for_files, 0, {}});
        }
        vfs::announce_use(node(), origin().called.get(), vfs::event_modify);
        if (flags() & open_data_sync) TRY(sync());
    }
    return done;
}

// The program knows best where the end is; and it has what is written before anybody else looks for that.
k::result<k::u64> stored_file::write_past_cache(const vfs::write_request& what, const xio::source& from,
                                                k::u64& at) noexcept {
    TRY(node().write_back());
    if (what.append) TRY(node().fs.ask_again(node()));
    const vfs::writers_hold hold(node());
    at = what.append ? node().size.load(std::memory_order_acquire) : what.offset;
    if (at >= what.limit) return k::error::fbig;
    const xio::source part = TRY(from.slice(0, std::min(from.size(), what.limit - at)));
    auto done = with_->write(at, part);
    node().written_there(at, done ? *done : part.size(), bool(done));
    if (bypasses_cache()) node().told_until_ns.store(0, std::memory_order_relaxed); // it is asked what became of it
    return done;
}

// The page around what is written is read, which a program may refuse to who may only write.
bool stored_file::may_not_read_at(k::u64 place) noexcept {
    const k::u64 page_start = k::align_down<k::u64>(place, arch::page_size);
    if (place == page_start || page_start >= node().size.load(std::memory_order_acquire)) return false;
    auto to = xio::sink::fresh(1);
    if (!to) return false;
    const auto read = vfs::read(node(), page_start, *to);
    return !read && (read.error() == k::error::acces || read.error() == k::error::perm);
}

// Then it is written past the cache.
k::result<k::u64> stored_file::write_cached(const vfs::write_request& what, const xio::source& from,
                                            k::u64& at) noexcept {
    const k::u64 place = what.append ? node().size.load(std::memory_order_acquire) : what.offset;
    const bool may_be_refused = with_ && !readable() && !from.empty();
    if (!may_be_refused || (!may_not_read_at(place) && !may_not_read_at(place + from.size()))) {
        auto done = vfs::write(node(), what, from, at);
        const bool refused = !done && (done.error() == k::error::acces || done.error() == k::error::perm);
        if (!may_be_refused || !refused) return done; // else the page went meanwhile
    }
    return write_past_cache(what, from, at);
}

k::result<k::u64> stored_file::seek(k::i64 offset, int from) noexcept {
    if (from == from_end && node().is_told_old()) TRY(node().fs.ask_again(node()));
    lwkt::token_hold hold(position_token_);
    const k::u64 end = node().size.load(std::memory_order_acquire);
    k::result<k::u64> to = k::error::inval;
    switch (from) {
    case from_start: to = moved_by(0, offset); break;
    case from_here: to = moved_by(position_, offset); break;
    case from_end: to = moved_by(end, offset); break;
    case to_data:
    case to_hole:
        if (offset < 0) return k::error::nxio;
        if (!node().pages()) return k::error::inval;
        to = from == to_data ? vfs::next_data(node(), static_cast<k::u64>(offset))
                             : vfs::next_hole(node(), static_cast<k::u64>(offset));
        break;
    }
    if (to) position_ = *to;
    return to;
}

k::status stored_file::truncate(k::u64 bytes) noexcept {
    if (!node().pages()) return k::error::inval;
    if (node().is_told_old()) TRY(node().fs.ask_again(node()));
    const k::u64 size = node().size.load(std::memory_order_relaxed);
    const k::u32 sealed = seals();
    if (bytes < size ? sealed & seal_shrink : bytes > size && (sealed & seal_grow)) return k::error::perm;
    if (bytes > size && bytes > size_limit()) return too_long();
    TRY(vfs::resize(node(), bytes));
    vfs::announce_use(node(), origin().called.get(), vfs::event_modify);
    return {};
}

k::status stored_file::add_seals(k::u32 more) noexcept {
    if (more & ~all_seals) return k::error::inval;
    if (!writable()) return k::error::perm;
    if (seals() & seal_seal) return k::error::perm;
    node().seals.fetch_or(more, std::memory_order_relaxed);
    return {};
}

// --- Directories

// struct linux_dirent64, but for the name that follows it.
struct [[gnu::packed]] directory_record {
    k::u64 inode;
    k::i64 next;
    k::u16 bytes;
    k::u8 type;
};
static_assert(sizeof(directory_record) == 19);

constexpr k::u8 record_type(vfs::node_type t) noexcept {
    return static_cast<k::u8>(static_cast<k::u32>(t) >> 12);
}

// Writes records one behind the other into a sink.
class record_writer final : public vfs::file_system::lister {
  public:
    record_writer(xio::sink& to, vfs::file_system::opened* with) noexcept : to_(to), with_(with) {}
    vfs::file_system::opened* with() const noexcept override { return with_; }

    bool put(k::u64 next, std::string_view text, vfs::node_type type, k::u64 inode) noexcept override {
        std::byte record[k::align_up(sizeof(directory_record) + vfs::longest_name + 1, std::size_t{8})];
        const std::size_t bytes = k::align_up(sizeof(directory_record) + text.size() + 1, std::size_t{8});
        if (to_.size() - done_ < bytes) {
            full_ = true;
            return false;
        }
        const directory_record head{inode, static_cast<k::i64>(next), static_cast<k::u16>(bytes), record_type(type)};
        std::memcpy(record, &head, sizeof(head));
        std::memcpy(record + sizeof(head), text.data(), text.size());
        std::memset(record + sizeof(head) + text.size(), 0, bytes - sizeof(head) - text.size());
        const k::status written = to_.write(done_, {record, bytes});
        if (!written) {
            bad_ = written;
            return false;
        }
        done_ += bytes;
        place_ = next;
        return true;
    }
    // What the call answers; EINVAL: not even the first one fitted.
    k::result<k::u64> outcome() const noexcept {
        if (done_) return done_;
        if (!bad_) return bad_.error();
        if (full_) return k::error::inval;
        return 0;
    }
    k::u64 place() const noexcept { return place_; } // behind the last one written
    bool full() const noexcept { return full_ || !bad_; }
    void start(k::u64 place) noexcept { place_ = place; }

  private:
    xio::sink& to_;
    vfs::file_system::opened* const with_;
    k::u64 done_ = 0, place_ = 0;
    bool full_ = false;
    k::status bad_;
};

class directory_file final : public file {
  public:
    directory_file(k::u32 flags, opened_ref with) noexcept
        : file(flags, file_kind::directory), with_(std::move(with)) {}
    ~directory_file() override {
        if (origin()) vfs::announce_use(dir(), origin().called.get(), vfs::event_close_no_write);
    }

    k::result<k::u64> read(xio::sink&) noexcept override { return k::error::isdir; }
    k::result<k::u64> read_at(xio::sink&, k::u64) noexcept override { return k::error::isdir; }
    k::result<k::u64> seek(k::i64 offset, int from) noexcept override {
        lwkt::token_hold hold(position_token_);
        if (from == from_end) return k::error::inval;
        place_ = TRY(moved_by(from == from_here ? place_ : 0, offset));
        return place_;
    }
    k::result<k::u64> list(xio::sink& to) noexcept;
    k::status sync() noexcept override { return dir().fs.sync(&dir()); }

  private:
    k::status describe(stat_record&) noexcept override { return k::error::badf; } // it always has a node
    vfs::directory& dir() const noexcept { return origin().node->as_directory(); }
    k::status list_names(record_writer& to) noexcept;

    const opened_ref with_;
    lwkt::token position_token_;
    k::u64 place_ GUARDED_BY(position_token_) = 0;
};

// The names that the directory itself has, some at a time: they are held while they are written to the user.
k::status directory_file::list_names(record_writer& to) noexcept {
    constexpr std::size_t some = 32;
    vfs::vop_list::entry entries[some];
    for (;;) {
        vfs::vop_list names(dir(), to.place(), entries);
        TRY(dir().fs.call(names));
        for (const auto& e : std::span(entries, names.count)) {
            const vfs::vnode& n = *e.what->node();
            if (!to.put(e.place + 1, e.what->text(), n.type, n.inode)) return {};
        }
        if (names.count < some) return {};
    }
}

k::result<k::u64> directory_file::list(xio::sink& to) noexcept {
    using vfs::directory;
    lwkt::token_hold hold(position_token_);
    if (dir().is_dead()) return k::error::noent;
    record_writer out(to, with_.get());
    out.start(place_);
    constexpr k::u64 dot = 1, dot_dot = 2;
    if (place_ < dot && !out.put(dot, ".", vfs::node_type::directory, dir().inode)) return out.outcome();
    if (out.place() < dot_dot) {
        k::u64 parent;
        {
            lwkt::critical section;
            parent = dir().parent().inode;
        }
        (void)out.put(dot_dot, "..", vfs::node_type::directory, parent);
    }
    if (!out.full()) {
        k::status listed;
        if (dir().is_complete()) {
            out.start(std::max(out.place(), directory::first_place));
            listed = list_names(out);
        } else {
            listed = dir().fs.list(dir(), out.place(), out);
        }
        if (!listed) return listed.error();
    }
    place_ = out.place();
    dir().touch_accessed();
    vfs::announce_use(dir(), origin().called.get(), vfs::event_access);
    return out.outcome();
}

// --- O_PATH

class named_file final : public file {
  public:
    explicit named_file(k::u32 flags) noexcept : file(flags, file_kind::named) {}

    k::result<k::u64> read(xio::sink&) noexcept override { return k::error::badf; }
    k::result<k::u64> write(xio::source&) noexcept override { return k::error::badf; }
    k::result<k::u64> seek(k::i64, int) noexcept override { return k::error::badf; }

  private:
    k::status describe(stat_record&) noexcept override { return k::error::badf; }
};

// What its program keeps with an open file, if it is in one.
k::result<opened_ref> opened_there(const vfs::found& what, k::u32 flags) noexcept {
    if (!what.node->fs.is_in_program()) return opened_ref();
    return what.node->fs.open(*what.node, flags);
}

// Where memory files are; nobody mounts it.
vfs::file_system_ref* memory_files;

} // namespace

k::result<file_ref> open_stored(vfs::found what, k::u32 flags) noexcept {
    file* made;
    if (flags & open_path)
        made = mem::make<named_file>(flags);
    else if (what.node->is(vfs::node_type::directory))
        made = mem::make<directory_file>(flags, TRY(opened_there(what, flags)));
    else if (what.node->is_made_on_reading())
        return open_made(std::move(what), flags);
    else {
        vfs::claim writing;
        vfs::mount_writing through;
        if (flags & open_access_mode) {
            if (what.in) through = TRY(vfs::mount_writing::take(*what.in));
            writing = TRY(vfs::claim::take(*what.node, vfs::claim_kind::writing));
        }
        opened_ref with = TRY(opened_there(what, flags));
        made = mem::make<stored_file>(flags, std::move(writing), std::move(through), std::move(with),
                                      what.node->losses.load(std::memory_order_acquire));
    }
    if (!made) return k::error::nomem;
    made->set_origin(std::move(what));
    return file_ref(made);
}

k::result<k::u64> list_directory(file& f, xio::sink& to) noexcept {
    if (f.kind() != file_kind::directory) return k::error::notdir;
    return static_cast<directory_file&>(f).list(to);
}

k::status make_place_for_memory_files() noexcept {
    vfs::tmpfs_limits limits = vfs::usual_tmpfs_limits();
    limits.pages = vm::promise_limit();
    auto made = mem::make_box<vfs::file_system_ref>(TRY(vfs::make_tmpfs(limits)));
    if (!made) return k::error::nomem;
    memory_files = made.release();
    return {};
}

k::result<file_ref> make_memory_file(std::string_view called, bool sealable, k::u32 uid, k::u32 gid) noexcept {
    vfs::found what;
    char text[vfs::longest_name];
    k::buffer_sink name(text);
    k::format_to(name, "memfd:{}", called);
    what.called = TRY(vfs::name::create_removed((*memory_files)->root(), vfs::name_text(name.view())));
    what.node =
        TRY((*memory_files)->make_node({.type = vfs::node_type::regular, .mode = 0777, .uid = uid, .gid = gid}, {}));
    what.node->seals.store(sealable ? 0 : seal_seal, std::memory_order_relaxed);
    what.node->links.store(0, std::memory_order_relaxed);
    return open_stored(std::move(what), open_read_write);
}

namespace {
bool is_memory_file(file& f) noexcept {
    return f.kind() == file_kind::stored && f.origin().node->fs.device() == (*memory_files)->device();
}
} // namespace

k::status add_seals(file& f, k::u32 seals) noexcept {
    if (!is_memory_file(f)) return k::error::inval;
    return static_cast<stored_file&>(f).add_seals(seals);
}

k::result<k::u64> seals_of(file& f) noexcept {
    if (!is_memory_file(f)) return k::error::inval;
    return static_cast<stored_file&>(f).seals();
}

namespace {
vfs::vnode* pages_behind(file& f) noexcept {
    if (f.kind() != file_kind::stored || static_cast<stored_file&>(f).bypasses_cache()) return nullptr;
    vfs::vnode* n = f.origin().node.get();
    return n && n->pages() ? n : nullptr;
}
} // namespace

k::result<k::u64> copy_between(file& from, k::u64 from_offset, file& to, k::u64 offset, k::u64 bytes) noexcept {
    vfs::vnode *source = pages_behind(from), *target = pages_behind(to);
    if (!source || !target || target->seals.load(std::memory_order_relaxed) & seal_grow) return k::error::again;
    const k::u64 done = TRY(vfs::copy_range(*source, from_offset, *target, offset, bytes, size_limit()));
    vfs::announce_use(*source, from.origin().called.get(), vfs::event_access);
    vfs::announce_use(*target, to.origin().called.get(), vfs::event_modify);
    return done;
}

k::result<xio::source> lend_from(file& f, k::u64 offset, k::u64 bytes) noexcept {
    vfs::vnode* n = pages_behind(f);
    if (!n) return k::error::again;
    return vfs::lend(*n, offset, bytes);
}

k::status allocate(file& f, int mode, k::u64 offset, k::u64 bytes) noexcept {
    enum : int { keep_size = 1, punch_hole = 2, zero_range = 16 };
    if (f.kind() != file_kind::stored || !f.origin().node->pages()) return k::error::nodev;
    vfs::vnode& n = *f.origin().node;
    const bool in_program = n.fs.is_in_program();
    switch (mode) {
    case 0:
    case keep_size:
        if (in_program) break;
        return vfs::reserve(n, offset, bytes, !(mode & keep_size));
    case punch_hole | keep_size:
        if (in_program) break;
        return vfs::punch(n, offset, bytes);
    case zero_range:
    case zero_range | keep_size:
        if (in_program) break;
        TRY(vfs::punch(n, offset, bytes));
        return vfs::reserve(n, offset, bytes, !(mode & keep_size));
    default: return k::error::opnotsupp;
    }
    return vfs::allocate_there(n, static_cast<k::u32>(mode), offset, bytes);
}

} // namespace files
