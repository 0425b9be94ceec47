"""The scripts and the reference's own back end on one Redis, at the same time:
what one does the other one finds."""

import asyncio
import time
import uuid

import pytest
from academy.exception import (BadEntityIdError, ForbiddenError,
                               MailboxTerminatedError)
from academy.exchange.cloud.backend import RedisBackend
from academy.exchange.cloud.client_info import ClientInfo
from academy.exchange.mailbox_status import MailboxStatus
from academy.identifier import AgentId, UserId
from academy.message import Message, PingRequest

from scripts import FORBIDDEN, MISSING, OK, TERMINATED, WEEK, YEAR

MRO = ("m.Mine", "m.Base", "academy.agent.Agent")

ALICE = ClientInfo(client_id="alice", group_memberships={"group"})
BOB = ClientInfo(client_id="bob", group_memberships={"group", "other"})


@pytest.fixture
def backend(socket):
    """A function that runs a coroutine of a back end of the reference's."""
    async def call(name, *args, **kwargs):
        backend = RedisBackend(
            kwargs={"unix_socket_path": socket}, mailbox_expiration_s=WEEK,
            gravestone_expiration_s=YEAR)
        try:
            return await getattr(backend, name)(*args, **kwargs)
        finally:
            await backend._client.aclose()

    return lambda *args, **kwargs: asyncio.run(call(*args, **kwargs))


@pytest.fixture
def agent():
    return AgentId.new(name="agent")


@pytest.fixture
def user():
    return UserId.new(name="user")


def put(x, message, **more):
    return x.put(str(message.src.uid), str(message.dest.uid),
                 tag=str(message.tag), response=message.is_response(),
                 header=message.header.model_dump_json(),
                 json=message.model_dump_json(), **more)


def ping(src, dest, label=None):
    return Message.create(src, dest, body=PingRequest(), label=label)


def took(x, uid, **more):
    answer = x.take(uid, 10, **more)
    return [Message.model_validate_json(text) for _, text in answer]


def test_made_by_the_scripts(x, backend, agent, user):
    uid = str(agent.uid)
    assert x.create(uid, mro=",".join(MRO)) == OK
    assert x.create(str(user.uid)) == OK
    assert backend("check_mailbox", ALICE, agent) == MailboxStatus.ACTIVE
    with pytest.raises(ForbiddenError):
        backend("check_mailbox", BOB, agent)

    for subclasses, name in (False, "m.Mine"), (True, "m.Base"):
        assert backend("discover", ALICE, name, subclasses) == [agent]
    assert backend("discover", ALICE, "m.Base", False) == []
    assert backend("discover", BOB, "m.Base", True) == []

    x.share(uid, "group")
    assert backend("get_mailbox_shares", ALICE, agent) == ["group"]
    assert backend("discover", BOB, "m.Base", True) == [agent]
    assert backend("heartbeat_status", BOB, agent) is None
    x.beat(uid)
    assert 0 <= backend("heartbeat_status", BOB, agent) < 5

    message = ping(user, agent)
    assert put(x, message) == OK
    stats = backend("agent_stats", BOB, agent)
    assert (stats.incoming, stats.queued, stats.completed) == (1, 1, 0)
    assert backend("agent_stats", ALICE, user).outgoing == 1
    assert backend("get", BOB, agent, timeout=1) == message
    answer = message.create_response(PingRequest())
    backend("put", ALICE, answer)
    assert took(x, str(user.uid)) == [answer]
    assert x.stats(uid) == [OK, 0, 1, 0, 0]

    x.terminate_all(uid)
    assert backend("check_mailbox", ALICE, agent) == MailboxStatus.TERMINATED
    with pytest.raises(MailboxTerminatedError):
        backend("put", ALICE, ping(user, agent))
    with pytest.raises(MailboxTerminatedError):
        backend("get", ALICE, agent, timeout=1)
    assert backend("discover", ALICE, "m.Base", True) == []
    with pytest.raises(BadEntityIdError):
        backend("put", ALICE, ping(user, AgentId.new()))


def test_made_by_python(x, backend, agent, user):
    uid = str(agent.uid)
    backend("create_mailbox", ALICE, agent, MRO)
    backend("create_mailbox", ALICE, user)
    assert x.status(uid) == OK
    assert x.status(uid, client="bob", groups="group") == FORBIDDEN
    assert x.create(uid, client="bob") == FORBIDDEN
    assert x.create(uid) == OK

    backend("share_mailbox", ALICE, agent, "group")
    assert x.shares(uid) == [OK, "group"]
    assert x.status(uid, client="bob", groups="group") == OK
    assert x.unshare(uid, "group") == OK
    with pytest.raises(ForbiddenError):
        backend("check_mailbox", BOB, agent)

    assert x.heartbeat(uid) == [OK, -1]
    backend("update_heartbeat", ALICE, agent)
    assert 0 <= x.heartbeat(uid)[1] < 5000

    assert x.discover("m.Base") == []
    x.index(uid, str(user.uid))
    assert x.discover("m.Base") == [uid]
    assert x.discover("m.Mine", subclasses=False) == [uid]

    message = ping(user, agent)
    backend("put", ALICE, message)
    x.requests((uid, str(message.tag)))
    assert x.stats(uid) == [OK, 0, 0, 1, 1]
    assert x.stats(str(user.uid)) == [OK, 1, 0, 0, 0]
    assert took(x, uid) == [message]
    answer = message.create_response(PingRequest())
    assert put(x, answer) == OK
    assert backend("get", ALICE, user, timeout=1) == answer
    assert backend("agent_stats", ALICE, agent).completed == 1

    # and a request from there to here that is answered there
    message = ping(user, agent)
    assert put(x, message) == OK
    assert backend("get", ALICE, agent, timeout=1) == message
    backend("put", ALICE, message.create_response(PingRequest()))
    assert x.stats(uid) == [OK, 0, 2, 0, 0]
    assert x.stats(str(user.uid))[4] == 1


@pytest.mark.parametrize("by", ["scripts", "python"])
def test_termination(x, db, backend, agent, by):
    """Requests of both kinds get their answer, whoever ends the mailbox."""
    uid = str(agent.uid)
    users = [UserId.new() for _ in range(4)]
    for i, user in enumerate(users):
        if i % 2:
            x.create(str(user.uid))
        else:
            backend("create_mailbox", ALICE, user)
    backend("create_mailbox", ALICE, agent, MRO)
    sent = [ping(user, agent, label=uuid.uuid4()) for user in users]
    for message in sent[:2]:
        put(x, message)
    for message in sent[2:]:
        backend("put", ALICE, message)
        x.requests((uid, str(message.tag)))
    x.index(uid)

    if by == "scripts":
        x.terminate_all(uid)
    else:
        backend("terminate", ALICE, agent)
        x.index(uid)
        x.requests(*((uid, str(message.tag)) for message in sent))
        for each in db.smembers("academy:closing"):
            x.close(each)

    assert x.status(uid) == TERMINATED
    assert x.take(uid) == TERMINATED
    assert x.discover("m.Base") == []
    for i, (user, message) in enumerate(zip(users, sent)):
        if i % 2:
            answer = backend("get", ALICE, user, timeout=1)
            assert x.stats(str(user.uid))[4] == 0
        else:
            (answer,) = took(x, str(user.uid))
        assert (answer.tag, answer.label) == (message.tag, message.label)
        assert (answer.src, answer.dest) == (agent, user)
        assert isinstance(answer.get_body().get_exception(),
                          MailboxTerminatedError)
    assert db.keys("request:*") == db.keys("academy:requests:*") == []
    assert db.exists("academy:closing") == 0


def test_listeners_of_python(x, backend, socket, agent, user):
    """One that waits there gets what is put here, and the end."""
    uid = str(agent.uid)
    for each in uid, str(user.uid):
        x.create(each)
    x.share(uid, "group")
    message = ping(user, agent)

    async def wait(client):
        backend = RedisBackend(kwargs={"unix_socket_path": socket})
        try:
            return await backend.get(client, agent, timeout=5)
        finally:
            await backend._client.aclose()

    async def both(do):
        waiting = asyncio.create_task(wait(ALICE))
        while not x.db.client_list(_type="normal") or all(
                c["cmd"] != "blpop" for c in x.db.client_list()):
            await asyncio.sleep(0.005)
        do()
        return await waiting

    def unshare_and_put():
        x.unshare(uid, "group")
        put(x, message)

    assert asyncio.run(both(unshare_and_put)) == message
    ((seq, text),) = (put(x, message), x.take(uid))[1]
    assert asyncio.run(both(lambda: x.give_back((uid, seq)))) == message
    with pytest.raises(MailboxTerminatedError):
        asyncio.run(both(lambda: x.terminate(uid)))


def test_times_of_python(x, db, backend, agent, user):
    """What the reference gives no expiry gets one when it is used here."""
    uid = str(agent.uid)
    backend("create_mailbox", ALICE, agent, MRO)
    backend("create_mailbox", ALICE, user)
    db.persist("active:" + uid)
    backend("share_mailbox", ALICE, agent, "group")
    backend("put", ALICE, ping(agent, user))
    assert db.ttl("share:" + uid) == db.ttl("outgoing:" + uid) == -1
    x.index(uid)
    x.beat(uid)
    keys = [key for key in db.keys("*" + uid + "*")]
    assert {"share:" + uid, "outgoing:" + uid, "heartbeat:" + uid} < set(keys)
    for key in keys + db.keys("academy:class:*"):
        assert db.ttl(key) > YEAR - 100, key


def test_a_revival(x, backend, db, agent, user):
    """What the reference's create does to a terminated mailbox."""
    uid = str(agent.uid)
    for each in agent, user:
        x.create(str(each.uid))
    put(x, ping(user, agent))
    x.terminate(uid)
    backend("create_mailbox", ALICE, agent, MRO)
    x.index(uid)
    assert x.status(uid) == OK
    assert x.discover("m.Mine") == [uid]
    message = ping(user, agent)
    assert put(x, message) == OK
    assert x.close(uid) == [OK, 0]
    assert took(x, uid) == [message]
    assert x.status(str(uuid.uuid4())) == MISSING
    assert float(db.get("heartbeat:" + uid)) <= time.time() + 1
