// An AHCI controller made of software, for tests: one port with one disk, which answers queued commands in any order,
// and lies where it is told to.
#pragma once

#include "drivers/ahci/command.h"
#include "drivers/ahci/port.h"
#include "kernel/lib/random.h"
#include "kernel/lwkt/sleep_lock.h"
#include "kernel/lwkt/thread.h"
#include "kernel/selftest/selftest.h"
#include "tests/support/bytes.h"

#include <bit>

namespace tests {

class model_ahci final : public ahci::host_port {
  public:
    enum class lie : k::u8 { none, strange_tag, no_fis, too_short, link_error, error, silence };
    enum class log_lie : k::u8 { none, other_tag, not_queued, bad_sum, refused };

    explicit model_ahci(k::u64 sectors, unsigned depth) : content(sectors * 512), depth_(depth) {
        say(49, 1 << 8 | 1 << 9);
        say(75, static_cast<k::u16>(depth - 1));
        say(76, depth > 1 ? 1 << 8 : 0);
        say(83, 1 << 14 | 1 << 13 | 1 << 10);
        say(84, 1 << 14 | 1 << 6);
        say(85, 1 << 5);
        say(169, 1);
        for (unsigned i = 0; i < 4; i++)
            say(100 + i, static_cast<k::u16>(sectors >> 16 * i));
        (void)lwkt::spawn("model controller", 0, lwkt::normal_priority, body, this);
    }
    ~model_ahci() override {
        ends_ = true;
        (void)ended_.wait();
    }
    support::buffer content;
    std::atomic<lie> next_lie = lie::none; // for the next command that moves data, once; silence lasts
    std::atomic<bool> stops = true;        // does the port's engine?
    std::atomic<bool> is_there = true;     // false: it was pulled out, and all registers read as ones
    std::atomic<bool> is_plugged = true;   // the disk
    std::atomic<k::u64> bad_sector = ~k::u64{0};
    std::atomic<log_lie> how_log_lies = log_lie::none;
    std::atomic<unsigned> logs_read = 0;
    void keep_log() { say(84, 1 << 14 | 1 << 6 | 1 << 5); }
    std::atomic<unsigned> resets = 0, flushes = 0, forced = 0, queued = 0, alone = 0, most_at_once = 0;
    k::u32 capabilities = 1u << 31 | 1u << 30 | 31u << 8;
    k::u32 signature = 0x101;
    void say(unsigned word, k::u16 value) { words_[word] = value; }
    void silence(bool on) { next_lie = on ? lie::silence : lie::none; }

    std::size_t size() noexcept override { return ahci::first_port + ahci::port_bytes; }
    k::u32 read(unsigned offset) noexcept override {
        if (!is_there) return ~k::u32{0};
        switch (offset) {
        case ahci::reg_capabilities: return capabilities;
        case ahci::reg_control: return 1u << 31;
        case ahci::reg_interrupts: return (causes_ & enabled_) ? 1 : 0;
        case ahci::reg_ports: return 1;
        case ahci::first_port + ahci::port_interrupts: return causes_;
        case ahci::first_port + ahci::port_command: return command_;
        case ahci::first_port + ahci::port_task_file: return task_file_;
        case ahci::first_port + ahci::port_signature: return signature;
        case ahci::first_port + ahci::port_status: return is_plugged ? 0x113 : 0;
        case ahci::first_port + ahci::port_active: return active_;
        case ahci::first_port + ahci::port_issue: return issued_;
        default: return 0;
        }
    }
    void write(unsigned offset, k::u32 value) noexcept override {
        if (!is_there) return;
        switch (offset) {
        case ahci::first_port + ahci::port_list: list_ = value; break;
        case ahci::first_port + ahci::port_list + 4: list_ |= k::u64{value} << 32; break;
        case ahci::first_port + ahci::port_received: received_ = value; break;
        case ahci::first_port + ahci::port_received + 4: received_ |= k::u64{value} << 32; break;
        case ahci::first_port + ahci::port_interrupts: causes_ &= ~value; break;
        case ahci::first_port + ahci::port_interrupt_enable: enabled_ = value; break;
        case ahci::first_port + ahci::port_command: command(value); break;
        case ahci::first_port + ahci::port_control: control(value); break;
        case ahci::first_port + ahci::port_active: active_ |= value; break;
        case ahci::first_port + ahci::port_issue: issued_ |= value; break;
        }
    }
    k::status connect(unsigned cpu, lwkt::interrupt_handler handler, void* argument) noexcept override {
        auto line = lwkt::interrupt::connect(cpu, handler, argument);
        if (!line) return line.error();
        lwkt::sleep_hold hold(working_);
        line_ = *std::move(line);
        return {};
    }
    void disconnect() noexcept override {
        lwkt::sleep_hold hold(working_);
        line_ = {};
    }
    // The disk is pulled out, and the controller tells.
    void unplug() {
        is_plugged = false;
        raise(1u << 22);
    }

  private:
    static constexpr k::u32 starts = 1, receives = 1u << 4, receiving = 1u << 14, running = 1u << 15;
    static constexpr k::u32 came_register = 1, came_bits = 8, came_error = 1u << 30, link_failed = 1u << 27;
    template <class T> static T& at(arch::paddr pa) { return *static_cast<T*>(arch::memory::direct(pa)); }

    // Called by threads only: it may wait until no command is under way.
    void command(k::u32 value) {
        lwkt::sleep_hold hold(working_);
        const bool was_running = command_ & running;
        k::u32 now = value & ~(running | receiving);
        if (value & receives) now |= receiving;
        if (value & starts || (was_running && !stops)) now |= running;
        if (was_running && !(now & running)) issued_ = active_ = 0;
        if (!was_running && now & running) halted_ = false;
        command_ = now;
    }
    void control(k::u32 value) {
        lwkt::sleep_hold hold(working_);
        if ((value & 15) != 1) return;
        resets++;
        if (!stops) return;
        refuses_ = false;
        issued_ = active_ = 0;
        task_file_ = 0x50;
    }
    void raise(k::u32 cause) {
        causes_ |= cause;
        if ((causes_ & enabled_) && line_) line_.raise();
    }

    static void body(void* self) {
        auto& m = *static_cast<model_ahci*>(self);
        k::random random(selftest::seed());
        while (!m.ends_.load()) {
            bool worked = false;
            {
                lwkt::sleep_hold hold(m.working_);
                if (m.is_there && m.is_plugged && m.command_ & running && !m.halted_) worked = m.serve(random);
            }
            if (!worked) lwkt::sleep_for(50 * ktime::microsecond);
        }
        m.ended_.signal();
    }
    // One command, of those that are there: any.
    bool serve(k::random& random) {
        const k::u32 there = issued_;
        if (!there) return false;
        most_at_once = std::max<unsigned>(most_at_once, static_cast<unsigned>(std::popcount(there)));
        k::u32 choice = there;
        for (auto skip = random.below(static_cast<k::u64>(std::popcount(there))); skip; skip--)
            choice &= choice - 1;
        return work(static_cast<unsigned>(std::countr_zero(choice)));
    }
    bool work(unsigned slot) {
        auto& header = at<ahci::command_header>(list_ + slot * sizeof(ahci::command_header));
        const auto& t = at<ahci::command_table>(header.table);
        const ahci::register_fis& f = t.fis;
        EXPECT_EQ(unsigned{f.type}, 0x27u);
        EXPECT(f.flags & 0x80);
        const bool is_queued = f.command == ahci::ata_read_queued || f.command == ahci::ata_write_queued;
        EXPECT_EQ(is_queued, (active_ >> slot & 1) != 0);
        if (f.command != ahci::ata_identify && next_lie == lie::silence) return false;
        EXPECT(is_queued ? slot < depth_ : issued_ == 1 && active_ == 0); // not both kinds at once
        const bool is_admin = f.command == ahci::ata_identify || f.command == ahci::ata_read_log;
        const lie how = is_admin ? lie::none : next_lie.exchange(lie::none);
        bool good = how != lie::error && (!refuses_ || f.command == ahci::ata_read_log);
        if (good) good = execute(header, t, is_queued, slot);
        (is_queued ? queued : alone)++;
        if (how == lie::link_error) {
            halted_ = true;
            raise(link_failed);
            return true;
        }
        if (how == lie::too_short) header.moved -= 512;
        task_file_ = good ? 0x50 : 0x451;
        const k::u32 bit = k::u32{1} << slot;
        if (!good) {
            if (is_queued) {
                issued_ &= ~bit;
                refuses_ = true;
                failed_tag_ = static_cast<k::u8>(slot);
            }
            halted_ = true;
            raise(came_error | (is_queued ? came_bits : came_register));
            return true;
        }
        if (!is_queued && how != lie::no_fis) at<k::u8>(received_ + 0x40) = 0x34;
        if (!is_queued && how == lie::no_fis) at<k::u8>(received_ + 0x40) = 0;
        issued_ &= ~bit;
        active_ &= ~bit;
        if (how == lie::strange_tag) active_ |= k::u32{1} << 31;
        raise(is_queued ? came_bits : came_register);
        return true;
    }
    bool execute(ahci::command_header& header, const ahci::command_table& t, bool is_queued, unsigned slot) {
        const ahci::register_fis& f = t.fis;
        k::u64 first = 0;
        for (unsigned i = 0; i < 3; i++)
            first |= k::u64{f.address[i]} << 8 * i | k::u64{f.address_high[i]} << (24 + 8 * i);
        k::u32 count = is_queued ? f.features | f.features_high << 8 : f.count | f.count_high << 8;
        if (!count) count = 65536;
        switch (f.command) {
        case ahci::ata_flush: flushes++; return true;
        case ahci::ata_identify: return move(header, t, {reinterpret_cast<std::byte*>(words_), 512}, true);
        case ahci::ata_manage_data: return true;
        case ahci::ata_read_log: return count == 1 && first == 0x10 && read_log(header, t);
        case ahci::ata_write_through: forced++; [[fallthrough]];
        case ahci::ata_read:
        case ahci::ata_write:
        case ahci::ata_read_queued:
        case ahci::ata_write_queued: break;
        default:
            selftest::fail(k::where::here(), "a command that nobody knows: {:x}", unsigned{f.command});
            return false;
        }
        if (is_queued) {
            EXPECT_EQ(unsigned{f.count} >> 3, slot);
            if (f.device & 0x80) forced++;
        }
        EXPECT(f.device & 0x40);
        const k::u64 bytes = k::u64{count} * 512;
        if (first * 512 > content.size() || bytes > content.size() - first * 512) return false;
        if (bad_sector >= first && bad_sector < first + count) return false;
        const bool reads = f.command == ahci::ata_read || f.command == ahci::ata_read_queued;
        EXPECT_EQ((header.flags & ahci::header_writes) != 0, !reads);
        return move(header, t, content.bytes().subspan(first * 512, bytes), reads);
    }
    // Which command failed; after that the disk takes others again.
    bool read_log(ahci::command_header& header, const ahci::command_table& t) {
        if (!(words_[84] >> 5 & 1) || how_log_lies == log_lie::refused) return false;
        logs_read++;
        refuses_ = false;
        k::u8 log[512] = {failed_tag_, 0, 0x41, 0x40};
        if (how_log_lies == log_lie::other_tag) log[0] = 31;
        if (how_log_lies == log_lie::not_queued) log[0] |= 0x80;
        for (unsigned i = 0; i < 511; i++)
            log[511] = static_cast<k::u8>(log[511] - log[i]);
        if (how_log_lies == log_lie::bad_sum) log[511]++;
        return move(header, t, {reinterpret_cast<std::byte*>(log), 512}, true);
    }
    // Between the disk and the regions, which must be as many bytes.
    bool move(ahci::command_header& header, const ahci::command_table& t, std::span<std::byte> disk, bool reads) {
        std::size_t done = 0;
        for (unsigned i = 0; i < header.regions; i++) {
            const std::size_t part = std::size_t{t.regions[i].last & 0x3f'ffff} + 1;
            EXPECT(t.regions[i].address % 2 == 0 && part % 2 == 0);
            if (part > disk.size() - done) return false;
            auto* memory = &at<std::byte>(t.regions[i].address);
            if (reads)
                std::memcpy(memory, disk.data() + done, part);
            else
                std::memcpy(disk.data() + done, memory, part);
            done += part;
        }
        header.moved = static_cast<k::u32>(done);
        EXPECT_EQ(done, disk.size());
        return done == disk.size();
    }

    const unsigned depth_;
    k::u16 words_[256] = {};
    k::u64 list_ = 0, received_ = 0;
    std::atomic<k::u32> causes_ = 0, enabled_ = 0, command_ = 0, task_file_ = 0x50, active_ = 0, issued_ = 0;
    bool refuses_ = false; // after an error of a queued command, all but the log's, until that is read or a reset
    k::u8 failed_tag_ = 0;
    bool halted_ = false; // after an error, until it is started again
    lwkt::interrupt line_;
    lwkt::sleep_lock working_;
    std::atomic<bool> ends_ = false;
    lwkt::completion ended_;
};

} // namespace tests
