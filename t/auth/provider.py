"""An identity provider to be asked: token introspection, Globus's dependent
tokens and groups, and a set of keys. It counts what it is asked, keeps every
byte of it, and can be as bad as a provider can be.

    with Provider() as provider:
        text = provider.issue(username="ann")
        provider.does["introspect"] = status(500)
        ...
        assert len(provider.asked("introspect")) == 1
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.server
import json
import re
import secrets
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from academy_nginx import free_port

CLIENT = "ca1e2fbf-4e73-40a6-b2ab-c9458e5fcf99"
SECRET = "s3cr3t/of+the=exchange"
BASIC = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()

GROUPS_SCOPE = ("urn:globus:auth:scope:groups.api.globus.org:"
                "view_my_groups_and_memberships")

# where each thing is asked for, as at Globus
PATHS = {"introspect": "/v2/oauth2/token/introspect",
         "token": "/v2/oauth2/token",
         "groups": "/v2/groups/my_groups",
         "keys": "/certs"}


@dataclass
class Call:
    """What came, and when."""

    what: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def form(self) -> list[tuple[str, str]]:
        return urllib.parse.parse_qsl(
            self.body.decode(), keep_blank_values=True, strict_parsing=True)

    def header(self, name: str) -> str | None:
        return dict((k.lower(), v) for k, v in self.headers).get(name.lower())


# --------------------------------------------------------- how it may answer


def well(to, data):
    to.answer(200, data)


def status(code, text=None):
    """With another status, and the good answer's body unless told."""
    return lambda to, data: to.answer(
        code, data if text is None else text.encode())


def body(text):
    text = text if isinstance(text, bytes) else text.encode()
    return lambda to, data: to.answer(200, text)


def half(to, data):
    """The first half, and then it hangs up."""
    to.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
           % (len(data), data[:len(data) // 2]))
    to.hang_up()


def chunked(to, data):
    to.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%c\r\n" % (1, c) for c in data) + b"0\r\n\r\n")


def chunked_half(to, data):
    """All of it, but for the last chunk."""
    to.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"%x\r\n%s\r\n" % (len(data), data))
    to.hang_up()


def until_closed(to, data):
    """With neither length nor chunks; the end of the connection ends it."""
    to.raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + data)
    to.hang_up()


def bit_by_bit(to, data):
    to.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
    for i in range(0, len(data), max(1, len(data) // 20)):
        to.raw(data[i:i + max(1, len(data) // 20)])
        time.sleep(0.01)


def gzipped(to, data):
    to.answer(200, gzip.compress(data), ("Content-Encoding", "gzip"))


def silence(to, data):
    to.hang_up()


def reset(to, data):
    to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
    to.hang_up()


def no_http(to, data):
    to.raw(b"\x15\x03\x01\x00\x02\x02\x28 what is it\r\n\r\n")
    to.hang_up()


def padded(size):
    """The good answer with so many bytes of another member in it."""
    def answer(to, data):
        said = json.loads(data)
        pad = "x" * size
        if isinstance(said, dict):
            said["padding"] = pad
        else:
            said.insert(0, {"id": "pad", "name": pad, "my_memberships": []})
        to.answer(200, json.dumps(said).encode())
    return answer


def slow(seconds):
    def answer(to, data):
        to.provider.over.wait(seconds)
        to.answer(200, data)
    return answer


class Held:
    """Answers nobody until it is let go."""

    def __init__(self, then=well) -> None:
        self.then = then
        self.gate = threading.Event()
        self.came = threading.Semaphore(0)

    def __call__(self, to, data):
        self.came.release()
        while not self.gate.wait(0.02) and not to.provider.over.is_set():
            pass
        self.then(to, data)

    def wait(self, seconds: float = 20) -> None:
        """Until one more is waiting."""
        assert self.came.acquire(timeout=seconds), "nobody asks"

    def let_go(self) -> None:
        self.gate.set()


# --------------------------------------------------------------- the provider


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    @property
    def provider(self) -> Provider:
        return self.server.provider

    def handle(self):
        # A caller that hangs up is no matter of the provider's.
        with contextlib.suppress(OSError):
            super().handle()

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        path = self.path.partition("?")[0]
        what = self.provider.paths.get(path, "nothing")
        call = Call(what, self.command, self.path, self.headers.items(), data)
        with self.provider.lock:
            self.provider.calls.append(call)
        code, said = self.provider.reply(call)
        if code != 200:
            self.answer(code, json.dumps(said).encode())
            return
        does = self.provider.does.get(what, well)
        if isinstance(does, list):
            does = does.pop(0) if len(does) > 1 else does[0]
        does(self, json.dumps(said).encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = serve

    def answer(self, code, data, *more):
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        if code not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        # What a provider says of caching and ranges is nobody's matter.
        self.send_header("Cache-Control", "no-store")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")
        self.send_header("Set-Cookie", "session=of-the-provider")
        for name, value in more:
            self.send_header(name, value)
        self.end_headers()
        if code not in (204, 304):
            self.wfile.write(data)
        self.wfile.flush()

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def hang_up(self):
        self.close_connection = True
        self.connection.close()

    def finish(self):
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, provider, port):
        self.provider = provider
        self.connections = set()
        super().__init__(("127.0.0.1", port), Handler)

    def get_request(self):
        connection, address = super().get_request()
        if self.provider.tls:
            connection.settimeout(10)
            connection = self.provider.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False)
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass


class Provider:
    """`does` says for each of PATHS how it is answered, if not well; a list is
    gone through, and its last stays. With a certificate and its key it speaks
    TLS; `secret` is the exchange's name and secret, with a colon between."""

    def __init__(self, certificate: tuple[Path, Path] | None = None,
                 secret: str = f"{CLIENT}:{SECRET}",
                 paths: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.basic = "Basic " + base64.b64encode(secret.encode()).decode()
        self.paths = {v: k for k, v in (PATHS | (paths or {})).items()}
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.calls: list[Call] = []
        self.tokens: dict[str, dict] = {}
        self.dependent: dict[str, str] = {}         # token: who it is of
        self.groups: dict[str, list[dict]] = {}     # by the name of the user
        self.keys: list[dict] = []
        self.does: dict[str, object] = {}
        # of tokens that are issued to clients with a secret: id to (secret,
        # fields of their introspection, expires_in)
        self.clients: dict[str, tuple[str, dict, int]] = {}
        self.tls: ssl.SSLContext | None = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*certificate)
        self.server: Server | None = None

    # -- life

    def start(self) -> Provider:
        self.over.clear()
        self.server = Server(self, self.port)
        threading.Thread(target=self.server.serve_forever, args=(0.05,),
                         daemon=True).start()
        return self

    def stop(self) -> None:
        """Down: no connection is left, and none is taken."""
        self.over.set()
        if self.server is None:
            return
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server = None

    def __enter__(self) -> Provider:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    # -- what a test tells it, and asks

    def issue(self, token: str | None = None, **fields) -> str:
        """A token, good for ten minutes unless told."""
        token = token or secrets.token_urlsafe(32)
        said = {"active": True, "exp": int(time.time()) + 600} | fields
        self.tokens[token] = {k: v for k, v in said.items() if v is not ...}
        return token

    def revoke(self, token: str) -> None:
        self.tokens[token] = {"active": False}

    def join(self, user: str, *groups, memberships=None) -> None:
        """`groups` are ids; their members are active unless told."""
        for group in groups:
            self.groups.setdefault(user, []).append({
                "id": str(group), "name": f"the group {group}",
                "group_type": "regular", "enforce_session": False,
                "description": "a group, with a \u201cdescription\u201d",
                "my_memberships": [
                    {"group_id": str(group), "identity_id": "x",
                     "username": user, "role": "member", "status": s}
                    for s in (memberships or ["active"])]})

    def asked(self, what: str | None = None) -> list[Call]:
        with self.lock:
            return [c for c in self.calls if what in (None, c.what)]

    # -- what it says

    def reply(self, call: Call) -> tuple[int, object]:
        answer = getattr(self, f"_{call.what}", None)
        return answer(call) if answer else (404, {"error": "not_found"})

    def _introspect(self, call):
        if call.method != "POST":
            return 405, {}
        if call.header("Authorization") != self.basic:
            return 401, {"error": "invalid_client"}
        form = dict(call.form)
        if "token" not in form:
            return 400, {"error": "invalid_request"}
        return 200, self.tokens.get(form["token"], {"active": False})

    def _token(self, call):
        if call.method != "POST":
            return 405, {}
        form = dict(call.form)
        if form.get("grant_type") == "client_credentials":
            return self._issued(call, form)
        if call.header("Authorization") != self.basic:
            return 401, {"error": "invalid_client"}
        if (form.get("grant_type")
                != "urn:globus:auth:grant_type:dependent_token"):
            return 400, {"error": "unsupported_grant_type"}
        said = self.tokens.get(form.get("token"), {"active": False})
        if not said["active"] or form.get("scope") != GROUPS_SCOPE:
            return 400, {"error": "invalid_grant"}
        token = "dependent-" + secrets.token_urlsafe(24)
        with self.lock:
            self.dependent[token] = said.get("username", "")
        return 200, [{
            "access_token": token, "scope": GROUPS_SCOPE,
            "resource_server": "groups.api.globus.org",
            "token_type": "Bearer", "expires_in": 172800}]

    def _issued(self, call, form):
        given = (call.header("Authorization") or "").removeprefix("Basic ")
        client, _, secret = base64.b64decode(given).decode().partition(":")
        if client not in self.clients or self.clients[client][0] != secret:
            return 401, {"error": "invalid_client"}
        _, fields, seconds = self.clients[client]
        token = self.issue(**fields, exp=int(time.time()) + seconds)
        return 200, {
            "access_token": token, "scope": form["scope"],
            "resource_server": CLIENT, "token_type": "Bearer",
            "expires_in": seconds, "other_tokens": []}

    def _groups(self, call):
        if call.method != "GET":
            return 405, {}
        scheme, _, token = (call.header("Authorization") or "").partition(" ")
        if scheme != "Bearer" or token not in self.dependent:
            return 401, {"error": "unauthorized"}
        return 200, self.groups.get(self.dependent[token], [])

    def _keys(self, call):
        return 200 if call.method == "GET" else 405, {"keys": self.keys}


# ---------------------------------------------------------- where names lead


class Names:
    """A name server for which all names are this machine's."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def __enter__(self) -> Names:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                query, address = self.socket.recvfrom(512)
                name, at = [], 12
                while query[at]:
                    name.append(query[at + 1:at + 1 + query[at]].decode())
                    at += 1 + query[at]
                self.asked.add(".".join(name))
                question = query[12:at + 5]
                self.socket.sendto(
                    query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question
                    + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1",
                    address)


# ------------------------------------------------------- nginx's side of it


def locations(provider: Provider, *, more: str = "", timeout: str = "5s",
              **each: str) -> dict[str, str]:
    """What of a configuration leads to the provider, for `nginx()`: locations
    /.introspect, /.token, /.groups and /.keys. `more` is for all of them; by
    its name, something for one."""
    secret = f'proxy_set_header Authorization "{BASIC}";'
    tls = "https" if provider.tls else "http"
    return {
        "http": "upstream provider {"
                f" server 127.0.0.1:{provider.port}; keepalive 8; }}"
                " large_client_header_buffers 4 64k;",
        "server": "\n".join(
            f"location = /.{what} {{ internal; {more}"
            f" proxy_pass {tls}://provider{path}; proxy_http_version 1.1;"
            ' proxy_set_header Connection "";'
            f" proxy_connect_timeout 2s; proxy_read_timeout {timeout};"
            f" {secret if what in ('introspect', 'token') else ''}"
            f" {each.get(what, '')} }}"
            for what, path in PATHS.items())}


# ---------------------------------------------------------------- the silence


# What nginx itself prints at debug level: the header that came, the one that it
# sends to a provider, and the pieces that it makes that one of.
_OF_NGINX = re.compile(r' (?:http header: "Authorization|http proxy header:'
                       r"|http script copy:)")


def silent(log: str, *secret: str) -> None:
    """Fails where a line of the module's has one of these in it, or a line of
    anybody's above debug."""
    for entry in re.split(r"(?m)^(?=\d{4}/\d\d/\d\d [\d:]{8} \[)", log):
        for text in secret:
            assert text not in entry or (
                "[debug]" in entry and _OF_NGINX.search(entry)), entry
