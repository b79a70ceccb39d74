"""The programs that docs/ shows as a whole: each is compiled as it stands there, and those below are run."""

import re
import subprocess
import tempfile
from pathlib import Path

import frames
import machine
import project
import scenarios
import userland
from scenarios import check, last_lines

# What a page's program is called, what is done with it in the guest, and what that must print.
runs = {
    ("userfs.md", 1): ("hello", """hello & server=$!
mount -t user -o wait hello /mnt
cat /mnt/hello; ls /mnt; cat /mnt/other 2>/dev/null || echo none other; head -c 5 /mnt/hello; echo
umount /mnt && wait $server && echo ended""", "Hello from a program\nhello\nnone other\nHello\nended\n"),
    ("caps.md", 1): ("upper", """upper serve & server=$!
upper some words; kill $server""", "SOME\nWORDS\n"),
}


def programs(page):
    """The indented blocks of a page that are whole programs."""
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)+", page, re.MULTILINE)
    code = ["\n".join(line[4:] for line in block.splitlines()).strip() + "\n" for block in blocks]
    return [one for one in code if re.search(r"^int main\(", one, re.MULTILINE)]


def compiled(name, code, folder):
    """The program, or None, and what the compiler said."""
    plus = ".hpp\"" in code
    source, program = Path(folder) / f"{name}.{'cc' if plus else 'c'}", Path(folder) / name
    source.write_text(code)
    command = ["musl-gcc", "-std=gnu++20" if plus else "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
               *(["-fno-exceptions", "-fno-rtti"] if plus else []), "-static", "-fno-pie", "-no-pie", f"-I{project.root}", "-o", program, source]
    if "user/userfs.h" in code:
        command += ["-x", "c", project.root / "user/userfs.c"]
    done = subprocess.run(command, capture_output=True, text=True)
    return program if done.returncode == 0 else None, done.stderr.splitlines()


def examples(it):
    """They compile, and do what their page says."""
    project.install("user")
    results, ready = [], {}
    with tempfile.TemporaryDirectory(prefix="nutcracker-") as folder:
        for page in sorted((project.root / "docs").glob("*.md")):
            for number, code in enumerate(programs(page.read_text()), 1):
                name = runs.get((page.name, number), (f"{page.stem}-{number}",))[0]
                program, said = compiled(name, code, folder)
                results.append(check(f"examples.{name}_compiles", program, *said[:20]))
                if program:
                    ready[page.name, number] = program.read_bytes()
    missing = [f"{page}: {name}" for (page, number), (name, *_) in runs.items() if (page, number) not in ready]
    results.append(check("examples.are_there", not missing, *missing))

    def add(archive):
        archive.folder("mnt")
        for key, program in ready.items():
            if key in runs:
                archive.file(f"bin/{runs[key][0]}", program)

    with project.locked("user"):
        initrd = userland.archive(project.build_locked("user"), add)
    script = "\n".join(f"echo; echo BEGIN {name}; {lines}" for key, (name, lines, _) in runs.items() if key in ready)
    ran = scenarios.boot_once(it, machine.options(smp=2), "", scenarios.user_test_timeout, {"initrd": initrd, "exec": script.encode()})
    output = frames.split(ran.bytes())[1].decode(errors="replace")
    _, *begun = re.split(r"^BEGIN (\S+)\n", output, flags=re.MULTILINE)
    said = dict(zip(begun[::2], begun[1::2]))
    for name, _, wanted in runs.values():
        results.append(check(f"examples.{name}_does_what_it_should", said.get(name, "").rstrip() == wanted.rstrip(),
                             *said.get(name, "nothing").splitlines()[-20:], *last_lines(ran.text())))
    return results
