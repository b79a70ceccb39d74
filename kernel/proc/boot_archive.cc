#include "kernel/proc/boot_archive.h"

#include "kernel/mem/slab.h"

#include <algorithm>
#include <optional>

namespace proc {

namespace {

constexpr std::size_t header_bytes = 110;
constexpr std::size_t longest_path = 4095;
constexpr std::string_view last_name = "TRAILER!!!";

// The order of paths: a slash comes before all that names may have, so that a directory's contents follow it at once.
bool path_less(std::string_view a, std::string_view b) {
    const auto [ia, ib] = std::ranges::mismatch(a, b);
    if (ib == b.end()) return false;
    if (ia == a.end()) return true;
    auto rank = [](char c) { return c == '/' ? 0u : static_cast<unsigned char>(c); };
    return rank(*ia) < rank(*ib);
}

bool is_normal(std::string_view path) {
    if (path.size() > longest_path) return false;
    while (!path.empty()) {
        const std::size_t end = std::min(path.find('/'), path.size());
        const std::string_view part = path.substr(0, end);
        if (part.empty() || part == "." || part == "..") return false;
        if (end + 1 == path.size()) return false; // a slash at the end
        path.remove_prefix(std::min(end + 1, path.size()));
    }
    return true;
}

std::string_view without_root(std::string_view name) {
    if (name == ".") return {};
    while (name.starts_with("./") || name.starts_with("/"))
        name.remove_prefix(name.starts_with("/") ? 1 : 2);
    return name;
}

std::string_view parent_of(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return slash == path.npos ? std::string_view() : path.substr(0, slash);
}

std::optional<k::u32> parse_field(std::string_view digits) {
    k::u32 value = 0;
    for (char c : digits) {
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = static_cast<unsigned>(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = static_cast<unsigned>((c | 32) - 'a') + 10;
        else
            return std::nullopt;
        value = value << 4 | digit;
    }
    return value;
}

// One entry as it stands in the archive.
struct raw_entry {
    std::string_view name;
    std::span<const std::byte> bytes;
    k::u32 number, mode, uid, gid, links, modified_s;
};

class reader {
  public:
    explicit reader(std::span<const std::byte> bytes) : left_(bytes) {}

    // Nothing at the end and where the archive is broken.
    std::optional<raw_entry> next() {
        if (left_.size() < header_bytes) return std::nullopt;
        const std::string_view header = text(left_.first(header_bytes));
        if (!header.starts_with("070701") && !header.starts_with("070702")) return std::nullopt;
        k::u32 fields[13];
        for (unsigned i = 0; i < 13; i++) {
            const auto value = parse_field(header.substr(6 + i * 8, 8));
            if (!value) return std::nullopt;
            fields[i] = *value;
        }
        const k::u64 name_bytes = fields[11], data_bytes = fields[6];
        const k::u64 data_at = k::align_up<k::u64>(header_bytes + name_bytes, 4);
        const k::u64 end = k::align_up<k::u64>(data_at + data_bytes, 4);
        if (!name_bytes || name_bytes > longest_path + 3 || data_at + data_bytes > left_.size()) return std::nullopt;
        std::string_view name = text(left_.subspan(header_bytes, name_bytes));
        if (name.find('\0') != name.size() - 1) return std::nullopt;
        name.remove_suffix(1);
        if (name == last_name) return std::nullopt;
        const raw_entry found{
            name, left_.subspan(data_at, data_bytes), fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]};
        left_ = left_.subspan(std::min<k::u64>(end, left_.size()));
        return found;
    }

  private:
    static std::string_view text(std::span<const std::byte> bytes) {
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    std::span<const std::byte> left_;
};

bool is_wanted(const raw_entry& e) {
    const k::u32 type = e.mode & type_mask;
    return (type == type_regular || type == type_directory || type == type_link) && is_normal(without_root(e.name)) &&
           (type != type_link || (!e.bytes.empty() && e.bytes.size() <= longest_path));
}

// Files, and directories above them that may not stand in the archive by themselves: at most so many.
k::u64 count_with_parents(std::span<const std::byte> bytes) {
    k::u64 count = 1;
    reader r(bytes);
    while (const auto e = r.next())
        if (is_wanted(*e)) count += 1 + static_cast<k::u64>(std::ranges::count(without_root(e->name), '/'));
    return count;
}

} // namespace

boot_archive::~boot_archive() {
    mem::free(files_);
}

k::result<boot_archive> boot_archive::parse(std::span<const std::byte> bytes) noexcept {
    boot_archive made = TRY(read_all(bytes));
    made.sort();
    made.drop_unreachable();
    TRY(made.join_hard_links());
    return made;
}

// In the order of the archive, each file after the directories above it. `inode` keeps the order, `links` 0 marks
// a directory that is only implied.
k::result<boot_archive> boot_archive::read_all(std::span<const std::byte> bytes) noexcept {
    const k::u64 room = std::min<k::u64>(count_with_parents(bytes), most_files);
    boot_archive made;
    made.files_ = static_cast<archive_file*>(mem::allocate(room * sizeof(archive_file)));
    if (!made.files_) return k::error::nomem;
    auto add = [&](archive_file file) {
        if (made.count_ == room) return;
        file.inode = made.count_ + 1;
        new (&made.files_[made.count_++]) archive_file(file);
    };
    auto add_implied = [&](std::string_view path) {
        archive_file directory{.path = path, .bytes = {}};
        directory.links = 0;
        add(directory);
    };
    add_implied({});
    reader r(bytes);
    while (const auto e = r.next()) {
        if (!is_wanted(*e)) continue;
        const std::string_view path = without_root(e->name);
        for (std::size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1))
            add_implied(path.substr(0, slash));
        add({.path = path,
             .bytes = e->bytes,
             .mode = e->mode & (type_mask | 07777),
             .uid = e->uid,
             .gid = e->gid,
             .links = std::max(e->links, 1u),
             .modified_s = e->modified_s,
             .number = e->number});
    }
    return made;
}

// Of several with one path the last given one stays; one that was only implied is the last choice.
void boot_archive::sort() noexcept {
    const std::span<archive_file> all{files_, count_};
    std::ranges::sort(all, [](const archive_file& a, const archive_file& b) {
        if (a.path != b.path) return path_less(a.path, b.path);
        if (!a.links != !b.links) return a.links > b.links;
        return a.inode > b.inode;
    });
    const auto same = [](const archive_file& a, const archive_file& b) { return a.path == b.path; };
    count_ = static_cast<k::u32>(std::unique(all.begin(), all.end(), same) - all.begin());
    // Whatever the archive says of it, the root is a directory.
    if (!files_[0].is(type_directory)) files_[0] = archive_file{};
}

// Takes out what lies below something that is no directory.
void boot_archive::drop_unreachable() noexcept {
    const k::u32 all = std::exchange(count_, 1);
    files_[0].links = std::max(files_[0].links, 1u);
    files_[0].inode = 1;
    for (k::u32 i = 1; i < all; i++) {
        archive_file file = files_[i];
        const archive_file* parent = find_exactly(parent_of(file.path)); // among those before it
        if (!parent || !parent->is(type_directory)) continue;
        file.links = std::max(file.links, 1u);
        file.inode = count_ + 1;
        files_[count_++] = file;
    }
}

// Of the names of one file only the last has the bytes.
k::status boot_archive::join_hard_links() noexcept {
    auto is_linked = [](const archive_file& f) { return f.links > 1 && f.is(type_regular); };
    const std::span<archive_file> all{files_, count_};
    const auto most = static_cast<std::size_t>(std::ranges::count_if(all, is_linked));
    if (!most) return {};
    auto** full = static_cast<archive_file**>(mem::allocate(most * sizeof(archive_file*)));
    if (!full) return k::error::nomem;
    std::size_t count = 0;
    for (archive_file& f : all)
        if (is_linked(f) && !f.bytes.empty()) full[count++] = &f;
    const std::span<archive_file*> sorted{full, count};
    const auto number = [](const archive_file* f) { return f->number; };
    std::ranges::sort(sorted, {}, number);
    for (archive_file& f : all) {
        if (!is_linked(f) || !f.bytes.empty()) continue;
        const auto found = std::ranges::lower_bound(sorted, f.number, {}, number);
        if (found == sorted.end() || (*found)->number != f.number) continue;
        f.bytes = (*found)->bytes;
        f.inode = (*found)->inode;
    }
    mem::free(full);
    return {};
}

const archive_file* boot_archive::find_exactly(std::string_view path) const noexcept {
    const auto found = std::ranges::lower_bound(files(), path, path_less, &archive_file::path);
    return found != files().end() && found->path == path ? &*found : nullptr;
}

} // namespace proc
