"""A small HTTP/2 client: many requests on one connection, each to be read, or
reset, on its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl

import h2.config
import h2.connection
import h2.events
from academy_nginx import Answer
from hyperframe.frame import GoAwayFrame


class Stream:
    """One request and what comes back for it."""

    def __init__(self, number: int, deaf: bool) -> None:
        self.number = number
        # A deaf stream's window is not opened again: 64 KB, and no more.
        self.deaf = deaf
        self.headers: dict[str, str] = {}
        self.begun = asyncio.Event()
        self.ended = False
        self.reset: int | None = None
        self.data = b""
        self.more = asyncio.Event()

    async def answer(self) -> Answer:
        """The whole answer."""
        while not self.ended:
            await self._wait()
        return Answer(int(self.headers[":status"]), self.headers, self.data)

    async def event(self) -> str | None:
        """The next message of an event stream, None at its clean end."""
        while True:
            event, end, rest = self.data.partition(b"\n\n")
            if end:
                self.data = rest
                for line in event.split(b"\n"):
                    if line.startswith(b"data: "):
                        return line[6:].decode()
                continue
            if self.ended:
                assert self.data == b"", self.data
                return None
            await self._wait()

    async def _wait(self) -> None:
        assert self.reset is None, f"reset with {self.reset}"
        self.more.clear()
        await self.more.wait()


class Http2:
    """One connection, by TLS and ALPN or with prior knowledge."""

    def __init__(self, reader, writer) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding="utf-8"))
        # h2 takes a GOAWAY for the end of all; the streams that are open go
        # on to their own.
        self.h2._frame_dispatch_table[GoAwayFrame] = self._goaway
        self.h2.initiate_connection()
        # No stream has to wait for another one.
        self.h2.increment_flow_control_window(1 << 28)
        self.streams: dict[int, Stream] = {}
        self.headers: list[tuple[str, str]] = []    # of each request
        self.goaway = False
        self._flush()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None = None) -> Http2:
        if tls:
            tls.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls,
            server_hostname="localhost" if tls else None)
        if tls:
            assert writer.get_extra_info(
                "ssl_object").selected_alpn_protocol() == "h2"
        opened = cls(reader, writer)
        # The server's settings, its windows among them, come before its pong.
        await opened.flushed()
        return opened

    def start(self, method: str, path: str, body: dict, *,
              deaf: bool = False) -> Stream:
        number = self.h2.get_next_available_stream_id()
        self.streams[number] = stream = Stream(number, deaf)
        self.h2.send_headers(number, [
            (":method", method), (":path", path), (":scheme", "http"),
            (":authority", "localhost"), *self.headers])
        data = json.dumps(body).encode()
        size = self.h2.max_outbound_frame_size
        assert len(data) <= self.h2.local_flow_control_window(number)
        for at in range(0, len(data), size):
            self.h2.send_data(number, data[at:at + size])
        self.h2.end_stream(number)
        self._flush()
        return stream

    async def request(self, method: str, path: str, body: dict) -> Answer:
        return await self.start(method, path, body).answer()

    def hear(self, stream: Stream) -> None:
        """Opens a deaf stream's window after all."""
        stream.deaf = False
        self.h2.increment_flow_control_window(1 << 28, stream.number)
        self._flush()

    def reset(self, stream: Stream) -> None:
        self.h2.reset_stream(stream.number)
        self._flush()

    async def flushed(self) -> None:
        """Waits until the server has read all that was sent."""
        self._pong = asyncio.Event()
        self.h2.ping(b"academy!")
        self._flush()
        await self._pong.wait()

    async def close(self) -> None:
        self._task.cancel()
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()

    def _goaway(self, frame):
        self.goaway = True
        return [], []

    def _flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def _read(self) -> None:
        while data := await self.reader.read(1 << 16):
            for event in self.h2.receive_data(data):
                self._handle(event)
            self._flush()
        self.writer.close()
        for stream in self.streams.values():
            if not stream.ended and stream.reset is None:
                stream.reset = -1
            stream.more.set()

    def _handle(self, event) -> None:
        if isinstance(event, h2.events.PingAckReceived):
            self._pong.set()
        stream = self.streams.get(getattr(event, "stream_id", None))
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.headers = dict(event.headers)
            stream.begun.set()
        elif isinstance(event, h2.events.DataReceived):
            stream.data += event.data
            if not stream.deaf:
                self.h2.acknowledge_received_data(
                    event.flow_controlled_length, stream.number)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code
        stream.more.set()
