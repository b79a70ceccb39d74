// Reading a cached page in three ways: what the file system itself does, what its callers call, and by a message to the
// file's home, as what changes a name goes.
#pragma once

#include "kernel/mem/slab.h"
#include "sys/vm/object.h"
#include "tests/sys/vfs/world.h"

namespace vfs_test {

class cached_read {
  public:
    static constexpr k::u64 bytes = 4096;

    cached_read() {
        if (!w_ || !memory_ || w_.touch("file") != fine) return;
        auto from = xio::source::over_kernel(span());
        auto to = xio::sink::over_kernel(span());
        k::u64 at;
        auto found = w_.find("file");
        if (!from || !to || !found || !vfs::write(*found->node, {}, *from, at)) return;
        to_ = *std::move(to);
        file_ = std::move(found->node);
    }
    ~cached_read() {
        file_ = {};
        to_ = {};
        mem::free(memory_);
    }
    cached_read(const cached_read&) = delete;
    explicit operator bool() const { return static_cast<bool>(file_); }

    bool directly() { return file_->pages()->read(0, to_).bytes == bytes; }
    bool by_name_layer() {
        auto done = vfs::read(*file_, 0, to_);
        return done && *done == bytes;
    }
    bool by_message() {
        message m(*file_, to_);
        return w_.fs().call(m) && m.done == bytes;
    }

  private:
    struct message final : vfs::vop {
        message(vfs::vnode& from, xio::sink& where) noexcept : to(where) { nodes[0] = &from; }
        k::status run() noexcept override {
            done = TRY(vfs::read(*nodes[0], 0, to));
            return {};
        }
        xio::sink& to;
        k::u64 done = 0;
    };

    std::span<std::byte> span() { return {static_cast<std::byte*>(memory_), bytes}; }

    world w_;
    void* memory_ = mem::allocate(bytes);
    xio::sink to_;
    vfs::vnode_ref file_;
};

} // namespace vfs_test
