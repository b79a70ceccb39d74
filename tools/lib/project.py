"""The project on this machine: where things are, what must be installed, how each flavour is built.

Whatever takes long says so in one line on stderr and keeps the tool's own output in build/*.log. What fails
raises problem, whose text is for the user: what happened and what to do next.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[2]
build_root = root / "build"

# Debian packages by purpose.
packages = {
    "build": ["g++", "cmake", "ninja-build", "libboost-dev"],
    "image": ["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso", "mtools"],
    "qemu": ["qemu-system-x86"],
    "uefi": ["ovmf"],
    "gdb": ["gdb"],
    "host": ["libgtest-dev"],
    "disks": ["e2fsprogs"],
    "user": ["gcc", "g++", "musl-tools", "busybox-static", "bash-static", "zsh-static"],
    "debian": ["debootstrap"],
    "fuse": ["squashfuse", "fuse2fs", "squashfs-tools", "e2fsprogs"],
    "fuzz": ["clang", "libclang-rt-14-dev"],
    "lint": ["clang", "clang-format"],
    "tidy": ["clang-tidy"],
}

# Build folders under build/ and what CMake is told for each. The user side is a project of its own, in user/.
flavours = {
    "user": [],
    "x86_64": ["-DNUTCRACKER_PORT=x86_64"],
    "x86_64-debug": ["-DNUTCRACKER_PORT=x86_64", "-DNUTCRACKER_DEBUG=ON"],
    "host": ["-DNUTCRACKER_PORT=host"],
    "host-asan": ["-DNUTCRACKER_PORT=host", "-DNUTCRACKER_SANITIZE=address"],
    "host-tsan": ["-DNUTCRACKER_PORT=host", "-DNUTCRACKER_SANITIZE=thread"],
    "fuzz": ["-DNUTCRACKER_PORT=host", "-DNUTCRACKER_FUZZ=ON", "-DCMAKE_CXX_COMPILER=clang++"],
}


class problem(Exception):
    """Something that the user must know; its text is complete. `details` are lines of the tool that failed."""

    def __init__(self, text, details=()):
        super().__init__(text)
        self.details = list(details)


def say(text):
    print(f"nutcracker: {text}", file=sys.stderr, flush=True)


def run_main(main):
    """Calls main() and ends the process with its status; a problem becomes one message."""
    try:
        build_root.mkdir(exist_ok=True)
        status = main()
    except problem as what:
        for line in what.details:
            print(line, file=sys.stderr)
        say(what)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.stdout.flush()
    sys.exit(status)


def end_on_signals():
    """Lets SIGTERM and SIGHUP unwind like ^C does, so that no machine is left running."""

    def unwind(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, unwind)
    signal.signal(signal.SIGHUP, unwind)


def relative(path):
    try:
        return Path(path).resolve().relative_to(root)
    except ValueError:
        return path


@contextlib.contextmanager
def locked(name):
    """Keeps other runs of these tools away from what `name` stands for."""
    with open(build_root / f".{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def logged(command, log, advice, folder=root):
    """Runs a command with its output in the file `log`. On failure tells its end and the advice."""
    with open(log, "wb") as file:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=folder)
    if done.returncode != 0:
        tail = Path(log).read_text(errors="replace").splitlines()[-30:]
        raise problem(f"{advice} (all of it: {relative(log)})", tail)


def as_root(otherwise="this needs to be root, or sudo"):
    """What stands before a command that only root may give; a problem with that text where nothing helps."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        raise problem(otherwise)
    return ["sudo"]


def missing_packages(names):
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
                           capture_output=True, text=True)
    present = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in present]


def install(*purposes):
    """Installs the packages that the purposes need and that are not there."""
    names = list(dict.fromkeys(name for purpose in purposes for name in packages[purpose]))
    if not shutil.which("dpkg-query"):
        return  # not Debian: the tools are there or the build says which is missing
    missing = missing_packages(names)
    if not missing:
        return
    by_hand = f"as root: apt-get install {' '.join(missing)}"
    before = as_root(f"packages are missing; {by_hand}")
    with locked("install"):
        missing = missing_packages(names)
        if not missing:
            return
        say(f"installing {' '.join(missing)}")
        apt = [*before, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
        log = build_root / "install.log"
        logged([*apt, "update"], log, f"the package lists could not be fetched; {by_hand}")
        logged([*apt, "install", "--no-install-recommends", *missing], log, f"installing failed; try {by_hand}")


def source_of(flavour):
    return root / "user" if flavour == "user" else root


def configured_here(folder, source):
    """Whether the folder was configured by CMake for this very tree (which may have been moved or copied)."""
    cache = folder / "CMakeCache.txt"
    if not cache.exists() or not (folder / "build.ninja").exists():
        return False
    home = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", cache.read_text(errors="replace"), re.MULTILINE)
    return home is not None and Path(home[1]) == source


def configure_locked(flavour):
    folder = build_root / flavour
    source = source_of(flavour)
    if not configured_here(folder, source):
        say(f"configuring {flavour}")
        command = ["cmake", "--fresh", "-S", str(source), "-B", str(folder), "-G", "Ninja", *flavours[flavour]]
        logged(command, build_root / f"{flavour}-configure.log", "CMake failed; the tool's lines say why")
    return folder


failed_builds = set()  # in this process: what failed once is not tried again


def build_locked(flavour):
    if flavour in failed_builds:
        raise problem(f"building {flavour} has failed")
    failed_builds.add(flavour)
    folder = configure_locked(flavour)
    say(f"building {flavour}")
    logged(["ninja", "-C", str(folder)], build_root / f"{flavour}-build.log",
           f"building {flavour} failed; mend what the tool's lines name and run this again")
    failed_builds.remove(flavour)
    return folder


def configure(flavour):
    """The folder of a flavour, which knows the files that are in the tree now."""
    with locked(flavour):
        folder = configure_locked(flavour)
        logged(["ninja", "-C", str(folder), "build.ninja"], build_root / f"{flavour}-configure.log", "CMake failed; the tool's lines say why")
        return folder


def build(flavour):
    """Builds a flavour and gives its folder."""
    with locked(flavour):
        return build_locked(flavour)


@contextlib.contextmanager
def built_meanwhile(names):
    """Builds flavours with what others leave of the machine, as long as the context lasts. Whoever needs one of them waits
    for it in build(), where what goes wrong is told."""
    builds = "import project, sys\nfor name in sys.argv[1:]: project.build(name)"
    # A group of its own ends with all its compilers; a session of its own would have a share of the machine of its own.
    builder = subprocess.Popen(["nice", "-n", "19", sys.executable, "-B", "-c", builds, *names], cwd=Path(__file__).parent,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(builder.pid, signal.SIGTERM)
        builder.wait()


def find_built(folder, name):
    """A program that the build leaves in its folder or below."""
    for candidate in [folder / name, *folder.rglob(name)]:
        if candidate.is_file():
            return candidate
    raise problem(f"the build left no {name} under {relative(folder)}")


longest_word = 8000  # GRUB's script reader hangs on words of more than 8 KiB


def make_image(flavour, command_line, modules, folder):
    """Builds a kernel flavour and makes a boot image in `folder`. Modules are {name: bytes}."""
    if any(len(os.fsencode(word)) > longest_word for word in command_line.split()):
        raise problem(f"a word on the kernel's command line is longer than {longest_word} bytes, which GRUB cannot read")
    with locked(flavour):
        kernel = find_built(build_locked(flavour), "nutcracker.elf")
        iso = Path(folder) / "nutcracker.iso"
        files = []
        for name, content in modules.items():
            file = Path(folder) / f"module-{name}"
            file.write_bytes(content)
            files.append(f"{name}={file}")
        say("making the boot image")
        logged([str(root / "tools/mkiso"), str(kernel), str(iso), command_line, *files], build_root / f"{flavour}-image.log",
               "making the boot image failed; the tool's lines say why")
        return iso
