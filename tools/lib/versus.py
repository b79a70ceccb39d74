"""./tools/bench --vs linux: one static program (user/bench/bench.c) timing itself on this kernel and on Debian's Linux, in
the same QEMU. Nothing is kept from earlier runs: both are measured each time."""

import fnmatch
import re
import subprocess
import tempfile
from pathlib import Path

import bench
import machine
import project
import userland

timeout = 1200

# Without "enhanced" string moves. An emulator counts an instruction for each turn of a string instruction, and with them
# Linux moves a byte a turn instead of eight; real machines do the opposite. It is given the way that is cheaper here.
processor = "max,-erms"

# In instructions. What is relative stands below.
budgets = {
    "getppid": 120,
    "pipe round trip, bytes each way: 1": 4000,
    "socket round trip, bytes each way: 64": 5000,
    "socket write 1MiB stream": 100000,
    "fork+exit+wait 0MiB": 40000,
    "vfork+exec+wait": 80000,
    "anonymous page fault, zeroed (16 MiB touched, per page)": 900,
    "futex thread rt": 4000,
    "tmpfs read 1": 500,
    "tmpfs read 4096": 900,
    "tmpfs read 1048576": 40000,
    "tmpfs write 1": 600,
    "tmpfs write 1048576": 40000,
    "tmpfs open+close": 2500,
    "tmpfs stat": 1300,
    "tmpfs create+unlink": 8000,
    "tmpfs copy 16 MiB: read+write 128 KiB": 1500000,
    "tmpfs copy 16 MiB: sendfile": 200000,
    "tmpfs copy 16 MiB: copy_file_range": 200000,
    "tmpfs mmap+touch 1MiB+munmap": 60000,
    "message round trip, bytes each way: 64": 2500,
    **{f"message round trip, bytes each way: {size}{how}": 2 * each_way
       for size, each_way in ((65536, 5000), (1048576, 12000)) for how in ("", ", in a pool")},
}
of_linux = {
    "pipe write 1MiB stream": 0.1,  # lending against copying
    **{f"ext4 {what}": 0.5 for what in ("write 1", "write 4096", "write 65536", "write 1048576", "read 1", "read 4096", "read 65536",
                                       "open+close", "stat", "create+unlink")},
    "ext4 read 1048576": 0.2,
    "ext4 copy 16 MiB: copy_file_range": 0.1,
}
huge_message = "message of bytes, of which 1048576 are read, and its reply: 1073741824"
of_another = {
    "fork+exit+wait 256MiB": ("fork+exit+wait 0MiB", 1.1),  # a fork does not grow with what was touched
    # A program's files, once they are cached, are files. A twentieth is what two runs of one row differ by.
    **{f"memfs {what}": (f"tmpfs {what}", 1.05) for what in ("read 1", "read 4096", "read 65536", "read 1048576", "read 1048576, looked at")},
    "userfs read 1048576, uncached, looked at": ("message round trip, bytes each way: 1048576", 2),
    huge_message: ("message round trip, bytes each way: 1048576", 1),  # twice what one way costs
}
# Messages are compared with the best that Linux has for them.
ways_of_linux = ("a unix socket", "pipes", "vmsplice")


def measures(text, who):
    found = {one.name: float(one.value) for one in bench.parse(text)}
    if not found:
        raise project.problem(f"{who} measured nothing", [line for line in text.splitlines() if line.strip()][-15:])
    return found


def judged(running, who, log):
    running.wait(timeout)
    (project.build_root / log).write_bytes(running.bytes())
    return running.text()


def measure_ours(how, option, programs):
    log = f"bench-user-{how.smp}.log"
    with machine.boot(how, option, {"initrd": programs}) as running:
        text = judged(running, "this kernel", log)
        if wrong := machine.describe_end(running.status, text, running.errors(), timeout):
            raise project.problem(f"{wrong} (all of it: build/{log})")
    return measures(text, "this kernel")


def measure_linux(how, option, programs, kernel):
    log = f"bench-linux-{how.smp}.log"
    with machine.boot_linux(how, kernel, programs, option) as running:
        text = judged(running, "Linux", log)
        if running.status != 0 or "Kernel panic" in text:
            raise project.problem(f"Linux did not come to its end (all of it: build/{log})")
    return measures(text, "Linux")


def best_way(name, linux):
    """The cheapest of what Linux has for one of our messages, (value, by what), or None."""
    size = re.match(r"message round trip, bytes each way: \d+(?!\d*, by )", name)
    ways = [(linux[row], way) for way in ways_of_linux if size and (row := f"{size[0]}, by {way}") in linux]
    return min(ways, default=None)


def budget_of(name, ours, linux):
    if name in of_linux and name in linux:
        return of_linux[name] * linux[name]
    if name in of_another:
        base, factor = of_another[name]
        return factor * ours[base] if base in ours else None
    return budgets.get(name)


def print_table(title, ours, linux, with_budgets):
    """Gives whether all budgets are kept."""
    print(f"\n{title}")
    width = max(len("operation"), *(len(name) for name in ours))
    columns = f"  {'operation':<{width}}  {'Nutcracker':>11}  {'Linux':>11}  {'ratio':>6}"
    print(columns + (f"  {'budget':>8}  within?" if with_budgets else ""))
    kept = True
    for name, value in ours.items():
        other, by = (linux[name], "") if name in linux else best_way(name, linux) or (None, "")
        line = f"  {name:<{width}}  {value:>11.0f}  " + (f"{other:>11.0f}  {value / other:>6.2f}" if other else f"{'-':>11}  {'-':>6}")
        if with_budgets and (budget := budget_of(name, ours, linux)) is not None:
            kept &= value <= budget
            line += f"  {budget:>8.0f}  {'yes' if value <= budget else 'NO':<7}"
        elif with_budgets and by:
            line += " " * 19
        print((line + (f"  Linux: by {by}" if by else "")).rstrip())
    return kept


def compare(glob):
    """Prints both tables. Gives whether all budgets are kept."""
    project.install("build", "image", "qemu", "disks")
    programs = userland.initrd()
    kernel, version = userland.linux_kernel()
    glob = glob.replace(" ", "?") or "*"  # a word is a word on both kernels' command lines
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        plain, file_system = Path(folder) / "disk.img", Path(folder) / "ext4.img"
        plain.write_bytes(bytes(32 << 20))
        with open(file_system, "wb") as made:
            made.truncate(640 << 20)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", file_system], check=True)
        return compare_with(programs, kernel, version, glob, machine.disk(plain), machine.disk(file_system))


def compare_with(programs, kernel, version, glob, disk, file_system):
    kept = True
    # Where time is counted in instructions, a wait for a disk counts too: only files in memory are measured there.
    for how, names, title in [
            (machine.options(smp=1, mem="1G", cpu=processor, icount=True, disks=(file_system,)), "filesystem=vda", "One CPU, instructions counted"),
            (machine.options(smp=2, mem="1G", cpu=processor, disks=(disk, file_system)), "disk=vda filesystem=vdb",
             "Two CPUs under QEMU, nanoseconds (only to be compared with each other)"),
            (machine.options(smp=2, mem="1G", cpu=processor, disks=(disk,), disk_driver="nvme"), "disk=nvme0n1", "The same, NVMe")]:
        of_disks = glob.startswith("disk")
        if glob.startswith("disk?busy") or (of_disks and how.icount) or (how.disk_driver == "nvme" and not of_disks):
            continue
        option = f"userbench={glob} {names}"
        ours = measure_ours(how, option, programs)
        linux = measure_linux(how, option, programs + userland.disk_modules_archive(version), kernel)
        kept &= print_table(f"{title}; Linux is {version}", ours, linux, how.icount)
    return kept & measure_huge(programs, glob) & compare_busy(programs, kernel, version, glob, disk)


def measure_huge(programs, glob):
    """The message of a GiB, for which the other tables' machines are too small, and what it is judged by. Linux has none."""
    if not fnmatch.fnmatchcase(huge_message, glob):
        return True
    how = machine.options(smp=1, mem="3G", cpu=processor, icount=True)
    both = measure_ours(how, "userbench=message*:?10[47]*[46]", programs)  # and the row that it is compared with
    return print_table("One CPU with 3 GiB, instructions counted", both, {}, True)


def compare_busy(programs, kernel, version, glob, disk):
    """What the CPU does for one request past the cache, without what it waits."""
    if not glob.startswith("disk?busy"):  # many turns, each of which really waits: minutes, so only by name
        return True
    for driver, name in [("virtio", "vda"), ("nvme", "nvme0n1")]:
        how = machine.options(smp=1, mem="1G", cpu=processor, icount=True, waits=True, disks=(disk,), disk_driver=driver)
        option = f"userbench=disk?busy* disk={name} disk_busy=1"
        modules = userland.disk_modules_archive(version) if driver == "virtio" else b""
        ours = measure_ours(how, option, programs)
        linux = measure_linux(how, option, programs + modules, kernel)
        print_table(f"One CPU, instructions a request without the wait, {driver}; Linux is {version}", ours, linux, False)
    return True
