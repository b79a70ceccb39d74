// The bytes of files in a program that speaks FUSE.
#include "sys/userfs/fuse_server_priv.h"
#include "sys/vfs/data.h"

namespace vfs::userfs {

k::result<xio::source> fuse_server::read_once(k::u64 node, k::u64 handle, k::u32 flags, k::u64 offset, k::u64 bytes,
                                              k::u64& got) noexcept {
    TRY(start());
    const k::u64 most = std::min(bytes, most_read());
    const fuse::read_question how{.handle = handle,
                                  .offset = offset,
                                  .bytes = static_cast<k::u32>(most),
                                  .read_flags = 0,
                                  .lock_owner = 0,
                                  .flags = flags,
                                  .unused = 0};
    const request_ref r = TRY(
        ask({.opcode = opcode::read, .node = node, .arguments = bytes_of(how), .how = taking::pages, .most = most}));
    got = r->answered();
    return std::move(r->pages());
}

k::result<xio::source> fuse_server::read(k::u64 node, k::u64 offset, k::u64 bytes) noexcept {
    const handle_ref by = TRY(any_handle(node, false));
    xio::source all;
    for (k::u64 done = 0; done < bytes;) {
        k::u64 got = 0;
        xio::source part = TRY(read_once(node, of(*by).number(), of(*by).flags(), offset + done, bytes - done, got));
        all = all.empty() ? std::move(part) : TRY(xio::source::append(all, part));
        if (got < std::min(bytes - done, most_read())) break;
        done += got;
    }
    return all;
}

k::result<k::u64> fuse_server::write_once(k::u64 node, const handle& by, k::u32 write_flags, k::u64 offset,
                                          xio::source bytes, ktime::ns deadline) noexcept {
    const k::u64 count = bytes.size();
    const fuse::write_question how{.handle = by.number(),
                                   .offset = offset,
                                   .bytes = static_cast<k::u32>(count),
                                   .read_flags = write_flags,
                                   .lock_owner = 0,
                                   .flags = by.flags(),
                                   .unused = 0};
    const request_ref r = TRY(ask({.opcode = opcode::write,
                                   .node = node,
                                   .arguments = bytes_of(how),
                                   .how = taking::exactly,
                                   .most = sizeof(fuse::write_answer),
                                   .counts = true},
                                  std::move(bytes), deadline));
    const k::u64 wrote = r->value<fuse::write_answer>().bytes;
    if (wrote > count) return k::error::io;
    return wrote;
}

k::status fuse_server::write(question& q) noexcept {
    const handle_ref by = TRY(any_handle(q.head.node, true, ktime::after(q.patience)));
    TRY(start());
    for (k::u64 done = 0; done < q.bytes.size();) {
        const k::u64 part = std::min(q.bytes.size() - done, most_write());
        const k::u64 wrote =
            TRY(write_once(q.head.node, of(*by), q.was_stored ? k::u32{fuse::write_was_cached} : 0,
                           q.head.offset + done, TRY(q.bytes.slice(done, part)), ktime::after(q.patience)));
        if (!wrote) return k::error::io;
        done += wrote;
    }
    return {};
}

k::result<k::u64> fuse_server::find_there(k::u64 node, k::u64 from, bool kept) noexcept {
    if (!has(skill::seek)) return k::error::opnotsupp;
    const handle_ref by = TRY(any_handle(node, false));
    const fuse::seek_question how{of(*by).number(), from, kept ? fuse::to_data : fuse::to_hole, 0};
    auto said = ask_for<fuse::seek_answer>({.opcode = opcode::seek, .node = node, .arguments = bytes_of(how)});
    if (!said && said.error() == k::error::nosys) {
        lacks(skill::seek);
        return k::error::opnotsupp;
    }
    if (!said) return said.error();
    if (said->offset < from || said->offset > most_file_bytes) return k::error::io;
    return said->offset;
}

k::status fuse_server::allocate(k::u64 node, k::u32 mode, k::u64 offset, k::u64 bytes) noexcept {
    if (!has(skill::allocate)) return k::error::opnotsupp;
    const handle_ref by = TRY(any_handle(node, true));
    const fuse::allocate_question how{of(*by).number(), offset, bytes, mode, 0};
    auto said = ask({.opcode = opcode::allocate, .node = node, .arguments = bytes_of(how), .counts = true});
    if (said) return {};
    if (said.error() != k::error::nosys) return said.error();
    lacks(skill::allocate);
    return k::error::opnotsupp;
}

} // namespace vfs::userfs
