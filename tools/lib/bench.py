"""./tools/bench: measures and prints the tables."""

import argparse
import dataclasses
import fnmatch
import os
import re
import subprocess
import sys

import machine
import project

timeout = 600


@dataclasses.dataclass
class measure:
    name: str
    value: str
    unit: str
    budget: str = "-"
    remark: str = ""

    def within(self):
        """True, False, or None where there is no budget. Of a gain (`times`) the budget is the least that will do."""
        try:
            value, budget = float(self.value), float(self.budget)
            return value >= budget if self.unit == "times" else value <= budget
        except ValueError:
            return None


def parse(text):
    """The measures among other lines: `bench`, name, value, unit, budget or -, remark, separated by tabs."""
    for line in text.splitlines():
        if found := re.match(r"bench[ \t](.+)", line):
            fields = found[1].split("\t") if "\t" in found[1] else found[1].split(None, 4)
            if len(fields) >= 3:
                name, value, unit, budget, remark = [*fields, "-", ""][:5] if len(fields) < 5 else fields[:5]
                yield measure(name, value, unit, budget, "" if remark == "-" else remark)


def print_table(title, measures, unit_word):
    """Budgets are in instructions: `value` tables, of other units, show them but do not judge."""
    print(f"\n{title}")
    if not measures:
        print("  nothing was measured")
        return
    width = max(len("operation"), *(len(one.name) for one in measures))
    print(f"  {'operation':<{width}}  {unit_word:>14}  {'budget':>10}  within?")
    for one in measures:
        verdict = {True: "yes", False: "NO", None: ""}[one.within() if unit_word != "value" else None]
        value = f"{one.value} {one.unit}" if unit_word == "value" or one.unit == "times" else one.value
        print(f"  {one.name:<{width}}  {value:>14}  {one.budget:>10}  {verdict:<7}  {one.remark}".rstrip())


def measure_in_kernel(how, glob):
    with machine.boot(how, f"bench={glob}" if glob else "bench") as running:
        status = running.wait(timeout)
        (project.build_root / f"bench-{how.smp}.log").write_bytes(running.bytes())
        if wrong := machine.describe_end(status, running.text(), running.errors(), timeout):
            raise project.problem(f"{wrong} (all of it: build/bench-{how.smp}.log)")
        return list(parse(running.text()))


def measure_on_host(glob):
    project.install("build", "host")
    program = project.find_built(project.build("host"), "nutcracker-bench")
    done = subprocess.run([str(program), *([glob] if glob else [])], capture_output=True, text=True, timeout=timeout,
                          env=dict(os.environ, NUTCRACKER_CPUS="4"))
    if done.returncode != 0:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise project.problem(f"{program.name} ended with status {done.returncode}")
    return [one for one in parse(done.stdout) if fnmatch.fnmatchcase(one.name, glob or "*")]


def main():
    parser = argparse.ArgumentParser(
        prog="./tools/bench", allow_abbrev=False,
        description="Measures: instructions an operation on one CPU under -icount (the same on every machine), "
                    "nanoseconds on four CPUs, and the host port's native figures. Exits 1 if a budget is exceeded.")
    parser.add_argument("--vs", choices=["linux"],
                        help="one user program on this kernel and on Debian's Linux, side by side (Linux is downloaded)")
    parser.add_argument("--filter", default="", metavar="GLOB", help="only the operations that fit")
    parser.add_argument("--host", action="store_true", help="only the host port's table, no QEMU")
    args = parser.parse_args()
    project.end_on_signals()
    if args.vs:
        import versus  # which imports this

        return 0 if versus.compare(args.filter) else 1
    over = False
    if not args.host:
        project.install("build", "image", "qemu")
        counted = measure_in_kernel(machine.options(smp=1, icount=True), args.filter)
        counted = [one for one in counted if one.unit != "ns"]
        print_table("One CPU, instructions counted", counted, "instructions")
        over = any(one.within() is False for one in counted)
        timed = [one for one in measure_in_kernel(machine.options(smp=4), args.filter) if one.unit == "ns"]
        print_table("Four CPUs under QEMU, nanoseconds", timed, "ns")
    print_table("Host port, native", measure_on_host(args.filter), "value")
    return 1 if over else 0


if __name__ == "__main__":
    project.run_main(main)
