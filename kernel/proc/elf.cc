#include "kernel/proc/elf.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace proc::elf {

namespace {

// The file's own structures.
struct file_header {
    k::u8 magic[4], word_class, byte_order, version, abi, abi_version, padding[7];
    k::u16 type, machine;
    k::u32 file_version;
    k::u64 entry, program_headers, section_headers;
    k::u32 flags;
    k::u16 bytes, program_header_bytes, program_header_count, section_header_bytes, section_header_count, names;
};
static_assert(sizeof(file_header) == 64);

struct program_header {
    k::u32 type, flags;
    k::u64 offset, address, physical, file_bytes, memory_bytes, alignment;
};
static_assert(sizeof(program_header) == 56);

constexpr k::u8 class_64 = 2, little_endian = 1, current_version = 1;
constexpr k::u16 type_fixed = 2, type_anywhere = 3, machine_x86_64 = 62;
constexpr k::u32 header_load = 1, header_interpreter = 3;
constexpr k::u32 flag_execute = 1, flag_write = 2, flag_read = 4;
constexpr k::u64 largest_alignment = k::u64{1} << 30;
constexpr k::u64 lowest_address = 0x10000; // so that null pointers stay faults

bool is_within(k::u64 offset, k::u64 bytes, k::u64 whole) {
    return offset <= whole && bytes <= whole - offset;
}

k::u8 access_of(k::u32 flags) {
    return static_cast<k::u8>((flags & flag_read ? arch::user_read : 0) | (flags & flag_write ? arch::user_write : 0) |
                              (flags & flag_execute ? arch::user_execute : 0));
}

bool is_program(const file_header& h) {
    return h.magic[0] == 0x7f && h.magic[1] == 'E' && h.magic[2] == 'L' && h.magic[3] == 'F' &&
           h.word_class == class_64 && h.byte_order == little_endian && h.version == current_version &&
           (h.type == type_fixed || h.type == type_anywhere) && h.machine == machine_x86_64 &&
           h.program_header_bytes == sizeof(program_header) && h.program_header_count;
}

k::status add_segment(const program_header& h, k::u64 size, image& out) {
    if (!h.memory_bytes) return {};
    const bool good = h.file_bytes <= h.memory_bytes && is_within(h.offset, h.file_bytes, size) &&
                      is_within(h.address, h.memory_bytes, arch::user_end) &&
                      (h.address - h.offset) % arch::page_size == 0 && out.count < most_segments &&
                      (!out.count || h.address >= out.segments[out.count - 1].address + //
                                                      out.segments[out.count - 1].memory_bytes);
    if (!good) return k::error::noexec;
    if (h.alignment > arch::page_size && h.alignment <= largest_alignment && std::has_single_bit(h.alignment))
        out.alignment = std::max(out.alignment, h.alignment);
    out.segments[out.count++] = {h.address, h.memory_bytes, h.offset, h.file_bytes, access_of(h.flags)};
    return {};
}

k::status set_interpreter(const program_header& h, k::u64 size, image& out) {
    if (!is_within(h.offset, h.file_bytes, size) || h.file_bytes < 2 || h.file_bytes > longest_interpreter)
        return k::error::noexec;
    out.interpreter_offset = h.offset;
    out.interpreter_bytes = h.file_bytes;
    return {};
}

// Where in memory the program headers are: in the segment that holds their place in the file.
k::u64 find_headers(const file_header& h, const image& program) {
    const k::u64 bytes = k::u64{h.program_header_bytes} * h.program_header_count;
    for (const segment& s : program.loaded())
        if (h.program_headers >= s.offset && is_within(h.program_headers - s.offset, bytes, s.file_bytes))
            return s.address + (h.program_headers - s.offset);
    return 0;
}

} // namespace

k::u64 image::end() const noexcept {
    const segment& last = segments[count - 1];
    return k::align_up<k::u64>(last.address + last.memory_bytes, arch::page_size);
}

k::status read(std::span<const std::byte> start, k::u64 size, image& out) noexcept {
    file_header header;
    if (start.size() < sizeof(header)) return k::error::noexec;
    std::memcpy(&header, start.data(), sizeof(header));
    if (!is_program(header)) return k::error::noexec;
    const k::u64 headers_bytes = k::u64{header.program_header_count} * sizeof(program_header);
    if (!is_within(header.program_headers, headers_bytes, start.size())) return k::error::noexec;

    out.anywhere = header.type == type_anywhere;
    out.entry = header.entry;
    out.header_bytes = header.program_header_bytes;
    out.header_count = header.program_header_count;
    out.alignment = arch::page_size;
    out.interpreter_offset = out.interpreter_bytes = 0;
    out.count = 0;
    for (k::u64 at = header.program_headers, left = header.program_header_count; left;
         left--, at += sizeof(program_header)) {
        program_header h;
        std::memcpy(&h, start.data() + at, sizeof(h));
        if (h.type == header_load) TRY(add_segment(h, size, out));
        if (h.type == header_interpreter && !out.interpreter_bytes) TRY(set_interpreter(h, size, out));
    }
    if (!out.count || (!out.anywhere && out.lowest() < lowest_address)) return k::error::noexec;
    out.headers = find_headers(header, out);
    return {};
}

k::result<std::string_view> interpreter_path(std::string_view bytes) noexcept {
    if (bytes.empty() || bytes.find('\0') != bytes.size() - 1) return k::error::noexec;
    return bytes.substr(0, bytes.size() - 1);
}

bool fits(const image& program, k::u64 bias) noexcept {
    return bias <= arch::user_end - program.end() && program.entry < arch::user_end - bias &&
           program.lowest() + bias >= lowest_address;
}

} // namespace proc::elf
