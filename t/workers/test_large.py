"""Large messages, and what a worker does for them beside passing them on."""

import asyncio
from pathlib import Path

import pytest
from academy_nginx import ASAN, resident_bytes, run
from exchange import Client, taken

ROUNDS = 50
SIZE = 500_000


def faults(pid: int) -> int:
    """Pages that the kernel had to give the process so far."""
    return int(Path(f"/proc/{pid}/stat").read_text().split()[9])


@pytest.mark.skipif(bool(ASAN), reason="the sanitizer has a heap of its own")
@pytest.mark.parametrize("at_once", [1, 6])
def test_pages_are_kept(nginx, figures, at_once):
    """The pages of a large message serve the next, too."""
    server = nginx(workers=1, zone="64m")
    (pid,) = server.workers()

    async def test():
        clients = [await Client.open(server.port) for _ in range(at_once)]
        boxes = [await clients[0].new() for _ in clients]

        async def passed(rounds):
            for _ in range(rounds):
                await asyncio.gather(*(
                    client.put(box, "x" * SIZE)
                    for client, box in zip(clients, boxes)))
                for got in await asyncio.gather(*(
                        client.get(box, 5)
                        for client, box in zip(clients, boxes))):
                    assert taken(got) == "x" * SIZE
            return faults(pid)

        before = await passed(5)
        return (await passed(ROUNDS) - before) / ROUNDS / at_once

    each = run(test(), 90)
    figures(f"{each:.1f} pages for a message of {SIZE} bytes, put and got; "
            f"the worker has {resident_bytes(pid) >> 10} KiB")
    # the message has 123 of them
    assert each < 20
