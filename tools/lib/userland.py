"""The programs of user mode: what is built from user/ and tests/user/ and what Debian has, packed into one archive that
is the boot module `initrd` of this kernel and the initramfs of Linux alike. And Debian's Linux to compare with."""

import re
import subprocess
import tempfile
from pathlib import Path

import cpio
import project

# Debian's static programs and their names in the archive.
debian_programs = {"/bin/busybox": ["bin/busybox"], "/bin/bash-static": ["bin/bash-static", "bin/bash"],
                   "/bin/zsh-static": ["bin/zsh-static", "bin/zsh"]}
own_programs = ["bench", "caps-count", "memfs", "run-tests", "tarfs"]
musl_interpreter = "/lib/ld-musl-x86_64.so.1"


def applets():
    done = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def stripped(program):
    """A program without what only a debugger reads; GRUB and the guest have the less to carry."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / program.name
        done = subprocess.run(["strip", "-o", str(out), str(program)], capture_output=True, text=True)
        if done.returncode != 0:
            raise project.problem(f"strip {project.relative(program)} failed", done.stderr.splitlines())
        return out.read_bytes()


def archive(folder, add_more=None):
    """The archive; add_more(it) may put more into it."""
    it = cpio.archive()
    for name in ["dev", "proc", "tmp", "etc"]:
        it.folder(name)
    it.character_device("dev/console", 5, 1)  # Linux opens it for the first process
    it.character_device("dev/null", 1, 3)
    it.file("init", stripped(folder / "init"))
    for name in own_programs:
        it.file(f"bin/{name}", stripped(folder / name))
    taken = set(own_programs)
    for source, (first, *others) in debian_programs.items():
        it.file(first, Path(source).read_bytes())
        for other in others:
            it.link(other, Path(first).name)
        taken |= {Path(name).name for name in [first, *others]}
    for name in applets():
        if name not in taken:
            it.link(f"bin/{name}", "busybox")
    for program in sorted((folder / "tests").iterdir()):
        it.file(f"tests/{program.name}", stripped(program))
    it.file(musl_interpreter, Path(musl_interpreter).resolve().read_bytes())
    if add_more:
        add_more(it)
    return it.bytes()


def initrd():
    """Builds user/ and gives the archive's bytes."""
    project.install("user")
    with project.locked("user"):
        return archive(project.build_locked("user"))


def linux_kernel():
    """Debian's kernel for virtual machines: downloaded and unpacked under build/linux, not installed, so that the machine
    it is downloaded on keeps its own boot menu. Gives (the kernel's file, its version)."""
    folder = project.build_root / "linux"
    with project.locked("linux"):
        kernels = sorted(folder.glob("boot/vmlinuz-*"))
        if not kernels:
            name = current_kernel_package()
            project.say(f"fetching {name}")
            folder.mkdir(exist_ok=True)
            log = project.build_root / "linux.log"
            advice = f"{name} could not be fetched; apt-get update, then try again"
            project.logged(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name], log, advice, folder)
            package = next(folder.glob("*.deb"))
            project.logged(["dpkg-deb", "-x", str(package), str(folder)], log, f"{package.name} could not be unpacked")
            package.unlink()
            kernels = sorted(folder.glob("boot/vmlinuz-*"))
        return kernels[-1], kernels[-1].name.removeprefix("vmlinuz-")


disk_modules = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
                "crc32c-intel"]  # for the file system's checksums, as it would load by itself


def disk_modules_archive(version):
    """What Linux needs beside its kernel to have a virtio disk: an archive to stand behind the other."""
    it = cpio.archive()
    it.folder("modules")
    for number, name in enumerate(disk_modules):
        found = sorted((project.build_root / "linux/lib/modules" / version).rglob(f"{name}.ko"))
        if not found:
            raise project.problem(f"Debian's kernel {version} has no module {name}")
        it.file(f"modules/{number:02}-{name}.ko", found[0].read_bytes())
    return it.bytes()


def current_kernel_package():
    meta = "linux-image-cloud-amd64"
    done = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True)
    if found := re.search(r"Depends: (linux-image-\S+)", done.stdout):
        return found[1]
    raise project.problem(f"apt-cache knows no {meta}; this comparison needs Debian's package lists (apt-get update)")
