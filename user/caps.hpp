// Services and messages for C++ (docs/caps.md): user/caps.h with handles that give back what they hold. Descriptors are
// closed and mappings undone when their handle ends; handles are moved, never copied. Nothing throws, nothing is
// allocated and no library is needed: what fails gives false, or a handle that is false, and errno says why.
#pragma once

#include "user/caps.h"

#include <errno.h>
#include <string.h>

namespace caps {

// What came with a message, or may: descriptors (of xio, rooms, shared memory) are closed, memory is unmapped.
class item {
  public:
    item() = default;
    explicit item(const caps_item& what) : what_(what) {}
    // As caps_room; false, and errno.
    static item make_room(uint64_t bytes, int flags = 0) {
        const int fd = caps_room(bytes, flags);
        return fd < 0 ? item() : item({CAPS_ROOM, fd, 0, bytes, CAPS_NOTHING, 0});
    }
    item(item&& other) noexcept : what_(other.what_) { other.what_ = nothing; }
    item& operator=(item&& other) noexcept {
        if (this != &other) close(), what_ = other.what_, other.what_ = nothing;
        return *this;
    }
    ~item() { close(); }

    explicit operator bool() const { return what_.kind != nothing.kind; }
    uint32_t kind() const { return what_.kind; }
    int fd() const { return what_.fd; }                              // CAPS_DESCRIPTOR, CAPS_ROOM, CAPS_SHARE
    char* data() const { return reinterpret_cast<char*>(what_.at); } // CAPS_MAPPED, CAPS_FILLED
    uint64_t bytes() const { return what_.bytes; }
    uint32_t fills() const { return what_.fills; }
    bool is_writable() const { return what_.flags & CAPS_WRITABLE; }
    void close() {
        if (kind() == CAPS_MAPPED)
            caps_unmap(&what_);
        else if (*this && kind() != CAPS_FILLED) // which is memory of our own
            ::close(what_.fd);
        what_ = nothing;
    }

  private:
    static constexpr caps_item nothing = {~0u, -1, 0, 0, CAPS_NOTHING, 0};
    caps_item what_ = nothing;
};

// What is sent, and what came. The items that came stay with it until they are taken, or it is sent, cleared, received
// into or ends.
class message {
  public:
    message() { clear(); }
    message(const message&) = delete; // it points into itself
    message& operator=(const message&) = delete;
    ~message() { let_go(); }

    // Empty, and no reply to anything.
    void clear() {
        let_go();
        m_ = {};
        m_.items = items_;
        m_.sender = &sender_;
        m_.item_room = CAPS_MOST_ITEMS;
    }
    // Empty, and the reply to what it was. `result`: 0 or an error number.
    void answer(int result = 0) {
        let_go();
        m_.text_bytes = 0;
        m_.result = result;
    }

    char* text() { return m_.text; }
    unsigned text_bytes() const { return m_.text_bytes; }
    // EMSGSIZE: longer than CAPS_MOST_TEXT.
    bool set_text(const void* from, size_t bytes) {
        if (bytes > sizeof m_.text) return errno = EMSGSIZE, false;
        memcpy(m_.text, from, bytes);
        m_.text_bytes = static_cast<uint32_t>(bytes);
        return true;
    }

    // One more item to be sent; what it names stays the caller's. E2BIG: there are CAPS_MOST_ITEMS.
    bool add(const caps_item& what) {
        drop_what_came();
        if (m_.item_count == CAPS_MOST_ITEMS) return errno = E2BIG, false;
        items_[m_.item_count++] = what;
        return true;
    }
    bool add_memory(const void* at, uint64_t bytes, uint32_t fills = CAPS_NOTHING) {
        return add({CAPS_MEMORY, -1, reinterpret_cast<uintptr_t>(at), bytes, fills, 0});
    }
    bool add_descriptor(int fd, uint64_t at, uint64_t bytes, uint32_t fills = CAPS_NOTHING) {
        return add({CAPS_DESCRIPTOR, fd, at, bytes, fills, 0});
    }
    bool add_room(void* at, uint64_t bytes) {
        return add({CAPS_ROOM, -1, reinterpret_cast<uintptr_t>(at), bytes, CAPS_NOTHING, 0});
    }
    bool pass_room(const item& room) { return add({CAPS_ROOM, room.fd(), 0, room.bytes(), CAPS_NOTHING, 0}); }
    // From now on both sides see it.
    bool add_shared(const item& room, bool writable) {
        return add({CAPS_SHARE, room.fd(), 0, 0, CAPS_NOTHING, writable ? CAPS_WRITABLE : 0});
    }
    // How long calls with this message wait at most; 0: as long as it takes. clear() forgets it.
    void set_timeout(uint64_t ns) { m_.timeout_ns = ns; }

    // How many items came, and each of them once.
    unsigned items() const { return came_; }
    item take(unsigned number) {
        if (number >= came_) return {};
        item taken(items_[number]);
        items_[number].kind = ~0u;
        return taken;
    }

    uint32_t kind() const { return m_.kind; }
    int result() const { return m_.result; }
    uint64_t id() const { return m_.id; }
    void set_id(uint64_t id) { m_.id = id; }
    const caps_sender& sender() const { return sender_; }

  private:
    friend class end;
    friend class client;
    friend class service;

    void let_go() {
        for (unsigned i = 0; i < came_; i++)
            take(i).close();
        came_ = m_.item_count = 0;
    }
    void drop_what_came() {
        if (came_) let_go();
    }
    bool received(int status, int flags) {
        if (status < 0) return false;             // it can be sent again as it is
        if (flags & CAPS_PEEK) m_.item_count = 0; // what is only looked at brings nothing
        came_ = m_.item_count;
        return true;
    }

    caps_message m_{};
    caps_sender sender_{};
    caps_item items_[CAPS_MOST_ITEMS];
    unsigned came_ = 0;
};

// What services and clients share: a descriptor, for poll(2).
class end {
  public:
    explicit operator bool() const { return fd() >= 0; }
    int fd() const { return held_.fd(); }
    void close() { held_.close(); }
    // The next thing that came: to a service, or a reply; at a client to m.id() alone, unless that is 0.
    bool get(message& m, int flags = 0) {
        m.let_go();
        return m.received(caps_get(fd(), &m.m_, flags), flags);
    }

  protected:
    explicit end(int fd) {
        if (fd >= 0) held_ = item({CAPS_DESCRIPTOR, fd, 0, 0, CAPS_NOTHING, 0});
    }

  private:
    item held_;
};

class client : public end {
  public:
    // As caps_connect; false, and errno.
    static client connect(const char* service, int flags = 0, uint64_t timeout_ns = 0) {
        return client(caps_connect(service, flags, timeout_ns));
    }
    // The reply stands in the same message.
    bool call(message& m, int flags = 0) {
        m.drop_what_came();
        return m.received(caps_call(fd(), &m.m_, &m.m_, flags), flags);
    }
    // m.id() names it then.
    bool put(message& m, int flags = 0) {
        m.drop_what_came();
        return caps_put(fd(), &m.m_, flags) == 0;
    }
    // As caps_abort: CAPS_REPLIED, REMOVED, FLAGGED or ENDED; -1, and errno.
    int abort(uint64_t id, int flags = 0) { return caps_abort(fd(), id, flags); }
    bool dispose(uint64_t id) { return caps_dispose(fd(), id) == 0; }

  private:
    explicit client(int fd) : end(fd) {}
};

class service : public end {
  public:
    // As caps_service; false, and errno.
    static service offer(const char* name, int flags) { return service(caps_service(name, flags)); }
    // `m` came from here, and became the answer. It is no reply to anything any more then.
    bool reply(message& m, int flags = 0) {
        m.drop_what_came();
        if (caps_reply(fd(), &m.m_, flags) < 0) return false;
        return m.m_.id = 0, true;
    }
    // Replies, if `m` came from here as something to be replied to, and gets the next.
    bool reply_wait(message& m, int flags = 0) {
        m.drop_what_came();
        if (m.kind() != CAPS_REQUEST && m.kind() != CAPS_CONNECTION) m.m_.id = 0;
        return m.received(caps_reply_wait(fd(), &m.m_, &m.m_, flags), flags);
    }

  private:
    explicit service(int fd) : end(fd) {}
};

} // namespace caps
