#include "kernel/proc/elf.h"

#include "kernel/lib/random.h"
#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"

#include <cstring>

namespace elf = proc::elf;

namespace {

// A small program: two segments and an interpreter, all of it to be spoiled field by field.
class sample {
  public:
    static constexpr std::size_t size = 3 * 4096;
    static constexpr std::size_t headers_at = 64, header_bytes = 56;
    // Where fields stand.
    enum : std::size_t {
        type = 16,
        machine = 18,
        entry = 24,
        headers = 32,
        header_size = 54,
        header_count = 56,
        text = headers_at,
        data = headers_at + header_bytes,
        interpreter = headers_at + 2 * header_bytes,
        flags = 4,
        offset = 8,
        address = 16,
        file_bytes = 32,
        memory_bytes = 40,
        alignment = 48,
    };

    sample() noexcept {
        std::memset(bytes_, 0, size);
        std::memcpy(bytes_, "\177ELF\2\1\1", 7);
        set16(type, 3);
        set16(machine, 62);
        set64(entry, 0x1100);
        set64(headers, headers_at);
        set16(header_size, header_bytes);
        set16(header_count, 3);
        segment(text, 1, 5, 0, 0, 0x1800, 0x1800);
        segment(data, 1, 6, 0x1800, 0x2800, 0x800, 0x2000);
        segment(interpreter, 3, 4, 0x2000, 0, 8, 8);
        std::memcpy(bytes_ + 0x2000, "/lib/ld", 8);
    }
    void set16(std::size_t at, k::u16 value) noexcept { std::memcpy(bytes_ + at, &value, sizeof(value)); }
    void set32(std::size_t at, k::u32 value) noexcept { std::memcpy(bytes_ + at, &value, sizeof(value)); }
    void set64(std::size_t at, k::u64 value) noexcept { std::memcpy(bytes_ + at, &value, sizeof(value)); }
    void set8(std::size_t at, k::u8 value) noexcept { bytes_[at] = value; }
    std::span<const std::byte> file(std::size_t bytes = size) const noexcept {
        return std::as_bytes(std::span(bytes_, bytes));
    }

  private:
    void segment(std::size_t at, k::u32 what, k::u32 may, k::u64 from, k::u64 to, k::u64 in_file, k::u64 in_memory) {
        set32(at, what);
        set32(at + flags, may);
        set64(at + offset, from);
        set64(at + address, to);
        set64(at + file_bytes, in_file);
        set64(at + memory_bytes, in_memory);
        set64(at + alignment, 4096);
    }
    k::u8 bytes_[size];
};

struct bench {
    sample file;
    elf::image image;
};

template <class Change> bool refused(Change change) {
    auto b = mem::make_box<bench>();
    if (!b) return false;
    change(b->file);
    const k::status read = elf::read(b->file.file(), b->file.file().size(), b->image);
    return !read && read.error() == k::error::noexec;
}

} // namespace

SELFTEST(elf, reads_segments_interpreter_and_headers) {
    auto b = mem::make_box<bench>();
    REQUIRE(b);
    REQUIRE(elf::read(b->file.file(), b->file.file().size(), b->image));
    const elf::image& i = b->image;
    EXPECT(i.anywhere);
    EXPECT_EQ(i.count, 2u);
    EXPECT_EQ(i.interpreter_bytes, 8u); // with the zero byte
    EXPECT_EQ(i.headers, 64u);
    EXPECT_EQ(i.lowest(), 0u);
    EXPECT_EQ(i.end(), 0x5000u);
    EXPECT_EQ(i.segments[0].access, arch::user_read | arch::user_execute);
    EXPECT_EQ(i.segments[1].access, arch::user_read | arch::user_write);
    EXPECT(elf::fits(i, 0x10000));
    EXPECT(!elf::fits(i, 0));                       // null pointers would be good ones
    EXPECT(!elf::fits(i, arch::user_end - 0x4000)); // over the end
    EXPECT(!elf::fits(i, ~k::u64{0} - 0xfff));
}

SELFTEST(elf, refuses_what_is_no_program_of_ours) {
    EXPECT(refused([](sample& s) { s.set8(0, 'x'); }));
    EXPECT(refused([](sample& s) { s.set8(4, 1); })); // 32 bits
    EXPECT(refused([](sample& s) { s.set8(5, 2); })); // big-endian
    EXPECT(refused([](sample& s) { s.set16(sample::type, 1); }));
    EXPECT(refused([](sample& s) { s.set16(sample::machine, 183); }));
    EXPECT(refused([](sample& s) { s.set16(sample::header_size, 32); }));
    EXPECT(refused([](sample& s) { s.set16(sample::header_count, 0); }));
    EXPECT(refused([](sample& s) { s.set16(sample::header_count, 0xffff); }));
    EXPECT(refused([](sample& s) { s.set64(sample::headers, ~k::u64{0}); }));
    EXPECT(refused([](sample& s) { s.set64(sample::headers, sample::size - 8); }));
    EXPECT(refused([](sample& s) { // nothing to load
        s.set32(sample::text, 4);
        s.set32(sample::data, 4);
    }));
}

SELFTEST(elf, refuses_segments_that_lie) {
    EXPECT(refused([](sample& s) { s.set64(sample::text + sample::file_bytes, 0x1801); })); // more than in memory
    EXPECT(refused([](sample& s) { s.set64(sample::data + sample::offset, ~k::u64{0} - 0x7ff); }));
    EXPECT(refused([](sample& s) { s.set64(sample::data + sample::offset, 0x800 + sample::size); }));
    EXPECT(refused([](sample& s) { s.set64(sample::data + sample::memory_bytes, ~k::u64{0}); }));
    EXPECT(refused([](sample& s) { s.set64(sample::data + sample::address, arch::user_end - 0x1800); }));
    EXPECT(refused([](sample& s) { s.set64(sample::data + sample::address, 0xffff'8000'0000'2800); }));
    EXPECT(refused([](sample& s) { s.set64(sample::data + sample::address, 0x2900); })); // not as in the file
    EXPECT(refused([](sample& s) { s.set64(sample::data + sample::address, 0x800); }));  // overlaps
    EXPECT(refused([](sample& s) { s.set16(sample::type, 2); }));                        // fixed at 0
}

SELFTEST(elf, refuses_interpreters_without_an_end) {
    EXPECT(elf::interpreter_path(std::string_view("/lib/ld\0", 8)).value_or("") == "/lib/ld");
    EXPECT(!elf::interpreter_path("/lib/ld"));
    EXPECT(!elf::interpreter_path(std::string_view("/lib/ld\0x\0", 10)));
    EXPECT(!elf::interpreter_path({}));
    EXPECT(refused([](sample& s) { s.set64(sample::interpreter + sample::file_bytes, 0); }));
    EXPECT(refused([](sample& s) { s.set64(sample::interpreter + sample::offset, sample::size - 4); }));
    EXPECT(refused([](sample& s) { s.set64(sample::interpreter + sample::offset, ~k::u64{0}); }));
}

SELFTEST(elf, reads_any_beginning_of_a_file_and_any_damage_safely) {
    auto b = mem::make_box<bench>();
    REQUIRE(b);
    for (std::size_t bytes = 0; bytes < 512; bytes++)
        EXPECT(!elf::read(b->file.file(bytes), bytes, b->image));
    k::random random(selftest::seed());
    for (int round = 0; round < 2000; round++) {
        auto damaged = mem::make_box<bench>(*b);
        REQUIRE(damaged);
        for (k::u64 i = 0; i <= random.below(3); i++)
            damaged->file.set8(random.below(232), static_cast<k::u8>(random.next()));
        if (!elf::read(damaged->file.file(), damaged->file.file().size(), damaged->image)) continue;
        for (const elf::segment& s : damaged->image.loaded()) {
            EXPECT(s.file_bytes <= s.memory_bytes && s.offset + s.file_bytes <= sample::size);
            EXPECT(s.address < arch::user_end && s.address + s.memory_bytes <= arch::user_end);
        }
    }
}
