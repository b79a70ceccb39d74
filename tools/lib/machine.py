"""A QEMU machine with the kernel in it, its serial line held at this end.

    with boot(options(smp=2), command_line="selftest") as it:
        it.wait(timeout=300)
        print(it.status, it.text())
"""

import contextlib
import dataclasses
import os
import re
import shlex
import subprocess
import tempfile
import threading
import time

import project

# How QEMU ends when the kernel writes 0x10 or 0x11 to the debug-exit port.
status_passed = 33
status_failed = 35

firmware = "/usr/share/ovmf/OVMF.fd"
gdb_port = 1234


disk_drivers = ("virtio", "nvme", "ahci")
first_disk_name = {"virtio": "vda", "nvme": "nvme0n1", "ahci": "sda"}
ahci_ports = 6  # of one of QEMU's controllers


@dataclasses.dataclass
class disk:
    path: str
    errors: tuple = ()  # blkdebug's rules, each a {option: value}
    read_only: bool = False
    stops: bool = False  # QEMU's monitor may hold a request back: qemu-io diskN "break EVENT TAG", "resume TAG"


@dataclasses.dataclass
class options:
    smp: int = 4
    mem: str = "512M"
    uefi: bool = False
    gdb: bool = False
    icount: bool = False
    waits: bool = False  # with icount: a wait takes as long as it takes, instead of ending at once
    kvm: bool = False
    acpi: bool = True
    cpu: str = "max"
    flavour: str = "x86_64"
    disks: tuple = ()
    disk_driver: str = "virtio"
    devices: tuple = ()  # more of them, by QEMU's names
    iommu: bool = False
    slots: bool = False  # each disk in a slot of its own, out of which it can be pulled (device_del diskN)
    monitor: str = ""  # a socket for QEMU's own monitor
    throttle: str = ""  # more options for each disk, such as throttling.iops-total=50


def disk_options(how):
    """The disks as QEMU wants them; the first is vda."""
    if how.slots:  # the firmware's own way of pulling things out would get in the way
        yield from ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
        for number in range(len(how.disks)):
            yield from ["-device", f"pcie-root-port,id=slot{number},chassis={number + 1},slot={number + 1}"]
    ports = 1 if how.slots else ahci_ports
    if how.disk_driver == "ahci":  # the machine's own controller has the CD
        for number in range(0, len(how.disks), ports):
            place = f",bus=slot{number}" if how.slots else ""
            yield from ["-device", f"ich9-ahci,id={f'pulled{number}' if how.slots else f'ahci{number // ports}'}{place}"]
    for number, one in enumerate(how.disks):
        path = str(one.path).replace(",", ",,")
        file = f"file.driver=file,file.filename={path}"
        if one.errors or one.stops:
            rules = [f"file.inject-error.{i}.{name}={value}" for i, rule in enumerate(one.errors) for name, value in rule.items()]
            file = ",".join(["file.driver=blkdebug", "file.image.driver=file", f"file.image.filename={path}", *rules])
        format = "qcow2" if path.endswith(".qcow2") else "raw"
        read_only = ",readonly=on" if one.read_only else ""
        bus = f"pulled{number}.0" if how.slots else f"ahci{number // ports}.{number % ports}"
        device = {"virtio": "virtio-blk-pci" + (",iommu_platform=on,disable-legacy=on" if how.iommu else ""), "nvme": f"nvme,serial={number}", "ahci": f"ide-hd,bus={bus}"}[how.disk_driver]
        if how.slots and how.disk_driver != "ahci":
            device += f",id=pulled{number},bus=slot{number}"
        yield from ["-drive", f"if=none,id=disk{number},driver={format},{file}{read_only}{how.throttle and ',' + how.throttle}",
                    "-device", f"{device},drive=disk{number}"]


def accelerator(how):
    """Interpreted unless asked otherwise: the same on every machine, and virtualisation inside a virtual machine may lack
    what a kernel does early (some cannot even set QEMU's own registers)."""
    if how.icount:
        return ["-accel", "tcg,thread=single", "-icount", f"shift=0,sleep={'on' if how.waits else 'off'}"]
    return ["-accel", "kvm" if how.kvm else "tcg,thread=multi"]


def qemu_command(how, what, serial):
    """The command line; NUTCRACKER_QEMU may name another QEMU. `what` is booted; `serial` is how the line is connected."""
    return [
        *shlex.split(os.environ.get("NUTCRACKER_QEMU", "qemu-system-x86_64")),
        "-machine", "q35" if how.acpi else "q35,acpi=off",
        # Before the devices: what is plugged in earlier goes past it. Interrupts are not remapped.
        *(["-device", "intel-iommu,intremap=off"] if how.iommu else []),
        "-cpu", how.cpu, "-m", how.mem, "-smp", str(how.smp), *accelerator(how),
        "-display", "none", "-no-reboot", *serial,
        "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
        *disk_options(how), *(["-boot", "d"] if how.disks else []),
        *(word for one in how.devices for word in ("-device", one)),
        *(["-bios", firmware] if how.uefi else []),
        *(["-S", "-gdb", f"tcp:127.0.0.1:{gdb_port}"] if how.gdb else []),
        *what,
    ]  # fmt: skip


def from_image(iso):
    return ["-cdrom", str(iso)]


def linux(kernel, initramfs, command_line):
    """Linux without a boot loader; a panic ends the machine, and its output is not changed on the way."""
    return ["-kernel", str(kernel), "-initrd", str(initramfs),
            "-append", f"console=ttyS0 quiet panic=-1 mitigations=off {command_line}"]


escape_sequence = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>c])")


def plain(text):
    """Serial output without what firmware draws with, and with plain line ends."""
    return escape_sequence.sub("", text).replace("\r", "")


class machine:
    """A running QEMU, stopped when the with block ends. `on_bytes`, if given, sees the serial output as it comes."""

    def __init__(self, command, on_bytes=None):
        self.status = None
        self.timed_out = False
        self.reader_failed = None
        self._on_bytes = on_bytes
        self._output = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._error_file = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=self._error_file, bufsize=0)
        except FileNotFoundError:
            raise project.problem(f"{command[0]} is not there; install qemu-system-x86") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self._reader.join(10)
        self.errors()
        self._error_file.close()
        self._process.stdin.close()
        self._process.stdout.close()

    def _read(self):
        while data := self._process.stdout.read(65536):
            with self._changed:
                self._output += data
                self._changed.notify_all()
            if self._on_bytes and self.reader_failed is None:
                try:
                    self._on_bytes(data)
                except (OSError, ValueError) as error:  # say, a closed pipe on our own stdout
                    self.reader_failed = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def send(self, text):
        """Types on the serial line."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text.encode())

    def bytes(self):
        with self._changed:
            return bytes(self._output)

    def text(self):
        return plain(self.bytes().decode(errors="replace"))

    def errors(self):
        """What QEMU itself complained about."""
        if not self._error_file.closed:
            self._error_file.seek(0)
            self._errors = self._error_file.read().decode(errors="replace").strip()
        return self._errors

    def wait_for(self, pattern, timeout, after=0):
        """Waits until the serial output from byte `after` on matches. Gives the match's end, or None."""
        deadline = time.monotonic() + timeout
        wanted = re.compile(pattern.encode())
        with self._changed:
            while True:
                if found := wanted.search(self._output, after):
                    return found.end()
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)

    def wait(self, timeout):
        """Waits for the machine's end and gives QEMU's exit status, or None once the time is over."""
        try:
            self.status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.timed_out = True
            self.stop()
        self._reader.join(10)
        return self.status

    def serial_closed(self):
        with self._changed:
            return self._ended

    def stop(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def image(flavour, command_line="", modules=None):
    """A boot image in a folder of its own, so that runs do not meet."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        yield project.make_image(flavour, command_line, modules or {}, folder)


@contextlib.contextmanager
def boot(how, command_line="", modules=None, on_bytes=None):
    """Builds, boots, and gives the running machine; stops it at the end if it still runs."""
    with image(how.flavour, command_line, modules) as iso, start(how, from_image(iso), on_bytes) as running:
        yield running


@contextlib.contextmanager
def boot_linux(how, kernel, initramfs, command_line):
    """The same with a Linux kernel and the bytes of an initramfs."""
    with tempfile.NamedTemporaryFile(prefix="nutcracker-") as file:
        file.write(initramfs)
        file.flush()
        with start(how, linux(kernel, file.name, command_line), name="Linux") as running:
            yield running


def start(how, what, on_bytes=None, name=""):
    serial = ["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial",
              "-monitor", f"unix:{how.monitor},server=on,wait=off" if how.monitor else "none"]
    project.say(f"booting {name + ' ' if name else ''}with {how.smp} CPU{'s' if how.smp > 1 else ''}, {how.mem}"
                + (", UEFI" if how.uefi else "") + (", counting instructions" if how.icount else ""))
    return machine(qemu_command(how, what, serial), on_bytes)


def panic_line(text):
    """The kernel's own word on why it died, or None."""
    found = re.search(r"^panic( on cpu \d+)?: .*$", text, re.MULTILINE)
    return found[0].strip() if found else None


def describe_end(status, text, errors="", timeout=None):
    """One line on how a machine ended that should have ended well; None if it did."""
    if status == status_passed:
        return None
    if why := panic_line(text):
        return f"the kernel died: {why}"
    if status is None:
        lines = [line for line in text.splitlines() if line.strip()]
        last = f"; its last line: {lines[-1].strip()}" if lines else " and printed nothing"
        return f"time-out: the machine still ran after {timeout:g} s{last}"
    if status == status_failed:
        return "the kernel ended as failed"
    if status == 0:
        return "the machine was reset or switched off before its work was done"
    return f"QEMU ended with status {status}" + (f": {errors.splitlines()[-1]}" if errors else "")
