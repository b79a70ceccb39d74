"""Debian's own programs that speak FUSE: squashfuse and fuse2fs as their packages have them, with the libraries they are
linked with, in the guest beside BusyBox."""

import re
import subprocess
import tempfile
from pathlib import Path

import file_system_scenarios as file_systems
import frames
import machine
import project
import scenarios
import tap
import userland
from scenarios import check, last_lines, mebibyte

programs = ["/usr/bin/squashfuse", "/usr/bin/squashfuse_ll", "/usr/bin/fuse2fs"]


def libraries(program):
    """{where a program looks for it: the file} of all that the dynamic linker brings in, and of what glibc itself opens when
    a thread is cancelled: without it the program ends there."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", said, re.MULTILINE)
    if not found:
        raise project.problem(f"ldd says of no library that {program} needs", said.splitlines())
    found += [str(Path(path).with_name("libgcc_s.so.1")) for path in found if path.endswith("/libc.so.6")]
    return {path: Path(path).resolve() for path in found}


def archive(more):
    """The archive of user mode with these programs in it, and what else is given as {name: bytes}."""
    def add(it):
        for program in programs:
            it.file(program, Path(program).read_bytes())
        for path, file in {path: file for program in programs for path, file in libraries(program).items()}.items():
            it.file(path, file.read_bytes())
        for name, content in more.items():
            it.file(name, content, 0o644)
        it.folder("mnt")

    project.install("user")
    with project.locked("user"):
        return userland.archive(project.build_locked("user"), add)


def run(it, script, files, **how):
    """What a script prints, and the whole serial line."""
    with machine.boot(machine.options(smp=2, **how), "", {"initrd": archive(files), "exec": ("PATH=$PATH:/usr/bin; " + script).encode()}) as running:
        running.wait(scenarios.user_test_timeout)
        it.log().write_bytes(running.bytes())
        return frames.split(running.bytes())[1].decode(errors="replace"), machine.plain(running.bytes().decode(errors="replace"))


def squashfs(it, program):
    """What mksquashfs packed is there, for a program that was written for Linux's FUSE."""
    project.install("fuse")
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "image"
        tree.mkdir()
        file_systems.fill(tree)
        subprocess.run(["mksquashfs", tree, image, "-quiet", "-noappend", "-comp", "gzip"], check=True, capture_output=True)
        expected = file_systems.sums_of(tree)
        script = f"""{program} /image /mnt || exit 1; cd /mnt; grep ' /mnt ' /proc/mounts
find . -type f | xargs md5sum; md5sum <long-link; readlink short-link; ls many | wc -l; cat many/none 2>&1
echo x 2>/dev/null >new && echo WRITTEN; cmp small small && stat -c '%s %h' long; cd /; umount /mnt && echo UNMOUNTED
for i in 1 2 3 4 5; do pidof {program} >/dev/null || break; sleep 1; done; pidof {program} || echo ENDED"""
        output, serial = run(it, script, {"image": image.read_bytes()})
    lines, found = output.splitlines(), file_systems.sums_in(output)
    found.pop("-", None)
    tail = [*last_lines(output, 20), *last_lines(serial)]
    return [
        check(f"fuse.{program}_shows_what_was_packed", found == expected, *tail),
        check(f"fuse.{program}_is_named_as_a_mount", any(re.search(r" /mnt fuse(\.\S+)? ", line) for line in lines), *tail),
        check(f"fuse.{program}_has_links_and_directories", f"{expected['deep/er/file']}  -" in lines and "small" in lines and "1500" in lines, *tail),
        check(f"fuse.{program}_cannot_be_written", "WRITTEN" not in output, *tail),
        check(f"fuse.{program}_ends_with_its_mount", "UNMOUNTED" in lines and "ENDED" in lines, *tail),
    ]


ext_script = """
fuse2fs /dev/vda /mnt || exit 1; cd /mnt; grep ' /mnt ' /proc/mounts
mkdir -p a/b/c d; for i in 0 1 2 3 4 5 6 7 8 9; do echo $i >a/b/f$i; done; cp -r many many2; rm -r many
dd if=/dev/urandom of=random bs=1M count=3 2>/dev/null; cp random a/copy; cat random random >d/twice; cmp random a/copy && echo SAME
dd if=/dev/urandom of=sparse bs=3000 count=3 seek=900 2>/dev/null; dd if=/dev/urandom of=sparse bs=3000 count=1 conv=notrunc 2>/dev/null
mv a/b/f1 d/moved; mv a/b d/b; ln random d/hard; ln -s ../random d/soft; echo more >>second-name
truncate -s 100001 long; truncate -s 7000000 small; rm -f a/copy; chmod 751 d/moved; chown 12:7000 d/moved
touch -d '2001-02-03 04:05:06' d/moved; mkdir gone; rmdir gone; mv d/b/f2 d/b/f3; stat -c '%a %u %g %s %Y' d/moved; stat -c %h random d/hard
rm random; cmp d/hard d/soft 2>&1 | grep -c soft; (echo unlinked; rm d/b/f4; sleep 1; cat) <d/b/f4
df -k /mnt | tail -1 | awk '{print "SIZE", $2}'; ls many2 | wc -l; sync
find . -type f ! -path './lost*' | xargs md5sum; cd /
umount /mnt && echo UNMOUNTED; for i in 1 2 3 4 5 6 7 8 9; do pidof fuse2fs >/dev/null || break; sleep 1; done; pidof fuse2fs || echo ENDED
mount -t ext4 -o ro /dev/vda /mnt && cd /mnt && echo AGAIN && find . -type f ! -path './lost*' | xargs md5sum; cd /; umount /mnt
"""


def ext(it):
    """What is written through fuse2fs is there for this kernel's own ext4, and e2fsck finds nothing."""
    project.install("fuse")
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "disk.img"
        tree.mkdir()
        file_systems.fill(tree)
        file_systems.make_image("ext4", tree, image, 64 * mebibyte)
        output, serial = run(it, ext_script, {}, disks=(machine.disk(str(image)),))
        wrong = file_systems.fsck(image)
    before, _, after = output.partition("AGAIN\n")
    lines = before.splitlines()
    tail = [*last_lines(before, 30), *last_lines(serial)]
    written, kept = file_systems.sums_in(before), file_systems.sums_in(after)
    return [
        check("fuse.fuse2fs_writes_what_ext4_reads", len(written) > 1500 and written == kept, *tail,
              *(f"{name}: {written.get(name)} {kept.get(name)}" for name in sorted(written.keys() | kept.keys()) if written.get(name) != kept.get(name))),
        check("fuse.fuse2fs_leaves_what_e2fsck_likes", not wrong, *wrong, *tail),
        check("fuse.fuse2fs_keeps_attributes", "751 12 7000 2 981173106" in lines and "SAME" in lines, *tail),
        check("fuse.fuse2fs_lists_and_counts", "1500" in lines and any(re.fullmatch(r"SIZE [5-6][0-9]{4}", line) for line in lines), *tail),
        check("fuse.fuse2fs_ends_with_its_mount", "UNMOUNTED" in lines and "ENDED" in lines, *tail),
    ]


# The programs whose files are in /tmp.
file_tests = ["tree", "paths", "fs_model", "removed", "fifo", "inotify", "locks", "text_busy", "large_moves", "sockets", "mounts", "mapped"]
# fs_model is told what is not there: with libfuse 2 a file with two names is two, each with a cache of its own, and names cannot
# change places; fuse2fs lists names without types.
# What cannot be so there, and why.
not_on_either = {
    "user.tree.a_nameless_file_can_be_given_a_name": "a program makes files with names only (EOPNOTSUPP)",
    "user.tree.holes_are_found": "nobody is asked where holes are: all is data",
    "user.tree.a_set_user_program_runs_as_its_owner": "set-user bits mean nothing on such a mount",
}
not_on_memfs = not_on_either
hides = "libfuse 2 keeps what is unlinked and open under another name, so that its directory is not empty"
no_links = "libfuse 2 has a node for each name of a file: they are not known to be one"
no_flags = "fuse2fs looks at no flags, and takes away what is not there without an error"
caches = "fuse2fs and the disk below it keep caches"
not_on_fuse2fs = {
    **not_on_either,
    **{f"user.{one}.memory_comes_back": caches for one in [*file_tests, "attributes"]},
    "user.tree.descriptors_as_directories": hides,
    "user.tree.many_processes_in_one_directory": hides,
    "user.tree.listing": "fuse2fs lists names without types",
    "user.tree.times_are_set": "fuse2fs tells whole seconds only",
    "user.tree.writing_takes_set_id_away": "fuse2fs has only a file's owner change its mode, also when another writes",
    "user.tree.extended_attributes": no_flags,
    "user.attributes.values_are_kept": no_flags,
    "user.attributes.flags_say_what_must_be_there": no_flags,
    "user.attributes.a_model_agrees": no_flags,
    "user.text_busy.what_runs_is_not_written_to": no_links,
    "user.inotify.too_many_events_end_in_one": "8300 files made and removed by fuse2fs may take longer than a test may",
    "user.removed": "libfuse 2 finds everything by its path: what is removed is nowhere",
}


def own_tests(it, mounting, skipped, without, programs, only=None, **how):
    """The programs' tests with their files where a program's file system is mounted."""
    programs = [one for one in only or programs if f"user.{one}" not in skipped]
    script = f"""{mounting}
export FS_MODEL_WITHOUT='{without}' ATTRIBUTES_IN=/tmp/attributes
chmod 1777 /tmp || exit 1
for one in {' '.join(programs)}; do echo "BEGIN $one"; run-tests $one; done
cd /; umount /tmp && echo UNMOUNTED
for i in 1 2 3 4 5 6 7 8 9; do pidof fuse2fs memfs >/dev/null || break; sleep 1; done"""
    output, serial = run(it, script, {}, **how)
    _, *begun = re.split(r"^BEGIN (\S+)\n", output, flags=re.MULTILINE)
    results, tail = [], [*last_lines(output), *last_lines(serial)]
    for program, said in zip(begun[::2], begun[1::2]):
        found, planned = tap.parse(said)
        here = {name for name in skipped if name.startswith(f"user.{program}.")}
        unknown = here - {one.name for one in found}
        results += [one for one in found if one.name not in here]
        results += [check(f"{it.name}.{program}_keeps_its_plan", planned == len(found), *last_lines(said), *tail),
                    check(f"{it.name}.{program}_has_what_is_left_out", not unknown, *sorted(unknown))]
    return [*results, check(f"{it.name}.all_programs_run", begun[::2] == programs, *tail),
            check(f"{it.name}.can_be_unmounted", "UNMOUNTED" in output.splitlines(), *tail)]


def memfs_tests(it, **how):
    """On one in memory, by this kernel's own protocol."""
    return own_tests(it, "memfs files & until mount -t user files /tmp 2>/dev/null; do sleep 0.1; done", not_on_memfs,
                     "", file_tests, **how)


def fuse2fs_tests(it, **how):
    """On an ext4 disk, by Linux's protocol; the disk is good afterwards."""
    project.install("fuse")
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "disk.img"
        tree.mkdir()
        file_systems.make_image("ext4", tree, image, 256 * mebibyte)
        results = own_tests(it, "fuse2fs -o allow_other,default_permissions /dev/vda /tmp || exit 1", not_on_fuse2fs,
                            "exchange types links", [*file_tests, "attributes"], disks=(machine.disk(str(image)),), **how)
        wrong = file_systems.fsck(image)
    return [*results, check(f"{it.name}.leaves_what_e2fsck_likes", not wrong, *wrong)]
