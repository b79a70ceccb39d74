#include "drivers/virtio_blk/driver.h"

#include "drivers/block/registry.h"
#include "drivers/block/removal.h"
#include "drivers/virtio/pci_transport.h"
#include "drivers/virtio_blk/disk.h"

namespace virtio_blk {

namespace {

constexpr k::u16 device_block = 2;

bool wants(const pci::function& f) noexcept {
    return virtio::is_on(f, device_block);
}

k::status attach(pci::function& f) noexcept {
    auto bus = TRY(virtio::pci_transport::create(f));
    auto made = TRY(disk::create(mem::box<virtio::transport>(bus.release())));
    auto disks = mem::make_box<block::removable_disks>();
    if (!disks) return k::error::nomem;
    disks->add(made.share());
    TRY(block::add_disk(std::move(made), block::virtio_disks));
    f.set_user(mem::box<pci::user>(disks.release()));
    return {};
}

} // namespace

constinit const pci::driver driver{"virtio disk", wants, attach};

} // namespace virtio_blk
