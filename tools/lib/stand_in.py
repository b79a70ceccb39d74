"""Stands in for QEMU in tools_test.py: `stand_in.py WHAT` plays one kernel's behaviour on stdin and stdout."""

import sys
import time


def serial(*lines):
    sys.stdout.write("".join(line + "\r\n" for line in lines))
    sys.stdout.flush()


def passing():
    serial("booting", "TAP version 13", "1..2", "ok 1 - a.first", "a line of log", "ok 2 - a.second")
    return 33


def failing():
    serial("TAP version 13", "1..2", "# expected 1, got 2", "not ok 1 - a.first", "ok 2 - a.second")
    return 35


def panicking():
    serial("TAP version 13", "1..3", "ok 1 - a.first", "panic on cpu 1: assertion failed: x in f at y.cc:3", "backtrace")
    return 35


def hanging():
    serial("TAP version 13", "1..3", "ok 1 - a.first")
    time.sleep(60)
    return 33


def planless():
    serial("TAP version 13", "ok 1 - a.first")
    return 33


def short():
    serial("TAP version 13", "1..3", "ok 1 - a.first")
    return 33


def resetting():
    serial("TAP version 13", "1..3")
    return 0


def executing():
    serial("log before", "\x01exec-begin", "one", "\x02log within", "two")
    sys.stdout.write("no line end\x02more log\r\n")
    serial("\x01exec-end 7", "log after")
    return 33


def executing_framed():
    serial("log before", "\x01exec-begin framed", "\x01oone\\x0a", "log within", "\x01ewrong\\x0a", "torn log \x01otwo\\x01\\x5c")
    serial("\x01exec-end 7", "log after")
    return 33


def executing_panic():
    serial("\x01exec-begin", "before", "", "panic on cpu 0: as asked", "backtrace")
    return 35


def typing():
    serial("ready")
    line = sys.stdin.readline()
    serial("got " + line.strip())
    return 33


def benching():
    serial("bench\txio.gain\t60\ttimes\t50\tat least")
    serial("bench\txio.slice\t120\tinsn\t150\t-", "bench\txio.copy\t900\tinsn\t800\ttoo slow", "bench\tipiq.send\t300\tns\t-\t-")
    return 33


def benching_user():
    """On this kernel, or on Linux, which QEMU would load itself."""
    linux = "-kernel" in sys.argv
    message = "message round trip, bytes each way: 64"
    messages = {f"{message}, by pipes": 200, f"{message}, by vmsplice": 180} if linux else {message: 2600}
    rows = {**dict.fromkeys(["getppid", "pipe write 1MiB stream"], 360 if linux else 90), **messages}
    serial(*(f"bench\t{name}\t{value}\tns\t-\t-" for name, value in rows.items()))
    return 0 if linux else 33


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]]())
