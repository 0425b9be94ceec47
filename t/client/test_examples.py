"""conf-examples and the README's example, as they stand: nothing but the port
is another one, so that this runs beside an exchange that is in use; and the
identity provider is one of the tests' own."""

import asyncio
import json
import re
import subprocess
import sys
import uuid

import aiohttp
import pytest
import tokens
from academy.exception import ForbiddenError, UnauthorizedError
from academy.exchange import HttpExchangeFactory
from academy.handle import Handle
from academy.identifier import AgentId
from academy_nginx import (PATIENCE, ROOT, Connection, Nginx, built_with,
                           free_port, make_certificate, run, wait_until)
from academy_redis import die_with_parent
from agents import Adder
from look import fetch, promtool, samples
from process import SCENE
from provider import CLIENT, Names, Provider

pytestmark = [
    pytest.mark.nginx_only,
    pytest.mark.zone_only("each example says what its store is"),
]


@pytest.fixture
def example():
    """A function that starts the nginx of an example, and one that changes
    the example's ports in another text in the same way."""
    started = []
    others = []
    ports = {}

    def moved(text):
        return re.sub(r"\b870\d\b", lambda m: str(ports.setdefault(
            m.group(), free_port())), text)

    def start(name, elsewhere=lambda config, directory: config):
        text = (ROOT / "conf-examples" / name).read_text()
        config = moved(text)
        server = Nginx(config=config, port=int(moved("8700")))
        started.append(server)
        # A file may say how the certificate that it wants is made.
        wanted = re.findall(r"(?m)^#     ((?:.*\\\n)*.*)\n", text)
        for command in wanted:
            command = re.sub(r"(?m)^#", "", command)
            assert re.match(r"openssl req |echo .*> users|"
                            r"\(umask 077; printf ", command), command
            subprocess.run(command, shell=True, cwd=server.dir, check=True,
                           timeout=30, capture_output=True)
        # And what is to be started beside it.
        for command in re.findall(
                r"(?m)^#   (redis-server (?:.*\\\n)*.*)\n", text):
            others.append(subprocess.Popen(
                moved(command).replace("\\\n#", "").split(), cwd=server.dir,
                stdout=subprocess.DEVNULL, preexec_fn=die_with_parent))
        server._write(elsewhere(config, server.dir))
        return server.start(), moved

    yield start

    for server in started:
        server.stop()
    for redis in others:
        redis.kill()
        redis.wait(10)


@pytest.fixture
def exchange(example):
    """What `processes` waits for."""
    return example


def address(name):
    """The URL that the example says clients are given."""
    text = (ROOT / "conf-examples" / name).read_text()
    said = re.search(r"the URL\s+#?\s*(https?://\S+?)\.?\s", text)
    assert said, "the example does not say where it is"
    return said.group(1)


@pytest.mark.parametrize(
    "name", ["minimal.conf", "tls.conf", "reverse-proxy.conf", "redis.conf",
             "redis-tls.conf", "redis-cluster.conf", "logging.conf"])
def test_configuration(example, processes, monkeypatch, name):
    if name == "redis-tls.conf" and "--with-stream=dynamic" not in built_with():
        pytest.skip("the stream module is the distribution's")
    server, moved = example(name)
    url = moved(address(name))
    if url.startswith("https"):
        monkeypatch.setenv("SSL_CERT_FILE", str(server.dir / "cert.pem"))
    assert processes.user(url, processes.cast(url)) == SCENE


def test_all_examples_are_tested():
    assert {p.name for p in (ROOT / "conf-examples").glob("*.conf")} == {
        "minimal.conf", "tls.conf", "reverse-proxy.conf", "basic.conf",
        "mtls.conf", "jwt.conf", "jwt-keys.conf", "introspection.conf",
        "globus.conf", "logging.conf", "redis.conf", "redis-tls.conf",
        "redis-cluster.conf", "monitoring.conf"}


def logged(server):
    """The lines of the access log, each of which is JSON."""
    text = (server.dir / "access.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


def told(server, tag):
    """What the error log says of a message, in order."""
    found = re.findall(
        rf"\[notice\] .*message (\w+), tag: {tag}, kind: (\w+), "
        rf"mailbox: (\S+), peer: (\S+), size: (\d+)\b.*, client: 127\.0\.0\.1",
        server.log())
    return found


def test_what_happened_to_a_message(example, processes):
    """One action of a real client, followed by the tag of its request; and
    what a poll got."""
    server, moved = example("logging.conf")
    url = moved(address("logging.conf"))
    adder = processes.agent(url, "Adder")
    secret = "a word that is in no log"

    async def act():
        async with await HttpExchangeFactory(
                url).create_user_client() as user:
            handle = Handle(AgentId(**adder))
            assert await handle.length(secret.encode()) == len(secret)
            return str(user.client_id.uid)

    user = run(act())
    agent = adder["uid"]

    def sent():
        return [line for line in logged(server)
                if line["route"] == "PUT /message"
                and user in (line["peer"], line["mailbox"])]

    # An answer is with its client before it is in the log.
    wait_until(lambda: len(sent()) >= 2, 10, "not both are in the log")
    puts = [line for line in sent() if line["peer"] == user]
    assert len(puts) == 1, puts
    put, tag = puts[0], puts[0]["tag"]
    assert put["mailbox"] == agent and put["kind"] == "request"
    assert put["result"] == "accepted" and put["status"] == "200"
    assert put["auth"] == "off" and put["waited"] == ""

    answer, = (line for line in logged(server)
               if line["tag"] == tag and line["kind"] == "response")
    assert answer["route"] == "PUT /message"
    assert (answer["mailbox"], answer["peer"]) == (user, agent)

    request = ("request", agent, user, put["size"])
    response = ("response", user, agent, answer["size"])
    # The user's stream may end before its worker asks what was acknowledged.
    wait_until(lambda: len(told(server, tag)) == 4, 10,
               "not all is in the log")
    lines = told(server, tag)
    assert [line[0] for line in lines if line[1:] == request] == [
        "sent", "delivered"]
    assert [line[0] for line in lines if line[1:] == response] == [
        "sent", "delivered"]

    async def poll():
        conn = await Connection.open(server.port)
        box = json.dumps({"uid": GROUP, "role": "agent"})
        text = json.dumps({"header": {
            "src": json.loads(box), "dest": json.loads(box), "tag": GROUP,
            "kind": "request", "label": None}, "body": secret})
        wait = {"mailbox": box, "timeout": 0.1}
        for method, path, body in [
                ("POST", "/mailbox", {"mailbox": box}),
                ("GET", "/message", wait), ("PUT", "/message",
                                            {"message": text}),
                ("GET", "/message", wait), ("GET", "/nothing", {}),
                ("PUT", "/message", {"message": "{}"})]:
            await conn.request(method, path, body)
        conn.close()

    before = len(logged(server))
    run(poll())
    wait_until(lambda: told(server, GROUP), 10, "it was not delivered")
    assert [line[0] for line in told(server, GROUP)] == ["delivered"]

    def polled():
        return [line for line in logged(server)[before:]
                if line["route"] != "DELETE /mailbox"
                and line["mailbox"] not in (user, agent)]

    wait_until(lambda: len(polled()) >= 5, 10, "not all is in the log")
    lines = polled()
    assert [(line["route"], line["result"], line["tag"]) for line in lines] == [
        ("POST /mailbox", "done", ""),
        ("PUT /message", "accepted", GROUP),
        ("GET /message", "delivered", GROUP),
        ("", "refused: route", ""),
        ("PUT /message", "refused: request", "")]
    assert lines[2]["peer"] == lines[2]["mailbox"] == GROUP
    assert lines[2]["size"] == lines[1]["size"]
    assert lines[2]["waited"] == "0.000"
    assert "[error]" not in server.log() and "[warn]" not in server.log()
    assert secret not in server.log()
    assert secret not in (server.dir / "access.log").read_text()



def test_monitoring(example, processes):
    """Clients, and whoever looks: at metrics that the rules and the dashboard
    ask for, too."""
    server, moved = example("monitoring.conf")
    url = moved("http://127.0.0.1:8700")
    assert processes.user(url, processes.cast(url)) == SCENE
    port = int(moved("8701"))
    assert fetch(port, path="/healthz")[:2] == (200, "ok\n")
    assert fetch(port, "view=mailboxes")[0] == 200
    event_streams_are_bounded(port)
    metrics = {re.match(r"\w+", name)[0] for name in samples(
        fetch(port, "format=prometheus")[1])}
    where = ROOT / "conf-examples" / "monitoring"
    promtool("check", "config", str(where / "prometheus.yml"))
    promtool("check", "rules", str(where / "rules.yml"))
    json.loads((where / "grafana.json").read_text())
    for name in ("rules.yml", "grafana.json"):
        wanted = set(re.findall(r"\bacademy_\w+", (where / name).read_text()))
        assert len(wanted) > 5 and wanted <= metrics, wanted - metrics


def event_streams_are_bounded(port):
    """20 an address, however it is written; and others are served."""
    async def test():
        streams = [await Connection.open(port) for _ in range(20)]
        for n, query in enumerate(10 * ("view=events", "interval=9&view="
                                        "%65vents")):
            streams[n].send("GET", f"/status?{query}")
            assert (await streams[n].head())[0] == 200
        for query in "VIEW=events", "view=event%73":
            assert fetch(port, query)[0] == 429
        assert fetch(port, "format=json")[0] == 200
        for stream in streams:
            stream.close()
    asyncio.run(test())


def settings(url, name, password):
    """Of a client with a password, as basic.conf says it."""
    return {"url": url, "additional_headers": {
        "Authorization": aiohttp.encode_basic_auth(name, password)}}


def test_basic(example, processes, monkeypatch):
    server, moved = example("basic.conf")
    url = moved(address("basic.conf"))
    monkeypatch.setenv("SSL_CERT_FILE", str(server.dir / "cert.pem"))
    ann = settings(url, "ann", "secret")
    assert processes.user(ann, processes.cast(ann)) == SCENE
    # This process had made up its mind about certificates before.
    assert sharing(*(HttpExchangeFactory(
        **settings(url, *who), ssl_verify=False) for who in [
            ("ann", "secret"), ("bob", "hidden"), ("ann", "hidden")]))


GROUP = "7a4b3e1c-8a52-4dd7-9d0c-5f3f7f0f8a11"


def sharing(owner, member, nobody, group=GROUP):
    """What the one creates the other may use when it is shared, and nobody
    may do anything."""
    async def test():
        with pytest.raises(UnauthorizedError):
            await nobody.create_user_client()
        console = await owner.console()
        async with await owner.create_user_client() as ann, \
                await member.create_user_client() as bob:
            aid = (await ann.register_agent(Adder)).agent_id
            with pytest.raises(ForbiddenError):
                await bob.heartbeat_status(aid)
            await console.share_mailbox(aid, uuid.UUID(group))
            assert await bob.heartbeat_status(aid) is None
            await console.remove_shared_group(aid, uuid.UUID(group))
            with pytest.raises(ForbiddenError):
                await bob.heartbeat_status(aid)
        await console.close()
        return True

    return run(test())


def test_mtls(example, nginx, processes):
    """The client presents no certificate: a local nginx does it for each."""
    server, moved = example("mtls.conf")

    def local(who=None):
        certificate = "" if who is None else (
            f"proxy_ssl_certificate {server.dir}/{who}.pem;"
            f"proxy_ssl_certificate_key {server.dir}/{who}-key.pem;")
        return nginx(exchange=False, location=certificate + moved(
            "proxy_pass https://127.0.0.1:8700; proxy_http_version 1.1;"
            'proxy_set_header Connection ""; proxy_buffering off;'
            "proxy_read_timeout 90s; client_max_body_size 4m;"
            "chunked_transfer_encoding off; proxy_ssl_verify on;"
            "proxy_ssl_name localhost;"
            f"proxy_ssl_trusted_certificate {server.dir}/cert.pem;"))

    # one who has a name that looks like a unit
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         "/O=Example/OU=visitors/CN=eve,OU=physics", "-addext",
         "basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey",
         "ca-key.pem", "-keyout", "eve-key.pem", "-out", "eve.pem"],
        cwd=server.dir, check=True, capture_output=True, timeout=30)

    ann, bob, eve = local("ann"), local("bob"), local("eve")
    assert processes.user(ann.url, processes.cast(ann.url)) == SCENE

    async def ask(at, path="/mailbox"):
        conn = await Connection.open(at.port)
        answer = await conn.request("POST", path, {"mailbox": json.dumps(
            {"uid": GROUP, "role": "agent"}), "group_id": "physics"})
        conn.close()
        return answer.status

    assert run(ask(local())) == 400
    assert run(ask(ann)) == 200
    assert run(ask(bob)) == 403
    assert run(ask(ann, "/mailbox/share")) == 200
    assert run(ask(bob)) == 200
    assert run(ask(eve)) == 403


def readme_example():
    text = (ROOT / "README.md").read_text()
    found = re.search(r"(?s)```python\n(# first_agent\.py\n.*?)```", text)
    assert found, "the README has no first_agent.py"
    return found.group(1)


def test_readme(example, tmp_path):
    server, moved = example("minimal.conf")
    (tmp_path / "first_agent.py").write_text(moved(readme_example()))
    done = subprocess.run(
        [sys.executable, "first_agent.py"], cwd=tmp_path, text=True,
        timeout=60 * PATIENCE, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # The README says what the example prints.
    assert "Hello, world!" in done.stdout
    assert done.stdout.strip() in (ROOT / "README.md").read_text()


def test_jwt(example, processes):
    """The provider is a key: what it signs is a token of its realm."""
    server, moved = example("jwt.conf")
    url = moved(address("jwt.conf"))
    key = tokens.serialization.load_pem_private_key(
        (server.dir / "realm-key.pem").read_bytes(), None)

    def settings(sub, **more):
        said = tokens.claims(
            iss="https://id.example.org/realms/lab", aud=["academy", "account"],
            sub=sub, groups=["admin", GROUP], typ="Bearer", azp="cli",
            preferred_username="somebody", scope="profile") | more
        return {"url": url, "additional_headers": {
            "Authorization": "Bearer " + tokens.token(
                "RS256", said, key=key, header={"kid": "of-the-realm"})}}

    ann = settings("ann")
    assert processes.user(ann, processes.cast(ann)) == SCENE
    assert sharing(*(HttpExchangeFactory(**given) for given in (
        ann, settings("bob"), {"url": url})))
    for more in ({"aud": "account"}, {"iss": "https://id.example.org"},
                 {"exp": 1}):
        answer = tokens.ask(server.port, settings("ann", **more)[
            "additional_headers"]["Authorization"])
        assert answer.status == 403, more


KEYCLOAK = "/realms/lab/protocol/openid-connect"


def of_the_realm(sub, **more):
    return tokens.claims(
        iss="https://id.example.org/realms/lab", aud=["academy", "account"],
        sub=sub, username=f"the {sub}", groups=["admin", GROUP], typ="Bearer",
        azp="cli", scope="profile") | more


def with_token(url, token):
    return {"url": url, "additional_headers": {
        "Authorization": f"Bearer {token}"}}


@pytest.fixture
def idp():
    """A function that starts a provider with the certificate that an example
    says how to make."""
    started = []

    def start(server, moved, **how):
        provider = Provider((server.dir / "provider.pem",
                             server.dir / "provider-key.pem"), **how)
        provider.port = int(moved("8701"))
        started.append(provider.start())
        return provider

    yield start

    for provider in started:
        provider.stop()


def test_introspection(example, processes, idp):
    server, moved = example("introspection.conf")
    secret = server.dir / "provider-secret.conf"
    assert secret.stat().st_mode & 0o777 == 0o600
    provider = idp(server, moved, secret="academy:secret", paths={
        "introspect": KEYCLOAK + "/token/introspect"})
    url = moved(address("introspection.conf"))

    def settings(sub, **more):
        return with_token(url, provider.issue(**of_the_realm(sub, **more)))

    ann = settings("ann")
    assert processes.user(ann, processes.cast(ann)) == SCENE
    assert len(provider.asked()) <= 2
    assert provider.asked()[0].header("Host") == "id.example.org"
    assert sharing(*(HttpExchangeFactory(**given) for given in (
        ann, settings("bob"), {"url": url})))
    for more in ({"aud": "account"}, {"iss": "https://id.example.org"},
                 {"active": False}):
        answer = tokens.ask(server.port, settings("ann", **more)[
            "additional_headers"]["Authorization"])
        assert answer.status == 403, more
    provider.stop()
    assert tokens.bearer(server.port, "new").status == 503


def test_jwt_keys(example, processes, idp):
    server, moved = example("jwt-keys.conf")
    provider = idp(server, moved, paths={"keys": KEYCLOAK + "/certs"})
    provider.keys = [
        tokens.jwk("RS256", kid="now", use="sig") | {"alg": "RS256"},
        tokens.jwk("RS256", tokens.private("RS256", "enc"), kid="enc",
                   use="enc") | {"alg": "RSA-OAEP"}]
    url = moved(address("jwt-keys.conf"))

    def settings(sub, kid="now", name="", **more):
        return with_token(url, tokens.token(
            "RS256", of_the_realm(sub, **more), header={"kid": kid},
            key=tokens.private("RS256", name)))

    ann = settings("ann")
    assert processes.user(ann, processes.cast(ann)) == SCENE
    assert len(provider.asked()) == 1
    assert provider.asked()[0].header("Host") == "id.example.org"
    assert sharing(*(HttpExchangeFactory(**given) for given in (
        ann, settings("bob"), {"url": url})))
    provider.keys.insert(0, tokens.jwk(
        "RS256", tokens.private("RS256", "next"), kid="next"))

    def status(given):
        return tokens.ask(server.port, given["additional_headers"][
            "Authorization"]).status

    # Ten seconds after the last time the provider is asked again.
    wait_until(lambda: status(settings("ann", "next", "next")) == 200, 15,
               "a new key is not fetched")
    assert len(provider.asked()) == 2
    assert status(ann) == 200
    assert status(settings("ann", name="next")) == 403
    assert status(settings("ann", aud="account")) == 403


@pytest.mark.parametrize("name", ["introspection.conf", "jwt-keys.conf"])
def test_a_provider_that_is_another(example, idp, name):
    """With a certificate of its own making: nobody believes it."""
    server, moved = example(name)
    make_certificate(server.dir)
    server.expect("certificate verify error", "SSL_do_handshake")
    for file in ("provider.pem", "provider-key.pem"):
        (server.dir / file).rename(server.dir / f"true-{file}")
    (server.dir / "cert.pem").rename(server.dir / "provider.pem")
    (server.dir / "key.pem").rename(server.dir / "provider-key.pem")
    provider = idp(server, moved, secret="academy:secret", paths={
        "introspect": KEYCLOAK + "/token/introspect",
        "keys": KEYCLOAK + "/certs"})
    provider.keys = [tokens.jwk("RS256", kid="now")]
    for token in (provider.issue(**of_the_realm("ann")), tokens.token(
            "RS256", of_the_realm("ann"), header={"kid": "now"})):
        answer = tokens.bearer(server.port, token)
        assert answer.status in (403, 503), answer
    assert "certificate verify error" in server.log()
    assert provider.asked() == []


def test_globus(example, processes, monkeypatch):
    """The names, the certificates and the port of Globus are the test's; the
    clients log in as they do."""
    with Names() as names:
        provider = None

        def elsewhere(config, directory):
            nonlocal provider
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                 "/CN=globus", "-addext", "subjectAltName=DNS:localhost,"
                 "DNS:auth.globus.org,DNS:groups.api.globus.org",
                 "-keyout", directory / "idp-key.pem",
                 "-out", directory / "idp.pem"],
                check=True, timeout=30, capture_output=True)
            provider = Provider((directory / "idp.pem",
                                 directory / "idp-key.pem"),
                                secret=f"{CLIENT}:secret")
            for ours, theirs in [
                    ("127.0.0.53", f"127.0.0.1:{names.port}"),
                    (".org:443", f".org:{provider.port}"),
                    ("/etc/ssl/certs/ca-certificates.crt",
                     f"{directory}/idp.pem")]:
                assert ours in config
                config = config.replace(ours, theirs)
            return config

        server, moved = example("globus.conf", elsewhere)
        secret = server.dir / "globus-secret.conf"
        assert secret.stat().st_mode & 0o777 == 0o600
        with provider:
            play_globus(server, moved(address("globus.conf")), provider,
                        processes, monkeypatch)
        assert names.asked == {"auth.globus.org", "groups.api.globus.org"}


def play_globus(server, url, provider, processes, monkeypatch):
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH",
                       f"https://localhost:{provider.port}/")
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", str(server.dir / "idp.pem"))
    monkeypatch.setenv("ACADEMY_EXCHANGE_CLIENT_ID", CLIENT)

    def settings(name):
        client = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        provider.join(name, GROUP)
        provider.clients[client] = (
            "of-the-client", {"username": name, "aud": [CLIENT]}, 600)
        for key, value in [("HOME", server.dir / name),
                           ("GLOBUS_CLIENT_ID", client),
                           ("GLOBUS_CLIENT_SECRET", "of-the-client")]:
            monkeypatch.setenv(f"ACADEMY_{key}", str(value))
        return {"url": url, "auth_method": "globus"}

    ann = settings("ann@example.org")
    # Logs in before other processes do: of two that make the SDK's file of
    # tokens at once, one finds it without its table.
    owner = HttpExchangeFactory(**ann)
    assert owner._info.additional_headers["Authorization"]
    assert processes.user(ann, processes.cast(ann)) == SCENE
    member = HttpExchangeFactory(**settings("bob@example.org"))
    assert sharing(owner, member, HttpExchangeFactory(url))
    asked = [call.what for call in provider.asked()]
    assert asked.count("groups") == asked.count("introspect")
    for fields in ({"aud": ["another"]}, {"active": False}):
        answer = tokens.bearer(server.port, provider.issue(
            **{"username": "ann@example.org", "aud": [CLIENT]} | fields))
        assert answer.status == 403
