// kernel/monitor/keys: what terminals send, and what they should not.
#include "kernel/monitor/keys.h"

#include "kernel/lib/random.h"
#include "kernel/selftest/selftest.h"

#include <string_view>

using monitor::key_kind;

namespace {

// The last key that some bytes make; all before it must be `none`.
key_kind decode(std::string_view bytes) {
    monitor::key_decoder decoder;
    for (std::size_t i = 0; i + 1 < bytes.size(); i++)
        EXPECT_EQ(decoder.feed(bytes[i]).kind, key_kind::none);
    return decoder.feed(bytes.back()).kind;
}

} // namespace

SELFTEST(keys, printable_characters_are_themselves) {
    monitor::key_decoder decoder;
    for (char c = ' '; c <= '~'; c++) {
        const monitor::key key = decoder.feed(c);
        EXPECT_EQ(key.kind, key_kind::character);
        EXPECT_EQ(key.character, c);
    }
}

SELFTEST(keys, control_characters_are_known) {
    EXPECT_EQ(decode("\r"), key_kind::enter);
    EXPECT_EQ(decode("\n"), key_kind::enter);
    EXPECT_EQ(decode("\b"), key_kind::erase_before);
    EXPECT_EQ(decode("\x7f"), key_kind::erase_before);
    EXPECT_EQ(decode("\x01"), key_kind::home);
    EXPECT_EQ(decode("\x03"), key_kind::cancel);
    EXPECT_EQ(decode("\x05"), key_kind::end);
    EXPECT_EQ(decode("\x15"), key_kind::erase_start);
    EXPECT_EQ(decode("\x17"), key_kind::erase_word);
    EXPECT_EQ(decode("\x02"), key_kind::unknown);
    EXPECT_EQ(decode(std::string_view("\0", 1)), key_kind::unknown);
}

SELFTEST(keys, sequences_of_several_terminals_are_known) {
    EXPECT_EQ(decode("\x1b[A"), key_kind::older);
    EXPECT_EQ(decode("\x1b[B"), key_kind::newer);
    EXPECT_EQ(decode("\x1b[C"), key_kind::right);
    EXPECT_EQ(decode("\x1b[D"), key_kind::left);
    EXPECT_EQ(decode("\x1bOA"), key_kind::older);
    EXPECT_EQ(decode("\x1bOD"), key_kind::left);
    EXPECT_EQ(decode("\x1b[H"), key_kind::home);
    EXPECT_EQ(decode("\x1bOF"), key_kind::end);
    EXPECT_EQ(decode("\x1b[1~"), key_kind::home);
    EXPECT_EQ(decode("\x1b[7~"), key_kind::home);
    EXPECT_EQ(decode("\x1b[3~"), key_kind::erase_at);
    EXPECT_EQ(decode("\x1b[4~"), key_kind::end);
    EXPECT_EQ(decode("\x1b[8~"), key_kind::end);
    EXPECT_EQ(decode("\x1b[1;5C"), key_kind::right);    // with Ctrl
    EXPECT_EQ(decode("\x1b[3;2~"), key_kind::erase_at); // with Shift
}

SELFTEST(keys, unknown_sequences_are_swallowed_whole) {
    EXPECT_EQ(decode("\x1b[5~"), key_kind::unknown);
    EXPECT_EQ(decode("\x1b[15;2~"), key_kind::unknown);
    EXPECT_EQ(decode("\x1b[?25h"), key_kind::unknown);
    EXPECT_EQ(decode("\x1b[999999999999999999999999999993~"), key_kind::unknown);
    EXPECT_EQ(decode("\x1bOx"), key_kind::unknown);
    EXPECT_EQ(decode("\x1bx"), key_kind::unknown);
    EXPECT_EQ(decode("\xc3"), key_kind::unknown);
}

SELFTEST(keys, a_line_end_of_two_characters_is_one_enter) {
    monitor::key_decoder decoder;
    EXPECT_EQ(decoder.feed('\r').kind, key_kind::enter);
    EXPECT_EQ(decoder.feed('\n').kind, key_kind::none);
    EXPECT_EQ(decoder.feed('\n').kind, key_kind::enter);
    EXPECT_EQ(decoder.feed('\r').kind, key_kind::enter);
    EXPECT_EQ(decoder.feed('\r').kind, key_kind::enter);
}

SELFTEST(keys, enter_and_cancel_work_inside_an_unfinished_sequence) {
    EXPECT_EQ(decode("\x1b\r"), key_kind::enter);
    EXPECT_EQ(decode("\x1b[\x03"), key_kind::cancel);
    EXPECT_EQ(decode("\x1b[12;\r"), key_kind::enter);
    EXPECT_EQ(decode("\x1bO\x03"), key_kind::cancel);
    EXPECT_EQ(decode("\x1b[1\x1b[D"), key_kind::left); // a new sequence ends the old one
}

SELFTEST(keys, after_any_garbage_enter_is_enter) {
    k::random random(selftest::seed());
    monitor::key_decoder decoder;
    for (unsigned round = 0; round < 20'000; round++) {
        for (k::u64 i = random.below(12); i > 0; i--) {
            const monitor::key key = decoder.feed(static_cast<char>(random.next()));
            if (key.kind == key_kind::character) EXPECT(key.character >= ' ' && key.character <= '~');
        }
        EXPECT_EQ(decoder.feed('\r').kind, key_kind::enter);
    }
}
