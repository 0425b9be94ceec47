"""The page, in a real browser."""

import asyncio
import base64
import hashlib
import json
import re
import socket
import threading
import time
import uuid

import pytest
import tokens
from academy_nginx import ASAN, MODULE, run, wait_until
from academy_redis import STORE, RedisServer
from browser import browser, looking, text, until
from demo import Demo, named
from exchange import IDENTITY, Client, Named
from look import STATUS, fetch

# What the module does for the page is little, and t/19-status.t asks for it.
pytestmark = [
    pytest.mark.skipif(bool(ASAN), reason="the browser's own work"),
    pytest.mark.zone_only("one of these tests has a Redis of its own")]

EVIL = "<script>window.hurt = 1</script>"
WORSE = "\"'><img src=x onerror='window.hurt = 2'>\u2028&amp;"


def key(box):
    box = json.loads(box)
    return f"{box['role']}:{box['uid']}"


def rows(page):
    return page.locator("#table tbody tr")


async def names(page):
    return [name for name in
            await page.locator("#table tbody .name").all_inner_texts()]


def test_policy(nginx):
    """It names the hashes of the only style and the only script."""
    server = nginx(server=STATUS)
    code, page, headers = fetch(server.port, "format=html")
    assert code == 200
    policy = dict(part.strip().split(" ", 1) for part in
                  headers["Content-Security-Policy"].split(";"))
    for tag, part in (("style", "style-src"), ("script", "script-src")):
        inside, = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = hashlib.sha256(inside.encode()).digest()
        assert policy[part] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    # Whatever it would have to fetch.
    assert not re.search(r"(src|href)=\"(?!\?|#|data:,\")", page)
    assert "style=" not in page and " on" not in re.sub(
        r"<script>.*", "", page, flags=re.DOTALL).replace(" only", "")


def test_agents_at_work(nginx):
    """It shows what happens while it happens, and asks nobody else."""
    server = nginx(server=STATUS, workers=2)

    async def test():
        demo = asyncio.create_task(Demo(server.port).run(60))
        async with looking(server.port) as (page, seen):
            await until(page, "#link", "live")
            await until(page, "#verdict", "All is well")
            await page.wait_for_function(
                "() => Number("
                "document.getElementById('now-accepted').textContent) > 20")
            assert await page.locator("#workers tbody tr").count() == 2
            assert re.match(r"194 agents and 5 users, ",
                            await text(page, "#summary"))
            assert await text(page, "#total") == "199"
            await page.fill("#search", "archive")
            await page.wait_for_function(
                "() => document.querySelectorAll('#table tbody tr').length"
                " === 1")
            done = [int(await text(page, "#table td.c-completed"))]
            while done[-1] < done[0] + 5:
                await asyncio.sleep(0.3)
                done.append(int(await text(page, "#table td.c-completed")))
            assert seen.console == []
            assert seen.hosts() == {f"127.0.0.1:{server.port}"}
            # The stream brings it: the picture is asked for once, at first.
            assert seen.polls() <= 2
        demo.cancel()
        await asyncio.gather(demo, return_exceptions=True)

    run(test(), 60)


def test_nothing_yet(nginx):
    server = nginx(server=STATUS)

    async def test():
        async with looking(server.port) as (page, seen):
            await until(page, "#summary", "No agents and no users yet.")
            await page.wait_for_selector("#no-mailboxes:has-text('No agents')")
            await page.wait_for_selector("#no-refusals")
            assert await rows(page).count() == 0
            assert "within 20 seconds" in await text(
                page, "#plot-rates .empty")
            client = await Client.open(server.port)
            await client.create(named("First"))
            await until(page, "#table .name", "First")
            client.close()
            assert seen.console == []

    run(test())


def test_names_are_text(nginx):
    """Of agents, classes, senders, labels and whoever is looking."""
    server = nginx(server=STATUS + """
        location = /evil {
            academy_status exchange;
            academy_status_admin 1;
            academy_auth variables;
            academy_client_id $http_x_client;
        }
    """, location=IDENTITY)

    async def test():
        client = await Named.open(server.port)
        client.name = "<b>ada</b>"
        box = await client.create(named(EVIL), "<b>K</b>,B")
        other = await client.create(named(WORSE), "javascript:1")
        header = {"src": json.loads(other), "dest": json.loads(box),
                  "label": str(uuid.uuid4()),
                  "kind": "request", "protocol_version": "1"}
        for name in (WORSE, EVIL):
            header["src"]["name"] = name
            header["tag"] = str(uuid.uuid4())
            answer = await client.request("PUT", "/message", {
                "message": json.dumps({"header": header, "body": EVIL})})
            assert answer.status == 200, answer
        client.close()
        async with looking(server.port, "/evil", extra_http_headers={
                "X-Client": EVIL}) as (page, seen):
            await page.wait_for_selector("#table tbody tr:nth-child(2)")
            assert sorted(await page.locator(
                "#table .name").evaluate_all(
                    "all => all.map((e) => e.textContent)")) == sorted(
                        [EVIL, WORSE])
            assert "<b>K</b>" in await text(page, "#table tbody")
            assert "<b>ada</b>" in await text(page, "#table tbody")
            await page.fill("#search", EVIL)
            await page.wait_for_function(
                "() => document.querySelectorAll('#table tbody tr').length"
                " === 1")
            await page.click("#table .name")
            await until(page, "#box-name", EVIL)
            await page.wait_for_selector("#box-messages tbody tr:nth-child(2)")
            assert WORSE.split("\u2028")[0] in await text(
                page, "#box-messages tbody")
            await page.keyboard.press("Escape")
            await page.fill("#search", "<i>no such</i>")
            await page.wait_for_selector("#no-mailboxes:has-text('<i>no')")
            assert await page.evaluate("window.hurt") is None
            assert await page.locator("main img, main b b, main i").count() \
                == 0
            assert seen.console == []
            assert seen.hosts() == {f"127.0.0.1:{server.port}"}

    run(test())


def test_policy_holds(nginx):
    """What gets into the page by some mistake does nothing there."""
    server = nginx(server=STATUS)

    async def test():
        asked = []
        async def answer(reader, writer):
            asked.append(await reader.readline())
            writer.close()
        outside = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = "http://127.0.0.1:%d/" % outside.sockets[0].getsockname()[1]
        async with looking(server.port) as (page, seen):
            await page.evaluate("""url => {
                document.body.insertAdjacentHTML('beforeend',
                    `<img src="${url}" onerror="window.hurt = 1">`
                    + '<p style="color: red">x</p>');
                const script = document.createElement('script');
                script.textContent = 'window.hurt = 2';
                document.body.append(script);
            }""", url)
            assert await page.evaluate(
                "url => fetch(url).catch(() => 'refused')", url) == "refused"
            await asyncio.sleep(0.3)
            assert await page.evaluate("window.hurt") is None
            assert len([said for said in seen.console
                        if "Content Security Policy" in said]) >= 4
        assert asked == []
        outside.close()

    run(test())


def fill(port, count):
    """Many mailboxes at once: 500 requests at a time on four connections."""
    def some(part):
        with socket.create_connection(("127.0.0.1", port)) as conn:
            mine = range(part, count, 4)
            for at in range(0, len(mine), 500):
                batch = mine[at:at + 500]
                for n in batch:
                    body = json.dumps({"mailbox": named(f"Agent {n:06}"),
                                       "agent": f"lab.Kind{n % 7},A"}).encode()
                    conn.sendall(b"POST /mailbox HTTP/1.1\r\nHost: x\r\n"
                                 b"Content-Length: %d\r\n\r\n%s"
                                 % (len(body), body))
                got, tail = 0, b""
                while got < len(batch):
                    data = tail + conn.recv(1 << 20)
                    assert len(data) > len(tail)
                    got += data.count(b"HTTP/1.1 200 ")
                    tail = data[-12:]
    threads = [threading.Thread(target=some, args=(p,)) for p in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# From the press of a key until the row is on the screen.
FOUND = """(wanted) => new Promise((done) => {
    const search = document.getElementById('search');
    const body = document.querySelector('#table tbody');
    search.addEventListener('input', () => {
        const begin = performance.now();
        new MutationObserver((_, observer) => {
            const names = body.querySelectorAll('.name');
            if (names.length === 1 && names[0].textContent === wanted) {
                observer.disconnect();
                requestAnimationFrame(() => setTimeout(
                    () => done(performance.now() - begin)));
            }
        }).observe(body, {subtree: true, childList: true,
                          characterData: true});
    }, {once: true});
})"""


def test_one_of_a_hundred_thousand(nginx, figures):
    server = nginx(zone="256m", workers=2, server=STATUS)
    begin = time.monotonic()
    fill(server.port, 100000)
    filled = time.monotonic() - begin

    async def test():
        async def look(page, n):
            name = f"Agent {n:06}"
            found = asyncio.create_task(page.evaluate(FOUND, name))
            await asyncio.sleep(0.1)
            await page.fill("#search", name)
            took = await found
            await page.fill("#search", "")
            await page.wait_for_selector("#range:has-text('100,000')")
            return took

        async with looking(server.port) as (page, seen):
            await page.wait_for_selector("#total:has-text('100,000')")
            # What else this machine does at the moment is not the page's: it
            # can be that quick, and is looked at until it was.
            for _ in range(4):
                took = sorted([await look(page, n) for n in (
                    77777, 12, 99999, 50000, 31415)])
                if took[0] < 200:
                    break
            # Typed a letter after the other, as fast as it goes.
            found = asyncio.create_task(page.evaluate(
                FOUND.replace(", {once: true}", ""), "Agent 004711"))
            await asyncio.sleep(0.1)
            await page.type("#search", "Agent 004711")
            typed = await found
            await page.fill("#search", "")
            await page.wait_for_selector("#range:has-text('1–25 of 100,000')")
            await page.click("#next")
            await page.wait_for_selector("#range:has-text('26–50')")
            await page.click("#next")
            await page.wait_for_selector("#range:has-text('51–75')")
            assert (await names(page))[0] == "Agent 000050"
            await page.click("#previous")
            await page.wait_for_selector("#range:has-text('26–50')")
            assert (await names(page))[0] == "Agent 000025"
            await page.click("th[data-sort=name] button")
            await until(page, "#table .name", "Agent 099999")
            await page.click("th[data-sort=class] button")
            await until(page, "#table td.c-class", "lab.Kind0")
            assert seen.console == []
        figures("100,000 mailboxes, one found in the page, milliseconds: "
                f"best {took[0]:.0f}, median {took[2]:.0f}, worst {took[-1]:.0f}, "
                f"after the last of 12 letters {typed:.0f}; "
                f"filled in {filled:.1f} s")
        assert took[0] < 200

    run(test(), 100)


VIEWERS = """
    location = /status {
        academy_status exchange;
        academy_status_write on;
""" + IDENTITY + """
    }
    location = /read {
        academy_status exchange;
        academy_status_admin 1;
    }
    location = /admin {
        academy_status exchange;
        academy_status_write on;
        academy_status_admin 1;
    }
"""


def test_who_may_do_what(nginx):
    server = nginx(location=IDENTITY, server=VIEWERS)
    other = nginx(server=STATUS)

    async def boxes():
        made = {}
        for name in ("ada", "eve"):
            client = await Named.open(server.port)
            client.name = name
            made[name] = await client.create(named(name.title()), "lab.A,B")
            await client.put(made[name], 1, src=made[name], kind="request")
            client.close()
        return made

    async def state(box):
        client = await Named.open(server.port)
        client.name = "eve"
        answer = await client.status(box)
        client.close()
        return answer

    async def test():
        made = await boxes()

        # Own mailboxes, and no other's.
        async with looking(server.port, extra_http_headers={
                "X-Client": "ada", "X-Groups": "none"}) as (page, seen):
            await until(page, "#table .name", "Ada")
            assert await rows(page).count() == 1
            assert await text(page, "#table td.c-owner") == "ada"
            await page.evaluate("id => { location.hash = id; }",
                                key(made["eve"]))
            await page.wait_for_selector("#box-error:has-text('may not')")
            assert not await page.locator("#box-body").is_visible()
            assert not await page.locator("#terminate").is_visible()
            # Who is not known any more is told so.
            seen.console.clear()
            await page.context.set_extra_http_headers({})
            await page.evaluate("location.hash = ''")
            await page.wait_for_selector("#table-error:has-text('not know')")

        # Writing is off: no button.
        async with looking(server.port, "/read") as (page, seen):
            await page.wait_for_selector("#table tbody tr:nth-child(2)")
            assert await page.locator("#table td.c-owner").all_inner_texts() \
                == ["ada", "eve"]
            await page.click("text=Eve")
            await page.wait_for_selector("#box-messages tbody tr")
            assert not await page.locator("#terminate").is_visible()
            assert seen.console == []

        # Another site's page: neither with the header nor without it.
        async with looking(other.port) as (page, seen):
            url = (f"http://127.0.0.1:{server.port}/admin?view=mailbox&id="
                   f"{key(made['eve'])}&action=terminate")
            await page.goto(f"http://127.0.0.1:{other.port}/.pid")
            for options in ("{method: 'POST', mode: 'no-cors'}",
                            "{method: 'POST',"
                            " headers: {'X-Academy-Status': '1'}}"):
                await page.evaluate(
                    f"url => fetch(url, {options}).catch(() => 0)", url)
            await page.evaluate("""url => {
                const form = document.createElement('form');
                form.method = 'post';
                form.action = url;
                document.body.append(form);
                form.submit();
            }""", url)
            await page.wait_for_selector("text=own page")
            frame = await page.evaluate("""url => new Promise((done) => {
                const frame = document.createElement('iframe');
                frame.src = url;
                frame.onload = () => done('loaded');
                document.body.append(frame);
            })""", f"http://127.0.0.1:{server.port}/admin")
            assert frame == "loaded"
            assert any("frame" in s for s in seen.console), seen.console
        assert await state(made["eve"]) == "ACTIVE"

        # Allowed: asked once more, and then it is done.
        async with looking(server.port, "/admin") as (page, seen):
            await page.click("text=Eve")
            await page.click("#terminate")
            assert "1 queued message is dropped" in await text(
                page, "#confirm-text")
            await page.click("#confirm-no")
            assert await state(made["eve"]) == "ACTIVE"
            await page.click("#terminate")
            await page.click("#confirm-yes")
            await until(page, "#box-facts dd", "terminated")
            assert not await page.locator("#terminate").is_visible()
            assert await state(made["eve"]) == "TERMINATED"
            await page.keyboard.press("Escape")
            await page.wait_for_selector("#mailbox", state="hidden")
            await page.wait_for_function(
                "() => document.querySelectorAll('#table tbody tr').length"
                " === 1")
            await page.select_option("#state", "terminated")
            await until(page, "#table .name", "Eve")
            assert seen.console == []

    run(test(), 60)


def test_lost_and_found(nginx):
    """Without the stream it asks; without a server it says so; and back."""
    server = nginx(server=STATUS)

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        async with looking(server.port) as (page, seen):
            await until(page, "#link", "live")
            blocked = re.compile("view=events")
            await page.route(blocked, lambda route: route.abort())
            # A new worker: the stream of the old one ends.
            await asyncio.to_thread(server.reload)
            await until(page, "#link", "every 2 seconds")
            client = await Client.open(server.port)
            await client.put(box, 1)
            await until(page, "#now-queued", "1")
            await client.put(box, 1)
            await until(page, "#now-queued", "2")
            client.close()
            assert seen.polls() >= 2

            await asyncio.to_thread(server.stop)
            await until(page, "#link", "no connection")
            await until(page, "#verdict", "No connection to the exchange")
            assert "The figures are of" in await text(page, "#summary")
            await page.unroute(blocked)
            nginx(server=STATUS, port=server.port)
            await until(page, "#verdict", "All is well")
            await until(page, "#now-queued", "0")
            await until(page, "#link", "live")

    run(test(), 90)


def test_what_is_wrong(nginx):
    """The headline names it."""
    server = nginx(zone="2m", server=STATUS,
                   location="academy_mailbox_messages 3;")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        async with looking(server.port) as (page, _):
            await until(page, "#verdict", "All is well")
            for _ in range(5):
                await client.try_put(box, 1)
            await until(page, "#verdict", "A mailbox is full")
            assert "Mailbox has its number of messages" in await text(
                page, "#refusals tbody")
            while True:
                box = await client.new()
                answer = await client.try_put(box, "x" * 50000)
                if answer.status == 503:
                    break
            await page.wait_for_selector("#headline[data-level=bad]")
            assert re.search("reserve|memory is used up",
                             await text(page, "#verdict"))
        client.close()

    run(test())


def history(route):
    """An hour with a gap, and a time without a message."""
    now = int(time.time()) // 10 * 10
    samples = []
    for i in range(360):
        if 100 < i < 120:
            continue
        quiet = 200 < i < 230
        samples.append([now - 3600 + 10 * i, 10, 0 if quiet else 10 * i,
                        0 if quiet else 9 * i, 0, 5, i, 1, 2, 3, 4,
                        *([None] * 3 if quiet else [0.001, 0.02, 1.5])])
    return route.fulfill(json={"interval": 10, "samples": samples, "columns": [
        "time", "seconds", "accepted", "delivered", "redelivered", "refused",
        "queued", "bytes", "waiting", "mailboxes", "zone_free", "p50", "p90",
        "p99"]})


def test_plots(nginx):
    """Lines, what the pointer shows and what the arrow keys do."""
    server = nginx(server=STATUS)

    async def test():
        async with looking(server.port) as (page, seen):
            await page.route(re.compile("view=history"), history)
            await page.evaluate("plots_load()")
            plot = page.locator("#plot-rates svg")
            await page.wait_for_selector("#plot-rates path.line.blue")
            path = await page.locator(
                "#plot-rates path.line.blue").get_attribute("d")
            assert path.count("M") == 2             # a gap
            path = await page.locator(
                "#plot-latency path.line.violet").get_attribute("d")
            assert path.count("M") == 3
            assert "359 /s" in await text(page, "#plot-rates .legend")
            assert "at most 359 /s" in await plot.get_attribute("aria-label")
            labels = await plot.locator("text").all_text_contents()
            assert "400" in labels and "0" in labels
            assert len([t for t in labels if ":" in t]) >= 5
            await plot.hover(position={"x": 400, "y": 60})
            tip = await text(page, "#plot-rates .tip")
            assert re.match(r"\d\d:\d\d:\d\d\s+accepted\s+\d+ /s", tip), tip
            await page.evaluate("plots_load()")
            await asyncio.sleep(0.2)
            assert await text(page, "#plot-rates .tip") == tip
            await page.mouse.move(5, 5)
            assert not await page.locator("#plot-rates .tip").is_visible()
            await plot.focus()
            await page.keyboard.press("End")
            assert "359 /s" in await text(page, "#plot-rates .tip")
            await page.keyboard.press("ArrowLeft")
            assert "358 /s" in await text(page, "#plot-rates .tip")
            await page.keyboard.press("Escape")
            assert not await page.locator("#plot-rates .tip").is_visible()
            assert seen.console == []

    run(test())


def test_keyboard_and_phone(nginx):
    server = nginx(server=STATUS)

    async def test():
        client = await Client.open(server.port)
        box = await client.create(named("N" * 200), "very.long." * 12 + "C,B")
        await client.put(box, 1)
        client.close()
        async with looking(server.port) as (page, seen):
            await page.wait_for_selector("#table tbody tr")
            await page.keyboard.press("/")
            await page.keyboard.type("nnn")
            assert await page.input_value("#search") == "nnn"
            await page.locator("#table .name").focus()
            await page.keyboard.press("Enter")
            await page.wait_for_selector("#box-messages tbody tr")
            assert await page.evaluate("location.hash.slice(1)") == key(box)
            await page.keyboard.press("Escape")
            await page.wait_for_selector("#mailbox", state="hidden")
            assert await page.evaluate(
                "document.activeElement.className") == "name"
            assert await page.evaluate("location.hash") == ""
            for width in (1280, 768, 390, 320):
                await page.set_viewport_size({"width": width, "height": 800})
                wide = await page.evaluate(
                    "document.documentElement.scrollWidth")
                assert wide <= width, (width, wide)
            await page.click("#table .name")
            await page.wait_for_selector("#box-messages tbody tr")
            assert await page.evaluate(
                "document.getElementById('mailbox').scrollWidth") <= 320
            assert seen.console == []

    run(test())


def test_behind_a_proxy(nginx):
    """Under another prefix, with a slash at its end."""
    server = nginx(server=STATUS)
    front = nginx(server=f"""
        location /deep/er/ {{
            proxy_pass http://127.0.0.1:{server.port}/status;
            proxy_set_header Host $http_host;
        }}""")

    async def test():
        client = await Client.open(server.port)
        await client.create(named("Ada"))
        client.close()
        async with looking(front.port, "/deep/er/") as (page, seen):
            await until(page, "#table .name", "Ada")
            await until(page, "#link", "live")
            await page.click("#table .name")
            await page.click("#terminate")
            await page.click("#confirm-yes")
            await until(page, "#box-facts dd", "terminated")
            assert seen.console == []
            assert all("/deep/er/" in r.url for r in seen.requests
                       if not r.url.startswith("data:"))

    run(test())


def test_redis(nginx):
    """What that store tells, and when it goes."""
    if STORE != "zone":
        pytest.skip("a Redis of its own")
    with RedisServer() as redis:
        server = nginx(
            exchange=False, main=f"load_module {MODULE};",
            location="academy_exchange exchange;", server=STATUS, workers=2,
            http=f"academy_redis name=exchange server={redis.server};")
        server.expect("redis")

        async def test():
            client = await Client.open(server.port)
            wait_until(lambda: fetch(server.port, "format=health")[0] == 200,
                       10, "no Redis")
            box = await client.create(named(EVIL))
            await client.put(box, 1)
            async with looking(server.port) as (page, seen):
                await until(page, "#verdict", "All is well")
                await until(page, "#memory-title", "Redis")
                await until(page, "#memory-facts dd", "connected")
                if fetch(server.port, "view=mailboxes")[0] == 501:
                    await page.wait_for_selector(
                        "#table-error:has-text('does not tell')")
                    assert not await page.locator("#table").is_visible()
                    seen.console = [said for said in seen.console
                                    if "501" not in said]
                else:
                    await until(page, "#table .name", EVIL)
                    await until(page, "#now-queued", "1")
                    await page.click("#table .name")
                    await page.wait_for_selector("#box-messages tbody tr")
                    await page.keyboard.press("Escape")
                await page.click("summary")
                await page.wait_for_selector("#counters h3:text-is('Redis')")
                assert "null" not in await text(page, "main")
                assert "NaN" not in await text(page, "main")
                assert seen.console == []
                redis.stop()
                await page.wait_for_selector("#headline[data-level=bad]")
                assert "Redis" in await text(page, "#verdict")
            client.close()

        run(test())


def test_token(nginx, tmp_path):
    """Where one is needed the page asks for it, and then shows the figures."""
    tmp_path.chmod(0o755)
    (tmp_path / "keys").write_text(tokens.jwks(tokens.jwk("ES256")))
    auth = f"academy_auth jwt; academy_jwt_key_file {tmp_path}/keys;"
    server = nginx(location=auth, server=f"""
        location = /status {{ academy_status exchange; {auth} }}""")
    box = named("Ann's")
    answer = tokens.bearer(server.port, tokens.token(), method="POST",
                           path="/mailbox", body={"mailbox": box})
    assert answer.status == 200, answer

    async def test():
        async with browser() as started:
            page = await started.new_page()
            await page.goto(f"http://127.0.0.1:{server.port}/status")
            await until(page, "#verdict", "You may not see this exchange")
            assert "not know who you are" in await text(page, "#summary")
            for wrong, said in ((tokens.token(payload=tokens.claims(exp=1)),
                                 "expired"), ("a,b", "who you are")):
                await page.fill("#token", wrong)
                await page.keyboard.press("Enter")
                await page.wait_for_selector(f"#summary:has-text('{said}')")
            await page.fill("#token", tokens.token())
            await page.keyboard.press("Enter")
            await until(page, "#verdict", "All is well")
            await until(page, "#table .name", "Ann's")
            assert not await page.locator("#login").is_visible()
            assert await page.input_value("#token") == ""
            assert await page.evaluate(
                "document.cookie + localStorage.length"
                " + sessionStorage.length") == "00"

    run(test())
