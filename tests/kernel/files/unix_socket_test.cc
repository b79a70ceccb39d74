// kernel/files/unix_socket: payload is lent and given, not copied; loans in a queue end; a queue of a socket that goes
// gives everything back.
#include "kernel/files/unix_socket.h"

#include "kernel/selftest/selftest.h"
#include "sys/vm/reaper.h"
#include "tests/kernel/files/io.h"
#include "tests/support/lender.h"

using files::socket_type;
using files::unix_socket;
using k::error;
using namespace tests;

namespace {

constexpr socket_type types[] = {socket_type::stream, socket_type::sequenced, socket_type::datagram};

struct pair {
    files::file_ref a, b;
    bool made = false;

    explicit pair(socket_type type, k::u32 flags = 0) {
        auto one = unix_socket::create(type), other = unix_socket::create(type);
        if (!one || !other) return;
        unix_socket::connect_pair(**one, **other);
        auto first = files::make_socket_file((*one).share(), flags),
             second = files::make_socket_file((*other).share(), flags);
        if (!first || !second) return;
        a = *std::move(first);
        b = *std::move(second);
        made = true;
    }
    explicit operator bool() const { return made; }
};

k::result<k::u64> send_all(files::file& to, lender& from) {
    in_space here(*from.s);
    xio::source all = xio::source::over_user(from.ranges);
    return to.write(all);
}

k::result<k::u64> receive_all(files::file& from, lender& to) {
    in_space here(*to.s);
    xio::sink all = xio::sink::over_user(to.ranges);
    return from.read(all);
}

} // namespace

SELFTEST(files, aligned_payload_goes_through_a_socket_uncopied) {
    for (const socket_type type : types) {
        pair s(type);
        lender from(100), to(500);
        REQUIRE(s);
        const bool lends = vm::worth_lending(*from.s, lent_bytes) && vm::thresholds().deliver <= lent_bytes;
        const k::u64 before = xio::read_ledger().copied_bytes();
        EXPECT_EQ(send_all(*s.a, from).value_or(0), lent_bytes);
        EXPECT(from.set(0, 7)); // it is not seen
        EXPECT_EQ(receive_all(*s.b, to).value_or(0), lent_bytes);
        if (lends) EXPECT(xio::read_ledger().copied_bytes() - before <= arch::page_size);
        for (unsigned i = 0; i < lent_pages; i++)
            EXPECT_EQ(to.page(i), 100 + i);
    }
}

SELFTEST(files, loans_in_a_socket_end) {
    for (const socket_type type : types) {
        pair s(type);
        lender from(100), to(500);
        REQUIRE(s);
        EXPECT_EQ(send_all(*s.a, from).value_or(0), lent_bytes);
        vm::reap_all_loans();
        EXPECT_EQ(from.s->payer().source_pages(), 0u);
        EXPECT_EQ(receive_all(*s.b, to).value_or(0), lent_bytes);
        EXPECT_EQ(to.page(lent_pages - 1), 100 + lent_pages - 1);
    }
}

SELFTEST(files, sockets_hold_nothing_when_they_are_gone) {
    for (const socket_type type : types) {
        pair s(type, files::open_nonblock);
        lender from(100);
        REQUIRE(s);
        EXPECT_EQ(send_all(*s.a, from).value_or(0), lent_bytes);
        EXPECT_EQ(write_text(*s.b, "unread").value_or(0), 6u);
        s.b.reset();
        EXPECT_EQ(from.s->payer().source_pages(), 0u);
        EXPECT_EQ(error_of(write_text(*s.a, "more")), type == socket_type::datagram ? error::connrefused : error::pipe);
        EXPECT_EQ(text_read(*s.a, 100).bytes, 6u);
    }
}
