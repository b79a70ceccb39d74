"""Writes cpio archives in the "newc" format, which Linux and this kernel read at boot.

A file is a header of 110 characters (a magic number and 13 numbers of 8 hexadecimal digits), its name, its bytes; name and
bytes are filled up to a multiple of four. A file named TRAILER!!! ends the archive.
"""

import collections
import stat
import tarfile

types = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.REGTYPE: stat.S_IFREG, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.CHRTYPE: stat.S_IFCHR}


class archive:
    def __init__(self):
        self._parts = []
        self._count = 0
        self._folders = set()

    def _add(self, name, mode, content=b"", device=(0, 0), owner=(0, 0), changed=0, inode=None, links=1):
        self._count += 1
        encoded = name.encode(errors="surrogateescape") + b"\0"
        # inode, mode, uid, gid, links, time, size, device the file is on (2), device it is (2), length of the name, check
        fields = [inode or self._count, mode, *owner, links, changed, len(content), 0, 0, *device, len(encoded), 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in header + encoded, content:
            self._parts.append(part + bytes(-len(part) % 4))

    def _make_folders(self, path):
        above = path.strip("/").split("/")[:-1]
        for depth in range(1, len(above) + 1):
            self.folder("/".join(above[:depth]))

    def folder(self, path):
        path = path.strip("/")
        if path not in self._folders:
            self._make_folders(path)
            self._folders.add(path)
            self._add(path, stat.S_IFDIR | 0o755)

    def file(self, path, content, mode=0o755):
        self._make_folders(path)
        self._add(path.strip("/"), stat.S_IFREG | mode, content)

    def link(self, path, target):
        self._make_folders(path)
        self._add(path.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path, major, minor):
        self._make_folders(path)
        self._add(path.strip("/"), stat.S_IFCHR | 0o600, device=(major, minor))

    def everything_of(self, path):
        """All that stands in a tar file, with its owners, modes and times. Of the names of one file the first has the bytes."""
        with tarfile.open(path) as it:
            members = it.getmembers()
            names = collections.Counter(one.linkname for one in members if one.islnk())
            inodes = {}
            for one in members:
                name = one.name.removeprefix("./").strip("/")
                about = dict(owner=(one.uid, one.gid), changed=int(one.mtime))
                if one.islnk():
                    first = it.getmember(one.linkname)
                    self._add(name, stat.S_IFREG | first.mode, **about, inode=inodes[first.name], links=1 + names[first.name])
                elif name not in ("", ".") and one.type in types:
                    content = it.extractfile(one).read() if one.isreg() else one.linkname.encode() if one.issym() else b""
                    device = (one.devmajor, one.devminor) if one.ischr() else (0, 0)
                    self._add(name, types[one.type] | one.mode, content, device, **about, links=1 + names[one.name])
                    inodes[one.name] = self._count
                    if one.isdir():
                        self._folders.add(name)

    def bytes(self):
        self._count = -1  # so that the end's inode is 0
        self._add("TRAILER!!!", 0)
        return b"".join(self._parts)


def unpack(archive_bytes, folder):
    """Makes the folders, files and links of an archive that this module wrote below a folder; no devices."""
    at = 0

    def part(length):
        nonlocal at
        taken = archive_bytes[at : at + length]
        at += length + -length % 4
        return taken

    while True:
        header = archive_bytes[at : at + 110]
        mode, size, name_bytes = (int(header[start : start + 8], 16) for start in (14, 54, 94))
        name = part(110 + name_bytes)[110:-1].decode(errors="surrogateescape")
        content = part(size)
        if name == "TRAILER!!!":
            return
        path = folder / name
        if stat.S_ISDIR(mode):
            path.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISLNK(mode):
            path.symlink_to(content.decode())
        elif stat.S_ISREG(mode):
            path.write_bytes(content)
            path.chmod(mode & 0o7777)
