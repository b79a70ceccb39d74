"""What the kernel writes down of itself, from the guest to the pictures of ./tools/trace."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import project
import scenarios
import tracing
from scenarios import check, last_lines, mebibyte

# The server has the first CPU, its client the second. What is looked for comes last: rings are written over.
message = "taskset 1 caps-count serve & taskset 2 caps-count /bin/busybox; kill $!"
script = f"""/tests/fuse files_are_seen_and_read >/dev/null || echo FAILED
dd if=/dev/vda of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null || echo FAILED
dd if=/dev/zero bs=256k count=2 2>/dev/null | cat >/dev/null
{message}
cat /proc/trace >/dev/null 2>&1 && echo FAILED # not while it grows
echo 0 >/proc/trace; echo '{tracing.begin_mark}'; cat /proc/trace"""


def crossing(events):
    """The messages that were put on one CPU and got and replied to on another, with their bytes."""
    return [steps for steps in tracing.journeys(events) if [e.what for e in steps] == ["put", "got", "reply"]
            and steps[0].cpu != steps[1].cpu == steps[2].cpu and steps[0].b]


def running_at(events, one):
    """The name of what ran on an event's CPU when it happened."""
    return next((name for cpu, name, begin, end in tracing.runs(events) if cpu == one.cpu and begin <= one.ns < end), "")


def crossing_slices(slices):
    """Slices of one track that neither lie in each other nor apart: viewers drop those."""
    wrong = []
    for track in {one["tid"] for one in slices}:
        open_ends = []
        for one in sorted((one for one in slices if one["tid"] == track), key=lambda one: (one["ts"], -one["dur"])):
            begin, end = round(one["ts"] * 1000), round((one["ts"] + one["dur"]) * 1000)
            while open_ends and open_ends[-1] <= begin:
                open_ends.pop()
            if open_ends and end > open_ends[-1]:
                wrong.append(f"crosses what it begins in: {one}")
            open_ends.append(end)
    return wrong


def wrong_with_chrome(said):
    """What is not as Chrome's trace event format has it."""
    if not isinstance(said, dict) or not isinstance(said.get("traceEvents"), list):
        return ["no list of traceEvents"]
    wrong, flows = [], {}
    needed = {"M": {"name", "pid", "args"}, "X": {"name", "pid", "tid", "ts", "dur"}, **dict.fromkeys("stf", {"name", "pid", "tid", "ts", "id", "cat"})}
    for event in said["traceEvents"]:
        missing = needed.get(event.get("ph"), {"a known ph"}) - event.keys()
        numbers = [event[key] for key in ("ts", "dur", "pid", "tid") if key in event]
        if missing or not all(isinstance(one, (int, float)) and one >= 0 for one in numbers):
            wrong.append(f"{event}: {missing or 'a bad number'}")
        if event.get("ph") in ("s", "t", "f"):
            flows.setdefault(event.get("id"), []).append(event["ph"])
    wrong += crossing_slices([event for event in said["traceEvents"] if event.get("ph") == "X"])
    return wrong + [f"flow {number} is {''.join(steps)}" for number, steps in flows.items() if not re.fullmatch("st*f", "".join(steps))]


def pictures(name, folder, *arguments):
    """What ./tools/trace makes of a dump or of a command: results, and what it said."""
    made, page = Path(folder) / "trace.json", Path(folder) / "trace.html"
    done = subprocess.run([project.root / "tools/trace", *arguments, "--json", made, "--html", page], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=scenarios.command_timeout + 600)
    if done.returncode != 0:
        return [scenarios.failed(f"{name}.is_made", *last_lines(done.stdout), *last_lines(done.stderr))], done.stdout
    said, picture = json.loads(made.read_text()), page.read_text()
    wrong = wrong_with_chrome(said)
    outside = re.findall(r"https?:|//[a-z]|\b(?:src|href)\s*=|@import|url\(", picture)
    arrows = sum(event["ph"] == "s" for event in said["traceEvents"])
    return [
        check(f"{name}.is_chromes_format", not wrong and arrows, f"{arrows} messages", *wrong[:10]),
        check(f"{name}.page_needs_nothing_else", not outside and "</html>" in picture, *outside[:10]),
        check(f"{name}.page_shows_messages", 'class="msg"' in picture, picture[:500]),
    ], done.stdout


def trace(it):
    """From boot on, a message between two CPUs, a loan and a read of a disk are written down."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        disk = Path(folder) / "disk.img"
        disk.write_bytes(bytes(mebibyte))
        status, output, serial = scenarios.run_tool(it, "--smp", "2", "--append", "trace", "--disk", str(disk), "--exec", script)
        said, _, dump = output.partition(f"{tracing.begin_mark}\n")
        tail = [f"status {status}", *last_lines(said), *last_lines(dump), *last_lines(serial)]
        events = tracing.parse(dump)
        kinds = {e.what for e in events}
        transfers = {e.a for e in events if e.what == "dma"}
        lent = [e.b for e in events if e.what == "lent"]
        (Path(folder) / "dump.txt").write_text(dump)
        drawn, _ = pictures("trace.dump", folder, str(Path(folder) / "dump.txt"))
        traced, counted = pictures("trace.command", folder, "--smp", "2", "--exec", message)
    asked = [steps for steps in tracing.journeys(events) if steps[0].text == "fuse" and [e.what for e in steps] == ["put", "got", "reply"]]
    crossed = crossing(events)
    sent = sum(steps[0].b for steps in crossed)
    ran = {running_at(events, step) for steps in crossed for step in (steps[0], steps[2])}
    length = Path("/bin/busybox").stat().st_size
    return [
        check("trace.a_message_goes_to_another_cpu_and_back", sent == length, f"{sent} bytes of {length}", *tail),
        check("trace.programs_have_their_names", len(ran) == 2 and all(re.fullmatch("caps-count/[0-9]+", name) for name in ran),
              *sorted(ran), *tail),
        check("trace.both_cpus_switch", {e.cpu for e in events if e.what == "switch"} == {0, 1}, *tail),
        check("trace.interrupts_between_cpus", {"ipi", "taken"} <= kinds, *sorted(kinds), *tail),
        check("trace.what_is_lent", lent and max(lent) >= 4096, *tail),
        check("trace.commands_do_well", "FAILED" not in said, *tail),
        check("trace.transfers_of_the_disk", 64 << 10 in transfers, *map(str, sorted(transfers)), *tail),
        check("trace.a_fuse_program_is_asked", any(steps[2].b for steps in asked), *tail),
        check("trace.faults", "fault" in kinds, *tail),
        *drawn, *traced,
        check("trace.command_is_run", "/bin/busybox" in counted, *last_lines(counted)),
    ]
