"""Turns a dump of /proc/trace into Chrome's trace event JSON, which Perfetto (ui.perfetto.dev) shows, or into a page
with a picture that needs nothing else. Without a dump it runs a command in the guest and takes that one's:

    tools/trace --exec 'caps-count serve & caps-count /bin/busybox' --html trace.html
    tools/trace dump.txt --json trace.json --html trace.html"""

import argparse
import html
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import project

event = namedtuple("event", "cpu ns what a b text")
kinds = ["switch", "put", "got", "reply", "ipi", "taken", "fault", "lent", "broken", "dma", "lost"]
begin_mark = "-- trace"
mark_ns = 100  # how long what takes no time is shown, where there is room


def parse(text):
    """The events of a dump, in the order of time. A line that is none is an error: a dump is not to be trusted."""
    found = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        words = line.removesuffix("\r").split(" ", 5)
        try:
            cpu, ns, what, a, b = words[:5]
            one = event(int(cpu), int(ns), what, int(a, 16), int(b, 16), words[5] if len(words) > 5 else "")
            if not all(0 <= value < 1 << 64 for value in (one.cpu, one.ns, one.a, one.b)):
                raise ValueError
        except ValueError:
            raise project.problem(f"line {number} of the dump is no event: {line[:80]!r}")
        if one.what not in kinds:
            raise project.problem(f"line {number} of the dump: nobody knows the event {one.what[:40]}")
        found.append(one)
    return sorted(found, key=lambda e: e.ns)


def runs(events):
    """What ran where: (cpu, thread's name, from, to)."""
    if not events:
        return []
    last, out = {}, []
    for e in events:
        if e.what != "switch":
            continue
        if e.cpu in last:
            out.append((e.cpu, *last[e.cpu], e.ns))
        last[e.cpu] = (e.text or f"{e.a:x}", e.ns)
    return out + [(cpu, name, start, events[-1].ns) for cpu, (name, start) in last.items()]


def known_since(events):
    """From when on nothing is missing: CPUs write over what is oldest."""
    return max((e.ns for e in events if e.what == "lost"), default=0)


def losses(events):
    """What a reader of the pictures should know, in one line; or nothing."""
    lost = [f"CPU {e.cpu} {e.a} events, before {e.ns - events[0].ns} ns" for e in events if e.what == "lost"]
    return "written over: " + "; ".join(lost) if lost else ""


def journeys(events):
    """The messages: lists of the events that each went through, from put to reply. Their numbers are used again."""
    open_ones, done, since = {}, [], known_since(events)
    for e in events:
        if e.ns < since:
            continue
        if e.what == "put":
            if len(open_ones.get(e.a, [])) > 1:  # nobody replied
                done.append(open_ones[e.a])
            open_ones[e.a] = [e]
        elif e.what in ("got", "reply") and e.a in open_ones:
            open_ones[e.a].append(e)
            if e.what == "reply":
                done.append(open_ones.pop(e.a))
    return done + list(open_ones.values())


def describe(e):
    return {"switch": f"to {e.text}", "put": f"put to {e.text}: {e.b} bytes of xio", "got": f"got at {e.text}",
            "reply": f"replied at {e.text}: {e.b} bytes of xio", "ipi": f"IPI to CPU {e.a}",
            "taken": f"IPI taken, from CPUs {e.a:#x}", "fault": f"fault at {e.a:#x}",
            "lent": f"{e.b} bytes at {e.a:#x} lent", "broken": "a loan's page copied for its writer",
            "dma": f"DMA: {e.a} bytes in {e.b} segments", "lost": f"{e.a} events before were written over"}[e.what]


def with_room(events):
    """Each event that takes no time, with how long it can be shown before the next of its CPU begins."""
    next_ns, out = {}, []
    for e in reversed(events):
        if e.what != "switch":
            out.append((e, min(mark_ns, next_ns.get(e.cpu, events[-1].ns) - e.ns)))
        next_ns[e.cpu] = e.ns
    return out[::-1]


def to_chrome(events):
    """The trace event format: runs are slices, messages are flows through instants on the CPUs."""
    start = events[0].ns if events else 0
    us = lambda ns: (ns - start) / 1000
    out = [{"ph": "M", "pid": 0, "name": "process_name", "args": {"name": "Nutcracker"}}]
    for cpu in sorted({e.cpu for e in events}):
        out.append({"ph": "M", "pid": 0, "tid": cpu, "name": "thread_name", "args": {"name": f"CPU {cpu}"}})
    for cpu, name, begin, end in runs(events):
        out.append({"ph": "X", "pid": 0, "tid": cpu, "name": name, "ts": us(begin), "dur": us(end) - us(begin)})
    for e, room in with_room(events):
        out.append({"ph": "X", "pid": 0, "tid": e.cpu, "name": e.what, "cat": "event", "ts": us(e.ns), "dur": room / 1000,
                    "args": {"what": describe(e), "a": hex(e.a), "b": e.b}})
    for number, steps in enumerate(journeys(events)):
        for at, e in enumerate(steps):
            phase = "s" if at == 0 else "f" if e is steps[-1] else "t"
            flow = {"ph": phase, "id": number, "pid": 0, "tid": e.cpu, "name": "message", "cat": "message", "ts": us(e.ns)}
            if phase == "f":
                flow["bp"] = "e"
            if len(steps) > 1:
                out.append(flow)
    return {"traceEvents": out, "displayTimeUnit": "ns"}


page = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Nutcracker: a trace</title>
<style>body{font:13px sans-serif;margin:1em}svg{border:1px solid #999}rect.run{stroke:#fff;stroke-width:.5}
line{stroke-width:1.5;vector-effect:non-scaling-stroke}line.msg{stroke:#c00}#view{overflow-x:scroll}</style>
<h1>A trace</h1><p>%(summary)s</p>
<p>Each row is a CPU: what runs there, and below it ticks for what happened (point at one to read it). Red lines are messages from
put to got to reply. <button onclick="zoom(2)">closer</button> <button onclick="zoom(.5)">farther</button></p>
<div id="view"><svg id="s" width="%(width)d" height="%(height)d" viewBox="0 0 %(width)d %(height)d"
preserveAspectRatio="none">%(body)s</svg></div>
<script>let w=%(width)d;function zoom(f){w*=f;document.getElementById("s").setAttribute("width",w)}</script></html>
"""
tick_colours = {"put": "#c00", "got": "#c60", "reply": "#900", "ipi": "#06c", "taken": "#09c", "fault": "#a0a",
                "lent": "#080", "broken": "#c0c", "dma": "#444", "lost": "#000"}


def to_html(events):
    width, lane = 1200, 70
    start, end = (events[0].ns, max(events[-1].ns, events[0].ns + 1)) if events else (0, 1)
    cpus = sorted({e.cpu for e in events})
    row = {cpu: 20 + number * lane for number, cpu in enumerate(cpus)}
    x = lambda ns: round((ns - start) * width / (end - start), 3)
    body = []
    for cpu, name, begin, stop in runs(events):
        hue = sum(name.encode()) * 37 % 360
        fill = "#eee" if name.startswith("idle") else f"hsl({hue},60%,70%)"
        body.append(f'<rect class="run" x="{x(begin)}" y="{row[cpu]}" width="{max(x(stop) - x(begin), .01)}" height="28" '
                    f'fill="{fill}"><title>{html.escape(name)}: {(stop - begin) / 1000:.1f} us on CPU {cpu}</title></rect>')
    for e in events:
        if e.what != "switch":
            body.append(f'<line x1="{x(e.ns)}" x2="{x(e.ns)}" y1="{row[e.cpu] + 30}" y2="{row[e.cpu] + 44}" '
                        f'stroke="{tick_colours[e.what]}"><title>{(e.ns - start) / 1000:.2f} us: {html.escape(describe(e))}'
                        "</title></line>")
    for steps in journeys(events):
        for one, other in zip(steps, steps[1:]):
            body.append(f'<line class="msg" x1="{x(one.ns)}" y1="{row[one.cpu] + 30}" x2="{x(other.ns)}" '
                        f'y2="{row[other.cpu] + 30}"/>')
    for cpu in cpus:
        body.append(f'<text x="2" y="{row[cpu] - 3}">CPU {cpu}</text>')
    summary = f"{len(events)} events in {(end - start) / 1000:.0f} us on {len(cpus)} CPUs, {len(journeys(events))} messages"
    if losses(events):
        summary += f" ({losses(events)})"
    return page % {"summary": summary, "width": width, "height": 20 + lane * max(len(cpus), 1), "body": "\n".join(body)}


def run_traced(command, options):
    """What /proc/trace says after a command in the guest."""
    line = f"echo 1 > /proc/trace\n{command}\necho 0 > /proc/trace; echo; echo '{begin_mark}'; cat /proc/trace"
    done = subprocess.run([project.root / "tools/run", *options, "--exec", line], stdout=subprocess.PIPE)
    said, mark, dump = done.stdout.partition(f"\n{begin_mark}\n".encode())
    sys.stdout.buffer.write(said)
    if not mark:
        raise project.problem("the guest gave no trace")
    return dump


def check_outputs(files):
    """They are written last, when the guest has run."""
    for file in map(Path, files):
        if not os.access(file if file.exists() else file.parent, os.W_OK) or file.is_dir():
            raise project.problem(f"{file} cannot be written")


def read_dump(name):
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise project.problem(f"{name}: {error.strerror}")


def main():
    parser = argparse.ArgumentParser(prog="tools/trace", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", nargs="?", help="what `cat /proc/trace` printed; - for standard input")
    parser.add_argument("--exec", metavar="CMD", help="run this in the guest and trace it")
    parser.add_argument("--smp", default="2", metavar="N", help="of the guest")
    parser.add_argument("--json", metavar="FILE", help="write Chrome's trace event JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with a picture")
    wanted = parser.parse_args()
    if bool(wanted.dump) == bool(wanted.exec):
        parser.error("a dump, or --exec")
    if not wanted.json and not wanted.html:
        parser.error("--json or --html, or both")
    check_outputs(file for file in (wanted.json, wanted.html) if file)
    dump = run_traced(wanted.exec, ["--smp", wanted.smp]) if wanted.exec else read_dump(wanted.dump)
    events = parse(dump.decode(errors="replace"))  # names are programs', and may be cut in mid-letter
    if wanted.json:
        Path(wanted.json).write_text(json.dumps(to_chrome(events)))
    if wanted.html:
        Path(wanted.html).write_text(to_html(events))
    project.say(f"{len(events)} events")
    if losses(events):
        project.say(losses(events))
    return 0


if __name__ == "__main__":
    project.run_main(main)
