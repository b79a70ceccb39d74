// An NVMe controller made of software, for tests: one namespace, any number of queues, answers in any order, and lies
// where it is told to.
#pragma once

#include "drivers/nvme/ring.h"
#include "kernel/lib/random.h"
#include "kernel/lwkt/sleep_lock.h"
#include "kernel/lwkt/thread.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"

namespace tests {

class model_nvme final : public nvme::port {
  public:
    enum class lie : k::u8 { none, wrong_id, wrong_queue, twice, error, silence, never_ready };
    static constexpr unsigned most_queues = 4; // of requests

    explicit model_nvme(k::u64 sectors, unsigned queues = most_queues) : content(sectors * 512), queues_(queues) {
        said_of_controller[77] = std::byte{4};  // 16 pages at a time
        said_of_controller[525] = std::byte{1}; // a write cache
        said_of_name_space = {.blocks = sectors, .format = 0, .form = 9u << 16};
        (void)lwkt::spawn("model controller", 0, lwkt::normal_priority, body, this);
    }
    ~model_nvme() override {
        ends_ = true;
        (void)ended_.wait();
    }
    support::buffer content;
    std::atomic<lie> next_lie = lie::none; // for the next answer to a request, once; silence lasts
    std::atomic<bool> stops = true;
    std::atomic<bool> is_there = true; // false: it was pulled out, and all registers read as ones
    std::atomic<unsigned> resets = 0, flushes = 0, forced = 0;
    std::atomic<unsigned> page_lists = 0, descriptors = 0; // commands with the one, how many there were of the others
    k::u64 capabilities = k::u64{1} << 37 | 127;           // the usual commands, 128 entries
    std::byte said_of_controller[4096] = {};
    void offer_descriptors(unsigned how) { said_of_controller[536] = std::byte(how); }
    struct {
        k::u64 blocks;
        k::u8 format;
        k::u32 form;
    } said_of_name_space;
    void silence(bool on) { next_lie = on ? lie::silence : lie::none; }

    std::size_t size() noexcept override { return nvme::reg_doorbells + 4096; }
    unsigned interrupts() noexcept override { return queues_; }
    k::u32 read(unsigned offset) noexcept override {
        if (!is_there) return ~k::u32{0};
        switch (offset) {
        case nvme::reg_capabilities: return static_cast<k::u32>(capabilities);
        case nvme::reg_capabilities + 4: return static_cast<k::u32>(capabilities >> 32);
        case nvme::reg_configuration: return configuration_;
        case nvme::reg_status: return ready_;
        default: return 0;
        }
    }
    void write(unsigned offset, k::u32 value) noexcept override {
        if (!is_there) return;
        if (offset >= nvme::reg_doorbells) {
            const unsigned bell = (offset - nvme::reg_doorbells) / 4;
            if (bell % 2 == 0 && bell / 2 <= most_queues) pairs_[bell / 2].tail = value;
            return;
        }
        switch (offset) {
        case nvme::reg_admin_submission: pairs_[0].commands = value; break;
        case nvme::reg_admin_submission + 4: pairs_[0].commands |= k::u64{value} << 32; break;
        case nvme::reg_admin_completion: pairs_[0].answers = value; break;
        case nvme::reg_admin_completion + 4: pairs_[0].answers |= k::u64{value} << 32; break;
        case nvme::reg_admin_sizes: pairs_[0].size = (value & 0xfff) + 1; break;
        case nvme::reg_configuration: configure(value); break;
        }
    }
    k::status connect(unsigned number, unsigned cpu, lwkt::interrupt_handler handler,
                      void* argument) noexcept override {
        auto line = lwkt::interrupt::connect(cpu, handler, argument);
        if (!line) return line.error();
        lwkt::sleep_hold hold(working_);
        lines_[number] = *std::move(line);
        return {};
    }
    void disconnect() noexcept override {
        lwkt::sleep_hold hold(working_);
        for (lwkt::interrupt& line : lines_)
            line = {};
    }

  private:
    struct pair {
        bool on = false;
        arch::paddr commands = 0, answers = 0;
        unsigned size = 0, head = 0, answer_tail = 0, vector = 0;
        bool phase = true;
        std::atomic<k::u32> tail = 0;
    };
    template <class T> static T& at(arch::paddr pa) { return *static_cast<T*>(arch::memory::direct(pa)); }

    void configure(k::u32 value) {
        lwkt::sleep_hold hold(working_);
        const bool on = value & 1;
        if (!on) resets++;
        if (!on && !stops) return;
        configuration_ = value;
        for (pair& p : pairs_) {
            p.on = false;
            p.head = p.answer_tail = 0;
            p.tail = 0;
            p.phase = true;
        }
        pairs_[0].on = on;
        ready_ = on && next_lie != lie::never_ready;
    }

    static void body(void* self) {
        auto& m = *static_cast<model_nvme*>(self);
        k::random random(selftest::seed());
        while (!m.ends_.load()) {
            bool worked = false;
            {
                lwkt::sleep_hold hold(m.working_);
                for (unsigned i = 0; i <= most_queues; i++)
                    if (m.ready_ && m.pairs_[i].on) worked |= m.serve(i, random);
            }
            if (!worked) lwkt::sleep_for(50 * ktime::microsecond);
        }
        m.ended_.signal();
    }
    bool serve(unsigned number, k::random& random) {
        pair& p = pairs_[number];
        if (number && next_lie == lie::silence) return false;
        nvme::command some[nvme::ring::size];
        unsigned count = 0;
        for (const k::u32 tail = p.tail.load(); p.head != tail; p.head = (p.head + 1) % p.size)
            some[count++] = at<nvme::command>(p.commands + p.head * sizeof(nvme::command));
        for (unsigned i = count; i > 1; i--)
            std::swap(some[i - 1], some[random.below(i)]);
        for (unsigned i = 0; i < count; i++)
            number ? work(number, some[i]) : administrate(some[i]);
        return count;
    }
    void put_answer(unsigned number, k::u16 queue, k::u16 id, unsigned code, k::u32 result = 0) {
        pair& p = pairs_[number];
        auto& a = at<nvme::answer>(p.answers + p.answer_tail * sizeof(nvme::answer));
        a.result = result;
        a.queue = queue;
        a.queue_head = static_cast<k::u16>(p.head);
        a.id = id;
        std::atomic_ref(a.status).store(static_cast<k::u16>(code << 1 | p.phase), std::memory_order_release);
        p.answer_tail = (p.answer_tail + 1) % p.size;
        if (p.answer_tail == 0) p.phase = !p.phase;
        if (number && lines_[p.vector]) lines_[p.vector].raise();
    }

    void administrate(const nvme::command& c) {
        const unsigned number = c.words[0] & 0xffff;
        auto* page = &at<std::byte>(c.pages[0]);
        k::u32 result = 0;
        switch (c.opcode) {
        case 6: // identify
            std::memset(page, 0, arch::page_size);
            if (c.words[0] == 1) std::memcpy(page, said_of_controller, arch::page_size);
            if (c.words[0] == 2) page[0] = std::byte{1};
            if (c.words[0] != 0) break;
            std::memcpy(page, &said_of_name_space.blocks, 8);
            std::memcpy(page + 26, &said_of_name_space.format, 1);
            std::memcpy(page + 128 + 4 * (said_of_name_space.format & 15), &said_of_name_space.form, 4);
            break;
        case 9: result = (queues_ - 1) << 16 | (queues_ - 1); break;
        case 5:
            if (number > most_queues) return put_answer(0, 0, c.id, 1);
            pairs_[number].answers = c.pages[0];
            pairs_[number].vector = c.words[1] >> 16;
            break;
        case 1:
            if (number > most_queues) return put_answer(0, 0, c.id, 1);
            pairs_[number].commands = c.pages[0];
            pairs_[number].size = (c.words[0] >> 16) + 1;
            pairs_[number].on = true;
            break;
        }
        put_answer(0, 0, c.id, 0, result);
    }

    bool move(const nvme::command& c) {
        const k::u64 at_byte = (c.words[0] | k::u64{c.words[1]} << 32) * 512, bytes = ((c.words[2] & 0xffff) + 1) * 512;
        if (at_byte > content.size() || bytes > content.size() - at_byte) return false;
        EXPECT(bytes <= arch::page_size << static_cast<unsigned>(said_of_controller[77]));
        const std::span<std::byte> disk(content.data() + at_byte, bytes);
        if (!c.flags) return move_pages(c, disk);
        EXPECT_EQ(unsigned{c.flags}, 0x40u);
        return move_described(c, disk);
    }
    static void move_part(const nvme::command& c, std::span<std::byte> disk, arch::paddr memory) {
        if (c.opcode == 2)
            std::memcpy(&at<std::byte>(memory), disk.data(), disk.size());
        else
            std::memcpy(disk.data(), &at<std::byte>(memory), disk.size());
    }
    // Moves one page's worth after the other; where they are, stands in the command or in its list.
    bool move_pages(const nvme::command& c, std::span<std::byte> disk) {
        page_lists++;
        arch::paddr where = c.pages[0];
        EXPECT_EQ(where % 4, 0u);
        const k::u64 first = arch::page_size - where % arch::page_size;
        const bool by_list = disk.size() > first + arch::page_size;
        for (unsigned i = 0; !disk.empty(); i++) {
            const k::u64 part = std::min(disk.size(), arch::page_size - where % arch::page_size);
            EXPECT(i == 0 || where % arch::page_size == 0);
            move_part(c, disk.first(part), where);
            disk = disk.subspan(part);
            where = by_list ? at<k::u64>(c.pages[1] + 8 * i) : c.pages[1];
        }
        return true;
    }
    // The same where descriptors tell of them: that of the command, or those of its list. False: they are not such as
    // it offered to take, or not as many bytes as the command moves.
    bool move_described(const nvme::command& c, std::span<std::byte> disk) {
        const unsigned offered = static_cast<unsigned>(said_of_controller[536]) & 3;
        if (offered != 1 && offered != 2) return false;
        nvme::descriptor first;
        std::memcpy(&first, c.pages, sizeof(first));
        const nvme::descriptor* list = &first;
        k::u64 count = 1;
        if (first.type == 0x30) {
            if (!first.bytes || first.bytes % sizeof(first) || first.address % 4) return false;
            count = first.bytes / sizeof(first);
            list = &at<nvme::descriptor>(first.address);
        }
        for (const nvme::descriptor& d : std::span(list, count)) {
            descriptors++;
            if (d.type || !d.bytes || d.bytes > disk.size()) return false;
            if (offered == 2 && (d.address % 4 || d.bytes % 4)) return false;
            move_part(c, disk.first(d.bytes), d.address);
            disk = disk.subspan(d.bytes);
        }
        return disk.empty();
    }
    void work(unsigned number, const nvme::command& c) {
        const lie how = next_lie.exchange(lie::none);
        bool good = how != lie::error;
        if (c.opcode == 0) flushes++;
        if ((c.opcode == 1 || c.opcode == 2) && good) good = move(c);
        if (c.opcode == 1 && (c.words[2] >> 30 & 1)) forced++;
        const auto queue = static_cast<k::u16>(number);
        if (how == lie::wrong_queue) return put_answer(number, queue + 1, c.id, 0);
        if (how == lie::wrong_id) return put_answer(number, queue, 500, 0);
        put_answer(number, queue, c.id, good ? 0 : 0x281);
        if (how == lie::twice) put_answer(number, queue, c.id, 0);
    }

    const unsigned queues_;
    std::atomic<k::u32> configuration_ = 0, ready_ = 0;
    pair pairs_[most_queues + 1];
    lwkt::interrupt lines_[most_queues];
    lwkt::sleep_lock working_;
    std::atomic<bool> ends_ = false;
    lwkt::completion ended_;
};

} // namespace tests
