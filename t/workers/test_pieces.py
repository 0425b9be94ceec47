"""Bodies that come in pieces, cut anywhere, with the next request behind them:
what is put is what is got."""

import json
import random
import socket
import time

from exchange import body_of, mailbox, message


def counted(method: str, path: str, body: bytes) -> bytes:
    return b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        method.encode(), path.encode(), len(body), body)


def chunked(random: random.Random, path: str, body: bytes) -> bytes:
    text = b"PUT %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" \
        % path.encode()
    while body:
        n = min(random.choice([1, 7, 100, 5000, 100_000]), len(body))
        text += b"%x\r\n%s\r\n" % (n, body[:n])
        body = body[n:]
    return text + b"0\r\n\r\n"


def test_pieces(nginx, figures):
    server = nginx(workers=1)
    rng = random.Random(8)
    pieces = 0

    with socket.create_connection(("127.0.0.1", server.port), 20) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = s.makefile("rb")

        def answer() -> bytes:
            assert b" 200 " in answers.readline()
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return answers.read(length)

        box = mailbox()
        s.sendall(counted("POST", "/mailbox",
                          json.dumps({"mailbox": box}).encode()))
        answer()
        get = counted("GET", "/message", json.dumps(
            {"mailbox": box, "timeout": 5}).encode())

        for n in range(150):
            size = rng.choice([0, 300, 900, 1500, 4000, 10_000, 200_000])
            body = "".join(rng.choices('ab"\\\né€', k=size // 8)) * 4
            text = json.dumps({"message": message(box, body)},
                              ensure_ascii=rng.random() < 0.5).encode()
            put = chunked(rng, "/message", text) if rng.random() < 0.3 \
                else counted("PUT", "/message", text)
            # one that is pipelined comes with the end of the one before
            text = put + get if rng.random() < 0.5 else put

            cuts = sorted(rng.choices(range(len(text)), k=rng.randrange(5)))
            for start, end in zip([0, *cuts], [*cuts, len(text)]):
                s.sendall(text[start:end])
                pieces += 1
                if rng.random() < 0.7:
                    time.sleep(0.001)

            assert answer() == b""
            if text is put:
                s.sendall(get)
            assert body_of(json.loads(answer())["message"]) == body, n

    figures(f"150 messages in {pieces} pieces")
