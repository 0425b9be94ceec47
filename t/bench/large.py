"""The part of the bench with messages of 500 KB."""

from __future__ import annotations

import json
import os
import random
from typing import Callable

import servers
from peers import Memory
from rounds import Bench
from rounds import lock_row
from rounds import PAIRS
from rounds import ratio
from servers import load
from servers import LockWatch
from servers import Module
from servers import Reference

UID = '0000b19e-0001-4000-8000-000000000001'
MAILBOX = json.dumps(
    {'uid': UID, 'name': None, 'role': 'agent'},
    separators=(',', ':'),
)
GET = json.dumps({'mailbox': MAILBOX, 'timeout': 5}).encode()
SIZE = 500_000


def fill(item: Callable[[int], str], room: int) -> str:
    """A JSON array of items, as long as there is room."""
    parts = []
    used = 2
    while used < room - 1200:
        parts.append(item(len(parts)))
        used += len(parts[-1].encode()) + 1
    return '[' + ','.join(parts) + ']'


def contents() -> dict[str, Callable[[int], str]]:
    """What a body of 500 KB may hold: each makes JSON of about its size."""
    rng = random.Random(1)
    digits = ''.join(rng.choice('123456789') for _ in range(1000))
    text = 'Žluťoučký kůň 漢字かな交じり文 Привет 🙂🚀 '
    return {
        'one long string': lambda n: '"' + 'x' * (n - 2) + '"',
        'floats': lambda n: fill(lambda i: repr(rng.uniform(-1e6, 1e6)), n),
        'raw UTF-8': lambda n: '"' + text * (n // len(text.encode())) + '"',
        'small objects': lambda n: fill(
            lambda i: '{"id":%d,"name":"n%d","ok":true,"x":[]}' % (i, i),
            n,
        ),
        '"a","a",…': lambda n: '[' + ','.join(['"a"'] * ((n - 2) // 4)) + ']',
        'backslashes': lambda n: '"' + '\\\\' * ((n - 2) // 2) + '"',
        'digits': lambda n: fill(lambda i: digits, n),
        '{},{},…': lambda n: '[' + ','.join(['{}'] * ((n - 2) // 3)) + ']',
        'UTF-8, escaped': lambda n: (
            '"' + text * (n // len(text.encode())) + '"'
        ),
    }


def large_message(
    name: str, make: Callable[[int], str], number: int
) -> tuple[str, bytes]:
    """A message of 500 KB, and the body of the PUT that brings it; two with
    one number would be taken for the same, sent again."""
    header = json.dumps(
        {
            'src': json.loads(MAILBOX),
            'dest': json.loads(MAILBOX),
            # the load generator counts in it
            'tag': f'0000b19e-0000-4000-9000-{number:012x}',
            'label': None,
            'kind': 'response',
            'protocol_version': '1.1',
            'academy_version': '1.0.0',
        },
        separators=(',', ':'),
    )
    room = SIZE - len(header) - len('{"header":,"body":}')
    message = '{"header":%s,"body":%s}' % (header, make(room))
    # the Python client escapes whatever is not ASCII
    escape = name.endswith('escaped')
    body = json.dumps({'message': message}, ensure_ascii=escape)
    return message, body.encode()


def raw_request(server: servers.Server, method: str, body: bytes) -> bytes:
    head = (
        f'{method} /message HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n'
        f'Content-Length: {len(body)}\r\n'
        'Content-Type: application/json\r\n\r\n'
    )
    return head.encode() + body


def pair(server: servers.Server, body: bytes) -> list[bytes]:
    return [raw_request(server, 'PUT', body), raw_request(server, 'GET', GET)]


def part_large(bench: Bench) -> None:
    """PUT and GET of 500 KB of whatever."""
    name = '500 KB, PUT + GET'
    count = 10 if bench.quick else 30
    with Module() as module, Reference() as reference:
        made = {
            key: large_message(key, f, n)
            for n, (key, f) in enumerate(contents().items())
        }
        for server in (module, reference):
            create = {'mailbox': MAILBOX}
            assert server.request('POST', '/mailbox', create)[0] == 200

        # what is not passed on untouched need not be measured
        intact = [
            key
            for key, (message, body) in made.items()
            if passes(module, message, body, key)
        ]
        bench.count(
            name,
            'contents that come as they were sent',
            len(intact),
            len(made),
        )
        bench.large = {key: {} for key in intact}

        for i in range(bench.rounds):
            for key in intact:
                body = made[key][1]
                for server in (module, reference):
                    if server is reference and (i > 0 or bench.quick):
                        continue
                    cpu = run_large(
                        server,
                        pair(server, body),
                        count if server is module else 3,
                    )
                    if cpu is not None:
                        figures = bench.large[key].setdefault(server.name, [])
                        figures.append(cpu)

        for key in intact:
            bench.row(
                name,
                f'{key}: worker CPU',
                bench.large[key][module.name],
                'ms',
                4,
            )

        with LockWatch(module) as watch:
            for key in intact:
                run_large(module, pair(module, made[key][1]), 50)
        lock_row(bench, name, watch)
        bench.clean(module)


def passes(
    server: servers.Server,
    message: str,
    body: bytes,
    key: str,
) -> bool:
    """Whether a message comes out as it went in."""
    status, text = server.request('PUT', '/message', body)
    if status == 200:
        status, text = server.request('GET', '/message', GET)
    if status == 200:
        if json.loads(text)['message'] == message:
            return True
        text = b'another message came back'
    print(f'  {key}: {status} {text[:200].decode(errors="replace")}')
    return False


def run_large(
    server: servers.Server,
    requests: list[bytes],
    count: int,
) -> float | None:
    """CPU time of one message in ms; None if the reference refuses it."""
    args: list[object] = ['-c', count]
    for i, request in enumerate(requests):
        path = os.path.join(server.dir, f'request-{i}')
        with open(path, 'wb') as f:
            f.write(request)
        args += ['-f', path]
    try:
        return load(server, 'replay', *args)['cpu'] / 1000
    except RuntimeError as e:
        if server.name != Reference.name:
            raise
        print(f'  {e}')
        return None


def part_waiting(bench: Bench) -> None:
    """Messages of 500 KB that wait, and nginx with the same bytes."""
    name = '500 KB that wait, 16 connections'
    count = 20 if bench.quick else 60
    with Module('1g') as module:
        body = waiting_body(module)
        runs: dict[str, list[dict]] = {}
        with Memory(body) as memory:
            for where in FROM_MEMORY:
                assert memory.request('GET', f'/{where}') == (200, body)
            for _ in range(bench.rounds):
                done = load(
                    module,
                    'drain',
                    *('-n', PAIRS, '-N', count, '-B', SIZE),
                    *bench.ids(),
                )
                runs.setdefault(module.name, []).append(done)
                for where, what in FROM_MEMORY.items():
                    path = os.path.join(memory.dir, where)
                    with open(path, 'wb') as f:
                        f.write(raw_get(memory, f'/{where}'))
                    done = load(
                        memory,
                        'replay',
                        *('-n', PAIRS, '-c', PAIRS * count, '-f', path),
                    )
                    runs.setdefault(what, []).append(done)
        bench.rates[name] = runs
        for what in FROM_MEMORY.values():
            bench.row(
                name,
                f'rate of gets, to {what}',
                ratio(runs[module.name], runs[what]),
                '×',
                None if what is SENDFILE else 0.5,
                least=True,
            )
        bench.clean(module)


# each of these but the last copies the bytes once, as the exchange does
SENDFILE = 'nginx, sendfile'
FROM_MEMORY = {
    'returned': 'nginx, `return 200`',
    'read': 'nginx, file in memory',
    'sent': SENDFILE,
}


def raw_get(server: servers.Server, path: str) -> bytes:
    return f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'.encode()


def waiting_body(module: Module) -> bytes:
    """What the exchange answers with such a message."""
    create = {'mailbox': MAILBOX}
    assert module.request('POST', '/mailbox', create)[0] == 200
    _, body = large_message('one long string', contents()['one long string'], 0)
    assert module.request('PUT', '/message', body)[0] == 200
    status, text = module.request('GET', '/message', GET)
    assert status == 200
    return text
