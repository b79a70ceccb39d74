#include "kernel/proc/boot_files.h"

#include "arch/machine.h"
#include "kernel/lib/log.h"
#include "kernel/mem/slab.h"

#include <algorithm>

namespace proc {

namespace {

// There from boot on; immutable then, but for the objects.
struct state {
    boot_archive archive;
    lwkt::token token;
    k::ref<vm::object>* objects GUARDED_BY(token) = nullptr; // one a file, made when it is asked for
};
state* boot = nullptr;

} // namespace

bool open_boot_archive() noexcept {
    boot = mem::make<state>();
    if (!boot) k::panic("no memory for the boot archive");
    const auto modules = arch::boot::modules();
    const auto module = std::ranges::find(modules, "initrd", &arch::boot_module::name);
    if (module == modules.end()) return false;
    auto archive = boot_archive::parse(module->bytes);
    if (!archive) {
        k::log("initrd: no memory for its index\n");
        return false;
    }
    boot->archive = std::move(*archive);
    k::log("initrd: {} files in {} KiB\n", boot->archive.files().size(), module->bytes.size() >> 10);
    return true;
}

const boot_archive& boot_files() noexcept {
    return boot->archive;
}

k::result<k::ref<vm::object>> object_of(const archive_file& file) noexcept {
    const auto files = boot->archive.files();
    // Hard links share the object of the first.
    const std::size_t index = file.inode - 1;
    kassert(&file >= files.data() && index < files.size());
    lwkt::token_hold hold(boot->token);
    if (!boot->objects) {
        auto* table = static_cast<k::ref<vm::object>*>(mem::allocate(files.size() * sizeof(k::ref<vm::object>)));
        if (!table) return k::error::nomem;
        for (std::size_t i = 0; i < files.size(); i++)
            new (&table[i]) k::ref<vm::object>;
        boot->objects = table;
    }
    k::ref<vm::object>& object = boot->objects[index];
    if (!object) object = TRY(vm::object::of_bytes(file.bytes));
    return object.share();
}

} // namespace proc
