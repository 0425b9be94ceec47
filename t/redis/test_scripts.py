"""The scripts alone: what an operation answers, and what it leaves in Redis."""

import contextlib
import json
import time
import uuid

import pytest
import redis
from academy.exception import MailboxTerminatedError
from academy.identifier import AgentId, UserId
from academy.message import Message, PingRequest

from scripts import (FORBIDDEN, MANY_BYTES, MANY_MAILBOXES, MANY_MESSAGES,
                     MISSING, OK, SHARED, TERMINATED, WEEK, YEAR, Exchange,
                     new, server)

MRO = "m.Mine,m.Base,academy.agent.Agent"


@pytest.fixture
def pair(x):
    """An agent's mailbox and a user's."""
    agent, user = new(), new()
    assert x.create(agent, mro=MRO) == OK
    assert x.create(user) == OK
    return agent, user


def request(src, dest, **more):
    """A message and the arguments of put that belong to it."""
    message = Message.create(src, dest, body=PingRequest(), **more)
    return message, dict(tag=str(message.tag),
                         header=message.header.model_dump_json(),
                         json=message.model_dump_json())


# ------------------------------------------------------------------ mailboxes


def test_create(x, db):
    uid = new()
    assert x.status(uid) == MISSING
    assert x.create(uid, mro=MRO) == OK
    assert x.status(uid) == OK
    assert db.mget("active:" + uid, "owner:" + uid, "agent:" + uid) == [
        "ACTIVE", "alice_", MRO]

    # again, by whoever may use it: all stays as it was
    assert x.create(uid, mro="other.Class") == OK
    assert x.create(uid, client="bob") == FORBIDDEN
    x.share(uid, "group")
    assert x.create(uid, client="bob", groups="a,group") == OK
    assert db.mget("owner:" + uid, "agent:" + uid) == ["alice_", MRO]

    # the client without a name, of an exchange without authentication
    nobodys = new()
    assert x.create(nobodys, client="") == OK
    assert db.get("owner:" + nobodys) == "_"
    assert x.status(nobodys, client="") == OK
    assert x.status(nobodys) == FORBIDDEN


def test_create_after_the_end(x, db, pair):
    agent, _ = pair
    x.terminate(agent)
    assert x.create(agent, mro=MRO) == OK
    assert x.status(agent) == TERMINATED
    assert db.get("agent:" + agent) is None
    assert x.create(agent, client="bob") == FORBIDDEN


def test_create_is_new(x, db):
    """Nothing that an expired mailbox of the same id left is the new one's."""
    uid = new()
    db.sadd("share:" + uid, "group")
    db.rpush("queue:" + uid, "<CLOSED>")
    db.set("completions:" + uid, 7)
    db.set("agent:" + uid, MRO)
    assert x.create(uid) == OK
    assert x.take(uid) == []
    assert x.shares(uid) == OK
    assert x.stats(uid) == [OK, 0, 0, 0, 0]
    assert db.get("agent:" + uid) is None


def test_limit_of_mailboxes(x, db):
    mine = [new() for _ in range(3)]
    assert [x.create(uid, limit=3) for uid in mine] == [OK] * 3
    assert db.ttl("academy:owned:alice") > YEAR - 100
    assert x.create(new(), limit=3) == MANY_MAILBOXES
    assert x.create(new(), client="bob", limit=3) == OK
    assert x.create(mine[0], limit=3) == OK

    # a gravestone counts, and what has expired does not
    x.terminate(mine[1])
    assert x.create(new(), limit=3) == MANY_MAILBOXES
    db.delete("active:" + mine[2])
    assert x.create(new(), limit=3) == OK
    assert x.create(new(), limit=3) == MANY_MAILBOXES
    assert x.create(new(), limit=4) == OK


def test_limit_finds_what_has_expired(x, db):
    """Behind many that are there it takes some tries, and not for ever."""
    mine = [new() for _ in range(120)]
    for uid in mine:
        x.create(uid)
    db.delete("active:" + mine[-1])
    answers = [x.create(new(), limit=120) for _ in range(4)]
    assert answers.count(OK) == 1


def test_permission(x, pair):
    agent, _ = pair
    assert x.status(agent, client="bob") == FORBIDDEN
    assert x.status(agent, client="bob", groups="group") == FORBIDDEN
    x.share(agent, "group")
    assert x.status(agent, client="bob", groups="group") == OK
    assert x.status(agent, client="bob", groups="a,group,z") == OK
    assert x.status(agent, client="bob", groups="grou,groups,a-group") == (
        FORBIDDEN)
    assert x.status(agent, client="bob") == FORBIDDEN

    # 403 comes before 419, and an unknown mailbox is 404 for all
    x.terminate(agent)
    for ask in x.status, x.beat, x.take:
        assert ask(agent, client="bob") == FORBIDDEN
        assert ask(agent) == TERMINATED
        assert ask(agent, client="bob", groups="group") == TERMINATED
        assert ask(new()) == MISSING
    for ask in x.heartbeat, x.stats, x.terminate:
        assert ask(agent, client="bob")[0] == FORBIDDEN
    assert x.heartbeat(agent)[0] == TERMINATED
    assert x.heartbeat(new())[0] == MISSING


def test_share(x, db, pair):
    agent, user = pair
    assert x.share(new(), "group") == MISSING
    assert x.share(agent, "group", client="bob") == FORBIDDEN
    assert x.share(agent, "group", member=False) == FORBIDDEN
    assert x.share(agent, "group") == OK
    assert x.share(agent, "group") == OK
    assert x.share(agent, "other") == OK

    # a share does not make an owner
    db.sadd("share:" + user, "group")
    for ask in x.share, x.unshare:
        assert ask(user, "group", client="bob") == FORBIDDEN
        assert ask(new(), "group") == MISSING
    assert x.shares(user, client="bob") == FORBIDDEN
    assert x.shares(new()) == MISSING

    code, *groups = x.shares(agent)
    assert code == OK and sorted(groups) == ["group", "other"]
    assert x.unshare(agent, "group") == OK
    assert x.unshare(agent, "group") == OK
    assert x.shares(agent) == [OK, "other"]
    assert x.status(agent, client="bob", groups="group") == FORBIDDEN

    x.terminate(agent)
    assert x.share(agent, "group") == TERMINATED
    assert x.share(agent, "group", member=False) == FORBIDDEN
    assert x.share(agent, "group", client="bob") == FORBIDDEN
    assert x.shares(agent) == TERMINATED
    assert x.unshare(agent, "other") == TERMINATED
    assert x.shares(agent, client="bob") == FORBIDDEN
    assert db.smembers("share:" + agent) == {"other"}


def test_as_many_shares_as_may_be(x, db, pair):
    agent, _ = pair
    db.sadd("share:" + agent, *(f"group {i}" for i in range(256)))
    assert x.share(agent, "one more") == SHARED
    assert x.share(agent, "group 7") == OK
    assert len(x.shares(agent)) == 257


def test_unshare_is_told(x, db, pair):
    """Who is subscribed to the queue hears of it, and the queue stays."""
    agent, user = pair
    x.share(agent, "group")
    with db.pubsub() as events:
        events.subscribe(f"__keyspace@0__:queue:{agent}")
        assert events.get_message(timeout=5)["type"] == "subscribe"
        x.unshare(agent, "none")
        assert events.get_message(timeout=0.05) is None
        x.unshare(agent, "group")
        assert events.get_message(timeout=5)["data"] == "rpush"
    assert x.queue(agent) == []
    x.put(user, agent, json="one")
    x.share(agent, "group")
    x.unshare(agent, "group")
    assert x.queue(agent) == ["one"]


def test_heartbeat(x, db, pair):
    agent, _ = pair
    assert x.heartbeat(agent) == [OK, -1]
    assert x.beat(agent) == OK
    db.set("heartbeat:" + agent, str(time.time() - 5))
    code, ms = x.heartbeat(agent)
    assert code == OK and 4900 <= ms < 6000
    assert x.beat(agent) == OK
    assert 0 <= x.heartbeat(agent)[1] < 900
    assert abs(float(db.get("heartbeat:" + agent)) - time.time()) < 1

    # a clock that was ahead
    db.set("heartbeat:" + agent, str(time.time() + 5))
    assert x.heartbeat(agent) == [OK, 0]
    assert x.beat(new()) == MISSING


def test_signs_of_life(x, db, pair):
    """A receive, a listen and a send are one; to be sent to is none."""
    agent, user = pair
    x.put(user, agent)
    assert x.heartbeat(user)[1] >= 0
    assert x.heartbeat(agent) == [OK, -1]
    x.take(agent)
    assert x.heartbeat(agent)[1] >= 0

    for ask, sign in ((dict(asked=True), True), ({}, False)):
        db.delete("heartbeat:" + agent)
        assert x.take(agent, **ask) == []
        assert (x.heartbeat(agent)[1] >= 0) == sign

    # one of a second ago is renewed, and a younger one not with each message
    db.set("heartbeat:" + user, time.time() - 1.5)
    x.put(user, agent)
    first = db.get("heartbeat:" + user)
    assert abs(float(first) - time.time()) < 1
    x.put(user, agent)
    assert db.get("heartbeat:" + user) == first


def test_stats(x, pair):
    agent, user = pair
    assert x.stats(agent) == [OK, 0, 0, 0, 0]
    tags = [new() for _ in range(3)]
    for tag in tags:
        assert x.put(user, agent, tag) == OK
    assert x.stats(user) == [OK, 3, 0, 0, 0]
    assert x.stats(agent) == [OK, 0, 0, 3, 3]
    x.take(agent, 2)
    assert x.stats(agent) == [OK, 0, 0, 3, 1]
    x.put(agent, user, tags[0], response=True)
    x.put(agent, user, tags[0], response=True)
    x.put(agent, user, response=True)
    assert x.stats(agent) == [OK, 0, 1, 2, 1]
    assert x.stats(user) == [OK, 3, 0, 0, 3]

    x.terminate(agent)
    assert x.stats(agent) == [OK, 0, 0, 0, 0]
    assert x.stats(new()) == [OK, 0, 0, 0, 0]
    assert x.stats(agent, client="bob")[0] == FORBIDDEN


def test_stats_of_many(x, db, pair):
    """More than are looked at one by one; and one that expired is none."""
    agent, user = pair
    for _ in range(130):
        x.put(user, agent)
    assert x.stats(agent) == [OK, 0, 0, 130, 130]
    db.zadd("academy:requests:" + agent, {new(): time.time() - 5})
    assert x.stats(agent) == [OK, 0, 0, 130, 130]


def test_open_requests_that_expired_go(x, db, pair):
    agent, user = pair
    db.zadd("academy:requests:" + agent,
            {f"old {i}": 1e9 + i for i in range(70)})
    x.put(user, agent)
    assert db.zcard("academy:requests:" + agent) == 71
    for _ in range(2):
        x.put(user, agent, tidy=True)
    assert db.zcard("academy:requests:" + agent) == 3


# ------------------------------------------------------------------ discovery


def test_discover(x, pair):
    agent, _ = pair
    derived = new()
    x.create(derived, mro="m.Derived," + MRO)
    assert set(x.discover("m.Mine")) == {agent, derived}
    assert x.discover("m.Mine", subclasses=False) == [agent]
    assert x.discover("m.Derived", subclasses=False) == [derived]
    assert x.discover("Mine") == x.discover("m") == x.discover("m.Min") == []
    assert x.discover("m.Base", subclasses=False) == []
    assert set(x.discover("academy.agent.Agent")) == {agent, derived}

    assert x.discover("m.Mine", client="bob") == []
    x.share(agent, "group")
    assert x.discover("m.Mine", client="bob", groups="a,group") == [agent]

    x.terminate(agent)
    assert x.discover("m.Mine") == [derived]
    assert x.discover("m.Mine", client="bob", groups="a,group") == []


def test_discover_in_pages(x):
    uids = [new() for _ in range(250)]
    for i, uid in enumerate(uids):
        x.create(uid, client="bob" if i % 5 == 0 else "alice", mro=MRO)
    mine = [uid for i, uid in enumerate(uids) if i % 5]
    for n in 1000, 100, 7:
        found = x.discover("m.Base", n=n)
        assert found == sorted(mine)
    after, page = x.discover_page("m.Base", n=1000)
    assert after == sorted(uids)[59] and len(page) <= 60


def test_discover_mends_the_index(x, db, pair):
    agent, _ = pair
    for wrong in ((db.delete, "active:"), (db.delete, "agent:"),
                  (lambda key: db.set(key, "TERMINATED"), "active:"),
                  (lambda key: db.set(key, "other.Class,m.Base"), "agent:")):
        uid = new()
        x.create(uid, mro=MRO)
        assert set(x.discover("m.Mine")) == {agent, uid}
        wrong[0](wrong[1] + uid)
        assert x.discover("m.Mine") == [agent]
        assert db.zrange("academy:class:m.Mine", 0, -1) == [agent]


def test_who_joins_sweeps(x, db):
    """A class that nobody asks for does not fill with what is gone."""
    gone = [new() for _ in range(500)]
    db.zadd("academy:class:academy.agent.Agent", dict.fromkeys(gone, 0))
    for _ in range(1500):
        x.create(new(), mro="academy.agent.Agent")
    members = set(db.zrange("academy:class:academy.agent.Agent", 0, -1))
    assert len(members & set(gone)) < 150


# ------------------------------------------------------------------- messages


def test_put(x, db, pair):
    agent, user = pair
    tag = new()
    assert x.put(user, agent, tag, header="{1}", json="one") == OK
    assert db.get(f"request:{agent}:{tag}") == "{1}"
    assert db.zrange("academy:requests:" + agent, 0, -1) == [tag]
    assert db.get("outgoing:" + user) == "1"
    assert db.ttl("outgoing:" + user) > YEAR - 100

    # the same tag again stands for the later request
    assert x.put(user, agent, tag, header="{2}", json="two") == OK
    assert db.get(f"request:{agent}:{tag}") == "{2}"
    assert db.get("outgoing:" + user) == "2"
    assert x.queue(agent) == ["one", "two"]
    assert x.stats(agent)[3] == 1

    assert x.put(agent, user, tag, response=True, json="answer") == OK
    assert db.get(f"request:{agent}:{tag}") is None
    assert db.exists("academy:requests:" + agent) == 0
    assert db.get("completions:" + agent) == "1"
    assert x.queue(user) == ["answer"]

    # nobody asked: delivered all the same
    assert x.put(agent, user, response=True, json="more") == OK
    assert db.get("completions:" + agent) == "1"
    assert x.queue(user) == ["answer", "more"]


def test_put_is_refused(x, db, pair):
    agent, user = pair
    assert x.put(user, new()) == MISSING
    assert x.put(user, agent, client="bob") == FORBIDDEN

    # who may write to it, and does not own the mailbox that it speaks for
    x.share(agent, "group")
    bobs = new()
    x.create(bobs, client="bob")
    bob = dict(client="bob", groups="group")
    assert x.put(user, agent, **bob) == FORBIDDEN
    assert x.put(user, new(), **bob) == FORBIDDEN
    assert x.put(bobs, new(), **bob) == MISSING
    assert x.put(bobs, agent, **bob) == OK
    assert x.put(new(), agent, **bob) == OK

    x.terminate(agent)
    assert x.put(user, agent) == TERMINATED
    assert x.put(user, agent, **bob) == FORBIDDEN
    assert x.put(bobs, agent, client="bob") == FORBIDDEN
    assert x.queue(agent) == ["<CLOSED>"]


def test_put_for_another(x, db, pair):
    """Where sources are not verified the other one's figures stay."""
    agent, user = pair
    tag = new()
    x.put(user, agent, tag)
    before = db.get("heartbeat:" + user)
    db.delete("heartbeat:" + agent)
    x.share(user, "group")
    x.share(agent, "group")
    bob = dict(client="bob", groups="group", verify=False)
    carols = new()
    x.create(carols, client="carol")
    assert x.put(carols, user, new(), **bob) == OK
    assert x.stats(carols, client="carol") == [OK, 0, 0, 0, 0]
    assert x.heartbeat(carols, client="carol") == [OK, -1]

    x.unshare(agent, "group")
    assert x.put(agent, user, tag, response=True, **bob) == OK
    assert x.stats(agent) == [OK, 0, 0, 1, 1]
    assert x.heartbeat(agent) == [OK, -1]
    assert db.get("heartbeat:" + user) == before


def test_a_source_that_is_not_there(x, db, pair):
    agent, _ = pair
    stranger = new()
    assert x.put(stranger, agent) == OK
    assert db.exists("outgoing:" + stranger, "heartbeat:" + stranger) == 0
    assert x.stats(agent) == [OK, 0, 0, 1, 1]


def test_deduplicate(x, db, pair):
    agent, user = pair
    tag = new()
    assert x.put(user, agent, tag, json="one", dedupe=60000) == OK
    assert x.put(user, agent, tag, json="again", dedupe=60000) == OK
    assert x.queue(agent) == ["one"]
    assert db.get("outgoing:" + user) == "1"

    # to ask again is a sign of life
    db.delete("heartbeat:" + user)
    x.put(user, agent, tag, dedupe=60000)
    assert x.heartbeat(user)[1] >= 0

    # another tag, kind, source or destination is another message
    x.put(user, agent, new(), json="two", dedupe=60000)
    x.put(user, agent, tag, json="three", response=True, dedupe=60000)
    x.put(agent, agent, tag, json="four", dedupe=60000)
    x.put(user, user, tag, json="five", dedupe=60000)
    assert x.queue(agent) == ["one", "two", "three", "four"]
    assert x.queue(user) == ["five"]

    # off, and another time later
    x.put(user, agent, tag, json="six")
    assert x.queue(agent)[-1] == "six"
    short = new()
    x.put(user, agent, short, json="seven", dedupe=40)
    x.put(user, agent, short, json="not", dedupe=40)
    time.sleep(0.06)
    x.put(user, agent, short, json="eight", dedupe=40)
    assert x.queue(agent)[-2:] == ["seven", "eight"]

    # what was refused is not remembered; and a repeat is no longer refused
    other = new()
    assert x.put(user, agent, other, dedupe=60000, messages=1) == MANY_MESSAGES
    assert x.put(user, agent, tag, dedupe=60000, messages=1) == OK
    assert x.put(user, agent, other, json="nine", dedupe=60000) == OK
    assert x.queue(agent)[-1] == "nine"
    x.terminate(agent)
    assert x.put(user, agent, tag, dedupe=60000) == TERMINATED


def test_limit_of_messages(x, pair):
    agent, user = pair
    assert [x.put(user, agent, messages=2) for _ in range(3)] == [
        OK, OK, MANY_MESSAGES]
    assert x.put(user, user, messages=2) == OK

    # until its receiver has it a message counts
    (first, _), (second, _) = x.take(agent, 2)
    assert x.put(user, agent, messages=2) == MANY_MESSAGES
    x.settle((agent, first, 2))
    assert x.put(user, agent, messages=2) == OK
    assert x.put(user, agent, messages=2) == MANY_MESSAGES
    x.give_back((agent, second))
    assert x.put(user, agent, messages=2) == MANY_MESSAGES
    assert x.stats(agent) == [OK, 0, 0, 3, 2]


def test_limit_of_bytes(x, db, pair):
    agent, user = pair
    limit = dict(size=100, json="x" * 40)
    assert [x.put(user, agent, **limit) for _ in range(3)] == [
        OK, OK, MANY_BYTES]
    assert x.put(user, agent, size=100, json="x" * 20) == OK
    assert x.put(user, agent, size=100, json="x") == MANY_BYTES
    assert x.put(user, agent, size=100, json="x", messages=3) == MANY_MESSAGES

    leases = x.take(agent, 9)
    assert x.put(user, agent, size=100, json="x") == MANY_BYTES
    x.settle(*((agent, seq, len(text)) for seq, text in leases[:2]))
    assert x.put(user, agent, size=100, json="x" * 80) == OK
    assert x.put(user, agent, size=100, json="x") == MANY_BYTES
    x.give_back((agent, leases[2][0]))
    assert x.put(user, agent, size=100, json="x") == MANY_BYTES

    # settled twice is settled once
    leases = x.take(agent, 9)
    for _ in range(2):
        x.settle(*((agent, seq, len(text)) for seq, text in leases))
    assert x.put(user, agent, size=100, json="x" * 100) == OK

    # what a Python exchange took is not missed when the mailbox is empty
    db.lpop("queue:" + agent)
    assert x.put(user, agent, size=100, json="x" * 100) == OK
    assert x.put(user, agent, size=0, json="x" * 100) == OK


def test_take(x, db, pair):
    agent, user = pair
    assert x.take(agent) == []
    for i in range(5):
        x.put(user, agent, json=str(i))
    assert x.take(agent) == [(1, "0")]
    assert x.take(agent, 3) == [(2, "1"), (3, "2"), (4, "3")]
    assert x.more == 1
    assert x.take(agent) == [(5, "4")]
    assert x.more == 0
    assert x.take(agent, 3, asked=True) == []
    assert db.zrange(f"academy:leases:{x.node}", 0, -1) == [
        f"{agent}:{i}" for i in range(1, 6)]
    assert db.lrange(f"academy:lease:{x.node}:4", 0, -1) == ["3"]

    x.settle((agent, 2, 1), (agent, 4, 1))
    assert db.zrange(f"academy:leases:{x.node}", 0, -1) == [
        f"{agent}:{i}" for i in (1, 3, 5)]
    assert db.exists(f"academy:lease:{x.node}:4") == 0
    x.settle((agent, 1, 1), (agent, 3, 1), (agent, 5, 1))
    assert db.keys("academy:lease*") == []


def test_take_of_large_ones(x, pair):
    """However many are asked for, what is at work on them is bounded."""
    agent, user = pair
    for _ in range(10):
        x.put(user, agent, json="x" * 50000)
    took = []
    while leases := x.take(agent, 10):
        took.append(len(leases))
    assert took == [3, 3, 3, 1]


def test_take_after_a_revival(x, db, pair):
    """A Python exchange opens again what was closed; its mark is no message."""
    agent, user = pair
    x.terminate(agent)
    db.set("active:" + agent, "ACTIVE")
    x.put(user, agent, json="one")
    assert x.queue(agent) == ["<CLOSED>", "one"]
    assert x.take(agent) == [(1, "one")]
    assert db.lrange(f"academy:lease:{x.node}:1", 0, -1) == ["one"]
    assert db.keys("academy:lease:*") == [f"academy:lease:{x.node}:1"]


def test_give_back(x, db, pair):
    agent, user = pair
    for i in range(4):
        x.put(user, agent, json=str(i))
    x.take(agent, 3)
    x.give_back((agent, 3), (agent, 2), (agent, 1))
    assert x.queue(agent) == ["0", "1", "2", "3"]
    assert db.keys("academy:lease*") == []
    assert WEEK - 5 <= db.ttl("queue:" + agent) <= WEEK

    # twice is once, and settled is settled
    leases = x.take(agent, 4)
    x.settle((agent, leases[0][0], 1))
    for _ in range(2):
        x.give_back((agent, leases[1][0]), (agent, leases[0][0]))
    assert x.queue(agent) == ["1"]

    # to the only one of an empty queue, as to others
    x.settle(*((agent, seq, 1) for seq, _ in leases[2:]))
    ((seq, _),) = x.take(agent)
    assert db.exists("queue:" + agent) == 0
    x.give_back((agent, seq))
    assert x.queue(agent) == ["1"]
    assert WEEK - 5 <= db.ttl("queue:" + agent) <= WEEK


def test_give_back_in_parts(x, db, pair):
    """Nobody takes what is to come behind the rest."""
    agent, user = pair
    for i in range(6):
        x.put(user, agent, json=str(i))
    x.put(user, user, json="other")
    x.take(agent, 5)
    x.take(user)
    x.give_back((user, 6), (agent, 5), (agent, 4), after=True)
    assert x.take(user) == [(7, "other")]
    assert x.take(agent, 9) == []
    assert x.more == 2
    x.give_back((agent, 3), (agent, 2), before=True, after=True)
    assert x.take(agent, asked=True) == []
    x.give_back((agent, 1), (user, 7), before=True)
    assert db.keys("academy:hold:*") == []
    assert [json for _, json in x.take(agent, 9)] == list("012345")

    # a part that is given back again does not know of the one before
    x.give_back((agent, x.seq), after=True)
    x.give_back((agent, x.seq - 1))
    assert db.keys("academy:hold:*") == []

    # who was to give back the rest is gone
    x.give_back((agent, x.seq), after=True)
    assert 2000 < db.pttl("academy:hold:" + agent) <= 3000


def test_give_back_to_nobody(x, db, pair):
    agent, user = pair
    for uid in pair:
        x.put(user, uid)
    ((first, _),) = x.take(agent)
    ((second, _),) = x.take(user)
    x.terminate_all(agent)
    db.delete("active:" + user)
    x.give_back((user, second), (agent, first))
    assert x.queue(agent) == ["<CLOSED>"]
    assert x.queue(user) == []
    assert db.keys("academy:lease*") == []


# ---------------------------------------------------------------- termination


def test_terminate(x, db, pair):
    agent, user = pair
    assert x.terminate(new()) == [OK, 0]
    assert x.terminate(agent, client="bob") == [FORBIDDEN, 0]
    x.put(user, user, messages=9)
    x.put(user, agent, messages=9)
    x.share(agent, "group")
    kept = "academy:owned:alice", "owner:" + agent, "share:" + agent
    for key in kept:
        db.expire(key, 100)
    assert x.terminate(agent, client="bob", groups="group") == [OK, 1]
    assert all(db.ttl(key) > YEAR - 100 for key in kept)
    assert x.status(agent) == TERMINATED
    assert db.get("active:" + agent) == "TERMINATED"
    assert db.get("owner:" + agent) == "alice_"
    assert db.smembers("share:" + agent) == {"group"}
    assert db.get("agent:" + agent) is None
    assert x.queue(agent) == ["<CLOSED>"]
    assert db.keys("academy:class:*") + db.keys("academy:first:*") == []
    assert db.smembers("academy:closing") == {agent}

    assert x.terminate(agent) == [OK, 0]
    assert x.close(agent) == [OK, 0]
    assert db.exists("academy:closing") == 0
    assert x.queue(agent) == ["<CLOSED>"]
    assert x.close(agent) == [OK, 0]
    assert x.terminate(user)[0] == OK


def test_requests_are_answered(x, pair):
    """As the exchange: whatever the requester's mailbox is to who ends it."""
    src = UserId.new(name='a "name" / \u00fc\U0001f600')
    agent = AgentId.new(name="agent")
    x.create(str(agent.uid), client="bob", mro=MRO)
    x.create(str(src.uid))
    x.share(str(agent.uid), "group", client="bob")
    alice = dict(client="alice", groups="group")
    sent, args = request(src, agent, label=uuid.uuid4())
    assert x.put(str(src.uid), str(agent.uid), **args, **alice) == OK

    assert x.terminate_all(str(agent.uid), client="bob") == 1
    ((_, text),) = x.take(str(src.uid), asked=True)
    answer = Message.model_validate_json(text)
    assert answer.is_response() and answer.tag == sent.tag
    assert answer.label == sent.label
    assert (answer.src, answer.dest) == (agent, src)
    assert answer.src.name == "agent" and answer.dest.name == src.name
    exception = answer.get_body().get_exception()
    assert isinstance(exception, MailboxTerminatedError)
    assert answer.get_body().mailbox_id == agent
    assert json.loads(text)["header"]["academy_version"] == "1.0.0"

    # it is no answer of the mailbox's
    assert x.stats(str(src.uid)) == [OK, 1, 0, 0, 0]


def test_an_answer_is_a_message(x, db):
    """It counts, and expires, as others do."""
    src, agent = UserId.new(), AgentId.new()
    x.create(str(src.uid))
    x.create(str(agent.uid))
    x.put(str(src.uid), str(src.uid), json="x" * 500, size=1000)
    ((seq, text),) = x.take(str(src.uid))
    _, args = request(src, agent)
    x.put(str(src.uid), str(agent.uid), **args)
    x.terminate_all(str(agent.uid))
    (answer,) = x.queue(str(src.uid))
    assert WEEK - 5 <= db.ttl("queue:" + str(src.uid)) <= WEEK
    left = 1000 - 500 - len(answer)
    assert x.put(str(src.uid), str(src.uid), json="x" * (left + 1),
                 size=1000) == MANY_BYTES
    assert x.put(str(src.uid), str(src.uid), json="x" * left, size=1000) == OK

    # of those there are already the time is not begun again
    _, args = request(src, other := AgentId.new())
    x.create(str(other.uid))
    x.put(str(src.uid), str(other.uid), **args)
    db.expire("queue:" + str(src.uid), 100)
    x.terminate_all(str(other.uid))
    x.give_back((str(src.uid), seq))
    assert len(x.queue(str(src.uid))) == 4
    assert db.ttl("queue:" + str(src.uid)) <= 100


def test_the_older_client_reads_it(x):
    """0.5.0's headers have no academy_version, and labels are null."""
    src, agent = UserId.new(), AgentId.new()
    x.create(str(src.uid))
    x.create(str(agent.uid))
    header = json.dumps({
        "src": {"uid": str(src.uid), "name": None, "role": "user"},
        "dest": {"uid": str(agent.uid), "name": None, "role": "agent"},
        "tag": new(), "label": None, "kind": "request"})
    tag = json.loads(header)["tag"]
    x.put(str(src.uid), str(agent.uid), tag, header=header)
    x.terminate_all(str(agent.uid))
    answer = json.loads(x.queue(str(src.uid))[0])
    assert answer["header"] == {
        "src": {"uid": str(agent.uid), "name": None, "role": "agent"},
        "dest": {"uid": str(src.uid), "name": None, "role": "user"},
        "tag": tag, "label": None, "kind": "response",
        "protocol_version": "1.1", "academy_version": "1.0.0"}
    assert answer["body"] == {
        "kind": "academy-error-response", "error_code": 0,
        "mailbox_id": answer["header"]["src"]}


def test_who_is_not_answered(x, db):
    """A requester that is gone or terminated, and a header that is nothing."""
    agent, here, gone, ended = ids = [AgentId.new() for _ in range(4)]
    for each in ids:
        x.create(str(each.uid))
    for src in here, gone, ended, here:
        _, args = request(src, agent)
        x.put(str(src.uid), str(agent.uid), **args)
    for header in "", "[1]", '{"src": 1}', "{", '{"src":{"uid":7},"dest":{}}':
        x.put(str(here.uid), str(agent.uid), header=header)
    db.delete("active:" + str(gone.uid))
    x.terminate_all(str(ended.uid))

    x.terminate_all(str(agent.uid))
    assert len(x.queue(str(here.uid))) == 2
    assert x.queue(str(gone.uid)) == []
    assert x.queue(str(ended.uid)) == ["<CLOSED>"]
    assert db.keys("request:*") + db.keys("academy:requests:*") == []


def test_many_requests(x, db):
    agent, sources = AgentId.new(), [UserId.new() for _ in range(20)]
    for each in agent, *sources:
        x.create(str(each.uid))
    for i in range(130):
        src = sources[i % 20]
        _, args = request(src, agent)
        x.put(str(src.uid), str(agent.uid), **args, messages=1000, size=10**6)
    assert x.terminate_all(str(agent.uid)) == 6
    assert sum(len(x.queue(str(src.uid))) for src in sources) == 130
    assert db.keys("request:*") == []
    assert db.exists("academy:closing") == 0


def test_close_of_what_is_open(x, db, pair):
    """Revived by a Python exchange meanwhile: its new requests are not ours."""
    agent, user = pair
    x.put(user, agent)
    db.sadd("academy:closing", agent)
    assert x.close(agent) == [OK, 0]
    assert x.stats(agent) == [OK, 0, 0, 1, 1]
    assert db.exists("academy:closing") == 0


# ------------------------------------------------------------ nodes, indexes


def test_leave(x, db, pair):
    agent, user = pair
    for i in range(7):
        x.put(user, agent, json=str(i))
        x.put(user, user, json=f"user {i}")
    x.tick()
    for _ in range(6):
        x.take(agent)
        x.take(user)
    steps = 0
    while x.leave(5)[1]:
        steps += 1
    assert steps == 2
    assert x.queue(agent) == [str(i) for i in range(7)]
    assert x.queue(user) == [f"user {i}" for i in range(7)]
    assert db.keys("academy:lease*") == []
    assert db.exists("academy:nodes", "academy:leader") == 0
    assert x.leave() == [OK, 0]

    # the node was not dead: what it settles or gives back then is nothing
    x.settle((agent, 1, 1))
    x.give_back((agent, 1))
    assert len(x.queue(agent)) == 7


def test_leave_in_parts(x, db, pair):
    """What comes before is not back yet: nothing is taken until it is."""
    agent, user = pair
    for i in range(90):
        x.put(user, agent, json=str(i))
    assert len(x.take(agent, 90)) == 90
    other = Exchange(x.db, x.prefix)
    x.put(user, user)
    for _ in range(2):
        assert x.leave() == [OK, 1]
        assert other.take(agent, 9) == [] and other.more == 2
        assert 2000 < db.pttl("academy:hold:" + agent) <= 3000
    assert x.leave() == [OK, 0]
    assert [json for _, json in other.take(agent, 90)] == [
        str(i) for i in range(90)]
    assert db.keys("academy:hold*") == []

    # who is to wait is let go in parts, too
    x.tick()
    boxes = [new() for _ in range(100)]
    for uid in boxes:
        x.create(uid)
        x.put(user, uid)
        x.take(uid)
    steps = 0
    while x.leave()[1]:
        steps += 1
        assert len(db.keys("academy:hold:*")) <= 80
    assert steps == 3 and db.keys("academy:hold*") == []

    # another one's is its own
    x.tick()
    x.take(agent, 90)
    for i in range(50):
        x.put(user, agent)
    x.take(agent, 50)
    x.leave()
    db.set("academy:hold:" + agent, other.node)
    x.leave()
    assert db.get("academy:hold:" + agent) == other.node


def test_what_is_read_after_the_leave(x, db, pair):
    """A dead node's commands may come from its connection when another one has
    returned its leases already: nobody would return those then."""
    agent, user = pair
    x.tick()
    x.put(user, agent, json="one")
    x.put(user, agent, json="two")
    x.take(agent)
    x.settle((agent, 1, 3))
    assert x.leave() == [OK, 0]
    assert x.take(agent) == [] and x.more == 2
    x.restore(agent, 1, 5, 0, "one")
    assert db.keys("academy:lease*") == []
    assert x.queue(agent) == ["two"]
    assert 50 < db.ttl("academy:gone:" + x.node) <= 60

    # it was alive
    x.tick()
    assert [json for _, json in x.take(agent)] == ["two"]


def test_leave_of_large_ones(x, pair):
    agent, user = pair
    for _ in range(10):
        x.put(user, agent, json="x" * 50000)
    while x.take(agent, 10):
        pass
    steps = 1
    while x.leave(100)[1]:
        steps += 1
    assert steps == 4
    assert len(x.queue(agent)) == 10


def test_restore(x, db, pair):
    agent, user = pair
    for text in ("one", "two", "three"):
        x.put(user, agent, json=text, messages=9)
    leases = x.take(agent, 3)
    x.settle((agent, 1, 3), (agent, 2, 3))

    # one is leased again, in its old place, and two goes back at once
    assert x.restore(agent, 1, 4, 5000, "one") == OK
    assert x.give_back((agent, 2, "two")) == OK
    assert x.queue(agent) == ["two"]
    held = db.get("academy:held:" + agent)
    assert x.restore(agent, 1, 4, 5000, "one") == OK
    assert db.get("academy:held:" + agent) == held
    while x.leave(1)[1]:
        pass
    assert x.queue(agent) == ["one", "three", "two"]
    assert db.get("academy:held:" + agent).startswith("0 11")
    assert db.keys("academy:lease*") == []
    assert len(leases) == 3

    # that it was settled was never told: the lease is there still
    x.tick()
    ((seq, _),) = x.take(agent)
    assert x.give_back((agent, seq, "one")) == OK
    assert x.queue(agent) == ["one", "three", "two"]
    assert db.keys("academy:lease*") == []

    x.terminate(agent)
    assert x.restore(agent, 9, 10, 9, "one") == OK
    assert db.keys("academy:lease*") == []


def test_what_was_written_goes_back_once(x, db, pair):
    """However often it is given back, and by whom: with its text, as when it
    was settled, and as a lease again."""
    agent, user = pair
    x.put(user, agent, json="one")
    x.take(agent)
    x.settle((agent, 1, 3))
    for _ in range(2):
        x.give_back((agent, 1, "one"))
    assert x.queue(agent) == ["one"]

    # leased again, returned by another node, given back by its own
    x.take(agent)
    x.settle((agent, 2, 3))
    x.restore(agent, 2, 5, 2, "one")
    assert x.leave() == [OK, 0]
    x.give_back((agent, 5, "one"))
    assert x.queue(agent) == ["one"]

    # to lease it again comes late
    x.restore(agent, 2, 5, 2, "one")
    assert x.queue(agent) == ["one"]
    assert db.keys("academy:lease:*") == []


def test_who_is_in_many_groups(x, db, pair):
    """Of which one is the mailbox's, or none: by either way to ask."""
    agent, user = pair
    x.share(agent, "some one")
    for n in (1, 16, 17, 300):
        groups = ",".join(f"group {i:03}" for i in range(n))
        assert x.status(agent, client="bob", groups=groups) == FORBIDDEN
        assert x.status(agent, client="bob",
                        groups=groups + ",some one") == OK


def test_leave_of_the_living(x, pair):
    agent, user = pair
    x.put(user, agent)
    x.take(agent)
    x.tick(ttl=40)
    assert x.leave(dead=True) == [OK, 2]
    assert x.queue(agent) == []
    time.sleep(0.06)
    assert x.leave(dead=True) == [OK, 0]
    assert len(x.queue(agent)) == 1


def test_tick(x, db):
    def tick(**more):
        before = time.time()
        *answer, clock = x.tick(**more)
        assert before - 0.001 < clock / 1000 < time.time()
        return answer

    assert tick(node="one") == [OK, 1, [], []]
    assert tick(node="two") == [OK, 0, [], []]
    assert tick(node="one") == [OK, 1, [], []]
    assert tick(node="three", ttl=30) == [OK, 0, [], []]
    db.sadd("academy:closing", "mailbox")
    time.sleep(0.05)
    assert tick(node="one") == [OK, 1, ["three"], ["mailbox"]]
    assert tick(node="two") == [OK, 0, [], []]
    assert tick(node="three") == [OK, 0, [], []]
    assert tick(node="one", leader_ttl=0) == [OK, 0, [], []]
    assert tick(node="one")[2] == []

    # the leader goes, and another one comes
    assert x.tick(node="one", leader_ttl=20)[1] == 1
    time.sleep(0.04)
    assert x.tick(node="two")[1] == 1
    assert x.tick(node="one")[1] == 0
    x.leave(node="one")
    assert x.tick(node="one")[1] == 0
    x.leave(node="two")
    assert x.tick(node="one")[1] == 1
    assert db.zcard("academy:nodes") == 2


def test_index(x, db):
    uids = [new() for _ in range(90)]
    for uid in uids:
        db.mset({"active:" + uid: "ACTIVE", "owner:" + uid: "alice_",
                 "agent:" + uid: MRO})
    rest = uids
    runs = 0
    while rest:
        _, n = x.index(*rest)
        assert n > 0
        rest = rest[n:]
        runs += 1
    assert runs == 5
    assert x.discover("m.Base") == sorted(uids)
    assert x.discover("m.Mine", subclasses=False) == sorted(uids)
    assert x.create(new(), limit=90) == MANY_MAILBOXES
    assert x.create(new(), limit=91) == OK

    x.index(*uids[:40])
    assert x.discover("m.Base") == sorted(uids)
    assert x.index(new(), new()) == [OK, 2]
    assert db.ttl("academy:owned:alice") > YEAR - 100

    # what is left of one that is gone makes it no mailbox
    gone = new()
    db.set("owner:" + gone, "alice_")
    db.set("agent:" + gone, MRO)
    db.zadd("academy:requests:" + gone, {new(): 2e9})
    assert x.index(gone) == [OK, 1]
    assert db.zscore("academy:owned:alice", gone) is None
    assert db.zscore("academy:class:m.Base", gone) is None
    assert db.exists("academy:closing") == 0


def test_index_of_one_that_ended(x, db, pair):
    """Ended by a Python exchange, which may have answered some."""
    agent, user = pair
    x.put(user, agent)
    x.index(agent)
    assert db.exists("academy:closing") == 0
    db.set("active:" + agent, "TERMINATED")
    x.index(agent, user)
    assert db.keys("academy:class:*") == []
    assert db.smembers("academy:closing") == {agent}
    x.close(agent)
    assert db.keys("*requests*") == []


def test_index_of_many_classes(x, db):
    uids = [new() for _ in range(20)]
    mro = ",".join(f"class {i}" for i in range(140))
    for uid in uids:
        db.mset({"active:" + uid: "ACTIVE", "owner:" + uid: "alice_",
                 "agent:" + uid: mro})
    assert x.index(*uids) == [OK, 2]
    assert len(db.keys("academy:class:*")) == 128


def test_requests(x, db, pair):
    agent, user = pair
    tags = [new() for _ in range(130)]
    for tag in tags:
        db.set(f"request:{agent}:{tag}", "{}", ex=1000)
    rest = [(agent, tag) for tag in tags]
    while rest:
        _, n = x.requests(*rest)
        rest = rest[n:]
    assert x.stats(agent) == [OK, 0, 0, 130, 0]
    assert db.ttl("academy:requests:" + agent) > WEEK - 100
    low, high = (db.zrange("academy:requests:" + agent, i, i, withscores=True)
                 for i in (0, -1))
    assert abs(low[0][1] - time.time() - 1000) < 10
    assert abs(high[0][1] - time.time() - 1000) < 10

    x.requests((agent, tags[0]), (agent, tags[1]), (user, tags[0]))
    assert x.stats(agent)[3] == 130
    db.delete(*(f"request:{agent}:{tag}" for tag in tags[:100]))
    x.requests(*((agent, tag) for tag in tags[:50]))
    assert x.stats(agent)[3] == 30
    assert db.zcard("academy:requests:" + agent) == 80
    assert db.exists("academy:closing") == 0

    # to a mailbox that was terminated while it was on its way
    x.terminate_all(agent)
    db.set(f"request:{agent}:{tags[0]}", "{}")
    x.requests((agent, tags[0]))
    assert db.smembers("academy:closing") == {agent}
    x.close(agent)
    assert db.keys("request*") + db.keys("academy:requests*") == []


# --------------------------------------------------------------------- expiry


# what goes with a node, and nothing else
NODES = {"academy:nodes", "academy:closing"}


def everything(x):
    """Calls every script, in some states; the uids."""
    agent, user, ended = AgentId.new(), UserId.new(), AgentId.new()
    uids = [str(each.uid) for each in (agent, user, ended)]
    for uid in uids:
        x.create(uid, mro=MRO, limit=9)
        x.share(uid, "group")
        x.share(uid, "other")
        x.unshare(uid, "other")
        x.beat(uid)
        x.heartbeat(uid)
        x.stats(uid)
        x.shares(uid)
        x.status(uid)
    sent = []
    for dest in agent, ended, user:
        for src in user, agent:
            message, args = request(src, dest)
            x.put(str(src.uid), str(dest.uid), **args, dedupe=60000,
                  messages=99, size=99999)
            sent.append((src, dest, message))
    src, dest, message = sent[0]
    x.put(str(dest.uid), str(src.uid), tag=str(message.tag), response=True,
          dedupe=60000)
    leases = x.take(uids[0], 3)
    x.settle((uids[0], leases[0][0], len(leases[0][1])))
    x.give_back((uids[0], leases[1][0]))
    x.take(uids[1], 1)
    x.take(uids[2], 1, asked=True)
    x.tick()
    x.index(*uids)
    x.requests(*((str(dest.uid), str(message.tag))
                 for _, dest, message in sent))
    x.discover("m.Base")
    x.terminate_all(uids[2])
    return uids


def test_lists(x, db, pair):
    """Who looks sees each mailbox in one list, whoever made or ended it."""
    mine = [new() for _ in range(5)]
    for n, uid in enumerate(mine):
        assert x.create(uid, mro=MRO if n else "", name=f'"N{n}"',
                        role="agent" if n < 3 else "user") == OK
        assert x.made
        assert x.create(uid) == OK and not x.made
    agents = {uid for uid, _ in x.walk(role="agent", n=1)}
    assert set(mine[:3]) <= agents
    assert {uid for uid, _ in x.walk(role="user")} == set(mine[3:])
    counts = x.survey()
    assert counts[1:4] == [2, 0, 0]
    assert x.terminate(mine[0])[0] == OK and x.ended == [1, 0]
    assert x.terminate(mine[0])[0] == OK and x.ended == [0, 0]
    assert x.terminate(mine[3], client="bob")[0] == FORBIDDEN
    assert x.terminate(mine[3], client="bob", admin=True)[0] == OK
    assert x.survey()[:4] == [counts[0] - 1, 1, 1, 1]
    # The leader looks at what is there already, and at Python's.
    other, closed = new(), new()
    for uid, state in (other, "ACTIVE"), (closed, "TERMINATED"):
        db.mset({f"active:{uid}": state, f"owner:{uid}": "bob_"})
    db.set(f"agent:{other}", MRO)
    x.index(other, closed, *mine)
    x.index(other, closed, *mine)
    assert x.survey()[:4] == [counts[0], 1, 1, 2]
    db.set(f"active:{mine[4]}", "TERMINATED")
    db.set(f"active:{mine[0]}", "ACTIVE")
    assert mine[4] not in dict(x.walk(role="user", admin=True))
    x.index(*mine)
    assert x.survey()[:4] == [counts[0] + 1, 0, 0, 3]
    # What has expired leaves the list when somebody comes there.
    db.delete(f"active:{other}")
    assert other not in dict(x.walk(admin=True))
    assert x.survey()[0] == counts[0]
    assert db.hexists("academy:names", mine[1])
    for uid in mine:
        db.delete(f"active:{uid}")
    for _ in range(100):
        x.create(new())
    assert not db.hexists("academy:names", mine[1])


def test_walk(x, db, pair):
    """Who may see what, and in which order."""
    boxes = {}
    for n, name in enumerate("abc"):
        boxes[name] = new()
        x.create(boxes[name], client=name, mro=f"k.{name.upper()}",
                 name=f'"Name {name}"')
        for _ in range(n):
            x.put(new(), boxes[name], client=name, groups="g")
    uids = {uid: name for name, uid in boxes.items()}

    def seen(**more):
        return [uids[uid] for uid, _ in x.walk(**more) if uid in uids]

    assert sorted(seen(admin=True)) == ["a", "b", "c"]
    assert seen(client="b") == ["b"]
    x.share(boxes["a"], "g", client="a")
    assert sorted(seen(client="b", groups="f,g")) == ["a", "b"]
    assert seen(client="") == []
    assert seen(admin=True, search="name b") == ["b"]
    assert seen(admin=True, search="k.c") == ["c"]
    assert seen(admin=True, search=boxes["a"][:20]) == ["a"]
    assert seen(admin=True, search="name .") == []
    whole = [uid for uid, _ in x.walk(admin=True)]
    assert whole == sorted(whole)
    assert [u for u, _ in x.walk(admin=True, reverse=True, n=2)] == whole[::-1]

    def order(by):
        return {uids[uid]: at for uid, at in x.walk(admin=True, order=by)
                if uid in uids}

    assert order("queued") == order("in_progress") | dict(b=1, c=2)
    assert order("name")["a"] == '"Name a"' and order("class")["b"] == "k.B"
    assert order("oldest")["a"] == -1 < order("oldest")["b"]
    leases = x.take(boxes["c"], 2, client="c", asked=True)
    assert order("in_progress") == dict(a=0, b=0, c=2)
    assert order("heartbeat")["c"] > 0
    x.settle(*((boxes["c"], seq, len(json)) for seq, json in leases))


def test_row_and_inspect(x, db, pair):
    box, src = new(), new()
    x.create(box, mro=MRO, name='"Box"')
    for n in range(5):
        x.put(src, box, json="{%s}" % (n * 40000 * " "))
    db.pexpire(f"queue:{box}", 1000 * x.msgexp - 5000)
    (row,) = x.rows(box)
    assert row[:9] == ["ACTIVE", "alice_", MRO.split(",")[0], '"Box"', 5, 5,
                       0, 0, 0]
    assert 5000 <= row[10] < 6000
    queued, pending, (age, uid) = x.sum()
    assert queued >= 5 and pending >= 5
    assert uid == box and 5000 <= age < 6000
    code, shown, role, more, *messages = x.inspect(box)
    assert (code, role, more) == (OK, "agent", 1) and shown[:4] == row[:4]
    assert messages[::2] == [2, 40002, 80002, 120002]
    assert [len(text) for text in messages[1::2]] == [2, 2048, 2048, 2048]
    assert x.inspect(box, first=4)[3:5] == [1, 160002]
    assert x.inspect(box, first=5)[3:] == [0]
    assert x.inspect(box, client="bob") == FORBIDDEN
    assert x.inspect(box, client="bob", admin=True)[0] == OK
    assert x.inspect(new()) == MISSING
    x.terminate(box)
    assert x.ended == [1, 5]
    assert x.inspect(box)[1][0] == "TERMINATED"
    assert x.inspect(box)[3:] == [0]


@pytest.mark.parametrize("prefix", ["", "some:"])
def test_expiry(db, prefix):
    x = Exchange(db, prefix=prefix, messages=1000, mailboxes=5000)
    everything(x)
    kinds = {}
    for key in db.keys():
        assert key.startswith(prefix)
        name = key[len(prefix):]
        if name in NODES or name.startswith(("academy:leases:",
                                             "academy:handed:")):
            assert db.ttl(key) == -1
            continue
        kinds.setdefault(":".join(name.split(":")[:2 if "academy" in name
                                                 else 1]),
                         set()).add(db.ttl(key))

    ttl = {
        "active": 5000, "owner": 5000, "agent": 5000, "share": 5000,
        "heartbeat": 5000, "outgoing": 5000, "completions": 5000,
        "queue": 1000, "request": 1000, "academy:requests": 5000,
        "academy:held": 5000, "academy:owned": 5000, "academy:class": 5000,
        "academy:first": 5000, "academy:lease": 1000, "academy:seen": 60,
        "academy:leader": 5, "academy:all": 5000}
    assert kinds.keys() == ttl.keys()
    for kind, found in kinds.items():
        assert all(ttl[kind] - 5 <= each <= ttl[kind] for each in found), kind


def test_no_expiry(db):
    everything(Exchange(db, messages=0, mailboxes=0))
    for key in db.keys():
        assert db.ttl(key) == -1 or key.startswith("academy:seen:") or (
            key == "academy:leader"), key


def test_open_requests_for_ever(db):
    """Their index lives as long as the mailbox, if they themselves do not
    expire."""
    x = Exchange(db, messages=0, mailboxes=5000)
    agent = new()
    x.create(agent)
    x.put(agent, agent)
    key = "academy:requests:" + agent
    assert db.ttl(key) > 4990
    assert db.zrange(key, 0, -1, withscores=True)[0][1] == float("inf")
    for name in key, "active:" + agent:
        db.expire(name, 100)
    db.delete("heartbeat:" + agent)
    x.take(agent)
    assert db.ttl(key) > 4990
    assert db.ttl("queue:" + agent) < 0
    db.persist(key)
    db.expire("active:" + agent, 100)
    x.beat(agent)
    assert db.ttl("active:" + agent) > 4990
    x.terminate(agent)
    assert db.ttl("queue:" + agent) > 4990


def test_what_is_used_stays(x, db, pair):
    """Its time begins again when an hour of it went by; not each time."""
    agent, user = pair
    x.share(agent, "group")
    x.put(user, agent)
    x.beat(agent)
    x.put(agent, agent, response=True)
    keys = [key for key in db.keys("*" + agent + "*")
            if not key.startswith(("queue:", "request:"))]
    keys += db.keys("academy:class:*") + ["academy:owned:alice"]
    uses = [lambda: x.create(agent), lambda: x.beat(agent),
            lambda: x.take(agent, asked=True), lambda: x.put(user, agent)]
    for use in uses:
        for ttl, renewed in (YEAR - 7200, True), (YEAR - 1800, False):
            for key in keys:
                db.expire(key, ttl)
            db.set("heartbeat:" + agent, time.time() - 9, ex=YEAR)
            use()
            for key in keys:
                if not key.startswith(("heartbeat:", "academy:requests")):
                    assert (db.ttl(key) > YEAR - 100) == renewed, key

    # a queue's time begins when something comes into it, or takes out of it
    db.expire("queue:" + agent, 100)
    x.put(user, agent)
    assert db.ttl("queue:" + agent) <= 100
    db.delete("heartbeat:" + agent)
    x.take(agent, asked=True)
    assert db.ttl("queue:" + agent) > WEEK - 100


# ---------------------------------------------------- what Redis may do to it


def test_without_memory(x, db, pair):
    """What would store is refused whole; what makes room, and signs of life,
    are not."""
    agent, user = pair
    spare = new()
    x.create(spare, mro=MRO)
    tag, known = new(), new()
    x.put(user, agent, known, dedupe=60000)
    for _ in range(40):
        x.put(user, agent, json="x" * 1000, messages=99, size=10**6)
    db.delete("heartbeat:" + user)
    before = sorted(db.keys())
    db.config_set("maxmemory", 1)
    try:
        for refused in (lambda: x.put(user, agent, tag),
                        lambda: x.create(new(), mro=MRO),
                        lambda: x.share(agent, "group")):
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                refused()
        assert sorted(db.keys()) == before

        assert x.put(user, agent, known, dedupe=60000) == OK
        leases = x.take(agent, 5, asked=True)
        assert len(leases) == 5
        x.give_back((agent, leases[4][0]))
        x.settle(*((agent, seq, len(text)) for seq, text in leases[:2]))
        assert x.beat(user) == OK
        assert x.tick()[1] == 1
        assert x.leave() == [OK, 0]
        assert x.index(agent) == [OK, 1]
        assert x.requests((agent, known)) == [OK, 1]
        assert x.create(spare) == OK
        assert x.stats(agent)[4] == 39
        assert set(x.discover("m.Base")) == {agent, spare}
        assert x.terminate_all(agent) == 2
    finally:
        db.config_set("maxmemory", 0)


def test_from_the_file(tmp_path):
    """What a script does to Redis is what its file tells it again."""
    options = ("--appendonly", "yes", "--appendfsync", "no")

    def content(db):
        return {key: (db.type(key), db.dump(key)) for key in db.keys()}

    with server(*options, path=tmp_path) as path:
        with redis.Redis(unix_socket_path=path, decode_responses=True) as db:
            everything(Exchange(db, prefix="some:"))
        with redis.Redis(unix_socket_path=path, retry=None) as db:
            before = content(db)
            with contextlib.suppress(redis.ConnectionError):
                db.execute_command("SHUTDOWN")
    with server(*options, path=tmp_path) as path:
        with redis.Redis(unix_socket_path=path) as db:
            after = content(db)
    before.pop(b"some:academy:leader", None)
    after.pop(b"some:academy:leader", None)
    assert after == before and len(before) > 20


def leased(x, uid, seq, json, ms):
    x.db.rpush(f"academy:lease:{x.node}:{seq}", json)
    x.db.zadd(f"academy:leases:{x.node}", {f"{uid}:{seq}": 1000 * ms + 1})


def handed(x, uid, waits, json, ms, n):
    x.db.xadd(f"academy:handed:{x.node}", {f"{uid} {waits:019} 5": json},
              id=f"{ms}-{n}")


def now_ms(db, ahead=0):
    seconds, microseconds = db.time()
    return 1000 * (seconds + ahead) + microseconds // 1000


def test_what_returns_is_in_order_within_a_millisecond(db, x):
    """Leases and what was handed over: of its own mailbox alone a number
    tells."""
    y, z = new(), new()
    for uid in y, z:
        x.create(uid)
    ms = now_ms(db)
    leased(x, y, 50, "y1", ms)
    handed(x, y, 51, "y2", ms, 0)
    handed(x, z, 10, "z1", ms, 1)
    leased(x, y, 60, "y3", ms)
    assert x.leave() == [OK, 0]
    assert db.lrange("queue:" + y, 0, -1) == ["y1", "y2", "y3"]
    assert db.lrange("queue:" + z, 0, -1) == ["z1"]


def test_what_returns_is_in_order_when_the_clock_was_set_back(db, x):
    """The ids go on with the time before."""
    uid = new()
    x.create(uid)
    handed(x, uid, 51, "1", now_ms(db, 100), 0)
    leased(x, uid, 60, "2", now_ms(db))
    assert x.leave() == [OK, 0]
    assert db.lrange("queue:" + uid, 0, -1) == ["1", "2"]


def test_a_request_that_has_expired_is_not_open(db, x):
    uid = new()
    x.create(uid)
    db.zadd("academy:requests:" + uid, {new(): time.time() - 5})
    assert x.run("sum", "agent", "", 100, x.msgexp)[3] == 0
    [_, _, found, at] = x.run("walk", "active", "agent", "", 10, "in_progress",
                              0, "alice", "", 1, "")
    assert (found, at) == (uid, 0)
