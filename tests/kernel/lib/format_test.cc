// kernel/lib/format: what each specification prints, and that no format, however broken, does harm.
#include "kernel/lib/format.h"

#include "kernel/lib/random.h"
#include "kernel/selftest/selftest.h"

#include <limits>

namespace {

// Fails the test unless a format prints that.
template <class... Args> void expect_prints(std::string_view expected, std::string_view format, const Args&... args) {
    char text[256];
    k::buffer_sink sink(text);
    k::format_to(sink, format, args...);
    if (sink.view() == expected) return;
    selftest::fail(k::where::here(), "{} prints {} instead of {}", format, sink.view(), expected);
}

// Counts characters instead of keeping them.
class counting_sink final : public k::text_sink {
  public:
    void put(std::string_view text) override { count_ += text.size(); }
    std::size_t count() const { return count_; }

  private:
    std::size_t count_ = 0;
};

enum class colour : k::u8 { red = 3 };

} // namespace

SELFTEST(format, text_without_braces_is_printed_as_it_is) {
    expect_prints("", "");
    expect_prints("plain % \\ text\n", "plain % \\ text\n");
    expect_prints(std::string_view("a\0b", 3), std::string_view("a\0b", 3));
}

SELFTEST(format, numbers_of_every_width_are_exact_at_their_limits) {
    expect_prints("0 1", "{} {}", 0, 1u);
    expect_prints("255 -128", "{} {}", std::numeric_limits<k::u8>::max(), std::numeric_limits<signed char>::min());
    expect_prints("-2147483648 4294967295", "{} {}", std::numeric_limits<k::i32>::min(),
                  std::numeric_limits<k::u32>::max());
    expect_prints("-9223372036854775808", "{}", std::numeric_limits<k::i64>::min());
    expect_prints("9223372036854775807", "{}", std::numeric_limits<k::i64>::max());
    expect_prints("18446744073709551615", "{}", std::numeric_limits<k::u64>::max());
}

SELFTEST(format, hexadecimal_has_0x_with_small_x_and_none_with_large) {
    expect_prints("0xff ff", "{:x} {:X}", 255, 255);
    expect_prints("0x0 0", "{:x} {:X}", 0, 0);
    expect_prints("0xffffffffffffffff", "{:x}", std::numeric_limits<k::u64>::max());
    expect_prints("ffffffffffffffff", "{:X}", k::i64{-1});
}

SELFTEST(format, a_width_pads_and_never_cuts) {
    expect_prints("[      42] [42      ] [      42]", "[{:>8}] [{:<8}] [{:8}]", 42, 42, 42);
    expect_prints("[12345] [longer]", "[{:>3}] [{:<3}]", 12345, "longer");
    expect_prints("[ab  ] [   c]", "[{:<4}] [{:>4}]", "ab", 'c');
    expect_prints("[  0xab] [    ab]", "[{:>6x}] [{:>6X}]", 0xab, 0xab);
    expect_prints("[  true] [false ]", "[{:>6}] [{:<6}]", true, false);
    expect_prints("[  -42]", "[{:>5}]", -42);
}

SELFTEST(format, zeros_pad_numbers) {
    expect_prints("0000beef 07 1234", "{:08X} {:02} {:03}", 0xbeef, 7, 1234);
    expect_prints("12.005", "{}.{:03}", 12, 5);
}

SELFTEST(format, every_kind_of_argument_is_known) {
    char writable[] = "writable";
    const char* nothing = nullptr;
    expect_prints("true x text", "{} {} {}", true, 'x', "text");
    expect_prints("view writable", "{} {}", std::string_view("view"), writable);
    expect_prints("(null)", "{}", nothing);
    expect_prints("0x1234", "{}", reinterpret_cast<const void*>(0x1234));
    expect_prints("ENOMEM EFAULT", "{} {}", k::error::nomem, k::error::fault);
    expect_prints("E?", "{}", static_cast<k::error>(12345));
    expect_prints("3", "{}", colour::red);
}

SELFTEST(format, a_doubled_brace_is_a_brace) {
    expect_prints("{", "{{");
    expect_prints("a{b1", "a{{b{}", 1);
    expect_prints("{1", "{{{}", 1);
}

SELFTEST(format, missing_arguments_leave_the_rest_as_it_stands) {
    expect_prints("1 and {} end", "{} and {} end", 1);
    expect_prints("{}", "{}");
    expect_prints("one", "one", 1, 2, 3); // too many are ignored
}

SELFTEST(format, broken_specifications_print_what_they_can) {
    expect_prints("open {", "open {", 1);
    expect_prints("open {:>8", "open {:>8", 1);
    expect_prints("1", "{:?}", 1);
    expect_prints("1", "{:}", 1);
    expect_prints("1", "{name}", 1);
    expect_prints("10", "{:x8}", 10);
    expect_prints("}", "}", 1);
    expect_prints("1|2|3", "{:>}|{:<}|{:0}", 1, 2, 3);
}

SELFTEST(format, an_absurd_width_is_bounded) {
    counting_sink counted;
    k::format_to(counted, "{:>99999999999999999999999999}{:<4294967297}", 1, 2);
    EXPECT(counted.count() <= 400);
}

SELFTEST(format, a_full_buffer_cuts_off_and_stays_within_bounds) {
    k::buffer_sink none({});
    k::format_to(none, "{} text", 1);
    EXPECT_EQ(none.view(), "");
    char text[8] = "1234567";
    k::buffer_sink partial({text, 4});
    k::format_to(partial, "{:>200}", 'x');
    EXPECT_EQ(partial.view(), "    ");
    k::buffer_sink number({text, 4});
    k::format_to(number, "a{}", 123456);
    EXPECT_EQ(number.view(), "a123");
    EXPECT_EQ(std::string_view(text + 4), "567");
}

SELFTEST(format, random_formats_do_no_harm) {
    constexpr std::string_view alphabet = "{}{}{}::<>0189xX ?a\n";
    k::random random(selftest::seed());
    for (unsigned round = 0; round < 20'000; round++) {
        char format[24];
        const std::size_t length = random.below(sizeof(format) + 1);
        for (std::size_t i = 0; i < length; i++)
            format[i] = round % 4 ? alphabet[random.below(alphabet.size())] : static_cast<char>(random.next());
        counting_sink counted;
        k::format_to(counted, {format, length}, -1, "text", 'c', true, k::error::io);
        EXPECT(counted.count() <= length + 5 * 200);
    }
}
