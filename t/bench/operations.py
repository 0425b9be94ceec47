"""What one operation takes, counted: instructions by valgrind's callgrind, by
room of the code, or system calls by strace.

One nginx serves a client that does one thing after the other.  A request for
a mailbox's figures marks where an operation begins to be counted and where
that ends: callgrind writes down what it has when the handler of such a request
runs, and strace has the request's text.  What two marks with nothing between
them take is subtracted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[2]

# bytes of a message's body, in turn: what a size costs depends on how its
# memory is cut
SIZES = [20, 50, 77, 100, 150, 201, 250, 313, 400, 555, 800, 1111, 1500, 2000,
         2500, 3001]
LARGE = 500_000

MARK = 'ngx_http_academy_answer_stats'

# what comes when it comes, and not with an operation
ASIDE = ['ngx_http_academy_wire_timer_handler',
         'ngx_http_academy_zone_sweep_handler',
         'ngx_http_academy_zone_expire_handler']

SECRET = b'a secret of the bench, of as many bytes as it takes'

CONFIG = '''load_module {module};
daemon off;
{process}
error_log {dir}/error.log warn;
pid {dir}/pid;
events {{ worker_connections 100; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path b;
    proxy_temp_path p;
    fastcgi_temp_path f;
    uwsgi_temp_path u;
    scgi_temp_path s;
    academy_zone zone=x:32m;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls} ssl;
        academy_ping_interval 0;
        location / {{ academy_exchange x; }}
        location = /plain {{ return 200; }}
        location /jwt/ {{
            academy_exchange x;
            academy_auth jwt;
            academy_jwt_key_file key.json;
            academy_jwt_algorithms HS256;
        }}
        location /asked/ {{
            academy_exchange x;
            academy_auth introspection;
            academy_introspection /introspect;
        }}
        location = /introspect {{
            internal;
            default_type application/json;
            return 200 '{{"active":true,"sub":"u","exp":{expires}}}';
        }}
    }}
}}
'''


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def nginx_binary() -> str:
    return os.environ.get('TEST_NGINX_BINARY') or shutil.which(
        'nginx', path=f'{os.environ["PATH"]}:/usr/local/sbin:/usr/sbin')


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b'=')


def token() -> str:
    claims = {'sub': 'u', 'exp': int(time.time()) + 86400}
    text = b'.'.join(b64(json.dumps(part).encode())
                     for part in ({'alg': 'HS256', 'typ': 'JWT'}, claims))
    seal = hmac.new(SECRET, text, hashlib.sha256).digest()
    return (text + b'.' + b64(seal)).decode()


class Connection:
    """One to the server: requests with their answers, or a stream's events."""

    def __init__(self, port: int, tls: bool = False, head: str = '') -> None:
        self.socket = socket.create_connection(('127.0.0.1', port), 60)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.head = head
        self.rest = b''

    def send(self, method: str, path: str, body: bytes) -> None:
        self.socket.sendall(
            b'%s %s HTTP/1.1\r\nHost: exchange\r\n%sContent-Length: %d\r\n\r\n'
            b'%s' % (method.encode(), path.encode(), self.head.encode(),
                     len(body), body))

    def until(self, end: bytes) -> bytes:
        while end not in self.rest:
            self.more()
        text, _, self.rest = self.rest.partition(end)
        return text

    def more(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError('the server has closed a connection')
        self.rest += data

    def receive(self) -> bytes:
        head = self.until(b'\r\n\r\n')
        if b' 200 ' not in head.split(b'\r\n')[0]:
            raise AssertionError(head.decode())
        size = re.search(rb'(?i)content-length: (\d+)', head)
        size = int(size[1]) if size else 0
        while len(self.rest) < size:
            self.more()
        body, self.rest = self.rest[:size], self.rest[size:]
        return body

    def ask(self, method: str, path: str, body: bytes) -> bytes:
        self.send(method, path, body)
        return self.receive()

    def listen(self, path: str, box: str) -> Connection:
        self.send('GET', f'{path}mailbox/listen', waiting(box, 60))
        self.until(b'\r\n\r\n')
        self.until(b'\n\n')
        return self

    def event(self) -> bytes:
        return self.until(b'\n\n')


def entity(n: int) -> str:
    return json.dumps({'uid': str(uuid.UUID(int=n)), 'name': None,
                       'role': 'agent'})


def mailbox(box: str) -> bytes:
    return json.dumps({'mailbox': box}).encode()


def waiting(box: str, seconds: float) -> bytes:
    return json.dumps({'mailbox': box, 'timeout': seconds}).encode()


def message(src: str, dest: str, tag: int, kind: str, size: int) -> bytes:
    return json.dumps({'message': json.dumps({
        'header': {
            'src': json.loads(src), 'dest': json.loads(dest),
            'tag': str(uuid.UUID(int=(1 << 64) + tag)), 'label': None,
            'kind': kind, 'protocol_version': '1.1',
            'academy_version': '1.0.0',
        },
        'body': 'x' * size,
    })}).encode()


class Nginx:
    """nginx with the module, in one process or two workers, beneath a tool."""

    def __init__(self, module: str, workers: int = 1) -> None:
        self.module = Path(module).absolute()
        self.workers = workers
        self.dir = Path(tempfile.mkdtemp(prefix='academy-'))
        self.port, self.tls = free_port(), free_port()

    def command(self) -> list[str]:
        raise NotImplementedError

    def counts(self) -> list[Counter]:
        """What came between each two marks, of all processes together."""
        raise NotImplementedError

    def __enter__(self) -> Nginx:
        process = ('master_process off;' if self.workers == 1
                   else f'user root; worker_processes {self.workers};')
        if self.workers > 1 and os.geteuid() != 0:
            process = process.replace('user root; ', '')
        (self.dir / 'nginx.conf').write_text(CONFIG.format(
            module=self.module, process=process, dir=self.dir,
            port=self.port, tls=self.tls, expires=int(time.time()) + 86400))
        (self.dir / 'key.json').write_text(json.dumps({'keys': [
            {'kty': 'oct', 'k': b64(SECRET).decode()}]}))
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
             'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=localhost',
             '-keyout', self.dir / 'key.pem', '-out', self.dir / 'cert.pem'],
            check=True, stderr=subprocess.DEVNULL)
        with (self.dir / 'said').open('w') as said:
            self.process = subprocess.Popen(
                [*self.command(), nginx_binary(), '-p', self.dir,
                 '-c', self.dir / 'nginx.conf', '-e', self.dir / 'error.log'],
                stdout=said, stderr=said)
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(('127.0.0.1', self.port)).close()
                if self.workers == 1 or len(self.pids()) == self.workers:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError('nginx did not start:\n' + self.said())

    def said(self) -> str:
        return ''.join((self.dir / name).read_text()[-2000:]
                       for name in ('said', 'error.log')
                       if (self.dir / name).exists())

    def stop(self) -> None:
        if self.process.poll() is None:
            # the tool may be another process than nginx, and end without it
            try:
                pid = int((self.dir / 'pid').read_text())
            except (OSError, ValueError):
                pid = self.process.pid
            os.kill(pid, signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def pids(self) -> list[int]:
        """The workers."""
        found = [self.process.pid]
        for _ in range(2):
            text = [Path(f'/proc/{pid}/task/{pid}/children').read_text()
                    for pid in found]
            below = [int(pid) for line in text for pid in line.split()]
            if len(below) == self.workers:
                return below
            found = below
        return []

    def holder(self, connection: Connection) -> int | None:
        """Which worker has accepted a connection."""
        port = connection.socket.getsockname()[1]
        peer = f':{self.port:04X} 0100007F:{port:04X} 01 '
        with open('/proc/net/tcp') as f:
            inode = next((line.split()[9] for line in f if peer in line), None)
        for pid in self.pids():
            for fd in Path(f'/proc/{pid}/fd').iterdir():
                try:
                    if os.readlink(fd) == f'socket:[{inode}]':
                        return pid
                except OSError:
                    continue
        return None

    def connect(self, worker: int = 0, **more) -> Connection:
        if self.workers == 1:
            port = self.tls if more.get('tls') else self.port
            return Connection(port, **more)
        others = []
        for _ in range(500):
            found = Connection(self.port, **more)
            # a worker has accepted it when it has answered something
            found.ask('GET', '/mailbox', mailbox(entity(1)))
            if self.holder(found) == self.pids()[worker]:
                return found
            others.append(found)
            if len(others) > 20:
                others.pop(0)
        raise RuntimeError(f'no connection to worker {worker}')


class Callgrind(Nginx):
    def command(self) -> list[str]:
        return [
            'valgrind', '--tool=callgrind', '--trace-children=no',
            f'--callgrind-out-file={self.dir}/out.%p',
            f'--dump-before={MARK}', *(f'--toggle-collect={f}' for f in ASIDE),
            '--collect-atstart=yes',
        ]

    def counts(self) -> list[Counter]:
        self.stop()
        # the first one has what was before the first mark
        found: dict[str, dict[int, Counter]] = {}
        for path in self.dir.glob('out.*.*'):
            _, pid, n = path.name.split('.')
            found.setdefault(pid, {})[int(n)] = read_callgrind(path)
        return joined([[parts[n] for n in sorted(parts)]
                       for parts in found.values()])


class Strace(Nginx):
    def command(self) -> list[str]:
        return ['strace', '-ff', '-s', '40', '-o', self.dir / 'calls', '-qq',
                '-e', 'signal=none']

    def counts(self) -> list[Counter]:
        self.stop()
        found = []
        for path in self.dir.glob('calls.*'):
            parts = [Counter()]
            for line in path.read_text(errors='replace').splitlines():
                if '"GET /mailbox/stats ' in line:
                    parts.append(Counter())
                parts[-1][line.partition('(')[0]] += 1
            if len(parts) > 1:
                found.append(parts)
        return joined(found)


def joined(processes: list[list[Counter]]) -> list[Counter]:
    """Of processes with the same marks: without what was before the first, and
    behind the last."""
    if len({len(parts) for parts in processes}) != 1:
        raise RuntimeError('processes have not seen the same marks')
    return [sum(parts, Counter()) for parts in zip(*processes)][1:]


SOURCES = {path.name: str(path.parent.relative_to(ROOT))
           for path in (ROOT / 'src').rglob('*.[ch]')}


def room(obj: str, source: str) -> str | None:
    """Which room of the code a source is in; None: a header of nginx's."""
    if 'ngx_http_academy_module' in obj:
        return SOURCES.get(source.rpartition('/')[2])
    name = obj.rpartition('/')[2]
    for known, word in (
            ('nginx', 'nginx'), ('libssl', 'OpenSSL'),
            ('libcrypto', 'OpenSSL'), ('libc.', 'libc'), ('ld-', 'libc'),
            ('libjansson', 'jansson')):
        if name.startswith(known):
            return word
    return 'other'


def read_callgrind(path: Path) -> Counter:
    """Instructions by room, and as `calls` how often the module called what is
    not the module's."""
    counts: Counter = Counter()
    names: dict[str, dict[str, str]] = {'ob': {}, 'fl': {}, 'fn': {}}
    here = {'ob': '', 'fl': '', 'fn': ''}
    called = ''
    inclusive = False
    within = where = None

    def name(kind: str, text: str) -> str:
        m = re.match(r'\((\d+)\)(?: (.*))?', text)
        if m[2] is not None:
            names[kind][m[1]] = m[2]
        return names[kind][m[1]]

    for line in path.read_text().splitlines():
        if not line:
            continue
        if line[0] in '0123456789+-*':
            if inclusive:
                inclusive = False
            else:
                counts[where] += int(line.split()[1])
            continue
        key, _, text = line.partition('=')
        if key == 'ob':
            here['ob'] = name('ob', text)
        elif key == 'fl':
            here['fl'] = name('fl', text)
            within = where = room(here['ob'], here['fl'])
        elif key in ('fi', 'fe'):
            where = room(here['ob'], name('fl', text)) or within
        elif key == 'fn':
            here['fn'] = name('fn', text)
            within = room(here['ob'], here['fl']) or 'src'
            where, called = within, here['ob']
        elif key == 'cob':
            called = name('ob', text)
        elif key in ('cfi', 'cfl'):
            name('fl', text)
        elif key == 'cfn':
            name('fn', text)
        elif key == 'calls':
            inclusive = True
            if ('ngx_http_academy_module' in here['ob']
                    and 'ngx_http_academy_module' not in called):
                counts['calls'] += int(text.split()[0])
            called = here['ob']
    return counts


class Operations:
    """Runs operations, and knows afterwards what one of each took."""

    def __init__(self, nginx: Nginx) -> None:
        self.nginx = nginx
        self.tag = 0
        self.control = [nginx.connect(n) for n in range(nginx.workers)]
        self.names: list[tuple[str, int]] = []
        self.measure('nothing', lambda n: None, 1)

    def mark(self) -> None:
        for control in self.control:
            control.ask('GET', '/mailbox/stats', mailbox(entity(9)))

    def measure(self, name: str, operation: Callable[[int], object],
                n: int = 128, warm: int = 32) -> None:
        for i in range(warm):
            operation(i)
        self.mark()
        for i in range(n):
            operation(i)
        self.mark()
        self.names.append((name, n))

    def results(self) -> dict[str, Counter]:
        found = self.nginx.counts()[:2 * len(self.names):2]
        nothing = found[0]
        return {name: Counter({key: (part[key] - nothing[key]) / n
                               for key in part})
                for (name, n), part in zip(self.names[1:], found[1:])}

    def message(self, src: str, dest: str, size: int,
                kind: str = 'response') -> bytes:
        self.tag += 1
        return message(src, dest, self.tag, kind, size)

    def plain(self, tls: bool = False) -> None:
        c = self.nginx.connect(tls=tls)
        box = entity(1)
        name = '`return 200`' + (', TLS' if tls else '')
        self.measure(name, lambda n: c.ask(
            'PUT', '/plain', self.message(box, box, SIZES[n % 16])))

    def putget(self, what: str = '', path: str = '/', size: int = 0,
               n: int = 128, warm: int = 32, **more) -> None:
        """Messages are put, and then all of them got."""
        c = self.nginx.connect(**more)
        box, src = entity(1), entity(2)
        if path != '/':
            box = entity(len(self.names) + 100)
        c.ask('POST', f'{path}mailbox', mailbox(box))
        self.measure('put' + what, lambda i: c.ask(
            'PUT', f'{path}message',
            self.message(src, box, size or SIZES[i % 16])), n, warm)
        self.measure('get' + what, lambda i: c.ask(
            'GET', f'{path}message', waiting(box, 1)), n, warm)

    def poll(self) -> None:
        """A message for a client that waits for it."""
        one, other = self.nginx.connect(), self.nginx.connect()
        box, src = entity(3), entity(4)
        one.ask('POST', '/mailbox', mailbox(box))

        def operation(i: int) -> None:
            one.send('GET', '/message', waiting(box, 60))
            other.ask('GET', '/plain', b'')  # it waits by now
            other.ask('PUT', '/message',
                      self.message(src, box, SIZES[i % 16]))
            one.receive()

        self.measure('poll', operation)

    def action(self, name: str, worker: int = 0, n: int = 128,
               size: int = 0, **more) -> None:
        """A request to an agent that listens, and its response."""
        boxes = [entity(len(self.names) + 200), entity(len(self.names) + 300)]
        puts = [self.nginx.connect(w, **more) for w in (0, worker)]
        for c, box in zip(puts, boxes):
            c.ask('POST', '/mailbox', mailbox(box))
        streams = [self.nginx.connect(w, **more).listen('/', box)
                   for w, box in zip((0, worker), boxes)]

        def operation(i: int) -> None:
            bytes = size or SIZES[i % 16]
            puts[0].ask('PUT', '/message',
                        self.message(*boxes, bytes, 'request'))
            streams[1].event()
            tag, self.tag = self.tag, self.tag - 1
            puts[1].ask('PUT', '/message', self.message(*boxes[::-1], bytes))
            streams[0].event()
            self.tag = tag

        self.measure(name, operation, n)


def putget(nginx: Nginx) -> dict[str, Counter]:
    run = Operations(nginx)
    run.putget()
    return run.results()


def one_process(nginx: Nginx) -> dict[str, Counter]:
    run = Operations(nginx)
    run.plain()
    run.putget()
    run.poll()
    run.action('action')
    run.putget(', 500 KB', size=LARGE, n=8, warm=2)
    for what, path, bearer in ((', JWT known', '/jwt/', token()),
                               (', introspected', '/asked/', 'opaque')):
        run.putget(what, path, head=f'Authorization: Bearer {bearer}\r\n')
    run.plain(tls=True)
    run.putget(', TLS', tls=True)
    return run.results()


def two_workers(nginx: Nginx) -> dict[str, Counter]:
    run = Operations(nginx)
    run.action('action, two workers', worker=1)
    return run.results()


ALL = {'putget': (1, putget), 'one': (1, one_process), 'two': (2, two_workers)}


def operations(tool: type[Nginx], module: str,
               which: tuple[str, ...] = ('one', 'two')) -> dict[str, Counter]:
    found = {}
    for workers, run in (ALL[name] for name in which):
        with tool(module, workers) as nginx:
            try:
                found.update(run(nginx))
            except Exception as e:
                raise RuntimeError(nginx.said()) from e
    return found
