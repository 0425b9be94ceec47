"""The words of the exchange, for raw clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
import uuid

from academy_nginx import PATIENCE, Answer, Connection, EventStream


def mailbox(role: str = "agent") -> str:
    """The id of a new mailbox, as requests carry it."""
    return json.dumps({"uid": str(uuid.uuid4()), "role": role})


def message(dest: str, body: object, *, src: str | None = None,
            kind: str = "response") -> str:
    """A message from `src`, or from somebody unknown. A response that nobody
    waits for leaves nothing behind in the exchange when it was delivered; a
    request is remembered until it is answered."""
    header = {"src": json.loads(src or mailbox("user")),
              "dest": json.loads(dest), "tag": str(uuid.uuid4()),
              "label": None, "kind": kind, "protocol_version": "1.1"}
    return json.dumps({"header": header, "body": body})


def body_of(text: str) -> object:
    """The body of a message."""
    return json.loads(text)["body"]


def taken(answer: Answer) -> object:
    """The body of the message in an answer to `Client.get`."""
    assert answer.status == 200, answer
    return body_of(answer.json()["message"])


class Client(Connection):
    """A connection that knows the routes."""

    async def create(self, box: str, agent: str | None = None) -> str:
        request = {"mailbox": box}
        if agent:
            request["agent"] = agent
        answer = await self.request("POST", "/mailbox", request)
        assert answer.status == 200, answer
        return box

    async def new(self) -> str:
        return await self.create(mailbox())

    async def terminate(self, box: str) -> None:
        answer = await self.request("DELETE", "/mailbox", {"mailbox": box})
        assert answer.status == 200, answer

    async def put(self, box: str, body: object, **more: str) -> None:
        answer = await self.try_put(box, body, **more)
        assert answer.status == 200, answer

    async def try_put(self, box: str, body: object, **more: str) -> Answer:
        return await self.request(
            "PUT", "/message", {"message": message(box, body, **more)})

    def send_get(self, box: str, timeout: float = 60) -> None:
        self.send("GET", "/message", {"mailbox": box, "timeout": timeout})

    async def get(self, box: str, timeout: float = 60) -> Answer:
        self.send_get(box, timeout)
        return await self.answer()

    async def stream(self, box: str, timeout: float = 60) -> EventStream:
        return await self.listen({"mailbox": box, "timeout": timeout})

    async def stats(self, box: str) -> dict[str, int]:
        answer = await self.request("GET", "/mailbox/stats", {"mailbox": box})
        assert answer.status == 200, answer
        return answer.json()

    async def status(self, box: str) -> str:
        answer = await self.request("GET", "/mailbox", {"mailbox": box})
        assert answer.status == 200, answer
        return answer.json()["status"]


# Who is calling is what the client says; for `Named`.
IDENTITY = """
    academy_auth variables;
    academy_client_id $http_x_client;
    academy_client_groups $http_x_groups;
"""


class Named(Client):
    """A client that says who it is."""

    name, groups = "ada", "lab"

    def send(self, method: str, path: str, body: dict | bytes = b"") -> None:
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        self.writer.write(
            b"%s %s HTTP/1.1\r\nHost: x\r\nX-Client: %s\r\nX-Groups: %s\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (
                method.encode(), path.encode(), self.name.encode(),
                self.groups.encode(), len(body), body))


async def left(client: Client) -> None:
    """Waits until a connection that was closed or reset is so."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await client.writer.wait_closed()


def deaf(port: int, method: str, path: str, box: str) -> socket.socket:
    """Makes a request and does not read from it: a plain socket with a small
    buffer."""
    body = json.dumps({"mailbox": box}).encode()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(b"%s %s HTTP/1.1\r\nHost: localhost\r\n"
                 b"Content-Length: %d\r\n\r\n%s" % (
                     method.encode(), path.encode(), len(body), body))
    return sock


async def until(condition, seconds: float = 10) -> float:
    """How long it took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds * PATIENCE):
        while not await condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def with_worker(port: int, wanted, *, tls=None) -> Client:
    """A client that is connected to a worker that `wanted` says yes to."""
    others = []
    try:
        for _ in range(500):
            client = await Client.open(port, tls=tls)
            if wanted(await client.worker()):
                return client
            # It stays open for now: nginx spreads connections over workers.
            others.append(client)
    finally:
        for other in others:
            other.close()
    raise AssertionError("no connection to such a worker")
