"""Where there is no room, the 1.0.0 client asks again by itself, and gets
through as soon as there is."""

import asyncio
import re

import pytest
from academy.exchange import HttpExchangeFactory
from academy.message import ActionRequest, Message
from academy_nginx import run, wait_until
from aiohttp import ClientResponseError

MESSAGES = 30


LOG = "access_log access.log combined;"


def puts(at):
    """The status of each answer to a PUT."""
    return re.findall(r'"PUT /message HTTP/1.1" (\d+)',
                      (at.dir / "access.log").read_text())


def message(src, dest, size):
    return Message.create(
        src=src, dest=dest,
        body=ActionRequest(action="none", serialization="json",
                           pargs=["x" * size]))


async def deliver(at, size):
    """One sends, another begins to receive when the first was turned away.
    The tags that were sent, those that came, and the answers to PUT."""
    factory = HttpExchangeFactory(
        at.url, retries=12, initial_retry_backoff=0.02)
    sender = await factory._create_transport()
    receiver = await factory._create_transport()
    sent = []

    async def send():
        for _ in range(MESSAGES):
            one = message(sender.mailbox_id, receiver.mailbox_id, size)
            await sender.send(one)
            sent.append(one.tag)

    sending = asyncio.create_task(send())
    await asyncio.to_thread(
        wait_until, lambda: set(puts(at)) - {"200"}, 20,
        "nothing was turned away")
    came = []

    async def receive():
        async for one in receiver.listen():
            came.append(one.tag)

    receiving = asyncio.create_task(receive())
    await asyncio.wait_for(sending, 20)
    await asyncio.to_thread(
        wait_until, lambda: len(came) >= MESSAGES, 10, "some did not come")
    receiving.cancel()
    for transport in (sender, receiver):
        await transport.terminate(transport.mailbox_id)
        await transport.close()
    return sent, came, puts(at)


@pytest.mark.nginx_only
@pytest.mark.parametrize("what, zone, server, size, status", [
    ("messages", "16m", "academy_mailbox_messages 3;", 10, "429"),
    ("bytes", "16m", "academy_mailbox_bytes 600k;", 250_000, "429"),
    pytest.param("memory", "2m", "", 250_000, "503",
                 marks=pytest.mark.zone_only("about a zone's memory")),
])
def test_turned_away(exchange, figures, what, zone, server, size, status):
    at = exchange(zone=zone, server=server + LOG, workers=2)

    sent, came, answers = run(deliver(at, size))

    figures(f"{what}: {len(answers)} PUTs, {answers.count(status)} answered "
            f"{status}, {len(sent)} acknowledged, {len(came)} delivered, "
            f"{len(set(sent) - set(came))} lost, "
            f"{len(came) - len(set(came))} doubled")
    assert set(answers) == {"200", status}
    assert answers.count("200") == MESSAGES
    assert came == sent


@pytest.mark.nginx_only
def test_too_many_mailboxes(exchange):
    """The client does not ask again for a mailbox of its own: it says so, and
    those that it has work on."""
    at = exchange(server="academy_client_mailboxes 2;")

    async def test():
        factory = HttpExchangeFactory(at.url)
        first = await factory._create_transport()
        second = await factory._create_transport()
        with pytest.raises(ClientResponseError) as error:
            await factory._create_transport()
        assert error.value.status == 429
        await first.send(message(first.mailbox_id, second.mailbox_id, 1))
        async for one in second.listen():
            assert one.src == first.mailbox_id
            break
        for transport in (first, second):
            await transport.close()

    run(test())
