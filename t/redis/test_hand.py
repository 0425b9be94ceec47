"""Messages that are handed over to who waits for them, without a queue: the
scripts alone, and one and two nginx."""

import asyncio
import json
import os
import signal
import time

import pytest
import redis
from academy_nginx import MODULE, run, wait_until, workers_of
from academy_redis import RedisServer
from exchange import Client, body_of, message, taken

from scripts import OK, WEEK, Exchange, new

HERE = "__keyspace@0__:academy:alive:here"


@pytest.fixture
def pair(x):
    """Two mailboxes."""
    uids = new(), new()
    assert [x.create(uid) for uid in uids] == [OK, OK]
    x.tick()
    return uids


@pytest.fixture
def told(x):
    """A function: what the node was told since."""
    with x.db.pubsub(ignore_subscribe_messages=True) as events:
        events.subscribe(HERE)

        def since():
            texts = []
            while one := events.get_message(timeout=0.05) or (
                    not events.subscribed):
                texts.append(one["data"])
            return texts

        assert since() == []
        yield since


def arm(x, uid):
    assert x.take(uid, asked=True, channel=HERE) == []
    return x.more == 3


def ids(texts):
    return [text[37:].split(" ")[0] for text in texts]


def handed(x):
    return x.db.xrange(f"{x.prefix}academy:handed:{x.node}")


# -------------------------------------------------------------------- scripts


def test_handed_over(x, db, pair, told):
    user, agent = pair
    assert arm(x, agent)
    tag = new()
    for text in "one", "two":
        assert x.put(user, agent, tag, header="{}", json=text) == OK
    texts = told()
    assert [text[:37] for text in texts] == ["?" + agent] * 2
    assert [text[37:].split(" ", 1)[1] for text in texts] == ["one", "two"]
    assert x.queue(agent) == []
    assert [list(fields.values()) for _, fields in handed(x)] == [
        ["one"], ["two"]]

    # all that belongs to a message is as if it had been in the queue
    assert x.stats(agent) == [OK, 0, 0, 1, 0]
    assert x.stats(user)[1] == 2
    assert db.get(f"request:{agent}:{tag}") == "{}"
    assert x.heartbeat(agent)[1] >= 0
    assert x.put(agent, user, tag, response=True, json="answer") == OK
    assert x.stats(agent) == [OK, 0, 1, 0, 0]
    assert x.queue(user) == ["answer"]

    x.settle(*((agent, id, 3) for id in ids(texts)))
    assert handed(x) == []
    assert db.exists(f"academy:handed:{x.node}") == 1


def test_to_the_queue_after_all(x, db, pair, told):
    """Nobody is told, there is no such node, others are before it, it is large,
    or those that come before it are going back."""
    user, agent = pair
    other = new()
    x.create(other)

    assert x.take(agent, asked=True, channel="nobody is there") == []
    assert x.put(user, agent, json="one") == OK
    assert handed(x) == []
    assert x.queue(agent) == ["one"]
    assert db.exists("academy:waits:" + agent) == 0

    assert arm(x, other)
    db.rename(f"academy:handed:{x.node}", "away")
    assert x.put(user, other, json="one") == OK
    assert x.queue(other) == ["one"]
    assert db.keys("academy:handed:*") == db.keys("academy:waits:*") == []
    db.rename("away", f"academy:handed:{x.node}")

    x.take(other)
    assert arm(x, other)
    db.rpush("queue:" + other, "of Python")
    assert x.put(user, other, json="behind it") == OK
    assert x.queue(other) == ["of Python", "behind it"]
    assert told() == []

    db.delete("queue:" + other)
    assert x.put(user, other, json="x" * 8193) == OK
    assert len(x.queue(other)) == 1
    assert told() == []

    # what goes back in several scripts is not overtaken
    box = new()
    x.create(box)
    for text in "one", "two":
        x.put(user, box, json=text)
    x.take(box, 2)
    x.give_back((box, x.seq), after=True)
    assert not arm(x, box) and x.more == 2
    x.put(user, box, json="three")
    x.give_back((box, x.seq - 1), before=True)
    assert x.queue(box) == ["one", "two", "three"]


def test_nothing_is_taken_meanwhile(x, pair, told):
    user, agent = pair
    assert arm(x, agent)
    x.put(user, agent, json="one")
    x.db.rpush("queue:" + agent, "two")
    assert x.take(agent) == []
    assert x.more == 2
    texts = told()
    assert texts[0][0] == "?" and texts[1:] == ["-" + agent]
    x.put(user, agent, json="three")
    assert x.queue(agent) == ["two", "three"]
    assert x.take(agent) == [(x.seq, "two")]

    # by another node it is: any of several may be served
    other = Exchange(x.db)
    assert [t for _, t in x.take(agent, channel=HERE)] == ["three"]
    assert x.more == 3
    x.db.rpush("queue:" + agent, "four")
    assert [t for _, t in other.take(agent)] == ["four"]


def test_no_more(x, db, pair, told):
    user, agent = pair
    assert arm(x, agent) and arm(x, user)
    x.put(user, agent, json="one")
    assert x.stop(HERE, agent, user) == 1
    x.put(user, agent, json="two")
    texts = told()
    assert [text[0] for text in texts] == ["?", "-"]
    assert texts[1] == "-" + agent + user
    assert x.queue(agent) == ["two"]

    # of another node that waits now it is none of this one's business
    x.take(agent)
    assert arm(x, agent)
    assert x.stop(HERE, agent, node="f" * 32) == 1
    assert db.exists("academy:waits:" + agent) == 1

    # and by what else it ends
    x.share(agent, "group")
    x.unshare(agent, "group")
    assert db.exists("academy:waits:" + agent) == 0
    assert arm(x, agent)
    x.terminate(agent)
    assert db.keys("academy:waits:*") == []


def test_back_again(x, db, pair, told):
    """In its place, once, and counted."""
    user, agent = pair
    assert arm(x, agent)
    for text in "one", "two", "three":
        x.put(user, agent, json=text, messages=9)
    assert db.get("academy:held:" + agent) == "3 11"
    one, two, three = ids(told())
    for _ in range(2):
        x.give_back((agent, three), (agent, two))
    assert x.queue(agent) == ["two", "three"]
    assert WEEK - 5 <= db.ttl("queue:" + agent) <= WEEK
    assert db.get("academy:held:" + agent) == "1 11"

    # settled when it was written, and not received
    x.settle((agent, one, 3))
    assert db.get("academy:held:" + agent) == "0 8"
    for _ in range(2):
        x.give_back((agent, one, "one"))
    assert x.queue(agent) == ["one", "two", "three"]
    assert db.get("academy:held:" + agent) == "0 11"

    # leased again in another way, whether it was settled or not
    db.delete("queue:" + agent)
    x.stop(HERE, agent)
    for settled in False, True:
        assert arm(x, agent)
        x.put(user, agent, json="four", messages=9)
        x.stop(HERE, agent)
        (four,) = ids(text for text in told() if text[0] == "?")
        if settled:
            x.settle((agent, four, 4))
        x.seq += 1
        x.restore(agent, four, x.seq, 5, "four")
        assert handed(x) == []
        assert db.get("academy:held:" + agent) == "1 4"
        x.give_back((agent, x.seq, "four"))
        x.give_back((agent, four, ""))
        assert x.queue(agent) == ["four"]
        ((seq, _),) = x.take(agent)
        x.settle((agent, seq, 4))

    x.put(user, agent, json="five", messages=9)
    x.take(agent)
    assert arm(x, agent)
    x.put(user, agent, json="six", messages=9)
    x.terminate(agent)
    x.give_back((agent, ids(told())[-1]))
    assert x.queue(agent) == ["<CLOSED>"]
    assert handed(x) == []


def test_of_a_dead_node(x, db, pair, told):
    """Those that it took, and those that were handed over to it, return in the
    order in which they were put."""
    user, agent = pair
    texts = []
    for turn in range(6):
        for _ in range(3):
            texts.append(f"taken {len(texts)}")
            x.put(user, agent, json=texts[-1])
        assert len(x.take(agent, 9, channel=HERE)) == 3
        assert x.more == 3
        time.sleep(0.002)
        for _ in range(3):
            texts.append(f"handed {len(texts)}")
            x.put(user, agent, json=texts[-1])
        x.stop(HERE, agent)
        time.sleep(0.002)
    assert len(handed(x)) == 18
    while x.leave(5)[1]:
        pass
    assert x.queue(agent) == texts
    assert db.keys("academy:handed:*") == db.keys("academy:lease*") == []
    assert db.zcard("academy:nodes") == 0

    # what is put from now on is not for it
    db.delete("queue:" + agent)
    db.set("academy:waits:" + agent, x.node + HERE)
    x.put(user, agent, json="late")
    assert x.queue(agent) == ["late"]


def test_sweep(x, pair, told):
    user, agent = pair
    assert arm(x, agent)
    for i in range(120):
        x.put(user, agent, json=str(i))
    known = ids(told())
    assert x.sweep(HERE) == []
    assert told() == ["=" + known[-1]]
    x.put(user, agent, json="later")
    found, start = [], "-"
    while page := x.sweep(HERE, start, known[-1]):
        assert len(page) <= 50
        found += page
        start = "(" + page[-1][0]
    assert found == [(id, agent) for id in known]


# ---------------------------------------------------------------------- nginx


@pytest.fixture
def server():
    with RedisServer() as one:
        yield one


def exchange(nginx, server, workers=1, more=""):
    return nginx(exchange=False, workers=workers,
                 location="academy_exchange x;",
                 main=f"load_module {MODULE};",
                 http=f"academy_redis name=x server={server.server};" + more)


def asked(server):
    return redis.Redis(unix_socket_path=str(server.socket),
                       decode_responses=True)


def uid_of(box):
    return json.loads(box)["uid"]


def waiting(server, *boxes):
    with asked(server) as db:
        wait_until(lambda: db.exists(*("academy:waits:" + uid_of(box)
                                       for box in boxes)) == len(boxes),
                   10, "nobody waits")


def calls(db, *names):
    stats = db.info("commandstats")
    return [stats.get("cmdstat_" + name, {}).get("calls", 0) for name in names]


async def bodies(stream, n, seconds=20):
    async with asyncio.timeout(seconds):
        return [body_of(await stream.next()) for _ in range(n)]


def nothing_left(server):
    with asked(server) as db:
        wait_until(lambda: not db.keys("queue:*")
                   and not db.keys("academy:lease:*")
                   and not any(db.xlen(key)
                               for key in db.keys("academy:handed:*")),
                   5, "something is left")


@pytest.mark.parametrize("size", [10, 20000])
def test_by_any_worker(nginx, server, figures, size):
    """Small ones are handed over, by the worker that waits, another one and
    another nginx; large ones are taken; and in order."""
    one, two = exchange(nginx, server, 2), exchange(nginx, server)

    async def test():
        listener = await Client.open(one.port)
        box = await listener.new()
        stream = await listener.stream(box)
        waiting(server, box)
        senders = [await Client.open(at.port) for at in
                   (one, one, one, one, two)]
        with asked(server) as db:
            before = calls(db, "xadd", "lmove")
            for i in range(300):
                await senders[i % 5].put(box, [i, "x" * size])
            came = await bodies(stream, 300)
            after = calls(db, "xadd", "lmove")
        assert [i for i, _ in came] == list(range(300))
        over, took = (b - a for a, b in zip(before, after))
        figures(f"300 messages of {size}: {over} handed over, {took} takes")
        if size < 8000:
            assert over >= 300
        else:
            assert over < 10 and took >= 300    # a node makes its stream

    run(test())
    nothing_left(server)


def test_beside_python(nginx, server, figures):
    """A Python exchange only pushes to the queue: messages of both kinds come
    once, each kind in its order, and mixed as they were put."""
    at = exchange(nginx, server, 2)

    async def test():
        listener = await Client.open(at.port)
        box = await listener.new()
        stream = await listener.stream(box)
        waiting(server, box)
        sender = await Client.open(at.port)
        with asked(server) as db:
            before = calls(db, "xadd")
            n = 0
            for turn in range(100):
                for _ in range(turn % 4):
                    await sender.put(box, n)
                    n += 1
                for _ in range(1 + turn % 3):
                    db.rpush("queue:" + uid_of(box), message(box, n))
                    n += 1
                if turn % 7 == 0:
                    waiting(server, box)
            came = await bodies(stream, n)
            over = calls(db, "xadd")[0] - before[0]
        figures(f"{n} messages, {over} of them handed over")
        assert came == list(range(n))
        assert 10 < over < n

    run(test())
    nothing_left(server)


def test_streams_that_end(nginx, server, figures):
    """A listener goes while messages are on their way to it, reads what was
    sent to it before that was seen, and comes back: none is lost, and it never
    gets a newer one before an older one."""
    at, other = exchange(nginx, server), exchange(nginx, server)

    async def test():
        sender = await Client.open(other.port)
        box = await sender.new()
        count, seen, ends, twice, backward = 1500, set(), 0, 0, 0

        async def put():
            for i in range(count):
                await sender.put(box, i, kind="request")

        putting = asyncio.create_task(put())
        while len(seen) < count:
            listener = await Client.open(at.port)
            stream = await listener.stream(box)
            last, began = -1, time.monotonic()
            gone = False
            while (text := await stream.next()) is not None:
                i = body_of(text)
                backward += i < last
                last = i
                twice += i in seen
                seen.add(i)
                if not gone and (time.monotonic() > began + 0.02
                                 or len(seen) == count):
                    gone = True
                    ends += 1
                    listener.writer.write_eof()
        await putting
        figures(f"{count} messages over {ends} ends: {twice} again, "
                f"{backward} out of order")
        assert ends > 5
        assert backward == 0

    run(test(), 60)
    nothing_left(server)


def test_connections_that_end(nginx, server, figures):
    """Redis drops what it had for a worker that did not read, when it ends that
    one's connection; with the rest of it the worker goes on by itself."""
    at, other = exchange(nginx, server), exchange(nginx, server)
    (worker,) = workers_of(at.process.pid)

    async def test():
        listener = await Client.open(at.port)
        box = await listener.new()
        stream = await listener.stream(box)
        waiting(server, box)
        sender = await Client.open(other.port)
        count = 1800
        with asked(server) as db:
            before = calls(db, "xadd")
            os.kill(worker, signal.SIGSTOP)
            try:
                for i in range(count):
                    await sender.put(box, [i, "x" * 7500])
                over = calls(db, "xadd")[0] - before[0]
                most = max(int(c["omem"]) for c in db.client_list("pubsub"))
                ended = db.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            finally:
                os.kill(worker, signal.SIGCONT)
            came = [i for i, _ in await bodies(stream, count, 30)]
            await sender.put(box, [count, ""])
            assert (await bodies(stream, 1))[0][0] == count
        figures(f"{over} handed over, {most} bytes of them dropped with "
                f"{ended} connections; {len(set(came))} of {count} came, "
                f"{'in order' if came == sorted(came) else 'not in order'}")
        assert over == count and most > 100000
        assert sorted(came) == list(range(count))

    run(test(), 90)
    nothing_left(server)


def test_a_worker_that_dies(nginx, server, figures):
    """What was handed over to it, and it has not read, the next one gives out."""
    at, other = exchange(nginx, server), exchange(nginx, server)
    (worker,) = workers_of(at.process.pid)

    async def test():
        listener = await Client.open(at.port)
        box = await listener.new()
        await listener.stream(box)
        waiting(server, box)
        sender = await Client.open(other.port)
        with asked(server) as db:
            before = calls(db, "xadd")
            os.kill(worker, signal.SIGSTOP)
            for i in range(100):
                await sender.put(box, i)
            over = calls(db, "xadd")[0] - before[0]
        os.kill(worker, signal.SIGKILL)
        at.expect(r"exited on signal 9")
        begin = time.monotonic()
        with asked(server) as db:
            wait_until(lambda: db.llen("queue:" + uid_of(box)) == 100, 30,
                       "they do not return")
        came = [taken(await sender.get(box, 20)) for _ in range(100)]
        figures(f"{over} handed over; all of them came by another nginx within "
                f"{time.monotonic() - begin:.1f} s")
        assert over == 100
        assert came == list(range(100))

    run(test(), 60)
    nothing_left(server)


def test_a_worker_that_exits(nginx, server, figures):
    """On a reload, and at once, in the midst of it."""
    at, other = exchange(nginx, server), exchange(nginx, server)

    async def test():
        sender = await Client.open(other.port)
        box = await sender.new()
        seen, put, enough = [], 0, False

        async def putting():
            nonlocal put
            while not enough:
                await sender.put(box, put, kind="request")
                put += 1

        task = asyncio.create_task(putting())
        for _ in range(2):
            listener = await Client.open(at.port)
            stream = await listener.stream(box)
            seen += await bodies(stream, 50)
            await asyncio.to_thread(at.reload)
            while (text := await stream.next()) is not None:
                seen.append(body_of(text))
        enough = True
        await task
        listener = await Client.open(at.port)
        stream = await listener.stream(box)
        while len(set(seen)) < put:
            seen += await bodies(stream, 1)
        figures(f"{put} put, {len(seen)} came")
        assert set(seen) == set(range(put))

    run(test(), 60)
    nothing_left(server)


def test_polls_and_streams(nginx, server):
    """One that asks once waits beside a stream: each message goes to one."""
    at = exchange(nginx, server)

    async def test():
        one, two, sender = [await Client.open(at.port) for _ in range(3)]
        box = await one.new()
        stream = await one.stream(box)
        waiting(server, box)
        for turn in range(20):
            two.send_get(box, 10)
            await asyncio.sleep(0.01 * (turn % 3))
            await sender.put(box, [turn, 0])
            await sender.put(box, [turn, 1])
            first = asyncio.create_task(bodies(stream, 1))
            came = [taken(await two.answer()), *(await first)]
            assert sorted(came) == [[turn, 0], [turn, 1]]

    run(test())
    nothing_left(server)


def test_who_may_not_publish(nginx, figures):
    """Then messages go by the queue, and nothing is wrong."""
    with RedisServer(user="default on nopass ~* &* +@all -publish") as server:
        at = exchange(nginx, server, 2)

        async def test():
            listener, sender = [await Client.open(at.port) for _ in range(2)]
            box = await listener.new()
            stream = await listener.stream(box)
            waiting(server, box)
            for i in range(200):
                await sender.put(box, i)
            assert await bodies(stream, 200) == list(range(200))
            with asked(server) as db:
                figures(f"200 messages, {calls(db, 'lmove')[0]} takes")

        run(test())
        nothing_left(server)
        at.stop()
