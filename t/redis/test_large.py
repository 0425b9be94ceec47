"""A large deployment, through nginx: 100,000 mailboxes, 10,000 listeners."""

import asyncio
import json
import resource
import statistics
import time
import uuid

import pytest
import redis
from academy_nginx import ASAN, PATIENCE, cpu_seconds, run
from exchange import Client, message
from test_idle import listening, read_until
from together import nginx_on, redis_server

from scripts import Watch, fill, new

MAILBOXES = 100_000
LISTENERS = 1000 if ASAN else 10_000

BOUND = 5           # ms, for a request
HELD = 1000         # us, for a script


@pytest.fixture
def db():
    """A Redis of its own; its port is db.port."""
    with redis_server() as (port, socket):
        with redis.Redis(unix_socket_path=socket,
                         decode_responses=True) as client:
            client.port = port
            yield client


def box(uid, role="agent"):
    return json.dumps({"uid": uid, "role": role})


async def timed(client, *request):
    """The milliseconds that a request took, and its answer."""
    begin = time.perf_counter()
    answer = await client.request(*request)
    took = 1000 * (time.perf_counter() - begin)
    assert answer.status == 200, answer
    return took, answer


def judged(what, took, held, figures):
    """One in four is within the bounds: the machine does other things too, and
    what was interrupted is not slower."""
    names = ", ".join(
        f"{name} {statistics.median(each):.0f} us (most {max(each)}, "
        f"{len(each)} times)" for name, each in sorted(held.items()))
    figures(f"{what}: median {statistics.median(took):.2f} ms, most "
            f"{max(took):.2f} ms, of {len(took)}; Redis was held by {names}")
    assert sorted(took)[len(took) // 4] <= BOUND * PATIENCE
    for each in held.values():
        assert sorted(each)[len(each) // 4] <= HELD


def test_many_mailboxes(nginx, db, figures):
    few, mine = [new() for _ in range(10)], [new() for _ in range(MAILBOXES)]
    # the client of an exchange without authentication
    fill(db, mine, "m.Mine,m.Base")
    fill(db, few, "m.Few,m.Base")
    for i in range(0, len(mine), 1000):
        db.mset({"owner:" + uid: "_" for uid in mine[i:i + 1000]})
    db.mset({"owner:" + uid: "_" for uid in few})
    server = nginx_on(nginx, db.port)

    async def discover(client, name):
        took, answer = await timed(client, "GET", "/discover", {
            "agent": name, "allow_subclasses": True})
        return took, answer.json()["agent_ids"].split(",")

    async def play():
        client = await Client.open(server.port)
        took = []
        with Watch(db) as watch:
            for _ in range(100):
                spent, found = await discover(client, "m.Few")
                assert sorted(found) == sorted(few)
                took.append(spent)
        judged(f"discovery of 10 of {MAILBOXES}", took, watch.took, figures)

        took = []
        with Watch(db) as watch:
            for uid in mine[::1000]:
                took.append((await timed(
                    client, "DELETE", "/mailbox", {"mailbox": box(uid)}))[0])
        judged(f"termination among {MAILBOXES}", took,
               {"terminate": watch.took["terminate"]}, figures)

        # open requests are answered behind the answer, a few at a time
        took = []
        user = await client.create(box(new(), "user"))
        ended = mine[500::20000]
        for uid in ended:
            for _ in range(1000):
                await client.put(box(uid), "x" * 100, src=user, kind="request")
        with Watch(db) as watch:
            for uid in ended:
                took.append((await timed(
                    client, "DELETE", "/mailbox", {"mailbox": box(uid)}))[0])
            left = len(ended) * 1000
            begin = time.monotonic()
            while (await client.stats(user))["queued"] < left:
                assert time.monotonic() - begin < 20 * PATIENCE
                await asyncio.sleep(0.02)
        judged("termination with 1000 open requests", took, {
            name: watch.took[name] for name in ("terminate", "close")}, figures)
        figures(f"{left} answers to open requests were there "
                f"{time.monotonic() - begin:.2f} s after the last one")

        # all of a class takes its time, and Redis serves others in between
        with Watch(db) as watch:
            spent, found = await discover(client, "m.Base")
        assert len(found) == MAILBOXES - 100 - len(ended) + len(few)
        held = watch.took["discover"]
        figures(f"discovery of {len(found)} in {spent:.0f} ms, of which Redis "
                f"was held {statistics.median(held):.0f} us at a time (most "
                f"{max(held)})")
        assert sorted(held)[len(held) // 4] <= HELD
        client.close()

    run(play(), 120)


def test_many_listeners(nginx, db, figures):
    """10,000 on two nginx: two connections to Redis for each worker, and a
    message to each arrives, sent by way of the other one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(LISTENERS, hard - 400)
    servers = [nginx_on(
        nginx, db.port, workers=2, connections=count + 200,
        main=f"worker_rlimit_nofile {count + 1000};",
        http="academy_ping_interval 1h;") for _ in range(2)]
    uids = [str(uuid.uuid4()) for _ in range(count)]
    sockets = []

    async def create():
        client = await Client.open(servers[0].port)
        for uid in uids:
            await client.create(box(uid))
        client.close()

    def connections():
        """Those that are not this test's own."""
        return [c for c in db.client_list() if c["addr"].startswith("127.")]

    async def to_all():
        clients = [await Client.open(server.port) for server in servers]
        for n, uid in enumerate(uids):
            answer = await clients[1 - n % 2].request(
                "PUT", "/message", {"message": message(box(uid), n)})
            assert answer.status == 200, answer
        for client in clients:
            client.close()

    try:
        run(create())
        begin = time.monotonic()
        for n, uid in enumerate(uids):
            sockets.append(listening(servers[n % 2].port, box(uid)))
        for sock in sockets:
            read_until(sock, b"retry:")
        parked = time.monotonic() - begin
        # the subscriptions behind the takes are in force a moment later
        time.sleep(1)

        open_ = connections()
        most = len(open_)
        workers = [pid for server in servers for pid in server.workers()]
        used = sum(map(cpu_seconds, workers))
        time.sleep(5)
        used = sum(map(cpu_seconds, workers)) - used

        begin = time.monotonic()
        run(to_all(), 120)
        for n, sock in enumerate(sockets):
            assert b'"body": %d}' % n in read_until(sock, b"}\n\n")
        took = time.monotonic() - begin
        most = max(most, len(connections()))
        figures(f"{count} listeners on two nginx, parked in {parked:.1f} s: "
                f"{most} connections to Redis for 4 workers, {used:.2f} s of "
                f"CPU in 5 s; a message to each, by the other nginx, in "
                f"{took:.1f} s")
        assert most <= 2 * len(workers) == 8
        assert used <= 0.25 * PATIENCE
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
