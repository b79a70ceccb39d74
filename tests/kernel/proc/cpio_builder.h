// Makes cpio archives for tests, good and bad ones.
#pragma once

#include "kernel/lib/format.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

namespace proc_test {

class cpio_builder {
  public:
    struct file {
        std::string_view name;
        std::string_view bytes = "";
        k::u32 mode = 0100755;
        k::u32 number = 1;
        k::u32 links = 1;
    };

    // Returns where the entry begins.
    std::size_t add(const file& f) noexcept {
        const std::size_t at = used_;
        put("070701");
        const k::u32 fields[13] = {f.number,
                                   f.mode,
                                   0,
                                   0,
                                   f.links,
                                   0,
                                   static_cast<k::u32>(f.bytes.size()),
                                   0,
                                   0,
                                   0,
                                   0,
                                   static_cast<k::u32>(f.name.size() + 1),
                                   0};
        for (k::u32 field : fields) {
            char digits[9];
            k::buffer_sink out(digits);
            k::format_to(out, "{:08X}", field);
            put(out.view());
        }
        put(f.name);
        put({"\0", 1});
        align();
        put(f.bytes);
        align();
        return at;
    }
    void end() noexcept { add({.name = "TRAILER!!!", .mode = 0}); }

    std::span<const std::byte> bytes() const noexcept { return std::as_bytes(std::span(buffer_, used_)); }
    char* at(std::size_t offset) noexcept { return buffer_ + offset; }

  private:
    void put(std::string_view text) noexcept {
        const std::size_t fits = std::min(text.size(), sizeof(buffer_) - used_);
        std::memcpy(buffer_ + used_, text.data(), fits);
        used_ += fits;
    }
    void align() noexcept {
        while (used_ % 4)
            put({"\0", 1});
    }

    char buffer_[8192];
    std::size_t used_ = 0;
};

} // namespace proc_test
