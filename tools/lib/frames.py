"""Takes a command's output out of the serial stream.

The kernel puts the output of the command in the boot module `exec` between the lines \\x01exec-begin and
\\x01exec-end STATUS. Within, \\x02 starts a piece of log that reaches to the end of its line. What a dying kernel
says is log too.
"""

import re

begin = b"\x01exec-begin"
end = re.compile(rb"\x01exec-end (\d+)")
log_mark = b"\x02"
panic = re.compile(rb"panic( on cpu \d+)?: ")


class splitter:
    """Fed with bytes, hands on the command's output and the log as they come, line by line."""

    def __init__(self, to_output, to_log):
        self.began = False
        self.status = None  # the command's, once it ended
        self.panicked = False
        self._to_output = to_output
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
        output, mark, log = line.partition(log_mark)
        if output:
            self._to_output(output)
        if mark:
            self._to_log(log)


def split(data):
    """Gives (status or None, output, log) of a whole stream."""
    output, log = [], []
    it = splitter(output.append, log.append)
    it.feed(data)
    it.finish()
    return it.status, b"".join(output), b"".join(log)
