"""Who may use a mailbox: HttpExchangeConsole, and callers that a header
names."""

import asyncio
import uuid

import pytest
from academy.exception import (
    BadEntityIdError,
    ForbiddenError,
    MailboxTerminatedError,
    UnauthorizedError,
)
from academy.exchange import HttpExchangeFactory
from academy.handle import Handle
from academy.identifier import AgentId
from academy_nginx import run
from agents import Adder

LAB = uuid.uuid4()
OTHER = uuid.uuid4()


def caller(exchange, name, *groups):
    return HttpExchangeFactory(exchange.url, additional_headers={
        "X-Client": name, "X-Groups": ",".join(map(str, groups))})


def test_share_list_unshare(exchange):
    at = exchange(identity=True, workers=2)

    async def test():
        owner = caller(at, "ada", LAB, OTHER)
        member = caller(at, "bob", LAB)
        console = await owner.console()
        async with await owner.create_user_client() as ada, \
                await member.create_user_client() as bob:
            aid = (await ada.register_agent(Adder)).agent_id

            async def bob_is_refused():
                with pytest.raises(ForbiddenError):
                    await bob.heartbeat_status(aid)
                with pytest.raises(ForbiddenError):
                    await bob.terminate(aid)
                assert await bob.discover(Adder) == ()

            assert await console.get_shared_groups(aid) == []
            await bob_is_refused()

            await console.share_mailbox(aid, LAB)
            await console.share_mailbox(aid, LAB)
            assert await console.get_shared_groups(aid) == [LAB]
            assert await bob.heartbeat_status(aid) is None
            assert await bob.discover(Adder) == (aid,)

            await console.share_mailbox(aid, OTHER)
            assert set(await console.get_shared_groups(aid)) == {LAB, OTHER}
            await console.remove_shared_group(aid, LAB)
            await console.remove_shared_group(aid, LAB)
            assert await console.get_shared_groups(aid) == [OTHER]
            await bob_is_refused()
        await console.close()

    run(test())


def test_only_the_owner_shares_and_only_with_own_groups(exchange):
    at = exchange(identity=True)

    async def test():
        owner = caller(at, "ada", LAB)
        async with await owner.create_user_client() as ada:
            aid = (await ada.register_agent(Adder)).agent_id
            mine = await owner.console()
            his = await caller(at, "bob", LAB).console()

            await mine.share_mailbox(aid, LAB)
            # A member of the group may use the mailbox, not give it away.
            for attempt in (his.share_mailbox(aid, LAB),
                            his.get_shared_groups(aid),
                            his.remove_shared_group(aid, LAB),
                            mine.share_mailbox(aid, OTHER)):
                with pytest.raises(ForbiddenError):
                    await attempt
            assert await mine.get_shared_groups(aid) == [LAB]

            with pytest.raises(BadEntityIdError):
                await mine.share_mailbox(AgentId.new(), LAB)
            await ada.terminate(aid)
            with pytest.raises(MailboxTerminatedError):
                await mine.get_shared_groups(aid)
            await mine.close()
            await his.close()

    run(test())


def test_nobody_is_unauthorized(exchange):
    at = exchange(identity=True)

    async def test():
        with pytest.raises(UnauthorizedError):
            await HttpExchangeFactory(at.url).create_user_client()

    run(test())


def test_members_of_a_group_call_each_others_agents(exchange, processes):
    """An agent of Ada's and a user of Bob's: each shares its mailbox with the
    lab, and so the answer finds its way back."""
    at = exchange(identity=True, workers=2)
    adder = AgentId(**processes.agent(
        {"url": at.url, "additional_headers": {
            "X-Client": "ada", "X-Groups": str(LAB)}}, "Adder"))

    async def test():
        ada = await caller(at, "ada", LAB).console()
        bob = caller(at, "bob", LAB)
        async with await bob.create_user_client() as user:
            with pytest.raises(ForbiddenError):
                await Handle(adder).add(1, 2)
            await ada.share_mailbox(adder, LAB)
            console = await bob.console()
            await console.share_mailbox(user.client_id, LAB)
            assert await asyncio.wait_for(Handle(adder).add(1, 2), 10) == 3
            await console.close()
        await ada.close()

    run(test())
    assert processes.live() == 1


@pytest.mark.nginx_only
def test_nobody_speaks_as_somebody_else(exchange):
    """academy_verify_source: a message from a mailbox that the caller may not
    use is refused."""
    at = exchange(identity=True)

    async def test():
        from academy.message import Message, PingRequest

        async with await caller(at, "ada").create_user_client() as ada, \
                await caller(at, "eve").create_user_client() as eve:
            victim = (await eve.register_agent(Adder)).agent_id
            with pytest.raises(ForbiddenError):
                await eve.send(Message.create(
                    src=ada.client_id, dest=victim, body=PingRequest()))
            await eve.send(Message.create(
                src=eve.client_id, dest=victim, body=PingRequest()))
            assert (await eve.agent_stats(victim)).queued == 1

    run(test())
