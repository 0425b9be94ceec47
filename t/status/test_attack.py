"""What a viewer, or a page of another site, should not be able to do."""

import asyncio
import json
import time
import uuid

import pytest
from academy_nginx import PATIENCE, run
from exchange import IDENTITY, Client, Named, mailbox
from h2client import Http2
from look import STATUS, look
from test_lock import Watch


@pytest.fixture
def perturbed(monkeypatch):
    """What is freed does not look as if it were not."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")


def whole(data):
    """The pictures of an event stream that may stop anywhere."""
    events = data.split(b"\n\n")
    for event in events[:-1]:
        assert event.startswith(b"data: {")
        assert json.loads(event[6:])["exchange"] == "exchange"
    assert b"data: {".startswith(events[-1][:7])
    events[-1].decode()
    return len(events) - 1


def kept(client):
    """All that comes, in pieces: h2 drops what is of a stream it has reset."""
    pieces, receive = [], client.h2.receive_data

    def receive_data(data):
        pieces.append(data)
        return receive(data)

    client.h2.receive_data = receive_data
    return pieces


def frames(pieces):
    """The data of each stream."""
    raw, at, found = b"".join(pieces), 0, {}
    while at + 9 <= len(raw):
        size = int.from_bytes(raw[at:at + 3], "big")
        stream = int.from_bytes(raw[at + 5:at + 9], "big")
        if raw[at + 3] == 0:
            found[stream] = (found.get(stream, b"")
                             + raw[at + 9:at + 9 + size])
        at += 9 + size
    return found


def test_streams_that_are_reset(nginx, figures, perturbed):
    """What HTTP/2 has in its queue goes out, whatever became of its stream."""
    server = nginx(server=STATUS, listen=" http2 sndbuf=4k")

    async def test():
        client = await Http2.open(server.port)
        raw = kept(client)
        for n in range(60):
            client.start("GET", "/status?view=events", {})
        await client.flushed()
        client.writer.transport.pause_reading()
        sock = client.writer.get_extra_info("socket")
        await asyncio.sleep(3.5)
        for stream in list(client.streams.values()):
            client.reset(stream)
        await asyncio.sleep(0.5)
        for n in range(20):
            client.start("GET", "/status", {})
        await asyncio.sleep(0.5)
        client.writer.transport.resume_reading()
        answer = await client.request("GET", "/status", {})
        assert answer.status == 200
        seen = [whole(text) for number, text in frames(raw).items()
                if number < 120]
        assert seen
        figures(f"{sum(seen)} pictures of {len(seen)} streams")
        await client.close()

    run(test())


async def fill(server, count):
    async def some(n):
        client = await Client.open(server.port)
        for _ in range(n):
            await client.new()
        client.close()
    await asyncio.gather(*(some(count // 10) for _ in range(10)))


def ask(view):
    return (f"GET /status?view={view} HTTP/1.0\r\n\r\n").encode()


def test_a_flood_of_tables(nginx, figures):
    """Who asks for many tables waits for them; others do not."""
    server = nginx(server=STATUS)
    count = 1000 if PATIENCE > 1 else 10000

    async def table(view):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port)
        writer.write(ask(view))
        head, _, text = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        writer.close()
        return json.loads(text)

    async def test():
        await fill(server, count)
        other = await Client.open(server.port)
        begin = time.monotonic()
        tables = [asyncio.create_task(table(
            "mailboxes&limit=200&sort=class")) for _ in range(300)]
        await asyncio.sleep(0.3)
        times = []
        while not times or (not all(t.done() for t in tables)
                            and len(times) < 100):
            at = time.monotonic()
            await other.request("GET", "/.pid", {})
            times.append(time.monotonic() - at)
        pages = await asyncio.gather(*tables)
        took = time.monotonic() - begin
        assert all(p["total"] == count and len(p["mailboxes"]) == 200
                   for p in pages)
        times.sort()
        figures(f"300 tables of {count} mailboxes took {took:.1f} s; "
                f"meanwhile others waited {1000 * times[len(times) // 2]:.0f}"
                f" ms, at most {1000 * times[-1]:.0f}")
        assert times[len(times) // 2] < 0.1 * PATIENCE

    run(test(), 100)


def test_a_reload_among_tables(nginx):
    """A worker that exits answers those who look first."""
    server = nginx(zone="128m", server=STATUS)
    count = 2000 if PATIENCE > 1 else 20000

    async def test():
        await fill(server, count)
        asked = []
        for _ in range(200):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port)
            writer.write(ask("mailboxes"))
            asked.append((reader, writer))
        await asyncio.to_thread(server.reload)
        for n, (reader, writer) in enumerate(asked):
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200") and (
                b'"total":%d' % count in answer), (n, answer[:100])
            writer.close()

    run(test(), 100)


def test_long_names_and_many_shares(nginx, figures):
    """What others called their mailboxes, and shared them with, is not paid
    for by who waits for the lock."""
    server = nginx(location=IDENTITY, server="""
        location = /status {
            academy_status exchange;
    """ + IDENTITY + "}")
    groups = [f"{n:0200}" for n in range(256)]

    async def test():
        client = await Named.open(server.port)
        client.name, client.groups = "eve", ",".join(groups[:30])
        for n in range(60):
            box = json.dumps({"uid": str(uuid.uuid4()), "role": "agent",
                              "name": "a" * 250})
            await client.create(box, "a" * 1000 + f"{n:04}")
            if n < 20:
                for group in groups[:30]:
                    answer = await client.request(
                        "POST", "/mailbox/share",
                        {"mailbox": box, "group_id": group})
                    assert answer.status == 200, answer
        client.close()
        watch = Watch(server)
        for search in ("a" * 400 + "b", "b" * 5000):
            page = await asyncio.to_thread(
                look, server.port, f"view=mailboxes&search={search}",
                headers={"X-Client": "eve"})
            assert page["total"] == 0
        seen = watch.end()
        figures(f"held {seen['holds']} times, {seen['max']:.0f} us at most, "
                f"p99 {seen['p99']:.1f}")
        assert seen["p99"] < 200 * PATIENCE
        page = await asyncio.to_thread(
            look, server.port, "view=mailboxes&search=" + "A" * 900 + "0059",
            headers={"X-Client": "eve"})
        assert page["total"] == 1

    run(test(), 60)


def test_a_name_that_leads_here(nginx):
    """A page of another site, of which the name was pointed at this server
    when the page was there, is of the same site for its browser."""
    server = nginx(server="""
        server_name exchange.lab *.wild.lab .both.lab tail.*;
        location = /status {
            academy_status exchange;
            academy_status_write on;
        }
    """)

    async def test():
        client = await Client.open(server.port)
        box = json.loads(await client.new())

        async def end(host, origin=None, **more):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port)
            writer.write((
                f"POST /status?view=mailbox&id=agent:{box['uid']}"
                "&action=terminate HTTP/1.0\r\nX-Academy-Status: 1\r\n"
                f"Host: {host}\r\nOrigin: {origin or 'http://' + host}\r\n"
                "\r\n").encode())
            answer = await reader.read()
            writer.close()
            return int(answer.split()[1])

        for host in ("evil.example", "evil.example:8700", "lab", "wild.lab",
                     "xexchange.lab", "exchange.lab.evil.example", "tail.",
                     "127.0.0.1.evil.example", "localhost.evil.example",
                     "xwild.lab", "xboth.lab", "1.2.3"):
            assert await end(host) == 403, host
        assert json.loads((await client.request(
            "GET", "/mailbox", {"mailbox": json.dumps(box)})).body)[
                "status"] == "ACTIVE"
        for host in ("exchange.lab", "EXCHANGE.lab:80", "a.b.wild.lab",
                     "both.lab", "x.both.lab", "tail.example", "localhost:1",
                     "127.0.0.1", "[::1]:8700"):
            assert await end(host) == 200, host
        assert await end("exchange.lab", "http://evil.example") == 403

    run(test())


def test_names_of_any_bytes(nginx):
    """Where a variable says who somebody is, that is not always UTF-8."""
    server = nginx(location=IDENTITY, server=STATUS + """
        location = /own {
            academy_status exchange;
    """ + IDENTITY + "}")
    odd = {b"caf\xe9": "caf?", b"\xff\xfe": "??", b"\xc3": "?",
           b"a\xe2\x82": "a??", b"\xed\xa0\x80": "???", b"\xc0\x80": "??",
           b"\xf4\x90\x80\x80": "????", "\u20ac\U0001f600".encode(): None,
           b'"\\</script>': None, b"\xf8\x88\x80\x80\x80": "?????"}

    async def test():
        for name in odd:
            body = json.dumps({"mailbox": mailbox()}).encode()
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port)
            writer.write(b"POST /mailbox HTTP/1.1\r\nHost: x\r\n"
                         b"X-Client: %s\r\nContent-Length: %d\r\n\r\n%s"
                         % (name, len(body), body))
            writer.write(b"GET /own HTTP/1.1\r\nHost: x\r\nX-Client: %s\r\n"
                         b"Connection: close\r\n\r\n" % name)
            text = await reader.read()
            assert text.startswith(b"HTTP/1.1 200")
            picture = json.loads(text.split(b"\r\n\r\n")[-1].decode())
            assert picture["viewer"]["id"] == (odd[name]
                                               or name.decode())
            writer.close()
        page = await asyncio.to_thread(look, server.port, "view=mailboxes")
        assert sorted(row["owner"] for row in page["mailboxes"]) == sorted(
            seen or name.decode() for name, seen in odd.items())

    run(test())


def test_odd_requests(nginx):
    """Bodies, methods, subrequests, redirects and arguments that nobody
    needs: each gets an answer, and the one behind it as well."""
    server = nginx(server=STATUS + """
        large_client_header_buffers 4 32k;
        location = /inside { internal; academy_status exchange; }
        location = /asked { auth_request /status; academy_status exchange; }
        location = /sent { error_page 404 = /inside?view=mailboxes; return 404; }
        location = /round {
            error_page 405 = /round;
            academy_status exchange;
        }
        location = /first { try_files /nothing /status?view=history; }
    """)
    one = "/status?view=mailbox&id=agent:" + str(uuid.uuid4())
    table = "/status?view=mailboxes"
    cases = [
        ("GET", "/status", b"x" * 100, 200),
        ("GET", table, b"x" * 200000, 200),
        ("GET", one, b"{}", 404),
        ("POST", one, b"", 403),
        ("POST", one + "&action=terminate", b"action=terminate", 403),
        ("POST", table, b"x", 405),
        ("GET", one + "&action=terminate", b"", 404),
        ("PUT", one, b"", 405),
        ("OPTIONS", one, b"", 405),
        ("PROPFIND", "/status", b"", 405),
        ("GET", "/inside", b"", 404),
        ("GET", "/sent", b"", 200),
        ("POST", "/sent", b"", 200),
        ("GET", "/round", b"", 200),
        ("POST", "/round", b"", 405),
        ("GET", "/first", b"", 200),
        ("GET", table + "&limit=-1", b"", 400),
        ("GET", table + "&limit=99999999999999999999", b"", 400),
        ("GET", table + "&limit=%00", b"", 400),
        ("GET", table + "&after=" + "f" * 160, b"", 200),
        ("GET", table + "&after=" + "0" * 160 + "&reverse=1", b"", 200),
        ("GET", table + "&search=" + "%" * 20000, b"", 200),
        ("GET", table + "&search=%00%ff%2", b"", 200),
        ("GET", table + "&" + "search=a&" * 3000, b"", 200),
        ("GET", table + "&sort=%6Eame&state=all&role=agent", b"", 200),
        ("GET", "/status?view=mailbox&id=agent:" + "a" * 30000, b"", 400),
        ("GET", "/status?view=events&interval=1e9", b"", 400),
        ("GET", "/status?format=" + "j" * 30000, b"", 400),
        ("GET", "/status?view=%00", b"", 400),
    ]

    async def test():
        client = await Client.open(server.port)
        for _ in range(5):
            await client.new()
        asked = await Client.open(server.port)
        assert (await asked.request("GET", "/asked", b"")).status == 500
        asked.close()
        # One after the other, and then without waiting for any.
        for method, uri, body, code in cases:
            answer = await client.request(method, uri, body)
            assert answer.status == code, (method, uri[:60], answer)
        for method, uri, body, code in cases:
            client.send(method, uri, body)
        for method, uri, body, code in cases:
            assert (await client.answer()).status == code, (method, uri[:60])
        for view in ("", "view=mailboxes", "view=history", "view=events"):
            client.writer.write(
                f"HEAD /status?{view} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            if b"chunked" in head or b"Content-Length" not in head:
                client.close()
                client = await Client.open(server.port)
        # A body that comes while somebody looks already.
        client.writer.write(
            f"GET {table} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12"
            .encode())
        assert (await client.answer()).status == 200
        client.writer.write(b"3456789")
        assert (await client.request("GET", table, b"")).status == 200
        look(server.port)

    run(test())
