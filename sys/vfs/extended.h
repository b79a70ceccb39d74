// Extended attributes: small named values that are kept with a file, as setxattr(2) has them. What their names begin
// with says who may: user (with the file's rights, of regular files and directories), trusted (who may do everything),
// security (read by all, set by who may do everything).
//
// A file system keeps them or does not: file_system's *_extended calls. All functions: thread context, may sleep; the
// bytes are the kernel's copies.
#pragma once

#include "sys/vfs/walk.h"

namespace vfs {

constexpr std::size_t longest_extended_name = 255;
constexpr k::u64 longest_extended_value = 64 << 10;
constexpr k::u64 longest_extended_list = 64 << 10;

enum extended_flag : unsigned { extended_create = 1, extended_replace = 2 };

// Names on their way to who asked for them: counts all, and keeps those that fit, each with a zero behind it.
class extended_names {
  public:
    extended_names(std::span<char> to, const subject& who) noexcept : to_(to), who_(who) {}
    // One of the two parts may be empty. What the asker may not know of is left out.
    void put(std::string_view front, std::string_view rest) noexcept;
    // How many bytes they all take. ERANGE: more than there was room for, if there was any; E2BIG: more than a list can
    // have.
    k::result<k::u64> bytes() const noexcept;

  private:
    const std::span<char> to_;
    const subject& who_;
    k::u64 bytes_ = 0;
};

// The length of a value; the value stands in `to`, unless that is empty. ENODATA, ERANGE, EACCES, EOPNOTSUPP, EINVAL:
// nothing behind the kind.
k::result<k::u64> get_extended(const found& of, const subject& who, std::string_view name,
                               std::span<std::byte> to) noexcept;
// Sets one, or (no value) takes it away. ENODATA, EEXIST, EACCES, EPERM, EROFS, ENOSPC, EOPNOTSUPP, EINVAL.
k::status set_extended(const found& of, const subject& who, std::string_view name,
                       std::optional<std::span<const std::byte>> value, unsigned flags) noexcept;
// All names that the asker may know of. The length; ERANGE, E2BIG.
k::result<k::u64> list_extended(const found& of, const subject& who, std::span<char> to) noexcept;

} // namespace vfs
