"""The self-tests' report: TAP version 13 among the kernel's other lines on the serial line."""

import dataclasses
import re

import machine

plan_line = re.compile(r"^1\.\.(\d+)\s*$")
result_line = re.compile(r"^(not )?ok (\d+)(?: - (\S+))?\s*(?:# *(SKIP)\b.*)?", re.IGNORECASE)


@dataclasses.dataclass
class result:
    name: str
    passed: bool
    lines: list = dataclasses.field(default_factory=list)  # what a reader needs if it failed
    skipped: bool = False


def is_tap(line):
    return bool(line.startswith(("TAP version", "# ", "Bail out!")) or plan_line.match(line) or result_line.match(line))


def parse(text):
    """Gives (results, planned), where planned is None if the plan is missing."""
    results, planned, notes = [], None, []
    for line in text.splitlines():
        if found := plan_line.match(line):
            planned = int(found[1])
        elif found := result_line.match(line):
            name = found[3] or f"test {found[2]}"
            results.append(result(name, not found[1], notes + [line], bool(found[4])))
            notes = []
        elif line.startswith("#"):
            # What is said about a failed test follows it; a word before a test is kept in case that one fails.
            (results[-1].lines if results and not results[-1].passed else notes).append(line)
    return results, planned


def judge(status, text, errors="", timeout=None):
    """Gives (results, what went wrong as one line or None). Failed tests alone are no such line."""
    results, planned = parse(text)
    ran = f"after {len(results)} of {planned if planned is not None else '?'} tests"
    last = f", the last to end was {results[-1].name}" if results else ""
    end = machine.describe_end(status, text, errors, timeout)
    failed = any(not one.passed for one in results)
    if end and not (failed and end == "the kernel ended as failed"):
        return results, f"{end} ({ran}{last})"
    if planned is None:
        return results, "the kernel printed no TAP plan"
    if planned != len(results):
        return results, f"the self-tests ended {ran}{last}"
    if failed and status == machine.status_passed:
        return results, "the kernel ended as passed though tests failed"
    return results, None
