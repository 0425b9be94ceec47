"""conf-examples and the README's example, as they stand: nothing but the port
is another one, so that this runs beside an exchange that is in use."""

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
from academy_nginx import PATIENCE, ROOT, Connection, Nginx, free_port, run
from agents import Adder
from process import SCENE

pytestmark = pytest.mark.nginx_only


@pytest.fixture
def example():
    """A function that starts the nginx of an example, and one that changes
    the example's ports in another text in the same way."""
    started = []
    ports = {}

    def moved(text):
        return re.sub(r"\b870\d\b", lambda m: str(ports.setdefault(
            m.group(), free_port())), text)

    def start(name):
        text = (ROOT / "conf-examples" / name).read_text()
        config = moved(text)
        server = Nginx(config=config, port=int(moved("8700")))
        started.append(server)
        # A file may say how the certificate that it wants is made.
        wanted = re.findall(r"(?m)^#     ((?:.*\\\n)*.*)\n", text)
        for command in wanted:
            command = re.sub(r"(?m)^#", "", command)
            assert re.match(r"openssl req |echo .*> users", command), command
            subprocess.run(command, shell=True, cwd=server.dir, check=True,
                           timeout=30, capture_output=True)
        return server.start(), moved

    yield start

    for server in started:
        server.stop()


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
    "name", ["minimal.conf", "tls.conf", "reverse-proxy.conf"])
def test_configuration(example, processes, monkeypatch, name):
    server, moved = example(name)
    url = moved(address(name))
    if url.startswith("https"):
        monkeypatch.setenv("SSL_CERT_FILE", str(server.dir / "cert.pem"))
    assert processes.user(url, processes.cast(url)) == SCENE


def test_all_examples_are_tested():
    assert {p.name for p in (ROOT / "conf-examples").glob("*.conf")} == {
        "minimal.conf", "tls.conf", "reverse-proxy.conf", "basic.conf",
        "mtls.conf", "jwt.conf"}


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

    ann, bob = local("ann"), local("bob")
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
