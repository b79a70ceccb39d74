"""What ./tools/test can do: each function here is a kind of scenario and gives a list of tap.result.

The table of scenarios is in test_runner.py. A scenario gets a `context` and the arguments from the table.
"""

import concurrent.futures
import dataclasses
import difflib
import fnmatch
import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import debian
import frames
import lint
import machine
import project
import tap
import tools_test
import userland

self_test_timeout = 300
host_timeout = 900
command_timeout = 120
user_test_timeout = 900


@dataclasses.dataclass
class context:
    name: str  # the scenario's
    tests: str  # a glob that picks tests by name, "" for all
    long: bool
    logs: Path

    def log(self, part=""):
        return self.logs / f"{self.name}{part}.log"


def passed(name):
    return tap.result(name, True)


def failed(name, *lines):
    return tap.result(name, False, list(lines))


def check(name, good, *lines):
    return passed(name) if good else failed(name, *lines)


def last_lines(text, count=15):
    return [line for line in text.splitlines() if line.strip()][-count:]


# The tools themselves and the look of the code.


def tool_tests(it):
    """The unit tests of these tools."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(tools_test)
    report = tools_test.collect(suite)
    return [check(name, not text, *text.splitlines()) for name, text in report]


def lint_checks(it):
    return [check(f"lint.{name}", not problems, *problems[:20]) for name, problems in lint.run_checks()]


# Under GoogleTest on the host.


def google_test_results(text):
    """Results from what GoogleTest prints; a test that began and never ended has failed."""
    results, name, lines = [], None, []
    for line in text.splitlines():
        if found := re.search(r"\[ RUN      \] (\S+)", line):
            name, lines = found[1], []
        elif name and (found := re.search(r"\[ +(OK|FAILED|SKIPPED) +\] " + re.escape(name), line)):
            results.append(tap.result(name, found[1] != "FAILED", lines, found[1] == "SKIPPED"))
            name = None
        elif name:
            lines.append(line)
    if name:
        results.append(failed(name, "the process ended in this test:", *lines[:40]))
    return results


def without_address_randomisation():
    """ThreadSanitizer wants its shadow memory where a randomised process may already have something."""
    command = ["setarch", os.uname().machine, "-R"]
    return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else []


def host_tests(it, flavour):
    program = project.find_built(project.build(flavour), "nutcracker-tests")
    command = [str(program)]
    if it.tests:
        command.append(f"--gtest_filter={it.tests}")
    if flavour == "host-tsan":
        command = without_address_randomisation() + command
    environment = dict(os.environ, NUTCRACKER_CPUS="4")
    environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    environment.setdefault("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1")
    log = it.log()
    with open(log, "wb") as file:
        try:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                                    env=environment, timeout=host_timeout, cwd=log.parent).returncode
        except subprocess.TimeoutExpired:
            status = None
    text = log.read_text(errors="replace")
    results = google_test_results(text)
    if status is None:
        results.append(failed(f"{it.name}.ends", f"time-out: still running after {host_timeout} s"))
    elif status != 0 and all(one.passed for one in results):
        results.append(failed(f"{it.name}.ends", f"{program.name} ended with status {status}", *last_lines(text)))
    return results


# In QEMU.


def boot_once(it, how, line, timeout, modules=None, log_part=""):
    """Boots, waits for the end, keeps the serial line in a log file. Gives the machine."""
    with machine.boot(how, line, modules) as running:
        running.wait(timeout)
        it.log(log_part).write_bytes(running.bytes())
        return running


def self_tests(it, **how):
    """The kernel's self-tests; 20 times over with --long where the table says so."""
    if it.tests.startswith("user."):
        return []
    rounds = 20 if how.pop("repeat", False) and it.long else 1
    everything = []
    for number in range(1, rounds + 1):
        line = f"selftest={it.tests}" if it.tests else "selftest"
        ran = boot_once(it, machine.options(**how), line, self_test_timeout, log_part=f"-{number}" if rounds > 1 else "")
        results, wrong = tap.judge(ran.status, ran.text(), ran.errors(), self_test_timeout)
        everything += results
        if wrong:
            everything.append(failed(f"{it.name}.ends", wrong, *last_lines(ran.text())))
    return everything


def user_tests(it, programs="*", seconds=0, long_seconds=0, options="", **how):
    """The programs of tests/user, under init; with --long five times over, or for longer."""
    if it.tests:
        part, _, rest = it.tests.partition(".")
        if part != "user":
            return []
        programs = rest.split(".")[0] or "*"
    seconds = long_seconds if it.long else seconds
    option = f"usertest={programs} {options}".strip() + (f" fuzz_seconds={seconds}" if seconds else "")
    rounds = 5 if it.long and not seconds else 1
    everything = []
    for number in range(1, rounds + 1):
        limit = user_test_timeout + 2 * seconds
        ran = boot_once(it, machine.options(**how), option, limit, {"initrd": userland.initrd()},
                        log_part=f"-{number}" if rounds > 1 else "")
        results, wrong = tap.judge(ran.status, ran.text(), ran.errors(), limit)
        everything += [one for one in results if fnmatch.fnmatchcase(one.name, it.tests or "*")]
        if wrong:
            everything.append(failed(f"{it.name}.ends", wrong, *last_lines(ran.text())))
    return everything


def user_tests_on_linux(it):
    """That the tests are right: all of them pass on Debian's kernel."""
    kernel, version = userland.linux_kernel()
    with machine.boot_linux(machine.options(smp=2), kernel, userland.initrd(), "usertest=*") as running:
        running.wait(user_test_timeout)
        it.log().write_bytes(running.bytes())
        text = running.text()
    results, planned = tap.parse(text)
    ended = check("user.linux.ends", planned == len(results), f"{len(results)} of {planned} tests on {version}", *last_lines(text))
    return [*results, ended]


def debian_programs(it):
    """A whole Debian says the same on this kernel and on Debian's."""
    root = debian.archive()
    how = machine.options(smp=2, mem=debian.memory)
    kernel, version = userland.linux_kernel()

    def run(booting, part):
        with booting as running:
            running.wait(user_test_timeout)
            it.log(part).write_bytes(running.bytes())
            return running.bytes()

    # Side by side: most of the time one CPU of each idles.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [pool.submit(run, machine.boot(how, "", {"initrd": root, "exec": debian.command.encode()}), ""),
                pool.submit(run, machine.boot_linux(how, kernel, root, f'exec="{debian.command}"'), "-linux")]
        here, there = (one.result() for one in both)
    ours, wanted = (debian.by_script(frames.split(serial)[1].decode(errors="replace")) for serial in (here, there))
    results = [check("debian.ends", wanted and ours.keys() == wanted.keys(), f"scripts here {sorted(ours)}, on {version} {sorted(wanted)}",
                     *last_lines(machine.plain(here.decode(errors="replace"))))]
    for name, text in wanted.items():
        mine = ours.get(name, "")
        difference = difflib.unified_diff(text.splitlines(), mine.splitlines(), version, "Nutcracker", lineterm="")
        results.append(check(f"debian.{name}", text == mine, *list(difference)[:20]))
    return results


def run_tool(it, *arguments, part=""):
    """Calls ./tools/run as a user does. Gives (status, stdout, the kernel's log and whatever else was said)."""
    project.build("x86_64")  # a tree that does not build is told once, not by each scenario
    log = it.log(part + "-serial")
    log.write_bytes(b"")
    command = [str(project.root / "tools/run"), "--timeout", str(command_timeout), "--log", str(log), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=command_timeout + 600)
    said = machine.plain(log.read_text(errors="replace")) + done.stderr.decode(errors="replace")
    it.log(part).write_bytes(done.stdout + b"\n" + done.stderr)
    return done.returncode, done.stdout.decode(errors="replace"), said


# Disks.

mebibyte = 1 << 20
disk_bytes = 24 * mebibyte
copied_reasons = ["file read", "file write", "bounced", "too small", "over limit", "not lendable"]
disk_script = """
cat /proc/partitions
echo A `md5sum </dev/FIRST`
echo B `dd if=/dev/FIRST bs=1M iflag=direct 2>/dev/null | md5sum`
echo C `dd if=/dev/PART bs=7k 2>/dev/null | md5sum`
dd if=/dev/FIRST of=/dev/SECOND bs=96k count=128 conv=fsync 2>/dev/null || echo FAILED
cat /proc/xio >/tmp/before
dd if=/dev/FIRST of=/dev/SECOND bs=1M skip=12 seek=12 count=8 iflag=direct oflag=direct 2>/dev/null || echo FAILED
cat /proc/xio >/tmp/after
for f in before after; do echo LEDGER; cat /tmp/$f; done; echo END
dd if=/dev/FIRST of=/dev/SECOND bs=1M skip=20 seek=20 2>/dev/null || echo FAILED
cat /proc/diskstats
"""


# What the first disk, its first partition and the second disk are called, and their major number.
disk_names = {"virtio": ("vda", "vda1", "vdb", 254), "nvme": ("nvme0n1", "nvme0n1p1", "nvme1n1", 259),
              "ahci": ("sda", "sda1", "sdb", 8)}


def with_names(script, driver):
    for word, name in zip(("FIRST", "PART", "SECOND"), disk_names[driver]):
        script = script.replace(f"/dev/{word}", f"/dev/{name}")
    return script


def random_image(path, seed, partition=None):
    """A disk of random bytes; `partition` (first sector, sectors) is in its table."""
    content = bytearray(random.Random(seed).randbytes(disk_bytes))
    content[446:512] = bytes(66)
    if partition:
        content[446:462] = struct.pack("<8B2I", 0, 0, 0, 0, 0x83, 0, 0, 0, *partition)
        content[510:512] = b"\x55\xaa"
    path.write_bytes(content)
    return bytes(content)


def ledger_rows(text):
    """{reason: bytes copied} of what /proc/xio prints."""
    return {found[1]: int(found[2]) for found in re.finditer(r"^ *([a-z][a-z -]*?) +(\d+)\b", text, re.MULTILINE)}


def disks(it, smp, driver="virtio", iommu=False, options=""):
    """Whole disks are read and copied in the guest, through the cache and past it; the bytes are those on the host."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        first, second = Path(folder) / "first.img", Path(folder) / "second.img"
        partition = (2048, 8 * mebibyte // 512)
        content = random_image(first, 5, partition)
        second.write_bytes(bytes(disk_bytes))
        status, output, said = run_tool(it, "--smp", str(smp), "--disk-driver", driver, "--disk", str(first),
                                        "--disk", str(second), "--exec", with_names(disk_script, driver),
                                        *(["--iommu"] if iommu else []), *(["--append", options] if options else []))
        copied, untouched = second.read_bytes() == content, first.read_bytes() == content
    sums = {found[1]: found[2] for found in re.finditer(r"^([ABC]) ([0-9a-f]{32})", output, re.MULTILINE)}
    whole = hashlib.md5(content).hexdigest()
    part = hashlib.md5(content[2048 * 512 : 2048 * 512 + 8 * mebibyte]).hexdigest()
    ledgers = [ledger_rows(text) for text in output.partition("END")[0].split("LEDGER")[1:]]
    grown = [f"{name}: {ledgers[1].get(name, 0) - ledgers[0].get(name, 0)}" for name in copied_reasons
             if len(ledgers) != 2 or ledgers[1].get(name, 0) - ledgers[0].get(name, 0) > mebibyte // 4]
    tail = [f"status {status}", *last_lines(output, 30), *last_lines(said)]
    whole_name, part_name, _, major = disk_names[driver]
    return [
        check("disk.is_there_with_its_partition", re.search(rf"{major} +1 +8192 {part_name}", output), *tail),
        check("disk.read_through_the_cache", sums.get("A") == whole, *tail),
        check("disk.read_past_the_cache", sums.get("B") == whole, *tail),
        check("disk.partition_is_read", sums.get("C") == part, *tail),
        check("disk.copies_arrive", status == 0 and copied and "FAILED" not in output, *tail),
        check("disk.what_is_read_stays", untouched, *tail),
        check("disk.direct_transfers_copy_nothing", ledgers and not grown, *grown, *tail),
        check("disk.nothing_is_refused", ("devices reach only" in said) == iommu and "was refused" not in said, *tail),
        check("disk.statistics_are_kept", re.search(rf"{major} +0 {whole_name} +[1-9]\d* 0 [1-9]\d{{4}}", output), *tail),
    ]


def disk_errors(it, driver="virtio"):
    """What the disk cannot read or write is EIO in the guest, and the rest goes on."""
    script = """
dd if=/dev/FIRST of=/tmp/x bs=4k skip=100 count=1 iflag=direct; echo direct $?
dd if=/dev/FIRST of=/tmp/x bs=4k skip=100 count=1; echo cached $?
dd if=/dev/FIRST of=/tmp/x bs=4k skip=101 count=1 iflag=direct && echo next good
dd if=/dev/zero of=/dev/FIRST bs=4k seek=200 count=1 oflag=direct; echo write $?
dd if=/dev/zero of=/dev/FIRST bs=4k seek=200 count=1 conv=fsync; echo fsync $?
dd if=/dev/zero of=/dev/FIRST bs=4k seek=300 count=1 oflag=direct && echo other good
"""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        image = Path(folder) / "bad.img"
        random_image(image, 6)
        rules = ({"event": "read_aio", "iotype": "read", "errno": 5, "sector": 803},
                 {"event": "write_aio", "iotype": "write", "errno": 5, "sector": 1600})
        how = machine.options(smp=2, disk_driver=driver, disks=(machine.disk(image, errors=rules),))
        ran = boot_once(it, how, "", command_timeout, {"initrd": userland.initrd(), "exec": with_names(script, driver).encode()})
        end = image.read_bytes()[300 * 4096 : 301 * 4096]
    status, output = frames.split(ran.bytes())[:2]
    text = output.decode(errors="replace")
    tail = [f"status {status}", *last_lines(text, 20), *last_lines(ran.text())]
    expected = ["direct 1", "cached 1", "next good", "write 1", "fsync 1", "other good"]
    return [*(check(f"disk_errors.{line.replace(' ', '_')}", line in text.splitlines(), *tail) for line in expected),
            check("disk_errors.the_rest_arrives", end == bytes(4096), *tail),
            check("disk_errors.machine_goes_on", ran.status == machine.status_passed, *tail)]


def disk_tests(it, smp, driver="virtio", **more):
    """The programs' test of disks, with a disk that they may write to."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        image = Path(folder) / "scratch.img"
        image.write_bytes(bytes(disk_bytes))
        return user_tests(it, programs="disk", options=f"disk_test=/dev/{disk_names[driver][0]}" + (" stall_rounds=2000" if it.long else ""), smp=smp,
                          disk_driver=driver, disks=(machine.disk(image),), **more)


pull_script = """
dd if=/dev/zero of=/dev/FIRST bs=64k count=16 conv=fsync 2>/dev/null && echo written first
(while dd if=/dev/FIRST of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done; echo reader ended) &
(while dd if=/dev/zero of=/dev/FIRST bs=256k oflag=direct seek=8 count=32 conv=notrunc 2>/dev/null; do :; done; echo writer ended) &
sleep 1
echo PULL
wait
dd if=/dev/FIRST of=/dev/null bs=4k count=1 2>/dev/null; echo opened after $?
dd if=/dev/SECOND of=/dev/null bs=64k iflag=direct 2>/dev/null && echo other works
dd if=/dev/zero of=/dev/SECOND bs=64k count=4 conv=fsync 2>/dev/null && echo other written
sync; echo synced
"""


def pull_first_disk(running, how, asked, patience):
    """Takes the disk out of its slot once the guest has asked for it, and waits until the guest says that it has seen to it."""
    if asked is None:
        return
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(how.monitor)
        monitor.sendall(b"device_del pulled0\n")
        running.wait_for("osynced", patience, asked)


def pull_while_busy(it, driver, options):
    """What the serial port said, as bytes and as text, and how QEMU ended."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        images = [Path(folder) / name for name in ("first.img", "second.img")]
        for image in images:
            image.write_bytes(bytes(disk_bytes))
        how = machine.options(smp=2, disk_driver=driver, disks=tuple(machine.disk(image) for image in images),
                              slots=True, monitor=str(Path(folder) / "monitor"))
        modules = {"initrd": userland.initrd(), "exec": with_names(pull_script, driver).encode()}
        with machine.boot(how, options, modules) as running:
            asked = running.wait_for("oPULL", command_timeout)
            pull_first_disk(running, how, asked, command_timeout)
            running.wait(command_timeout)
            it.log().write_bytes(running.bytes())
            return running.bytes(), running.text(), running.status


def pulled_out(it, driver, torn=False):
    """A disk is pulled out of the machine (device_del) while it is read and written.

    Of a controller that is torn out QEMU 7.2 itself dies at times: a request of the disk that has gone is completed
    into queues that were freed with it. What the kernel would have done is not known then: once more.
    """
    for _ in range(5 if torn else 1):
        serial, text, ended = pull_while_busy(it, driver, "tear_out" if torn else "")
        if ended != -signal.SIGSEGV:
            break
    output = frames.split(serial)[1].decode(errors="replace")
    lines = output.splitlines()
    tail = [f"QEMU: {ended}", *last_lines(output, 30), *last_lines(text, 30)]
    return [
        *(check(f"pulled.{what.replace(' ', '_')}", what in lines, *tail) for what in
          ("written first", "reader ended", "writer ended", "opened after 1", "other works", "other written", "synced")),
        check("pulled.the_slot_was_emptied", "asked to let go" in text, *tail),
        check("pulled.machine_goes_on", ended == machine.status_passed and not machine.panic_line(text), *tail),
    ]


held_script = r"""
told() { until dd if=/dev/SECOND bs=512 count=1 iflag=direct 2>/dev/null | grep -q $1; do sleep 0.1; done; }
put() { yes version $1 | head -c 4096 >/tmp/v$1; dd if=/tmp/v$1 of=/dev/FIRST bs=4k seek=7 conv=notrunc 2>/dev/null; }
to_disk() { dd if=/dev/null of=/dev/FIRST conv=notrunc,fsync 2>/dev/null && echo synced $1; }
put 0; to_disk 0; echo READY; told held
put 1; to_disk 1 &
until [ "$(awk '$3 == "FIRST" { print $12 }' /proc/diskstats)" -ge 1 ]; do sleep 0.1; done
sleep 1; put 2; dd if=/dev/FIRST bs=4k skip=7 count=1 2>/dev/null | cmp - /tmp/v2 && echo reads 2; to_disk 2 &
sleep 1; put 3; dd if=/dev/FIRST bs=4k skip=7 count=1 2>/dev/null | cmp - /tmp/v3 && echo reads 3; echo WRITTEN; wait
to_disk 3; echo END
"""


def held_back(it, driver):
    """The first of three versions of a block is held inside QEMU: nobody who writes waits for that, and the last one is what stays."""
    def block():
        with open(images[0], "rb") as file:
            file.seek(7 * 4096)
            return file.read(4096)

    def version(number):
        return (f"version {number}\n" * 500).encode()[:4096]

    def ask(monitor, command):
        monitor.sendall(f'qemu-io disk0 "{command}"\n'.encode())
        time.sleep(1)

    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        images = [Path(folder) / name for name in ("first.img", "second.img")]
        for image in images:
            image.write_bytes(bytes(mebibyte))
        how = machine.options(smp=2, disk_driver=driver, disks=(machine.disk(images[0], stops=True), machine.disk(images[1])),
                              monitor=str(Path(folder) / "monitor"))
        script = with_names(held_script, driver).replace('"FIRST"', f'"{disk_names[driver][0]}"')
        with machine.boot(how, "", {"initrd": userland.initrd(), "exec": script.encode()}) as running, socket.socket(socket.AF_UNIX) as monitor:
            before = meanwhile = None
            if running.wait_for("READY", command_timeout):
                monitor.connect(how.monitor)
                before = block()
                ask(monitor, "break pwritev first")
                with open(images[1], "r+b") as file:
                    file.write(b"held")
                written = running.wait_for("WRITTEN", command_timeout) and running.wait_for("Suspended request .first", 60)
                meanwhile = block()
                output = frames.split(running.bytes())[1].decode(errors="replace")
                ask(monitor, "resume first")
            running.wait(command_timeout)
            it.log().write_bytes(running.bytes())
            lines = frames.split(running.bytes())[1].decode(errors="replace").splitlines()
            ended, text = running.status, running.text()
        after = block()
    tail = [f"QEMU: {ended}", *lines, *last_lines(text)]
    all_lines = "\n".join(lines)  # QEMU's own words may stand in front of the guest's
    return [
        check(f"{it.name}.writers_do_not_wait", meanwhile and written and "reads 2" in all_lines and "reads 3" in all_lines, *tail),
        check(f"{it.name}.the_first_was_held", meanwhile and before == version(0) and meanwhile == version(0) and
              "synced 0" in output and "synced 1" not in output and "synced 2" not in output, *tail),
        check(f"{it.name}.the_newest_stays", after == version(3) and all(f"synced {n}" in all_lines for n in range(4)), after[:20], *tail),
        check(f"{it.name}.machine_goes_on", ended == machine.status_passed and "END" in lines, *tail),
    ]


def bouncing(it):
    """QEMU's edu device reaches 256 MiB of 512: what lies higher bounces."""
    how = machine.options(smp=2, devices=("edu",))
    ran = boot_once(it, how, "selftest=edu.*", command_timeout)
    results, wrong = tap.judge(ran.status, ran.text(), ran.errors(), command_timeout)
    tail = last_lines(ran.text())
    return [*results, check("edu.ends", not wrong, wrong, *tail),
            check("edu.was_there_and_bounced", "edu: bounced 5088 bytes as it should" in ran.text(), *tail)]


def out_of_reach(it):
    """With an IOMMU the edu device reaches nothing but what a map gives it, and the kernel names it for trying."""
    how = machine.options(smp=2, devices=("edu",), iommu=True)
    ran = boot_once(it, how, "selftest=edu.*", command_timeout)
    results, wrong = tap.judge(ran.status, ran.text(), ran.errors(), command_timeout)
    text, tail = ran.text(), last_lines(ran.text(), 40)
    return [*results, check("iommu.ends", not wrong, wrong, *tail),
            check("iommu.was_there_and_refused", "edu: nothing outside of a map was reached, 6 times" in text, *tail),
            check("iommu.names_the_device", re.search(r"iommu: edu [0-9A-F:.]+: a write to 0x[0-9a-f]+ was refused", text), *tail)]


def answers(it, arguments, command, expect):
    """One of the monitor's commands runs in the guest and its output matches."""
    status, output, said = run_tool(it, *arguments, "--append", "monitor", "--exec", command)
    lines = [f"--exec '{command}' ended with status {status}", *last_lines(output), *last_lines(said)]
    return [
        check(f"{it.name}.status", status == 0, *lines),
        check(f"{it.name}.output", re.search(expect, output, re.MULTILINE), f"no match for {expect}", *lines),
    ]


def no_acpi(it):
    """A machine without ACPI tables: the boot CPU alone is enough."""
    ran = boot_once(it, machine.options(smp=2, acpi=False), "", command_timeout, {"exec": b"cpus"})
    wrong = machine.describe_end(ran.status, ran.text(), ran.errors(), command_timeout)
    status = frames.split(ran.bytes())[0]
    return [check("no_acpi.boots", not wrong and status == 0, wrong or f"cpus: {status}", *last_lines(ran.text()))]


def exec_contract(it):
    """What scripts rely on: only output on stdout, the command's status, runs side by side."""
    status, output, said = run_tool(it, "--exec", "echo out; echo err >&2; printf 'no line end \\001'; exit 7")
    command = [str(project.root / "tools/run"), "--timeout", str(command_timeout), "--smp", "1", "--exec", "seq 1 3000"]
    pair = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for _ in range(2)]
    outputs = [one.communicate()[0].decode(errors="replace") for one in pair]
    killed, _, _ = run_tool(it, "--smp", "2", "--exec", "kill -KILL $$", part="-killed")
    return [
        check("run.exec_ends_with_the_commands_status", status == 7 and killed == 128 + 9, f"{status} and {killed}"),
        check("run.exec_prints_only_output", output == "out\nno line end \x01", repr(output)),
        check("run.exec_keeps_stderr_apart", "err\n" in said, *last_lines(said)),
        check("run.exec_says_nothing_twice", "\x01" not in said, *last_lines(said)),
        check("run.exec_log_is_apart", "memory: " in said, *last_lines(said)),
        check("run.two_at_once_do_not_meet", outputs == ["".join(f"{n}\n" for n in range(1, 3001))] * 2,
              *[one[-200:] for one in outputs]),
    ]


def monitor_exec(it):
    """The same of the monitor's commands."""
    status, output, said = run_tool(it, "--append", "monitor", "--exec", "help", part="-help")
    bad_status, bad_output, _ = run_tool(it, "--append", "monitor", "--exec", "no-such-command", part="-bad")
    return [
        check("monitor.exec_ends_with_the_commands_status", status == 0 and bad_status not in (0, 124, 125),
              f"help: {status}, an unknown command: {bad_status}"),
        check("monitor.exec_prints_only_output", "help" in output and "\x01" not in output and "\x02" not in output,
              *last_lines(output)),
        check("monitor.exec_log_is_apart", said.strip() and not any(line in output for line in last_lines(said)),
              *last_lines(said)),
        check("monitor.unknown_command_says_so", "no-such-command" in bad_output, *last_lines(bad_output)),
    ]


def panics(it):
    """A panic says why, shows every CPU's backtrace with names, and the machine ends as failed."""
    status, output, said = run_tool(it, "--append", "monitor", "--exec", "panic", "--smp", "4")
    shown = {}  # CPU -> what was said about it
    for part in re.split(r"^(?=panic on cpu \d|cpu \d+ )", said, flags=re.MULTILINE):
        if found := re.match(r"(?:panic on )?cpu (\d+)", part):
            shown[int(found[1])] = part
    unnamed = [cpu for cpu in range(4) if not re.search(r"^ +[0-9a-f]{16} \S.*\+0x", shown.get(cpu, ""), re.MULTILINE)]
    return [
        check("panic.ends_as_failed", status == 125, f"--exec panic ended with status {status}"),
        check("panic.says_why", machine.panic_line(said), *last_lines(said)),
        check("panic.shows_every_cpu", set(shown) == set(range(4)), f"CPUs shown: {sorted(shown)}", *last_lines(said, 60)),
        check("panic.names_functions", not unnamed, f"no named function for CPU {unnamed}", *last_lines(said, 60)),
        check("panic.is_no_output", "panic on" not in output, *last_lines(output)),
    ]


def command_lines(it):
    """Whatever stands on the command line, the kernel boots, or says in one line what is wrong with it."""
    noise = random.Random(4)  # always the same bytes, so that a failure can be seen again
    printable = "".join(chr(code) for code in range(0x20, 0x7F))
    lines = {
        "unknown_option": "frobnicate unknown=1 =x = ==",
        "10000_characters": ("x" * 4999 + " ") * 2,
        "many_options": "a=b " * 2500,
        "all_printable": printable,
        "empty_values": "selftest_= seed= bench_ exec",
        "bad_number": "seed=99999999999999999999999999 seed=-1 seed=0x",
    }
    for number in range(3):
        raw = bytes(noise.choice([*range(1, 10), *range(11, 256)]) for _ in range(200))
        lines[f"random_bytes_{number}"] = os.fsdecode(raw)
    results = []
    for name, line in lines.items():
        ran = boot_once(it, machine.options(smp=1), line, command_timeout, {"exec": b"help"}, f"-{name}")
        text = ran.text()
        booted = ran.status == machine.status_passed and "\x01exec-end 0" in text
        refused = (ran.status == machine.status_failed and not machine.panic_line(text)
                   and len(re.findall(r"command line", text)) == 1)
        wrong = machine.describe_end(ran.status, text, ran.errors(), command_timeout) or "the command did not run"
        results.append(check(f"command_line.{name}", booted or refused, wrong, *last_lines(text)))
    return results


prompt = "nutcracker> "


def monitor_typing(it):
    """A person at the serial line: a typing mistake mended, an unknown command, then poweroff."""
    with machine.boot(machine.options(smp=2)) as running:
        at = running.wait_for(prompt, command_timeout)
        if at is None:
            it.log().write_bytes(running.bytes())
            return [failed("monitor.prompt", "no prompt", *last_lines(running.text()))]
        running.send("hexx\x7f\x7flp\r")
        helped = running.wait_for(r"poweroff[\s\S]*\n" + prompt, command_timeout, at)
        at = helped or at
        running.send("no-such-command\r")
        unknown = running.wait_for(r"no-such-command[^\n]*\n[\s\S]*no-such-command[\s\S]*\n" + prompt, command_timeout, at)
        at = unknown or at
        running.send("\r\r   \r" + "y" * 3000 + "\r")
        survived = running.wait_for(prompt + r"[\s\S]*" + prompt + r"[\s\S]*" + prompt + r"[\s\S]*" + prompt, command_timeout, at)
        # Far more than any buffer holds, while a command keeps the monitor from reading.
        busy = "selftest page*\r"
        running.send(busy + "echo typed ahead\r" * 500 + "poweroff\r")
        status = running.wait(command_timeout)
        kept = running.text().count("\ntyped ahead")
        it.log().write_bytes(running.bytes())
        tail = last_lines(running.text())
    return [
        check("monitor.backspace_mends_a_line", helped, *tail),
        check("monitor.unknown_command_is_named", unknown, *tail),
        check("monitor.empty_and_endless_lines_do_no_harm", survived, *tail),
        check("monitor.nothing_typed_ahead_is_lost", kept == 500, f"{kept} of 500 commands were done", *tail),
        check("monitor.poweroff_ends_the_machine", status == machine.status_passed, f"QEMU: {status}", *tail),
    ]


shell_prompt = r"/ # "


def shell_typing(it):
    """A person at BusyBox's shell: commands, ^C, ^Z and back, an end of input."""
    steps = [  # what is typed, what must come, the test's name
        ("echo one $((40+2))\r", r"\none 42\r?\n", "answers"),
        # A key that is meant for a program waits until it says that it is there.
        ("(echo runs; exec sleep 100)\r", r"\nruns\r?\n", "a_program_runs"),
        ("\x03", shell_prompt, "ctrl_c_ends_a_program"),
        ("echo status $?\r", r"\nstatus 130\r?\n", "ctrl_c_is_a_signal"),
        ("(echo again; exec sleep 100)\r", r"\nagain\r?\n", "another_runs"),
        ("\x1a", r"Stopped", "ctrl_z_stops_a_program"),
        ("jobs\r", r"Stopped +\(echo again; ?exec sleep 100\)", "jobs_are_listed"),
        ("bg; kill %1; wait; echo gone\r", r"\ngone\r?\n", "jobs_can_be_ended"),
        ("(echo reads; exec cat)\r", r"\nreads\r?\n", "a_program_waits_for_input"),
        ("to and fro\r", r"to and fro\r?\nto and fro\r?\n", "a_program_reads_what_is_typed"),
        ("\x04", shell_prompt, "ctrl_d_is_the_end_of_input"),
        ("(echo reads too; exec cat)\r", r"\nreads too\r?\n", "another_waits_for_input"),
        ("typed ahead\r\x04", r"typed ahead\r?\ntyped ahead\r?\n[\s\S]*" + shell_prompt, "an_end_of_input_waits_its_turn"),
        ("echo a mistkae\x7f\x7f\x7fake\r", r"\na mistake\r?\n", "backspace_mends_a_line"),
        ("bash --norc -i\r", r"bash-5", "bash_starts"),
        ("echo $((6*7)) $BASH_VERSION; exit\r", r"\n42 5[^\n]*\n", "bash_answers"),
        ("zsh -f -i\r", r"[%#] ", "zsh_starts"),
        ("echo z $((6*7)); exit\r", r"\nz 42\r?\n", "zsh_answers"),
        ("no-such-command\r", r"not found", "an_unknown_command_is_named"),
    ]
    with machine.boot(machine.options(smp=2), "", {"initrd": userland.initrd()}) as running:
        results = type_steps(running, "shell", steps)
        running.send("exit\r")
        status = running.wait(command_timeout)
        it.log().write_bytes(running.bytes())
        results.append(check("shell.its_end_switches_off", status == machine.status_passed, f"QEMU: {status}"))
    return results


def type_steps(running, name, steps):
    """Types at a shell. A step is (what is typed, what must come then, the name of that test)."""
    at = running.wait_for(shell_prompt, command_timeout)
    results = [check(f"{name}.prompts", at is not None, *last_lines(running.text()))]
    for keys, expected, step in steps if at is not None else []:
        running.send(keys)
        found = running.wait_for(expected, command_timeout, at)
        results.append(check(f"{name}.{step}", found is not None, *last_lines(running.text())))
        at = found or at
        time.sleep(0.2)
    return results


def vi_typing(it):
    """A person at BusyBox's vi. What it shows is painted on a screen, so the file tells what came of it."""
    # An escape that is followed at once by another key would be taken for a function key: so it ends a step, and the status
    # line, which begins with a dash then, tells that it was understood.
    escape, letter, understood = "\x1b", "/tmp/letter", r"- /tmp/letter"
    steps = [
        ("seq 1 50 > /tmp/long; seq 1 5 > /tmp/other\r", shell_prompt, "begins"),
        (f"vi {letter}\r", understood, "shows_a_new_file"),
        (f"iDear reader,\rsecnd line\rthird line\rlast{escape}", understood, "shows_what_is_typed"),
        (f"2Gfcao{escape}", understood, "inserts"),  # second
        ("yyGp3Gdd", r"Delete 1 lines", "copies_and_deletes"),  # the second at the end once more, and the third away
        (":%s/line/verse/g\r", r"2 substitutions", "replaces"),
        (f"1GA hello{escape}", understood, "appends"),
        (f"GoX{escape}", understood, "opens_a_line"),
        ("xu", r"Undo", "undoes"),
        (":r /tmp/other\r", r"/tmp/other", "reads_a_file"),
        ("/2\rdd", r"Delete 1 lines", "searches"),
        ("/4\rD\x0c", r"Dear reader, hello", "paints_it_all_anew"),
        ("\x1a", r"Stopped", "is_stopped_by_ctrl_z"),
        ("fg\r", r"Dear reader", "comes_back"),
        (":w\r", r"9L, 59C", "writes"),
        (f"1GdGiunwanted{escape}", understood, "deletes_all"),
        (":q!\r", shell_prompt, "leaves"),
        (f"tr '\\n' , < {letter}; echo\r", r"\nDear reader, hello,second verse,last,second verse,X,1,3,,5,\r?\n", "the_file_is_as_typed"),
        ("vi -c ':%s/1/one/g' -c ':wq' /tmp/long\r", r"50L", "takes_commands"),
        ("head -n 12 /tmp/long | tr '\\n' ,; wc -c < /tmp/long\r", r"one,2,3,4,5,6,7,8,9,one0,oneone,one2,171\r?\n", "carries_commands_out"),
        ("vi -R /tmp/long\r", r"Readonly", "opens_to_read"),
        ("\x06\x06G\x02:q\r", shell_prompt, "pages_and_leaves"),
    ]
    with machine.boot(machine.options(smp=2), "", {"initrd": userland.initrd()}) as running:
        results = type_steps(running, "vi", steps)
        it.log().write_bytes(running.bytes())
    return results


def shell_scripts(it):
    """The scripts of tests/shell by ./tools/run --exec, and the output that each must have."""
    results = []
    for script in sorted((project.root / "tests/shell").glob("*.sh")):
        status, output, said = run_tool(it, "--smp", "2", "--timeout", str(user_test_timeout), "--exec", script.read_text(), part=f"-{script.stem}")
        wanted = script.with_suffix(".out").read_text()
        difference = difflib.unified_diff(wanted.splitlines(), output.splitlines(), "wanted", "Nutcracker", lineterm="")
        results.append(check(f"shell.{script.stem}", status == 0 and output == wanted, f"status {status}", *list(difference)[:20], *last_lines(said, 5)))
    return results


most_seconds_to_prompt = 1.0
most_idle_mib = 11


def idle(it):
    """How soon the shell is there, and what memory is used then: all of the machine's but what is free and the archive."""
    how, programs = machine.options(), userland.initrd()
    seconds, used = [], []
    for number in range(6):  # others take time away, and what the prompt's own process had may not be free yet
        if seconds and min(seconds) <= most_seconds_to_prompt and used and min(used) <= most_idle_mib << 10:
            break
        # The shell itself looks at the clock, which began with the loader's hand-over, as it prints its prompt.
        with machine.boot(how, "PS1=[$(cat</proc/uptime)]#", {"initrd": programs}) as running:
            at = running.wait_for(r"\n\[[^\n]*\]#", command_timeout)
            if at is not None:
                time.sleep(0.5)
                running.send("cat /proc/meminfo /proc/pages; exit\r")
                running.wait(30)
            it.log(f"-{number + 1}").write_bytes(running.bytes())
            text = running.text()
        seconds += [float(found) for found in re.findall(r"^\[([0-9.]+) ", text, re.MULTILINE)[:1]]
        if found := re.search(r"^MemFree: +([0-9]+) kB", text, re.MULTILINE):
            used.append((int(how.mem.removesuffix("M")) << 10) - int(found[1]) - (len(programs) >> 10))
    return [
        check("idle.the_shell_prompts_within_a_second", seconds and min(seconds) <= most_seconds_to_prompt,
              f"seconds since the loader's hand-over: {seconds}"),
        check("idle.little_memory_is_used", used and min(used) <= most_idle_mib << 10,
              f"{used} KiB of {how.mem} with {how.smp} CPUs are neither free nor the archive's", *last_lines(text, 40)),
    ]


# What the host port's other programs say.


def system_call_page(it):
    """docs/syscalls.md is what the table says."""
    printed = subprocess.run([str(project.build("host") / "nutcracker-syscalls")], stdin=subprocess.DEVNULL, text=True,
                             capture_output=True, timeout=60).stdout
    page = project.root / "docs/syscalls.md"
    it.log("").write_text(printed)
    same = page.exists() and page.read_text() == printed
    return [check("docs.syscalls_md_is_the_table", same, "build/host/nutcracker-syscalls > docs/syscalls.md")]


def foreign_xio(it):
    """sys/xio on a platform that is not the kernel's."""
    ran = subprocess.run([str(project.build("host") / "xio-alone")], stdin=subprocess.DEVNULL, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    it.log("").write_text(ran.stdout)
    lines = [line for line in ran.stdout.splitlines() if line.startswith(("ok - ", "not ok - "))]
    results = [check(f"xio-alone: {line.partition(' - ')[2]}", line.startswith("ok"), line) for line in lines]
    return results + [check("xio-alone ends well", ran.returncode == 0, *last_lines(ran.stdout))]


# Fuzzing.


def fuzz(it, **environment):
    """Every fuzzer of build/fuzz for a bounded time; its corpus stays for the next run."""
    seconds = 300 if it.long else 15
    folder = project.build("fuzz")
    programs = sorted(path for path in folder.rglob("fuzz_*") if path.is_file() and os.access(path, os.X_OK))
    results = [] if programs else [failed("fuzz.exists", f"no fuzzer in {project.relative(folder)}")]
    for program in programs:
        corpus = folder / "corpus" / program.name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds = project.root / "tests/fuzz/corpus" / program.name
        command = [str(program), f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096",
                   f"-artifact_prefix={it.logs}/{program.name}-", str(corpus), *([str(seeds)] if seeds.is_dir() else [])]
        log = it.log(f"-{program.name}")
        with open(log, "wb") as file:
            try:
                status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                                        cwd=it.logs, env={**os.environ, **environment}, timeout=seconds + 120).returncode
            except subprocess.TimeoutExpired:
                status = None
        ended = "did not end" if status is None else f"ended with status {status}"
        results.append(check(f"fuzz.{program.name}", status == 0, f"{program.name} {ended}",
                             *last_lines(log.read_text(errors="replace"))))
    return results
