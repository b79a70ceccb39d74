// A line to a FUSE program whose program is the test.
#pragma once

#include "kernel/mem/slab.h"
#include "kernel/selftest/selftest.h"
#include "sys/userfs/fuse_connection.h"

#include <cstring>

namespace fuse_test {

using namespace vfs::fuse;

class line final : public connection {
  public:
    void last_holder_left() noexcept override { mem::destroy(this); }
    void changed() noexcept override {}
};

// The program's side. What it reads stands in `room`.
class program {
  public:
    static constexpr k::u64 room_bytes = (1 << 20) + 8192;

    program() : line_(mem::make<line>()), room_(static_cast<std::byte*>(mem::allocate(room_bytes))) {}
    ~program() {
        if (line_) line_->end({}, false);
        mem::free(room_);
    }
    explicit operator bool() const { return line_ && room_; }
    connection& operator*() { return *line_; }
    connection* operator->() { return line_.get(); }
    connection_ref share() const { return line_.share(); }

    // The next request: its head. EAGAIN: there is none.
    k::result<request_head> take() {
        xio::sink to = TRY(xio::sink::over_kernel({room_, room_bytes}));
        const k::u64 bytes = TRY(line_->read(to));
        request_head head;
        std::memcpy(&head, room_, sizeof(head));
        if (bytes != head.bytes) return k::error::io;
        return head;
    }
    k::result<request_head> wait_and_take() {
        line_->readers().wait([&] { return line_->ready() != 0; });
        return take();
    }
    // `claimed`: the length that the answer says it has.
    k::result<k::u64> answer(k::u64 unique, k::i32 error, std::span<const std::byte> bytes, k::u64 claimed) {
        const answer_head head{static_cast<k::u32>(claimed), error, unique};
        std::memcpy(room_, &head, sizeof(head));
        if (!bytes.empty()) std::memcpy(room_ + sizeof(head), bytes.data(), bytes.size());
        const xio::source from = TRY(xio::source::over_kernel({room_, sizeof(head) + bytes.size()}));
        return line_->write(from);
    }
    // Bytes that are no whole answer.
    k::result<k::u64> say(k::u64 bytes) {
        std::memset(room_, 0, bytes);
        const xio::source from = TRY(xio::source::over_kernel({room_, bytes}));
        return line_->write(from);
    }
    k::result<k::u64> answer(k::u64 unique, k::i32 error, std::span<const std::byte> bytes = {}) {
        return answer(unique, error, bytes, sizeof(answer_head) + bytes.size());
    }
    // Begins, and answers init as is usual.
    bool start() { return line_->begin({}, ~k::u64{0}) && answer_init(); }
    bool answer_init() {
        auto init = take();
        if (!init || init->opcode != opcode::init) return false;
        init_answer said{};
        said.major = major_version;
        said.minor = minor_version;
        said.most_write = 64 << 10;
        return bool(answer(init->unique, 0, std::as_bytes(std::span(&said, 1))));
    }

  private:
    const connection_ref line_;
    std::byte* const room_;
};

} // namespace fuse_test
