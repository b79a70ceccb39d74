"""Debian's own programs, dynamically linked, as an archive to boot with, and the scripts of tests/debian that they run. The
archive is the boot module of this kernel and the initramfs of Linux alike; what the scripts print must be the same."""

import re
import subprocess
from pathlib import Path

import cpio
import project
import userland

programs = """dash bash ls cat sort wc head tail cp mv rm mkdir rmdir ln chmod stat touch du seq tr cut uniq tee od md5sum
sha256sum date id env expr sleep find xargs grep sed mawk tar gzip perl sqlite3 lua5.4 python3.11 diff cmp df uname printf dd
basename readlink truncate mkfifo""".split()
links = {"sh": "dash", "awk": "mawk", "python3": "python3.11"}
scripts = project.root / "tests/debian"
command = "sh /run"
# Runs each script in a shell of its own and says how it ended.
runner = b"""for s in /scripts/*; do
    echo "== ${s##*/}"
    sh "$s" 2>&1
    echo "status $?"
done
"""


def libraries_of(program):
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True)
    return [word for word in done.stdout.split() if word.startswith("/")]


def place_of(path):
    """Where a library stands in a root whose /lib is a link to /usr/lib."""
    return re.sub(r"^lib/", "usr/lib/", path.lstrip("/"))


def archive():
    project.install("debian")
    it = cpio.archive()
    for name in ["dev", "proc", "tmp", "etc", "usr/bin", "usr/lib", "lib64", "scripts"]:
        it.folder(name)
    it.character_device("dev/console", 5, 1)
    it.character_device("dev/null", 1, 3)
    it.character_device("dev/zero", 1, 5)
    it.link("bin", "usr/bin")
    it.link("lib", "usr/lib")
    needed = set()
    for name in programs:
        source = Path("/usr/bin") / name
        it.file(f"usr/bin/{name}", source.resolve().read_bytes())
        needed.update(libraries_of(source))
    for library in sorted(needed):
        it.file(place_of(library), Path(library).resolve().read_bytes())
    for name, target in links.items():
        it.link(f"usr/bin/{name}", target)
    for module in sorted(Path("/usr/lib/python3.11").glob("*.py")) + sorted(Path("/usr/lib/python3.11/encodings").glob("*.py")):
        it.file(str(module), module.read_bytes(), 0o644)
    it.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644)
    it.file("run", runner, 0o644)
    for script in sorted(scripts.glob("*.sh")):
        it.file(f"scripts/{script.name}", script.read_bytes(), 0o644)
    with project.locked("user"):
        it.file("init", userland.stripped(project.build_locked("user") / "init"))
    return it.bytes()


def by_script(output):
    """What each script printed, by its name."""
    parts = re.split(r"^== (\S+)$", output, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))
