"""A worker's connections to Redis, and what becomes of requests when Redis
does not do as it should."""

import asyncio
import contextlib
import os
import re
import signal
import time

import pytest
import redis
from academy_nginx import MODULE, PATIENCE, Gone, free_port, run, wait_until
from academy_redis import RedisServer
from exchange import Client, body_of, deaf, taken

CONNECTED = re.compile(r'redis "x" at "[^"]*" is connected')
AWAY = "is not available"


def on(nginx, server, more="", **pieces):
    """An nginx whose exchange is on this Redis, once it is connected."""
    at = nginx(exchange=False, location="academy_exchange x;",
               http=f"academy_redis name=x server={server.server} {more};"
                    + pieces.pop("http", ""),
               main=f"load_module {MODULE};" + pieces.pop("main", ""), **pieces)
    at.expect("exited on signal 9")
    return at


def connected(at, times=1):
    wait_until(lambda: len(CONNECTED.findall(at.log())) >= times, 20,
               f"not connected {times} times")


@contextlib.contextmanager
def client_of(server, **more):
    with redis.Redis(unix_socket_path=str(server.socket),
                     decode_responses=True, **more) as client:
        yield client


def connections(server, **more):
    """Those of nginx, by what they are for."""
    with client_of(server, **more) as client:
        mine = str(client.client_id())
        return [c for c in client.client_list() if c["id"] != mine]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


async def refused(client, most, *request):
    """A request that is answered with 503 and Retry-After, within seconds."""
    began = time.monotonic()
    answer = await client.request(*request)
    took = time.monotonic() - began
    assert answer.status == 503, answer
    assert answer.headers["retry-after"] == "1"
    assert answer.body == b"The exchange's store does not answer, try again"
    assert took < most * PATIENCE, took
    return took


def test_two_connections_a_worker(nginx, figures):
    """However many wait."""
    with RedisServer() as server:
        at = on(nginx, server, workers=2)
        connected(at, 2)

        async def test():
            creator = await Client.open(at.port)
            clients = [await Client.open(at.port) for _ in range(200)]
            for client in clients:
                client.send_get(await creator.new())
            await asyncio.sleep(1)
            return connections(server)

        seen = run(test())
        figures(f"200 that wait on 2 workers: {len(seen)} connections")
        assert len(seen) == 4
        assert sum(int(c["sub"]) > 0 for c in seen) == 2
        at.stop()


@pytest.mark.parametrize("port", [0, None])
def test_restart(nginx, figures, port):
    """Redis ends, and comes back: who waits does not notice, who asks meanwhile
    is refused, and the log says it twice."""
    port = free_port() if port is None else port
    with RedisServer(port, appendonly="yes", appendfsync="always") as server:
        at = on(nginx, server, "timeout=1s")
        connected(at)

        async def test():
            poll = await Client.open(at.port)
            other = await Client.open(at.port)
            box, streamed = await other.new(), await other.new()
            poll.send_get(box)
            stream = await (await Client.open(at.port)).stream(streamed)
            await asyncio.sleep(0.3)

            server.kill()
            took = await refused(other, 2, "GET", "/mailbox", {"mailbox": box})
            assert (await other.try_put(box, "refused")).status == 503
            # a poll that begins now is told, and no stream begins
            assert (await other.get(box)).status == 503
            answer = await other.request("GET", "/mailbox/listen",
                                         {"mailbox": box})
            assert answer.status == 503
            server.start()

            began = time.monotonic()
            while (answer := await other.try_put(box, "after")).status == 503:
                await asyncio.sleep(0.01)
            back = time.monotonic() - began
            assert answer.status == 200
            assert taken(await poll.answer()) == "after"
            await other.put(streamed, "after")
            assert body_of(await stream.next()) == "after"
            return took, back

        took, back = run(test())
        figures(f"refused after {took:.2f} s, served again {back:.2f} s after "
                "the start")
        log = at.log()
        assert log.count(AWAY) == 1, log
        assert len(CONNECTED.findall(log)) == 2, log
        at.stop()


def test_not_there_at_the_start(nginx):
    with RedisServer() as server:
        server.kill()
        at = on(nginx, server, "timeout=500ms")

        async def before():
            await refused(await Client.open(at.port), 2, "GET", "/discover", {
                "agent": "x", "allow_subclasses": True})

        run(before())
        server.start()
        connected(at)

        async def after():
            client = await Client.open(at.port)
            box = await client.new()
            await client.put(box, 1)
            assert taken(await client.get(box, 1)) == 1

        run(after())
        assert at.log().count(AWAY) == 1
        at.stop()


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
def test_killed_again_and_again(nginx, figures, kind):
    """Each time nginx connects again, without a descriptor more, and who waits
    gets all that comes."""
    with RedisServer() as server, client_of(server) as db:
        at = on(nginx, server)
        connected(at)
        pid, = at.workers()

        async def test():
            sender, receiver = [await Client.open(at.port) for _ in range(2)]
            box = await sender.new()
            before = descriptors(pid)
            ends = 0
            for n in range(20):
                receiver.send_get(box)
                await asyncio.sleep(0.05)
                killed = db.execute_command(
                    "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
                ends += killed
                if n % 2:
                    await asyncio.sleep(0.15)
                while (await sender.try_put(box, n)).status == 503:
                    pass
                got = taken(await receiver.answer())
                # on doubt it was stored, and comes again
                while got < n:
                    got = taken(await receiver.get(box))
                assert got == n
            await asyncio.sleep(0.5)
            return ends, before, descriptors(pid)

        ends, before, after = run(test())
        figures(f"{ends} connections killed, {before} descriptors before, "
                f"{after} after")
        assert ends >= 15
        assert after == before
        at.stop()


def test_sleep_shorter_than_the_timeout(nginx, figures):
    """Nobody is refused, and no connection is given up."""
    with RedisServer() as server, client_of(server) as db:
        at = on(nginx, server, "timeout=4s")
        connected(at)

        async def test():
            client = await Client.open(at.port)
            box = await client.new()
            asleep = asyncio.get_running_loop().run_in_executor(
                None, db.execute_command, "DEBUG", "SLEEP", "2")
            await asyncio.sleep(0.2)
            began = time.monotonic()
            await client.put(box, 1)
            took = time.monotonic() - began
            await asleep
            assert taken(await client.get(box, 1)) == 1
            return took

        figures(f"a put took {run(test()):.2f} s")
        assert AWAY not in at.log()
        at.stop()


def test_sleep_longer_than_the_timeout(nginx, figures):
    """Who asks is refused in time; who waits waits on; then all is well."""
    with RedisServer() as server, client_of(server) as db:
        at = on(nginx, server, "timeout=1s")
        connected(at)

        async def test():
            client, poll = [await Client.open(at.port) for _ in range(2)]
            box = await client.new()
            poll.send_get(box)
            await asyncio.sleep(0.2)
            asleep = asyncio.get_running_loop().run_in_executor(
                None, db.execute_command, "DEBUG", "SLEEP", "4")
            await asyncio.sleep(0.2)
            took = [await refused(client, 2, "GET", "/mailbox", {
                "mailbox": box}) for _ in range(2)]
            await asleep
            while (await client.try_put(box, "after")).status == 503:
                await asyncio.sleep(0.05)
            assert taken(await poll.answer()) == "after"
            return took

        took = run(test())
        figures("refused after " + ", ".join(f"{t:.2f} s" for t in took))
        assert at.log().count(AWAY) == 1
        at.stop()


def test_a_server_that_is_silent(nginx):
    """It takes connections and says nothing: refused in time, and the worker
    ends all the same."""
    async def test():
        async def silent(reader, writer):
            with contextlib.suppress(ConnectionError):
                while await reader.read(65536):
                    pass
            writer.close()

        port = free_port()
        async with await asyncio.start_server(silent, "127.0.0.1", port):
            at = await asyncio.to_thread(
                nginx, exchange=False, location="academy_exchange x;",
                http=f"academy_redis name=x server=127.0.0.1:{port} "
                     "connect_timeout=200ms timeout=500ms;",
                main=f"load_module {MODULE};")
            client = await Client.open(at.port)
            await refused(client, 1.5, "GET", "/discover", {
                "agent": "x", "allow_subclasses": True})
            client.close()
            await asyncio.to_thread(at.stop)

    run(test())


def test_scripts_are_flushed(nginx):
    with RedisServer() as server, client_of(server) as db:
        at = on(nginx, server)
        connected(at)

        async def test():
            clients = [await Client.open(at.port) for _ in range(20)]
            box = await clients[0].new()
            for n in range(10):
                db.script_flush()
                await asyncio.gather(*[c.put(box, n) for c in clients])
                db.script_flush()
                for _ in clients:
                    assert taken(await clients[0].get(box, 1)) == n

        run(test())
        assert AWAY not in at.log()
        at.stop()


def test_replica(nginx, figures):
    """It is no exchange until it is promoted; a master that becomes one is no
    exchange any more."""
    with RedisServer(port := free_port()) as master, \
            RedisServer() as server, client_of(server) as db:
        db.execute_command("REPLICAOF", "127.0.0.1", str(port))
        at = on(nginx, server, "timeout=500ms")
        wait_until(lambda: "it is a replica" in at.log(), 10, "not noticed")

        async def ask(status):
            client = await Client.open(at.port)
            answer = await client.request("POST", "/mailbox", {
                "mailbox": '{"uid":"00000000-0000-4000-8000-000000000001"}'})
            client.close()
            return answer.status == status

        assert run(ask(503))
        db.execute_command("REPLICAOF", "NO", "ONE")
        connected(at)
        assert run(ask(200))
        db.execute_command("REPLICAOF", "127.0.0.1", str(port))
        wait_until(lambda: at.log().count(AWAY) == 2, 10, "not noticed again")
        assert run(ask(503))
        db.execute_command("REPLICAOF", "NO", "ONE")
        connected(at, 2)
        assert run(ask(200))
        assert at.log().count(AWAY) == 2
        del master
        at.stop()


@pytest.mark.parametrize("why, settings", [
    ("NOREPLICAS", {"min-replicas-to-write": ("1", "0")}),
    ("MISCONF", {"dir": ("/proc", None), "save": ("1000 1", "")})])
def test_no_writes(nginx, figures, why, settings):
    """It takes connections and refuses to write: told once, until it does."""
    with RedisServer(enable_protected_configs="yes") as server, client_of(server) as db:
        at = on(nginx, server, "timeout=500ms")
        connected(at)
        for name, (value, _) in settings.items():
            db.config_set(name, value)
        if why == "MISCONF":
            db.bgsave()
            wait_until(lambda: db.info("persistence")[
                "rdb_last_bgsave_status"] == "err", 10, "it could be saved")
        wait_until(lambda: AWAY in at.log(), 10, "not noticed")

        async def ask(status):
            client = await Client.open(at.port)
            assert (await client.request("POST", "/mailbox", {
                "mailbox": '{"uid":"00000000-0000-4000-8000-000000000001"}'}
            )).status == status
            client.close()

        run(ask(503))
        time.sleep(1.5)
        for name, (_, value) in settings.items():
            db.config_set(name, str(server.dir) if value is None else value)
        connected(at, 2)
        run(ask(200))
        log = at.log()
        figures(f"tried {log.count(why)} times")
        assert why in log
        assert len(re.findall(r"\[warn\].*" + AWAY, log)) == 1, log
        at.stop()


def test_password(nginx):
    """Of a user, or the one; it is in no log, and neither is a wrong one."""
    settings = {"user": "ann on >secret ~* &* +@all",
                "requirepass": '"hidden word"'}
    with RedisServer(**settings) as server:
        for user, password, right in (
                ("ann", "secret", True), ("", "hidden word", True),
                ("ann", "mistaken", False), ("", "mistaken", False)):
            file = server.dir / "password"
            file.write_text(password + "\n")
            at = on(nginx, server, f"password_file={file} timeout=500ms "
                    + (user and f"user={user}"))
            if right:
                connected(at)
            else:
                wait_until(lambda: AWAY in at.log(), 10, "not noticed")

            async def test():
                client = await Client.open(at.port)
                return (await client.request("POST", "/mailbox", {
                    "mailbox": '{"uid":"00000000-0000-4000-8000-'
                               '000000000001"}'})).status

            assert run(test()) == (200 if right else 503)
            log = at.log()
            assert password not in log
            if not right:
                assert "WRONGPASS" in log
                assert log.count(AWAY) == 1
            at.stop()


def test_no_password_where_one_is_needed(nginx):
    with RedisServer(requirepass="hidden") as server:
        at = on(nginx, server)
        wait_until(lambda: "NOAUTH" in at.log(), 10, "not noticed")
        at.stop()


def test_a_command_that_is_not_there(nginx):
    """What was sent as a password is not repeated by the error about it."""
    with RedisServer(rename_command='AUTH ""') as server:
        file = server.dir / "password"
        file.write_text("hidden")
        at = on(nginx, server, f"password_file={file}")
        wait_until(lambda: "unknown command" in at.log(), 10, "not noticed")
        assert "hidden" not in at.log()
        at.stop()


def test_full_memory(nginx, figures):
    """503 as a full zone's, not an outage; what is there is received."""
    with RedisServer(maxmemory_policy="noeviction") as server, \
            client_of(server) as db:
        at = on(nginx, server)
        connected(at)

        async def test():
            client = await Client.open(at.port)
            box = await client.new()
            await client.put(box, "before")
            db.config_set("maxmemory", db.info("memory")["used_memory"])
            answer = await client.try_put(box, "x" * 200_000)
            assert answer.status == 503
            assert answer.body.startswith(b"Out of memory")
            assert taken(await client.get(box, 1)) == "before"
            await asyncio.sleep(2.5)
            db.config_set("maxmemory", 0)
            await client.put(box, "after")
            assert taken(await client.get(box, 1)) == "after"

        run(test())
        assert AWAY not in at.log()
        at.stop()


@pytest.mark.parametrize("how", ["quit", "reload"])
@pytest.mark.parametrize("there", [True, False])
def test_the_end_of_a_worker(nginx, figures, how, there):
    """Who waits is sent away, with Redis or without it, and it takes no time;
    nothing of the worker is left in Redis."""
    with RedisServer() as server:
        at = on(nginx, server, "timeout=1s")
        connected(at)
        old = at.workers()

        async def test():
            poll, other, streamer = [
                await Client.open(at.port) for _ in range(3)]
            box = await other.new()
            poll.send_get(box)
            stream = await streamer.stream(await other.new())
            other.close()
            await asyncio.sleep(0.3)
            if not there:
                server.kill()
                await asyncio.sleep(0.5)
            began = time.monotonic()
            at.signal(signal.SIGQUIT if how == "quit" else signal.SIGHUP)
            assert (await poll.answer()).status == 408
            assert await stream.next() is None
            took = time.monotonic() - began
            while set(old) & set(at.workers()):
                assert time.monotonic() - began < 10 * PATIENCE
                await asyncio.sleep(0.01)
            return took, time.monotonic() - began

        told, took = run(test())
        figures(f"told after {told:.2f} s, ended after {took:.2f} s")
        assert told < 1 * PATIENCE
        if there and how == "quit":
            with client_of(server) as db:
                assert not db.zcard("academy:nodes")
                assert not db.keys("academy:lease*")
        at.stop()


def test_calls_in_flight_hold_a_worker(nginx):
    """One that is to exit waits for what Redis says."""
    with RedisServer() as server, client_of(server) as db:
        at = on(nginx, server, "timeout=5s")
        connected(at)
        old = at.workers()

        async def test():
            client = await Client.open(at.port)
            box = await client.new()
            asleep = asyncio.get_running_loop().run_in_executor(
                None, db.execute_command, "DEBUG", "SLEEP", "1.5")
            await asyncio.sleep(0.2)
            client.send("GET", "/mailbox", {"mailbox": box})
            await asyncio.sleep(0.1)
            at.signal(signal.SIGHUP)
            answer = await client.answer()
            assert answer.json() == {"status": "ACTIVE"}
            await asleep

        run(test())
        wait_until(lambda: not set(old) & set(at.workers()), 10,
                   "the old worker stays")
        at.stop()


def test_what_a_killed_worker_had_comes_again(nginx, figures):
    """A message that its receiver has not got when the worker is killed: who
    takes that one's place returns it at once."""
    with RedisServer() as server:
        # A response that the system has taken whole is the system's to deliver.
        at = on(nginx, server, listen=" sndbuf=16k")
        connected(at)

        async def test():
            client = await Client.open(at.port)
            box = await client.new()
            await client.put(box, "large" * 100_000)
            pid = await client.worker()
            with client_of(server) as db, contextlib.closing(
                    deaf(at.port, "GET", "/message", box)):
                while not db.keys("academy:leases:*"):
                    await asyncio.sleep(0.01)
                return await kill(pid, box)

        async def kill(pid, box):
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            while True:
                try:
                    again = await Client.open(at.port)
                    answer = await again.get(box, 20)
                    break
                except (Gone, ConnectionError):
                    await asyncio.sleep(0.01)
            assert taken(answer) == "large" * 100_000
            return time.monotonic() - began

        took = run(test())
        figures(f"delivered {took:.2f} s after the kill")
        assert took < 4 * PATIENCE
        at.stop()


def test_descriptors(nginx, figures):
    """Redis is away for long: tries leave nothing behind."""
    with RedisServer() as server:
        at = on(nginx, server, "timeout=100ms")
        connected(at)
        pid, = at.workers()
        before = descriptors(pid)
        for _ in range(3):
            server.kill()
            time.sleep(2)
            server.start()
            times = len(CONNECTED.findall(at.log()))
            connected(at, times + 1 if AWAY in at.log().rpartition(
                "is connected")[2] else times)
        wait_until(lambda: descriptors(pid) == before, 5,
                   f"{descriptors(pid)} descriptors, {before} before")
        figures(f"{before} descriptors before and after")
        at.stop()


class Names(asyncio.DatagramProtocol):
    """A name server: whatever the name, it has these addresses."""

    def __init__(self, *addresses):
        self.addresses = [bytes(map(int, a.split("."))) for a in addresses]
        self.asked = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, who):
        self.asked += 1
        end = data.index(b"\0", 12) + 5
        self.transport.sendto(
            data[:2] + b"\x81\x80\0\1\0" + bytes([len(self.addresses)])
            + b"\0\0\0\0" + data[12:end]
            + b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + address
                       for address in self.addresses), who)


def test_the_name_is_looked_up_again(nginx, figures):
    """Redis has moved to another address, which the name server tells, and to
    one more, where nobody is: they are tried in turn."""
    port = free_port()

    async def test():
        loop = asyncio.get_running_loop()
        transport, names = await loop.create_datagram_endpoint(
            lambda: Names("127.0.0.2", "127.0.0.3"), ("127.0.0.1", 0))
        at_port = transport.get_extra_info("sockname")[1]
        with RedisServer(port, bind="127.0.0.1") as server:
            at = await asyncio.to_thread(
                nginx, exchange=False, location="academy_exchange x;",
                http=f"resolver 127.0.0.1:{at_port} ipv6=off;"
                     f"academy_redis name=x server=localhost:{port};",
                main=f"load_module {MODULE};")
            await asyncio.to_thread(connected, at)
            assert names.asked == 0
            server.kill()
            with RedisServer(port, bind="127.0.0.2"):
                await asyncio.to_thread(connected, at, 2)
                client = await Client.open(at.port)
                await client.put(await client.new(), 1)
                client.close()
                await asyncio.to_thread(at.stop)
        transport.close()
        return names.asked

    figures(f"asked {run(test())} times")


def test_subscriptions_that_are_silent(nginx, figures):
    """Only the connection that tells what happens is cut off, and nobody is
    told of it: nginx finds out, and who waits misses nothing."""
    async def test():
        with RedisServer() as server:
            frozen = asyncio.Event()

            async def forward(reader, writer, freezes):
                while data := await reader.read(65536):
                    if freezes and frozen.is_set():
                        await asyncio.sleep(60)
                    writer.write(data)
                writer.close()

            async def serve(reader, writer):
                first = await reader.read(65536)
                subscribes = b"SUBSCRIBE" in first and not frozen.is_set()
                up, to = await asyncio.open_unix_connection(server.socket)
                to.write(first)
                with contextlib.suppress(ConnectionError):
                    await asyncio.gather(forward(reader, to, False),
                                         forward(up, writer, subscribes))

            port = free_port()
            proxy = await asyncio.start_server(serve, "127.0.0.1", port)
            at = await asyncio.to_thread(
                nginx, exchange=False, location="academy_exchange x;",
                http=f"academy_redis name=x server=127.0.0.1:{port};",
                main=f"load_module {MODULE};")
            await asyncio.to_thread(connected, at)
            poll, other = [await Client.open(at.port) for _ in range(2)]
            box = await other.new()
            poll.send_get(box)
            await asyncio.sleep(0.5)
            frozen.set()
            began = time.monotonic()
            await other.put(box, 1)
            assert taken(await poll.answer()) == 1
            took = time.monotonic() - began
            poll.close()
            other.close()
            log = at.log()
            await asyncio.to_thread(at.stop)
            proxy.close()
            return took, log

    took, log = run(test())
    figures(f"woken after {took:.1f} s")
    assert "it does not answer any more" in log
    assert "tells nothing" not in log
    assert took < 13 * PATIENCE
