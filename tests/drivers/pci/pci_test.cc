// drivers/pci: what a hostile configuration space says is checked before it is used.
#include "drivers/pci/bus.h"
#include "drivers/pci/message_interrupts.h"
#include "kernel/lib/random.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"

#include <cstring>

namespace {

using pci::address;

constexpr arch::paddr high_registers = arch::paddr{1} << 38; // neither RAM nor too high, on any machine of the tests

// A few functions whose registers are bytes; base address registers keep only the bits of their size.
class model_space final : public pci::config_space {
  public:
    struct model {
        address at;
        std::array<k::u8, 256> bytes{};
        std::array<k::u32, pci::most_bars> bar_mask{};

        void put(unsigned offset, k::u32 value, unsigned width) { std::memcpy(&bytes[offset], &value, width); }
        k::u32 get(unsigned offset, unsigned width) const {
            k::u32 value = 0;
            std::memcpy(&value, &bytes[offset], width);
            return value;
        }
    };
    model& add(address at, k::u32 type = 0) {
        model& m = models_[count_++];
        m = {};
        m.at = at;
        m.put(pci::reg_vendor, 0x1af4, 2);
        m.put(pci::reg_header_type, type, 1);
        return m;
    }
    k::u32 read(address at, unsigned offset, unsigned width) noexcept override {
        reads++;
        const model* m = find(at);
        return m && offset + width <= 256 ? m->get(offset, width) : ~k::u32{0} >> (32 - 8 * width);
    }
    void write(address at, unsigned offset, unsigned width, k::u32 value) noexcept override {
        model* m = find(at);
        if (!m || offset + width > 256) return;
        const unsigned bar = (offset - pci::reg_bars) / 4;
        if (offset >= pci::reg_bars && bar < pci::most_bars) {
            EXPECT(!(m->get(pci::reg_command, 2) & pci::command_memory)); // it does not answer while it is sized
            value = (value & m->bar_mask[bar]) | (m->get(offset, 4) & ~m->bar_mask[bar]);
        }
        m->put(offset, value, width);
    }
    k::u64 reads = 0;

  private:
    model* find(address at) {
        for (model& m : std::span(models_).first(count_))
            if (m.at == at) return &m;
        return nullptr;
    }
    model models_[12];
    unsigned count_ = 0;
};

// Large: not for a stack.
struct spaces {
    mem::box<model_space> s{mem::make<model_space>()};
    explicit operator bool() const { return bool(s); }
    model_space* operator->() const { return s.get(); }
    model_space& operator*() const { return *s; }
};

void put_bar(model_space::model& m, unsigned index, k::u64 base, k::u64 bytes, k::u32 type) {
    m.bar_mask[index] = static_cast<k::u32>(~(bytes - 1)) & ~k::u32{15};
    m.put(pci::reg_bars + 4 * index, static_cast<k::u32>(base) | type, 4);
    if ((type & 4) && index + 1 < pci::most_bars) {
        m.bar_mask[index + 1] = static_cast<k::u32>(~(bytes - 1) >> 32);
        m.put(pci::reg_bars + 4 * index + 4, static_cast<k::u32>(base >> 32), 4);
    }
}

struct counted final : pci::visitor {
    void visit(address at) noexcept override {
        count++;
        last = at;
    }
    unsigned count = 0;
    address last{};
};

} // namespace

SELFTEST(pci, ranges_are_sized_and_nonsense_is_left_out) {
    spaces s;
    REQUIRE(s);
    auto& m = s->add({0, 0, 1, 0});
    m.put(pci::reg_command, pci::command_memory | pci::command_ports, 2);
    put_bar(m, 0, high_registers, 0x4000, 4);                  // 64 bits
    put_bar(m, 2, 0, 0x1000, 0);                               // nobody placed it
    put_bar(m, 3, arch::memory::regions()[0].base, 0x1000, 0); // over RAM
    m.bar_mask[4] = 0xfffc;
    m.put(pci::reg_bars + 16, 0xc000 | 1, 4); // ports
    m.bar_mask[4] = 0xffe0;
    put_bar(m, 5, high_registers, 0x1000, 4); // 64 bits where there is only one register left
    pci::function f(*s, m.at);
    EXPECT_EQ(f.register_bar(0).base, high_registers);
    EXPECT_EQ(f.register_bar(0).bytes, 0x4000u);
    for (unsigned i : {1u, 2u, 3u, 5u})
        EXPECT_EQ(f.register_bar(i).bytes, 0u);
    EXPECT(f.register_bar(4).in_ports);
    EXPECT_EQ(f.register_bar(4).bytes, 32u);
    EXPECT_EQ(m.get(pci::reg_command, 2), k::u32{pci::command_memory | pci::command_ports});
    EXPECT_EQ(m.get(pci::reg_bars, 4), static_cast<k::u32>(high_registers) | 4u); // as it was
    struct {
        unsigned bar;
        k::u64 offset, bytes;
    } constexpr bad[] = {{0, 0x4000, 1}, {0, 0, 0x4001}, {0, ~0ull, 2}, {0, 1, ~0ull},
                         {1, 0, 1},      {4, 0, 4},      {6, 0, 1},     {0, 0, 0}};
    for (const auto& b : bad)
        EXPECT(!f.map(b.bar, b.offset, b.bytes));
}

SELFTEST(pci, lists_of_capabilities_end) {
    spaces s;
    REQUIRE(s);
    auto& m = s->add({0, 0, 1, 0});
    m.put(pci::reg_status, 0x10, 2);
    m.put(pci::reg_capabilities, 0x40, 1);
    m.put(0x40, 0x5009, 2);
    m.put(0x50, 0x6009, 2);
    m.put(0x60, 0x0011, 2);
    pci::function f(*s, m.at);
    EXPECT_EQ(f.find_capability(pci::capability_vendor), 0x40u);
    EXPECT_EQ(f.find_capability(pci::capability_vendor, 0x40), 0x50u);
    EXPECT_EQ(f.find_capability(pci::capability_vendor, 0x50), 0u);
    EXPECT_EQ(f.find_capability(pci::capability_msix, 0, 12), 0x60u);
    EXPECT_EQ(f.find_capability(pci::capability_msi), 0u);
    m.put(0x60, 0x4011, 2); // in a circle
    s->reads = 0;
    EXPECT_EQ(f.find_capability(pci::capability_msi), 0u);
    EXPECT(s->reads < 200);
    m.put(0x60, 0x0400 | 0x11, 2); // into the header
    EXPECT_EQ(f.find_capability(pci::capability_msi), 0u);
    m.put(0x60, 0xfc11, 2);
    m.put(0xfc, 0x0005, 2); // hangs over the end
    EXPECT_EQ(f.find_capability(pci::capability_msi, 0, 14), 0u);
    EXPECT_EQ(f.find_capability(pci::capability_msi, 0, 2), 0xfcu);
    m.put(pci::reg_status, 0, 2);
    EXPECT_EQ(f.find_capability(pci::capability_vendor), 0u);
}

SELFTEST(pci, any_bytes_end_in_an_answer) {
    spaces s;
    REQUIRE(s);
    auto& m = s->add({0, 0, 1, 0});
    k::random random(selftest::seed());
    for (unsigned round = 0; round < 500; round++) {
        support::fill_pattern(std::as_writable_bytes(std::span(m.bytes)), random.next());
        m.put(pci::reg_vendor, 0x1af4, 2);
        m.put(pci::reg_status, 0x10, 2);
        // Ranges would be mapped for real; what is about them has a test of its own.
        for (unsigned i = 0; i < pci::most_bars; i++)
            m.put(pci::reg_bars + 4 * i, 0, 4);
        pci::function f(*s, m.at);
        for (k::u8 id : {pci::capability_msi, pci::capability_vendor, pci::capability_msix})
            if (const unsigned place = f.find_capability(id, 0, 14)) EXPECT(place >= 0x40 && place <= 256 - 14);
        // A table that lies nowhere is refused; MSI needs none.
        auto messages = pci::message_interrupts::create(f);
        if (f.find_capability(pci::capability_msix, 0, 12)) EXPECT(!messages && messages.error() == k::error::nxio);
    }
}

SELFTEST(pci, a_message_is_told_to_the_function_and_taken_back) {
    spaces s;
    REQUIRE(s);
    auto& m = s->add({0, 0, 1, 0});
    m.put(pci::reg_status, 0x10, 2);
    m.put(pci::reg_capabilities, 0x40, 1);
    m.put(0x40, 0x0005, 2);
    m.put(0x42, 0x00fe, 2); // 64-bit, asks for many
    pci::function f(*s, m.at);
    std::atomic<unsigned> calls = 0;
    {
        auto messages = pci::message_interrupts::create(f);
        REQUIRE(messages);
        EXPECT_EQ(messages->count(), 1u);
        REQUIRE(messages->connect(
            0, 0, [](void* c) { static_cast<std::atomic<unsigned>*>(c)->fetch_add(1); }, &calls));
        EXPECT_EQ(m.get(0x42, 2), 0x008fu); // one of them, on
        EXPECT(m.get(0x44, 4) != 0);
    }
    EXPECT_EQ(m.get(0x42, 2) & 1, 0u);
}

SELFTEST(pci, buses_are_walked_once) {
    spaces s;
    REQUIRE(s);
    const auto bridge = [&](k::u8 bus, k::u8 slot, k::u32 behind) {
        s->add({0, bus, slot, 0}, 1).put(pci::reg_secondary_bus, behind, 1);
    };
    s->add({0, 0, 0, 0}, 0x80);
    s->add({0, 0, 0, 7});
    s->add({0, 0, 5, 0}); // one function only: the next is not looked for
    s->add({0, 0, 5, 3});
    bridge(0, 2, 1);
    bridge(0, 3, 1); // a second way to the same bus
    bridge(1, 0, 0); // back to where it began
    bridge(1, 1, 3);
    bridge(1, 2, 9); // beyond the last bus
    s->add({0, 3, 31, 0});
    s->add({0, 9, 0, 0});
    counted found;
    pci::for_each_function(*s, {0, 0, 0, 4}, found);
    EXPECT_EQ(found.count, 9u);
    EXPECT(found.last == (address{0, 3, 31, 0}));
}
