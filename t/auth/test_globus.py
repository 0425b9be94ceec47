"""academy_auth globus: what the reference's GlobusAuthenticator does, with a
provider in Globus's place, and the real client on top of it."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid

import pytest
from academy.agent import Agent
from academy.exception import ForbiddenError
from academy.exchange import HttpExchangeFactory
from academy_nginx import PATIENCE, run, wait_until

import provider as idp
from provider import BASIC, CLIENT, GROUPS_SCOPE, PATHS, Held, silent
from test_introspection import BOX, CALLERS, Crowd, client, files, look
from test_provider import ask as ask_reference, reference
from tokens import bearer

RED, BLUE, GREEN = (str(uuid.uuid4()) for _ in range(3))

OK = (200, None)
INVALID = (403, 'Bearer error="invalid_token"')
UNAVAILABLE = (503, None)

LOST = "groups"         # what a line says when there are none to be had


@pytest.fixture
def exchange(nginx, provider):
    def start(more="", server="", each=None, **pieces):
        where = idp.locations(provider, **(each or {}))
        return nginx(
            location="academy_auth globus; academy_introspection /.introspect;"
                     " academy_globus_dependent_tokens /.token;"
                     " academy_globus_groups /.groups;"
                     f" academy_auth_audience {CLIENT}; {more}",
            server=where["server"] + server, http=where["http"], **pieces)

    return start


@pytest.fixture
def ann(provider):
    provider.join("ann", RED, BLUE)
    return provider.issue(username="ann", sub="1", aud=[CLIENT])


def issue(provider, name, *groups, **more):
    provider.join(name, *groups)
    return provider.issue(**{"username": name, "aud": [CLIENT]} | more)


def use(server, text, method, route, **more):
    return bearer(server.port, text, method=method, path=route,
                  body={"mailbox": BOX} | more).status


def groups_of(server, text, *candidates) -> set[str]:
    """Which of them the exchange says that the caller is in: the owner of a
    mailbox may share it with no other."""
    box = json.dumps({"uid": str(uuid.uuid4()), "role": "agent"})
    body = {"mailbox": box}
    assert use(server, text, "POST", "/mailbox", **body) == 200
    found = set()
    for group in candidates:
        status = use(server, text, "POST", "/mailbox/share",
                     **body, group_id=group)
        assert status in (200, 403)
        if status == 200:
            found.add(group)
    return found


# --------------------------------------------------------- what it is asked


def test_what_is_asked(exchange, provider, ann):
    server = exchange()
    assert look(bearer(server.port, ann)) == OK
    introspect, grant, groups = provider.asked()

    assert (introspect.what, introspect.method) == ("introspect", "POST")
    assert introspect.form in ([("token", ann)], [
        ("token", ann), ("token_type_hint", "access_token")])
    assert (grant.what, grant.method) == ("token", "POST")
    assert grant.form == [
        ("grant_type", "urn:globus:auth:grant_type:dependent_token"),
        ("token", ann), ("scope", GROUPS_SCOPE)]
    for call in (introspect, grant):
        headers = {k.lower(): v for k, v in call.headers}
        assert headers == {
            "host": "provider", "authorization": BASIC,
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
            "content-length": str(len(call.body))}

    assert (groups.what, groups.method) == ("groups", "GET")
    assert (groups.target, groups.body) == (PATHS["groups"], b"")
    headers = {k.lower(): v for k, v in groups.headers}
    (dependent,) = provider.dependent
    assert headers.pop("authorization") == f"Bearer {dependent}"
    assert headers == {"host": "provider", "accept": "application/json"}


def test_nothing_of_the_caller(exchange, provider, ann):
    server = exchange()
    assert look(bearer(server.port, ann)) == OK
    text = issue(provider, "bob", GREEN)
    assert bearer(server.port, text, method="PUT", headers=CALLERS,
                  path="/message?a=of-the-caller",
                  body={"message": "of-the-caller"}).status == 400
    for first, second in zip(provider.asked()[:3], provider.asked()[3:],
                             strict=True):
        assert (first.what, first.method, first.target) == (
            second.what, second.method, second.target)
        changing = ("authorization", "content-length")
        assert [(k, v) for k, v in first.headers if k.lower() not in changing
                ] == [(k, v) for k, v in second.headers
                      if k.lower() not in changing]
        assert "caller" not in f"{second.headers} {second.body}"


def test_as_the_reference(exchange, provider, reference):
    """The same callers, told apart by it and by the module: who they are,
    their groups, and what both ask for."""
    server = exchange()
    everything = (RED, BLUE, GREEN)
    callers = []
    provider.join("ann", RED, BLUE)
    provider.join("ann", GREEN, memberships=["invited"])
    provider.join("bob", GREEN, memberships=["pending", "active", "active"])
    provider.join("bob", RED, memberships=[])
    provider.join("eve", RED, memberships=["ACTIVE"])
    provider.join("eve", BLUE, memberships=["inactive", "left", "rejected"])
    for name in ("ann", "bob", "eve", "joe"):
        callers.append({"username": name, "aud": [CLIENT]})
    callers += [
        {"username": "ann", "aud": ["x", CLIENT, "y"]},
        {"username": "ann", "aud": ["x"]}, {"username": "ann"},
        {"username": "ann", "aud": []}, {"active": False}]
    for fields in callers:
        text = provider.issue(**fields)
        provider.calls.clear()
        try:
            who = ask_reference(reference, text)
        except ForbiddenError:
            who = None
        theirs = provider.asked()
        provider.calls.clear()
        answer = look(bearer(server.port, text))
        ours = provider.asked()
        assert answer == (OK if who else INVALID), fields
        assert [(c.method, c.target) for c in ours] == [
            (c.method, c.target) for c in theirs]
        for a, b in zip(ours, theirs):
            assert dict(b.form if b.body else []).items() <= (
                dict(a.form if a.body else []).items())
            if b.what != "groups":
                assert a.header("Authorization") == b.header("Authorization")
            for name in ("Content-Type", "Content-Length"):
                assert (a.header(name) is None) == (b.header(name) is None)
        if who:
            assert groups_of(server, text, *everything) == set(
                who.group_memberships)
    # and the client's id is the same
    text = provider.issue(username="ann", aud=[CLIENT])
    assert use(server, text, "POST", "/mailbox") == 200
    for name, status in (("ann", 200), ("joe", 403)):
        text = provider.issue(username=name, sub="ann", aud=[CLIENT])
        assert use(server, text, "GET", "/mailbox") == status


def test_no_name(exchange, provider):
    server = exchange()
    text = provider.issue(sub="1", aud=[CLIENT])
    assert use(server, text, "POST", "/mailbox") == 200
    assert use(server, issue(provider, "bob"), "GET", "/mailbox") == 403


def test_groups_of_ones_own_choice(exchange, provider, ann):
    """academy_client_groups instead of Globus's."""
    server = exchange("academy_client_groups $academy_claim_teams;")
    assert groups_of(server, ann, RED, BLUE) == set()
    text = issue(provider, "bob", RED, teams=["t"])
    assert groups_of(server, text, RED, "t") == {"t"}


@pytest.mark.parametrize("number", [0, 1, 40, 250])
def test_many_groups(exchange, provider, number):
    """250 are 80 KB."""
    server = exchange()
    ids = [str(uuid.uuid4()) for _ in range(number)]
    text = issue(provider, "ann", *ids)
    provider.does["groups"] = idp.chunked if number == 40 else idp.well
    assert groups_of(server, text, *ids[:3], *ids[-3:], RED) == {
        *ids[:3], *ids[-3:]}
    assert len(provider.asked()) == 3


# ------------------------------------------------------------------ the cache


def test_once(exchange, provider, ann):
    server = exchange(workers=2)
    for _ in range(10):
        assert groups_of(server, ann, RED, GREEN) == {RED}
    assert [c.what for c in provider.asked()] == [
        "introspect", "token", "groups"]
    # a refusal asks for nothing more
    assert look(bearer(server.port, "unknown")) == INVALID
    assert look(bearer(server.port, issue(
        provider, "bob", aud=["x"]))) == INVALID
    assert [c.what for c in provider.asked()[3:]] == ["introspect"] * 2


def test_a_membership_that_ends(exchange, provider, ann):
    server = exchange("academy_auth_cache 1s;")
    assert groups_of(server, ann, RED, BLUE) == {RED, BLUE}
    del provider.groups["ann"][0]
    begin = time.monotonic()
    wait_until(lambda: groups_of(server, ann, RED, BLUE) == {BLUE}, 5,
               "a group is for ever")
    assert time.monotonic() - begin < 2.5 * PATIENCE


def test_a_thousand_clients(exchange, provider, ann, files, figures):
    server = exchange(workers=4, connections=4096, log_level="warn",
                      main=f"worker_rlimit_nofile {files};")

    async def go():
        crowd = await Crowd.gather(server.port, 1000)
        held = provider.does["groups"] = Held()
        crowd.ask(ann)
        await asyncio.to_thread(held.wait)
        await asyncio.sleep(0.5)
        held.let_go()
        assert {a.status for a in await crowd.answers()} == {200}
        crowd.leave()

    run(go())
    assert [c.what for c in provider.asked()] == [
        "introspect", "token", "groups"]
    figures("1000 clients with one new token: one introspection, one grant, "
            "one question for groups")


# ------------------------------------------------ who has no groups, and why


def text_of(change):
    """An answer of the grant, or of the groups, that is a good one changed."""
    def answer(to, data):
        to.answer(200, json.dumps(change(json.loads(data))).encode())
    return answer


def entry(**more):
    return text_of(lambda said: [said[0] | more])


BAD_GRANTS = {
    **{str(n): idp.status(n) for n in (201, 302, 400, 401, 403, 500, 503)},
    "half": idp.half, "chunked half": idp.chunked_half, "gzip": idp.gzipped,
    "silence": idp.silence, "empty": idp.body(""), "text": idp.body("no"),
    "no tokens": idp.body("[]"), "an object": text_of(lambda said: said[0]),
    "another scope": entry(scope="urn:globus:auth:scope:transfer:all"),
    "a longer scope": entry(scope=GROUPS_SCOPE + "_of_others"),
    "no scope": entry(scope=None), "scope a list": entry(scope=[GROUPS_SCOPE]),
    "no token": entry(access_token=None),
    "token a number": entry(access_token=7),
    "an empty token": entry(access_token=""),
    "a token with a line's end": entry(access_token="a\r\nX-Injected: yes"),
    "a token with a blank": entry(access_token="a b"),
    "a token not of ASCII": entry(access_token="\u00e4"),
    "too large": idp.padded(4_000_000), "slow": idp.slow(3),
}

BAD_GROUPS = {
    **{str(n): idp.status(n) for n in (201, 206, 302, 304, 401, 403, 404, 429,
                                       500)},
    "half": idp.half, "chunked half": idp.chunked_half, "gzip": idp.gzipped,
    "silence": idp.silence, "empty": idp.body(""), "text": idp.body("no"),
    "an object": idp.body('{"groups":[]}'), "null": idp.body("null"),
    "no JSON": lambda to, data: to.answer(200, data[:-1]),
    "too large": idp.padded(40_000_000), "slow": idp.slow(3),
}


@pytest.mark.parametrize("what,cases", [
    ("token", BAD_GRANTS), ("groups", BAD_GROUPS)])
def test_groups_are_lost(exchange, provider, what, cases):
    """The request is not, nor what was known; and they are back soon."""
    server = exchange(each={"timeout": "1s"}, workers=2)
    bob = issue(provider, "bob", GREEN)
    assert groups_of(server, bob, GREEN) == {GREEN}
    texts = {}
    for name, does in cases.items():
        provider.does[what] = does
        texts[name] = issue(provider, f"user of {name}", RED, BLUE)
        assert groups_of(server, texts[name], RED, BLUE) == set(), name
        assert groups_of(server, bob, GREEN) == {GREEN}
        assert not any("injected" in str(c.headers).lower()
                       for c in provider.asked())
    begin = time.monotonic()
    del provider.does[what]
    for name, text in texts.items():
        wait_until(lambda: groups_of(server, text, RED, BLUE) == {RED, BLUE},
                   8, f"the groups do not come back: {name}")
    assert time.monotonic() - begin < 8 * PATIENCE


GOOD_GRANTS = {
    "several": text_of(lambda said: [
        {"access_token": "other", "scope": "urn:globus:auth:scope:x:all",
         "resource_server": "x", "expires_in": 1, "token_type": "Bearer"},
        *said]),
    "several scopes in one": entry(scope=f"openid {GROUPS_SCOPE} email"),
    "chunked": idp.chunked, "in pieces": idp.bit_by_bit,
    "unknown members": entry(x=[{"y": None}], expires_in="soon"),
}


def test_good_grants(exchange, provider):
    server = exchange()
    for name, does in GOOD_GRANTS.items():
        provider.does["token"] = does
        text = issue(provider, f"user of {name}", RED)
        assert groups_of(server, text, RED, GREEN) == {RED}, name


ODD = [
    # members that are not as they should be cost that one group
    ([{"id": RED}], set()),
    ([{"id": RED, "my_memberships": None}], set()),
    ([{"id": RED, "my_memberships": "active"}], set()),
    ([{"id": RED, "my_memberships": {"status": "active"}}], set()),
    ([{"id": RED, "my_memberships": [None, 7, "active"]}], set()),
    ([{"id": RED, "my_memberships": [{"status": None}]}], set()),
    ([{"id": RED, "my_memberships": [{"status": ["active"]}]}], set()),
    ([{"id": None, "my_memberships": [{"status": "active"}]}], set()),
    ([{"id": 7, "my_memberships": [{"status": "active"}]}], set()),
    ([{"id": "", "my_memberships": [{"status": "active"}]}], set()),
    ([{"my_memberships": [{"status": "active"}]}], set()),
    ([None, 7, "x", []], set()),
    # one that would be two
    ([{"id": f"{RED},{BLUE}", "my_memberships": [{"status": "active"}]}],
     set()),
    ([{"id": f" {RED}", "my_memberships": [{"status": "active"}]}], set()),
    ([{"id": RED, "my_memberships": [{"status": "active"}] * 3}], {RED}),
    ([{"id": RED, "my_memberships": [{"status": "active"}]}] * 3, {RED}),
]


def test_odd_groups(exchange, provider):
    """What else is in the list is good."""
    server = exchange()
    good = {"id": GREEN, "my_memberships": [{"status": "active"}]}
    for i, (odd, found) in enumerate(ODD):
        provider.does["groups"] = idp.body(json.dumps([*odd, good]))
        text = issue(provider, f"u{i}")
        assert groups_of(server, text, RED, BLUE, GREEN) == found | {GREEN}, (
            odd)


def test_for_at_most_five_seconds(exchange, provider, ann, figures):
    server = exchange("academy_auth_cache 1h;")
    provider.does["groups"] = idp.status(500)
    begin = time.monotonic()
    assert groups_of(server, ann, RED) == set()
    del provider.does["groups"]
    wait_until(lambda: groups_of(server, ann, RED) == {RED}, 8,
               "the groups do not come back")
    took = time.monotonic() - begin
    assert took < 6.2
    figures(f"groups that were lost are back after {took:.1f} s")
    # and are not asked for again
    calls = len(provider.asked())
    time.sleep(1)
    assert groups_of(server, ann, RED) == {RED}
    assert len(provider.asked()) == calls


def test_the_provider_is_not_hammered_for_groups(exchange, provider, ann):
    """While they are to be had from nobody."""
    server = exchange("academy_auth_cache 1h;")
    provider.does["groups"] = idp.status(500)
    begin = time.monotonic()
    while time.monotonic() < begin + 3:
        assert look(bearer(server.port, ann)) == OK
    assert len(provider.asked("groups")) <= 5


def test_logged_once_a_second(exchange, provider, figures):
    server = exchange(log_level="info")
    provider.does["groups"] = idp.status(500)
    begin = time.monotonic()
    while time.monotonic() < begin + 2:
        for i in range(10):
            assert look(bearer(server.port, issue(provider, f"u{i}"))) == OK
    took = time.monotonic() - begin
    ours = [line for line in server.log().splitlines()
            if LOST in line and not re.search(r"upstream|\[debug\]", line)]
    assert 1 <= len(ours) <= took + 1.5, ours
    assert all(re.search(r"\[(error|warn)\]", line) for line in ours), ours
    figures(f"{len(provider.asked('groups'))} failures in {took:.1f} s, "
            f"{len(ours)} lines: {ours[0]}")


def test_an_introspection_that_fails(exchange, provider, ann):
    """Is the request's failure: nothing else tells who it is."""
    server = exchange(each={"timeout": "1s"})
    for does in (idp.status(500), idp.half, idp.slow(3), idp.body("[]")):
        provider.does["introspect"] = does
        assert look(bearer(server.port, ann)) == UNAVAILABLE
    assert {c.what for c in provider.asked()} == {"introspect"}
    provider.stop()
    assert look(bearer(server.port, ann)) == UNAVAILABLE


# -------------------------------------------------------------- who waits


def test_what_waits_ends_with_its_token(exchange, provider):
    async def go():
        server = exchange()
        end = int(time.time()) + 3
        text = issue(provider, "ann", RED, exp=end)
        poll, listener = [await client(server, text) for _ in range(2)]
        assert (await poll.request("POST", "/mailbox", {"mailbox": BOX})
                ).status == 200
        waiting = {"mailbox": BOX, "timeout": 30}
        poll.send("GET", "/message", waiting)
        stream = await listener.listen(waiting)
        assert (await poll.answer()).status == 403
        assert await stream.next() is None
        assert -0.05 < time.time() - end < 0.5 * PATIENCE
    run(go())


def test_a_share_that_is_withdrawn(exchange, provider, ann):
    async def go():
        server = exchange(workers=2)
        owner = await client(server, ann)
        bob = issue(provider, "bob", RED)
        share = {"mailbox": BOX, "group_id": RED}
        for route in ("/mailbox", "/mailbox/share"):
            assert (await owner.request("POST", route, share)).status == 200
        poll, listener = [await client(server, bob) for _ in range(2)]
        waiting = {"mailbox": BOX, "timeout": 30}
        poll.send("GET", "/message", waiting)
        stream = await listener.listen(waiting)
        assert (await owner.request("DELETE", "/mailbox/share", share)
                ).status == 200
        answer = await asyncio.wait_for(poll.answer(), 5 * PATIENCE)
        assert (answer.status, answer.body) == (403, b"Incorrect permissions")
        assert await asyncio.wait_for(stream.next(), 5 * PATIENCE) is None
    run(go())


# ------------------------------------------------------------ the real client


class Thing(Agent):
    pass


@pytest.fixture
def login(provider, monkeypatch, tmp_path):
    """A function that makes this process somebody whom the client logs in as:
    a confidential client of Globus, whose tokens are good for some seconds."""
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH",
                       f"http://127.0.0.1:{provider.port}/")

    def be(name, *groups, seconds=600):
        client = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        provider.join(name, *groups)
        provider.clients[client] = (
            f"secret-of-{name}", {"username": name, "aud": [CLIENT]}, seconds)
        monkeypatch.setenv("ACADEMY_HOME", str(tmp_path / name))
        monkeypatch.setenv("ACADEMY_GLOBUS_CLIENT_ID", client)
        monkeypatch.setenv("ACADEMY_GLOBUS_CLIENT_SECRET", f"secret-of-{name}")

    return be


def factory(server):
    return HttpExchangeFactory(server.url, auth_method="globus")


def test_share_list_unshare(exchange, provider, login):
    """By HttpExchangeConsole, each with a login of their own."""
    server = exchange(workers=2)
    red, blue, green = map(uuid.UUID, (RED, BLUE, GREEN))

    async def test():
        login("ann@example.org", red, blue)
        owner = factory(server)
        console = await owner.console()
        ann = await owner.create_user_client()
        aid = (await ann.register_agent(Thing)).agent_id

        login("bob@example.org", red)
        member = await factory(server).create_user_client()
        his = await factory(server).console()

        async def refused():
            with pytest.raises(ForbiddenError):
                await member.heartbeat_status(aid)
            assert await member.discover(Thing) == ()

        assert await console.get_shared_groups(aid) == []
        await refused()
        login("ann@example.org")
        await console.share_mailbox(aid, red)
        assert await console.get_shared_groups(aid) == [red]
        login("bob@example.org")
        assert await member.heartbeat_status(aid) is None
        assert await member.discover(Thing) == (aid,)
        for attempt in (his.share_mailbox(aid, red),
                        his.get_shared_groups(aid),
                        his.remove_shared_group(aid, red)):
            with pytest.raises(ForbiddenError):
                await attempt
        login("ann@example.org")
        with pytest.raises(ForbiddenError):
            await console.share_mailbox(aid, green)
        await console.share_mailbox(aid, blue)
        assert set(await console.get_shared_groups(aid)) == {red, blue}
        await console.remove_shared_group(aid, red)
        assert await console.get_shared_groups(aid) == [blue]
        login("bob@example.org")
        await refused()
        for c in (ann, member, console, his):
            await c.close()

    run(test())
    # every token was looked at once
    texts = [dict(c.form)["token"] for c in provider.asked("introspect")]
    assert len(texts) == len(set(texts)) == 2


def test_the_client_refreshes_its_token(exchange, provider, login):
    """After a 403, once, and goes on as who it was: with requests, and with
    the stream of its listener."""
    server = exchange("academy_auth_cache 1s;", workers=2)

    async def test():
        login("ann@example.org", RED, seconds=3)
        exchange_factory = factory(server)
        user = await exchange_factory.create_user_client(start_listener=False)
        aid = (await user.register_agent(Thing)).agent_id
        first = set(provider.tokens)

        listening = user._transport.listen(timeout=30)
        waiting = asyncio.create_task(anext(listening))
        await asyncio.sleep(4.5)
        # The stream ended with its token; the client has a new one by now, or
        # will have.
        assert await user.heartbeat_status(aid) is None
        second = set(provider.tokens) - first
        assert second, "no token was fetched"
        from academy.message import Message, PingRequest
        await user.send(Message.create(
            src=user.client_id, dest=user.client_id, body=PingRequest()))
        message = await asyncio.wait_for(waiting, 20)
        assert message.get_body() == PingRequest()
        await user.close()
        return len(first), len(second)

    run(test())


def test_a_token_that_is_revoked(exchange, provider, login):
    """Before its time: the client fetches another, and it is another."""
    server = exchange("academy_auth_cache 1s;")

    async def test():
        # Globus's own library renews what is good for less than a minute.
        login("ann@example.org", RED, seconds=30)
        user = await factory(server).create_user_client(start_listener=False)
        (text,) = {dict(c.form)["token"] for c in provider.asked("introspect")}
        provider.revoke(text)
        logins = len(provider.asked("token"))
        await asyncio.sleep(1.5)
        aid = (await user.register_agent(Thing)).agent_id
        assert await user.heartbeat_status(aid) is None
        used = {dict(c.form)["token"] for c in provider.asked("introspect")}
        assert len(used) == 2
        issued = [c for c in provider.asked("token")[logins:] if dict(
            c.form)["grant_type"] == "client_credentials"]
        assert 1 <= len(issued) <= 2
        await user.close()

    run(test())


def test_a_client_without_a_login(exchange, provider):
    from academy.exception import UnauthorizedError
    server = exchange()

    async def test():
        with pytest.raises(UnauthorizedError):
            await HttpExchangeFactory(server.url).create_user_client()
        with pytest.raises(ForbiddenError):
            await HttpExchangeFactory(server.url, additional_headers={
                "Authorization": "Bearer made-up"}).create_user_client()

    run(test())
    assert len(provider.asked()) == 1


# ---------------------------------------------------------------------- other


def test_nothing_secret_in_the_log(exchange, provider, ann):
    server = exchange(log_level="debug", each={"timeout": "300ms"})
    texts = [ann]
    for what, cases in (("token", BAD_GRANTS), ("groups", BAD_GROUPS),
                        ("introspect", {"x": idp.status(500)})):
        for i, does in enumerate(cases.values()):
            provider.does[what] = does
            texts.append(issue(provider, f"{what}{i}", RED))
            bearer(server.port, texts[-1])
        del provider.does[what]
    assert "academy access handler" in server.log()
    silent(server.log(), *texts, *provider.dependent, BASIC.split()[1],
           idp.SECRET)


def test_the_secret_stays_where_it_belongs(exchange, provider, ann):
    """The exchange's own credentials go to those who are to have them; the
    caller's token never goes to the service that has the groups."""
    server = exchange()
    assert look(bearer(server.port, ann)) == OK
    (groups,) = provider.asked("groups")
    for secret in (BASIC, idp.SECRET, ann):
        assert secret not in f"{groups.headers} {groups.target}"
