// struct termios and its values, as Linux for x86-64 has them.
#pragma once

#include "kernel/lib/types.h"

namespace files {

enum input_flag : k::u32 {
    input_strip = 040,        // ISTRIP
    input_nl_to_cr = 0100,    // INLCR
    input_ignore_cr = 0200,   // IGNCR
    input_cr_to_nl = 0400,    // ICRNL
    input_flow = 02000,       // IXON
    input_any_starts = 04000, // IXANY
    input_bell = 020000,      // IMAXBEL
    input_utf8 = 040000,      // IUTF8
};

enum output_flag : k::u32 {
    output_process = 01,       // OPOST
    output_nl_to_crnl = 04,    // ONLCR
    output_cr_to_nl = 010,     // OCRNL
    output_no_cr_at_0 = 020,   // ONOCR
    output_nl_returns = 040,   // ONLRET
    output_tab_mask = 014000,  // TABDLY
    output_tab_blanks = 014000 // TAB3
};

enum local_flag : k::u32 {
    local_signals = 01,         // ISIG
    local_canonical = 02,       // ICANON
    local_echo = 010,           // ECHO
    local_echo_erase = 020,     // ECHOE
    local_echo_kill = 040,      // ECHOK
    local_echo_nl = 0100,       // ECHONL
    local_no_flush = 0200,      // NOFLSH
    local_stop_writers = 0400,  // TOSTOP
    local_echo_control = 01000, // ECHOCTL
    local_erase_line = 04000,   // ECHOKE
    local_extended = 0100000,   // IEXTEN
    local_external = 0200000,   // EXTPROC: somebody else edits, echoes and makes signals
};

// Indices into termios::characters.
enum control_character : k::u8 {
    char_interrupt = 0,
    char_quit = 1,
    char_erase = 2,
    char_kill = 3,
    char_end = 4,
    char_time = 5,
    char_minimum = 6,
    char_start = 8,
    char_stop = 9,
    char_suspend = 10,
    char_line_end = 11,
    char_reprint = 12,
    char_erase_word = 14,
    char_literal = 15,
    char_line_end_2 = 16,
};

struct termios {
    k::u32 input, output, control, local;
    k::u8 discipline;
    k::u8 characters[19]; // 0: none
};
static_assert(sizeof(termios) == 36);

constexpr termios default_termios = {
    .input = input_cr_to_nl | input_flow | input_utf8,
    .output = output_process | output_nl_to_crnl,
    .control = 0x1002 | 060 | 0200 | 02000, // 115200 baud, 8 bits, receiver on, hang up on close
    .local = local_signals | local_canonical | local_echo | local_echo_erase | local_echo_kill | local_echo_control |
             local_erase_line | local_extended,
    .discipline = 0,
    .characters = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0},
};

// What a master in packet mode is told of its slave: TIOCPKT_ values.
enum packet_event : k::u8 {
    packet_input_dropped = 1,
    packet_output_dropped = 2,
    packet_stopped = 4,
    packet_started = 8,
    packet_no_flow = 16,
    packet_flow = 32, // ^S stops and ^Q starts
    packet_settings = 64,
};

struct window_size {
    k::u16 rows, columns, width_pixels, height_pixels;
};

} // namespace files
