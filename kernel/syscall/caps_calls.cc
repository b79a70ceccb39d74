// Calls of our own: services and messages that carry xio (docs/caps.md; user/caps.h has them for programs).
//
// What a message carries becomes descriptors, mappings or bytes in place at its receiver before it counts as received:
// if any of that fails, it is as if it had not been got.
#include "kernel/files/caps_file.h"
#include "kernel/files/room_file.h"
#include "kernel/files/stored_file.h"
#include "kernel/files/xio_file.h"
#include "kernel/syscall/calls.h"
#include "kernel/syscall/file_arguments.h"
#include "sys/vm/loan.h"
#include "sys/xio/walk.h"

namespace syscalls {

namespace {

using caps::message, caps::message_ref, caps::message_id;
using vm::user_pointer;

// --- What programs see (user/caps.h)

enum end_flag : k::u64 {
    end_access = 7, // caps::access
    end_exclusive = 8,
    end_asks = 0x10,
    end_inherited = 0x20,
    end_waits = 0x40,
    end_file = files::open_nonblock | files::open_cloexec,
};
enum message_flag : k::u64 {
    dont_wait = 1,
    peek = 2,
    map_sources = 4,
    receipt = 8,
    close_on_exec = files::open_cloexec,
};
constexpr k::u64 abort_hard = 1;

enum class item_kind : k::u32 {
    memory,     // sent: bytes at an address, as they are now
    descriptor, // sent: of an xio, a room or a file, from `at` on; received: an xio
    room,       // sent: so many bytes at an address may be filled by the reply; received: a room to be filled
    share,      // sent and received: a room that both sides see
    mapped,     // received: an xio that was mapped
    filled,     // received: bytes that were put where the request had room for them
};
constexpr k::u32 share_writable = 1; // item_record::flags
constexpr k::u64 share_from = 4;     // pages: from here on memory is lent as a snapshot, which the receiver can share

struct item_record {
    item_kind kind;
    int fd;
    k::u64 at, bytes;
    k::u32 fills; // of a reply: the number of the request's item that it is for; no_item: for none
    k::u32 flags;
};
static_assert(sizeof(item_record) == 32);
constexpr k::u32 no_item = ~k::u32{0};

enum class message_kind : k::u32 { request, connection, aborted, fetched, reply, returned };

struct message_head {
    message_id id;
    xio::user_address items, sender; // 0: none
    k::u64 timeout_ns;               // 0: none
    int result;                      // an error number
    message_kind kind;
    k::u32 text_bytes;
    k::u32 item_count, item_room;
    k::u32 unused[3];
};
static_assert(sizeof(message_head) == 64); // the text follows

struct sender_record {
    int pid;
    k::u32 uid, gid, group_count, groups[caps::most_groups];
};
static_assert(sizeof(sender_record) == 80);

vm::space& own_space() noexcept {
    return static_cast<vm::space&>(callers_memory());
}

// What a program's structure says: its head, and as much of the text as most messages have, which come and go together.
struct letter {
    static constexpr k::u64 usual_text = 64;

    message_head head;
    std::byte text[usual_text];

    k::status read(xio::user_address from) noexcept {
        if (callers_memory().copy_in(this, from, sizeof(letter)) != sizeof(letter)) return k::error::fault;
        return {};
    }
    k::status write_head(xio::user_address to) const noexcept { return copy_out(to, &head, sizeof(head)); }
    static k::status copy_out(xio::user_address to, const void* from, k::u64 bytes) noexcept {
        if (callers_memory().copy_out(to, from, bytes) != bytes) return k::error::fault;
        return {};
    }
};
static_assert(sizeof(letter) == 128);

// In user memory.
using letter_address = user_buffer;

// How long a call waits. A time-out counts from its first beginning when it begins anew after a signal without a
// handler; with one it ends, as calls with time-outs do.
class call_wait {
  public:
    explicit call_wait(k::u64 timeout_ns) noexcept : timed_(timeout_ns != 0), how_{.interrupted = proc::interrupted} {
        if (timed_) how_.deadline = proc::deadline_of_call(proc::current(), ktime::after(timeout_ns));
    }
    call_wait(const files::file& f, k::u64 flags, k::u64 timeout_ns) noexcept : call_wait(timeout_ns) {
        if ((flags & dont_wait) || f.nonblocking()) how_.deadline = caps::at_once;
    }
    // Of a call, which waits for its reply in any case, only not for room.
    static call_wait for_reply(const files::file& f, k::u64 flags, k::u64 timeout_ns) noexcept {
        call_wait made(timeout_ns);
        made.how_.only_if_room = (flags & dont_wait) || f.nonblocking();
        return made;
    }
    operator const caps::waiting&() const noexcept { return how_; }

    // Hands the outcome on.
    template <class Outcome> Outcome finish(Outcome outcome) const noexcept {
        if (timed_ && !outcome && outcome.error() == k::error::intr) [[unlikely]] {
            proc::current().restart_deadline = how_.deadline;
            proc::current().signals.end_call_after_handler();
        }
        return outcome;
    }

  private:
    bool timed_;
    caps::waiting how_;
};

// --- Sending

// Where the rooms of a request are in the caller's memory, by the number of the item.
class rooms {
  public:
    void set(unsigned index, const xio::user_range& where) noexcept {
        at_[index] = where;
        there_ |= 1u << index;
    }
    const xio::user_range* find(unsigned index) const noexcept {
        return index < caps::most_items && there_ >> index & 1 ? &at_[index] : nullptr;
    }

  private:
    k::u32 there_ = 0;
    xio::user_range at_[caps::most_items]; // those whose bit is set
};

bool is_length(k::u64 bytes) {
    return bytes && bytes <= files::most_xio_bytes;
}

k::result<xio::source> bytes_of_file(files::file& f, k::u64 offset, k::u64 bytes) {
    if (!f.readable()) return k::error::badf;
    auto lent =
        f.kind() == files::file_kind::xio ? files::xio_of(f, offset, bytes) : files::lend_from(f, offset, bytes);
    if (!lent && lent.error() == k::error::again) return k::error::opnotsupp; // a file without pages
    xio::source got = TRY(std::move(lent));
    if (got.empty()) return k::error::inval;
    return got;
}

// Of a room too. With a reply they leave it (empty_rooms()), so that a client can have the pages for its own; that is
// done when nothing else can go wrong.
k::status add_descriptor(message& m, const item_record& r, k::u8 fills, bool is_reply) {
    files::file_use f = TRY(files::callers_file(r.fd));
    if (f->kind() != files::file_kind::room) return m.add(TRY(bytes_of_file(*f, r.at, r.bytes)), fills);
    files::room_view room = TRY(files::room_of(*f));
    if (is_reply && !room.writable) return k::error::badf;
    if (is_reply && r.at) return k::error::inval;
    TRY(m.add(TRY(files::lend_from_room(room, r.at, r.bytes)), fills));
    if (is_reply) m.at(m.items() - 1).memory = std::move(room.memory);
    return {};
}

void empty_rooms(message& reply) noexcept {
    for (unsigned i = 0; i < reply.items(); i++) {
        caps::item& it = reply.at(i);
        if (it.what != caps::right::read || !it.memory) continue;
        files::empty_room(*it.memory, it.bytes);
        it.memory = {};
    }
}

// Room in the caller's memory, or one that it was given and passes on.
k::status add_room(message& m, const item_record& r, rooms& where) {
    if (r.fd < 0) {
        where.set(m.items(), {r.at, r.bytes});
        return m.add_room(r.bytes);
    }
    const files::room_view room = TRY(files::room_of(*TRY(files::callers_file(r.fd))));
    if (!room.writable) return k::error::badf;
    if (r.bytes > room.bytes) return k::error::inval;
    return m.add_room(r.bytes, room.memory.share());
}

k::status add_shared(message& m, const item_record& r) {
    files::room_view room = TRY(files::room_of(*TRY(files::callers_file(r.fd))));
    const bool writable = r.flags & share_writable;
    if (writable && !room.writable) return k::error::badf;
    return m.add_shared(std::move(room.memory), room.bytes, writable);
}

// `where`: of a request; null: of a reply, which offers no room.
k::status add_item(message& m, const item_record& r, rooms* where) {
    const auto fills = static_cast<k::u8>(where || r.fills >= caps::most_items ? caps::item::for_nothing : r.fills);
    if (r.kind == item_kind::share) return add_shared(m, r);
    if (!is_length(r.bytes)) return k::error::inval;
    switch (r.kind) {
    case item_kind::memory: {
        const one_range range({r.at}, r.bytes);
        return m.add(
            TRY(vm::bind_source(own_space(), range.source(), xio::stability::stable, arch::page_size + 1, share_from)),
            fills);
    }
    case item_kind::descriptor: return add_descriptor(m, r, fills, !where);
    case item_kind::room:
        if (!where) return k::error::inval;
        return add_room(m, r, *where);
    default: return k::error::inval;
    }
}

void say_who(caps::identity& to) {
    proc::process& p = proc::current_process();
    (void)p.who.change([&](const proc::credentials& who) -> k::status {
        to.set(p.pid, who.user.effective, who.group.effective,
               who.more_groups ? who.more_groups->groups() : std::span<const k::u32>());
        return {};
    });
}

// Fills a message with what the letter, read from `at`, says.
k::status load(message& m, const letter& l, xio::user_address at, rooms* where) {
    const message_head& h = l.head;
    if (h.text_bytes > caps::most_inline) return k::error::msgsize;
    if (h.item_count > caps::most_items) return k::error::toobig;
    std::memcpy(m.room().data(), l.text, sizeof(l.text));
    if (h.text_bytes > sizeof(l.text)) {
        const k::u64 rest = h.text_bytes - sizeof(l.text);
        if (callers_memory().copy_in(m.room().data() + sizeof(l.text), at + sizeof(l), rest) != rest)
            return k::error::fault;
    }
    m.set_bytes(h.text_bytes);
    for (k::u32 i = 0; i < h.item_count; i++)
        TRY(add_item(m, TRY((user_pointer<const item_record>(h.items) + i).read(callers_memory())), where));
    if (!where) empty_rooms(m);
    say_who(m.from);
    return {};
}

// --- Receiving

// What a receiver was given, taken back unless that was all good.
class unloading {
  public:
    explicit unloading(k::u64 flags) noexcept : flags_(flags) {}
    ~unloading() {
        if (good_) return;
        for (unsigned i = 0; i < count_; i++)
            take_back(records_[i]);
    }
    unloading(const unloading&) = delete;

    // Everything that the message has, with a head that says the rest, to `to`. `where`: the request's rooms, of which
    // those in the reply's items are filled; null: none. EMSGSIZE: there is no room for the items; the head says how
    // many.
    k::status unload(message& m, letter& l, xio::user_address to, const rooms* where) noexcept {
        message_head& h = l.head;
        const std::span<const std::byte> text = m.text();
        h.text_bytes = static_cast<k::u32>(text.size());
        if (m.items() > h.item_room) {
            h.item_count = m.items();
            (void)l.write_head(to);
            return k::error::msgsize;
        }
        for (unsigned i = 0; i < m.items(); i++) {
            const item_record given = TRY(give(m, i, where)); // before it counts as one to be taken back
            records_[count_++] = given;
        }
        h.item_count = count_;
        if (count_) TRY(letter::copy_out(h.items, records_, count_ * sizeof(item_record)));
        if (h.sender) TRY(tell_sender(h.sender, m.from));
        const k::u64 usual = std::min(text.size(), sizeof(l.text));
        std::memcpy(l.text, text.data(), sizeof(l.text));
        TRY(letter::copy_out(to, &l, sizeof(h) + usual));
        if (text.size() > usual) TRY(letter::copy_out(to + sizeof(l), text.data() + usual, text.size() - usual));
        return {};
    }
    void keep() noexcept { good_ = true; }

  private:
    k::result<item_record> give(message& m, unsigned index, const rooms* where) noexcept {
        caps::item& it = m.at(index);
        item_record out{item_kind::descriptor, -1, 0, it.bytes, it.fills < caps::most_items ? it.fills : no_item, 0};
        switch (it.what) {
        case caps::right::read: {
            xio::source bytes = TRY(m.source(index));
            if (const xio::user_range* room = where ? where->find(it.fills) : nullptr) {
                out.kind = item_kind::filled;
                out.at = room->base;
                out.bytes = TRY(fill(*room, bytes));
            } else if (flags_ & map_sources) {
                out.kind = item_kind::mapped;
                out.at = TRY(map(bytes));
            } else {
                out.fd = TRY(give_file(TRY(files::make_xio_file(std::move(bytes)))));
            }
            return out;
        }
        case caps::right::fill: return k::error::opnotsupp; // of kernel threads among themselves
        case caps::right::room:
            out.kind = item_kind::room;
            if (!it.memory) it.memory = TRY(files::memory_for_room(it.bytes));
            out.fd = TRY(give_file(TRY(files::make_room_file(it.bytes, it.memory.share()))));
            return out;
        case caps::right::share:
            out.kind = item_kind::share;
            out.flags = it.writable ? share_writable : 0;
            out.fd = TRY(give_file(TRY(files::make_room_file(it.bytes, it.memory.share(), it.writable))));
            return out;
        }
        return k::error::inval;
    }
    k::result<int> give_file(files::file_ref f) noexcept {
        return files::give_to_caller(std::move(f), flags_ & close_on_exec);
    }
    // Whole pages become the caller's own, where they lie alike on both sides.
    static k::result<k::u64> fill(const xio::user_range& at, const xio::source& bytes) noexcept {
        const one_range range({at.base}, at.bytes);
        xio::sink sink = range.sink();
        const xio::moved m = vm::deliver(own_space(), sink, bytes, arch::page_size);
        if (!m.status) return m.status.error();
        return m.bytes;
    }
    // Fresh memory in which the bytes lie as in the sender's pages, so that all but the ends can be shown as they are.
    static k::result<k::u64> map(const xio::source& bytes) noexcept {
        if (auto at = vm::map_whole(own_space(), bytes); at || at.error() != k::error::again) return at;
        const k::u64 offset = reinterpret_cast<std::uintptr_t>(xio::walker(bytes).address()) % arch::page_size;
        vm::map_request what{.bytes = offset + bytes.size()};
        const k::u64 at = TRY(own_space().map(what)) + offset;
        const k::u64 lead = offset ? std::min(bytes.size(), arch::page_size - offset) : 0;
        const auto show = [&](k::u64 from, k::u64 count) -> k::status {
            if (count) TRY(fill({at + from, count}, TRY(bytes.slice(from, count))));
            return {};
        };
        k::status shown = show(0, lead);
        if (shown) shown = show(lead, bytes.size() - lead);
        if (shown) return at;
        unmap(at, bytes.size());
        return shown.error();
    }
    static void unmap(k::u64 at, k::u64 bytes) noexcept {
        const k::u64 base = k::align_down<k::u64>(at, arch::page_size);
        (void)own_space().unmap(base, k::align_up<k::u64>(at + bytes - base, arch::page_size));
    }
    static k::status tell_sender(xio::user_address at, const caps::identity& from) noexcept {
        sender_record out{from.pid, from.uid, from.gid, from.group_count, {}};
        std::copy_n(from.groups, std::min(from.group_count, caps::most_groups), out.groups);
        return user_pointer<sender_record>(at).write(callers_memory(), out);
    }
    static void take_back(const item_record& given) noexcept {
        if (given.fd >= 0) (void)files::callers_table().close(given.fd);
        if (given.kind == item_kind::mapped) unmap(given.at, given.bytes);
    }

    k::u64 flags_;
    unsigned count_ = 0;
    bool good_ = false;
    item_record records_[caps::most_items];
};

// Something that came to a service. Nobody can reply to it before the caller has all of it. Returns 0.
k::result<k::u64> receive_arrival(caps::service& s, const caps::waiting& how, letter_address to, letter& l,
                                  k::u64 flags, lwkt::successor& next) {
    caps::arrival a = TRY(s.get_claimed(how, next));
    l.head.id = a.id;
    l.head.result = 0;
    l.head.kind = static_cast<message_kind>(a.kind);
    if (!a.what) {
        l.head.text_bytes = l.head.item_count = 0;
        const k::status told = l.write_head(to.at);
        if (!told || (flags & peek)) s.put_back(std::move(a));
        if (!told) return told.error();
        return 0;
    }
    unloading receiver(flags);
    const k::status got = receiver.unload(*a.what, l, to.at, nullptr);
    if (!got || (flags & peek)) {
        s.put_back(std::move(a));
        if (!got) return got.error();
        return 0;
    }
    receiver.keep();
    a.what->clear(); // the caller holds what it brought
    s.cancel_reply(*a.what);
    return 0;
}

k::status finish_reply(message& m, letter& l, letter_address to, const rooms* where, k::u64 flags) {
    message_head& h = l.head;
    h.id = m.client_id();
    h.kind = m.answered() ? message_kind::reply : message_kind::returned;
    h.result = m.result() ? 0 : static_cast<int>(m.result().error());
    if (!m.answered()) { // what it asked comes back as it was, and is of no interest
        h.text_bytes = h.item_count = 0;
        return l.write_head(to.at);
    }
    unloading receiver(flags);
    TRY(receiver.unload(m, l, to.at, where));
    if (!(flags & peek)) receiver.keep();
    return {};
}

k::result<k::u64> receive_reply(caps::client& c, const caps::waiting& how, letter_address to, letter& l, k::u64 flags) {
    message_ref m = TRY(c.get(l.head.id, how));
    const k::status got = finish_reply(*m, l, to, nullptr, flags);
    if (got && !(flags & peek)) {
        c.done(*m);
        files::give_back_message(c, std::move(m));
        return 0;
    }
    c.put_back(std::move(m));
    if (!got) return got.error();
    return 0;
}

// --- Ends

constexpr k::u64 longest_name_argument = caps::longest_name + 1;

k::result<std::string_view> read_name(user_text at, char (&buffer)[longest_name_argument]) {
    auto name = vm::read_user_text(callers_memory(), at.at, buffer);
    if (!name && name.error() == k::error::nametoolong) return k::error::inval;
    return name;
}

k::u32 file_flags(bits flags) {
    return static_cast<k::u32>(flags.value & files::open_nonblock);
}

k::result<k::u64> give(files::file_ref what, bits flags) {
    return static_cast<k::u64>(TRY(files::give_to_caller(std::move(what), flags.value & files::open_cloexec)));
}

k::result<k::u64> sys_caps_service(user_text name, bits flags) {
    constexpr k::u64 known = end_access | end_exclusive | end_asks | end_inherited | end_file;
    if (flags.value & ~known || !(flags.value & end_access)) return k::error::inval;
    char text[longest_name_argument];
    const proc::credentials who = proc::current_process().who.read();
    const caps::terms t{.name = TRY(read_name(name, text)),
                        .uid = who.user.effective,
                        .gid = who.group.effective,
                        .admits = static_cast<k::u8>(flags.value & end_access),
                        .exclusive = (flags.value & end_exclusive) != 0,
                        .sinks = false, // a process has no way to fill one
                        .asks = (flags.value & end_asks) != 0};
    return give(TRY(files::make_caps_service(t, file_flags(flags), flags.value & end_inherited)), flags);
}

k::result<k::u64> sys_caps_connect(user_text name, bits flags, k::u64 timeout_ns) {
    constexpr k::u64 known = end_access | end_inherited | end_waits | end_file;
    if (flags.value & ~known) return k::error::inval;
    char text[longest_name_argument];
    proc::process& p = proc::current_process();
    const proc::credentials who = p.who.read();
    const auto seeks = static_cast<k::u8>(flags.value & end_access);
    const caps::wish w{.name = TRY(read_name(name, text)),
                       .seeks = seeks ? seeks : k::u8{end_access},
                       .waits = (flags.value & end_waits) != 0,
                       .pid = p.pid,
                       .uid = who.user.effective,
                       .gid = who.group.effective,
                       .groups = who.more_groups ? who.more_groups->groups() : std::span<const k::u32>()};
    const call_wait how(timeout_ns);
    return give(TRY(how.finish(files::make_caps_client(w, how, file_flags(flags), flags.value & end_inherited))),
                flags);
}

k::result<k::u64> sys_caps_room(k::u64 bytes, bits flags) {
    if (flags.value & ~close_on_exec || !bytes || bytes > files::most_room_bytes) return k::error::inval;
    return give(TRY(files::make_room_file(bytes)), flags);
}

// --- Messages

k::result<k::u64> sys_caps_put(fd to, letter_address request, bits flags) {
    if (flags.value & ~k::u64{dont_wait}) return k::error::inval;
    file_use f = TRY(files::callers_file(to.number));
    caps::client& c = *TRY(files::caps_client_of(*f));
    letter l;
    TRY(l.read(request.at));
    const call_wait how(*f, flags.value, l.head.timeout_ns);
    message_ref m = TRY(files::message_for(c));
    rooms where;
    TRY(load(*m, l, request.at, &where));
    TRY(user_pointer<message_id>(request.at).write(callers_memory(), 0)); // can it be written?
    const message_id id = TRY(how.finish(c.put(std::move(m), how)));
    const k::status told = user_pointer<message_id>(request.at).write(callers_memory(), id);
    if (told) return 0;
    (void)c.dispose(id); // not any more: nobody could ask for the reply
    return told.error();
}

k::result<k::u64> sys_caps_get(fd from, letter_address to, bits flags) {
    if (flags.value & ~(dont_wait | peek | map_sources | close_on_exec)) return k::error::inval;
    file_use f = TRY(files::callers_file(from.number));
    letter l;
    TRY(l.read(to.at));
    const call_wait how(*f, flags.value, l.head.timeout_ns);
    if (f->kind() == files::file_kind::caps_client)
        return how.finish(receive_reply(*TRY(files::caps_client_of(*f)), how, to, l, flags.value));
    lwkt::successor nobody;
    return how.finish(receive_arrival(*TRY(files::caps_service_of(*f)), how, to, l, flags.value, nobody));
}

k::result<k::u64> sys_caps_call(fd to, letter_address request, letter_address reply, bits flags) {
    if (flags.value & ~(dont_wait | map_sources | close_on_exec)) return k::error::inval;
    file_use f = TRY(files::callers_file(to.number));
    caps::client& c = *TRY(files::caps_client_of(*f));
    letter l;
    TRY(l.read(request.at));
    const call_wait how = call_wait::for_reply(*f, flags.value, l.head.timeout_ns);
    message_ref m = TRY(files::message_for(c));
    rooms where;
    TRY(load(*m, l, request.at, &where));
    if (reply.at != request.at) TRY(l.read(reply.at));
    TRY(how.finish(c.call(m, how)));
    TRY(finish_reply(*m, l, reply, &where, flags.value));
    files::give_back_message(c, std::move(m));
    return 0;
}

// Replies to what the letter names. With `next`: the caller will sleep at once.
k::status reply_with(caps::service& s, const letter& l, xio::user_address at, k::u64 flags, lwkt::successor* next) {
    const int result = l.head.result;
    if (result < 0 || result > 4095) return k::error::inval;
    mem::box<caps::notice> wanted;
    if ((flags & receipt) && !(wanted = caps::service::receipt_for(l.head.id))) return k::error::nomem;
    message_ref m = TRY(s.begin_reply(l.head.id));
    if (const k::status good = load(*m, l, at, nullptr); !good) {
        m->clear();
        s.cancel_reply(*m);
        return good;
    }
    const k::status says = result ? k::status(static_cast<k::error>(result)) : k::status();
    return s.reply(std::move(m), says, std::move(wanted), next);
}

k::result<k::u64> sys_caps_reply(fd to, letter_address reply, bits flags) {
    if (flags.value & ~k::u64{receipt}) return k::error::inval;
    file_use f = TRY(files::callers_file(to.number));
    caps::service& s = *TRY(files::caps_service_of(*f));
    letter l;
    TRY(l.read(reply.at));
    TRY(reply_with(s, l, reply.at, flags.value, nullptr));
    return 0;
}

k::result<k::u64> sys_caps_reply_wait(fd at, letter_address reply, letter_address next, bits flags) {
    if (flags.value & ~(dont_wait | map_sources | receipt | close_on_exec)) return k::error::inval;
    file_use f = TRY(files::callers_file(at.number));
    caps::service& s = *TRY(files::caps_service_of(*f));
    letter l;
    TRY(l.read(reply.at));
    const message_id id = l.head.id;
    lwkt::successor client;
    if (id) {
        const bool sleeps = !(flags.value & dont_wait) && next.at == reply.at; // without touching memory before
        const k::status sent = reply_with(s, l, reply.at, flags.value, sleeps ? &client : nullptr);
        if (!sent && sent.error() != k::error::canceled) return sent.error(); // nobody wanted it: that was told
    }
    const auto get = [&]() -> k::result<k::u64> {
        if (next.at != reply.at) TRY(l.read(next.at));
        const call_wait how(*f, flags.value, l.head.timeout_ns);
        return how.finish(receive_arrival(s, how, next, l, flags.value, client));
    };
    auto got = get();
    // The reply is out: who begins anew must not send it again, nor reply to what could not be received.
    if (!got && (id || next.at == reply.at)) TRY(user_pointer<message_id>(reply.at).write(callers_memory(), 0));
    return got;
}

k::result<k::u64> sys_caps_abort(fd of, message_id which, bits flags) {
    if (flags.value & ~abort_hard) return k::error::inval;
    file_use f = TRY(files::callers_file(of.number));
    caps::client& c = *TRY(files::caps_client_of(*f));
    return static_cast<k::u64>(TRY(c.abort(which, flags.value & abort_hard, {.interrupted = proc::interrupted})));
}

k::result<k::u64> sys_caps_dispose(fd of, message_id which) {
    file_use f = TRY(files::callers_file(of.number));
    caps::client& c = *TRY(files::caps_client_of(*f));
    TRY(c.dispose(which));
    return 0;
}

constexpr entry entries[] = {
    call<sys_caps_service>(own_calls + 2, "caps_service"),
    call<sys_caps_connect>(own_calls + 3, "caps_connect", restarts),
    call<sys_caps_put>(own_calls + 4, "caps_put", restarts),
    call<sys_caps_get>(own_calls + 5, "caps_get", restarts),
    call<sys_caps_reply>(own_calls + 6, "caps_reply"),
    call<sys_caps_call>(own_calls + 7, "caps_call", restarts, "ECANCELED: a signal came after the server had taken it"),
    call<sys_caps_reply_wait>(own_calls + 8, "caps_reply_wait", restarts),
    call<sys_caps_abort>(own_calls + 9, "caps_abort", restarts),
    call<sys_caps_dispose>(own_calls + 10, "caps_dispose"),
    call<sys_caps_room>(own_calls + 11, "caps_room"),
};

} // namespace

constinit const std::span<const entry> caps_calls = entries;

} // namespace syscalls
