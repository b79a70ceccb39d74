// The extended attributes of a node whose file system keeps everything in memory: attached to the node, and counted as
// pages of the file system's budget.
#pragma once

#include "sys/vfs/extended.h"

#include <optional>

namespace vfs {

class kept_attributes final : public attachment {
  public:
    explicit kept_attributes(vm::page_budget& budget) noexcept : budget_(budget) {}
    ~kept_attributes() override;
    void last_holder_left() noexcept override;
    void node_gone(const vnode&) noexcept override;

    // As file_system's calls of these names; may sleep. ENOSPC: more than a node may have, or than there is room for.
    k::result<k::u64> get(std::string_view name, std::span<std::byte> to) noexcept;
    k::status set(std::string_view name, std::optional<std::span<const std::byte>> value, unsigned flags) noexcept;
    void list(extended_names& to) noexcept;

    static constexpr k::u64 most_bytes = 64 << 10; // of a node, with their names

  private:
    // The name and the value follow it in memory.
    struct one {
        one* next;
        k::u32 value_bytes;
        k::u8 name_bytes;

        std::string_view name() const noexcept { return {reinterpret_cast<const char*>(this + 1), name_bytes}; }
        std::span<std::byte> value() noexcept {
            return {reinterpret_cast<std::byte*>(this + 1) + name_bytes, value_bytes};
        }
        k::u64 bytes() const noexcept { return sizeof(one) + name_bytes + value_bytes; }
    };
    one** find(std::string_view name) noexcept REQUIRES(lock_);

    vm::page_budget& budget_;
    lwkt::sleep_lock lock_;
    one* first_ GUARDED_BY(lock_) = nullptr;
    k::u64 bytes_ GUARDED_BY(lock_) = 0;
};

} // namespace vfs
