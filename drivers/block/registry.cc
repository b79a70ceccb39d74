#include "drivers/block/registry.h"

#include "drivers/block/cache.h"
#include "drivers/block/partitions.h"
#include "kernel/lib/log.h"
#include "kernel/lwkt/spinlock.h"
#include "kernel/lwkt/thread.h"

namespace block {

constexpr disk_family virtio_disks{"vd", 254}, nvme_disks{"nvme", 259, true}, ahci_disks{"sd", 8};

namespace {

struct table {
    lwkt::spinlock lock;
    device_ref all[most_devices] GUARDED_BY(lock);
    unsigned count GUARDED_BY(lock) = 0;
};
alignas(table) std::byte storage[sizeof(table)];
// Made in place when it is first asked for, at boot.
table& devices() noexcept {
    static table* made = new (storage) table;
    return *made;
}

k::status enter(device_ref fresh) noexcept {
    table& t = devices();
    lwkt::spin_guard guard(t.lock);
    if (t.count == most_devices) return k::error::nospc;
    t.all[t.count++] = std::move(fresh);
    return {};
}

// The lowest number that no disk of the family has.
k::result<unsigned> free_number(k::u32 major) noexcept {
    constexpr unsigned most = 256 / device::minors_a_disk; // a minor number has eight bits
    for (unsigned n = 0; n < most; n++)
        if (!find_device(major, n * device::minors_a_disk)) return n;
    return k::error::nospc;
}

[[noreturn]] void write_back_for_ever(void*) noexcept {
    constexpr ktime::ns between = 2 * ktime::second;
    for (;;) {
        lwkt::sleep_for(between);
        device_ref d;
        for (unsigned n = 0; (d = nth_device(n)); n++)
            if (d->cache().dirty_pages()) (void)d->cache().write_back(); // who calls fsync is told of errors
    }
}

void put_name(k::text_sink& to, const disk_family& family, unsigned number) noexcept {
    if (family.numbered)
        k::format_to(to, "{}{}n1", family.prefix, number);
    else
        k::format_to(to, "{}{}", family.prefix, static_cast<char>('a' + number));
}

// Reads sectors into memory of the kernel.
class device_reader final : public sector_reader {
  public:
    explicit device_reader(device& from) noexcept : from_(from) {}
    k::status read(k::u64 sector, std::span<std::byte> to) noexcept override {
        auto into = xio::sink::over_kernel(to);
        if (!into) return into.error();
        return block::read(from_, sector << sector_shift, *into).status;
    }

  private:
    device& from_;
};

k::status add_partitions(device& whole, const disk_family& family, unsigned number) noexcept {
    constexpr unsigned most = device::minors_a_disk - 1;
    partition found[most];
    device_reader reader(whole);
    const unsigned count = TRY(find_partitions(reader, whole.sectors(), whole.properties().block_bytes, found));
    for (const partition& p : std::span(found, count)) {
        char text[device::longest_name];
        k::buffer_sink name(text);
        put_name(name, family, number);
        k::format_to(name, "{}{}", family.numbered ? "p" : "", p.number);
        const k::u32 minor = whole.minor() + p.number;
        device_ref part =
            TRY(device::create(k::ref<disk>::to(whole.on()), name.view(), family.major, minor, p.first, p.sectors));
        TRY(enter(std::move(part)));
        k::log("block: {}: {} sectors from {}\n", name.view(), p.sectors, p.first);
    }
    return {};
}

} // namespace

k::result<device_ref> add_disk(k::ref<disk> fresh, const disk_family& family) noexcept {
    const unsigned number = TRY(free_number(family.major));
    char text[device::longest_name];
    k::buffer_sink name(text);
    put_name(name, family, number);
    const disk_properties& p = fresh->properties();
    const std::string_view driver = fresh->driver();
    device_ref whole =
        TRY(device::create(std::move(fresh), name.view(), family.major, number * device::minors_a_disk, 0, p.sectors));
    TRY(enter(whole.share()));
    k::log("block: {}: {} MiB, blocks of {} bytes{}, {}\n", name.view(), p.sectors >> (20 - sector_shift),
           p.block_bytes, p.read_only ? ", read-only" : "", driver);
    if (const k::status parts = add_partitions(*whole, family, number); !parts)
        k::log("block: {}: partitions not read: {}\n", name.view(), parts.error());
    return whole;
}

void remove_disk(disk& gone) noexcept {
    table& t = devices();
    for (;;) {
        device_ref out; // let go of outside of the lock
        lwkt::spin_guard guard(t.lock);
        unsigned i = 0;
        while (i < t.count && &t.all[i]->on() != &gone)
            i++;
        if (i == t.count) return;
        t.all[i]->mark_gone();
        out = std::move(t.all[i]);
        for (; i + 1 < t.count; i++)
            t.all[i] = std::move(t.all[i + 1]);
        t.count--;
    }
}

device_ref find_device(k::u32 major, k::u32 minor) noexcept {
    table& t = devices();
    lwkt::spin_guard guard(t.lock);
    for (unsigned i = 0; i < t.count; i++)
        if (t.all[i]->major() == major && t.all[i]->minor() == minor) return t.all[i].share();
    return {};
}

device_ref nth_device(unsigned n) noexcept {
    table& t = devices();
    lwkt::spin_guard guard(t.lock);
    return n < t.count ? t.all[n].share() : device_ref();
}

k::status start_writing_back() noexcept {
    return lwkt::spawn("disk writer", 0, lwkt::normal_priority, write_back_for_ever, nullptr);
}

k::status write_all_back() noexcept {
    k::status first;
    for (unsigned n = 0;; n++) {
        const device_ref d = nth_device(n);
        if (!d) return first;
        if (const k::status done = d->cache().sync(); !done && first) first = done;
    }
}

} // namespace block
