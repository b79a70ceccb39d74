// ioctl(2)'s request numbers, as Linux for x86-64 has them.
#pragma once

#include "kernel/lib/types.h"

namespace files {

constexpr k::u32 request_get_termios = 0x5401, request_set_termios = 0x5402, request_set_termios_drained = 0x5403,
                 request_set_termios_flushed = 0x5404, request_send_break = 0x5409, request_send_break_posix = 0x5425,
                 request_flow = 0x540a, request_flush = 0x540b, request_take_terminal = 0x540e,
                 request_get_group = 0x540f, request_set_group = 0x5410, request_bytes_queued = 0x5411,
                 request_fake_input = 0x5412, request_get_window = 0x5413, request_set_window = 0x5414,
                 request_bytes_waiting = 0x541b, request_set_nonblocking = 0x5421, request_leave_terminal = 0x5422,
                 request_get_session = 0x5429, request_set_async = 0x5452, request_close_on_exec = 0x5451,
                 request_keep_on_exec = 0x5450, request_set_packets = 0x5420, request_get_packets = 0x80045438,
                 request_pty_number = 0x80045430, request_pty_lock = 0x40045431, request_pty_is_locked = 0x80045439,
                 request_pty_signal = 0x40045436, request_pty_peer = 0x5441;

// Of block devices.
constexpr k::u32 request_block_is_read_only = 0x125e, request_block_sectors = 0x1260, request_block_flush = 0x1261,
                 request_block_unit = 0x1268, request_block_discard = 0x1277, request_block_physical_unit = 0x127b,
                 request_block_bytes = 0x80081272;

} // namespace files
