"""Mailboxes: the table, one of them, and who may see what."""

import asyncio
import json
import os
import time
import urllib.parse
import uuid

import pytest
from academy_nginx import PATIENCE, run, wait_until
from academy_redis import STORE
from exchange import IDENTITY, Client, Named, mailbox, message
from look import STATUS, fetch, known, look
from test_lock import watched


def listed(port, **query):
    headers = query.pop("headers", {})
    path = query.pop("path", "/status")
    return look(port, urllib.parse.urlencode(
        {"view": "mailboxes", **query}), headers=headers, path=path)


def everything(port, **query):
    """All pages, one after the other."""
    rows, after = [], None
    while True:
        page = listed(port, **query, **({"after": after} if after else {}))
        rows += page["mailboxes"]
        after = page["next"]
        if after is None:
            return rows, page["total"]


def named(name, role="agent"):
    return json.dumps({"uid": str(uuid.uuid4()), "name": name, "role": role})


def key(box):
    box = json.loads(box)
    return f"{box['role']}:{box['uid']}"


def test_a_row(nginx):
    server = nginx(server=STATUS)

    async def test():
        client = await Client.open(server.port)
        box = named("<script>alert('x')</script>\u2028\u00e4\"\\")
        other = named(None, "user")
        await client.create(box, "lab.Shy,academy.Agent")
        await client.create(other)
        await client.put(box, 1, src=other, kind="request")
        await client.put(box, {"secret": 1}, src=other, kind="request")
        await client.put(box, 3)
        await client.get(box, 1)
        await client.request("POST", "/mailbox/heartbeat", {"mailbox": box})
        await asyncio.sleep(1.2)
        page = listed(server.port)
        assert page["total"] == 2 and page["next"] is None
        rows = {row["id"]: row for row in page["mailboxes"]}
        row = rows[key(box)]
        assert row["name"] == json.loads(box)["name"]
        assert row["class"] == "lab.Shy"
        assert row["state"] == "active"
        assert row["owner"] == ""
        assert row["queued"] == 2 and row["in_progress"] == 0
        assert row["pending"] == 2 and row["completed"] == 0
        assert 1 < row["heartbeat"] < 1.5 + PATIENCE
        assert 1 < row["oldest"] < 1.5 + PATIENCE
        assert rows[key(other)]["outgoing"] == 2
        assert rows[key(other)]["heartbeat"] is not None
        assert rows[key(other)]["name"] is None

        one = look(server.port, f"view=mailbox&id={key(box)}")
        assert one["mailbox"]["queued"] == 2 and one["more"] is False
        first, second = one["messages"]
        assert first["kind"] == "request" and second["kind"] == "response"
        assert first["from"]["uid"] == json.loads(other)["uid"]
        uuid.UUID(first["tag"])
        assert known(first["deliveries"], 0)
        assert first["age"] is None if STORE == "redis" else first["age"] > 1.2
        assert "secret" not in json.dumps(one)
        # Leased or gone, and one that the exchange itself wrote.
        await client.terminate(box)
        await asyncio.sleep(0.1)
        one = look(server.port, f"view=mailbox&id={key(other)}")
        assert [m["kind"] for m in one["messages"]] == ["response"] * 2
        assert one["messages"][0]["from"]["uid"] == json.loads(box)["uid"]
        page = listed(server.port)
        assert [r["id"] for r in page["mailboxes"]] == [key(other)]
        page = listed(server.port, state="terminated")
        assert [r["id"] for r in page["mailboxes"]] == [key(box)]
        assert listed(server.port, state="all")["total"] == 2
        assert listed(server.port, state="all", role="user")["total"] == 1

    run(test())


def test_search_of_an_id(nginx):
    """With and without a role before it, which is not taken for one where
    what follows is no id."""
    server = nginx(server=STATUS)
    uid = "7e57ab1e-0000-4000-8000-000000000000"

    def box(name, role, uid):
        return json.dumps({"uid": uid, "role": role, "name": name})

    boxes = [box("one", "user", uid)]
    if STORE == "zone":
        # A Python exchange's keys have no role, and so Redis has one of them.
        boxes.append(box("two", "agent", uid))
    boxes += [box(name, role, f"{n}" * 8 + uid[8:]) for n, name, role in (
        (1, "agent:0:user:x", "agent"), (2, "user:add", "agent"),
        (3, None, "user"))]

    async def test():
        client = await Client.open(server.port)
        for box in boxes:
            await client.create(box)

    run(test())

    def found(search, **more):
        return [row["id"] for row in listed(server.port, search=search, **more)
                ["mailboxes"]]

    two = ["agent:" + uid] if STORE == "zone" else []
    for cut in 36, 20, 3:
        assert found("user:" + uid[:cut]) == ["user:" + uid]
        assert found("Agent:" + uid[:cut].upper()) == two
        assert sorted(found(uid[:cut])) == two + ["user:" + uid]
    assert found("user:" + uid, role="agent") == []
    assert found("user:" + uid, role="user") == ["user:" + uid]
    for name, box in ("agent:0:", boxes[-3]), ("user:x", boxes[-3]):
        assert found(name) == [key(box)]
    assert found("agent:add") == [key(boxes[-2])]
    assert found("agent:") == [key(boxes[-3])]
    assert len(found("")) == len(boxes)


def test_names_that_are_not_ascii(nginx):
    """However their JSON is written they are found, in their order, and one
    of 80 characters is whole."""
    server = nginx(server=STATUS)
    names = ["Zo\u00eb", "\u00c4rger & \u00dcbel", "\u6771\u4eac" * 40,
             "\U0001f680 \u2028 \"\\\n\x00\x7f", "plain"]

    async def test():
        client = await Client.open(server.port)
        for name in names:
            for ascii_only in True, False:
                await client.create(json.dumps(
                    {"uid": str(uuid.uuid4()), "name": name, "role": "agent"},
                    ensure_ascii=ascii_only))
        rows = listed(server.port, sort="name")["mailboxes"]
        assert [r["name"] for r in rows] == sorted(
            2 * names, key=lambda n: json.dumps(
                n, ensure_ascii=False).lower().encode()[1:])
        for part, name in (("zo\u00eb", 0), ("\u00dcBEL", 1),
                           ("\u4eac\u6771", 2), ("\U0001f680", 3),
                           ("plain", 4)):
            page = listed(server.port, search=part)
            assert [r["name"] for r in page["mailboxes"]] == [names[name]] * 2

    run(test())


def test_headers_wherever_they_stand(nginx):
    """Behind the body, far behind it, and among what looks like one."""
    server = nginx(server=STATUS)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        for body in ("short", 'a "header": \\ trap', {"header": {"tag": 1}},
                     ["header", {"x": "}]"}], "x" * 5000):
            text = json.loads(message(box, body))
            text = json.dumps({"body": text["body"], "header": text["header"]})
            answer = await client.request("PUT", "/message",
                                          {"message": text})
            assert answer.status == 200
        await client.put(box, "x" * 50000)
        seen = look(server.port, f"view=mailbox&id={key(box)}")["messages"]
        assert [m["kind"] for m in seen] == ["response"] * 4 + [
            None, "response"]
        assert seen[4]["tag"] is seen[4]["from"] is None
        for _ in range(200):
            await client.put(box, 1)
        one = look(server.port, f"view=mailbox&id={key(box)}")
        assert len(one["messages"]) == 100 and one["more"] is True
        if STORE == "zone":
            assert [m["seq"] for m in one["messages"]] == sorted(
                m["seq"] for m in one["messages"])

    run(test())


@pytest.mark.timeout(300 * PATIENCE)
def test_a_hundred_thousand(nginx, figures):
    """A page of them, in any order, and one that is looked for."""
    count = int(os.environ.get(
        "ACADEMY_MAILBOXES",
        5000 if PATIENCE > 1 or STORE == "redis" else 100000))
    server = nginx(zone="256m", workers=2, server=STATUS)

    async def fill():
        async def some(part):
            client = await Client.open(server.port)
            for n in range(part, count, 20):
                await client.create(
                    named(f"Agent {n:06}"),
                    f"lab.Kind{n % 7},academy.Agent")
            client.close()
        await asyncio.gather(*(some(part) for part in range(20)))
        client = await Client.open(server.port)
        needle = await client.create(named("Needle"), "lab.Odd")
        for _ in range(3):
            await client.put(needle, 1)
        client.close()
        return needle

    needle = run(fill(), 200)
    took = {}
    for name, query in dict(
            page={}, name=dict(sort="name"), queued=dict(sort="queued"),
            needle=dict(search="NEEDLE"), id=dict(search=key(needle)[6:20]),
            kind=dict(search="kind3", sort="class"),
            nothing=dict(search="no such thing")).items():
        # Where others have the processors it may take some tries.
        times = []
        while len(times) < 5 or len(times) < 40 and sorted(times)[2] > 0.2:
            begin = time.monotonic()
            page = listed(server.port, **query)
            times.append(time.monotonic() - begin)
            if STORE == "redis" and len(times) == 5:
                break
        took[name] = min(times)         # a busy host adds to the others
        if name in ("needle", "id"):
            assert [r["id"] for r in page["mailboxes"]] == [key(needle)]
        elif name == "queued":
            assert page["mailboxes"][0]["id"] == key(needle)
            assert page["total"] == count + 1
        elif name == "name":
            assert [r["name"] for r in page["mailboxes"]] == [
                f"Agent {n:06}" for n in range(50)]
    with watched(server, figures, f"tables of {count} mailboxes"):
        for sort in ("id", "name", "queued", "heartbeat"):
            listed(server.port, sort=sort, limit=200, search="agent")
        time.sleep(1.1)
        look(server.port)
        look(server.port, f"view=mailbox&id={key(needle)}")
    times = []
    while not times or len(times) < 10 and min(times) > 0.2:
        time.sleep(1.1)
        begin = time.monotonic()
        look(server.port)
        times.append(time.monotonic() - begin)
    took["json"] = min(times)
    figures(f"{count} mailboxes, milliseconds: " + ", ".join(
        f"{name} {1000 * t:.0f}" for name, t in took.items()))
    if STORE == "redis":
        assert took["page"] < 0.2 and took["id"] < 5
    elif PATIENCE == 1:
        assert max(took.values()) < 0.2
    # On Redis it is as old as ten looks take.
    wait_until(lambda: look(server.port)["mailboxes"]["active"] == count + 1,
               60, "they are not counted")


def test_pages_and_orders(nginx):
    """Each order gives each mailbox once, whatever the length of a page."""
    server = nginx(server=STATUS)

    async def test():
        client = await Client.open(server.port)
        for n in range(97):
            box = await client.create(
                named(f"n{n * 37 % 10}" if n % 3 else None,
                      "agent" if n % 4 else "user"),
                None if n % 4 == 0 else f"k{n % 5}")
            for _ in range(n % 6):
                await client.put(box, 1)
                if n % 7 == 0:
                    await client.get(box, 1)
        client.close()
        for sort in ("id", "name", "class", "queued", "oldest", "heartbeat",
                     "in_progress", "completed"):
            whole = listed(server.port, sort=sort, limit=200)["mailboxes"]
            assert len(whole) == 97
            for reverse in ("0", "1"):
                rows, total = everything(server.port, sort=sort, limit=10,
                                         reverse=reverse)
                ids = [row["id"] for row in rows]
                assert total == 97 and len(set(ids)) == 97
                wanted = [row["id"] for row in whole]
                assert ids == (wanted[::-1] if reverse == "1" else wanted)
        rows = listed(server.port, sort="queued", limit=200)["mailboxes"]
        assert [r["queued"] for r in rows] == sorted(
            (r["queued"] for r in rows), reverse=True)
        rows = listed(server.port, sort="name", limit=200)["mailboxes"]
        names = [r["name"] for r in rows]
        some = [n for n in names if n]
        assert some == sorted(some) and names[:len(some)] == some
        for wrong in ("limit=0", "limit=201", "limit=x", "sort=size",
                      "state=dead", "role=king", "after=00", "after=zz"):
            assert fetch(server.port, "view=mailboxes&" + wrong)[0] == 400
        for wrong in ("", "&id=", "&id=agent:", "&id=king:" + "0" * 32,
                      "&id=agent:123"):
            assert fetch(server.port, "view=mailbox" + wrong)[0] == 400
        assert fetch(server.port, "view=mailbox&id=agent:"
                     + str(uuid.uuid4()))[0] == 404

    run(test())


VIEWERS = """
    location = /status {
        academy_status exchange;
        academy_status_write on;
""" + IDENTITY + """
    }
    location = /admin {
        academy_status exchange;
        academy_status_write on;
        academy_status_admin $http_x_admin;
""" + IDENTITY + """
    }
    location = /read {
        academy_status exchange;
        academy_status_admin 1;
    }
    location = /stranger {
        academy_status exchange;
    }
"""


def test_who_sees_what(nginx):
    server = nginx(location=IDENTITY, server=VIEWERS)

    def seen(name, groups="none", path="/status", **more):
        page = listed(server.port, path=path, state="all", headers={
            "X-Client": name, "X-Groups": groups, **more})
        return {row["id"]: row for row in page["mailboxes"]}

    async def test():
        boxes = {}
        for name, groups in (("ada", "lab"), ("bob", "lab"), ("eve", "")):
            client = await Named.open(server.port)
            client.name, client.groups = name, groups
            boxes[name] = await client.new()
            if name == "bob":
                answer = await client.request(
                    "POST", "/mailbox/share",
                    {"mailbox": boxes[name], "group_id": "lab"})
                assert answer.status == 200
            client.close()
        ada, bob, eve = (key(boxes[n]) for n in ("ada", "bob", "eve"))

        assert fetch(server.port, "format=json")[0] == 401
        assert set(seen("ada", "lab")) == {ada, bob}
        assert set(seen("ada")) == {ada}
        assert set(seen("eve", "lab")) == {bob, eve}
        assert seen("mallory") == {}
        assert seen("ada", "lab")[ada]["owner"] == "ada"
        assert "owner" not in seen("ada", "lab")[bob]
        assert seen("x", path="/stranger") == {}
        assert set(seen("mallory", path="/admin")) == set()
        assert set(seen("mallory", path="/admin", **{"X-Admin": "0"})) == set()
        every = seen("mallory", path="/admin", **{"X-Admin": "yes"})
        assert {r["owner"] for r in every.values()} == {"ada", "bob", "eve"}
        assert set(seen("x", path="/read")) == {ada, bob, eve}
        assert look(server.port, headers={"X-Client": "ada"})["viewer"] == {
            "id": "ada", "admin": False, "write": True}
        assert "oldest_mailbox" not in look(
            server.port, headers={"X-Client": "ada"})["messages"]

        def one(name, box, groups="none", path="/status", method="GET",
                more="", **headers):
            return fetch(server.port, f"view=mailbox&id={box}{more}",
                         path=path, method=method, headers={
                             "X-Client": name, "X-Groups": groups,
                             **headers})[0]

        assert one("ada", ada) == 200
        assert one("ada", eve) == 403
        assert one("ada", bob, "lab") == 200
        assert one("ada", bob) == 403
        assert one("ada", eve, path="/admin") == 403
        assert one("ada", eve, path="/admin", **{"X-Admin": "1"}) == 200

        def end(name, box, path="/status", **headers):
            return one(name, box, path=path, method="POST",
                       more="&action=terminate", **headers)

        own = {"X-Academy-Status": "1"}
        here = f"http://127.0.0.1:{server.port}"
        assert end("ada", ada) == 403
        assert end("ada", eve, **own) == 403
        assert end("ada", ada, "/read", **own) == 403
        assert end("ada", ada, **own, Origin="http://evil.example") == 403
        assert end("ada", ada, **own, Origin="null") == 403
        assert end("ada", ada, **own, Origin=here + "0") == 403
        assert end("ada", ada, **own,
                   **{"Sec-Fetch-Site": "cross-site"}) == 403
        assert end("ada", ada, **own, **{"Sec-Fetch-Site": "same-site"}) == 403
        assert one("ada", ada, method="POST", **own) == 400
        assert {r["state"] for r in every.values()} == {"active"}
        assert seen("ada")[ada]["state"] == "active"
        # Behind a proxy that names the server otherwise.
        assert end("ada", ada, **own, Origin="https://lab.example",
                   **{"Sec-Fetch-Site": "same-origin"}) == 200
        assert seen("ada")[ada]["state"] == "terminated"
        assert (f'mailbox {ada[6:]} was terminated from a status location by '
                '"ada"') in server.log()
        assert f"mailbox {eve[6:]} was" not in server.log()
        assert end("ada", eve, "/admin", **own) == 403
        assert end("ada", eve, "/admin", **own, Origin=here,
                   **{"X-Admin": "1"}) == 200
        assert seen("eve")[eve]["state"] == "terminated"
        assert end("ada", "agent:" + str(uuid.uuid4()), **own) == 200

    run(test())


def test_events(nginx):
    """The picture every second; a worker that ends lets nobody hang."""
    server = nginx(server=STATUS)

    async def test():
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port)
        writer.write(b"GET /status?view=events HTTP/1.0\r\n\r\n")
        begin = time.monotonic()

        async def event():
            while not (line := await reader.readline()).startswith(b"data: "):
                assert line
            return json.loads(line[6:])
        first = await event()
        client = await Client.open(server.port)
        box = await client.new()
        await client.put(box, 1)
        client.close()
        pictures = [await event() for _ in range(3)]
        assert 2.5 < time.monotonic() - begin < 4 * PATIENCE
        assert first["totals"]["accepted"] == 0
        assert pictures[0]["totals"]["accepted"] == 1
        assert pictures[-1]["messages"]["queued"] == 1
        await asyncio.to_thread(server.reload)
        begin = time.monotonic()
        while await reader.read(65536):
            pass
        assert time.monotonic() - begin < 2 * PATIENCE
        assert fetch(server.port, "view=events&interval=0")[0] == 400
        assert fetch(server.port, "view=events&interval=61")[0] == 400

    run(test())


def test_a_viewer_that_goes(nginx):
    """In the middle of a walk through many mailboxes, and of events."""
    server = nginx(zone="64m", server=STATUS)

    async def test():
        client = await Client.open(server.port)
        for _ in range(2000 if PATIENCE > 1 else 20000):
            client.send("POST", "/mailbox", {"mailbox": mailbox()})
            await client.answer()
        for n in range(200):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", server.port)
            view = ("mailboxes", "events", "")[n % 3]
            writer.write(b"GET /status?view=%s HTTP/1.1\r\nHost: x\r\n\r\n"
                         % view.encode())
            await asyncio.sleep(0.001 * (n % 5))
            if n % 2:
                writer.transport.abort()
            else:
                writer.close()
        assert look(server.port)["mailboxes"]["active"] > 0

    run(test())
    wait_until(lambda: look(server.port)["mailboxes"]["active"] >= 2000, 60,
               "they are not counted")
