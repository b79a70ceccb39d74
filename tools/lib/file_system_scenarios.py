"""Scenarios of disks with file systems: images that others made are read here, and what is written here others find good."""

import dataclasses
import difflib
import hashlib
import os
import random
import re
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import cpio
import frames
import machine
import project
import scenarios
import userland
from scenarios import check, last_lines, mebibyte, run_tool

# What mke2fs is told, by the name of the kind.
kinds = {
    "ext2": ("ext2", ("-b", "1024")),
    "ext2-4k": ("ext2", ("-b", "4096")),
    "ext4": ("ext4", ("-b", "4096", "-O", "^has_journal")),
    "ext4-1k": ("ext4", ("-b", "1024", "-O", "^has_journal")),
    "ext4-old": ("ext4", ("-b", "2048", "-O", "^has_journal,^metadata_csum,^64bit,uninit_bg")),
    "ext4-journal": ("ext4", ()),
}


def make_image(kind, folder, to, size):
    project.install("disks")
    family, options = kinds[kind]
    subprocess.run(["mke2fs", "-q", "-F", "-t", family, *options, "-d", folder, to, f"{size >> 10}k"], check=True,
                   capture_output=True)


def fsck(image):
    """Lines of what e2fsck finds wrong; none: nothing."""
    project.install("disks")
    done = subprocess.run(["e2fsck", "-f", "-n", image], capture_output=True, text=True)
    return [] if done.returncode == 0 else [*last_lines(done.stdout, 40), *last_lines(done.stderr), f"status {done.returncode}"]


def sums_of(folder):
    """{path: MD5} of the files below a folder."""
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink() and "lost+found" not in path.parts}


def sums_in(text):
    return {line[34:].removeprefix("./"): line[:32] for line in text.splitlines() if line[32:34] == "  "}


def fill(folder):
    """Files of many kinds: empty, small, long, with holes, with several names, many in one directory."""
    bits = random.Random(7)
    (folder / "deep/er").mkdir(parents=True)
    (folder / "many").mkdir()
    (folder / "empty").touch()
    (folder / "small").write_text("hello\n")
    (folder / "long").write_bytes(bits.randbytes(5_000_001))
    with open(folder / "holes", "wb") as file:
        for at in (0, 70_000, 9_000_000):
            file.seek(at)
            file.write(bits.randbytes(5000))
    (folder / "deep/er/file").write_bytes(bits.randbytes(70_000))
    os.link(folder / "deep/er/file", folder / "second-name")
    (folder / "short-link").symlink_to("small")
    (folder / "long-link").symlink_to("deep/" + "../deep/" * 30 + "er/file")
    for number in range(1500):
        (folder / "many" / f"one-of-many-files-{number:05}").write_text(str(number))


def reads(it, kind):
    """What mke2fs -d put there is there."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "disk.img"
        tree.mkdir()
        fill(tree)
        make_image(kind, tree, image, 48 * mebibyte)
        before = hashlib.md5(image.read_bytes()).hexdigest()
        script = """mkdir /mnt; mount -t ext4 -o ro /dev/vda /mnt || exit 1; cd /mnt
find . -type f ! -path './lost*' | xargs md5sum; md5sum <long-link; readlink short-link; stat -c '%h %s' second-name
ls many | wc -l; cat many/none 2>/dev/null; echo x >new 2>/dev/null && echo WRITTEN; cd /; umount /mnt && echo END"""
        status, output, said = run_tool(it, "--smp", "2", "--disk", str(image), "--exec", script)
        expected = sums_of(tree)
        untouched = before == hashlib.md5(image.read_bytes()).hexdigest()
    lines, found = output.splitlines(), sums_in(output)
    found.pop("-", None)
    tail = [f"status {status}", *last_lines(output, 20), *last_lines(said)]
    link_sum = expected["deep/er/file"]
    return [
        check("ext.files_are_as_they_were_put_there", found == expected, *tail),
        check("ext.links_lead_to_them", f"{link_sum}  -" in lines and "small" in lines and "2 70000" in lines, *tail),
        check("ext.directories_are_read_to_the_end", "1500" in lines, *tail),
        check("ext.read_only_is_not_written", untouched and "WRITTEN" not in output and "END" in lines, *tail),
    ]


writing_script = """
mkdir /mnt; mount -t ext4 /dev/vda /mnt || exit 1; cd /mnt
mkdir -p a/b/c d; cp -a many many2; rm -r many; for i in 0 1 2 3 4 5 6 7 8 9; do echo $i >a/b/f$i; done
dd if=/dev/urandom of=random bs=1M count=6 2>/dev/null; cp random a/copy; cat random random >d/twice
dd if=/dev/urandom of=sparse bs=3000 count=3 seek=900 2>/dev/null; dd if=/dev/urandom of=sparse bs=3000 count=1 conv=notrunc 2>/dev/null
mv a/b/f1 d/moved; mv a/b d/b; ln random d/hard; ln -s ../random d/soft; ln -s `printf %0200d 0` d/long
truncate -s 100001 long; truncate -s 7000000 small; rm -f a/copy; chmod 751 d/moved; chown 12:70000 d/moved; touch -d '2001-02-03 04:05:06' d/moved
mkdir gone; rmdir gone; mkfifo pipe; mknod dev c 5 300; mv d/moved d/twice2; mv d/hard d/twice2; echo more >>second-name
(echo unlinked; rm d/b/f2; sleep 1; cat) <d/b/f2 >/dev/null
sync; find . -type f ! -path './lost*' | xargs md5sum; cd /; umount /mnt && echo END
"""


def writes(it, kind, **how):
    """What is written here is there afterwards, for others, and e2fsck finds nothing."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image, back = Path(folder) / "tree", Path(folder) / "disk.img", Path(folder) / "back"
        tree.mkdir()
        back.mkdir()
        fill(tree)
        make_image(kind, tree, image, 80 * mebibyte)
        status, output, said = run_tool(it, "--smp", "2", "--disk", str(image), "--exec", writing_script)
        wrong = fsck(image)
        subprocess.run(["debugfs", "-R", f"rdump / {back}", str(image)], capture_output=True)
        found = sums_of(back)
    expected = sums_in(output)
    tail = [f"status {status}", *last_lines(output, 8), *last_lines(said)]
    return [
        check(f"{it.name}.can_be_unmounted", status == 0 and "END" in output.splitlines(), *tail),
        check(f"{it.name}.is_found_by_others", len(expected) > 1500 and found == expected,
              *[f"{path}: {found.get(path)} {expected.get(path)}" for path in sorted({*found, *expected})
                if found.get(path) != expected.get(path)][:20], *tail),
        check(f"{it.name}.is_good_to_e2fsck", not wrong, *wrong, *tail),
    ]


def programs(it, kind, programs, smp=2, driver="virtio", options="", **how):
    """The programs' tests with their root, and so their files, on the disk; switched off, the disk is clean."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "root.img"
        tree.mkdir()
        cpio.unpack(userland.initrd(), tree)
        make_image(kind, tree, image, 256 * mebibyte)
        results = []
        for one in programs:
            results += scenarios.user_tests(it, programs=one, options=f"root=/dev/{machine.first_disk_name[driver]}{options}", smp=smp,
                                            disk_driver=driver, disks=(machine.disk(str(image)),), **how)
        wrong = fsck(image)
    return [*results, check(f"{it.name}.leaves_it_good", not wrong, *wrong)]


def fill_a_little(folder):
    """One of each, for small disks."""
    (folder / "deep/er").mkdir(parents=True)
    (folder / "many").mkdir()
    for number in range(40):
        (folder / "many" / f"file-{number}").write_text("x" * number)
    (folder / "small").write_text("hello")
    (folder / "long").write_bytes(bytes(90_000))
    (folder / "link").symlink_to("deep/er")
    with open(folder / "holes", "wb") as file:
        file.seek(200_000)
        file.write(b"x")


def small_images(into):
    """Disks of all kinds, for the fuzzer; with and without checksums, which keep most damage from being believed."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        fill_a_little(tree)
        for kind in kinds:
            make_image(kind, tree, into / f"{kind}.img", mebibyte)


def programs_once(it, **how):
    """The same, but once even with --long: there are many drivers and machines."""
    return programs(dataclasses.replace(it, long=False), **how)


damaging_script = """
mkdir /mnt; n=0; mounted=0; RANDOM=SEED
while [ $n -lt ROUNDS ]; do
    n=$((n + 1))
    dd if=/dev/vdb of=/dev/vda bs=64k 2>/dev/null
    for k in 1 2 3; do
        at=$(((RANDOM * 32768 + RANDOM) % BYTES))
        printf "\\x$(printf %02x $((RANDOM % 256)))" | dd of=/dev/vda bs=1 seek=$at conv=notrunc 2>/dev/null
    done
    mount -t ext4 /dev/vda /mnt 2>/dev/null || continue
    mounted=$((mounted + 1))
    (find /mnt | xargs ls -ld; find /mnt -type f -exec head -c 300000 {} \\; ; echo x >/mnt/new; mkdir /mnt/folder; cat /mnt/small >>/mnt/long
     mv /mnt/small /mnt/folder; rm -rf /mnt/many /mnt/deep /mnt/holes; sync) >/dev/null 2>&1
    umount /mnt || umount -l /mnt
done
echo END $mounted
"""


def damaged(it, kind, seed, rounds):
    """Whatever stands on a disk, the machine goes on: files cannot be read, or nothing can be changed, or it is not mounted."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image, good = Path(folder) / "tree", Path(folder) / "disk.img", Path(folder) / "good.img"
        tree.mkdir()
        fill_a_little(tree)
        make_image(kind, tree, good, mebibyte)
        image.write_bytes(good.read_bytes())
        # The most telling bytes come first: superblock, descriptors, bitmaps, inodes, directories.
        script = damaging_script.replace("SEED", str(seed)).replace("ROUNDS", str(rounds * 5 if it.long else rounds))
        script = script.replace("BYTES", str(100 << 10))
        status, output, said = run_tool(it, "--smp", "2", "--disk", str(image), "--disk", str(good), "--exec", script)
    found = [line for line in output.splitlines() if line.startswith("END ")]
    return [check(f"{it.name}.machine_goes_on", status == 0 and found, f"status {status}", *last_lines(said)),
            check(f"{it.name}.some_are_mounted", found and int(found[0][4:]) >= rounds // 10, *found)]


def unsummed(it):
    """Entries of an indexed directory that lie where a block's sum belongs: none is written over them."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "disk.img"
        tree.mkdir()
        fill(tree)
        make_image("ext4", tree, image, 64 * mebibyte)
        subprocess.run(["e2fsck", "-f", "-y", "-D", image], capture_output=True)  # makes the index
        inode = int(re.search(r"Inode: (\d+)", debugfs(image, "stat /small"))[1])
        leaf = int(debugfs(image, "blocks /many").split()[-1])
        with open(image, "r+b") as file:
            file.seek(leaf * 4096)
            file.write(struct.pack("<IHBB", inode, 4080, 1, 1) + b"a" + bytes(4071))
            file.write(struct.pack("<IHBB", inode, 16, 8, 1) + b"a-longer")
        script = """mkdir /mnt; mount -t ext4 /dev/vda /mnt || exit 1; cd /mnt/many
n=0; while [ $n -lt 200 ]; do touch fresh-$n 2>/dev/null; n=$((n + 1)); done
ls | wc -l; rm -f a fresh-*; ls | wc -l; echo END
"""
        status, output, said = run_tool(it, "--disk", str(image), "--exec", script)
    return [check(f"{it.name}.walks_end", "END" in output, f"status {status}", output, *last_lines(said)),
            check(f"{it.name}.is_told", "no checksum in the directory" in said, *last_lines(said))]


load_script = """
mkdir /mnt; mount -t ext4 /dev/vda /mnt || exit 1; cd /mnt; mkdir d; n=0
while :; do
    n=$((n + 1))
    dd if=/dev/urandom of=s$n bs=1000 count=$((n * 7 % 200 + 1)) conv=fsync 2>/dev/null
    echo SYNCED `md5sum s$n`
    cp s$n d/c$n; mv d/c$n d/m$n; mkdir d/f$n; rm -f s$((n - 20)) d/m$((n - 9)); rmdir d/f$((n - 5)) 2>/dev/null
done
"""


def killed(it, kind, rounds, long_rounds):
    """The power goes while files are written: e2fsck repairs the disk, and what fsync has answered for is there."""
    bad = []
    synced_files = 0
    for number in range(long_rounds if it.long else rounds):
        with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
            tree, image, back = Path(folder) / "tree", Path(folder) / "disk.img", Path(folder) / "back"
            tree.mkdir()
            back.mkdir()
            make_image(kind, tree, image, 64 * mebibyte)
            how = machine.options(smp=2, disks=(machine.disk(str(image)),))
            with machine.boot(how, "", {"initrd": userland.initrd(), "exec": load_script.encode()}) as running:
                running.wait_for(rf"SYNCED \S+ s{25 + 7 * (number % 20)}\b", 120)
            text = frames.split(running.bytes())[1].decode(errors="replace")
            it.log(f"-{number}").write_bytes(running.bytes())
            repaired = subprocess.run(["e2fsck", "-f", "-y", str(image)], capture_output=True, text=True)
            subprocess.run(["debugfs", "-R", f"rdump / {back}", str(image)], capture_output=True)
            found, wrong = sums_of(back), fsck(image)
        synced = [line.split()[1:3] for line in text.splitlines() if line.startswith("SYNCED ")][-15:]
        synced_files += len(synced)
        bad += [f"round {number}: {name}: {found.get(name)} instead of {md5}" for md5, name in synced if found.get(name) != md5]
        if repaired.returncode > 2 or wrong:
            bad += [f"round {number}: e2fsck: status {repaired.returncode}", *wrong]
    return [check(f"{it.name}.synced_files_are_there", synced_files >= rounds * 10 and not bad, f"{synced_files} files", *bad[:30])]


def debugfs(image, *commands, write=False):
    """What debugfs says to some commands."""
    said = ""
    for command in commands:
        done = subprocess.run(["debugfs", *(["-w"] if write else []), "-R", command, str(image)], capture_output=True, text=True)
        said += done.stdout
    return said


def attributes(it, kind):
    """Extended attributes that others have set are found, two files' common block too, and ours are found by others."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image, value = Path(folder) / "tree", Path(folder) / "root.img", Path(folder) / "value"
        tree.mkdir()
        cpio.unpack(userland.initrd(), tree)
        (tree / "foreign").write_text("foreign")
        (tree / "sharing").write_text("sharing")
        make_image(kind, tree, image, 64 * mebibyte)
        value.write_bytes(b"L" * 600)
        debugfs(image, f"ea_set -f {value} /foreign user.large", "ea_set /foreign user.small small", write=True)
        block = next(line.split()[-1] for line in debugfs(image, "stat /foreign").splitlines() if line.startswith("File ACL"))
        debugfs(image, f"sif /sharing file_acl {block}", write=True)
        subprocess.run(["e2fsck", "-f", "-y", image], capture_output=True)  # which sees that it has two holders
        before = debugfs(image, "ea_list /sharing") + "".join(fsck(image))
        results = scenarios.user_tests(it, programs="attributes", options=f"root=/dev/{machine.first_disk_name['virtio']}", smp=2,
                                       disks=(machine.disk(str(image)),))
        wrong = fsck(image)
        folders = [line.split()[-1] for line in debugfs(image, "ls -l /attributes").splitlines() if "others-" in line]
        listed = debugfs(image, "ea_list /foreign", "ea_list /sharing", *(f"ea_list /attributes/{one}/file-39" for one in folders))
    return [
        *results,
        check(f"{it.name}.a_block_was_shared", "user.large (600)" in before and "status" not in before, before),
        check(f"{it.name}.others_find_them", "user.added (4)" in listed and "user.large (600)" in listed and
              'user.large (4) = "mine"' in listed and "user.long (339)" in listed and "user.number (4)" in listed, listed),
        check(f"{it.name}.leaves_it_good", not wrong, *wrong),
    ]


many_script = """
mkdir /mnt; mount -t ext4 /dev/vda /mnt || exit 1; cd /mnt
n=0; mkdir fresh; while [ $n -lt COUNT ]; do : >fresh/name-of-a-file-$n; n=$((n + 1)); done
echo made `ls fresh | wc -l` `ls -l fresh | wc -l`
n=0; while [ $n -lt COUNT ]; do [ -e fresh/name-of-a-file-$n ] || echo MISSING $n; n=$((n + 1)); done
[ -e fresh/name-of-a-file-x ] && echo WRONG; mv fresh/name-of-a-file-17 fresh/moved; ln fresh/moved fresh/linked
(cd fresh; rm *[02468]); echo left `ls fresh | wc -l`
mkdir above; mv fresh above/fresh; echo up `ls above/fresh/../fresh | wc -l`
n=0; for f in theirs/*1; do rm $f; n=$((n + 1)); done; echo removed $n
n=0; while [ $n -lt 500 ]; do echo $n >theirs/one-more-$n; n=$((n + 1)); done
cat theirs/file-with-a-name-7777 theirs/one-more-499; mkdir gone; : >gone/x; rm -r gone
cd /; umount /mnt && echo END
"""


def many_names(it, kind, count, long_count):
    """Directories with hash trees, ours and others', stay what they are while names come and go."""
    count = long_count if it.long else count
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "disk.img"
        (tree / "theirs").mkdir(parents=True)
        for number in range(8000):
            (tree / "theirs" / f"file-with-a-name-{number}").write_text(f"{number}\n" if number == 7777 else "")
        make_image(kind, tree, image, 192 * mebibyte)
        subprocess.run(["e2fsck", "-f", "-y", "-D", image], capture_output=True)
        status, output, said = run_tool(it, "--smp", "2", "--disk", str(image), "--timeout", "400", "--exec",
                                        many_script.replace("COUNT", str(count)))
        wrong = fsck(image)
        flags = debugfs(image, "stat /above/fresh", "stat /theirs")
        listed = debugfs(image, "ls -p /above/fresh").splitlines()  # with places that are empty: inode 0
        names = sum("/name-of-a-file-" in line and not line.startswith("/0/") for line in listed)
    lines = output.splitlines()
    tail = [f"status {status}", *last_lines(output, 20), *last_lines(said)]
    indexed = [int(word, 16) & 0x1000 for word in re.findall(r"Flags: (0x[0-9a-f]+)", flags)]
    return [
        check(f"{it.name}.all_are_found", f"made {count} {count + 1}" in lines and "MISSING" not in output and "WRONG" not in output, *tail),
        check(f"{it.name}.half_are_removed", f"left {count // 2 + 1}" in lines and f"up {count // 2 + 1}" in lines and names == count // 2 - 1,
              f"{names} names", *tail),
        check(f"{it.name}.others_trees_are_kept", "removed 800" in lines and "7777" in lines and "499" in lines and "END" in lines, *tail),
        check(f"{it.name}.trees_stay", len(indexed) == 2 and all(indexed), flags),
        check(f"{it.name}.is_good_to_e2fsck", not wrong, *wrong),
    ]


orphan_script = """
mkdir /mnt; mount -t ext4 /dev/vda /mnt || exit 1; cd /mnt
dd if=/dev/urandom of=open bs=64k count=20 2>/dev/null; dd if=/dev/urandom of=also bs=64k count=3 2>/dev/null; sync
exec 3<>open 4<>also; rm open also; sync; sleep 5; sync; echo READY; cat
"""


def orphans(it, kind):
    """What is open without a name when the power goes is gone when the disk is next mounted; a list of such that makes
    no sense leaves the disk as it is."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "disk.img"
        tree.mkdir()
        (tree / "other").write_text("other\n")
        make_image(kind, tree, image, 32 * mebibyte)
        free = re.search(r"Free blocks: +(\d+)", debugfs(image, "stats")).group(1)
        how = machine.options(smp=2, disks=(machine.disk(str(image)),))
        with machine.boot(how, "", {"initrd": userland.initrd(), "exec": orphan_script.encode()}) as running:
            running.wait_for(r"READY", 60)
        left = debugfs(image, "stats")
        again = "mkdir /mnt; mount -t ext4 /dev/vda /mnt; cat /mnt/other; echo x >/mnt/new && rm /mnt/new; df /mnt >/dev/null; umount /mnt && echo END"
        status, output, said = run_tool(it, "--smp", "2", "--disk", str(image), "--exec", again)
        wrong = fsck(image)
        after = debugfs(image, "stats")
        # In circles.
        number = re.search(r"Inode: (\d+)", debugfs(image, "stat /other")).group(1)
        debugfs(image, f"ssv last_orphan {number}", f"sif /other dtime {number}", write=True)
        bad_status, bad_output, bad_said = run_tool(it, "--smp", "2", "--disk", str(image), "--exec", again, part="-circle")
        kept = debugfs(image, "stats")
    tail = [f"status {status}", *last_lines(output), *last_lines(said)]
    first = re.search(r"First orphan inode: +(\d+)", left)
    return [
        check(f"{it.name}.the_disk_names_them", first and int(first.group(1)) and "Filesystem state:         clean" in left, left[:2500]),
        check(f"{it.name}.they_are_gone", not wrong and "First orphan" not in after and
              re.search(r"Free blocks: +(\d+)", after).group(1) == free and "END" in output.splitlines(), *wrong, after[:2500], *tail),
        check(f"{it.name}.circles_are_refused", bad_status == 0 and "other" in bad_output.splitlines() and "orphans makes no sense" in bad_said and
              f"First orphan inode:       {number}" in kept, f"status {bad_status}", *last_lines(bad_output), *last_lines(bad_said)),
    ]


cut_script = """
mkdir /mnt; mount -t ext4 /dev/vda /mnt || exit 1; cd /mnt
dd if=/dev/urandom of=cut bs=64k count=200 2>/dev/null; sync; sleep 3; sync; echo SUM `head -c 100001 cut | md5sum`; echo READY; sleep 4
truncate -s 100001 cut; sync; sync; sleep 100
"""


def power_goes_while_cutting(it, image, written):
    """A long file is cut off and the power goes when some of the blocks that this changes are on the disk and one is on its way.
    Gives the MD5 of what stays of the file, and whether it came so far."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder, socket.socket(socket.AF_UNIX) as monitor:
        how = machine.options(smp=2, disks=(machine.disk(str(image), stops=True),), monitor=str(Path(folder) / "monitor"))
        with machine.boot(how, "", {"initrd": userland.initrd(), "exec": cut_script.encode()}) as running:
            if at := running.wait_for("READY", scenarios.command_timeout):
                monitor.connect(how.monitor)
                for number in range(written + 1):
                    monitor.sendall(f'qemu-io disk0 "break pwritev cut{number}"\n'.encode())
                at = running.wait_for("Suspended request 'cut0'", 60, at)
                time.sleep(1)
                for number in range(written):
                    monitor.sendall(f'qemu-io disk0 "resume cut{number}"\n'.encode())
                time.sleep(2)
            text = frames.split(running.bytes())[1].decode(errors="replace")
            it.log(f"-{written}").write_bytes(running.bytes())
    found = re.search(r"SUM ([0-9a-f]{32})", text)
    return found and found[1], at is not None


def cut_off(it, kind):
    """A file that is being cut off when the power goes has its old length or its new one; where the disk's list names it, who mounts
    the disk finishes what was begun."""
    bad = []
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image, back = Path(folder) / "tree", Path(folder) / "disk.img", Path(folder) / "back"
        tree.mkdir()
        content = random.Random(9).randbytes(9_000_000)
        (tree / "long").write_bytes(content)
        (tree / "other").write_bytes(content[:300_000])
        make_image(kind, tree, image, 32 * mebibyte)
        # As it is in the midst: the length is the new one, the blocks are still there, and the list leads over both files.
        numbers = [re.search(r"Inode: (\d+)", debugfs(image, f"stat /{name}")).group(1) for name in ("long", "other")]
        debugfs(image, "sif /long size 100001", f"sif /long dtime {numbers[1]}", "sif /other size 0", "sif /other dtime 0",
                f"ssv last_orphan {numbers[0]}", write=True)
        free = int(re.search(r"Free blocks: +(\d+)", debugfs(image, "stats")).group(1))
        script = "mkdir /mnt; mount -t ext4 /dev/vda /mnt; cd /mnt; stat -c '%n %s' long other; cd /; umount /mnt && echo END"
        status, output, said = run_tool(it, "--smp", "2", "--disk", str(image), "--exec", script)
        wrong, after = fsck(image), debugfs(image, "stats")
        debugfs(image, f"dump /long {back}")
        freed = int(re.search(r"Free blocks: +(\d+)", after).group(1)) - free
        expected_freed = (9_000_000 - 100_001 + 300_000) // int(re.search(r"Block size: +(\d+)", after).group(1))
        finished = (back.read_bytes() == content[:100_001] and "long 100001" in output and "other 0" in output and "END" in output.splitlines())
        for written in range(4):
            image.unlink()
            make_image(kind, tree, image, 32 * mebibyte)
            kept, was_held = power_goes_while_cutting(it, image, written)
            repaired = subprocess.run(["e2fsck", "-f", "-y", str(image)], capture_output=True, text=True)
            back.unlink(missing_ok=True)
            debugfs(image, f"dump /cut {back}")
            found = back.read_bytes() if back.exists() else b""
            if not was_held or repaired.returncode > 2 or fsck(image) or len(found) not in (100_001, 200 << 16) or hashlib.md5(found[:100_001]).hexdigest() != kept:
                bad.append(f"{written} written: held {was_held}, e2fsck {repaired.returncode}, {len(found)} bytes, sum {kept}")
    tail = [f"status {status}", *last_lines(output), *last_lines(said)]
    return [
        check(f"{it.name}.is_finished_by_who_mounts", finished and freed >= expected_freed and "First orphan" not in after, f"{freed} blocks freed", *tail),
        check(f"{it.name}.is_good_to_e2fsck_then", not wrong, *wrong, *tail),
        check(f"{it.name}.has_one_length_or_the_other", not bad, *bad),
    ]


spread_script = """
mkdir /mnt; mount -t ext4 /dev/vda /mnt || exit 1; cd /mnt
for i in `seq 0 19`; do mkdir d$i d$i/sub; for j in 0 1 2 3 4; do echo $i $j >d$i/f$j; echo >d$i/sub/f$j; done; done; cd /; umount /mnt && echo END
"""


def spread(it, kind):
    """The root's directories lie apart over the groups of blocks, and what is in each of them lies together."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "disk.img"
        tree.mkdir()
        make_image(kind, tree, image, 80 * mebibyte)  # ten groups, of blocks of 1 KiB
        status, output, said = run_tool(it, "--smp", "2", "--disk", str(image), "--exec", spread_script)
        stats, wrong = debugfs(image, "stats"), fsck(image)
        inodes, blocks, first = (int(re.search(rf"{what}: +(\d+)", stats).group(1)) for what in ("Inodes per group", "Blocks per group", "First block"))

        def group(path):
            return (int(re.search(r"Inode: (\d+)", debugfs(image, f"stat {path}")).group(1)) - 1) // inodes

        def group_of_block(path):
            return (int(debugfs(image, f"blocks {path}").split()[0]) - first) // blocks

        groups = [group(f"/d{i}") for i in range(20)]
        apart = [f"/d{i}/{name}" for i in range(20) for name in ("sub", "f0", "f4", "sub/f0") if group(f"/d{i}/{name}") != groups[i]]
        apart += [f"a block of /d{i}/f0" for i in range(20) if group_of_block(f"/d{i}/f0") != group(f"/d{i}/f0")]
    tail = [f"status {status}", f"groups {groups}", *last_lines(output), *last_lines(said)]
    return [
        check(f"{it.name}.directories_of_the_root_lie_apart", len(set(groups)) >= 8 and max(groups.count(g) for g in groups) <= 5, *tail),
        check(f"{it.name}.what_is_in_them_lies_together", len(apart) <= 5, *apart, *tail),
        check(f"{it.name}.is_good_to_e2fsck", status == 0 and not wrong and "END" in output.splitlines(), *wrong, *tail),
    ]


def walked(it, kind):
    """Little memory is enough to look at all of many files."""
    files = 30_000 if it.long else 12_000
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "root.img"
        tree.mkdir()
        cpio.unpack(userland.initrd(), tree)
        for number in range(files):
            if number % 300 == 0:
                (tree / "walk" / str(number)).mkdir(parents=True)
            (tree / "walk" / str(number - number % 300) / f"file-with-a-name-{number}").write_text("x")
        make_image(kind, tree, image, 384 * mebibyte)
        script = """for k in 1 2; do find /walk -type f | xargs ls -ld | wc -l; done
cat `find /walk -name '*7'` | wc -c; echo new >/walk/300/file-with-a-name-x && cat /walk/300/file-with-a-name-x; rm /walk/600/*9; ls /walk/600 | wc -l; sync; echo END"""
        status, output, said = run_tool(it, "--smp", "2", "--mem", "64M", "--root", str(image), "--timeout", "400", "--exec", script)
        wrong = fsck(image)
    tail = [f"status {status}", *last_lines(output), *last_lines(said)]
    return [check(f"{it.name}.all_are_seen", status == 0 and output.split() == [str(files)] * 2 + [str(files // 10), "new", "270", "END"], *tail),
            check(f"{it.name}.leaves_it_good", not wrong, *wrong)]


judged_script = """
fill() {
    cd $1 || return
    mkdir $who; cd $who; mkdir -p a/b/c many gone; n=0
    while [ $n -lt 700 ]; do n=$((n + 1)); echo $who $n >many/a-file-among-many-$n; done
    dd if=/dev/urandom of=long bs=65536 count=70 2>/dev/null; dd if=/dev/urandom of=odd bs=4999 count=201 2>/dev/null
    dd if=/dev/urandom of=holes bs=3000 count=2 seek=700 2>/dev/null; dd if=/dev/urandom of=holes bs=999 count=1 seek=4000 conv=notrunc 2>/dev/null
    cp long a/copy; ln long a/b/hard; ln -s ../long a/soft; ln -s `printf %0300d 7` a/far; mkfifo a/pipe; mknod a/device c 9 300
    truncate -s 70001 odd; truncate -s 9000000 holes; mv a/b moved; rm many/*9; rmdir gone; mv many/a-file-among-many-10 .; echo >>a/copy
    chmod 4751 odd; chown 70000:12 long; touch -d '2001-02-03 04:05:06' moved/c
    cd ..
    # What the other one has made is changed, too.
    for other in *-was-here; do
        [ $other = $who ] || [ ! -d $other ] && continue
        echo more >>$other/odd; rm $other/a/copy $other/many/*7; mv $other/moved $who/taken; mv $other/many/*-11 $other/many/renamed
        dd if=/dev/urandom of=$other/holes bs=4096 count=9 seek=100 conv=notrunc 2>/dev/null; truncate -s 5000 $other/a/b/hard 2>/dev/null
    done
    cd /
}
look() {
    echo DISK; cd $1 || return
    find . ! -path './lost*' | sort | xargs stat -c '%n %F %a %u %g %h %s %t %T %Y'
    find . -type l | sort | xargs -n 1 readlink; find . -type f ! -path './lost*' | sort | xargs md5sum; cd /
}
mkdir -p /proc /dev /1 /2; [ -e /proc/self ] || mount -t proc proc /proc; [ -e /dev/vda ] || mount -t devtmpfs dev /dev
for m in /modules/*; do [ -e $m ] && insmod $m; done
mount -t ext2 /dev/vda /1 && mount -t ext4 /dev/vdb /2 || exit 1
echo FOUND; look /1; look /2
[ -z $who ] || { fill /1; fill /2; }
echo LEFT; look /1; look /2; umount /1 && umount /2 && echo END
"""


def judged_by_linux(it):
    """Debian's kernel fills disks and what it made reads the same here; more is written here, and it reads that the same."""
    kernel, version = userland.linux_kernel()

    def run(part, who, disks):
        script = f"who={who}\n{judged_script}"
        how = machine.options(smp=2, disks=tuple(machine.disk(str(disk)) for disk in disks))
        if part.endswith("linux"):
            more = cpio.archive()
            more.file("judged.sh", script.encode())
            archive = userland.initrd() + userland.disk_modules_archive(version) + more.bytes()
            booting = machine.boot_linux(how, kernel, archive, 'exec="sh /judged.sh"')
        else:
            booting = machine.boot(how, "", {"initrd": userland.initrd(), "exec": script.encode()})
        with booting as running:
            running.wait(2 * scenarios.command_timeout)
            it.log(f"-{part}").write_bytes(running.bytes())
            text = frames.split(running.bytes())[1].decode(errors="replace")
        found, _, left = text.partition("LEFT\n")
        return [one.partition("END")[0].split("DISK\n")[1:] for one in (found, left)], last_lines(text, 5), "END" in text

    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        disks = [Path(folder) / "ext2.img", Path(folder) / "ext4.img"]
        for kind, disk in zip(("ext2", "ext4"), disks):
            make_image(kind, tree, disk, 64 * mebibyte)
        (_, filled), said_1, ended_1 = run("1-linux", "linux-was-here", disks)
        (found, left), said_2, ended_2 = run("2", "nutcracker-was-here", disks)
        wrong = [line for disk in disks for line in fsck(disk)]
        (judged, _), said_3, ended_3 = run("3-linux", "", disks)
    results = []
    for name, before, after in (("reads_what_linux_has_written", filled, found), ("is_read_by_linux", left, judged)):
        for number, kind in enumerate(("ext2", "ext4")):
            theirs, ours = (one[number].splitlines() if number < len(one) else [] for one in (before, after))
            difference = difflib.unified_diff(theirs, ours, "written", "read", lineterm="", n=0)
            results.append(check(f"{it.name}.{kind}_{name}", len(theirs) > 700 and theirs == ours,
                                 f"{len(theirs)} lines, by {version}", *list(difference)[:20], *said_1, *said_2, *said_3))
    return [*results, check(f"{it.name}.all_can_be_unmounted", ended_1 and ended_2 and ended_3, *said_1, *said_2, *said_3),
            check(f"{it.name}.is_good_to_e2fsck", not wrong, *wrong)]


root_pulled_script = """
mkdir -p /mem; mount -t tmpfs none /mem; cp /bin/busybox /mem; cat >/mem/script <<'EOF'
b=/mem/busybox; cd /mem
(while $b dd if=/dev/zero of=/tmp/w bs=64k count=64 conv=fsync 2>/dev/null; do :; done; echo writer ended) &
(while $b dd if=/dev/zero of=/tmp/d bs=256k count=16 oflag=direct 2>/dev/null; do :; done; echo direct writer ended) &
(while $b dd if=/bin/bash of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done; echo reader ended) &
(while $b mkdir /tmp/f && $b rmdir /tmp/f && $b dd if=/dev/zero of=/tmp/m bs=4k count=1 conv=fsync; do :; done 2>/dev/null; echo maker ended) &
$b sleep 2; echo PULL; wait
$b dd if=/bin/bash of=/dev/null bs=64k count=1 iflag=direct 2>&1 | $b grep -q 'Input/output error' && echo read is EIO
$b dd if=/dev/zero of=/tmp/n bs=4k count=1 conv=fsync 2>/dev/null || echo nothing is written
$b ls / >/dev/null 2>&1; $b sync; echo synced
EOF
exec /mem/busybox sh /mem/script
"""


def root_pulled(it, driver):
    """The disk that the root is on goes while it is read and written: errors to the programs, and the machine goes on."""
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "root.img"
        tree.mkdir()
        cpio.unpack(userland.initrd(), tree)
        make_image("ext4", tree, image, 96 * mebibyte)
        how = machine.options(smp=2, disk_driver=driver, disks=(machine.disk(str(image)),), slots=True,
                              monitor=str(Path(folder) / "monitor"))
        modules = {"initrd": userland.initrd(), "exec": root_pulled_script.encode()}
        with machine.boot(how, f"root=/dev/{machine.first_disk_name[driver]}", modules) as running:
            asked = running.wait_for("oPULL", scenarios.command_timeout)
            scenarios.pull_first_disk(running, how, asked, 120)
            running.wait(60)
            it.log().write_bytes(running.bytes())
            output, text = frames.split(running.bytes())[1].decode(errors="replace"), running.text()
    lines, tail = output.splitlines(), [f"QEMU: {running.status}", *last_lines(output, 20), *last_lines(text, 30)]
    return [
        *(check(f"{it.name}.{what.replace(' ', '_')}", what in lines, *tail) for what in
          ("writer ended", "direct writer ended", "reader ended", "maker ended", "read is EIO", "nothing is written", "synced")),
        check(f"{it.name}.machine_goes_on", running.status == machine.status_passed and not machine.panic_line(text), *tail),
    ]


def fuzz(it):
    """The fuzzers; that of disks has some of all kinds to begin with."""
    disks = project.build_root / "fuzz-disks"
    small_images(disks)
    return scenarios.fuzz(it, NUTCRACKER_DISKS=str(disks))


def stalls(it, kind, smp=2, driver="virtio", iommu=False):
    """Nobody waits for a slow disk, and it gets what was in the buffer when the write began (tests/user/stall.c)."""
    # As slow as that a disk is slow beside anything else that this machine may have to do meanwhile.
    rounds, rate = (250, 3_000_000) if it.long else (10, 1_000_000)
    return programs(it, kind, ["stall"], smp=smp, driver=driver, iommu=iommu, throttle=f"throttling.bps-write={rate}",
                    options=f" stall_rounds={rounds}")
