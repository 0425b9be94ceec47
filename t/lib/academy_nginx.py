"""An nginx with the module in a directory of its own, and a client that sees
every byte.

    with Nginx(workers=4) as nginx:
        conn = await Connection.open(nginx.port)
        answer = await conn.request("PUT", "/message", {"message": "..."})

On stop the error log is read: an [alert], [emerg] or [crit] line that was not
announced with `expect()`, or a word from a sanitizer, fails the test.

ACADEMY_MODULE       the module, build/ngx_http_academy_module.so unless set;
                     empty: the module is built into the binary
TEST_NGINX_BINARY    the server, nginx from the PATH unless set
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from academy_redis import STORE, directive

ROOT = Path(__file__).resolve().parents[2]

MODULE = os.environ.get(
    "ACADEMY_MODULE", str(ROOT / "build" / "ngx_http_academy_module.so"))
MODULE = MODULE and str(Path(MODULE).absolute())

BINARY = os.environ.get("TEST_NGINX_BINARY") or shutil.which(
    "nginx", path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin")

_BAD_LINE = re.compile(
    r"\[(?:alert|emerg|crit)\]|ERROR: \w+Sanitizer|runtime error:")


def _sanitizer_runtime() -> str | None:
    """The ASan library that the module was linked with, if it was."""
    if not MODULE or not Path(MODULE).is_file():
        return None
    found = re.search(rb"libasan\.so\.\d+", Path(MODULE).read_bytes())
    return found.group().decode() if found else None


ASAN = _sanitizer_runtime()

# What a deadline is multiplied with: a sanitizer is slow, a bug is for ever.
PATIENCE = 5 if ASAN else 1


# ----------------------------------------------------------------- the server


CONFIG = """\
{load}
worker_processes {workers};
pid nginx.pid;
error_log error.log {log_level};
{main}
events {{
    worker_connections {connections};
    use {method};
}}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {zone}
    {http}
    server {{
        listen 127.0.0.1:{port}{listen};
        {server}
        location {prefix} {{
            {location}
        }}
        # A connection stays with its worker: this tells which one it is.
        location = /.pid {{
            return 200 "$pid";
        }}
    }}
    {servers}
}}
"""


class Nginx:
    """One nginx master and its workers.

    The keyword arguments are pieces of the configuration file: `main`, `http`,
    `server` and `location` are put where they say, `servers` is more server
    blocks, `listen` more parameters of the listen directive, `tls=True` a
    self-made certificate (`self.certificate`). With `exchange=False` there is
    no module in it. `config` replaces the whole file; it finds the module at
    modules/ngx_http_academy_module.so, as an installed one does.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        zone: str = "64m",
        connections: int = 1024,
        prefix: str = "/",
        location: str = "",
        server: str = "",
        servers: str = "",
        http: str = "",
        main: str = "",
        listen: str = "",
        tls: bool = False,
        exchange: bool = True,
        port: int | None = None,
        config: str | None = None,
        log_level: str = "info",
        method: str = "epoll",
        daemon: bool = False,
    ) -> None:
        # nginx starts its workers as nobody: they have to get in here.
        self.dir = Path(tempfile.mkdtemp(prefix="academy-"))
        self.dir.chmod(0o755)
        self.port = port or free_port()
        self.prefix = prefix
        self.tls = tls
        self.certificate = self.dir / "cert.pem"
        self.process: subprocess.Popen[bytes] | None = None
        self.daemon = daemon        # or else there can be no upgrade()
        self._expected: list[re.Pattern[str]] = []
        self._pieces = dict(
            workers=workers, connections=connections, log_level=log_level,
            method=method,
            port=self.port, prefix=prefix, servers=servers, http=http,
            main=main, server=server, listen=listen, location=location,
            load=f"load_module {MODULE};" if exchange and MODULE else "",
            zone=directive("exchange", zone) if exchange else "",
        )
        if exchange:
            self._pieces["location"] = "academy_exchange exchange; " + location
        if tls:
            make_certificate(self.dir)
            self._pieces["listen"] += " ssl"
            self._pieces["server"] += (
                f" ssl_certificate {self.certificate};"
                f" ssl_certificate_key {self.dir}/key.pem;")
        if config and MODULE:
            (self.dir / "modules").mkdir()
            (self.dir / "modules" / "ngx_http_academy_module.so").symlink_to(
                MODULE)
        elif config:
            config = re.sub(r"(?m)^load_module.*\n", "", config)
        self._write(config or CONFIG.format(**self._pieces))

    # -- life

    def start(self) -> Nginx:
        if BINARY is None:
            raise RuntimeError("no nginx in the PATH")
        self.process = subprocess.Popen(
            self._command(), env=self._environment(),
            stdout=subprocess.DEVNULL, stderr=(self.dir / "stderr").open("wb"))
        if self.daemon:
            _adopt_orphans()
            assert self.process.wait(10) == 0, self.log() + self._stderr()
            wait_until(self._pid, 10, "nginx has no pid file")
            self.process = Adopted(self._pid())
        try:
            # It listens before it has workers, and that is too early to
            # count them.
            wait_until(self._listens, 10, "nginx does not listen")
            wait_until(lambda: len(self.workers()) >= self._pieces["workers"],
                       10, "nginx has no workers")
        except BaseException:
            self._kill()
            print(self.log() + self._stderr())
            raise
        return self

    def stop(self, *, graceful: bool = True) -> None:
        """Ends nginx, and fails when it did not end well."""
        try:
            if self.process and self.process.poll() is None:
                self.signal(signal.SIGQUIT if graceful else signal.SIGTERM)
                try:
                    self.process.wait(20 * PATIENCE)
                except subprocess.TimeoutExpired:
                    raise AssertionError(
                        f"nginx did not end, workers {self.workers()}\n"
                        + self.log()[-4000:]) from None
            self.check_log()
        finally:
            self._kill()
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> Nginx:
        return self.start()

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.stop()
            return
        # The test's own failure is the one to be seen.
        try:
            self.stop()
        except AssertionError as e:
            print(e)

    def signal(self, number: int, pid: int | None = None) -> None:
        os.kill(pid or self.process.pid, number)

    def change(self, **pieces: str) -> None:
        """Writes the configuration again with some pieces changed."""
        if "zone" in pieces:
            pieces["zone"] = (self._pieces["zone"] if STORE == "redis"
                              else directive("exchange", pieces["zone"]))
        self._pieces.update(pieces)
        self._write(CONFIG.format(**self._pieces))

    def reload(self) -> None:
        """Reloads, and waits until there are new workers and no old ones."""
        before = set(self.workers())
        self.signal(signal.SIGHUP)
        wait_until(
            lambda: not before & set(self.workers())
            and len(self.workers()) == self._pieces["workers"],
            10, "the old workers stay")

    def upgrade(self) -> int:
        """USR2: a new master beside this one, which serves on. Its pid."""
        self.signal(signal.SIGUSR2)
        wait_until(lambda: self._pid() not in (None, self.process.pid), 10,
                   "no second master")
        new = self._pid()
        wait_until(lambda: len(workers_of(new)) == self._pieces["workers"],
                   10, "the second master has no workers")
        return new

    def succeed(self, new: int) -> None:
        """The old master ends, by WINCH and QUIT, and the new one is it."""
        self.signal(signal.SIGWINCH)
        self.signal(signal.SIGQUIT)
        self.process.wait(20 * PATIENCE)
        self.process = Adopted(new)

    def test_config(self) -> tuple[int, str]:
        """`nginx -t` on the present file: its exit code and what it says."""
        done = subprocess.run(
            self._command("-t"), env=self._environment(), timeout=30,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    # -- looks

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}{self.prefix.rstrip('/')}"

    def client_tls(self) -> ssl.SSLContext | None:
        """What a client needs to trust this server, if it has TLS at all."""
        if self.tls:
            return ssl.create_default_context(cafile=self.certificate)
        return None

    def workers(self) -> list[int]:
        """The pids of all workers, those that are about to end included."""
        return workers_of(self.process.pid)

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.dir / "error.log").read_text(errors="replace")
        return ""

    def expect(self, *patterns: str) -> None:
        """Announces error log lines that this test is going to cause."""
        self._expected += [re.compile(p) for p in patterns]

    def check_log(self) -> None:
        text = self.log() + self._stderr()
        lines = text.splitlines()
        for i, line in enumerate(lines):
            if _BAD_LINE.search(line) and not any(
                    e.search(line) for e in self._expected):
                raise AssertionError(
                    "\n".join(["error log:", *lines[i:i + 40]]))

    # -- insides

    def _command(self, *more: str) -> list[str]:
        return [BINARY, "-p", str(self.dir), "-c", str(self.dir / "nginx.conf"),
                "-e", "error.log", "-g",
                "daemon on;" if self.daemon else "daemon off;", *more]

    def _environment(self) -> dict[str, str]:
        env = dict(os.environ)
        if ASAN:
            env["LD_PRELOAD"] = ASAN
            env["ASAN_OPTIONS"] = "detect_leaks=0"
            env["UBSAN_OPTIONS"] = "print_stacktrace=1"
        return env

    def _write(self, config: str) -> None:
        (self.dir / "nginx.conf").write_text(config)

    def _pid(self) -> int | None:
        """What the pid file says, if it is there and whole."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self.dir / "nginx.pid").read_text())
        return None

    def _listens(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError("nginx ended at once")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def _stderr(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.dir / "stderr").read_text(errors="replace")
        return ""

    def _kill(self) -> None:
        """Leaves nothing behind, however the test went."""
        if self.process is None or self.process.poll() is not None:
            return
        pids = children(self.process.pid)
        self.process.kill()
        self.process.wait(10)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Adopted:
    """A process whose parent has ended, in the place of a Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("nginx", seconds)
            time.sleep(0.01)
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _adopt_orphans() -> None:
    """This process is the next parent of those whose parents end."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)         # PR_SET_CHILD_SUBREAPER


def make_certificate(where: Path) -> None:
    """A certificate for this machine, in `where`: cert.pem and key.pem."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", where / "key.pem", "-out", where / "cert.pem"],
        check=True, capture_output=True, timeout=30)


_ports: list[object] = []


def free_port() -> int:
    """A port below the range that the kernel gives to clients: none of the
    thousands of connections of a test can take it before nginx does. Nor does
    another process of tests: it is this one's as long as it lives."""
    while True:
        port = random.randint(10000, 19999)
        lock = (Path(tempfile.gettempdir()) / f"academy-port-{port}").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _ports.append(lock)
        return port


def wait_until(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds * PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    try:
        return [int(p) for p in
                Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def workers_of(master: int) -> list[int]:
    return [pid for pid in children(master)
            if "worker process" in command_line(pid)]


def command_line(pid: int) -> str:
    """Of a process that lives: a zombie has none, and counts as gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(
            errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def built_with() -> str:
    """The arguments of nginx's configure."""
    return subprocess.run([BINARY, "-V"], check=True, text=True, timeout=30,
                          stderr=subprocess.PIPE).stderr


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """What the process has of its own, shared memory not counted."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status).group(1))


def virtual_bytes(pid: int) -> int:
    """What the process has asked for, used or not."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"VmData:\s+(\d+)", status).group(1))


# ----------------------------------------------------------------- the client


class Gone(Exception):
    """The connection ended and not one byte of the answer had come: the
    request may be repeated."""


class Torn(Exception):
    """The connection ended in the middle of an answer or an event, or with a
    reset."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


class Connection:
    """One HTTP/1.1 connection with one request at a time."""

    def __init__(self, port: int, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self.port = port
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *,
                   tls: ssl.SSLContext | None = None) -> Connection:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(port, *await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname="localhost" if tls else None,
            limit=1 << 20))

    async def request(self, method: str, path: str,
                      body: dict | bytes = b"") -> Answer:
        self.send(method, path, body)
        return await self.answer()

    def send(self, method: str, path: str, body: dict | bytes = b"") -> None:
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        self.writer.write(
            b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
            % (method.encode(), path.encode(), len(body), body))

    async def answer(self) -> Answer:
        status, headers = await self.head()
        try:
            body = await self.reader.readexactly(int(headers["content-length"]))
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise Torn("in an answer's body") from e
        return Answer(status, headers, body)

    async def head(self) -> tuple[int, dict[str, str]]:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as e:
            if e.partial:
                raise Torn("in an answer's head") from e
            raise Gone from e
        except ConnectionError as e:
            raise Gone from e
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(first.split(" ", 2)[1]), headers

    async def worker(self) -> int:
        """The pid of the worker that this connection is with."""
        return int((await self.request("GET", "/.pid")).body)

    async def listen(self, body: dict, path: str = "/mailbox/listen"
                     ) -> EventStream:
        """Opens an event stream; the connection is the stream's from here."""
        self.send("GET", path, body)
        return await EventStream.begun(self)

    async def closed(self) -> None:
        """Waits for a clean end: no byte more, no reset."""
        try:
            rest = await self.reader.read(1)
        except ConnectionError as e:
            raise Torn("reset") from e
        assert rest == b"", rest

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Goes away with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Refused(Exception):
    """An event stream was asked for and another answer came."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.body!r}")
        self.answer = answer


class EventStream:
    """A stream of server-sent events that ends when its connection does.

    `retry` and `pings` are what the comments and fields between the messages
    have said until now.
    """

    def __init__(self, conn: Connection, headers: dict[str, str]) -> None:
        self.conn = conn
        self.headers = headers
        self.retry: int | None = None
        self.pings = 0

    @classmethod
    async def begun(cls, conn: Connection) -> EventStream:
        status, headers = await conn.head()
        if status != 200:
            body = await conn.reader.readexactly(int(headers["content-length"]))
            raise Refused(Answer(status, headers, body))
        assert headers["content-type"].startswith("text/event-stream"), headers
        # Not chunked: an unclean end of a chunked stream stops an agent.
        assert "transfer-encoding" not in headers, headers
        assert "content-length" not in headers, headers
        return cls(conn, headers)

    async def next(self) -> str | None:
        """The next message, or None at the clean end of the stream."""
        data = None
        while True:
            try:
                line = await self.conn.reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as e:
                if e.partial or data is not None:
                    raise Torn("in an event") from e
                return None
            except ConnectionError as e:
                raise Torn("reset") from e
            line = line.rstrip(b"\r\n")
            if line.startswith(b"data: "):
                assert data is None, "an event with two lines of data"
                data = line[6:].decode()
            elif line.startswith(b":"):
                self.pings += 1
            elif line.startswith(b"retry:"):
                self.retry = int(line[6:])
            elif line == b"" and data is not None:
                return data
            else:
                assert line == b"", line

    def close(self) -> None:
        self.conn.close()


def run(coroutine, seconds: float = 60):
    """Runs one test, bounded in time."""
    async def bounded():
        async with asyncio.timeout(seconds * PATIENCE):
            return await coroutine
    return asyncio.run(bounded())
