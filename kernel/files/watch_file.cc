#include "kernel/files/watch_file.h"

#include "kernel/files/caller.h"
#include "kernel/files/requests.h"
#include "kernel/files/watch.h"
#include "kernel/mem/slab.h"

namespace files {

namespace {

class watch_file final : public file {
  public:
    watch_file(k::ref<event_queue> queue, k::u32 flags) noexcept
        : file(flags | open_read_only, file_kind::watches), queue_(std::move(queue)) {}
    ~watch_file() override { queue_->close(); }

    k::result<k::u64> read(xio::sink& to) noexcept override { return queue_->read(to, nonblocking()); }
    k::result<k::u64> ioctl(k::u32 request, k::u64 argument) noexcept override {
        if (request != request_bytes_waiting) return k::error::notty;
        TRY(answer(argument, static_cast<int>(std::min(queue_->bytes(), k::u64{0x7fff'ffff}))));
        return 0;
    }
    k::status describe(stat_record& out) noexcept override {
        out = simple_stat(0600, inode_);
        return {};
    }
    k::u32 ready() noexcept override { return queue_->ready(); }
    pollable* watched() noexcept override { return &queue_->watched(); }

    event_queue& queue() noexcept { return *queue_; }

  private:
    const k::u64 inode_ = fresh_inode();
    const k::ref<event_queue> queue_;
};

k::result<event_queue*> queue_of(file& f) noexcept {
    if (f.kind() != file_kind::watches) return k::error::inval;
    return &static_cast<watch_file&>(f).queue();
}

} // namespace

k::result<file_ref> make_watch_file(k::u32 flags) noexcept {
    k::ref<event_queue> queue(mem::make<event_queue>());
    if (!queue) return k::error::nomem;
    auto* made = mem::make<watch_file>(std::move(queue), flags);
    if (!made) return k::error::nomem;
    return file_ref(made);
}

k::result<int> add_watch(file& f, vfs::vnode& on, k::u32 mask) noexcept {
    event_queue& queue = *TRY(queue_of(f));
    return add_watch(on, queue, mask);
}

k::status remove_watch(file& f, int number) noexcept {
    event_queue& queue = *TRY(queue_of(f));
    k::ref<watch> w = queue.find(number);
    if (!w) return k::error::inval;
    node_watchers::end(*w);
    return {};
}

} // namespace files
