# Python's own library at work: threads, processes, sockets, mappings, databases. What a test prints is compared too.
import asyncio, concurrent.futures, fcntl, hashlib, lzma, mmap, multiprocessing, os, pathlib, pty, queue, random, select, selectors
import shutil, signal, socket, sqlite3, stat, subprocess, sys, tarfile, tempfile, threading, time, unittest, zlib


class processes(unittest.TestCase):
    def test_subprocess_pipes_both_ways(self):
        data = random.Random(1).randbytes(3_000_000)
        ran = subprocess.run(["sh", "-c", "gzip -1 | gzip -d; echo errors >&2; exit 9"], input=data, capture_output=True)
        self.assertEqual((ran.returncode, ran.stdout == data, ran.stderr), (9, True, b"errors\n"))

    def test_timeout_kills(self):
        with self.assertRaises(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "60"], timeout=0.2)
        child = subprocess.Popen(["sleep", "60"])
        child.terminate()
        self.assertEqual(child.wait(), -signal.SIGTERM)

    def test_pool_of_processes(self):
        with multiprocessing.get_context("fork").Pool(3) as pool:
            self.assertEqual(sum(pool.map(abs, range(-500, 500))), 250000)

    def test_executor_and_shared_memory(self):
        counter = multiprocessing.Value("i", 0)

        def add():
            for _ in range(200):
                with counter.get_lock():
                    counter.value += 1

        workers = [multiprocessing.Process(target=add) for _ in range(4)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        self.assertEqual((counter.value, [one.exitcode for one in workers]), (800, [0] * 4))

    def test_pseudo_terminal(self):
        child, master = pty.fork()
        if child == 0:
            os.execvp("sh", ["sh", "-c", "tty >/dev/null && stty size; read x; echo got $x"])
        os.write(master, b"hello\n")
        said = b""
        while b"got hello" not in said:
            said += os.read(master, 100)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_signals(self):
        seen = []
        signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        while len(seen) < 3:
            signal.pause()
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertEqual(set(seen), {signal.SIGALRM})


class threads(unittest.TestCase):
    def test_many_through_a_queue(self):
        tasks, done = queue.Queue(8), queue.Queue()

        def work():
            while (task := tasks.get()) is not None:
                done.put(hashlib.sha256(b"%d" % task).hexdigest())

        workers = [threading.Thread(target=work) for _ in range(8)]
        for one in workers:
            one.start()
        for task in [*range(400), *[None] * 8]:
            tasks.put(task)
        for one in workers:
            one.join()
        found = sorted(done.get() for _ in range(400))
        self.assertEqual(found, sorted(hashlib.sha256(b"%d" % n).hexdigest() for n in range(400)))

    def test_condition_barrier_and_local(self):
        barrier, own, order = threading.Barrier(5), threading.local(), []

        def meet(number):
            own.number = number
            barrier.wait()
            order.append(own.number)

        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            list(pool.map(meet, range(5)))
        self.assertEqual(sorted(order), list(range(5)))
        event = threading.Event()
        self.assertFalse(event.wait(0.05))
        threading.Timer(0.05, event.set).start()
        self.assertTrue(event.wait(10))


class sockets(unittest.TestCase):
    def test_server_with_many_clients(self):
        path = "/tmp/python.socket"
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()

        def serve():
            for _ in range(20):
                peer = server.accept()[0]
                with peer, peer.makefile("rwb") as both:
                    both.write(both.readline().upper())

        thread = threading.Thread(target=serve)
        thread.start()
        for number in range(20):
            with socket.socket(socket.AF_UNIX) as client, client.makefile("rwb") as both:
                client.connect(path)
                both.write(b"client %d\n" % number)
                both.flush()
                self.assertEqual(both.readline(), b"CLIENT %d\n" % number)
        thread.join()
        server.close()

    def test_descriptors_travel(self):
        here, there = socket.socketpair()
        with tempfile.TemporaryFile() as file:
            file.write(b"inside")
            file.flush()
            socket.send_fds(here, [b"x"], [file.fileno()])
            data, (descriptor,), _, _ = socket.recv_fds(there, 10, 2)
            self.assertEqual((data, os.pread(descriptor, 10, 0)), (b"x", b"inside"))
            os.close(descriptor)
        here.close()
        there.close()

    def test_much_data_and_selectors(self):
        here, there = socket.socketpair()
        data = random.Random(2).randbytes(4 << 20)
        thread = threading.Thread(target=lambda: (here.sendall(data), here.shutdown(socket.SHUT_WR)))
        thread.start()
        there.setblocking(False)
        got = bytearray()
        with selectors.DefaultSelector() as waiting:
            waiting.register(there, selectors.EVENT_READ)
            while waiting.select():
                if not (piece := there.recv(100_000)):
                    break
                got += piece
        thread.join()
        self.assertEqual(zlib.crc32(got), zlib.crc32(data))
        here.close()
        there.close()

    def test_asyncio(self):
        async def main():
            child = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            out, _ = await child.communicate(b"a" * 300_000)
            async def echo(reader, writer):
                writer.write((await reader.readline())[::-1])
                writer.close()
            server = await asyncio.start_unix_server(echo, "/tmp/asyncio.socket")
            async def ask(text):
                reader, writer = await asyncio.open_unix_connection("/tmp/asyncio.socket")
                writer.write(text + b"\n")
                answer = await reader.read()
                writer.close()
                return answer
            answers = await asyncio.gather(*(ask(b"%d" % n) for n in range(10, 15)))
            server.close()
            return len(out), answers
        self.assertEqual(asyncio.run(main()), (300_000, [b"\n%d1" % n for n in range(5)]))


class files(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())

    def tearDown(self):
        shutil.rmtree(self.folder)

    def test_mappings(self):
        path = self.folder / "mapped"
        path.write_bytes(bytes(100_000))
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
            shared[50_000:50_005] = b"there"
            private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            private[0:4] = b"mine"
            self.assertEqual((file.read(4), os.pread(file.fileno(), 5, 50_000)), (bytes(4), b"there"))
            shared.flush()
            shared.resize(200_000)
            self.assertEqual((shared.find(b"there"), os.fstat(file.fileno()).st_size), (50_000, 200_000))
            private.close()
        with mmap.mmap(-1, 1 << 20) as anonymous:
            if (child := os.fork()) == 0:
                anonymous[:5] = b"child"
                os._exit(0)
            os.waitpid(child, 0)
            self.assertEqual(anonymous[:5], b"child")

    def test_database_is_shared_and_rolls_back(self):
        path = self.folder / "base"
        with sqlite3.connect(path) as base:
            base.execute("pragma journal_mode=wal")
            base.execute("create table t(k integer primary key, v text)")
            base.executemany("insert into t values(?, ?)", ((n, hex(n)) for n in range(5000)))
        with self.assertRaises(ZeroDivisionError), sqlite3.connect(path) as base:
            base.execute("delete from t")
            1 // 0

        def add(number):
            with sqlite3.connect(path, timeout=60) as mine:
                for step in range(20):
                    mine.execute("insert into t(v) values(?)", (f"{number}.{step}",))
                    mine.commit()

        workers = [multiprocessing.Process(target=add, args=(n,)) for n in range(3)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        with sqlite3.connect(path) as base:
            self.assertEqual(base.execute("select count(*), sum(k < 5000) from t").fetchone(), (5060, 5000))
            self.assertEqual(base.execute("pragma integrity_check").fetchone(), ("ok",))

    def test_trees_links_and_archives(self):
        tree = self.folder / "tree"
        for number in range(200):
            file = tree / f"d{number % 9}" / f"f{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{number}\n" * number)
            os.chmod(file, 0o600 + number % 64)
        os.symlink("d1/f1", tree / "link")
        os.link(tree / "d1/f1", tree / "hard")
        with tarfile.open(self.folder / "t.tar.xz", "w:xz") as out:
            out.add(tree, "tree")
        with tarfile.open(self.folder / "t.tar.xz") as back:
            back.extractall(self.folder / "copy", filter="fully_trusted") if hasattr(tarfile, "data_filter") else back.extractall(self.folder / "copy")
        ran = subprocess.run(["diff", "-r", tree, self.folder / "copy/tree"], capture_output=True)
        self.assertEqual((ran.returncode, ran.stdout), (0, b""))
        self.assertEqual(os.stat(self.folder / "copy/tree/hard").st_nlink, 2)
        self.assertEqual(len(list(tree.rglob("f*"))), 200)

    def test_locks_keep_others_out(self):
        path = self.folder / "lock"
        with open(path, "w") as mine:
            fcntl.lockf(mine, fcntl.LOCK_EX)
            code = f"import fcntl; f = open({str(path)!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
            ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            self.assertIn("BlockingIOError", ran.stderr)

    def test_errors_have_their_names(self):
        with self.assertRaises(FileExistsError):
            self.folder.mkdir()
        with self.assertRaises(IsADirectoryError):
            open(self.folder, "w")
        with self.assertRaises(NotADirectoryError):
            open("/etc/passwd/x")
        os.symlink("loop", self.folder / "loop")
        with self.assertRaisesRegex(OSError, "Too many levels"):
            open(self.folder / "loop")
        with self.assertRaisesRegex(OSError, "File name too long"):
            open(self.folder / ("x" * 300))

    def test_splicing_and_sendfile(self):
        path = self.folder / "from"
        path.write_bytes(random.Random(3).randbytes(700_000))
        with open(path, "rb") as source, open(self.folder / "to", "w+b") as target:
            self.assertEqual(os.sendfile(target.fileno(), source.fileno(), 0, 700_000), 700_000)
            self.assertEqual(os.copy_file_range(source.fileno(), target.fileno(), 700_000, 0, 700_000), 700_000)
            target.seek(0)
            self.assertEqual(zlib.crc32(target.read()), zlib.crc32(path.read_bytes() * 2))


unittest.main(testRunner=unittest.TextTestRunner(sys.stdout, verbosity=2))
