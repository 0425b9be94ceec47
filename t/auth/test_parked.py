"""What waits when a token ends, or the share that it lived by."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid

import pytest

from academy_nginx import Answer, Connection, run
from h2client import Http2
from tokens import claims, jwk, jwks, token


@pytest.fixture
def exchange(nginx, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "keys").write_text(jwks(jwk("ES256")))

    def start(more="", **pieces):
        return nginx(location="academy_auth jwt; "
                     f"academy_jwt_key_file {tmp_path}/keys; "
                     f"academy_client_groups $academy_claim_groups; {more}",
                     **pieces)

    return start


BOX = '{"uid":"00000000-0000-4000-8000-000000000001","role":"agent"}'


class Client(Connection):
    """With a token on every request."""

    token: str

    def send(self, method, path, body=b""):
        data = json.dumps(body).encode()
        self.writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self.token}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode() + data)


async def client(server, **more) -> Client:
    conn = await Client.open(server.port, tls=server.client_tls())
    conn.token = token(payload=claims(**more))
    return conn


async def create(conn) -> None:
    answer = await conn.request("POST", "/mailbox", {"mailbox": BOX})
    assert answer.status == 200, answer


def refused(answer: Answer) -> None:
    assert answer.status == 403
    assert answer.body == b"Token expired or revoked."
    assert answer.headers["www-authenticate"] == (
        'Bearer error="invalid_token"')


def test_a_poll_ends_with_its_token(exchange):
    async def go():
        server = exchange()
        end = int(time.time()) + 2
        conn = await client(server, exp=end)
        await create(conn)
        answer = await conn.request(
            "GET", "/message", {"mailbox": BOX, "timeout": 30})
        over = time.time() - end
        refused(answer)
        assert -0.05 < over < 0.5, over
        # the connection is as good as before, for a new token
        conn.token = token()
        answer = await conn.request("GET", "/mailbox", {"mailbox": BOX})
        assert answer.json() == {"status": "ACTIVE"}
    run(go())


def test_a_poll_that_ends_before_its_token(exchange):
    async def go():
        server = exchange()
        conn = await client(server, exp=int(time.time()) + 3)
        await create(conn)
        answer = await conn.request(
            "GET", "/message", {"mailbox": BOX, "timeout": 0.2})
        assert (answer.status, answer.body) == (408, b"Request timeout")
    run(go())


@pytest.mark.parametrize("tls", [False, True])
def test_a_stream_ends_with_its_token(exchange, tls):
    async def go():
        server = exchange(tls=tls)
        end = int(time.time()) + 2
        conn = await client(server, exp=end)
        await create(conn)
        stream = await conn.listen({"mailbox": BOX, "timeout": 30})
        assert await stream.next() is None
        over = time.time() - end
        assert -0.05 < over < 0.5, over
        # and may be opened again with another
        conn = await client(server)
        await conn.listen({"mailbox": BOX, "timeout": 1})
    run(go())


def test_a_stream_that_pings_and_brings_ends_with_its_token(exchange):
    """Whatever moves its deadline, the token's end stays where it is."""
    async def go():
        server = exchange("academy_ping_interval 100ms;")
        end = int(time.time()) + 2
        conn = await client(server, exp=end)
        sender = await client(server)
        await create(conn)
        stream = await conn.listen({"mailbox": BOX, "timeout": 30})

        async def send():
            while True:
                message = {"header": {
                    "src": {"uid": str(uuid.uuid4()), "role": "user"},
                    "dest": json.loads(BOX), "tag": str(uuid.uuid4()),
                    "label": None, "kind": "response"}, "body": None}
                answer = await sender.request(
                    "PUT", "/message", {"message": json.dumps(message)})
                assert answer.status == 200
                await asyncio.sleep(0.05)

        sending = asyncio.create_task(send())
        brought = 0
        while await stream.next() is not None:
            brought += 1
        over = time.time() - end
        sending.cancel()
        assert brought > 3 and stream.pings > 3
        assert -0.05 < over < 0.5, over
    run(go())


def test_a_stream_whose_client_is_stuck_ends_after_its_token(exchange,
                                                             tmp_path):
    """A UNIX socket, on which no kernel gives a client up: what it has not
    taken goes back."""
    async def go():
        server = exchange("academy_peer_timeout 200ms;",
                          server=f"listen unix:{tmp_path}/sock;")
        conn = await client(server)
        await create(conn)
        end = int(time.time()) + 2
        bearer = token(payload=claims(exp=end))
        body = json.dumps({"mailbox": BOX, "timeout": 30})
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(f"{tmp_path}/sock")
        sock.sendall(f"GET /mailbox/listen HTTP/1.1\r\nHost: localhost\r\n"
                     f"Authorization: Bearer {bearer}\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        await asyncio.to_thread(sock.recv, 1, socket.MSG_PEEK)
        message = {"header": {
            "src": {"uid": str(uuid.uuid4()), "role": "user"},
            "dest": json.loads(BOX), "tag": str(uuid.uuid4()),
            "label": None, "kind": "response"}, "body": "for the next"}
        answer = await conn.request(
            "PUT", "/message", {"message": json.dumps(message)})
        assert answer.status == 200
        answer = await conn.request(
            "GET", "/message", {"mailbox": BOX, "timeout": 20})
        assert answer.status == 200 and b"for the next" in answer.body
        over = time.time() - end
        assert 0 < over < 1.5, over
        sock.close()
    run(go())


def test_on_http2(exchange):
    """A poll and a stream end with their token; what has a later one on the
    same connection goes on."""
    async def go():
        server = exchange(listen=" http2")
        h2 = await Http2.open(server.port)
        end = int(time.time()) + 2

        def use(**more):
            h2.headers = [("authorization",
                           "Bearer " + token(payload=claims(**more)))]

        use()
        assert (await h2.request("POST", "/mailbox", {"mailbox": BOX})
                ).status == 200
        waiting = {"mailbox": BOX, "timeout": 30}
        later = h2.start("GET", "/mailbox/listen", waiting)
        use(exp=end)
        stream = h2.start("GET", "/mailbox/listen", waiting)
        poll = h2.start("GET", "/message", waiting)
        assert await stream.event() is None
        refused(await poll.answer())
        assert -0.05 < time.time() - end < 0.5
        await h2.flushed()
        assert not later.ended
        await h2.close()
    run(go())


def test_leeway_is_given_to_those_who_wait_too(exchange):
    async def go():
        server = exchange("academy_auth_leeway 2s;")
        end = int(time.time()) + 2
        conn = await client(server, exp=end - 2)
        await create(conn)
        answer = await conn.request(
            "GET", "/message", {"mailbox": BOX, "timeout": 30})
        refused(answer)
        assert -0.05 < time.time() - end < 0.5
    run(go())


@pytest.mark.parametrize("workers", [1, 2])
def test_sharing_and_unsharing(exchange, workers):
    """A member waits by a share that is withdrawn; the owner, and another
    member by another share, go on."""
    async def go():
        server = exchange(workers=workers)
        owner = await client(server, groups=["red", "blue"])
        await create(owner)
        share = {"mailbox": BOX, "group_id": "red"}

        red = await client(server, sub="red", groups=["red"])
        answer = await red.request("GET", "/mailbox/stats", {"mailbox": BOX})
        assert answer.status == 403
        assert (await owner.request("POST", "/mailbox/share", share)
                ).status == 200
        assert (await owner.request(
            "POST", "/mailbox/share", share | {"group_id": "blue"})
            ).status == 200

        listener = await client(server, sub="red", groups=["red"])
        stream = await listener.listen({"mailbox": BOX, "timeout": 30})
        red.send("GET", "/message", {"mailbox": BOX, "timeout": 30})
        blue = await client(server, sub="blue", groups=["blue", "green"])
        kept = await blue.listen({"mailbox": BOX, "timeout": 30})
        own = await client(server)
        own_stream = await own.listen({"mailbox": BOX, "timeout": 30})

        assert (await owner.request("DELETE", "/mailbox/share", share)
                ).status == 200
        answer = await asyncio.wait_for(red.answer(), 5)
        assert (answer.status, answer.body) == (403, b"Incorrect permissions")
        assert await asyncio.wait_for(stream.next(), 5) is None

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(kept.next(), 0.3)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(own_stream.next(), 0.3)
    run(go())
