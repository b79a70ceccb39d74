#include "sys/userfs/fuse_request.h"

#include "kernel/mem/slab.h"
#include "sys/vm/object.h"

#include <cstring>

namespace vfs::fuse {

k::result<request_ref> request::make(const form& f) noexcept {
    auto* at = static_cast<request*>(mem::allocate(sizeof(request)));
    if (!at) return k::error::nomem;
    request_ref made(new (at) request);
    std::size_t bytes = sizeof(request_head) + f.arguments.size();
    for (unsigned i = 0; i < f.name_count; i++)
        bytes += f.names[i].size() + 1;
    made->head_ = static_cast<std::byte*>(mem::allocate(bytes));
    if (!made->head_) return k::error::nomem;
    if (f.how == taking::at_most && f.most > small) {
        auto* room = static_cast<std::byte*>(mem::allocate(f.most));
        if (!room) return k::error::nomem;
        made->room_ = room;
    }
    const request_head head{.bytes = static_cast<k::u32>(bytes),
                            .opcode = f.opcode,
                            .unique = 0,
                            .node = f.node,
                            .uid = f.uid.value_or(0),
                            .gid = f.gid.value_or(0),
                            .pid = 0,
                            .unused = 0};
    std::byte* to = made->head_;
    std::memcpy(to, &head, sizeof(head));
    to += sizeof(head);
    if (!f.arguments.empty()) std::memcpy(to, f.arguments.data(), f.arguments.size());
    to += f.arguments.size();
    for (unsigned i = 0; i < f.name_count; i++) {
        std::memcpy(to, f.names[i].data(), f.names[i].size());
        to += f.names[i].size();
        *to++ = std::byte{0};
    }
    made->head_bytes_ = static_cast<k::u32>(bytes);
    made->how_ = f.how;
    made->counts_ = f.counts;
    made->most_ = f.most;
    made->node_ = f.node;
    made->other_ = f.other;
    made->opcode_ = f.opcode;
    made->is_for_another_ = f.uid.has_value();
    made->has_answer_ = f.opcode != opcode::forget && f.opcode != opcode::forget_many && f.opcode != opcode::retrieved;
    return made;
}

request::~request() {
    mem::free(head_);
    if (room_ != small_room_) mem::free(room_);
}

void request::last_holder_left() noexcept {
    this->~request();
    mem::free(this);
}

// What follows the head of an answer. EIO: not so many can have been asked for; EFAULT, ENOMEM.
k::status request::take(const xio::source& from) noexcept {
    const k::u64 bytes = from.size() - sizeof(answer_head);
    const bool fits = how_ == taking::nothing ? bytes == 0 : how_ == taking::exactly ? bytes == most_ : bytes <= most_;
    if (!fits) return k::error::io;
    answered_ = bytes;
    if (!bytes) return {};
    if (how_ != taking::pages) return from.read(sizeof(answer_head), {room_, bytes});
    pages_ = TRY(in_fresh_pages(TRY(from.slice(sizeof(answer_head), bytes))));
    return {};
}

k::result<xio::source> in_fresh_pages(const xio::source& bytes) noexcept {
    const k::u64 count = k::align_up(bytes.size(), k::u64{arch::page_size}) >> arch::page_shift;
    xio::sink to;
    {
        auto** const fresh = static_cast<vm::page**>(mem::allocate(count * sizeof(vm::page*)));
        if (!fresh) return k::error::nomem;
        k::u64 n = 0;
        while (n < count && (fresh[n] = vm::user_page(vm::fill::any).release()))
            n++;
        auto over = n == count ? xio::sink::over_pages({fresh, count}, 0, count << arch::page_shift)
                               : k::result<xio::sink>(k::error::nomem);
        for (k::u64 i = 0; i < n; i++)
            (void)vm::page_ref(fresh[i]); // the sink's alone from here on
        mem::free(fresh);
        to = TRY(std::move(over));
    }
    const xio::moved m = xio::copy_some(bytes, to, xio::reason::page_in);
    if (m.bytes != bytes.size()) return m.status ? k::error::io : m.status.error();
    if (m.bytes < to.size()) TRY(to.zero(m.bytes, to.size() - m.bytes));
    return to.into_source();
}

} // namespace vfs::fuse
