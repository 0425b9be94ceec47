"""The harness has to fail: otherwise all else here says nothing."""

import asyncio
import os
import signal

import pytest
from academy_nginx import Connection, EventStream, Gone, Nginx, Torn, run
from academy_nginx import wait_until


def kill_a_worker(server):
    (worker,) = server.workers()
    server.signal(signal.SIGKILL, worker)
    wait_until(lambda: "exited on signal 9" in server.log(), 5, "no alert")


def test_alert_fails():
    server = Nginx().start()
    kill_a_worker(server)
    with pytest.raises(AssertionError, match="exited on signal 9"):
        server.stop()
    assert not os.path.exists(server.dir)


def test_announced_alert_does_not():
    server = Nginx().start()
    server.expect("exited on signal 9")
    kill_a_worker(server)
    server.stop()


@pytest.mark.parametrize("line", [
    "==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x602",
    "src/x.c:1:2: runtime error: load of misaligned address",
])
def test_sanitizer_fails(line):
    server = Nginx().start()
    with (server.dir / "error.log").open("a") as log:
        log.write(line + "\n")
    with pytest.raises(AssertionError, match="error"):
        server.stop()


def test_configuration_error_fails():
    with pytest.raises(AssertionError, match="ended at once"):
        Nginx(http="academy_nonsense;").start()


def sends(data, end):
    """A server that sends `data` to who connects and ends like `end`."""
    async def serve(reader, writer):
        await reader.read(100)
        writer.write(data)
        await writer.drain()
        end(writer)
    return asyncio.start_server(serve, "127.0.0.1", 0)


def reset(writer):
    Connection(0, None, writer).reset()


def close(writer):
    writer.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize("data, end, error", [
    (b"", close, Gone),
    (b"HTTP/1.1 200", close, Torn),
    (HEAD, reset, Torn),
    (HEAD + b"data: {}\n\n", reset, Torn),
    (HEAD + b"data: {}\n", close, Torn),
    (HEAD + b"data: {}\n\ndat", close, Torn),
    (HEAD + b"data: {}\n\n", close, None),
])
def test_client_sees_unclean_ends(data, end, error):
    async def test():
        async with await sends(data, end) as server:
            port = server.sockets[0].getsockname()[1]
            conn = await Connection.open(port)
            conn.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            if error is not None:
                with pytest.raises(error):
                    stream = await EventStream.begun(conn)
                    while await stream.next() is not None:
                        pass
            else:
                stream = await EventStream.begun(conn)
                assert await stream.next() == "{}"
                assert await stream.next() is None
            conn.close()

    run(test())
