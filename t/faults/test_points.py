"""A worker that dies within a section of the zone's lock, at each place that
the sources name. Another one puts the zone in order, and then nothing that was
acknowledged is lost, and as much fits into the zone as before."""

import asyncio
import json
import re
import signal
import socket
from pathlib import Path

import pytest
from academy_nginx import Gone, Refused, Torn, run
from academy_zone import census
from exchange import IDENTITY, Named, body_of, mailbox, message
from test_delivery import deafen
from test_end import worker_of

SOURCES = Path(__file__).resolve().parents[2] / "src"
POINTS = sorted({
    point for source in SOURCES.rglob("*.c")
    for point in re.findall(r'academy_fault\(zone, "([^"]+)"',
                            source.read_text())})

# These are reached only where requests are kept, and the others there too.
KEPT = [point for point in POINTS if point.startswith(("keep", "revive"))]
POINTS = [point for point in POINTS if point not in KEPT]
BESIDE = ["append", "lease listed", "lease taken", "settle marked",
          "return linked", "return removed", "pending linked",
          "pending unlinked", "notify", "collect taken"]


# Those that a timer comes to, where the times are short.
EXPIRY = [point for point in POINTS if point.startswith("expire ")]
SHORT = "academy_message_expiry 1s; academy_gravestone_expiry 1s;"

LARGE = "x" * 20_000

# More agents than the first row of a class has places.
CROWD = 8

SAME_TAG = "00000000-0000-4000-8000-00000000a9a1"


# The same exchange with bounds.
BOUND, OWNED = 20, 40
FEW = f"""
    location /few/ {{
        academy_exchange exchange;
        academy_mailbox_messages {BOUND};
        academy_mailbox_bytes 1m;
        academy_client_mailboxes {OWNED};
        {IDENTITY}
    }}
"""


# The same one keeps requests, and takes an agent for gone after SILENCE.
SILENCE = 0.4
KEEPS = f"""
    location /keeps/ {{
        academy_exchange exchange;
        academy_redeliver on;
        academy_agent_timeout {SILENCE * 1000:.0f}ms;
        {IDENTITY}
    }}
"""


class Stubborn:
    """Asks until there is an answer: a worker may die under the request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.client = None

    async def ask(self, method: str, path: str, body: dict):
        for _ in range(100):
            try:
                if self.client is None:
                    self.client = await Named.open(self.port)
                return await self.client.request(method, path, body)
            except (Gone, Torn, Refused, ConnectionError):
                self.client = None
        raise AssertionError("no worker answers")

    async def do(self, method: str, path: str, body: dict):
        answer = await self.ask(method, path, body)
        assert answer.status == 200, (method, path, answer)
        return answer

    async def new(self, classes: str = "a.B,a.C") -> str:
        box = mailbox()
        await self.do("POST", "/mailbox", {"mailbox": box, "agent": classes})
        return box

    async def put(self, box: str, body, **more) -> None:
        await self.do("PUT", "/message", {"message": message(box, body, **more)})

    async def get(self, box: str, timeout: float = 2):
        answer = await self.ask(
            "GET", "/message", {"mailbox": box, "timeout": timeout})
        if answer.status == 408:
            return None
        assert answer.status == 200, answer
        return answer.json()["message"]

    async def queued(self, box: str) -> int:
        answer = await self.do("GET", "/mailbox/stats", {"mailbox": box})
        return answer.json()["queued"]

    async def until(self, box: str, fits) -> None:
        """Waits until the number of messages in a mailbox is so."""
        async with asyncio.timeout(20):
            while not fits(await self.queued(box)):
                await asyncio.sleep(0.01)

    async def terminate(self, box: str) -> None:
        await self.do("DELETE", "/mailbox", {"mailbox": box})


async def fill(ask: Stubborn, box: str, size: int) -> int:
    """Puts messages of a size until there is no room; how many there were."""
    count = 0
    while True:
        answer = await ask.ask("PUT", "/message", {
            "message": message(box, "y" * size)})
        if answer.status == 503:
            return count
        assert answer.status == 200, answer
        count += 1


async def capacity(ask: Stubborn, box: str) -> list[int]:
    """What fits: messages of many pages until there is no room, and where two
    of them were small ones, which fill the rest of pages that are used for
    other things. Twice, for the first time settles it."""
    for _ in range(2):
        found = [await fill(ask, box, 30_000)]
        for _ in range(2):
            assert await ask.get(box)
        found.append(await fill(ask, box, 150))
        for _ in range(sum(found) - 2):
            assert await ask.get(box)
    return found


async def listen_and_go_deaf(port: int, box: str, path: str = ""
                             ) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    body = json.dumps({"mailbox": box}).encode()
    sock.sendall(b"GET %s/mailbox/listen HTTP/1.1\r\nHost: x\r\n"
                 b"X-Client: ada\r\nX-Groups: lab\r\n"
                 b"Content-Length: %d\r\n\r\n%s"
                 % (path.encode(), len(body), body))
    await asyncio.to_thread(sock.recv, 1000)
    deafen(sock)
    return sock


async def work(ask: Stubborn) -> None:
    """All that changes a zone; what was acknowledged must be there after."""
    box, other = await ask.new(), await ask.new("a.B")

    for n in range(12):
        await ask.put(box, [n, LARGE if n % 4 == 3 else ""])
    for n in range(12):
        text = await ask.get(box)
        assert text is not None, n
        came = body_of(text)[0]
        # It may come again after its receiver's worker has died.
        if came != n:
            assert came == n - 1, (came, n)
            text = await ask.get(box)
            assert body_of(text)[0] == n

    # Requests: answered by their agent, and by the exchange.
    for _ in range(3):
        await ask.put(other, "?", src=box, kind="request")
    for n in range(3):
        request = json.loads(await ask.get(other))
        if n:
            continue
        header = request["header"]
        answer = message(box, "!", src=other)
        answer = json.loads(answer)
        answer["header"]["tag"] = header["tag"]
        await ask.do("PUT", "/message", {"message": json.dumps(answer)})
        assert body_of(await ask.get(box)) == "!"

    # The same tag again, from somebody else, stands for the later request.
    for source in (box, mailbox()):
        text = json.loads(message(other, "?", src=source, kind="request"))
        text["header"]["tag"] = SAME_TAG
        await ask.do("PUT", "/message", {"message": json.dumps(text)})
        assert await ask.get(other)

    # Somebody waits, on another connection, and is served.
    waits = Stubborn(ask.port)
    for n in range(4):
        waiting = asyncio.create_task(waits.get(box, 5))
        await asyncio.sleep(0.02)
        await ask.put(box, ["w", n])
        text = await waiting
        assert text is not None and body_of(text)[0] == "w", text

    # What is on its way to somebody who is gone comes back, in order.
    gone = await listen_and_go_deaf(ask.port, box)
    for n in range(3):
        await ask.put(box, ["left", n])
    await ask.until(box, lambda queued: queued == 0)
    gone.close()
    await ask.until(box, lambda queued: queued >= 3)
    # Acknowledged a moment before its worker died, and not yet gone.
    again = ["w", 3]
    n = 0
    while n < 3:
        body = body_of(await ask.get(box))
        if body != again:
            assert body == ["left", n]
            n += 1

    # What has many pieces is freed in steps when it cannot go back, and so is
    # a class of many.
    crowd = [await ask.new("a.D") for _ in range(CROWD)]
    gone = await listen_and_go_deaf(ask.port, crowd[0])
    await ask.put(crowd[0], LARGE)
    await ask.until(crowd[0], lambda queued: queued == 0)
    for agent in crowd:
        await ask.terminate(agent)
    gone.close()

    await ask.do("POST", "/mailbox/share", {"mailbox": box, "group_id": "lab"})
    await ask.do("DELETE", "/mailbox/share",
                 {"mailbox": box, "group_id": "lab"})

    # The requester is told of each of two requests, once.
    await ask.put(other, "dropped")
    await ask.put(other, LARGE)
    await ask.terminate(other)
    told = set()
    while (text := await ask.get(box, 0.3)) is not None:
        if (body := body_of(text)) != again:
            assert body["kind"] == "academy-error-response"
            told.add(json.loads(text)["header"]["tag"])
    assert len(told) == 2, told
    answer = await ask.do("GET", "/discover",
                          {"agent": "a.B", "allow_subclasses": False})
    assert set(answer.json()["agent_ids"].split(",")) >= {
        json.loads(box)["uid"]}
    assert json.loads(other)["uid"] not in answer.json()["agent_ids"]
    await ask.terminate(box)
    stats = await ask.do("GET", "/mailbox/stats", {"mailbox": box})
    assert stats.json()["queued"] == 0


def test_what_it_had_in_hand_comes_first(nginx, figures, monkeypatch):
    """A worker dies within a change, with messages in hand. The next reader
    has them before all that is newer, though the worker in its place is not
    there yet: it has many connections to make room for."""
    monkeypatch.setenv("ACADEMY_FAULT", "lease taken:4")
    server = nginx(workers=2, connections=300_000, location=IDENTITY)
    server.expect(r"exited on signal 9", r"was locked by",
                  r"died while it changed zone \"exchange\"")

    async def test():
        ask = Stubborn(server.port)
        box = await ask.new()
        # One worker has both the sender and the listener.
        wanted = await ask.client.worker()
        while True:
            sock = await listen_and_go_deaf(server.port, box)
            if worker_of(sock, server) == wanted:
                break
            sock.close()
        for n in range(8):
            await ask.put(box, n)
        found = []
        while not found or found[-1] < 7:
            found.append(body_of(await ask.get(box)))
        sock.close()
        figures(f"{found}")
        # A put that the worker's end cut off was made again.
        assert list(dict.fromkeys(found)) == list(range(8))

    run(test())
    assert server.log().count("exited on signal 9") == 1


def test_the_same_tag_again(nginx, figures, monkeypatch):
    """A request takes the place of another with its tag, and the worker dies
    in between: one of the two is there still, and its requester is told when
    the agent is terminated."""
    monkeypatch.setenv("ACADEMY_FAULT", "pending replaced:1")
    server = nginx(workers=2, location=IDENTITY)
    server.expect(r"exited on signal 9", r"was locked by",
                  r"died while it changed zone \"exchange\"")

    async def test():
        ask = Stubborn(server.port)
        agent, first, second = [await ask.new() for _ in range(3)]
        for source in (first, second):
            text = json.loads(message(agent, "?", src=source, kind="request"))
            text["header"]["tag"] = SAME_TAG
            request = {"message": json.dumps(text)}
            if source == first:
                await ask.do("PUT", "/message", request)
                continue
            # not again, whatever became of it
            client = await Named.open(server.port)
            with pytest.raises((Gone, Torn, ConnectionError)):
                await client.request("PUT", "/message", request)
        await ask.terminate(agent)
        told = [await ask.get(box, 0.5) for box in (first, second)]
        figures(f"told: the first {told[0] is not None}, "
                f"the second {told[1] is not None}")
        assert [text is not None for text in told].count(True) == 1

    run(test())
    assert server.log().count("exited on signal 9") == 1


async def bounds(ask: Stubborn, box: str) -> list[int]:
    """How many messages, bytes and mailboxes there may be still."""
    found = []
    for size in (10, 200_000):
        count = 0
        for _ in range(BOUND + 5):
            answer = await ask.ask("PUT", "/few/message", {
                "message": message(box, "z" * size)})
            assert answer.status in (200, 429), answer
            count += answer.status == 200
        found.append(count)
        for _ in range(count):
            assert await ask.get(box)
        # the last one goes when it has been acknowledged
        await asyncio.sleep(0.1)

    for count in range(OWNED):
        answer = await ask.ask("POST", "/few/mailbox", {"mailbox": mailbox()})
        if answer.status == 429:
            break
        assert answer.status == 200, answer
    return [*found, count]


class Kept(Stubborn):
    async def ask(self, method: str, path: str, body: dict):
        return await super().ask(method, "/keeps" + path, body)

    async def all(self, box: str) -> list:
        """All that is in a mailbox, each once; some may come twice where a
        worker died."""
        found = []
        while (text := await self.get(box, 0.1)) is not None:
            found.append(json.loads(text))
        return list({m["header"]["tag"]: m for m in found}.values())


async def outlive(ask: Kept) -> None:
    """Requests that several agents receive, one after the other."""
    user, agent = await ask.new(), await ask.new()
    sent = []
    for n in range(90):
        text = message(agent, [n, LARGE if n % 9 == 8 else ""], src=user,
                       kind="request")
        await ask.do("PUT", "/message", {"message": text})
        sent.append(json.loads(text))

    assert await ask.all(agent) == sent
    # What another one has in hand returns when it is gone.
    await asyncio.sleep(SILENCE + 0.1)
    sock = await listen_and_go_deaf(ask.port, agent, "/keeps")
    await asyncio.sleep(0.1)
    sock.close()
    await asyncio.sleep(SILENCE + 0.1)
    assert await ask.all(agent) == sent
    for n in (0, 50, 80):
        answer = json.loads(message(user, n, src=agent))
        answer["header"]["tag"] = sent[n]["header"]["tag"]
        await ask.do("PUT", "/message", {"message": json.dumps(answer)})
        assert [m["body"] for m in await ask.all(user)] == [n]
    del sent[80], sent[50], sent[0]

    await asyncio.sleep(SILENCE + 0.1)
    assert await ask.all(agent) == sent
    stats = await ask.do("GET", "/mailbox/stats", {"mailbox": agent})
    assert stats.json()["in_progress"] == len(sent)
    text = message(agent, "unread", src=user, kind="request")
    await ask.do("PUT", "/message", {"message": text})
    sent.append(json.loads(text))
    await ask.terminate(agent)
    told = await ask.all(user)
    assert [m["header"]["tag"] for m in told] == [
        m["header"]["tag"] for m in sent]
    await ask.terminate(user)


@pytest.mark.parametrize("point", KEPT + BESIDE)
def test_kept(nginx, figures, monkeypatch, point):
    """The same, where requests are kept for an agent in the dead one's
    place: none is lost, all come in their old order, and all are freed."""
    servers = {}
    for count in (1, 2, 66):
        monkeypatch.setenv("ACADEMY_FAULT", f"{point}:{count}")
        servers[count] = nginx(workers=2, zone="2m", location=IDENTITY,
                               server=KEEPS)
        servers[count].expect(
            r"exited on signal 9", r"was locked by",
            r"died while it changed zone \"exchange\"")

    async def one(server) -> list[int]:
        ask = Stubborn(server.port)
        box = await ask.new()
        await outlive(Kept(server.port))
        fits = await capacity(ask, box)
        await asyncio.sleep(0.1)
        census(server.workers()[0], "2m")
        return fits

    async def test():
        return await asyncio.gather(*(map(one, servers.values())))

    fits = run(test())
    died = [s.log().count("exited on signal 9") for s in servers.values()]
    figures(f"died {died}, fits {fits[0]}")
    assert sum(died) >= 1
    assert fits == fits[:1] * 3


async def all_of_it(server, reload: bool) -> list[int]:
    ask = Stubborn(server.port)
    box = await ask.new()
    # What was stored before somebody died is known afterwards.
    once = {"message": message(box, "once")}
    await ask.do("PUT", "/message", once)
    while await ask.get(box, 0.1):
        pass
    await work(ask)
    await ask.do("PUT", "/message", once)
    assert await ask.get(box, 0.1) is None
    if reload:
        sock = await listen_and_go_deaf(server.port, box)
        await ask.put(box, "on its way")
        await ask.until(box, lambda queued: queued == 0)
        # A reader who is there keeps an old worker; one who is gone not.
        server.signal(signal.SIGHUP)
        await asyncio.sleep(0.3)
        sock.close()
        await ask.until(box, lambda queued: queued == 1)
        assert body_of(await ask.get(box)) == "on its way"
        await work(ask)
    fits = await capacity(ask, box)
    left = await bounds(ask, box)
    made = 1 + (2 + CROWD) * (2 if reload else 1)
    assert left == [BOUND, 5, OWNED - made], left
    await asyncio.sleep(0.1)
    # each page and block of the zone is in use or free, and known to be so
    census(server.workers()[0], "2m")
    return fits + left


# What fits where nobody has died, with a reload and without.
usual: dict[bool, list[int]] = {}


@pytest.mark.parametrize("point", [p for p in POINTS if p not in EXPIRY])
def test_point(nginx, figures, monkeypatch, point):
    reload = point in ("release", "vacate")
    fault = {count: f"{point}:{count}" for count in (1, 2)}
    if reload not in usual:
        fault[0] = ""
    servers = {}
    for count in fault:
        monkeypatch.setenv("ACADEMY_FAULT", fault[count])
        servers[count] = nginx(workers=2, zone="2m", location=IDENTITY,
                               server=FEW)
        if count:
            servers[count].expect(
                r"exited on signal 9", r"was locked by",
                r"died while it changed zone \"exchange\"")

    async def test():
        return await asyncio.gather(*(
            all_of_it(server, reload) for server in servers.values()))

    fits = dict(zip(servers, run(test())))
    usual.setdefault(reload, fits.get(0))
    for count in (1, 2):
        log = servers[count].log()
        died = len(re.findall("exited on signal 9", log))
        mended = len(re.findall("died while it changed", log))
        figures(f"died {died}, put in order {mended}, fits {fits[count]}")
        assert died == 1 or count == 2
        assert died == mended
        assert fits[count] == usual[reload]


async def expire_all(server) -> list[str]:
    """Everything that can expire, twice; what is left is what there was."""
    ask = Stubborn(server.port)
    names = []
    empty = census(server.workers()[0], "2m")
    for _ in range(2):
        boxes = [await ask.new() for _ in range(6)]
        for box in boxes:
            await ask.do("POST", "/mailbox/share", {
                "mailbox": box, "group_id": "lab"})
            await ask.put(box, LARGE)
            for _ in range(3):
                await ask.put(box, "?", src=boxes[0], kind="request")
                assert await ask.get(box)
        for box in boxes[3:]:
            await ask.terminate(box)
        async with asyncio.timeout(20):
            while True:
                answer = await ask.do("GET", "/discover", {
                    "agent": "a.C", "allow_subclasses": True})
                if answer.json()["agent_ids"] == "":
                    break
                await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            while True:
                try:
                    assert census(server.workers()[0], "2m") == empty
                    break
                except AssertionError:
                    await asyncio.sleep(0.1)
        for box in boxes:
            answer = await ask.do("GET", "/mailbox", {"mailbox": box})
            names.append(answer.json()["status"])
    return names


@pytest.mark.parametrize("point", EXPIRY)
def test_point_of_expiry(nginx, figures, monkeypatch, point):
    servers = {}
    for count in (1, 2):
        monkeypatch.setenv("ACADEMY_FAULT", f"{point}:{count}")
        servers[count] = nginx(workers=2, zone="2m", location=IDENTITY,
                               http=SHORT)
        servers[count].expect(
            r"exited on signal 9", r"was locked by",
            r"died while it changed zone \"exchange\"")

    async def test():
        return await asyncio.gather(*map(expire_all, servers.values()))

    for count, names in zip(servers, run(test())):
        log = servers[count].log()
        died = len(re.findall("exited on signal 9", log))
        mended = len(re.findall("died while it changed", log))
        figures(f"died {died}, put in order {mended}, all as at the start")
        assert died == mended == 1
        assert names == ["MISSING"] * 12
