"""./tools/run: builds the kernel and boots it in QEMU."""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import termios

import frames
import machine
import project
import tap
import userland

no_limit = 10**6
default_timeout = 300  # seconds, where the machine must end by itself
user_test_timeout = 900
status_timeout = 124
status_no_answer = 125

usage_end = """\
exit status:
  interactive  0 when the machine was switched off, 1 when the kernel failed
  --selftest   0 if all tests ran and passed, else 1
  --usertest   the same
  --exec       the command's own; 124 after a time-out, 125 if the kernel died or never answered

Without --selftest, --usertest and --exec the serial line is this terminal, with a shell on it: ^C goes to the guest,
Ctrl-A X leaves. `exit` or `poweroff -f` switches the machine off.
With --append monitor the kernel starts no program: its own monitor answers instead, also to --exec.
The environment variable NUTCRACKER_QEMU names another QEMU than qemu-system-x86_64.
"""


def memory_size(text):
    if not text[:-1].isdigit() or text[-1] not in "0123456789MGmg":
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 512M or 2G")
    return text if text[-1] in "MGmg" else text + "M"


def cpu_count(text):
    if not text.isdigit() or not 1 <= int(text) <= 255:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of CPUs")
    return int(text)


def seconds(text):
    with contextlib.suppress(ValueError):
        if float(text) > 0:
            return float(text)
    raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./tools/run", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=usage_end,
        description="Installs what is missing, builds the kernel and boots it in QEMU, its serial line on this terminal.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--selftest", nargs="?", const="", metavar="GLOB",
                      help="run the kernel's self-tests (those matching GLOB), TAP on stdout")
    what.add_argument("--usertest", nargs="?", const="*", metavar="GLOB",
                      help="run the user-mode tests (the programs matching GLOB), TAP on stdout")
    what.add_argument("--exec", metavar="CMD", help="run CMD by the guest's /bin/sh, only its output on stdout")
    parser.add_argument("--smp", type=cpu_count, metavar="N", help="CPUs (4; with --icount always 1)")
    parser.add_argument("--mem", type=memory_size, default="512M", metavar="SIZE", help="memory (512M)")
    parser.add_argument("--uefi", action="store_true", help="boot through UEFI firmware instead of BIOS")
    parser.add_argument("--gdb", action="store_true", help="wait for gdb before the first instruction")
    parser.add_argument("--icount", action="store_true", help="count instructions: deterministic time, one CPU")
    parser.add_argument("--kvm", action="store_true", help="let the processor run the guest (needs a sound /dev/kvm)")
    parser.add_argument("--append", default="", metavar="OPTS", help="more options for the kernel's command line")
    parser.add_argument("--timeout", type=seconds, metavar="S",
                        help=f"stop the machine after S seconds ({default_timeout} with --selftest and --exec, {user_test_timeout} with --usertest)")
    parser.add_argument("--log", metavar="FILE", help="write the serial line to FILE (the kernel's log, instead of stderr)")
    parser.add_argument("--debug", action="store_true", help="the debug flavour: slower, checks more")
    parser.add_argument("--disk", action="append", default=[], metavar="IMG",
                        help="a disk with the contents of IMG, raw or *.qcow2: /dev/vda, the next /dev/vdb, ...")
    parser.add_argument("--disk-driver", choices=machine.disk_drivers, default="virtio",
                        help="what the disks are plugged into (virtio)")
    parser.add_argument("--root", metavar="IMG|DIR", help="the root is on a disk: an image with ext2 or ext4, or a directory of which one is made; it is the first disk")
    parser.add_argument("--iommu", action="store_true", help="devices reach only the memory that they are given (intel-iommu)")
    args = parser.parse_args()
    # "--selftest GLOB" would silently mean something else for an option with an optional value, so only = is taken.
    for name, value, default in [("selftest", args.selftest, ""), ("usertest", args.usertest, "*")]:
        if value not in (None, default) and f"--{name}={value}" not in sys.argv[1:]:
            parser.error(f"write --{name}={value}")
        if value and len(value.split()) != 1:
            parser.error("a GLOB is one word")
    if args.root and not os.path.exists(args.root):
        parser.error(f"--root {args.root}: there is no such file or directory")
    for path in args.disk:
        if not os.path.exists(path):
            parser.error(f"--disk {path}: there is no such file; make one with: truncate -s 64M {path}")
    if args.icount and args.smp not in (None, 1):
        parser.error("--icount works with one CPU only")
    if args.icount and args.kvm:
        parser.error("--icount counts what QEMU interprets: not with --kvm")
    args.smp = args.smp or (1 if args.icount else 4)
    args.limit = args.timeout or (user_test_timeout if args.usertest is not None else default_timeout)
    return args


def image_of(folder, to, kind="ext4", options=("-O", "^has_journal")):
    """Makes a disk image of a directory, with half as much room again."""
    project.install("disks")
    used = sum(os.lstat(os.path.join(at, name)).st_size + 4096
               for at, folders, names in os.walk(folder) for name in [*folders, *names])
    blocks = max(64 << 10, (used + used // 2) >> 10)
    done = subprocess.run(["mke2fs", "-q", "-F", "-t", kind, *options, "-d", folder, to, f"{blocks}k"],
                          capture_output=True, text=True)
    if done.returncode:
        raise project.problem(f"no image could be made of {folder}: {done.stderr.strip()}")


@contextlib.contextmanager
def with_root(args):
    """The disk that the root is on comes first, and the kernel's command line names it."""
    if not args.root:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        image = args.root
        if os.path.isdir(image):
            image = os.path.join(folder, "root.img")
            image_of(args.root, image)
        args.disk = [image, *args.disk]
        args.append = f"{args.append} root=/dev/{machine.first_disk_name[args.disk_driver]}".strip()
        yield


def machine_options(args):
    return machine.options(smp=args.smp, mem=args.mem, uefi=args.uefi, gdb=args.gdb, icount=args.icount, kvm=args.kvm,
                           flavour="x86_64-debug" if args.debug else "x86_64", disk_driver=args.disk_driver, iommu=args.iommu,
                           disks=tuple(machine.disk(path) for path in args.disk))


def say_how_to_debug(how):
    if how.gdb:
        kernel = f"build/{how.flavour}/nutcracker.elf"
        project.say(f"waiting for: gdb {kernel} -ex 'target remote :{machine.gdb_port}' -ex 'hbreak panic_with'")


@contextlib.contextmanager
def log_to(path):
    """A function that takes pieces of the kernel's log: into the file, or readable on stderr."""
    if path:
        try:
            file = open(path, "wb", buffering=0)
        except OSError as error:
            raise project.problem(f"cannot write {path}: {error.strerror}") from None
        with file:
            yield file.write
    else:

        def to_stderr(data):
            sys.stderr.write(machine.plain(data.decode(errors="replace")))
            sys.stderr.flush()

        yield to_stderr


def wait_limit(args):
    """How long the machine may run: for ever under gdb if nothing else was said."""
    return None if args.gdb and not args.timeout else args.limit


def modules(args):
    """What the kernel gets beside its command line: the programs, unless it is to start none."""
    return {} if "monitor" in args.append.split() else {"initrd": userland.initrd()}


def run_self_tests(args):
    return run_tests(args, "selftest=" + args.selftest if args.selftest else "selftest", {})


def run_user_tests(args):
    return run_tests(args, "usertest=" + args.usertest, modules(args))


def run_tests(args, option, with_modules):
    how = machine_options(args)
    line = option + " " + args.append
    with log_to(args.log) as log:
        partial = b""

        def on_bytes(data):
            nonlocal partial
            if args.log:
                log(data)
            *lines, partial = (partial + data).split(b"\n")
            for raw in lines:
                text = machine.plain(raw.decode(errors="replace"))
                if tap.is_tap(text):
                    print(text, flush=True)
                elif not args.log:
                    log(raw + b"\n")

        with machine.boot(how, line.strip(), with_modules, on_bytes=on_bytes) as running:
            say_how_to_debug(how)
            status = running.wait(wait_limit(args))
            if partial:
                on_bytes(b"\n")
            results, wrong = tap.judge(status, running.text(), running.errors(), args.limit)
    failed = [one.name for one in results if not one.passed]
    if failed:
        project.say(f"{len(failed)} of {len(results)} tests failed: {' '.join(failed)}")
    if wrong:
        project.say(wrong)
    if not failed and not wrong:
        project.say(f"all {len(results)} tests passed")
    return 1 if failed or wrong else 0


def run_command(args):
    how = machine_options(args)

    def to_stdout(data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def to_stderr(data):
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()

    with log_to(args.log) as log:
        splitter = frames.splitter(to_stdout, log, to_stderr)
        with machine.boot(how, args.append, {"exec": args.exec.encode(), **modules(args)}, splitter.feed) as running:
            say_how_to_debug(how)
            answered = running.wait_for("\x01exec-end \\d+\r?\n", wait_limit(args) or no_limit) is not None
            # Done, the machine has only to switch itself off; or its serial line is closed; or time is over.
            status = running.wait(10 if answered or running.serial_closed() else 0)
            splitter.finish()
            text, errors = running.text(), running.errors()
    if splitter.status is not None and not machine.panic_line(text):
        return splitter.status
    # Commands that end the machine cannot report: switching off is success, and so is a wished-for reset.
    if splitter.began and (status == machine.status_passed or (status == 0 and args.exec.split()[:1] == ["reboot"])):
        return 0
    project.say(machine.describe_end(status, text, errors, args.limit)
                or "the kernel ran no command and switched itself off")
    return status_timeout if status is None else status_no_answer


def run_interactive(args):
    how = machine_options(args)
    log = f",logfile={args.log.replace(',', ',,')}" if args.log else ""
    serial = ["-chardev", f"stdio,id=serial,mux=on,signal=off{log}", "-serial", "chardev:serial",
              "-mon", "chardev=serial,mode=readline"]
    terminal = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    with machine.image(how.flavour, args.append, modules(args)) as iso:
        say_how_to_debug(how)
        project.say("booting; ^C goes to the guest, Ctrl-A X leaves, Ctrl-A C is QEMU's own prompt")
        process = subprocess.Popen(machine.qemu_command(how, machine.from_image(iso), serial))
        try:
            status = process.wait(args.timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            process.kill()
            process.wait()
            if terminal:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, terminal)
    if status is None:
        project.say(f"stopped after {args.timeout:g} s")
        return status_timeout
    if status in (0, machine.status_passed):
        return 0
    project.say(machine.describe_end(status, ""))
    return 1


def main():
    args = parse_arguments()
    project.end_on_signals()
    project.install("build", "image", "qemu", *(["uefi"] if args.uefi else []), *(["gdb"] if args.gdb else []))
    with with_root(args):
        if args.selftest is not None:
            return run_self_tests(args)
        if args.usertest is not None:
            return run_user_tests(args)
        if args.exec is not None:
            return run_command(args)
        return run_interactive(args)


if __name__ == "__main__":
    project.run_main(main)
