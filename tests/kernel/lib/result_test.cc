// kernel/lib/result: values move through results and TRY, none is lost and each is destroyed once.
#include "kernel/lib/result.h"

#include "kernel/selftest/selftest.h"

#include <string_view>

namespace {

// Counts itself. A moved-from one is alive but empty.
class counted {
  public:
    explicit counted(int value) : value_(value) { alive++; }
    counted(counted&& other) noexcept : value_(std::exchange(other.value_, 0)) {
        alive++;
        moves++;
    }
    counted& operator=(counted&&) = delete;
    ~counted() { alive--; }

    int value() const { return value_; }

    static inline int alive, moves;

  private:
    int value_;
};

k::result<counted> make(int value) {
    if (value < 0) return k::error::inval;
    return counted(value);
}

k::result<int> add(int left, int right) {
    const counted a = TRY(make(left));
    const counted b = TRY(make(right));
    return a.value() + b.value();
}

int calls;

k::status step(bool good) {
    calls++;
    if (!good) return k::error::io;
    return {};
}

k::status three_steps(bool first, bool second, bool third) {
    TRY(step(first));
    TRY(step(second));
    TRY(step(third));
    return {};
}

struct pair {
    int left, right;
};

} // namespace

SELFTEST(result, holds_a_value_or_an_error) {
    auto good = make(7);
    auto bad = make(-1);
    REQUIRE(good && good.has_value());
    REQUIRE(!bad && !bad.has_value());
    EXPECT_EQ(good->value(), 7);
    EXPECT_EQ((*good).value(), 7);
    EXPECT_EQ(bad.error(), k::error::inval);
}

SELFTEST(result, a_value_is_destroyed_once) {
    const int before = counted::alive;
    {
        auto one = make(1);
        EXPECT_EQ(counted::alive, before + 1);
        auto two = std::move(one); // the value moved from is still there to be destroyed
        EXPECT_EQ(counted::alive, before + 2);
        EXPECT_EQ(one->value(), 0);
        EXPECT_EQ(two->value(), 1);
        auto none = make(-1);
        auto still_none = std::move(none);
        EXPECT_EQ(counted::alive, before + 2);
        EXPECT_EQ(still_none.error(), k::error::inval);
    }
    EXPECT_EQ(counted::alive, before);
}

SELFTEST(result, a_value_is_moved_out_and_not_copied) {
    const int before = counted::alive;
    {
        auto made = make(5);
        const counted taken = *std::move(made);
        EXPECT_EQ(taken.value(), 5);
        EXPECT_EQ(made->value(), 0);
        EXPECT_EQ(make(6).value().value(), 6);
    }
    EXPECT_EQ(counted::alive, before);
}

SELFTEST(result, value_or_gives_the_other_one_for_an_error) {
    const int before = counted::alive;
    EXPECT_EQ(make(3).value_or(counted(9)).value(), 3);
    EXPECT_EQ(make(-3).value_or(counted(9)).value(), 9);
    EXPECT_EQ(counted::alive, before);
}

SELFTEST(result, try_passes_the_first_error_on_and_leaves_nothing_behind) {
    const int before = counted::alive;
    auto sum = add(2, 3);
    REQUIRE(sum);
    EXPECT_EQ(*sum, 5);
    EXPECT_EQ(add(-1, 3).error(), k::error::inval);
    EXPECT_EQ(add(2, -1).error(), k::error::inval);
    EXPECT_EQ(counted::alive, before);
}

SELFTEST(result, try_moves_a_value_a_bounded_number_of_times) {
    counted::moves = 0;
    auto sum = add(1, 1);
    EXPECT(sum);
    EXPECT(counted::moves <= 2 * 4); // into the result, through the macro and out of it
}

SELFTEST(result, a_status_is_good_unless_it_holds_an_error) {
    k::status good;
    EXPECT(good && good.has_value());
    good.value();
    k::status bad = k::error::busy;
    EXPECT(!bad);
    EXPECT_EQ(bad.error(), k::error::busy);
    bad = k::status(); // a status may be assigned, as a message's is
    EXPECT(bad);
}

SELFTEST(result, try_of_a_status_stops_at_the_first_error) {
    calls = 0;
    EXPECT(three_steps(true, true, true));
    EXPECT_EQ(calls, 3);
    calls = 0;
    EXPECT_EQ(three_steps(true, false, true).error(), k::error::io);
    EXPECT_EQ(calls, 2);
}

SELFTEST(result, holds_plain_structs_pointers_and_false) {
    k::result<pair> both = pair{1, 2};
    EXPECT_EQ(both->right, 2);
    k::result<bool> no = false;
    REQUIRE(no); // it holds a value, which is false
    EXPECT(!*no);
    int target = 4;
    k::result<int*> where = &target;
    REQUIRE(where);
    **where = 5;
    EXPECT_EQ(target, 5);
    k::result<std::string_view> text = std::string_view("text");
    EXPECT_EQ(text->size(), 4u);
}
