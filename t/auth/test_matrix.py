"""Who may do what: each route, tried by the owner of a mailbox, a member of a
group that it may be shared with, a stranger and nobody, on a mailbox that is
missing, active, shared and terminated; with the real client and its session.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid

import pytest
from academy.agent import Agent
from academy.exception import (BadEntityIdError, ForbiddenError,
                               MailboxTerminatedError, UnauthorizedError)
from academy.exchange import HttpExchangeFactory
from academy.exchange.cloud import client as academy_client
from academy.identifier import AgentId, UserId
from academy.message import Message, PingRequest
from academy_nginx import PATIENCE, run

import provider as idp
from tokens import claims, jwk, jwks, token

RED, BLUE = uuid.uuid4(), uuid.uuid4()

CALLERS = {"owner": ("ann", [RED]), "member": ("bob", [RED, BLUE]),
           "stranger": ("eve", [BLUE]), "nobody": None}
STATES = ("missing", "active", "shared", "terminated")

TEXT = {401: "Missing required headers.", 403: "Incorrect permissions",
        404: "Unknown mailbox ID", 408: "Request timeout",
        419: "Mailbox was closed"}


class Thing(Agent):
    pass


CLASS = f"{Thing.__module__}.{Thing.__name__}"


@pytest.fixture(params=["jwt", "introspection", "globus"])
def exchange(request, nginx, provider, tmp_path, monkeypatch):
    """However it is that callers are known."""
    tmp_path.chmod(0o755)
    (tmp_path / "keys").write_text(jwks(jwk("ES256"), jwk("EdDSA")))
    kind = {
        "jwt": "academy_auth jwt;"
               f" academy_jwt_key_file {tmp_path}/keys;"
               " academy_client_groups $academy_claim_groups;",
        "introspection": "academy_auth introspection;"
                         " academy_introspection /.introspect;"
                         " academy_client_groups $academy_claim_groups;",
        "globus": "academy_auth globus; academy_introspection /.introspect;"
                  " academy_globus_dependent_tokens /.token;"
                  " academy_globus_groups /.groups;"
                  f" academy_auth_audience {idp.CLIENT};"}[request.param]

    def issued(sub, groups, **more):
        fields = claims(username=sub, aud=[idp.CLIENT], **more)
        if request.param == "globus":
            provider.groups.pop(sub, None)
            provider.join(sub, *groups)
            return provider.issue(**fields)
        fields |= {"groups": [str(g) for g in groups]}
        return provider.issue(**fields)

    if request.param != "jwt":
        monkeypatch.setitem(globals(), "issue", issued)
    return nginx(workers=2, location=kind, **idp.locations(provider))


def issue(sub, groups, **more) -> str:
    return token(payload=claims(sub=sub, groups=[str(g) for g in groups],
                                **more))


def headers(who: str, **more) -> dict[str, str]:
    if CALLERS[who] is None:
        return {}
    return {"Authorization": "Bearer " + issue(*CALLERS[who], **more)}


def body(box: AgentId, route: str) -> dict:
    request = {"mailbox": box.model_dump_json()}
    if route == "PUT /message":
        return {"message": message(box)}
    if route == "GET /discover":
        return {"agent": CLASS, "allow_subclasses": True}
    if route in ("POST /mailbox/share", "DELETE /mailbox/share"):
        return request | {"group_id": str(RED)}
    if route in ("GET /message", "GET /mailbox/listen"):
        return request | {"timeout": 0.02}
    if route == "POST /mailbox":
        return request | {"agent": CLASS}
    return request


def message(dest, src=None) -> str:
    return Message.create(src=src or UserId.new(), dest=dest,
                          body=PingRequest()).model_dump_json()


USE = {  # on a mailbox that the caller may use
    "POST /mailbox": 200, "DELETE /mailbox": 200, "GET /mailbox": 200,
    "GET /mailbox/heartbeat": 200, "POST /mailbox/heartbeat": 200,
    "GET /mailbox/stats": 200, "GET /mailbox/listen": 200,
    "PUT /message": 200, "GET /message": 408, "GET /discover": 200,
}
OWN = {"POST /mailbox/share": 200, "GET /mailbox/share": 200,
       "DELETE /mailbox/share": 200}
ROUTES = [*USE, *OWN]

# whatever happened to the mailbox, or did not
ALWAYS = {"POST /mailbox", "DELETE /mailbox", "GET /mailbox",
          "GET /mailbox/stats", "GET /discover"}


def expected(route: str, who: str, state: str) -> int:
    if who == "nobody":
        return 401
    if route == "GET /discover":
        return 200
    if state == "missing":
        return 200 if route in ALWAYS else 404
    if who == "stranger" or who == "member" and state == "active":
        return 403
    if who == "member" and route in OWN:
        return 403
    if state == "terminated" and route not in ALWAYS:
        return 419
    return (USE | OWN)[route]


async def session(server, who):
    return academy_client.HttpExchangeTransport.create_session(
        academy_client._HttpConnectionInfo(
            url=server.url, additional_headers=headers(who)))


async def call(at, url, route, box, **more) -> tuple[int, str]:
    method, path = route.split()
    async with at.request(method, url + path,
                          json=body(box, route) | more) as answer:
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        return answer.status, await answer.text()


async def bring_about(at, url, state) -> AgentId:
    """A new mailbox of the owner's, in a state."""
    box = AgentId.new(name="it")
    for wanted, route in [("active", "POST /mailbox"),
                          ("shared", "POST /mailbox/share"),
                          ("terminated", "DELETE /mailbox")]:
        if STATES.index(state) >= STATES.index(wanted):
            assert (await call(at, url, route, box))[0] == 200
    return box


def test_matrix(exchange):
    async def test():
        at = {who: await session(exchange, who) for who in CALLERS}
        wrong, cells = [], 0
        for route, who, state in itertools.product(ROUTES, CALLERS, STATES):
            box = await bring_about(at["owner"], exchange.url, state)
            got, text = await call(at[who], exchange.url, route, box)
            cells += 1
            if got != expected(route, who, state):
                wrong.append(f"{route} by {who}, {state}: {got}")
            elif got in TEXT:
                assert text == TEXT[got]
            if route == "GET /discover" and got == 200:
                found = str(box.uid) in text
                may = (who == "owner" and state in ("active", "shared")
                       or who == "member" and state == "shared")
                assert found == may, (who, state)
            if got in (401, 403):
                await unchanged(at["owner"], exchange.url, box, state)
        assert not wrong, "\n".join(wrong)
        assert cells == 13 * 4 * 4
        for s in at.values():
            await s.close()
    run(test(), 120)


async def unchanged(at, url, box, state) -> None:
    """Who was refused has left nothing behind."""
    status, text = await call(at, url, "GET /mailbox", box)
    assert status == 200 and json.loads(text)["status"] == {
        "missing": "MISSING", "terminated": "TERMINATED"}.get(state, "ACTIVE")
    status, text = await call(at, url, "GET /mailbox/stats", box)
    assert status == 200 and set(json.loads(text).values()) == {0}
    if state in ("active", "shared"):
        status, text = await call(at, url, "GET /mailbox/share", box)
        assert json.loads(text)["group_ids"] == (
            [str(RED)] if state == "shared" else [])


# what the client makes of it
RAISED = {401: UnauthorizedError, 403: ForbiddenError, 404: BadEntityIdError,
          419: MailboxTerminatedError}


def test_matrix_of_the_real_client(exchange):
    """Its methods, and its exceptions."""
    async def test():
        owner = await session(exchange, "owner")
        for who, state in itertools.product(
                ("owner", "member", "stranger"), STATES):
            factory = HttpExchangeFactory(
                exchange.url, additional_headers=headers(who))
            console = await factory.console()
            user = await factory.create_user_client()
            transport = user._transport
            for route, attempt in [
                    ("GET /mailbox/heartbeat", transport.heartbeat_status),
                    ("GET /mailbox/stats", transport.agent_stats),
                    ("DELETE /mailbox", transport.terminate),
                    ("PUT /message", lambda box: transport.send(
                        Message.create(src=transport.mailbox_id, dest=box,
                                       body=PingRequest()))),
                    ("POST /mailbox/share",
                     lambda box: console.share_mailbox(box, RED)),
                    ("GET /mailbox/share", console.get_shared_groups),
                    ("DELETE /mailbox/share",
                     lambda box: console.remove_shared_group(box, RED))]:
                box = await bring_about(owner, exchange.url, state)
                status = expected(route, who, state)
                if status == 200:
                    await attempt(box)
                    continue
                with pytest.raises(RAISED[status]):
                    await attempt(box)
            await user.close()
            await console.close()
        with pytest.raises(UnauthorizedError):
            await HttpExchangeFactory(exchange.url).create_user_client()
        await owner.close()
    run(test(), 120)


def test_forged_senders(exchange):
    """A message in the name of a mailbox that the caller may not use."""
    async def test():
        at = {who: await session(exchange, who) for who in CALLERS}
        url = exchange.url
        shared = await bring_about(at["owner"], url, "shared")
        private = await bring_about(at["owner"], url, "active")
        dead = await bring_about(at["owner"], url, "terminated")
        async def put(who, src):
            return (await call(at[who], url, "PUT /message", shared,
                               message=message(shared, src)))[0]
        for who, src, status in [
                ("owner", private, 200), ("owner", shared, 200),
                ("member", shared, 200), ("member", private, 403),
                ("member", AgentId.new(), 200),
                ("stranger", private, 403), ("stranger", shared, 403),
                ("nobody", private, 401), ("owner", dead, 200),
                ("stranger", dead, 403)]:
            assert await put(who, src) == status, (who, src)
        for s in at.values():
            await s.close()
    run(test())


def test_the_client_refreshes_its_token_on_403(exchange, monkeypatch):
    """And goes on as who it was; a second 403 is the answer."""
    asked = []

    def fresh(method):
        asked.append(method)
        return headers("owner")

    monkeypatch.setattr(academy_client, "get_auth_headers", fresh)

    async def test():
        end = int(time.time()) + 2 * PATIENCE
        factory = HttpExchangeFactory(
            exchange.url, additional_headers=headers("owner", exp=end))
        user = await factory.create_user_client(start_listener=False)
        box = (await user.register_agent(Thing)).agent_id
        assert asked == []
        listening = user._transport.listen(timeout=20)
        waiting = asyncio.create_task(anext(listening))
        # the stream ends with the token, and another is opened with a new one
        while time.time() < end + 0.1:
            await asyncio.sleep(0.05)
        assert await user._transport.heartbeat_status(box) is None
        # By the one, or by both at the same time.
        assert asked in ([None], [None, None])
        waiting.cancel()
        stranger = HttpExchangeFactory(
            exchange.url, additional_headers=headers("stranger"))
        eve = await stranger.create_user_client(start_listener=False)
        monkeypatch.setattr(academy_client, "get_auth_headers",
                            lambda method: headers("stranger"))
        with pytest.raises(ForbiddenError):
            await eve._transport.heartbeat_status(box)
        await eve.close()
        await user.close()
    run(test())
