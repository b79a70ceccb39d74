"""A whole Debian 12 as debootstrap makes it, as an archive to boot with, and the scripts of tests/debian that run in it. The
archive is the boot module of this kernel and the initramfs of Linux alike; what the scripts print must be the same."""

import re
import subprocess

import cpio
import project
import userland

release = "bookworm"
beside = ["lsof", "lua5.4", "procps", "python3", "sqlite3"]  # what the minimal system has not
# What nothing in the guest reads: packages that are unpacked already, and lists of those that are not there.
left_out = ["./var/cache/apt/archives/*.deb", "./var/cache/apt/*.bin", "./var/lib/apt/lists/*_*", "./proc/*", "./sys/*"]
scripts = project.root / "tests/debian"
command = "sh /scripts/.run"
memory = "768M"
# Runs each script in a shell of its own and says how it ended.
runner = b"""export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /dev/pts || mount -t devpts devpts /dev/pts
for s in /scripts/*; do
    echo "== ${s##*/}"
    case $s in *.py) python3 "$s" ;; *) sh "$s" ;; esac </dev/null 2>&1
    echo "status $?"
done
"""


def mirror():
    """Where this machine's apt has the release from."""
    asked = subprocess.run(["apt-get", "indextargets", f"Codename: {release}", "Created-By: Packages", "--format", "$(REPO_URI)"],
                           capture_output=True, text=True)
    if not asked.stdout.split():
        raise project.problem(f"apt knows no {release}; this test makes a root of Debian's packages (apt-get update)")
    return asked.stdout.split()[0]


def root():
    """The tar file of a new Debian system. It is made once in a checkout; build/debian may be removed at any time."""
    made = project.build_root / "debian" / f"{'+'.join([release, *beside])}.tar"
    with project.locked("debian"):
        if not made.exists():
            project.install("debian")
            made.parent.mkdir(exist_ok=True)
            make_root(made)
    return made


def make_root(made):
    project.say("making a Debian root from packages (build/debian.log)")
    folder, unfinished = made.parent / "root", made.with_suffix(".unfinished")
    log = project.build_root / "debian.log"
    # What debootstrap mounts is gone with it, however it ends; and no other file system is removed.
    script = f"""set -e
        rm -rf --one-file-system "$1"
        debootstrap --variant=minbase --include={','.join(beside)} {release} "$1" "$2"
        cd "$1"
        tar --create --numeric-owner --sort=name {' '.join(f"--exclude='{one}'" for one in left_out)} --file "$3" .
        rm -rf --one-file-system "$1" """
    command = [*project.as_root(), "env", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "unshare", "--mount", "--propagation", "private",
               "sh", "-c", script, "sh", str(folder), mirror(), str(unfinished)]
    project.logged(command, log, "debootstrap failed")
    unfinished.rename(made)


def archive():
    it = cpio.archive()
    it.everything_of(root())
    it.file("scripts/.run", runner, 0o644)
    for script in sorted(scripts.iterdir()):
        it.file(f"scripts/{script.name}", script.read_bytes(), 0o644)
    with project.locked("user"):
        it.file("init", userland.stripped(project.build_locked("user") / "init"))
    return it.bytes()


def by_script(output):
    """What each script printed, by its name, without how long it took."""
    parts = re.split(r"^== (\S+)$", re.sub(r" in [0-9.]+s$", "", output, flags=re.MULTILINE), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))
