"""What a status location costs those who put and get.

    status.py [--seconds N] [--rounds N]

One worker is kept busy by put and get, with and without 1,000 requests a second
for each form of the picture, which are answered from what 10,000 mailboxes and
20,000 messages are found to be.  CPU time is the worker's own, so that other
processes of the machine do not matter: what the status requests take alone is
taken off, and what is left is for put and get.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import statistics
import sys
import time
import uuid

import servers

RATE = 1000
MAILBOXES = 10000


class Shown(servers.Module):
    """An exchange with a status location."""

    def __init__(self) -> None:
        super().__init__('256m')
        self.places = 'location = /status { academy_status bench; }'


def ask(sock, method: str, path: str, body: object = None) -> None:
    data = b'' if body is None else json.dumps(body).encode()
    sock.sendall(b'%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
                 % (method.encode(), path.encode(), len(data), data))


def read(stream) -> int:
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline()) != b'\r\n':
        if line.lower().startswith(b'content-length:'):
            length = int(line.split(b':')[1])
    stream.read(length)
    return status


def looks(port: int, query: str, begun, over, done) -> None:
    """RATE requests a second, as evenly as it can."""
    sock = socket.create_connection(('127.0.0.1', port))
    stream = sock.makefile('rb')
    n = 0
    begin = time.monotonic()
    begun.set()
    while not over.is_set():
        due = int((time.monotonic() - begin) * RATE)
        if n >= due:
            time.sleep(0.0005)
            continue
        ask(sock, 'GET', '/status?' + query)
        assert read(stream) == 200
        n += 1
    done.value = n / (time.monotonic() - begin)


class Looking:
    """1,000 a second, as long as this lasts."""

    def __init__(self, port: int, query: str | None) -> None:
        self.rate = 0.0
        self.port, self.query = port, query

    def __enter__(self) -> Looking:
        if self.query is not None:
            self.begun, self.over = (multiprocessing.Event(),
                                     multiprocessing.Event())
            self.done = multiprocessing.Value('d', 0.0)
            self.process = multiprocessing.Process(
                target=looks, args=(self.port, self.query, self.begun,
                                    self.over, self.done))
            self.process.start()
            self.begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self.query is not None:
            self.over.set()
            self.process.join(20)
            self.rate = self.done.value


def fill(port: int) -> None:
    sock = socket.create_connection(('127.0.0.1', port))
    stream = sock.makefile('rb')
    for n in range(MAILBOXES):
        box = {'uid': str(uuid.uuid4()), 'role': 'agent', 'name': f'a{n}'}
        ask(sock, 'POST', '/mailbox',
            {'mailbox': json.dumps(box), 'agent': 'lab.Agent'})
        assert read(stream) == 200
        for _ in range(2):
            header = {'src': {'uid': str(uuid.uuid4()), 'role': 'user'},
                      'dest': box, 'tag': str(uuid.uuid4()), 'label': None,
                      'kind': 'response'}
            ask(sock, 'PUT', '/message', {'message': json.dumps(
                {'header': header, 'body': 1})})
            assert read(stream) == 200


def putget(server: Shown, seconds: float) -> dict[str, float]:
    """A run of 8 connections, and the worker's CPU time within it."""
    return servers.load(server, 'putget', '-n', 8, '-s', seconds, '-w', 0.5)


def alone(server: Shown, query: str, seconds: float) -> float:
    """Seconds of CPU time that a request takes."""
    begin = server.cpu()
    with Looking(server.port, query) as looking:
        time.sleep(seconds)
    # What a worker does besides is next to nothing.
    return (server.cpu() - begin) / (looking.rate * seconds)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=float, default=3)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    servers.WORKERS = 1
    bad = False
    with Shown() as server:
        fill(server.port)
        for query in ('format=json', 'format=prometheus', 'format=health'):
            beyond, shares, rates, slower = [], [], [], []
            for _ in range(args.rounds):
                each = alone(server, query, args.seconds)
                plain = putget(server, args.seconds)
                with Looking(server.port, query) as looking:
                    seen = putget(server, args.seconds)
                share = each * looking.rate
                # of a put+get, in microseconds
                theirs = share * seen['seconds'] * 1e6 / seen['ops']
                beyond.append((seen['cpu'] - theirs) / plain['cpu'] - 1)
                slower.append(1 - seen['rate'] / plain['rate'])
                shares.append(share)
                rates.append(looking.rate)
            found = statistics.median(beyond)
            bad |= found > 0.05
            print(f'{query}: {statistics.median(rates):.0f} requests a second '
                  f'take {statistics.median(shares):.1%} of a core; put+get '
                  f'has {statistics.median(slower):.1%} less throughput, and '
                  f'takes {found:+.1%} CPU time beyond that share '
                  f'(of {args.rounds} rounds {min(beyond):+.1%} to '
                  f'{max(beyond):+.1%}; at most 5 % may be)', flush=True)
        bad |= bool(server.alarms())
    return bad


if __name__ == '__main__':
    sys.exit(main())
