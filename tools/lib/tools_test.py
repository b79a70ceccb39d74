"""Tests of the tools themselves, without a kernel: stand_in.py plays QEMU. Run by ./tools/test tools."""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

import cpio
import frames
import machine
import project
import tap
import tracing
import versus

library = Path(__file__).resolve().parent


def stand_in(what):
    return [sys.executable, str(library / "stand_in.py"), what]


def run_command(*arguments, what, program="run"):
    """./tools/run (or another) with neither build nor image, and the stand-in as its QEMU."""
    code = (f"import project, userland, {program}; project.make_image = lambda *_: 'none.iso'; project.install = lambda *_: None; "
            "userland.initrd = lambda: b''; userland.linux_kernel = lambda: ('vmlinuz', '6.1'); userland.disk_modules_archive = lambda _: b''; "
            f"{program}.measure_on_host = lambda _: []; project.run_main({program}.main)")
    environment = dict(os.environ, NUTCRACKER_QEMU=" ".join(stand_in(what)), PYTHONPATH=str(library))
    return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60)


dump = """0 1000 switch a0 b0 client
1 1000 switch a1 b1 idle
0 1100 put c0 100000 count
0 1150 lent 7f00 100000 
0 1200 ipi 1 0 
1 1250 taken 1 0 
1 1300 switch a2 a1 <server>
1 1350 got c0 0 count
1 1400 fault 7f123000 4 
1 1500 reply c0 0 count
0 1700 switch a3 a0 idle
"""


class traces(unittest.TestCase):
    def test_each_run_lasts_until_the_next(self):
        self.assertEqual(sorted(tracing.runs(tracing.parse(dump)), key=lambda r: (r[3], r[0], r[2])),
                         [(1, "idle", 1000, 1300), (0, "client", 1000, 1700), (0, "idle", 1700, 1700),
                          (1, "<server>", 1300, 1700)])

    def test_a_message_is_followed_over_the_cpus(self):
        steps = tracing.journeys(tracing.parse(dump))
        self.assertEqual([[(e.what, e.cpu) for e in one] for one in steps], [[("put", 0), ("got", 1), ("reply", 1)]])

    def test_json_has_slices_and_one_flow(self):
        said = json.loads(json.dumps(tracing.to_chrome(tracing.parse(dump))))["traceEvents"]
        self.assertEqual([e["ph"] for e in said if e.get("cat") == "message"], ["s", "t", "f"])
        client = next(e for e in said if e["name"] == "client")
        self.assertEqual((client["ts"], client["dur"], client["tid"]), (0.0, 0.7, 0))

    def test_the_page_needs_nothing_else_and_is_well_formed(self):
        page = tracing.to_html(tracing.parse(dump))
        self.assertNotIn("http", page)
        self.assertNotIn("<server>", page)
        picture = xml.etree.ElementTree.fromstring(page[page.index("<svg"):page.index("</svg>") + 6])
        self.assertEqual(sum(e.get("class") == "msg" for e in picture.iter()), 2)

    def test_a_message_without_a_reply_is_not_lost_when_its_number_comes_again(self):
        steps = tracing.journeys(tracing.parse("0 1 put c 0 s\n1 2 got c 0 s\n0 3 put c 0 s\n1 4 got c 0 s\n1 5 reply c 0 s\n"))
        self.assertEqual(sorted(len(one) for one in steps), [2, 3])

    def test_what_was_written_over_is_told_and_joins_no_message(self):
        events = tracing.parse("0 1 put c 0 s\n1 10 lost 2a 0 \n1 11 got c 0 s\n1 12 reply c 0 s\n")
        self.assertEqual(tracing.journeys(events), [])
        self.assertIn("CPU 1 42 events", tracing.losses(events))
        self.assertIn("CPU 1 42 events", tracing.to_html(events))

    def test_marks_end_where_the_next_begins(self):
        said = tracing.to_chrome(tracing.parse("0 0 switch 1 2 a\n0 50 put c 0 s\n0 80 got c 0 s\n0 90 switch 2 1 b\n0 95 dma 1 1 \n"))["traceEvents"]
        self.assertEqual([e["dur"] for e in said if e.get("cat") == "event"], [0.03, 0.01, 0])

    def test_names_are_the_kernels_to_clean_and_break_nothing_here(self):
        self.assertEqual([e.text for e in tracing.parse("0 1 switch 1 2 a\x0cb\u2028c\r\n")], ["a\x0cb\u2028c"])

    def run_tool(self, *arguments):
        return subprocess.run([project.root / "tools/trace", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def test_what_cannot_be_read_or_written_is_told_in_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            good, bad = Path(folder) / "good", Path(folder) / "bad"
            good.write_text(dump)
            bad.write_bytes(b"0 1 switch 1 2 \xd0\n0 2 x 1 2 \n")
            for arguments in [("/nowhere", "--json", good), (good, "--json", "/nowhere/x"), (good, "--html", folder), (bad, "--html", good)]:
                ran = self.run_tool(*arguments)
                self.assertEqual((ran.returncode, len(ran.stderr.splitlines())), (1, 1), ran.stderr)

    def test_what_is_no_dump_is_refused(self):
        for bad in ["nonsense", "0 x put 1 2 a", "0 1 dance 1 2 a", "0 1 put zz 2 a", "\n", f"0 {10 ** 40} put 1 2 a", "-1 1 put 1 2 a"]:
            with self.assertRaises(project.problem):
                tracing.parse(bad)

    def test_an_empty_dump_makes_an_empty_picture(self):
        self.assertIn("0 events", tracing.to_html(tracing.parse("")))


class tap_reports(unittest.TestCase):
    def judge(self, what, timeout=20):
        with machine.machine(stand_in(what)) as running:
            status = running.wait(timeout)
            return tap.judge(status, running.text(), running.errors(), timeout)

    def test_all_passed(self):
        results, wrong = self.judge("passing")
        self.assertEqual([one.name for one in results], ["a.first", "a.second"])
        self.assertIsNone(wrong)

    def test_failed_test_keeps_its_diagnostics(self):
        results, wrong = self.judge("failing")
        self.assertIsNone(wrong)
        self.assertEqual([one.passed for one in results], [False, True])
        self.assertIn("# expected 1, got 2", results[0].lines)

    def test_panic_is_one_line_with_its_reason(self):
        _, wrong = self.judge("panicking")
        self.assertIn("panic on cpu 1: assertion failed: x in f at y.cc:3", wrong)
        self.assertNotIn("\n", wrong)

    def test_time_out_names_the_last_test(self):
        _, wrong = self.judge("hanging", timeout=1)
        self.assertIn("time-out", wrong)
        self.assertIn("a.first", wrong)

    def test_missing_plan(self):
        self.assertIn("no TAP plan", self.judge("planless")[1])

    def test_plan_not_kept(self):
        self.assertIn("after 1 of 3 tests", self.judge("short")[1])

    def test_reset(self):
        self.assertIn("reset", self.judge("resetting")[1])

    def test_test_named_panic_is_no_panic(self):
        results, wrong = tap.judge(33, "1..1\nok 1 - panic.says_why\n")
        self.assertTrue(results[0].passed)
        self.assertIsNone(wrong)

    def test_skipped(self):
        results, _ = tap.parse("1..1\nok 1 - a.b # SKIP one CPU\n")
        self.assertTrue(results[0].skipped)


class run(unittest.TestCase):
    def test_selftest_prints_tap_only(self):
        done = run_command("--selftest", what="passing")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.splitlines(), ["TAP version 13", "1..2", "ok 1 - a.first", "ok 2 - a.second"])
        self.assertIn("a line of log", done.stderr)

    def test_selftest_failures_are_named(self):
        done = run_command("--selftest=a.*", what="failing")
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 of 2 tests failed: a.first", done.stderr)

    def test_selftest_needs_more_than_a_good_status(self):
        for what in ["planless", "short", "resetting", "panicking"]:
            self.assertEqual(run_command("--selftest", what=what).returncode, 1, what)

    def test_selftest_time_out(self):
        done = run_command("--selftest", "--timeout", "1", what="hanging")
        self.assertEqual(done.returncode, 1)
        self.assertIn("time-out", done.stderr)

    def test_exec_prints_only_output_and_ends_with_the_status(self):
        done = run_command("--exec", "anything", what="executing")
        self.assertEqual(done.returncode, 7)
        self.assertEqual(done.stdout, "one\ntwo\nno line end")
        for line in ["log before", "log within", "more log", "log after"]:
            self.assertIn(line, done.stderr)

    def test_exec_of_a_program_unframes_both_its_outputs(self):
        done = run_command("--exec", "anything", what="executing_framed")
        self.assertEqual(done.returncode, 7)
        self.assertEqual(done.stdout, "one\ntwo\x01\\")
        self.assertIn("wrong\n", done.stderr)
        for line in ["log before", "log within", "torn log", "log after"]:
            self.assertIn(line, done.stderr)

    def test_usertest_prints_tap_only(self):
        done = run_command("--usertest", what="passing")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.splitlines(), ["TAP version 13", "1..2", "ok 1 - a.first", "ok 2 - a.second"])
        self.assertEqual(run_command("--usertest=a*", what="failing").returncode, 1)

    def test_exec_log_goes_to_the_file(self):
        with tempfile.NamedTemporaryFile() as log:
            done = run_command("--exec", "anything", "--log", log.name, what="executing")
            self.assertIn("log within", Path(log.name).read_text())
        self.assertNotIn("log within", done.stderr)

    def test_exec_of_a_panic(self):
        done = run_command("--exec", "panic", what="executing_panic")
        self.assertEqual(done.returncode, 125)
        self.assertIn("panic on cpu 0: as asked", done.stderr)
        self.assertEqual(done.stdout.strip(), "before")

    def test_exec_time_out(self):
        self.assertEqual(run_command("--exec", "x", "--timeout", "1", what="hanging").returncode, 124)

    def test_exec_without_an_answer(self):
        self.assertEqual(run_command("--exec", "x", what="passing").returncode, 125)

    def test_interactive_passes_what_is_typed(self):
        done = run_command(what="typing")
        self.assertEqual(done.returncode, 0)
        self.assertIn("ready", done.stdout)

    def test_bad_options_are_refused_at_once(self):
        for options in [["--smp", "0"], ["--mem", "lots"], ["--icount", "--smp", "2"], ["--icount", "--kvm"], ["--selftest", "xio.*"], ["--usertest", "pipes"],
                        ["--usertest=a b"],
                        ["--timeout", "-1"], ["--disk", "/no/such/image"], ["--disk-driver", "floppy"], ["--root", "/nowhere"], ["--exec", "x", "--selftest"], ["--frobnicate"]]:
            self.assertEqual(run_command(*options, what="passing").returncode, 2, options)


class bench(unittest.TestCase):
    def test_table_shows_what_is_over_budget(self):
        done = run_command("--filter", "*", what="benching", program="bench")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"xio\.slice +120 +150 +yes")
        self.assertRegex(done.stdout, r"xio\.gain +60 times +50 +yes")
        self.assertRegex(done.stdout, r"xio\.copy +900 +800 +NO")
        self.assertRegex(done.stdout, r"ipiq\.send +300")

    def test_comparison_shows_ratios_and_budgets(self):
        done = run_command("--vs", "linux", what="benching_user", program="bench")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"getppid +90 +360 +0\.25 +120 +yes")
        self.assertRegex(done.stdout, r"pipe write 1MiB stream +90 +360 +0\.25 +36 +NO")
        self.assertRegex(done.stdout, r"bytes each way: 64 +2600 +180 +14\.44 +2500 +NO +Linux: by vmsplice")

    def test_budgets_of_messages_are_of_both_ways(self):
        each_way = {"message round trip, bytes each way: 65536": 5000, "message round trip, bytes each way: 1048576, in a pool": 12000}
        for name, budget in each_way.items():
            self.assertEqual(versus.budget_of(name, {}, {}), 2 * budget)
        ours = {"message round trip, bytes each way: 1048576": 20000}
        self.assertEqual(versus.budget_of(versus.huge_message, ours, {}), 20000)
        self.assertEqual(versus.budget_of("userfs read 1048576, uncached, looked at", ours, {}), 40000)
        self.assertEqual(versus.budget_of("memfs read 4096", {}, {}), None)

    def test_messages_are_compared_with_the_best_way_of_linux(self):
        name = "message round trip, bytes each way: 65536"
        linux = {f"{name}, by pipes": 3.0, f"{name}, by a unix socket": 2.0, f"{name[:-1]}, by pipes": 1.0}
        self.assertEqual(versus.best_way(name, linux), (2.0, "a unix socket"))
        self.assertEqual(versus.best_way(f"{name}, rewritten", linux), (2.0, "a unix socket"))
        for other in (f"{name}, by vmsplice", "getppid", "message round trip, bytes each way: 64"):
            self.assertEqual(versus.best_way(other, linux), None)


class serial_line(unittest.TestCase):
    def test_waits_for_text_and_types(self):
        with machine.machine(stand_in("typing")) as running:
            self.assertIsNotNone(running.wait_for("ready", 20))
            running.send("hello\n")
            self.assertEqual(running.wait(20), 33)
            self.assertIn("got hello", running.text())

    def test_end_of_machine_ends_the_wait(self):
        with machine.machine(stand_in("passing")) as running:
            self.assertIsNone(running.wait_for("never printed", 20))

    def test_frames_cut_anywhere(self):
        stream = b"log\r\n\x01exec-begin\r\none\r\n\x02log\r\ntwo\x01exec-end 3\r\nlog"
        for size in range(1, len(stream)):
            output, log = [], []
            it = frames.splitter(output.append, log.append)
            for at in range(0, len(stream), size):
                it.feed(stream[at : at + size])
            it.finish()
            self.assertEqual((it.status, b"".join(output)), (3, b"one\ntwo"))

    def test_firmware_drawing_is_removed(self):
        self.assertEqual(machine.plain("\x1b[2J\x1b[01;01H\x1b[=3hok 1 - a\r\n"), "ok 1 - a\n")


class archives(unittest.TestCase):
    def entries(self, it):
        """By name: (inode, mode, content, uid, gid, links, time)."""
        content, at, found = it.bytes(), 0, {}
        while True:
            self.assertEqual(content[at : at + 6], b"070701")
            inode, mode, uid, gid, links, changed, size, *_, length, _ = (int(content[at + 6 + 8 * n : at + 14 + 8 * n], 16)
                                                                          for n in range(13))
            name = content[at + 110 : at + 110 + length - 1].decode()
            at = (at + 110 + length + 3) & ~3
            found[name] = (inode, mode, content[at : at + size], uid, gid, links, changed)
            at = (at + size + 3) & ~3
            if name == "TRAILER!!!":
                self.assertEqual(at, len(content))
                return found

    def test_cpio_has_what_was_put_in(self):
        it = cpio.archive()
        it.file("a/b/c", b"12345", 0o644)
        it.link("a/l", "b/c")
        found = self.entries(it)
        self.assertEqual(list(found), ["a", "a/b", "a/b/c", "a/l", "TRAILER!!!"])
        self.assertEqual(found["a/b/c"][1:3], (0o100644, b"12345"))
        self.assertEqual(found["a/l"][1:3], (0o120777, b"b/c"))
        self.assertEqual(found["a"][1:3], (0o040755, b""))

    def test_cpio_keeps_what_a_tar_file_says(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "root.tar"
            with tarfile.open(path, "w") as out:
                for name, kind, target, content in [(".", tarfile.DIRTYPE, "", b""), ("./d", tarfile.DIRTYPE, "", b""),
                                                    ("./d/f", tarfile.REGTYPE, "", b"bytes"), ("./d/h", tarfile.LNKTYPE, "./d/f", b""),
                                                    ("./d/s", tarfile.SYMTYPE, "f", b""), ("./d/x", tarfile.FIFOTYPE, "", b"")]:
                    one = tarfile.TarInfo(name)
                    one.type, one.linkname, one.size, one.mode, one.uid, one.gid, one.mtime = kind, target, len(content), 0o4751, 3, 4, 99
                    out.addfile(one, io.BytesIO(content))
            it = cpio.archive()
            it.everything_of(path)
            it.file("d/more", b"", 0o644)
            found = self.entries(it)
        self.assertEqual(list(found), ["d", "d/f", "d/h", "d/s", "d/more", "TRAILER!!!"])
        self.assertEqual(found["d/f"][1:], (0o104751, b"bytes", 3, 4, 2, 99))
        self.assertEqual(found["d/h"], (found["d/f"][0], 0o104751, b"", 3, 4, 2, 99))
        self.assertEqual(found["d/s"][1:3], (0o124751, b"f"))
        self.assertEqual(found["d"][1], 0o044751)
        self.assertNotEqual(found["d/s"][0], found["d/f"][0])


class layers(unittest.TestCase):
    def problems(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {"arch/machine.h": "", **files}.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            done = subprocess.run([sys.executable, project.root / "tools/check-layers", folder], capture_output=True, text=True)
            self.assertEqual(done.stderr, "")
            return done.stdout.splitlines()

    def test_downwards_is_fine(self):
        self.assertEqual(self.problems({
            "kernel/lib/a.h": '#include "arch/machine.h"\n', "sys/xio/xio.h": '#include "kernel/lib/a.h"\n',
            "drivers/pci/pci.h": '#include "sys/xio/xio.h"\n', "tests/sys/xio/t.cc": '#include "sys/xio/xio.h"\n',
        }), [])  # fmt: skip

    def test_upwards_is_not(self):
        found = self.problems({"sys/vm/vm.h": "", "sys/xio/xio.cc": '\n#include "sys/vm/vm.h"\n'})
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].startswith("sys/xio/xio.cc:2: "), found)

    def test_only_the_interface_of_arch_is_seen(self):
        found = self.problems({"arch/host/x.h": "", "arch/x86_64/y.h": '#include "arch/host/x.h"\n',
                               "kernel/mem/a.cc": '#include "arch/host/x.h"\n', "tests/host/t.cc": '#include "arch/host/x.h"\n'})
        self.assertEqual([line.split(":")[0] for line in found], ["arch/x86_64/y.h", "kernel/mem/a.cc"])

    def test_unknown_folder(self):
        self.assertIn("sys/new is not in the table", self.problems({"sys/new/a.h": ""})[0])
        self.assertIn("new is not in the table", self.problems({"new/a.h": ""})[0])

    def test_unknown_file(self):
        self.assertIn("is not a file", self.problems({"sys/vm/a.cc": '#include "a.h"\n', "sys/vm/a.h": ""})[0])

    def test_private_header(self):
        found = self.problems({"sys/xio/a_priv.h": "", "sys/vm/b.cc": '#include "sys/xio/a_priv.h"\n'})
        self.assertIn("private", found[0])

    def test_headers_in_a_circle(self):
        found = self.problems({"sys/vm/a.h": '#include "sys/vm/b.h"\n', "sys/vm/b.h": '#include "sys/vm/a.h"\n'})
        self.assertIn("circle", found[0])


def collect(suite):
    """Runs the tests and gives [(name, what failed or "")]."""
    report = []
    for group in suite:
        for case in group:
            outcome = unittest.TestResult()
            case.run(outcome)
            trouble = [text for _, text in outcome.failures + outcome.errors]
            report.append((case.id().replace("test_", ""), "".join(trouble)))
    return report


if __name__ == "__main__":
    unittest.main()
