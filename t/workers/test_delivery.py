"""A message is gone when its receiver's host has acknowledged it, not before.

Listeners die deaf here: their sockets drop what comes in from some moment on,
as if the network had gone. They read all that had been acknowledged until then,
and go. What they read must not come again, and all else must.
"""

import contextlib
import ctypes
import json
import os
import random
import select
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.events
import pytest
from academy_nginx import ASAN, PATIENCE, built_with, free_port
from exchange import body_of, mailbox, message
from netns import SERVER, Machines, NotPermitted

# Messages and deaths; `make deaf` has more of both.
MESSAGES, DEATHS = map(int, os.environ.get(
    "ACADEMY_DEAF", "400/20" if ASAN else "2000/100").split("/"))


def held(port: int, peer: int) -> bool:
    """Whether the server has a connection at its port with that of a peer,
    which it has not closed."""
    ends = f":{port:04X} 0100007F:{peer:04X} "
    with open("/proc/net/tcp") as table:
        return any(ends in line and line.split()[3] in ("01", "08")
                   for line in table)                  # established, close wait


def deafen(sock: socket.socket) -> None:
    """From now on the kernel drops what comes for this socket, and nothing of
    it is acknowledged."""
    program = ctypes.create_string_buffer(
        b"\x06\x00\x00\x00\x00\x00\x00\x00")       # BPF_RET|BPF_K, 0
    header = (ctypes.c_size_t * 2)(1, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, 26, bytes(header))  # SO_ATTACH_FILTER


class Listener:
    """One connection, blocking, that hands out message bodies."""

    def __init__(self, port: int, box: str, tls=None, *,
                 at: str = "127.0.0.1") -> None:
        self.sock = self.raw = socket.create_connection((at, port))
        self.raw.settimeout(20 * PATIENCE)
        self.port = self.raw.getsockname()[1]
        if tls:
            self.sock = tls.wrap_socket(self.raw, server_hostname="localhost")
        self.box = json.dumps({"mailbox": box}).encode()
        self.text = b""
        self.begin()

    def request(self, path: str) -> None:
        self.sock.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n"
                          b"Content-Length: %d\r\n\r\n%s"
                          % (path.encode(), len(self.box), self.box))

    def begin(self) -> None:
        self.request("/mailbox/listen")

    def got(self, data: bytes) -> None:
        self.text += data

    def taken(self) -> list:
        """The messages that have come whole."""
        *events, self.text = self.text.split(b"\n\n")
        return [body_of(line[6:].decode()) for event in events
                for line in event.split(b"\n") if line.startswith(b"data: ")]

    def some(self) -> list:
        """Waits for the next ones; [] at the end of the connection."""
        while True:
            if found := self.taken():
                return found
            if not (data := self.sock.recv(1 << 16)):
                return []
            self.got(data)

    def rest(self) -> list:
        """All that is here already."""
        self.sock.setblocking(False)
        try:
            while data := self.sock.recv(1 << 16):
                self.got(data)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        return self.taken()

    def deafen(self) -> None:
        deafen(self.sock)

    def close(self) -> None:
        self.sock.close()


class Poller(Listener):
    """The same by long polls on one connection."""

    def begin(self) -> None:
        self.request("/message")

    def taken(self) -> list:
        head, end, rest = self.text.partition(b"\r\n\r\n")
        if not end:
            return []
        size = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        if len(rest) < size:
            return []
        self.text = rest[size:]
        assert head.startswith(b"HTTP/1.1 200"), head
        self.again = True
        return [body_of(json.loads(rest[:size])["message"])]

    def some(self) -> list:
        found = super().some()
        if found:
            self.begin()
        return found


class Http2Listener(Listener):
    """The same on HTTP/2."""

    def begin(self) -> None:
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 28)
        self.h2.send_headers(1, [
            (":method", "GET"), (":path", "/mailbox/listen"),
            (":scheme", "http"), (":authority", "localhost")])
        self.h2.send_data(1, self.box, end_stream=True)
        self.h2.increment_flow_control_window(1 << 28, 1)
        self.sock.sendall(self.h2.data_to_send())

    def got(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.text += event.data


KINDS = {
    "stream": (Listener, None),
    "stream, tls": (Listener, "http/1.1"),
    "stream, h2": (Http2Listener, None),
    "stream, h2 and tls": (Http2Listener, "h2"),
    "poll": (Poller, None),
    "poll, tls": (Poller, "http/1.1"),
}


class Sender(threading.Thread):
    """Puts numbered messages, one after the other, and counts those that were
    acknowledged."""

    def __init__(self, port: int, box: str, count: int, size: int) -> None:
        super().__init__(daemon=True)
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.answers = self.sock.makefile("rb")
        self.box, self.count, self.size = box, count, size
        self.asked = self.put = 0
        self.change = threading.Condition()

    def request(self, method: str, path: str, body: dict) -> bytes:
        text = json.dumps(body).encode()
        self.sock.sendall(b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d"
                          b"\r\n\r\n%s" % (method.encode(), path.encode(),
                                           len(text), text))
        status = self.answers.readline()
        assert status.startswith(b"HTTP/1.1 200"), status
        size = 0
        while (line := self.answers.readline()) != b"\r\n":
            if line.startswith(b"Content-Length: "):
                size = int(line[16:])
        return self.answers.read(size)

    def queued(self) -> int:
        """How many messages wait in the mailbox; when it is not sending."""
        return json.loads(self.request("GET", "/mailbox/stats", {
            "mailbox": self.box}))["queued"]

    def send(self, n: int) -> None:
        with self.change:
            self.asked += n
            self.change.notify_all()

    def done(self) -> None:
        """Waits until it has sent what it was asked to."""
        with self.change:
            assert self.change.wait_for(lambda: self.put == self.asked,
                                        20 * PATIENCE)

    def run(self) -> None:
        for n in range(self.count):
            with self.change:
                self.change.wait_for(lambda: self.put < self.asked)
            self.request("PUT", "/message", {
                "message": message(self.box, [n, "x" * self.size])})
            with self.change:
                self.put += 1
                self.change.notify_all()


@pytest.mark.timeout(600 * PATIENCE)
@pytest.mark.parametrize("size", [10, 30_000], ids=["small", "large"])
@pytest.mark.parametrize("kind", KINDS)
def test_listeners_that_die_deaf(nginx, figures, kind, size):
    """None lost, none doubled, in order."""
    make, alpn = KINDS[kind]
    port = free_port()
    # Large messages are written in parts: the last one has no end yet.
    server = nginx(workers=2, zone="64m", tls=alpn is not None,
                   listen=(" http2" if make is Http2Listener else "")
                   + (" sndbuf=128k" if size > 1000 else ""),
                   server=f"listen 127.0.0.1:{port};")
    if tls := server.client_tls():
        tls.set_alpn_protocols([alpn])
    count = MESSAGES // (10 if size > 1000 else 1)
    deaths = DEATHS // (10 if size > 1000 else 1)
    dice = random.Random(1)

    box = mailbox()
    sender = Sender(port, box, count, size)
    sender.request("POST", "/mailbox", {"mailbox": box})
    sender.start()
    found = []

    each = count // (deaths + 1)
    for _ in range(deaths):
        listener = make(server.port, box, tls)
        first = dice.randint(1, each - 1)
        sender.send(first)
        have = 0
        while have < first:
            new = [body[0] for body in listener.some()]
            have += len(new)
            found += new
        listener.deafen()
        sender.send(each - first)
        sender.done()
        found += [body[0] for body in listener.rest()]
        listener.close()

        # All that was not acknowledged is back, and nothing more is taken for
        # who is gone.
        left = sender.put - len(found)
        deadline = time.monotonic() + 5 * PATIENCE
        while held(server.port, listener.port) or sender.queued() != left:
            assert time.monotonic() < deadline, (sender.queued(), left)

    sender.send(count - deaths * each)
    listener = make(server.port, box, tls)
    while len(set(found)) < count:
        found += [body[0] for body in listener.some()]
    listener.close()
    sender.join()

    doubled = len(found) - count
    first = list(dict.fromkeys(found))
    figures(f"{sender.put} acknowledged, {len(first)} delivered, "
            f"{count - len(first)} lost, {doubled} doubled, {deaths} deaths")
    assert first == list(range(count))
    assert doubled == 0


class Reader(threading.Thread):
    """Reads from a listener all the time, and knows what came when."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(daemon=True)
        self.listener = listener
        self.came: list[tuple[int, float]] = []

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while found := self.listener.some():
                self.came += [(body[0], time.monotonic()) for body in found]

    def end(self) -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.listener.sock, socket.SHUT_RDWR)
        self.join(20)
        self.listener.close()


def connected(ports: set[int]) -> bool:
    """Whether the server has a connection at one of these ports still."""
    with open("/proc/net/tcp") as table:
        next(table)
        rows = [line.split() for line in table]
    return any(int(row[1].split(":")[1], 16) in ports and row[3] == "01"
               for row in rows)


@pytest.mark.timeout(600 * PATIENCE)
def test_link_that_goes_down(nginx, figures):
    """Listeners of all kinds on another machine, messages under way to each of
    them, and the cable is pulled. The exchange notices by itself, and what was
    not acknowledged is there for the next listener. What comes twice had come
    a moment before: its acknowledgement was under way."""
    with contextlib.ExitStack() as stack:
        try:
            machines = stack.enter_context(Machines())
        except NotPermitted as e:
            pytest.skip(f"no network namespaces are permitted here: {e}")
        dice = random.Random(1)
        plain = free_port()
        far = {name: free_port() for name in KINDS}
        server = nginx(
            workers=2, tls=True,
            server=f"listen 127.0.0.1:{plain};" + "".join(
                f"listen {SERVER}:{far[name]}"
                f"{' ssl' if alpn else ''}"
                f"{' http2' if make is Http2Listener else ''};"
                for name, (make, alpn) in KINDS.items()),
            http="academy_peer_timeout 1s; academy_ping_interval 500ms;")
        # The server ends on its own machine.
        stack.callback(server.stop)

        each = max(1, min(4, DEATHS // len(KINDS)))
        rounds = max(1, DEATHS // (each * len(KINDS)))
        count = MESSAGES // (each * len(KINDS) * rounds)
        kinds = [name for name in KINDS for _ in range(each)]
        senders = []
        for name in kinds:
            box = mailbox()
            senders.append(Sender(plain, box, 1 << 30, 10))
            senders[-1].request("POST", "/mailbox", {"mailbox": box})
            senders[-1].start()
        acknowledged = delivered = doubled = disordered = 0

        for _ in range(rounds):
            readers = []
            for name, sender in zip(kinds, senders):
                make, alpn = KINDS[name]
                if tls := alpn and server.client_tls():
                    tls.set_alpn_protocols([alpn])
                with machines.at_client():
                    listener = make(far[name], sender.box, tls, at=SERVER)
                readers.append(Reader(listener))
                readers[-1].start()
            first = [sender.put for sender in senders]
            for sender in senders:
                sender.send(count // 2)
            time.sleep(dice.uniform(0.01, 0.1))
            machines.cable(False)
            pulled = time.monotonic()
            # That a poll is gone is noticed when something is sent to it.
            for sender in senders:
                sender.send(count - count // 2)
            for sender in senders:
                sender.done()
            # A poll that had been answered leaves nothing to be noticed, and
            # the connection stays.
            deadline = pulled + 20 * PATIENCE
            streams = {port for name, port in far.items() if "stream" in name}
            while connected(streams) or any(
                    sender.queued() + len(reader.came) < sender.put - begin
                    for begin, sender, reader in zip(first, senders, readers)):
                assert time.monotonic() < deadline, "nobody noticed"
                time.sleep(0.01)
            machines.cable(True)

            for begin, sender, reader in zip(first, senders, readers):
                reader.end()
                came = dict(reader.came)
                found = [n for n, _ in reader.came]
                wanted = list(range(begin, sender.put))
                local = Listener(plain, sender.box)
                while sender.queued() or not set(wanted) <= set(found):
                    new = [body[0] for body in local.some()]
                    # What is older comes from a poll of the round before.
                    assert all(came.get(n, pulled) > pulled - 0.5 * PATIENCE
                               for n in new)
                    found += new
                local.close()
                acknowledged += len(wanted)
                delivered += len(set(found) & set(wanted))
                doubled += len(found) - len(set(found))
                disordered += wanted != [
                    n for n in dict.fromkeys(found) if n >= begin]

    figures(f"{acknowledged} acknowledged, {delivered} delivered, "
            f"{acknowledged - delivered} lost, {doubled} doubled, "
            f"{disordered} mailboxes out of order, "
            f"{rounds * len(kinds)} deaths")
    assert delivered == acknowledged
    assert disordered == 0


GOING = ["at once", "pipelined", "half a record", "a stream", "min timeout"]


@pytest.mark.parametrize("how", GOING)
def test_pollers_that_go_before_anybody_looks(nginx, figures, how):
    """What they have read does not come again, whatever they did after it."""
    server = ""
    if how == "min timeout":
        version = built_with().split("nginx/")[1].split()[0]
        if tuple(map(int, version.split("."))) < (1, 27, 4):
            pytest.skip("keepalive_min_timeout is of 1.27.4")
        server = "keepalive_min_timeout 10s;"
    server = nginx(tls=how == "half a record", server=server)
    tls = server.client_tls()

    box = mailbox()
    port = server.port
    if tls:
        # The sender is a plain one.
        port = free_port()
        server.change(servers=f"""server {{
            listen 127.0.0.1:{port};
            location / {{ academy_exchange exchange; }}
        }}""")
        server.reload()
    sender = Sender(port, box, 0, 0)
    sender.request("POST", "/mailbox", {"mailbox": box})

    # More than goes into the poller's socket before it reads.
    large = "x" * 200_000
    longest = 0
    for n in range(20):
        sender.request("PUT", "/message", {
            "message": message(box, [n, large])})
        poller = Poller(server.port, box, tls)
        if how == "pipelined":
            poller.request("/mailbox/stats")
        select.select([poller.sock], [], [])
        if how == "half a record":
            os.write(poller.sock.fileno(), b"\x17\x03\x03\x00\x20half")
            time.sleep(0.01)
        elif how == "a stream":
            poller.request("/mailbox/listen")
            time.sleep(0.01)

        start = time.monotonic()
        assert Listener.some(poller) == [[n, large]]
        if how in ("pipelined", "a stream"):
            while not poller.text:
                poller.got(poller.sock.recv(1 << 16))
        poller.close()
        longest = max(longest, time.monotonic() - start)

    sender.queued()
    left = sender.queued()
    again = server.log().count("has not acknowledged")
    figures(f"{n + 1} read, {again} returned, {left} left; reading "
            f"took {longest * 1e3:.1f} ms at most")
    assert (again, left) == (0, 0)


def test_a_unix_socket_whose_clients_have_addresses(nginx, tmp_path):
    """What a proxy says of its client is no reason to set TCP's options."""
    tmp_path.chmod(0o755)
    server = nginx(server=f"listen unix:{tmp_path}/sock; "
                   "set_real_ip_from unix:; real_ip_header X-Forwarded-For;")
    box = mailbox()
    sender = Sender(server.port, box, 0, 0)
    sender.request("POST", "/mailbox", {"mailbox": box})
    body = json.dumps({"mailbox": box})
    for path, end in ("/message", b'"}'), ("/mailbox/listen", b"\n\n"):
        sender.request("PUT", "/message", {"message": message(box, path)})
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10 * PATIENCE)
            sock.connect(f"{tmp_path}/sock")
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n"
                         "X-Forwarded-For: 10.1.2.3\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
            text = b""
            while path.encode() not in text or not text.endswith(end):
                text += (new := sock.recv(1 << 16))
                assert new, text
    assert sender.queued() == 0
