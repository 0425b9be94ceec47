#!/usr/bin/env python3
"""`make streams`: event streams by the ten thousands that wait, and what they
cost beside nginx's own connections that wait for a next request.

    streams.py [--streams N] [--few N]

Four workers; the clients are processes of their own, each with as many files as
a process may have, and an address for every thousand of its connections.  Each
kind is measured on an nginx of its own, and ends with it.  Memory is what the
workers have for themselves; the zone is shared, and said apart.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import select
import signal
import socket
import ssl
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / 'lib')]

import h2.config  # noqa: E402
import h2.connection  # noqa: E402
import servers  # noqa: E402
from academy_nginx import make_certificate  # noqa: E402

KIB = 1024
WORKERS = 4
LIMIT = 280                # seconds, all together
PER_ADDRESS = 1000
UID = '00000000-0000-4000-8000-000000000000'


class Module(servers.Module):
    """Four workers, who share the connections evenly."""

    workers = WORKERS

    def __init__(self, tls: bool, http2: bool) -> None:
        super().__init__('128m')
        self.kind = ' ssl' * tls + ' http2' * http2
        if tls:
            make_certificate(Path(self.dir))
            self.http += (f'\n    ssl_certificate {self.dir}/cert.pem;'
                          f'\n    ssl_certificate_key {self.dir}/key.pem;')
        self.http += '\n    academy_ping_interval 1h; academy_listen_timeout 1h;'

    def config(self) -> str:
        text = super().config().replace('backlog=4096', 'backlog=4096 '
                                        'reuseport' + self.kind)
        # requests that make mailboxes and put messages come another way
        return text.replace(
            'location = /plain',
            f'listen unix:{self.dir}/socket;\n'
            '        http2_max_concurrent_streams 128;\n'
            '        location = /plain')

    def ended(self) -> float:
        """CPU seconds of workers that have ended."""
        text = Path(f'/proc/{self.process.pid}/stat').read_text()
        field = text.rpartition(')')[2].split()
        return (int(field[13]) + int(field[14])) / os.sysconf('SC_CLK_TCK')


# the clients' side


def http1(path: str, body: bytes) -> bytes:
    return (b'GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
            % (path.encode(), len(body), body))


class Http2:
    """The bytes of requests of the same form, of which there are many."""

    def __init__(self) -> None:
        self.conn = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding='utf-8'))
        self.conn.initiate_connection()
        self.preface = self.conn.data_to_send()

    def request(self, n: int, path: str, body: bytes) -> bytes:
        stream = 2 * n + 1
        self.conn.send_headers(stream, [
            (':method', 'GET'), (':scheme', 'http'), (':authority', 'x'),
            (':path', path), ('content-length', str(len(body)))],
            end_stream=not body)
        if body:
            self.conn.send_data(stream, body, end_stream=True)
        return self.conn.data_to_send()


class Opened:
    """Some of the connections, in a process of their own."""

    def __init__(self, port: int, first: int, count: int, streams: bool,
                 tls: bool, http2: bool, each: int) -> None:
        self.streams = count * each
        self.ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(
            target=self.main, daemon=True,
            args=(theirs, port, first, count, streams, tls, http2, each))
        self.process.start()
        theirs.close()

    def ask(self, what: object = None):
        if what is not None:
            self.ours.send(what)
        found = self.ours.recv()
        if isinstance(found, str):
            raise RuntimeError(found)
        return found

    @staticmethod
    def main(pipe, port, first, count, streams, tls, http2, each) -> None:
        servers.child()
        servers.raise_limits()
        signal.alarm(LIMIT)
        try:
            made = list(connections(port, first, count, streams, tls, http2,
                                    each))
            pipe.send(len(made))
            poll = select.epoll()
            sockets = {}
            for sock in made:
                sock.setblocking(False)
                poll.register(sock, select.EPOLLIN)
                sockets[sock.fileno()] = sock
            while (what := pipe.recv()) != 'end':
                pipe.send(heard(poll, sockets, what))
        except Exception as e:  # noqa: BLE001
            pipe.send(f'{type(e).__name__}: {e}')


def connections(port, first, count, streams, tls, http2, each):
    """Opens them, and waits until each has its answer's header."""
    context = ssl.create_default_context() if tls else None
    if tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(['h2'] if http2 else ['http/1.1'])
    for n in range(first, first + count):
        sock = socket.socket()
        at = 2 + n // PER_ADDRESS
        sock.bind((f'127.0.{at >> 8}.{at & 255}', 0))
        sock.connect(('127.0.0.1', port))
        sock.settimeout(30)
        if tls:
            sock = context.wrap_socket(sock, server_hostname='x')
        maker = Http2() if http2 else None
        text = maker.preface if http2 else b''
        for k in range(each):
            path = '/mailbox/listen' if streams else '/plain'
            body = listen_body(n * each + k) if streams else b''
            text += (maker.request(k, path, body) if http2
                     else http1(path, body))
        sock.sendall(text)
        mark = b'retry:' if streams else b'server' if http2 else b'\r\n\r\n'
        read = b''
        if http2 and not streams:
            # the header is compressed: an answer to the one request is all
            while len(read) < 60:
                read += sock.recv(65536)
        else:
            while read.count(mark) < each:
                part = sock.recv(65536)
                if not part:
                    raise RuntimeError(f'an end came: {read[:200]!r}')
                read += part
        yield sock


def uid_of(n: int) -> str:
    return str(uuid.UUID(int=uuid.UUID(UID).int + n + 1))


def box_of(n: int) -> str:
    return json.dumps({'uid': uid_of(n), 'role': 'agent'})


def listen_body(n: int) -> bytes:
    return json.dumps({'mailbox': box_of(n), 'timeout': 3600}).encode()


def heard(poll, sockets, wanted: str) -> int:
    """Reads until each connection has brought a message, or has ended; how
    many have."""
    kind, number = wanted.split()
    found, left = 0, int(number)
    deadline = time.monotonic() + 60
    while found < left and time.monotonic() < deadline:
        for fd, _ in poll.poll(1, 4096):
            try:
                data = sockets[fd].recv(1 << 16)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except (OSError, ssl.SSLError):
                data = b''
            if data:
                found += data.count(b'data: ') if kind == 'message' else 0
            else:
                poll.unregister(fd)
                found += kind == 'end'
    return found


# the server's side


class Side:
    """A connection over which much is asked for, many requests at a time."""

    def __init__(self, server: Module) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(f'{server.dir}/socket')
        self.stream = self.sock.makefile('rb')

    def ask(self, method: str, path: str, bodies) -> None:
        bodies = list(bodies)
        for start in range(0, len(bodies), 100):
            some = bodies[start:start + 100]
            self.sock.sendall(b''.join(
                b'%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
                % (method.encode(), path.encode(), len(body), body)
                for body in (json.dumps(body).encode() for body in some)))
            for _ in some:
                status, length = self.stream.readline(), 0
                while (line := self.stream.readline()) != b'\r\n':
                    if line.lower().startswith(b'content-length:'):
                        length = int(line.split(b':')[1])
                text = self.stream.read(length)
                if b' 200 ' not in status:
                    raise RuntimeError(f'{method} {path}: {status} {text}')


def message(n: int) -> dict:
    dest = {'uid': uid_of(n), 'role': 'agent'}
    return {'message': json.dumps({
        'header': {'src': {'uid': str(uuid.uuid4()), 'role': 'user'},
                   'dest': dest, 'tag': str(uuid.uuid4()), 'label': None,
                   'kind': 'response'},
        'body': 'x'})}


def opened(server: Module, total: int, streams: bool, tls: bool, http2: bool,
           each: int) -> list[Opened]:
    """So many streams, on as many connections as that takes."""
    conns = total // each
    share = min(12_500, -(-conns // 4))
    clients = [Opened(server.port, first, min(share, conns - first), streams,
                      tls, http2, each)
               for first in range(0, conns, share)]
    for client in clients:
        try:
            client.ask()
        except RuntimeError as e:
            raise RuntimeError(f'{e}; {server.read(server.log)[-500:]}') \
                from None
    return clients


def measure(total: int, tls: bool, http2: bool, each: int) -> dict[str, float]:
    found: dict[str, float] = {'streams': total, 'each': each}
    # one of nginx's own is as large whatever the number of streams on it is
    with Module(tls, http2) as server:
        before = server.memory()[0]
        clients = opened(server, total, False, tls, http2, 1)
        found['idle'] = (server.memory()[0] - before) / total
        for client in clients:
            client.process.terminate()

    with Module(tls, http2) as server:
        side = Side(server)
        side.ask('POST', '/mailbox', ({'mailbox': box_of(n)}
                                      for n in range(total)))
        before = server.memory()
        began = time.monotonic()
        clients = opened(server, total, True, tls, http2, each)
        found['opening'] = time.monotonic() - began
        after = server.memory()
        found['stream'] = (after[0] - before[0]) / total
        found['zone'] = (after[1] - before[1]) / total

        # a message to each
        cpu = server.cpu()
        for client in clients:
            client.ours.send(f'message {client.streams}')
        side.ask('PUT', '/message', (message(n) for n in range(total)))
        found['arrived'] = sum(client.ask() for client in clients)
        found['waking'] = server.cpu() - cpu

        # the end of all, by a reload
        if not http2:
            cpu, used = server.cpu(), server.ended()
            for client in clients:
                client.ours.send(f'end {client.streams}')
            began = time.monotonic()
            server.process.send_signal(signal.SIGHUP)
            found['ended'] = sum(client.ask() for client in clients)
            found['end seconds'] = time.monotonic() - began
            deadline = time.monotonic() + 20
            while server.ended() == used and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.5)
            found['ending'] = server.ended() - used - cpu
        for client in clients:
            client.process.terminate()
        found['alarms'] = len(server.alarms())
        for line in server.alarms()[:3]:
            print(line)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--streams', type=int, default=50_000)
    parser.add_argument('--few', type=int, default=4000,
                        help='with TLS or HTTP/2')
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    servers.raise_limits()
    began = time.monotonic()
    missed = []

    def target(what: str, have: float, most: float) -> None:
        if have > most:
            missed.append(f'{what}: {have:.2f}, not {most:.2f}')

    print(f'{"":28}{"streams":>8}{"idle":>8}{"stream":>8}{"above":>8}'
          f'{"zone":>8}{"waking":>8}{"ending":>8}')
    for name, tls, http2, each in (
        ('HTTP/1', False, False, 1),
        ('HTTP/1, TLS', True, False, 1),
        ('HTTP/2', False, True, 1),
        ('HTTP/2, 100 a connection', False, True, 100),
        ('HTTP/2, TLS', True, True, 1),
    ):
        total = args.few if tls or http2 else args.streams
        found = measure(total, tls, http2, each)
        # a connection has its share of what its streams have
        above = found['stream'] - found['idle'] / each
        ending = (f'{found["ending"]:8.2f}' if 'ending' in found
                  else f'{"":8}')
        print(f'{name:28}{total:8,}{found["idle"] / KIB:8.2f}'
              f'{found["stream"] / KIB:8.2f}{above / KIB:8.2f}'
              f'{found["zone"] / KIB:8.2f}{found["waking"]:8.2f}{ending}',
              flush=True)
        target(f'{name}: messages that did not arrive',
               total - found['arrived'], 0)
        target(f'{name}: alerts', found['alarms'], 0)
        if name == 'HTTP/1':
            target(f'{name}: KiB above an idle connection', above / KIB, 2)
            target(f'{name}: CPU seconds to wake all', found['waking'], 2)
            target(f'{name}: streams that did not end by a reload',
                   total - found['ended'], 0)

    print('KiB of the workers for an idle connection, for a stream, and what '
          'it takes more than\nthat; KiB of the zone; seconds of CPU for a '
          'message to each, its PUT included, and for\nthe end of all by a '
          'reload')
    for line in missed:
        print(f'missed: {line}')
    print(f'{time.monotonic() - began:.0f} s')
    return 1 if missed else 0


def too_long(*_: object) -> None:
    raise SystemExit(f'streams: not done in {LIMIT} s')


if __name__ == '__main__':
    sys.exit(main())
