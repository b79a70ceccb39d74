// The boot archive: a cpio file ("newc") that the boot loader brought, as a list of files, of which the root is made.
//
// The bytes are not trusted. An entry that is not as it should be is left out, and so is all behind a broken header: a
// hostile archive just has fewer files. Directories that are only implied by the paths of others are there too.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/lib/types.h"

#include <span>
#include <string_view>
#include <utility>

namespace proc {

enum file_type : k::u32 {
    type_mask = 0170000,
    type_regular = 0100000,
    type_directory = 0040000,
    type_link = 0120000,
};

struct archive_file {
    std::string_view path; // from the root, without a slash in front: "bin/sh"; "" is the root
    std::span<const std::byte> bytes;
    k::u32 mode = type_directory | 0755;
    k::u32 uid = 0, gid = 0, links = 1;
    k::u32 modified_s = 0;
    k::u32 inode = 0;  // one more than the place in the index; the same for hard links
    k::u32 number = 0; // the archive's own, which hard links share

    bool is(file_type type) const noexcept { return (mode & type_mask) == type; }
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
    std::string_view name() const noexcept { return path.substr(path.rfind('/') + 1); }
};

class boot_archive {
  public:
    static constexpr k::u32 most_files = 65536;

    // An archive with nothing but the root.
    boot_archive() = default;
    boot_archive(boot_archive&& other) noexcept
        : files_(std::exchange(other.files_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    boot_archive& operator=(boot_archive&& other) noexcept {
        std::swap(files_, other.files_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~boot_archive();

    // Reads the index; `bytes` must stay. ENOMEM.
    static k::result<boot_archive> parse(std::span<const std::byte> bytes) noexcept;

    // All files, in an order in which what is below a directory follows it, and a directory's children.
    std::span<const archive_file> files() const noexcept { return {files_, count_}; }

  private:
    static k::result<boot_archive> read_all(std::span<const std::byte> bytes) noexcept;
    void sort() noexcept;
    void drop_unreachable() noexcept;
    k::status join_hard_links() noexcept;
    const archive_file* find_exactly(std::string_view path) const noexcept;

    archive_file* files_ = nullptr; // sorted by path
    k::u32 count_ = 0;
};

} // namespace proc
