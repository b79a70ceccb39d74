// A service with threads that serve it, for tests of CAPS in the kernel.
#pragma once

#include "kernel/selftest/selftest.h"
#include "sys/caps/caps.h"
#include "tests/kernel/lwkt/crew.h"

namespace caps_test {

using caps::arrival, caps::arrival_kind, caps::client, caps::client_ref, caps::message, caps::message_ref,
    caps::service, caps::service_ref, k::error;

inline const caps::waiting no_wait{.deadline = caps::at_once};

// Threads of some CPUs that call serve(service&, arrival&) with each request and end when the service is closed.
template <class Serve> class servers {
  public:
    servers(service& s, Serve& serve) : service_(s), body_{s, serve} {}
    ~servers() { end(); }
    bool start(unsigned cpu) { return crew_.start(cpu, body_); }
    void end() {
        service_.close();
        crew_.join();
    }

  private:
    struct body {
        service& s;
        Serve& serve;
        void operator()(unsigned) {
            while (auto a = s.get())
                serve(s, *a);
        }
    };
    service& service_;
    body body_;
    lwkt_test::crew crew_;
};

inline service_ref make_service(std::string_view name, k::u32 most_queued = 1024) {
    auto made = service::create({.name = name, .most_queued = most_queued});
    if (!made) {
        selftest::fail(k::where::here(), "no service: {}", made.error());
        return {};
    }
    return *std::move(made);
}

inline client_ref connect_to(std::string_view name) {
    auto made = client::connect({.name = name});
    if (!made) {
        selftest::fail(k::where::here(), "no client: {}", made.error());
        return {};
    }
    return *std::move(made);
}

inline message_ref fresh_message(k::u32 number = 0) {
    auto made = message::create();
    if (!made) {
        selftest::fail(k::where::here(), "no message");
        return {};
    }
    if (!(*made)->set_value(number)) selftest::fail(k::where::here(), "no room for a number");
    return *std::move(made);
}

inline k::u32 number_in(const message& m) {
    auto value = m.value<k::u32>();
    return value ? *value : ~0u;
}

inline bool is(const k::status& s, error e) {
    return !s && s.error() == e;
}
template <class T> bool is(const k::result<T>& r, error e) {
    return !r && r.error() == e;
}

// A service that nobody serves but the test, with one client.
struct pair {
    explicit pair(k::u32 most_queued = 1024)
        : s(make_service("pair", most_queued)), c(s ? connect_to("pair") : client_ref()) {}
    explicit operator bool() const { return bool(c); }
    caps::message_id put(k::u32 number = 0) {
        message_ref m = fresh_message(number);
        if (!m) return 0;
        auto id = c->put(std::move(m), no_wait);
        return id ? *id : 0;
    }
    // The number in the next request, which stays taken as `last`.
    k::u32 take() {
        auto a = s->get(no_wait);
        if (!a) return ~0u;
        last = std::move(*a);
        return last.what ? number_in(*last.what) : ~0u;
    }

    service_ref s;
    client_ref c;
    arrival last;
};

} // namespace caps_test
