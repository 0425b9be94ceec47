"""Many messages through four workers, with and without reloads.

ACADEMY_MESSAGES    how many, 100,000 unless set
"""

import os
import signal
import threading
import time

from academy_nginx import wait_until
from load import run_load

MESSAGES = int(os.environ.get("ACADEMY_MESSAGES", 100_000))


def test_none_lost_none_doubled_in_order(nginx, figures):
    server = nginx(workers=4, zone="256m")
    start = time.monotonic()
    report = run_load(server.port, messages=MESSAGES)
    seconds = time.monotonic() - start

    figures(f"{report.messages()} messages in {seconds:.1f} s, "
            f"{report.messages() / seconds:.0f}/s; {report.polls} polls, "
            f"{report.streams} streams; {report.judge()}")
    assert report.complaints == []
    assert report.messages() >= MESSAGES * 0.99
    assert not any(report.judge().values())
    assert report.repeated_puts == report.repeated_gets == 0


def test_reload_ten_times_a_second(nginx, figures):
    """No stream ends uncleanly, no message is lost, no worker stays.

    nginx closes an idle connection when it reloads, and a request may be on
    its way just then. It was not read: the sender connects again and sends it
    again, and nothing comes twice for that.
    """
    server = nginx(workers=4, zone="256m")
    first = set(server.workers())
    over = threading.Event()

    def reload():
        beat = time.monotonic()
        while not over.wait(max(0, beat - time.monotonic())):
            server.signal(signal.SIGHUP)
            beat += 0.1

    reloader = threading.Thread(target=reload)
    try:
        report = run_load(server.port, seconds=10, meanwhile=reloader.start)
    finally:
        over.set()
        reloader.join()

    # The master sees a signal a moment later: these are the last workers.
    wait_until(lambda: len(server.workers()) == 4, 5, "old workers stay")
    assert not first & set(server.workers())
    judged = report.judge()
    reloads = server.log().count("gracefully shutting down") // 4
    figures(f"{reloads} reloads, {report.messages()} messages, "
            f"{report.streams} streams, {report.polls} polls; "
            f"{report.repeated_puts} puts and {report.repeated_gets} receives "
            f"on an ended connection, made again; {judged}")
    assert report.complaints == []
    assert not any(judged.values())
    assert reloads >= 50
