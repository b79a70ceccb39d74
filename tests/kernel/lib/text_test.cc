// kernel/lib/text: patterns against a model, words, options and numbers, all from hostile input.
#include "kernel/lib/text.h"

#include "kernel/lib/random.h"
#include "kernel/selftest/selftest.h"

#include <algorithm>

namespace {

// Too simple to be wrong, and too slow for more than a few characters.
bool model_match(std::string_view pattern, std::string_view text) {
    if (pattern.empty()) return text.empty();
    if (pattern.front() == '*')
        return model_match(pattern.substr(1), text) || (!text.empty() && model_match(pattern, text.substr(1)));
    return !text.empty() && (pattern.front() == '?' || pattern.front() == text.front()) &&
           model_match(pattern.substr(1), text.substr(1));
}

// A value, or what stands for none.
std::string_view option(std::string_view line, std::string_view name) {
    return k::find_option(line, name).value_or("<none>");
}

bool is_number(std::string_view text, k::u64 value) {
    return k::parse_number(text) == value;
}

} // namespace

SELFTEST(text, globs_match_whole_texts) {
    EXPECT(k::glob_match("", ""));
    EXPECT(!k::glob_match("", "a"));
    EXPECT(k::glob_match("*", ""));
    EXPECT(k::glob_match("*", "anything.at_all"));
    EXPECT(k::glob_match("xio.*", "xio.slice"));
    EXPECT(!k::glob_match("xio.*", "xio"));
    EXPECT(!k::glob_match("io.*", "xio.slice"));
    EXPECT(!k::glob_match("xio.sli", "xio.slice"));
    EXPECT(k::glob_match("?", "a"));
    EXPECT(!k::glob_match("?", ""));
    EXPECT(k::glob_match("a?c*f", "abcdef"));
    EXPECT(k::glob_match("*a*", "*a*")); // signs in the text stand for themselves
    EXPECT(k::glob_match("*b", "ab*b"));
}

SELFTEST(text, of_globs_with_commas_one_must_match) {
    EXPECT(k::glob_match("a,b", "b"));
    EXPECT(k::glob_match("a*,b*", "beta"));
    EXPECT(!k::glob_match("a,b", "c"));
    EXPECT(!k::glob_match("a,b", "a,b"));
    EXPECT(!k::glob_match(",,,", "a"));
    EXPECT(k::glob_match("a,", ""));
}

SELFTEST(text, globs_agree_with_a_model) {
    k::random random(selftest::seed());
    for (unsigned round = 0; round < 50'000; round++) {
        char pattern[8], text[8];
        const std::size_t pattern_length = random.below(sizeof(pattern) + 1), length = random.below(sizeof(text) + 1);
        std::generate_n(pattern, pattern_length, [&] { return "ab**?"[random.below(5)]; });
        std::generate_n(text, length, [&] { return "ab*"[random.below(3)]; });
        const std::string_view p(pattern, pattern_length), t(text, length);
        if (k::glob_match(p, t) != model_match(p, t))
            return selftest::fail(k::where::here(), "pattern {} and text {}", p, t);
    }
}

SELFTEST(text, a_glob_of_many_stars_needs_no_exponential_time) {
    static char pattern[1000], text[2000]; // a*a*a*...b against aaa...: no match, and many ways to find that out
    for (std::size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = i % 2 ? '*' : 'a';
    pattern[sizeof(pattern) - 1] = 'b';
    std::ranges::fill(text, 'a');
    EXPECT(!k::glob_match({pattern, sizeof(pattern)}, {text, sizeof(text)}));
    text[sizeof(text) - 1] = 'b';
    EXPECT(k::glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", {text, sizeof(text)}));
    std::ranges::fill(pattern, '*');
    EXPECT(k::glob_match({pattern, sizeof(pattern)}, {text, sizeof(text)}));
}

SELFTEST(text, words_are_what_stands_between_blanks) {
    std::string_view line = "  one\ttwo \r\n three";
    EXPECT_EQ(k::next_word(line), "one");
    EXPECT_EQ(k::next_word(line), "two");
    EXPECT_EQ(k::next_word(line), "three");
    EXPECT(k::next_word(line).empty());
    EXPECT(k::next_word(line).empty());
    std::string_view blank = " \t ";
    EXPECT(k::next_word(blank).empty());
    EXPECT(blank.empty());
}

SELFTEST(text, options_are_found_by_their_whole_name) {
    EXPECT_EQ(option("a=1 b=2", "b"), "2");
    EXPECT_EQ(option("selftest.wait selftest=x*", "selftest"), "x*");
    EXPECT_EQ(option("selftest", "selftest"), "");
    EXPECT_EQ(option("selftest=", "selftest"), "");
    EXPECT_EQ(option("seed=1=2", "seed"), "1=2");
    EXPECT_EQ(option("seed=1 seed=2", "seed"), "1"); // the first counts
    EXPECT_EQ(option("myseed=1 seedling=2 =seed", "seed"), "<none>");
    EXPECT_EQ(option("", "seed"), "<none>");
    EXPECT_EQ(option("   ", "seed"), "<none>");
    EXPECT_EQ(option("Seed=1", "seed"), "<none>");
}

SELFTEST(text, numbers_are_decimal_or_hexadecimal_after_0x) {
    EXPECT(is_number("0", 0));
    EXPECT(is_number("007", 7));
    EXPECT(is_number("0x0", 0));
    EXPECT(is_number("0xdeadbeef", 0xdeadbeef));
    EXPECT(is_number("18446744073709551615", ~k::u64{0}));
    EXPECT(is_number("0xffffffffffffffff", ~k::u64{0}));
    EXPECT(is_number("0x00000000000000000000ffffffffffffffff", ~k::u64{0})); // zeros in front do not overflow
}

SELFTEST(text, what_does_not_fit_64_bits_is_no_number) {
    EXPECT(!k::parse_number("18446744073709551616"));
    EXPECT(!k::parse_number("18446744073709551620"));
    EXPECT(!k::parse_number("99999999999999999999999999"));
    EXPECT(!k::parse_number("0x10000000000000000"));
}

SELFTEST(text, what_holds_a_wrong_character_is_no_number) {
    for (std::string_view wrong : {"", "0x", "-1", "+1", " 1", "1 ", "1.5", "12a", "0xg", "x10", "0x0x1", "1e3", "a"})
        if (k::parse_number(wrong)) selftest::fail(k::where::here(), "{} is taken for a number", wrong);
    EXPECT(!k::parse_number(std::string_view("1\0", 2)));
}

SELFTEST(text, every_number_survives_printing_and_parsing) {
    k::random random(selftest::seed());
    for (unsigned round = 0; round < 20'000; round++) {
        const k::u64 value = random.next() >> random.below(64);
        char text[32];
        k::buffer_sink sink(text);
        k::format_to(sink, round % 2 ? "{}" : "{:x}", value);
        EXPECT(is_number(sink.view(), value));
    }
}
