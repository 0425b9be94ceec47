"""The servers that `make bench` compares, and what can be seen of them.

Each is a child process with a directory and a port of its own.  CPU time is
the scheduler's own count in nanoseconds (/proc/PID/schedstat): ticks of 10 ms
would be too coarse for short runs.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, 'build')
LOAD = os.path.join(BUILD, 'bench-load')
LOCK = os.path.join(BUILD, 'bench-lock')

FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
WORKERS = 2

_libc = ctypes.CDLL(None)


def raise_limits() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


def child() -> None:
    """Runs in each child: it ends with us, whatever becomes of us."""
    _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def nginx_binary() -> str:
    named = os.environ.get('TEST_NGINX_BINARY')
    found = named or shutil.which('nginx') or '/usr/sbin/nginx'
    if not os.access(found, os.X_OK):
        raise SystemExit(f'bench: no nginx: {found}')
    return found


def module_file() -> str:
    named = os.environ.get('ACADEMY_MODULE') or os.path.join(
        BUILD,
        'ngx_http_academy_module.so',
    )
    return os.path.abspath(named)


def read_rollup(pid: int) -> dict[str, int]:
    """Memory of a process in bytes, as /proc/PID/smaps_rollup counts it."""
    sizes = {}
    with open(f'/proc/{pid}/smaps_rollup') as f:
        for line in f:
            m = re.match(r'(\w+):\s+(\d+) kB', line)
            if m:
                sizes[m[1]] = int(m[2]) * 1024
    return sizes


class Server:
    """A process, its directory, and its log."""

    name = ''
    log = 'error.log'
    tls = False

    def __init__(self) -> None:
        self.dir = tempfile.mkdtemp(prefix='academy-bench-')
        self.port = free_port()
        self.process: subprocess.Popen | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> Server:
        with open(os.path.join(self.dir, 'stdout'), 'wb') as out:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=child,
                cwd=self.dir,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
                return self
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.read('stdout')[-2000:] + self.read(self.log)[-2000:]
                self.stop()
                raise RuntimeError(f'{self.name} did not start:\n{text}')
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(10)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exc) -> None:
        self.remove()

    def read(self, name: str) -> str:
        try:
            with open(os.path.join(self.dir, name), errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def alarms(self) -> list[str]:
        """Lines of the log that no run may leave behind."""
        return [
            line
            for line in self.read(self.log).splitlines()
            if re.search(r'\[(alert|emerg|crit)\]', line)
        ]

    def working(self) -> list[int]:
        """The processes that do the work."""
        return [self.process.pid]

    def all(self) -> list[int]:
        return [self.process.pid]

    def cpu(self) -> float:
        """Seconds of CPU time used by the processes that do the work."""
        ns = 0
        for pid in self.working():
            for task in os.listdir(f'/proc/{pid}/task'):
                with open(f'/proc/{pid}/task/{task}/schedstat') as f:
                    ns += int(f.read().split()[0])
        return ns / 1e9

    def memory(self) -> tuple[int, int]:
        """Bytes of private and of shared memory in use, pages counted once."""
        private = shared = 0
        for pid in self.all():
            sizes = read_rollup(pid)
            private += sizes['Pss_Anon']
            shared += sizes['Pss_Shmem']
        return private, shared

    def request(
        self,
        method: str,
        path: str,
        data: dict | bytes | None = None,
    ) -> tuple[int, bytes]:
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        try:
            if isinstance(data, dict):
                data = json.dumps(data).encode()
            c.request(method, path, body=data)
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()


class Nginx(Server):
    """nginx alone: `return 200` wherever one asks."""

    name = 'return 200'
    head = ''
    http = ''
    places = ''
    location = 'return 200;'
    listen = ''
    binary = ''
    workers = WORKERS

    def config(self) -> str:
        user = 'user root;' if os.geteuid() == 0 else ''
        temp = '\n'.join(
            f'    {kind}_temp_path {self.dir}/{kind};'
            for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')
        )
        return f'''
{self.head}
{user}
daemon off;
worker_processes {self.workers};
worker_rlimit_nofile {FILES};
pid {self.dir}/nginx.pid;
error_log {self.dir}/error.log warn;
events {{ worker_connections {FILES - 500}; }}
http {{
{temp}
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    {self.http}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096{self.listen};
        location = /plain {{ return 200; }}
        {self.places}
        location / {{ {self.location} }}
    }}
}}
'''

    def command(self) -> list[str]:
        path = os.path.join(self.dir, 'nginx.conf')
        with open(path, 'w') as f:
            f.write(self.config())
        return [
            self.binary or nginx_binary(),
            *('-p', self.dir, '-c', path, '-e', f'{self.dir}/error.log'),
        ]

    def start(self) -> Server:
        super().start()
        # the master listens before its workers are there
        deadline = time.monotonic() + 10
        while len(self.working()) < self.workers:
            if time.monotonic() > deadline:
                raise RuntimeError(f'{self.name}: workers are missing')
            time.sleep(0.02)
        return self

    def working(self) -> list[int]:
        pid = self.process.pid
        with open(f'/proc/{pid}/task/{pid}/children') as f:
            return [int(child) for child in f.read().split()]

    def all(self) -> list[int]:
        return [self.process.pid, *self.working()]

    def holders(self) -> dict[int, int]:
        """Which worker holds the connection from which port."""
        inodes = {}
        with open('/proc/net/tcp') as f:
            for line in f.readlines()[1:]:
                field = line.split()
                if field[3] == '01' and field[1].endswith(f':{self.port:04X}'):
                    inodes[field[9]] = int(field[2].split(':')[1], 16)
        found = {}
        for pid in self.working():
            for fd in os.listdir(f'/proc/{pid}/fd'):
                try:
                    name = os.readlink(f'/proc/{pid}/fd/{fd}')
                except OSError:
                    continue
                m = re.match(r'socket:\[(\d+)\]', name)
                if m and m[1] in inodes:
                    found[inodes[m[1]]] = pid
        return found


class Module(Nginx):
    """nginx with the exchange; with another one beside it, if need be."""

    name = 'this module'
    location = 'academy_exchange bench;'

    def __init__(self, zone: str = '64m', other: bool = False) -> None:
        super().__init__()
        self.head = f'load_module {module_file()};'
        self.http = f'academy_zone zone=bench:{zone};'
        if other:
            self.http += f'\n    academy_zone zone=other:{zone};'
            self.places = 'location /other/ { academy_exchange other; }'


class Redis(Server):
    """A redis-server, with nothing on disk."""

    name = 'redis'
    log = 'stdout'

    def command(self) -> list[str]:
        return [
            'redis-server',
            *('--port', str(self.port), '--bind', '127.0.0.1'),
            *('--dir', self.dir, '--save', '', '--appendonly', 'no'),
        ]


class OnRedis(Module):
    """The module, with its mailboxes in a Redis."""

    name = 'this module on Redis'

    def __init__(self, redis: Redis) -> None:
        super().__init__()
        self.http = f'academy_redis name=bench server=127.0.0.1:{redis.port};'


class Reference(Server):
    """The Python exchange of academy-py, with its default settings, or with a
    Redis."""

    name = 'reference'
    log = 'stdout'
    python = ''

    def __init__(self, redis: Redis | None = None) -> None:
        super().__init__()
        self.redis = redis
        if redis:
            self.name = 'reference on Redis'

    def command(self) -> list[str]:
        path = os.path.join(self.dir, 'exchange.toml')
        with open(path, 'w') as f:
            f.write(f'host = "127.0.0.1"\nport = {self.port}\n')
            if self.redis:
                f.write(
                    '[backend]\nkind = "redis"\nhostname = "127.0.0.1"\n'
                    f'port = {self.redis.port}\n',
                )
        return [
            self.python,
            *('-m', 'academy.exchange.cloud', '--config', path),
        ]


class Load:
    """The load generator; `step` goes on to its next phase."""

    def __init__(
        self,
        server: Server,
        mode: str,
        *args: object,
        command: list[str] | None = None,
        text: str = '',
    ) -> None:
        if command is None:
            command = [LOAD, mode]
            for pid in server.working():
                command += ['-P', str(pid)]
        if server.tls:
            command.append('-T')
        command += ['-p', str(server.port)]
        self.what = f'load {mode} ({server.name})'
        self.process = subprocess.Popen(
            command + [str(a) for a in args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=child,
        )
        if text:
            self.process.stdin.write(text)
            self.process.stdin.flush()

    def line(self) -> dict:
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(
                f'{self.what} ended: {self.process.stderr.read().strip()}',
            )
        return json.loads(text)

    def tell(self, line: str = '') -> None:
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def step(self, line: str = '') -> dict:
        self.tell(line)
        return self.line()

    def result(self) -> dict:
        """The last line; errors are not a result."""
        result = self.line()
        self.close()
        if result.get('errors'):
            raise RuntimeError(
                f'{self.what}: {result["errors"]} errors, the first: '
                f'{result["first_error"]}',
            )
        return result

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(150)
        self.process.stdout.close()
        self.process.stderr.close()


def load(server: Server, mode: str, *args: object) -> dict:
    return Load(server, mode, *args).result()


class LockWatch:
    """How long the zone's lock is held while the block runs.

    `result` stays None where the kernel, or the user, does not allow it.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.result: dict | None = None

    def __enter__(self) -> LockWatch:
        self.process = subprocess.Popen(
            [LOCK, *(str(pid) for pid in self.server.working())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=child,
        )
        self.watching = self.process.stdout.readline() != ''
        return self

    def __exit__(self, *exc) -> None:
        out, err = self.process.communicate(timeout=60)
        if self.watching:
            self.result = json.loads(out)
        else:
            print(f'  the lock is not watched: {err.strip()}')
