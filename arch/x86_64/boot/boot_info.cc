#include "arch/x86_64/boot/boot_info.h"

#include "arch/x86_64/cpu/features.h"
#include "kernel/lib/log.h"
#include "kernel/lib/panic.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace arch {

namespace x86 {

boot_info loaded;

namespace {

std::array<boot_module, 16> published;
std::size_t published_count;

enum tag_type : u32 {
    tag_end = 0,
    tag_command_line = 1,
    tag_module = 3,
    tag_memory_map = 6,
    tag_rsdp_old = 14,
    tag_rsdp_new = 15
};

constexpr u32 largest_information = 1u << 24;

// The bytes of one tag after its type and size. Every read is checked against the tag's end.
class tag_reader {
  public:
    explicit tag_reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    template <class T>
    requires std::is_trivially_copyable_v<T>
    bool read(T& value) {
        if (bytes_.size() < sizeof(T)) return false;
        std::memcpy(&value, bytes_.data(), sizeof(T));
        bytes_ = bytes_.subspan(sizeof(T));
        return true;
    }
    // What is left of a fixed part that may be longer than what we know of it.
    bool skip(std::size_t count) {
        if (bytes_.size() < count) return false;
        bytes_ = bytes_.subspan(count);
        return true;
    }
    // The rest as text, up to its first zero byte.
    std::string_view text() const {
        const std::string_view all(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
        return all.substr(0, all.find('\0'));
    }
    std::span<const std::byte> rest() const { return bytes_; }

  private:
    std::span<const std::byte> bytes_;
};

template <std::size_t Size>
std::size_t copy_text(std::string_view text, std::array<char, Size>& into, std::string_view what) {
    if (text.size() > Size) k::log("boot: {} of {} bytes cut to {}\n", what, text.size(), Size);
    const std::size_t count = std::min(text.size(), Size);
    std::copy_n(text.data(), count, into.data());
    return count;
}

void read_memory_map(tag_reader tag) {
    u32 entry_size, version;
    if (!tag.read(entry_size) || !tag.read(version) || entry_size < 24 || entry_size > 4096) {
        k::log("boot: memory map of a strange form ignored\n");
        return;
    }
    for (;;) {
        tag_reader entry = tag;
        u64 base, size;
        u32 type;
        if (!tag.skip(entry_size) || !entry.read(base) || !entry.read(size) || !entry.read(type)) return;
        if (loaded.memory_count == loaded.memory.size()) {
            k::log("boot: memory map cut to {} entries\n", loaded.memory_count);
            return;
        }
        loaded.memory[loaded.memory_count++] = {base, size, type};
    }
}

void read_module(tag_reader tag) {
    u32 start, end;
    if (!tag.read(start) || !tag.read(end) || end < start || !k::is_aligned<u64>(start, page_size)) {
        k::log("boot: module at a strange address ignored\n");
        return;
    }
    if (loaded.module_count == loaded.modules.size()) {
        k::log("boot: more than {} modules; the rest is ignored\n", loaded.modules.size());
        return;
    }
    module_info& module = loaded.modules[loaded.module_count++];
    module.base = start;
    module.size = end - start;
    module.name_length = copy_text(tag.text(), module.name, "module name");
}

void read_rsdp(tag_reader tag, bool is_new) {
    if (loaded.rsdp_length && !is_new) return; // the new one knows more
    const auto bytes = tag.rest();
    if (bytes.size() < 20) return;
    const std::size_t count = std::min(bytes.size(), loaded.rsdp.size());
    loaded.rsdp_length = count;
    std::memcpy(loaded.rsdp.data(), bytes.data(), count);
}

void read_tag(u32 type, tag_reader tag) {
    switch (type) {
    case tag_command_line:
        loaded.command_line_length = copy_text(tag.text(), loaded.command_line, "command line");
        break;
    case tag_module: return read_module(tag);
    case tag_memory_map: return read_memory_map(tag);
    case tag_rsdp_old: return read_rsdp(tag, false);
    case tag_rsdp_new: return read_rsdp(tag, true);
    }
}

} // namespace

void read_boot_information(u32 address) {
    struct {
        u32 size, reserved;
    } head;
    if (!address || !k::is_aligned<u32>(address, 8)) k::panic("boot: information at bad address {:x}", address);
    std::memcpy(&head, reinterpret_cast<const void*>(u64{address}), sizeof(head));
    if (head.size < sizeof(head) || head.size > largest_information || u64{address} + head.size > u64{1} << 32)
        k::panic("boot: information of bad size {}", head.size);

    std::span<const std::byte> rest(reinterpret_cast<const std::byte*>(u64{address}), head.size);
    rest = rest.subspan(sizeof(head));
    for (;;) {
        struct {
            u32 type, size;
        } tag;
        if (rest.size() < sizeof(tag)) break;
        std::memcpy(&tag, rest.data(), sizeof(tag));
        if (tag.type == tag_end) break;
        if (tag.size < sizeof(tag) || tag.size > rest.size()) {
            k::log("boot: tag {} of bad size {}; the rest is ignored\n", tag.type, tag.size);
            break;
        }
        read_tag(tag.type, tag_reader(rest.subspan(sizeof(tag), tag.size - sizeof(tag))));
        rest = rest.subspan(std::min<std::size_t>(k::align_up<u64>(tag.size, 8), rest.size()));
    }
    if (!loaded.memory_count) k::panic("boot: the boot loader gave no memory map");
}

void publish_modules() {
    for (std::size_t i = 0; i < loaded.module_count; i++) {
        const module_info& module = loaded.modules[i];
        if (!module.size) continue;
        published[published_count++] = {
            .name = {module.name.data(), module.name_length},
            .bytes = {static_cast<const std::byte*>(memory::direct(module.base)), module.size},
        };
    }
}

} // namespace x86

std::string_view boot::command_line() noexcept {
    return {x86::loaded.command_line.data(), x86::loaded.command_line_length};
}

std::span<const boot_module> boot::modules() noexcept {
    return {x86::published.data(), x86::published_count};
}

std::uint64_t boot::entropy() noexcept {
    std::uint64_t value = clock::cycles() * 0x9e37'79b9'7f4a'7c15;
    if (x86::features.random) {
        std::uint64_t hardware;
        bool good;
        asm volatile("rdrand %0" : "=r"(hardware), "=@ccc"(good));
        if (good) value ^= hardware;
    }
    return value;
}

} // namespace arch
