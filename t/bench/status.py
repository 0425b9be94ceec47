"""What a status location costs those who put and get.

    status.py [--seconds N] [--pairs N]

One worker is kept busy by put and get for as long as this takes.  Meanwhile
1,000 requests a second for a form of the picture come, and do not: in short
windows, two by two, of which each other one has them first.  They are answered
from what 10,000 mailboxes and 20,000 messages are found to be.  What others do
on the machine changes slowly against two windows, and the median of many leaves
out those between which it did not.

CPU time is the worker's own, by the scheduler's count, and is divided by the
puts and gets that the exchange itself has counted.  What the status requests
take alone, in windows without put and get, is taken off, and what is left is
for put and get.  Throughput is shown beside it: where there are not processors
enough, those who look take it from those who put and get.  How much of all that
is of this module shows beside as many requests for nothing, which nginx answers
by itself: for a third process to ask a thousand times a second takes 2 % from
the two others on one machine, and 18 % on another.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import sys
import time
import uuid

import servers

# a request each so many microseconds, with what one takes
GAP = 800

MAILBOXES = 10000

# what is asked for: of nginx alone, "return 200", to compare with
PLAIN = '/plain'
FORMS = (PLAIN, '/status?format=json', '/status?format=prometheus',
         '/status?format=health')

# of a window, before it counts; and how many have no put and get
SETTLE = 0.05
ALONE = 15


class Shown(servers.Module):
    """An exchange with a status location."""

    workers = 1

    def __init__(self) -> None:
        super().__init__('256m')
        self.places = 'location = /status { academy_status bench; }' \
                      'location = /requests { stub_status; }'


class Asker:
    """A connection that asks and waits for the answer."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(('127.0.0.1', port))
        self.text = b''

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        data = b'' if body is None else json.dumps(body).encode()
        return self.send(b'%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d'
                         b'\r\n\r\n%s' % (method.encode(), path.encode(),
                                          len(data), data))

    def send(self, request: bytes) -> bytes:
        self.sock.sendall(request)
        text = self.sock.recv(65536)
        end = text.find(b'\r\n\r\n')
        while end < 0:
            text += self.sock.recv(65536)
            end = text.find(b'\r\n\r\n')
        assert text.startswith(b'HTTP/1.1 200 '), text
        head = text[:end].lower()
        at = head.index(b'content-length: ') + 16
        length = end + 4 + int(head[at:].split(b'\r', 1)[0])
        while len(text) < length:
            text += self.sock.recv(65536)
        return text[end + 4:]


class Looking:
    """A process that looks some 1,000 times a second while it is on.  It is the
    load generator, for whoever looks should take little of the processors: a
    Python process would take more than it is answered with."""

    def __init__(self, server: Shown, path: str, seconds: float) -> None:
        with open(os.path.join(server.dir, 'look'), 'w') as f:
            f.write(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n')
        self.load = servers.Load(server, 'replay', '-f', f.name, '-u', GAP,
                                 '-s', seconds)
        self.pid = self.load.process.pid

    def turn(self, on: bool) -> None:
        os.kill(self.pid, signal.SIGCONT if on else signal.SIGSTOP)

    def cpu(self) -> float:
        with open(f'/proc/{self.pid}/schedstat') as f:
            return int(f.read().split()[0]) / 1e9

    def stop(self) -> None:
        assert self.load.process.poll() is None, 'it does not look any more'
        self.turn(True)
        self.load.process.terminate()
        self.load.close()


def fill(port: int) -> None:
    asker = Asker(port)
    for n in range(MAILBOXES):
        box = {'uid': str(uuid.uuid4()), 'role': 'agent', 'name': f'a{n}'}
        asker.ask('POST', '/mailbox',
                  {'mailbox': json.dumps(box), 'agent': 'lab.Agent'})
        for _ in range(2):
            header = {'src': {'uid': str(uuid.uuid4()), 'role': 'user'},
                      'dest': box, 'tag': str(uuid.uuid4()), 'label': None,
                      'kind': 'response'}
            asker.ask('PUT', '/message', {'message': json.dumps(
                {'header': header, 'body': 1})})


class Windows:
    """What was done in one after the other."""

    def __init__(self, server: Shown, looking: Looking, seconds: float):
        self.server, self.looking, self.seconds = server, looking, seconds
        self.asker = Asker(server.port)

    def now(self) -> tuple[float, ...]:
        """Puts and gets, looks, and seconds: of the worker, of who looks, and
        of the clock."""
        routes = json.loads(self.asker.ask('GET', '/status?format=json'))[
            'routes']
        asked = int(self.asker.ask('GET', '/requests').split(b'\n')[2]
                    .split()[2])
        self.asked += 2
        return (routes['get'],
                asked - routes['put'] - routes['get'] - self.asked,
                self.server.cpu(), self.looking.cpu(), time.monotonic())

    def one(self, looks: bool) -> dict[str, float]:
        self.looking.turn(looks)
        time.sleep(SETTLE)
        self.asked = 0
        before = self.now()
        time.sleep(self.seconds)
        puts, seen, cpu, own, took = (
            b - a for a, b in zip(before, self.now(), strict=True))
        return {'puts': puts, 'cpu': cpu, 'looks': seen, 'rate': seen / took,
                'own': own / took, 'throughput': puts / took}

    def pair(self, looks_first: bool) -> tuple[dict, dict]:
        first = self.one(looks_first)
        second = self.one(not looks_first)
        return (second, first) if looks_first else (first, second)


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f'{middle:+.1%} ({low:+.1%} to {high:+.1%})'


def form(server: Shown, path: str, pairs: int, seconds: float) -> float:
    """The median of what is beyond the share."""
    lasts = (pairs * 2 + 2) * (seconds + SETTLE + 0.02)
    looking = Looking(server, path, 2 * lasts + 20)
    windows = Windows(server, looking, seconds)
    try:
        found = [windows.one(True) for _ in range(ALONE)]
        each = statistics.median(w['cpu'] / w['looks'] for w in found)
        load = servers.Load(server, 'putget', '-n', 8, '-w', 0.5, '-s', lasts)
        time.sleep(1)
        both = [windows.pair(n % 2 == 1) for n in range(pairs)]
    finally:
        looking.stop()
    load.result()
    shares = [each * seen['rate'] for _, seen in both]
    beyond = [(seen['cpu'] - each * seen['looks']) / seen['puts']
              / (plain['cpu'] / plain['puts']) - 1 for plain, seen in both]
    whole = [seen['cpu'] / seen['puts'] / (plain['cpu'] / plain['puts']) - 1
             for plain, seen in both]
    less = [seen['throughput'] / plain['throughput'] - 1
            for plain, seen in both]
    cost = statistics.median(plain['cpu'] / plain['puts']
                             for plain, _ in both)
    rate = statistics.median(seen['rate'] for _, seen in both)
    own = statistics.median(seen['own'] for _, seen in both)
    most = [lost + share for lost, share in zip(less, shares, strict=True)]
    print(f'{path}: {rate:.0f} requests a second, each {each * 1e6:.1f} us '
          f'of CPU time alone, take {statistics.median(shares):.1%} of a '
          f'core, and who asks {own:.1%}\n'
          f'  CPU time of a put+get, {cost * 1e6:.1f} us without: '
          f'{quartiles(whole)} in all, {quartiles(beyond)} beyond that '
          f'share\n'
          f'  throughput: {quartiles(less)}, {quartiles(most)} beyond that '
          f'share; medians and quartiles of {len(both)} pairs', flush=True)
    return statistics.median(beyond)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=float, default=0.4)
    parser.add_argument('--pairs', type=int, default=50)
    parser.add_argument('--form', choices=FORMS, action='append')
    args = parser.parse_args()
    bad, plain = False, 0.0
    print('load average', *(f'{n:.2f}' for n in os.getloadavg()))
    with Shown() as server:
        fill(server.port)
        for path in args.form or FORMS:
            found = form(server, path, args.pairs, args.seconds)
            if path == PLAIN:
                plain = found
                continue
            print(f'  {found - plain:+.1%} beyond that of {PLAIN} (at most '
                  f'+5 % may be)', flush=True)
            bad |= found - plain > 0.05
        bad |= bool(server.alarms())
    print('load average', *(f'{n:.2f}' for n in os.getloadavg()))
    return bad


if __name__ == '__main__':
    sys.exit(main())
