"""Redis is killed, cut off, slow, full, read-only or replaced, and so are the
nginx on it, under load, with counts.

ACADEMY_REDIS_FAULTS is how often each of it happens, once unless set;
`make redis-faults` has more.
"""

import asyncio
import os
import random
import signal
import time

import pytest
import redis
from academy_nginx import (ASAN, MODULE, PATIENCE, free_port, run, wait_until,
                           workers_of)
from academy_redis import RedisServer
from exchange import Client, body_of, mailbox, message, taken
from load import MOMENT, Report, prepare, run_load

TIMES = int(os.environ.get("ACADEMY_REDIS_FAULTS", 1))
WORKERS, MAILBOXES = 2, 24

# Of academy_redis; a refusal takes this long and a bit.
TIMEOUT = 1
REFUSAL = TIMEOUT + 1.5 * PATIENCE

# A node is believed to live for 10 s, and the leader looks around for 5.
NODE = 20

pytestmark = pytest.mark.timeout((100 + 15 * TIMES) * PATIENCE)


def exchange(nginx, server, workers=WORKERS, http="", location="", **more):
    return nginx(
        exchange=False, workers=workers, main=f"load_module {MODULE};",
        location="academy_exchange exchange;" + location,
        http=f"academy_redis name=exchange server={server} "
             f"connect_timeout=500ms timeout={TIMEOUT}s;" + http, **more)


@pytest.fixture
def server():
    """A redis-server on a port; its settings are the arguments."""
    started = []

    def start(**settings):
        started.append(RedisServer(free_port(), **settings).start())
        return started[-1]

    yield start

    for one in started:
        one.stop()


def asked(server):
    """A client of a redis-server, past all that happens to its port."""
    return redis.Redis(unix_socket_path=str(server.socket),
                       decode_responses=True)


def scripts_run(server):
    try:
        with asked(server) as db:
            return db.info("commandstats").get(
                "cmdstat_evalsha", {}).get("calls", 0)
    except redis.RedisError:
        return 0


def under_way(server, more=500):
    """Waits until the load is on."""
    begin = scripts_run(server)
    wait_until(lambda: scripts_run(server) > begin + more, 30,
               "no load on Redis")


class Trouble:
    """What happens while a load is on, and when."""

    def __init__(self, server, times, what, pause=1.0):
        self.server, self.times = server, times
        self.what, self.pause = what, pause
        self.happened = []

    def __call__(self):
        under_way(self.server)
        for _ in range(self.times):
            time.sleep(self.pause * random.uniform(0.5, 1))
            self.happened.append(time.monotonic())
            self.what()
        time.sleep(2)


def put_again(report: Report, moment: float) -> int:
    """How many messages came twice because they had to be sent twice."""
    twice = 0
    for box, came in report.received.items():
        first = {}
        for sender, number, when in came:
            if (sender, number) in first:
                then = first[sender, number]
                twice += ((sender, box, number) in report.doubtful
                          and not report.broke(box, then, then + moment))
            first.setdefault((sender, number), when)
    return twice


def judged(report: Report, figures, what, moment=MOMENT) -> dict[str, int]:
    sums = report.judge(moment)
    sums["put again"] = put_again(report, moment)
    delivered = sum(len({m[:2] for m in came})
                    for came in report.received.values())
    figures(
        f"{what}: {report.messages()} acknowledged, {delivered} delivered; "
        + ", ".join(f"{name} {n}" for name, n in sums.items())
        + f"; 503 {report.unavailable} times, after "
        f"{report.slowest_refusal:.2f} s at the most; {report.repeated_puts} "
        f"puts made again; slowest put {report.slowest_put:.2f} s, longest "
        f"wait of a reader {report.longest_wait:.2f} s")
    return sums


def nothing_left(server, boxes):
    """No message is in a mailbox or with somebody. What is settled is told to
    Redis a moment later."""
    def left():
        with asked(server) as db:
            return [key for key in db.scan_iter("*", 1000)
                    if key.startswith(("queue:", "academy:lease:"))
                    or key.startswith("academy:handed:") and db.xlen(key)]

    end = time.monotonic() + 5 * PATIENCE
    while left() and time.monotonic() < end:
        time.sleep(0.1)
    assert left() == []


def nothing_wrong(report, sums, away=0):
    """`away` is for how long Redis does nothing."""
    assert sums["lost"] == sums["doubled"] == sums["disordered"] == 0
    assert sums["put again"] == 0
    assert report.complaints == []
    assert report.slowest_refusal < REFUSAL
    # Nobody was forgotten. Tries are up to five seconds apart, and each of
    # them may fall into the next time that Redis is away.
    assert report.longest_wait < away + (5 if TIMES == 1 else 30) * PATIENCE


def lines_about_redis(nginx):
    return [line for line in nginx.log().splitlines()
            if any(f"[{level}]" in line for level in ("warn", "error"))]


# ---------------------------------------------------------- Redis itself ends


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_redis_is_killed(server, nginx, figures, fsync):
    """SIGKILL, and a new start with what is on the disk."""
    redis_server = server(appendonly="yes", appendfsync=fsync)
    one = exchange(nginx, redis_server.server)
    boxes = asyncio.run(prepare(one.port, MAILBOXES))

    def kill():
        redis_server.kill()
        time.sleep(0.3)
        redis_server.start()

    trouble = Trouble(redis_server, TIMES, kill)
    report = run_load(one.port, boxes=boxes, meanwhile=trouble,
                      patient=True)
    sums = judged(report, figures, f"{TIMES} times, fsync {fsync}")
    assert len(trouble.happened) == TIMES
    # What was written is there when Redis alone is killed: its own promise is
    # about the machine.
    nothing_wrong(report, sums)
    assert len(lines_about_redis(one)) <= TIMES * WORKERS * 4
    nothing_left(redis_server, boxes)


def test_waiting_while_redis_is_away(server, nginx, figures):
    """They stay, with nothing to notice it by, and are served when it is back;
    who comes meanwhile is refused."""
    count = 100
    redis_server = server(appendonly="yes", appendfsync="always")
    one = exchange(nginx, redis_server.server,
                   http="academy_ping_interval 1h;")

    async def play():
        client = await Client.open(one.port)
        boxes = [await client.new() for _ in range(count)]
        streams, polls = {}, {}
        for n, box in enumerate(boxes):
            waiting = await Client.open(one.port)
            if n % 2:
                streams[box] = await waiting.stream(box)
            else:
                waiting.send_get(box)
                polls[box] = waiting
        await asyncio.sleep(1)
        redis_server.kill()

        async def refused(method, path):
            body = {"mailbox": boxes[0]}
            if method == "PUT":
                body = {"message": message(boxes[0], "never")}
            begin = time.monotonic()
            answer = await (await Client.open(one.port)).request(
                method, path, body)
            assert answer.status == 503, (path, answer)
            assert int(answer.headers["retry-after"]) > 0
            return time.monotonic() - begin

        slowest = max(await asyncio.gather(*(refused(*request) for request in (
            ("GET", "/mailbox"), ("POST", "/mailbox"), ("DELETE", "/mailbox"),
            ("GET", "/mailbox/stats"), ("POST", "/mailbox/heartbeat"),
            ("GET", "/mailbox/listen"), ("GET", "/message"),
            ("PUT", "/message")))))

        redis_server.start()
        begin = time.monotonic()
        while (await client.request(
                "GET", "/mailbox", {"mailbox": boxes[0]})).status == 503:
            assert time.monotonic() - begin < 10 * PATIENCE
            await asyncio.sleep(0.02)
        back = time.monotonic() - begin
        for n, box in enumerate(boxes):
            answer = await client.try_put(box, n)
            while answer.status == 503:
                answer = await client.try_put(box, n)
        async with asyncio.timeout(10 * PATIENCE):
            for n, box in enumerate(boxes):
                if box in streams:
                    assert body_of(await streams[box].next()) == n
                else:
                    assert taken(await polls[box].answer()) == n
        figures(f"{count} waited on, 8 requests were refused within "
                f"{slowest:.2f} s; {back:.2f} s after Redis was back it served")
        assert slowest < REFUSAL

    run(play())


def test_redis_comes_later(server, nginx, figures):
    """An nginx starts without it."""
    redis_server = server()
    redis_server.kill()
    one = exchange(nginx, redis_server.server)

    async def play():
        client = await Client.open(one.port)
        box = mailbox()
        answer = await client.request("POST", "/mailbox", {"mailbox": box})
        assert answer.status == 503
        redis_server.start()
        begin = time.monotonic()
        while (await client.request(
                "POST", "/mailbox", {"mailbox": box})).status == 503:
            assert time.monotonic() - begin < 10 * PATIENCE
        figures(f"served {time.monotonic() - begin:.2f} s after Redis began")
        await client.put(box, 1)
        assert taken(await client.get(box)) == 1

    run(play())


def test_a_replica_is_promoted(server, nginx, figures):
    """It takes over the address of the one that was killed, with all that had
    reached it. What the other one had answered and not sent to it yet is lost,
    and what it had given out and not said so may come again."""
    first, second = server(), server()
    address = first.server
    one = exchange(nginx, address)
    boxes = asyncio.run(prepare(one.port, MAILBOXES))
    with asked(second) as db:
        db.replicaof("127.0.0.1", first.port)
        wait_until(lambda: db.info("replication")["master_link_status"] == "up",
                   20, "the replica has no master")

    def promote():
        first.kill()
        with asked(second) as db:
            db.replicaof("NO", "ONE")
            db.config_set("port", first.port)

    trouble = Trouble(first, 1, promote)
    report = run_load(one.port, boxes=boxes, meanwhile=trouble,
                      patient=True)
    sums = judged(report, figures, "one promotion")
    # A sender waits for each answer: of each of the 32 the last one at most,
    # and of each mailbox what was on its way.
    assert sums["lost"] <= 32
    assert sums["doubled"] + sums["again"] <= 32 * MAILBOXES
    assert report.complaints == []
    assert report.slowest_refusal < REFUSAL


def test_read_only(server, nginx, figures):
    """A Redis that was made a replica takes nothing, and nothing is taken for
    accepted; it goes on when it is itself again."""
    redis_server = server()
    one = exchange(nginx, redis_server.server)
    boxes = asyncio.run(prepare(one.port, MAILBOXES))
    nowhere = free_port()

    def degrade():
        with asked(redis_server) as db:
            db.replicaof("127.0.0.1", nowhere)
            time.sleep(0.7)
            db.replicaof("NO", "ONE")

    trouble = Trouble(redis_server, TIMES, degrade)
    report = run_load(one.port, boxes=boxes, meanwhile=trouble,
                      patient=True)
    sums = judged(report, figures, f"{TIMES} times read-only for 0.7 s")
    nothing_wrong(report, sums)
    assert report.unavailable > 0
    assert len(lines_about_redis(one)) <= TIMES * WORKERS * 4
    nothing_left(redis_server, boxes)


# ------------------------------------------------- it is slow, full, cut off


def test_connections_are_killed(server, nginx, figures):
    """All of them, once a second."""
    redis_server = server()
    one = exchange(nginx, redis_server.server)
    boxes = asyncio.run(prepare(one.port, MAILBOXES))
    killed = 0

    def cut():
        nonlocal killed
        with asked(redis_server) as db:
            for kind in "normal", "pubsub":
                killed += db.execute_command(
                    "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    trouble = Trouble(redis_server, 2 * TIMES, cut)
    report = run_load(one.port, boxes=boxes, meanwhile=trouble,
                      patient=True)
    sums = judged(report, figures, f"{killed} connections, {2 * TIMES} times")
    assert killed >= 2 * TIMES * WORKERS
    nothing_wrong(report, sums)
    nothing_left(redis_server, boxes)


def test_redis_sleeps(server, nginx, figures):
    """For longer than a request may wait for it."""
    redis_server = server()
    one = exchange(nginx, redis_server.server)
    boxes = asyncio.run(prepare(one.port, MAILBOXES))

    def sleep():
        with asked(redis_server) as db:
            db.execute_command("DEBUG", "SLEEP", TIMEOUT * 2)

    trouble = Trouble(redis_server, TIMES, sleep)
    report = run_load(one.port, boxes=boxes, meanwhile=trouble, patient=True)
    sums = judged(report, figures,
                  f"{TIMES} times asleep for {2 * TIMEOUT} s")
    nothing_wrong(report, sums, 2 * TIMEOUT)
    assert report.unavailable > 0
    nothing_left(redis_server, boxes)


def test_no_memory(server, nginx, figures):
    """maxmemory: what was refused is not there, what was acknowledged is, and
    receiving makes room."""
    redis_server = server(maxmemory_policy="noeviction")
    one = exchange(nginx, redis_server.server)
    senders, boxes_of = 8, 4

    async def fill(box, sender, sent):
        client = await Client.open(one.port)
        refused = 0
        while refused < 3:
            answer = await client.try_put(
                box, [sender, sent[sender], "x" * 5000],
                kind="request" if sent[sender] % 2 else "response")
            if answer.status == 200:
                sent[sender] += 1
                continue
            assert answer.status == 503, answer
            assert int(answer.headers["retry-after"]) > 0
            refused += 1
        client.close()

    async def drain(box):
        client = await Client.open(one.port)
        came = []
        for _ in range((await client.stats(box))["queued"]):
            came.append(tuple(taken(await client.get(box, 5))[:2]))
        client.close()
        return came

    async def play():
        client = await Client.open(one.port)
        boxes = [await client.new() for _ in range(boxes_of)]
        with asked(redis_server) as db:
            db.config_set("maxmemory",
                          db.info("memory")["used_memory"] + (8 << 20))
        fitted = []
        for _ in range(1 + TIMES):
            sent = [0] * senders
            await asyncio.gather(*(
                fill(boxes[n % boxes_of], n, sent) for n in range(senders)))
            # Everything but storing goes on.
            for path in "/mailbox", "/mailbox/stats":
                answer = await client.request(
                    "GET", path, {"mailbox": boxes[0]})
                assert answer.status == 200, answer
            came = await asyncio.gather(*map(drain, boxes))
            for n, box in enumerate(came):
                for sender in range(n, senders, boxes_of):
                    assert [number for s, number in box if s == sender] == \
                        list(range(sent[sender]))
            fitted.append(sum(sent))
        figures(f"{fitted} messages of 5 KB in 8 MB, all of them delivered, "
                "once and in order")
        # Half of them are requests, which are open until they are answered.
        assert min(fitted[:5]) > 300 and min(fitted) > 100
        # To end a mailbox takes no room.
        for box in boxes:
            await client.terminate(box)

    run(play())


# -------------------------------------------------------- nginx itself ends


def test_workers_are_killed(server, nginx, figures):
    """What a dead worker had in hand is returned by the next one."""
    redis_server = server()
    one = exchange(nginx, redis_server.server, workers=4)
    one.expect("exited on signal 9")
    boxes = asyncio.run(prepare(one.port, MAILBOXES))

    def kill():
        wait_until(lambda: len(one.workers()) == 4, 5, "no new worker")
        one.signal(signal.SIGKILL, random.choice(one.workers()))

    trouble = Trouble(redis_server, 10 * TIMES, kill, pause=0.2)
    report = run_load(one.port, boxes=boxes, meanwhile=trouble,
                      patient=True, pause=2)
    # On a busy machine it takes a while until there is a next one.
    sums = judged(report, figures, f"{10 * TIMES} workers killed", 5 * PATIENCE)
    assert sums["lost"] == sums["doubled"] == sums["disordered"] == 0
    assert sums["put again"] == 0
    assert set(report.complaints) <= {
        "a stream ended reset", "a stream ended in an event"}
    nothing_left(redis_server, boxes)


def test_one_of_two_nginx_is_killed(server, nginx, figures):
    """Master and workers, and nobody starts it again: what it had given to
    readers who are gone is given out by the other one."""
    redis_server = server()
    one, two = (exchange(nginx, redis_server.server) for _ in range(2))
    boxes = asyncio.run(prepare(one.port, MAILBOXES))
    ended = []

    def kill():
        workers = workers_of(one.process.pid)
        for pid in [one.process.pid, *workers]:
            os.kill(pid, signal.SIGKILL)
        one.process.wait(10)
        ended.extend(workers)

    trouble = Trouble(redis_server, 1, kill)
    report = run_load((one.port, two.port), boxes=boxes, meanwhile=trouble,
                      patient=True, pause=NODE)
    sums = judged(report, figures, "one of two", NODE)
    assert len(ended) == WORKERS
    assert sums["lost"] == sums["doubled"] == sums["disordered"] == 0
    assert sums["put again"] == 0
    assert set(report.complaints) <= {
        "a stream ended reset", "a stream ended in an event"}
    with asked(redis_server) as db:
        assert db.zcard("academy:nodes") == WORKERS
    nothing_left(redis_server, boxes)


def test_leases_of_a_dead_nginx(server, nginx, figures):
    """A hundred messages that it had written to readers who do not read."""
    redis_server = server()
    one, two = (exchange(nginx, redis_server.server) for _ in range(2))
    count = 100 if not ASAN else 20

    async def play():
        client = await Client.open(two.port)
        boxes = [await client.new() for _ in range(count)]
        deaf = []
        for box in boxes:
            listener = await Client.open(one.port)
            sock = listener.writer.get_extra_info("socket")
            deaf.append((listener, sock))
            await listener.stream(box)
        # What fills the buffers of a connection is out of the mailbox, and
        # what the reader's system acknowledges is settled: only the rest is
        # leased.
        for listener, _ in deaf:
            listener.writer.transport.pause_reading()
        text = "x" * 400_000
        for n, box in enumerate(boxes):
            for part in range(2):
                answer = await client.request("PUT", "/message", {
                    "message": message(box, [n, part, text],
                                       kind="request")})
                assert answer.status == 200, answer
        with asked(redis_server) as db:
            leased = sum(1 for _ in db.scan_iter("academy:lease:*", 1000))
        pids = [one.process.pid, *workers_of(one.process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(one.process.wait, 10)
        begin = time.monotonic()
        came = {}
        with asked(redis_server) as db:
            async with asyncio.timeout(60 * PATIENCE):
                while await asyncio.to_thread(
                        lambda: next(db.scan_iter("academy:lease:*", 1000),
                                     None)):
                    await asyncio.sleep(0.2)
        returned = time.monotonic() - begin
        for n, box in enumerate(boxes):
            for _ in range((await client.stats(box))["queued"]):
                body = taken(await client.get(box, 5))
                came.setdefault(n, []).append(body[1])
        for parts in came.values():
            assert parts in ([0, 1], [1])
        figures(f"{leased} leases of the dead one were back after "
                f"{returned:.1f} s and {sum(map(len, came.values()))} messages "
                "were delivered by the other one")
        assert leased > 0
        assert sum(map(len, came.values())) >= leased
        for listener, _ in deaf:
            listener.writer.transport.abort()

    run(play(), 100)
