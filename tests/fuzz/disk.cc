// libFuzzer on disks with file systems: images that mke2fs has made (*.img in the folder that NUTCRACKER_DISKS names),
// in which an input changes some bytes. They are mounted, walked, read and written. Whatever stands there, calls
// answer, nothing outside of the disk is asked for (model_disk), and no page is lost.
#include "sys/ext/ext.h"
#include "sys/vfs/vfs.h"
#include "tests/fuzz/in_kernel.h"
#include "tests/support/model_disk.h"

#include <dirent.h>
#include <string>
#include <vector>

namespace {

// --- The images, read by the process around the kernel

struct image {
    std::vector<std::byte> bytes;
    std::vector<k::u32> used; // sectors that are not all zeroes
};

const std::vector<image>& images() {
    static const std::vector<image> all = [] {
        std::vector<image> found;
        const char* const folder = std::getenv("NUTCRACKER_DISKS");
        dirent** names = nullptr;
        const int count = folder ? scandir(folder, &names, nullptr, alphasort) : 0;
        for (int i = 0; i < count; i++) {
            const std::string path = std::string(folder) + "/" + names[i]->d_name;
            std::FILE* file = path.ends_with(".img") ? std::fopen(path.c_str(), "rb") : nullptr;
            if (!file) continue;
            image it;
            it.bytes.resize(4 << 20);
            it.bytes.resize(std::fread(it.bytes.data(), 1, it.bytes.size(), file) / 4096 * 4096);
            std::fclose(file);
            for (std::size_t at = 0; at < it.bytes.size(); at += block::sector_bytes)
                if (!support::all_bytes_are(std::span(it.bytes).subspan(at, block::sector_bytes), 0))
                    it.used.push_back(static_cast<k::u32>(at / block::sector_bytes));
            found.push_back(std::move(it));
        }
        if (found.empty()) {
            std::fputs("NUTCRACKER_DISKS names no folder with images\n", stderr);
            std::exit(1);
        }
        return found;
    }();
    return all;
}

// --- What an input does to one

void damage(std::span<std::byte> disk, const image& from, fuzz::number_stream& decisions) {
    constexpr k::u64 superblock = 1024, superblock_bytes = 264;
    const auto sector = [&] { return from.used[decisions.below(from.used.size())] * block::sector_bytes; };
    for (k::u64 left = decisions.below(12); left && decisions.more(); left--) {
        k::u64 at = decisions.below(4) ? sector() + decisions.below(block::sector_bytes / 2) * 2
                                       : superblock + decisions.below(superblock_bytes);
        at = std::min<k::u64>(at, disk.size() - 8);
        const auto put = [&](auto value) { std::memcpy(disk.data() + at, &value, sizeof(value)); };
        switch (decisions.below(7)) {
        case 0: put(static_cast<k::u8>(decisions.below(256))); break;
        case 1: put(static_cast<k::u16>(decisions.below(65536))); break;
        case 2: put(static_cast<k::u32>(decisions.below(disk.size() >> 10))); break; // a block's number
        case 3: put(~k::u32{0} << decisions.below(32)); break;
        case 4: put(~k::u64{0} >> decisions.below(64)); break;
        case 5: disk[at] ^= static_cast<std::byte>(1u << decisions.below(8)); break;
        default: { // what stands elsewhere
            const k::u64 other = sector();
            std::memmove(disk.data() + at / block::sector_bytes * block::sector_bytes, disk.data() + other,
                         block::sector_bytes);
        }
        }
    }
}

constexpr vfs::subject user{0, 0, {}};

class visitor {
  public:
    visitor(const vfs::place& top, fuzz::number_stream& decisions) : top_(top), decisions_(decisions) {}
    explicit operator bool() const { return bool(bytes_); }

    void run() {
        walk("", 0);
        while (decisions_.more() && steps_++ < 40)
            step();
        (void)top_.in->fs().sync(nullptr);
        walk("", 0);
    }

  private:
    static constexpr unsigned most_depth = 4, most_visited = 200, most_paths = 64;

    struct entries final : vfs::file_system::lister {
        std::vector<std::string> names;
        bool put(k::u64, std::string_view text, vfs::node_type, k::u64) noexcept override {
            names.emplace_back(text);
            return names.size() < 50;
        }
    };
    vfs::view view() const { return {user, top_, top_}; }

    void walk(const std::string& path, unsigned depth) {
        if (visited_++ > most_visited) return;
        if (!path.empty() && paths_.size() < most_paths) paths_.push_back(path);
        auto found = vfs::find(view(), path.empty() ? "/" : path, vfs::last_link::keep);
        if (!found) return;
        vfs::vnode& node = *found->node;
        (void)node.fs.sectors(node);
        if (node.is(vfs::node_type::link)) (void)vfs::find(view(), path);
        if (node.is(vfs::node_type::regular)) {
            const k::u64 size = node.size.load();
            for (k::u64 at : {k::u64{0}, size / 2, size - std::min(size, bytes_.size())})
                read(node, at);
        }
        if (!node.is(vfs::node_type::directory) || depth == most_depth) return;
        entries e;
        (void)node.fs.list(node.as_directory(), 0, e);
        for (const std::string& name : e.names)
            walk(path + "/" + name, depth + 1);
    }
    void read(vfs::vnode& node, k::u64 at) {
        auto into = xio::sink::over_kernel(bytes_.bytes());
        if (into) (void)vfs::read(node, at, *into);
    }
    std::string some_path() {
        static constexpr const char* fresh[] = {"/a", "/b", "/folder", "/folder/c"};
        if (paths_.empty() || decisions_.one_in(3)) return fresh[decisions_.below(4)];
        return paths_[decisions_.below(paths_.size())];
    }
    void make(vfs::node_type type, std::string_view text = {}) {
        auto where = vfs::find_spot(view(), some_path());
        if (where) (void)vfs::make(view(), *where, {.type = type, .mode = 0755}, text);
    }
    k::u64 some_place() { return decisions_.below(2) ? decisions_.below(1 << 14) : k::u64{1} << decisions_.below(41); }

    void step() {
        switch (decisions_.below(12)) {
        case 0: return make(vfs::node_type::regular);
        case 1: return make(vfs::node_type::directory);
        case 2: return make(vfs::node_type::link, std::string(1 + decisions_.below(100), 'x'));
        case 3: {
            auto from = vfs::find_spot(view(), some_path()), to = vfs::find_spot(view(), some_path());
            if (from && to) (void)vfs::rename(view(), *from, *to, static_cast<unsigned>(decisions_.below(3)));
            return;
        }
        case 4: {
            auto where = vfs::find_spot(view(), some_path());
            if (where) (void)vfs::remove(view(), *where, decisions_.one_in(2));
            return;
        }
        case 5: {
            auto what = vfs::find(view(), some_path(), vfs::last_link::keep);
            auto where = vfs::find_spot(view(), some_path());
            if (what && where) (void)vfs::link(view(), *what, *where);
            return;
        }
        case 6: return void(top_.in->fs().sync(nullptr));
        default: break;
        }
        auto found = vfs::find(view(), some_path());
        if (!found || !found->node->is(vfs::node_type::regular)) return;
        vfs::vnode& node = *found->node;
        switch (decisions_.below(7)) {
        case 0:
        case 1:
        case 2: {
            auto from = xio::source::over_kernel(bytes_.first(1 + decisions_.below(bytes_.size())));
            k::u64 at;
            if (from) (void)vfs::write(node, {.offset = some_place(), .append = decisions_.one_in(3)}, *from, at);
            break;
        }
        case 3: (void)vfs::resize(node, some_place()); break;
        case 4: (void)vfs::punch(node, some_place(), 1 + some_place()); break;
        case 5:
            (void)vfs::reserve(node, decisions_.below(1 << 14), 1 + decisions_.below(1 << 16), decisions_.one_in(2));
            break;
        default: (void)ext::put_out(node, 0, node.size.load());
        }
        read(node, 0);
    }

    const vfs::place& top_;
    fuzz::number_stream& decisions_;
    support::buffer bytes_{5 * arch::page_size + 100};
    std::vector<std::string> paths_;
    unsigned visited_ = 0, steps_ = 0;
};

} // namespace

void fuzz::run_input(number_stream& decisions) {
    const auto& all = images();
    const image& from = all[decisions.below(all.size())];
    support::known_disk disk(from.bytes.size() / block::sector_bytes);
    if (!disk) return;
    std::memcpy(disk->content.data(), from.bytes.data(), from.bytes.size());
    const bool read_only = decisions.one_in(4);
    damage(disk->content.bytes(), from, decisions);
    auto fs = ext::mount(block::device_ref::to(disk.device()), read_only);
    if (!fs) return;
    auto made = vfs::mount_apart(*std::move(fs));
    if (!made) return;
    vfs::place top = *std::move(made);
    {
        visitor v(top, decisions);
        if (v) v.run();
    }
    vfs::mount_use in = top.in.share();
    top = {};
    (void)vfs::unmount(std::move(in), vfs::unmount_how::detach);
}
