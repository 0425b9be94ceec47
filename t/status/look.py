"""A look at a status location."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request

from academy_redis import STORE

STATUS = """
    location = /status {
        academy_status exchange;
        academy_status_admin 1;
        academy_status_write on;
    }
"""


def fetch(port: int, query: str = "", headers: dict | None = None,
          method: str = "GET", path: str = "/status"
          ) -> tuple[int, str, dict[str, str]]:
    """The status, the text and the header of an answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}?{query}", method=method,
        headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return (answer.status, answer.read().decode(),
                    dict(answer.headers))
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode(), dict(e.headers)


def look(port: int, query: str = "format=json", **more) -> dict:
    code, text, _ = fetch(port, query, **more)
    assert code == 200, (code, text)
    return json.loads(text)


def settled(port: int) -> dict:
    """The picture when nothing is under way any more. It may be a second
    old, and what is acknowledged is noticed within one."""
    last = look(port)
    for _ in range(8):
        time.sleep(1.1)
        now = look(port)
        if (moved(now) == moved(last) and balance(now) == 0
                and now["messages"]["leased"] == 0):
            return now
        last = now
    return last


def moved(picture: dict) -> dict[str, float]:
    """What clients and their messages do; the commands of a look aside."""
    return {name: value for name, value in counted(picture).items()
            if not name.startswith(("redis.", "round_trip."))}


def counted(picture: dict) -> dict[str, float]:
    """All that may only grow."""
    sums = {}
    for group in ("totals", "refusals", "routes", "polls", "lock", "auth",
                  "redis"):
        for name, value in picture[group].items():
            if value is not None:
                sums[f"{group}.{name}"] = value
    for name in ("latency", "wait", "size", "round_trip"):
        if name not in picture:
            continue
        sums[f"{name}.count"] = picture[name]["count"]
        sums[f"{name}.sum"] = picture[name]["sum"]
        for bound, value in picture[name]["buckets"]:
            sums[f"{name}.{bound}"] = value
    return sums


def balance(picture: dict) -> int:
    """What came in and is neither there nor gone: 0 at rest. Redis does not
    tell what has expired."""
    totals, messages = picture["totals"], picture["messages"]
    return (totals["accepted"] + totals["notices"]
            - totals["delivered"] - (totals["expired"] or 0)
            - totals["dropped"] - messages["queued"] - messages["leased"])


def known(value, zone):
    """What is expected where the store is a zone; Redis has it not."""
    return value is None if STORE == "redis" else value == zone


def promtool(*args: str, text: str | None = None) -> str:
    done = subprocess.run(
        ["promtool", *args], input=text, text=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


def samples(text: str) -> dict[str, float]:
    """Each sample of a metrics text, by name and labels."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = re.fullmatch(r"(\S+(?:\{.*\})?) (\S+)",
                                       line).groups()
            assert name not in found, name
            found[name] = float(value)
    return found
