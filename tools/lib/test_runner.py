"""./tools/test: runs everything and ends with the line `N passed, N failed`."""

import argparse
import contextlib
import fnmatch
import sys
import time

import example_scenarios as examples
import file_system_scenarios as file_systems
import fuse_scenarios as fuse
import project
import scenarios as do
import trace_scenarios

# Name, what is done, with which arguments. Those marked `tests` run tests that have names of their own, so a GLOB
# that fits no scenario's name picks among them.
table = [
    ("tools", do.tool_tests, {}),
    ("lint", do.lint_checks, {}),
    ("kernel.1-cpu", do.self_tests, dict(smp=1, repeat=True)),
    ("kernel.2-cpus", do.self_tests, dict(smp=2, repeat=True)),
    ("kernel.4-cpus", do.self_tests, dict(smp=4, repeat=True)),
    ("kernel.uefi", do.self_tests, dict(smp=2, uefi=True)),
    ("user.1-cpu", do.user_tests, dict(smp=1)),
    ("user.2-cpus", do.user_tests, dict(smp=2)),
    ("user.4-cpus", do.user_tests, dict(smp=4)),
    ("user.64-mib", do.user_tests, dict(smp=2, mem="64M")),
    ("user.linux", do.user_tests_on_linux, {}),
    ("debian", do.debian_programs, {}),
    ("fuse.squashfuse", fuse.squashfs, dict(program="squashfuse")),
    ("fuse.squashfuse_ll", fuse.squashfs, dict(program="squashfuse_ll")),
    ("fuse.fuse2fs", fuse.ext, {}),
    ("fuse.memfs-programs", fuse.memfs_tests, {}),
    ("fuse.fuse2fs-programs", fuse.fuse2fs_tests, {}),
    ("trace", trace_scenarios.trace, {}),
    ("examples", examples.examples, {}),
    ("edu", do.bouncing, {}),
    ("iommu", do.out_of_reach, {}),
    ("iommu.virtio", do.disks, dict(smp=4, iommu=True)),
    ("iommu.nvme", do.disks, dict(smp=4, driver="nvme", iommu=True)),
    ("iommu.ahci", do.disks, dict(smp=4, driver="ahci", iommu=True)),
    ("iommu.programs", do.disk_tests, dict(smp=4, iommu=True)),
    ("disk.1-cpu", do.disks, dict(smp=1)),
    ("disk.4-cpus", do.disks, dict(smp=4)),
    ("disk.errors", do.disk_errors, {}),
    ("disk.nvme", do.disks, dict(smp=4, driver="nvme")),
    ("disk.nvme-page-lists", do.disks, dict(smp=2, driver="nvme", options="nvme.lists")),
    ("disk.nvme-errors", do.disk_errors, dict(driver="nvme")),
    ("disk.nvme-programs", do.disk_tests, dict(smp=2, driver="nvme")),
    ("disk.ahci-1-cpu", do.disks, dict(smp=1, driver="ahci")),
    ("disk.ahci", do.disks, dict(smp=4, driver="ahci")),
    ("disk.ahci-errors", do.disk_errors, dict(driver="ahci")),
    ("disk.ahci-programs", do.disk_tests, dict(smp=2, driver="ahci")),
    *((f"disk.held-{driver}", do.held_back, dict(driver=driver)) for driver in ("virtio", "nvme", "ahci")),
    ("disk.pulled-virtio", do.pulled_out, dict(driver="virtio")),
    ("disk.pulled-nvme", do.pulled_out, dict(driver="nvme")),
    ("disk.pulled-ahci", do.pulled_out, dict(driver="ahci")),
    ("disk.torn-virtio", do.pulled_out, dict(driver="virtio", torn=True)),
    ("disk.torn-nvme", do.pulled_out, dict(driver="nvme", torn=True)),
    ("disk.torn-ahci", do.pulled_out, dict(driver="ahci", torn=True)),
    ("disk.programs-1-cpu", do.disk_tests, dict(smp=1)),
    ("disk.programs", do.disk_tests, dict(smp=4)),
    *((f"disk.{kind}-read", file_systems.reads, dict(kind=kind)) for kind in file_systems.kinds),
    *((f"disk.{kind}-write", file_systems.writes, dict(kind=kind)) for kind in file_systems.kinds if kind != "ext4-journal"),
    ("disk.ext2-programs", file_systems.programs, dict(kind="ext2-4k", programs=["files", "tree", "paths", "fs_model"], driver="nvme", iommu=True, smp=4)),
    ("disk.ext4-programs", file_systems.programs, dict(kind="ext4", programs=["files", "tree", "paths", "fs_model"])),
    ("disk.ext2-attributes", file_systems.attributes, dict(kind="ext2-4k")),
    ("disk.ext4-attributes", file_systems.attributes, dict(kind="ext4")),
    ("disk.ext4-many-names", file_systems.many_names, dict(kind="ext4", count=4000, long_count=20_000)),
    ("disk.ext4-1k-many-names", file_systems.many_names, dict(kind="ext4-1k", count=2500, long_count=6000)),
    ("disk.ext2-orphans", file_systems.orphans, dict(kind="ext2")),
    ("disk.ext4-orphans", file_systems.orphans, dict(kind="ext4")),
    ("disk.ext2-cut-off", file_systems.cut_off, dict(kind="ext2")),
    ("disk.ext4-cut-off", file_systems.cut_off, dict(kind="ext4")),
    ("disk.ext2-spread", file_systems.spread, dict(kind="ext2")),
    ("disk.ext4-spread", file_systems.spread, dict(kind="ext4-1k")),
    ("disk.ext4-walked", file_systems.walked, dict(kind="ext4")),
    ("disk.ext4-stall", file_systems.stalls, dict(kind="ext4", smp=2)),
    # Not over AHCI: QEMU lets a single request of 1 MiB pass before it slows the disk.
    ("disk.ext2-virtio-1-stall", file_systems.stalls, dict(kind="ext2-4k", smp=1)),
    ("disk.ext4-nvme-4-stall", file_systems.stalls, dict(kind="ext4", driver="nvme", smp=4, iommu=True)),
    ("disk.linux-judges", file_systems.judged_by_linux, {}),
    *((f"disk.{kind}-{driver}-{smp}{'-iommu' * iommu}", file_systems.programs_once,
       dict(kind=kind, programs=["files", "tree", "paths", "fs_model"], driver=driver, smp=smp, iommu=iommu))
      for kind in ("ext2-4k", "ext4") for driver in ("virtio", "nvme", "ahci") for smp in (1, 4) for iommu in (False, True)),
    ("disk.root-pulled", file_systems.root_pulled, dict(driver="virtio")),
    ("disk.root-pulled-nvme", file_systems.root_pulled, dict(driver="nvme")),
    ("disk.root-pulled-ahci", file_systems.root_pulled, dict(driver="ahci")),
    ("disk.ext2-killed", file_systems.killed, dict(kind="ext2", rounds=4, long_rounds=50)),
    ("disk.ext4-killed", file_systems.killed, dict(kind="ext4", rounds=4, long_rounds=50)),
    ("disk.ext2-damaged", file_systems.damaged, dict(kind="ext2", seed=1, rounds=60)),
    ("disk.ext4-damaged", file_systems.damaged, dict(kind="ext4-1k", seed=2, rounds=60)),
    ("caps.stress", do.user_tests, dict(programs="caps_stress", seconds=40, long_seconds=600, smp=4)),
    ("disk.ext4-unsummed", file_systems.unsummed, {}),
    ("fuzz.syscalls", do.user_tests, dict(programs="syscall_fuzz", seconds=120, long_seconds=600, smp=4)),
    ("boot.16-cpus", do.answers, dict(arguments=["--smp", "16"], command="cpus", expect=r"^ *15 ")),
    ("boot.32-mib", do.answers, dict(arguments=["--mem", "32M", "--smp", "2"], command="pages", expect=r"^free +\d")),
    ("boot.8-gib", do.answers, dict(arguments=["--mem", "8G", "--smp", "2"], command="pages", expect=r"^free +\d")),
    ("boot.no-acpi", do.no_acpi, {}),
    ("boot.command-line", do.command_lines, {}),
    ("run.exec", do.exec_contract, {}),
    ("run.monitor", do.monitor_exec, {}),
    ("monitor.typing", do.monitor_typing, {}),
    ("shells", do.shell_typing, {}),
    ("vi", do.vi_typing, {}),
    ("scripts", do.shell_scripts, {}),
    ("idle", do.idle, {}),
    ("panic", do.panics, {}),
    # What needs builds of its own comes last: they are made while the machine is not busy with the others.
    ("host", do.host_tests, dict(flavour="host")),
    ("host-asan", do.host_tests, dict(flavour="host-asan")),
    ("host-tsan", do.host_tests, dict(flavour="host-tsan")),
    ("xio-alone", do.foreign_xio, {}),
    ("syscalls-page", do.system_call_page, {}),
    ("kernel.debug", do.self_tests, dict(smp=2, flavour="x86_64-debug")),
    ("fuzz", file_systems.fuzz, {}),
]
built_meanwhile = ("host-asan", "host-tsan", "x86_64-debug", "fuzz", "host")
# Or with --long: it says nothing about this kernel; what others stand for.
only_by_name = ("user.linux", "disk.root-pulled-*", "disk.ext[24]*-virtio-*", "disk.ext[24]*-nvme-[14]*", "disk.ext[24]*-ahci-*")
with_tests = (do.host_tests, do.self_tests, do.user_tests)

usage_end = """\
GLOB picks scenarios by name; if it fits none, tests by name within the scenarios that run named tests:
  ./tools/test 'host*'     everything on the host
  ./tools/test 'xio.*'     the tests whose names begin with xio., on the host and in the kernel
Logs are kept in build/test-logs/.

Scenarios:
"""


def choose(glob, long):
    """Gives (the scenarios to run, the glob for tests within them)."""
    if not glob:
        return [entry for entry in table if long or not any(fnmatch.fnmatchcase(entry[0], one) for one in only_by_name)], ""
    named = [entry for entry in table if fnmatch.fnmatchcase(entry[0], glob)]
    return (named, "") if named else ([entry for entry in table if entry[1] in with_tests], glob)


def run_scenario(it, function, arguments):
    """The results of a scenario; one that cannot be carried out is a failed test."""
    try:
        return function(it, **arguments)
    except project.problem as what:
        return [do.failed(f"{it.name}.runs", str(what), *what.details)]
    except Exception as error:
        return [do.failed(f"{it.name}.runs", f"{type(error).__name__}: {error}")]


def report(name, results, seconds, logs):
    good = sum(one.passed and not one.skipped for one in results)
    bad = [one for one in results if not one.passed]
    skipped = sum(one.skipped for one in results)
    print(f"{name:<18} {good:5} passed, {len(bad)} failed" + (f", {skipped} skipped" if skipped else "")
          + f"  ({seconds:.0f} s)")
    for one in bad:
        print(f"  FAILED {one.name}")
        for line in one.lines[:60]:
            print(f"    {line}")
    if bad:
        print(f"  logs: {project.relative(logs)}/{name}*.log")
    sys.stdout.flush()
    return good, len(bad)


def main():
    listed = usage_end + "".join(f"  {name}\n" for name, _, _ in table)
    parser = argparse.ArgumentParser(prog="./tools/test", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=listed,
                                     description="Runs the tests. Without arguments: all of them, in about an hour.")
    parser.add_argument("--long", action="store_true", help="self-tests 20 times in a row, fuzzers for minutes")
    parser.add_argument("glob", nargs="?", default="", metavar="GLOB", help="only what fits")
    args = parser.parse_args()
    project.end_on_signals()
    project.install("build", "image", "qemu", "uefi", "host", "fuzz", "lint", "user")
    chosen, tests = choose(args.glob, args.long)
    logs = project.build_root / "test-logs"
    logs.mkdir(parents=True, exist_ok=True)
    passed = failed = 0
    with contextlib.nullcontext() if args.glob else project.built_meanwhile(built_meanwhile):
        for name, function, arguments in chosen:
            begun = time.monotonic()
            project.say(f"testing {name}")
            results = run_scenario(do.context(name, tests, args.long, logs), function, arguments)
            good, bad = report(name, results, time.monotonic() - begun, logs)
            passed += good
            failed += bad
    if passed + failed == 0:
        project.say(f"no test fits '{args.glob}'")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    project.run_main(main)
