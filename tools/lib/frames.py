"""Takes a command's output out of the serial stream.

The output stands between the lines \\x01exec-begin and \\x01exec-end STATUS. There are two ways to tell it from the
kernel's log in between:

- user/init.c runs a program. Its begin mark ends in " framed"; each line \\x01o TEXT or \\x01e TEXT brings bytes of
  its stdout or stderr, with \\xHH for what is not printable. All else is log.
- The monitor runs one of its commands (kernel option `monitor`). All is output but what follows \\x02 in a line.

What a dying kernel says is log too.
"""

import re

begin = b"\x01exec-begin"
end = re.compile(rb"\x01exec-end (\d+)")
log_mark = b"\x02"
framed = re.compile(rb"\x01([oe])(.*)")
escape = re.compile(rb"\\x([0-9a-f]{2})")
panic = re.compile(rb"panic( on cpu \d+)?: ")


def unescape(text):
    return escape.sub(lambda found: bytes([int(found[1], 16)]), text)


class splitter:
    """Fed with bytes, hands on the command's output, what it said on stderr, and the log as they come."""

    def __init__(self, to_output, to_log, to_errors=None):
        self.began = False
        self.status = None  # the command's, once it ended
        self.panicked = False
        self._framed = False
        self._to_output = to_output
        self._to_errors = to_errors or to_log
        self._to_log = to_log
        self._partial = b""

    def feed(self, data):
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._line(line.rstrip(b"\r") + b"\n")

    def finish(self):
        """The stream has ended: what is left is a line too."""
        if self._partial:
            self._line(self._partial)
        self._partial = b""

    def _line(self, line):
        if not self.began:
            if begin in line:
                self.began = True
                self._framed = line.rstrip().endswith(b" framed")
            else:
                self._to_log(line)
        elif self.status is not None or self.panicked:
            self._to_log(line)
        elif panic.match(line):
            self.panicked = True
            self._to_log(line)
        elif ended := end.search(line):
            self._inside(line[: ended.start()])
            self.status = int(ended[1])
        else:
            self._inside(line)

    def _inside(self, line):
        if self._framed:
            self._inside_framed(line)
            return
        output, mark, log = line.partition(log_mark)
        if output:
            self._to_output(output)
        if mark:
            self._to_log(log)

    def _inside_framed(self, line):
        # A line of the log that was printed in parts may stand before.
        if found := framed.search(line):
            if found.start():
                self._to_log(line[: found.start()])
            (self._to_output if found[1] == b"o" else self._to_errors)(unescape(found[2].rstrip(b"\r\n")))
        elif line:
            self._to_log(line)


def split(data):
    """Gives (status or None, output, log) of a whole stream."""
    output, log = [], []
    it = splitter(output.append, log.append)
    it.feed(data)
    it.finish()
    return it.status, b"".join(output), b"".join(log)
