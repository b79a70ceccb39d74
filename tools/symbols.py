#!/usr/bin/env python3
"""Writes the kernel's table of function names as assembler source.

usage: symbols.py OUTPUT [KERNEL-ELF]

Without an image the table is empty: that is for the first link, which settles where the functions are. The
table lies behind all code, so that the second link, with the table of the first, moves none of them.
"""

import re
import subprocess
import sys

HEAD = """        .section .symbols, "a", @progbits
        .globl  arch_symbol_count, arch_symbols, arch_symbol_names
        .balign 8
arch_symbol_count:
        .long   {count}
        .balign 8
arch_symbols:
"""
TAIL = """        .section .note.GNU-stack, "", @progbits
"""
LONGEST_NAME = 60


def without_parameters(name):
    """k::f(int) const -> k::f: which overload it was matters less than a line that can be read."""
    end = name.rfind(")")
    if end < 0 or not re.fullmatch(r"\)( const| \[clone .*\])*", name[end:]):
        return name
    depth = 0
    for at in range(end, -1, -1):
        depth += {")": 1, "(": -1}.get(name[at], 0)
        if depth == 0:
            return name[:at] if at > 0 else name
    return name


def without_template_arguments(name):
    """void k::log<int, char*> -> k::log<>: the type before it and what stands in brackets are much of the table, and many
    names become one. A system call is known by them only."""
    if name.startswith("syscalls::") or "operator" in name:
        return name
    kept, depth = [], 0
    for letter in name:
        depth -= letter == ">"
        if depth == 0:
            kept.append(letter)
        depth += letter == "<"
    name = "".join(kept)
    return name.split(" ")[-1] if name.endswith("<>") else name


def shortened(name):
    return without_template_arguments(without_parameters(name.replace("(anonymous namespace)::", "")))


def functions(image):
    """(address, demangled name) of every function, sorted, one an address; and the address of the text."""
    listing = subprocess.run(["nm", "--demangle", "--numeric-sort", image], check=True, capture_output=True, text=True)
    start, end, found = None, None, {}
    for line in listing.stdout.splitlines():
        fields = line.split(" ", 2)
        if len(fields) != 3:
            continue
        address, kind, name = fields
        if name == "image_text_start":
            start = int(address, 16)
        elif name == "image_text_end":
            end = int(address, 16)
        elif kind in "tTwW":
            # A global name says more than a local label at the same place.
            if int(address, 16) not in found or kind in "TW":
                found[int(address, 16)] = shortened(name)
    return start, [(a, n) for a, n in sorted(found.items()) if start <= a < end]


def quoted(name):
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main():
    output = sys.argv[1]
    start, table = functions(sys.argv[2]) if len(sys.argv) > 2 else (0, [])
    lines = [HEAD.format(count=len(table))]
    places, offset = {}, 0  # clones and overloads share a name
    for address, name in table:
        name = name[:LONGEST_NAME]
        if name not in places:
            places[name] = offset
            offset += len(name.encode()) + 1
        lines.append(f"        .long   {address - start:#x}, {places[name]}\n")
    lines.append("arch_symbol_names:\n")
    lines += [f"        .asciz  {quoted(name)}\n" for name in places]
    lines.append(TAIL)
    with open(output, "w", encoding="utf-8") as file:
        file.writelines(lines)


if __name__ == "__main__":
    main()
