"""What a viewer, or a page of another site, should not be able to do."""

import asyncio
import json
import os
import socket

import pytest
from academy_nginx import PATIENCE, run
from exchange import Client
from h2client import Http2
from look import STATUS, fetch, look


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
