"""Writes cpio archives in the "newc" format, which Linux and this kernel read at boot.

A file is a header of 110 characters (a magic number and 13 numbers of 8 hexadecimal digits), its name, its bytes; name and
bytes are filled up to a multiple of four. A file named TRAILER!!! ends the archive.
"""

import stat


class archive:
    def __init__(self):
        self._parts = []
        self._count = 0
        self._folders = set()

    def _add(self, name, mode, content=b"", device=(0, 0)):
        self._count += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device the file is on (2), device it is (2), length of the name, check
        fields = [self._count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0]
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

    def bytes(self):
        self._count = -1  # so that the end's inode is 0
        self._add("TRAILER!!!", 0)
        return b"".join(self._parts)
