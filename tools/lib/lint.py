"""./tools/lint: what a reader of the code should not have to look for. Prints problems as `file:line: text`."""

import argparse
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys

import project

code_folders = ["arch", "kernel", "sys", "drivers", "user", "tests"]
cxx_suffixes = (".h", ".hpp", ".cc")
# Written in pieces, so that this file passes its own check.
unfinished = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
other_buffer_types = re.compile(r"\b(ui" + r"o|ui" + r"o_\w+|UI" + r"O_\w+)\b")


def files(folders, suffixes=None):
    for folder in folders:
        for path in sorted((project.root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and (suffixes is None or path.suffix in suffixes):
                yield path


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


def check_layers():
    """Includes go downwards only."""
    done = subprocess.run([sys.executable, project.root / "tools/check-layers"], capture_output=True, text=True)
    return lines_of(done.stdout + done.stderr)


def check_words():
    """Nothing unfinished, and no second type for payload."""
    found = []
    for path in [*files([*code_folders, "tools"]), project.root / "CMakeLists.txt"]:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if word := unfinished.search(line):
                found.append(f"{project.relative(path)}:{number}: '{word[0]}': finish it or leave it out")
            if path.suffix in cxx_suffixes and (word := other_buffer_types.search(line)):
                found.append(f"{project.relative(path)}:{number}: '{word[0]}': payload is an xio::source or an xio::sink")
    return found


def check_format():
    """All C++ as clang-format leaves it."""
    sources = [str(project.relative(path)) for path in files(code_folders, cxx_suffixes)]
    done = subprocess.run(["clang-format", "--dry-run", "--style=file", *sources], cwd=project.root,
                          capture_output=True, text=True)
    found = re.findall(r"^(\S+?:\d+):\d+: warning", done.stderr, re.MULTILINE)
    problems = [f"{where}: not formatted; clang-format -i {where.split(':')[0]}" for where in dict.fromkeys(found)]
    return problems or (list(dict.fromkeys(lines_of(done.stderr))) if done.returncode else [])


def compile_commands():
    """{file: arguments} of all sources: as the host port is compiled, or as the kernel is where the host has no such file."""
    commands = {}
    for flavour in ["x86_64", "host"]:
        folder = project.configure(flavour)
        for entry in json.loads((folder / "compile_commands.json").read_text()):
            if entry["file"].endswith(".cc"):
                commands[entry["file"]] = (entry["directory"], shlex.split(entry["command"]))
    return commands


def check_with_clang(command):
    directory, arguments = command
    kept = [re.sub(r"^-std=(gnu|c)\+\+23$", r"-std=\1++2b", one) for one in arguments[1:]]
    if "-o" in kept:
        at = kept.index("-o")
        del kept[at : at + 2]
    # Headers that another compiler compiled are of no use; without them each file shows what it forgot to include.
    while "-include" in kept:
        at = kept.index("-include")
        del kept[at : at + 2]
    # Without floating point registers clang refuses even declarations in the standard headers.
    kept = [one for one in kept if one not in ("-c", "-Werror", "-mgeneral-regs-only", "-fno-tree-loop-distribute-patterns") and not one.startswith("-fsanitize")]
    done = subprocess.run(["clang++", *kept, "-fsyntax-only", "-Wno-everything", "-Wthread-safety", "-Wno-unknown-warning-option"],
                          cwd=directory, capture_output=True, text=True)
    found = re.findall(r"^(\S+?):(\d+):\d+: (?:warning|error|fatal error): (.*)$", done.stderr, re.MULTILINE)
    lines = [f"{project.relative(file)}:{number}: {text}" for file, number, text in found]
    return lines or (lines_of(done.stderr) if done.returncode else [])


def check_threads():
    """Locks, tokens and owners as the annotations promise them (clang's thread-safety analysis)."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [line for lines in pool.map(check_with_clang, compile_commands().values()) for line in lines]
    return list(dict.fromkeys(found))


def check_tidy():
    """What clang-tidy finds with the rules in .clang-tidy."""
    project.install("tidy")

    def one(file):
        done = subprocess.run(["clang-tidy", "-p", str(project.build_root / "host"), "--quiet", file],
                              cwd=project.root, capture_output=True, text=True)
        found = re.findall(r"^(\S+?):(\d+):\d+: (?:warning|error): (.*)$", done.stdout, re.MULTILINE)
        return [f"{project.relative(path)}:{number}: {text}" for path, number, text in found]

    sources = [entry["file"] for entry in json.loads((project.configure("host") / "compile_commands.json").read_text())
               if entry["file"].endswith(".cc")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(dict.fromkeys(line for lines in pool.map(one, sources) for line in lines))


checks = {"layers": check_layers, "words": check_words, "format": check_format, "threads": check_threads}


def run_checks(names=None):
    """Yields (name, problems) one check after the other."""
    project.install("lint", "build", "host")
    for name in names or checks:
        yield name, checks[name]()


def main():
    parser = argparse.ArgumentParser(
        prog="./tools/lint", description="Checks the tree. " + " ".join(f"{name}: {check.__doc__}" for name, check in checks.items()))
    parser.add_argument("--tidy", action="store_true", help="run clang-tidy as well (minutes)")
    parser.add_argument("check", nargs="*", help=f"only these checks: {' '.join(checks)}")
    args = parser.parse_args()
    for name in args.check:
        if name not in checks:
            parser.error(f"no check named {name}")
    if args.tidy:
        checks["tidy"] = check_tidy
    bad = 0
    for name, problems in run_checks(args.check and args.check + ["tidy"] * args.tidy):
        print("\n".join([*problems, f"{name}: {len(problems)} problems"]), flush=True)
        bad += len(problems)
    return 1 if bad else 0


if __name__ == "__main__":
    project.run_main(main)
