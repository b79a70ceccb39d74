// A program of random xio operations, run on the real thing and on the model (model.h) side by side.
//
// random_test.cc has the loop, the checks after each operation and the self-tests; random_build_test.cc the operations
// that make handles, random_move_test.cc those that move bytes, random_look_test.cc those that only look.
#pragma once

#include "kernel/mem/fault_injection.h"
#include "tests/fuzz/number_stream.h"
#include "tests/support/bytes.h"
#include "tests/support/page_set.h"
#include "tests/sys/xio/model.h"

#include <optional>

namespace xio_model {

constexpr unsigned slots = 6, lists = 2 * slots + 3, payers = 2;
constexpr u32 max_list_bytes = 24 * page;

template <class Handle> constexpr pin_kind kind_of =
    std::is_same_v<Handle, xio::source> ? pin_kind::source : pin_kind::sink;

// A handle and its model.
template <class Handle> struct pair {
    Handle& real;
    slice& model;
};

class program {
  public:
    explicit program(fuzz::number_stream& decisions) : decide_(decisions) {}
    [[nodiscard]] bool set_up();
    void run();
    void tear_down();

  private:
    // Making handles.
    void build_run();
    void build_pages();
    void build_from_kernel();
    void build_copy();
    void build_fresh();
    void take_slice();
    void take_clone();
    void split();
    void append();
    void drop();
    void move();
    // Moving bytes, and the right to.
    void copy();
    void read();
    void write();
    void zero();
    void become_sink();
    void become_source();
    // Looking.
    void compare();
    void checksum();
    void segments();
    void whole_pages();
    void view_source();
    void view_sink();

    void one_operation();
    void check_handles();
    void check_pins();
    void check_all_bytes();
    void check_ledger();
    void check_written(const slice& s);

    // Decisions.
    u32 below(u64 limit) { return static_cast<u32>(decide_.below(limit)); }
    u32 length_up_to(u32 most);
    xio::loan_terms terms(unsigned& payer, xio::stability& promise);
    template <class Handle> pair<Handle> choose() {
        const unsigned i = below(slots);
        if constexpr (std::is_same_v<Handle, xio::source>)
            return {sources_[i], models_[0][i]};
        else
            return {sinks_[i], models_[1][i]};
    }
    // Runs body on a source or a sink: body.template operator()<Handle>().
    template <class Body> void either(Body body) {
        if (below(2))
            body.template operator()<xio::sink>();
        else
            body.template operator()<xio::source>();
    }

    // Model lists.
    list& new_list(pin_kind kind, xio::stability promise, unsigned payer);
    void charge(const list& l, int change);
    void hold(const list& l, int change);
    void release(slice& s);
    void scatter(list& to, std::span<const u32> frames, u32 offset, u32 bytes) const;
    void gather(const slice& s, std::byte* to) const;
    void spread(const slice& s, const std::byte* from);

    // An allocation of what follows may fail; if one did, the result must say so and disarm() is true.
    void arm();
    bool disarm();

    // What was built goes into some slot, as the model has planned, or the error is what was expected.
    template <class Handle> void settle(k::result<Handle> made, list& planned, std::optional<k::error> expected = {}) {
        planned.holders = 0;
        if (disarm()) {
            EXPECT(!made && made.error() == k::error::nomem);
            return;
        }
        if (expected) {
            EXPECT(!made && made.error() == *expected);
            return;
        }
        if (!made) return selftest::fail(k::where::here(), "not built: {}", made.error());
        if (!planned.count) return put(std::move(made).value(), {});
        planned.holders = 1;
        hold(planned, 1);
        put(std::move(made).value(), slice{&planned, 0, planned.bytes()});
    }
    // Into some slot, whose handle goes. The model's holder is counted already.
    template <class Handle> void put(Handle real, slice model) {
        auto to = choose<Handle>();
        to.real = std::move(real);
        release(to.model);
        to.model = model;
    }

    fuzz::number_stream& decide_;
    support::page_set<pool_frames - 8> singles_;
    vm::page_ref block_;
    support::buffer scratch_{max_list_bytes}, other_{max_list_bytes};
    xio::payer payers_[payers];
    u64 charged_[payers][2] = {};
    u64 copied_[xio::reasons] = {}; // by this program
    xio::ledger before_{};
    memory memory_{};
    list lists_[lists];
    slice models_[2][slots];
    xio::source sources_[slots];
    xio::sink sinks_[slots];
    bool armed_ = false;
    u64 operations_ = 0;
};

} // namespace xio_model
