// Threads of all CPUs work in directories that they share, each with names of its own, so that each knows exactly what
// should have become of them: a model too simple to be wrong says so. Homes move, names collide in tables, files change
// names and directories while they are read, and bytes are shared, lent and copied between them.
#include "kernel/lib/format.h"
#include "kernel/lib/random.h"
#include "tests/kernel/lwkt/crew.h"
#include "tests/support/bytes.h"
#include "tests/support/threads.h"
#include "tests/sys/vfs/world.h"

namespace {

using namespace vfs_test;
using arch::page_size;

constexpr unsigned directories = 3, names = 6, most_files = directories * names;
constexpr k::u64 most_bytes = 5 * page_size;

// What one thread has made, and should find.
class model {
  public:
    model(const world& w, unsigned number, k::u64 seed)
        : w_(w), number_(number), random_(seed), scratch_(2 * most_bytes) {}
    explicit operator bool() const { return static_cast<bool>(scratch_); }

    void step() {
        const unsigned a = some_name(), b = some_name();
        switch (random_.below(13)) {
        case 0:
        case 1: return make(a);
        case 2: return remove(a);
        case 3: return link(a, b);
        case 4:
        case 5: return rename(a, b);
        case 6: return exchange(a, b);
        case 7: return write(a);
        case 8: return truncate(a);
        case 9: return look(a);
        case 10: return copy(a, b);
        case 11: return lend(a);
        default: return list(a / names);
        }
    }
    void check_all() {
        for (unsigned i = 0; i < most_files; i++)
            look(i);
        for (unsigned d = 0; d < directories; d++)
            list(d);
    }
    // Takes all away again.
    void finish() {
        for (unsigned i = 0; i < most_files; i++)
            remove(i);
    }

  private:
    enum class kind : k::u8 { none, file, directory };
    struct entry {
        kind is = kind::none;
        unsigned file = 0;
    };
    struct file {
        unsigned links = 0;
        k::u64 size = 0;
        k::u64 seed = 0;          // of the bytes that were written last
        k::u64 from = 0, end = 0; // where those are; zeroes elsewhere
    };
    struct path {
        char room[40];
        std::string_view text;
    };

    static void answers(k::error got, k::error want) { EXPECT_EQ(got, want); }
    unsigned some_name() { return static_cast<unsigned>(random_.below(most_files)); }
    path path_of(unsigned at) const {
        path p;
        k::buffer_sink to(p.room);
        k::format_to(to, "d{}/w{}-{}", at / names, number_, at % names);
        p.text = to.view();
        return p;
    }
    std::string_view text(path& p) const { return {p.room, p.text.size()}; }
    k::error expect_of(unsigned at) const { return entries_[at].is == kind::none ? k::error::noent : fine; }

    void make(unsigned at) {
        path p = path_of(at);
        const bool directory = random_.below(3) == 0;
        const k::error done = directory ? w_.mkdir(text(p)) : w_.touch(text(p));
        if (entries_[at].is != kind::none) return answers(done, k::error::exist);
        EXPECT_EQ(done, fine);
        if (directory) {
            entries_[at] = {kind::directory, 0};
            return;
        }
        for (unsigned f = 0; f < most_files; f++) {
            if (files_[f].links) continue;
            files_[f] = {.links = 1};
            entries_[at] = {kind::file, f};
            return;
        }
    }
    void remove(unsigned at) {
        path p = path_of(at);
        const entry e = entries_[at];
        EXPECT_EQ(e.is == kind::directory ? w_.rmdir(text(p)) : w_.unlink(text(p)), expect_of(at));
        drop(at);
    }
    void drop(unsigned at) {
        if (entries_[at].is == kind::file) files_[entries_[at].file].links--;
        entries_[at] = {};
    }
    void link(unsigned from, unsigned to) {
        path a = path_of(from), b = path_of(to);
        const k::error done = w_.link(text(a), text(b));
        if (entries_[from].is == kind::none) return answers(done, k::error::noent);
        if (entries_[to].is != kind::none) return answers(done, k::error::exist);
        if (entries_[from].is == kind::directory) return answers(done, k::error::perm);
        EXPECT_EQ(done, fine);
        entries_[to] = entries_[from];
        files_[entries_[to].file].links++;
    }
    void rename(unsigned from, unsigned to) {
        path a = path_of(from), b = path_of(to);
        const k::error done = w_.rename(text(a), text(b));
        const entry moved = entries_[from], there = entries_[to];
        if (moved.is == kind::none) return answers(done, k::error::noent);
        if (from == to) return answers(done, fine);
        if (moved.is == kind::file && there.is == kind::file && moved.file == there.file)
            return answers(done, fine); // two names of one file: nothing happens
        if (there.is != kind::none && moved.is != there.is)
            return answers(done, moved.is == kind::directory ? k::error::notdir : k::error::isdir);
        EXPECT_EQ(done, fine);
        drop(to);
        entries_[to] = moved;
        entries_[from] = {};
    }
    void exchange(unsigned a, unsigned b) {
        path first = path_of(a), second = path_of(b);
        const k::error done = w_.rename(text(first), text(second), vfs::rename_exchange);
        if (entries_[a].is == kind::none || entries_[b].is == kind::none) return answers(done, k::error::noent);
        EXPECT_EQ(done, fine);
        std::swap(entries_[a], entries_[b]);
    }

    // --- Bytes. What they should be follows from where the last write was.

    void fill(const file& f, k::u64 at, std::span<std::byte> to) const {
        for (std::size_t i = 0; i < to.size(); i++) {
            const k::u64 place = at + i;
            to[i] =
                place >= f.from && place < f.end ? static_cast<std::byte>((f.seed + place) * 31 >> 3) : std::byte{0};
        }
    }
    void write(unsigned at) {
        if (entries_[at].is != kind::file) return;
        file& f = files_[entries_[at].file];
        // All of it anew, so that one stretch tells what is in it.
        vfs::vnode& n = w_.node(text_at(at));
        f.from = random_.below(most_bytes);
        f.end = f.from + 1 + random_.below(most_bytes - f.from);
        f.seed = random_.next();
        EXPECT_EQ(error_of(vfs::resize(n, 0)), fine);
        const auto bytes = scratch_.first(f.end - f.from);
        fill(f, f.from, bytes);
        auto from = xio::source::over_kernel(bytes);
        REQUIRE(from);
        k::u64 where = 0;
        auto done = vfs::write(n, {.offset = f.from}, *from, where);
        EXPECT_EQ(done ? *done : 0, bytes.size());
        f.size = f.end;
    }
    void truncate(unsigned at) {
        if (entries_[at].is != kind::file) return;
        file& f = files_[entries_[at].file];
        f.size = random_.below(most_bytes);
        f.end = std::min(f.end, f.size);
        f.from = std::min(f.from, f.end);
        EXPECT_EQ(error_of(vfs::resize(w_.node(text_at(at)), f.size)), fine);
    }
    void compare(const file& f, k::u64 at, std::span<const std::byte> got) {
        const auto want = scratch_.bytes().subspan(most_bytes, got.size());
        fill(f, at, want);
        EXPECT(support::same_bytes(got, want));
    }
    void look(unsigned at) {
        path p = path_of(at);
        auto found = w_.find(text(p));
        EXPECT_EQ(error_of(found), expect_of(at));
        if (!found || entries_[at].is == kind::none) return;
        EXPECT_EQ(found->node->is(node_type::directory), entries_[at].is == kind::directory);
        if (entries_[at].is != kind::file) return;
        const file& f = files_[entries_[at].file];
        EXPECT_EQ(found->node->links.load(), f.links);
        EXPECT_EQ(found->node->size.load(), f.size);
        auto to = xio::sink::over_kernel(scratch_.first(most_bytes));
        REQUIRE(to);
        auto done = vfs::read(*found->node, 0, *to);
        EXPECT_EQ(done ? *done : ~k::u64{0}, f.size);
        compare(f, 0, scratch_.first(f.size));
    }
    // One file shows the other's bytes.
    void copy(unsigned a, unsigned b) {
        if (entries_[a].is != kind::file || entries_[b].is != kind::file || entries_[a].file == entries_[b].file)
            return;
        const file& from = files_[entries_[a].file];
        if (!from.size) return;
        file& to = files_[entries_[b].file];
        vfs::vnode& target = w_.node(text_at(b));
        EXPECT_EQ(error_of(vfs::resize(target, 0)), fine);
        auto done = vfs::copy_range(w_.node(text_at(a)), 0, target, 0, from.size, vfs::most_file_bytes);
        const k::u64 bytes = done ? *done : 0;
        if (!done) EXPECT_EQ(done.error(), k::error::again);
        to.size = bytes;
        to.seed = from.seed;
        to.end = std::min(from.end, bytes);
        to.from = std::min(from.from, to.end);
    }
    // What is lent stays as it was, whatever is written afterwards.
    void lend(unsigned at) {
        if (entries_[at].is != kind::file) return;
        const file before = files_[entries_[at].file];
        auto lent = vfs::lend(w_.node(text_at(at)), 0, most_bytes);
        if (!lent) return answers(lent.error(), k::error::again);
        write(at);
        EXPECT_EQ(lent->size(), before.size);
        const auto got = scratch_.first(std::min(lent->size(), most_bytes));
        EXPECT(lent->read(0, got));
        compare(before, 0, got);
    }
    // Its own names are there, each once, whatever the others do.
    void list(unsigned d) {
        char room[40], mine[40];
        k::buffer_sink where(room), prefix(mine);
        k::format_to(where, "d{}", d);
        k::format_to(prefix, "w{}-", number_);
        unsigned seen[names] = {};
        vfs::vnode& dir = w_.node(where.view());
        vfs::vop_list::entry some[7];
        for (k::u64 place = 0;;) {
            vfs::vop_list part(dir.as_directory(), place, some);
            REQUIRE(w_.fs().call(part));
            for (const auto& e : std::span(some, part.count)) {
                const std::string_view name = e.what->text();
                if (name.starts_with(prefix.view())) seen[(name.back() - '0') % names]++;
            }
            place = part.place;
            if (part.count < std::size(some)) break;
        }
        for (unsigned i = 0; i < names; i++)
            EXPECT_EQ(seen[i], entries_[d * names + i].is == kind::none ? 0u : 1u);
    }
    std::string_view text_at(unsigned at) {
        kept_ = path_of(at);
        return text(kept_);
    }

    const world& w_;
    const unsigned number_;
    k::random random_;
    support::buffer scratch_;
    entry entries_[most_files];
    file files_[most_files];
    path kept_;
};

} // namespace

SELFTEST(vfs_model, each_thread_finds_what_it_has_made) {
    world w(100'000, 100'000);
    REQUIRE(w);
    for (unsigned d = 0; d < directories; d++)
        REQUIRE(support::run_on(d % arch::cpu::count(), [&] {
            char room[8];
            k::buffer_sink path(room);
            k::format_to(path, "d{}", d);
            EXPECT_EQ(w.mkdir(path.view(), 0777), fine);
        }));
    const k::u64 seed = selftest::seed();
    auto body = [&](unsigned number) {
        auto m = mem::make_box<model>(w, number, seed * 41 + number);
        REQUIRE(m && *m);
        for (unsigned i = 0; i < 700 && !selftest::failed(); i++)
            m->step();
        m->check_all();
        m->finish();
    };
    {
        lwkt_test::crew c;
        REQUIRE(c.start_everywhere(body, 2));
    }
    for (std::string_view d : {"d0", "d1", "d2"})
        EXPECT_EQ(w.rmdir(d), fine);
    lwkt::wait_for_readers();
    EXPECT_EQ(w.fs().state().nodes - w.fs().state().free_nodes, 1u); // the root
    EXPECT_EQ(w.fs().state().blocks - w.fs().state().free_blocks, 0u);
}
