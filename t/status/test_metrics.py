"""The metrics, as promtool and a real Prometheus see them."""

import json
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from academy_nginx import PATIENCE, free_port, wait_until
from academy_redis import STORE
from load import run_load
from look import STATUS, counted, fetch, look, promtool, samples, settled


def test_formats(nginx):
    """Which one comes is said by the argument, or else by Accept."""
    server = nginx(server=STATUS)
    for accept, begin in {
            "*/*": "application/json",
            "text/html,application/xhtml+xml,*/*;q=0.8": "text/html",
            "text/plain": "text/plain; version=0.0.4",
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5":
                "application/openmetrics-text; version=1.0.0"}.items():
        code, _, headers = fetch(server.port, headers={"Accept": accept})
        assert code == 200 and headers["Content-Type"].startswith(begin)
        # The page has no figures in it.
        assert headers["Cache-Control"] == (
            "no-cache" if begin == "text/html" else "no-store")
    for wanted, begin in dict(
            json="application/json", html="text/html",
            prometheus="text/plain; version", health="text/plain",
            openmetrics="application/openmetrics").items():
        code, _, headers = fetch(server.port, f"format={wanted}",
                                 headers={"Accept": "text/html"})
        assert code == 200 and headers["Content-Type"].startswith(begin)
    assert fetch(server.port, "format=xml")[0] == 400
    assert fetch(server.port, "view=nothing")[0] == 400
    assert fetch(server.port, "format=json", method="POST")[0] == 405
    assert fetch(server.port, "format=json", method="PUT")[0] == 405
    code, text, headers = fetch(server.port, "format=json", method="HEAD")
    assert code == 200 and text == "" and int(headers["Content-Length"]) > 1000


def test_promtool_and_names(nginx):
    """Nothing to be complained about, in an exchange with an odd name too;
    both formats say the same, and what JSON says."""
    server = nginx(
        workers=2, http='academy_zone "zone=x\\"y\\\\z:2m";',
        server=STATUS + ' location = /odd { academy_status "x\\"y\\\\z"; }')
    run_load(server.port, messages=640, kinds=("response",))
    settled(server.port)
    odd = fetch(server.port, "format=prometheus", path="/odd")[1]
    assert 'exchange="x\\"y\\\\z"' in odd
    assert look(server.port, path="/odd")["exchange"] == 'x"y\\z'
    promtool("check", "metrics", text=odd)

    text = fetch(server.port, "format=prometheus")[1]
    promtool("check", "metrics", text=text)
    open_text = fetch(server.port, "format=openmetrics")[1]
    assert open_text.endswith("# EOF\n")
    picture = look(server.port)
    one, two = samples(text), samples(open_text)
    for volatile in ("academy_status_requests_total", "academy_oldest",
                     "academy_redis_"):
        for found in (one, two):
            for name in [n for n in found if n.startswith(volatile)]:
                del found[name]
    assert one == two
    label = '{exchange="exchange"}'
    for name, value in picture["totals"].items():
        metric = {
            "created": "mailboxes_created", "terminated":
            "mailboxes_terminated", "mailboxes_expired": "mailboxes_expired",
            "answered": "requests_answered",
            "requests_expired": "requests_expired"}.get(
                name, f"messages_{name}")
        if value is None:
            assert f"academy_{metric}_total{label}" not in one
            continue
        assert one[f"academy_{metric}_total{label}"] == value
    for reason, value in picture["refusals"].items():
        assert one[f'academy_refusals_total{{exchange="exchange",'
                   f'reason="{reason}"}}'] == value
    for route, value in picture["routes"].items():
        assert one[f'academy_http_requests_total{{exchange="exchange",'
                   f'route="{route}"}}'] == value
    count = one[f"academy_delivery_latency_seconds_count{label}"]
    assert count == picture["latency"]["count"]
    if STORE == "redis":
        for gone in "zone", "lock", "messages_expired":
            assert f"academy_{gone}" not in text
        assert fetch(server.port, "format=prometheus")[1].count(
            'academy_redis_connected{exchange="exchange",worker="') == 2
        assert "academy_redis_round_trip_seconds_bucket" in text
    else:
        assert "academy_redis" not in text
        assert one[f"academy_zone_free_bytes{label}"] == picture[
            "zone"]["free"]
        assert count == 640 + 64
    assert one['academy_delivery_latency_seconds_bucket{exchange="exchange",'
               'le="+Inf"}'] == count


@pytest.fixture
def prometheus(tmp_path):
    """A function that starts a Prometheus, which scrapes every second, and
    returns one that asks it."""
    started = []

    def start(port):
        own = free_port()
        (tmp_path / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: academy
    metrics_path: /status
    params: {{format: [prometheus]}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
""")
        started.append(subprocess.Popen(
            ["prometheus", f"--config.file={tmp_path}/prometheus.yml",
             f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address=127.0.0.1:{own}"],
            stdout=(tmp_path / "log").open("wb"), stderr=subprocess.STDOUT))

        def ask(query):
            with urllib.request.urlopen(
                    f"http://127.0.0.1:{own}/api/v1/query?"
                    + urllib.parse.urlencode({"query": query}),
                    timeout=10) as answer:
                result = json.load(answer)["data"]["result"]
            return float(result[0]["value"][1]) if result else None

        def up():
            try:
                return ask("up") == 1
            except OSError:
                return False
        wait_until(up, 30, "Prometheus does not scrape")
        return ask

    yield start

    for process in started:
        process.terminate()
        process.wait(20)


def test_a_real_prometheus(nginx, prometheus, figures):
    """It scrapes under load, and agrees with what the load counted."""
    server = nginx(workers=2, server=STATUS)
    ask = prometheus(server.port)
    report = run_load(server.port, seconds=6, kinds=("response",))
    sent = report.messages() + len(report.received)
    settled(server.port)
    wait_until(lambda: ask("academy_messages_delivered_total") == sent, 10,
               "it does not come to what was sent")
    scrapes = ask("count_over_time(up[5m])")
    failed = scrapes - ask("sum_over_time(up[5m])")
    rate = ask("max_over_time(rate(academy_messages_accepted_total[3s])"
               "[30s:1s])")
    p99 = ask("histogram_quantile(0.99, academy_delivery_latency_seconds"
              "_bucket)")
    if STORE == "redis":
        p99 = ask("histogram_quantile(0.99, "
                  "academy_redis_round_trip_seconds_bucket)")
    mine = look(server.port)[
        "round_trip" if STORE == "redis" else "latency"]["p99"]
    figures(f"{sent} sent and counted; {scrapes:.0f} scrapes, {failed:.0f} "
            f"failed; highest rate {rate:.0f}/s; p99 {p99:.5f} s, here "
            f"{mine} s")
    assert ask("academy_messages_accepted_total") == sent
    assert ask("academy_message_size_bytes_count") == sent
    if STORE == "zone":
        assert ask("academy_delivery_latency_seconds_count") == sent
    assert failed == 0 and scrapes >= 6
    assert ask("resets(academy_messages_accepted_total[5m])") == 0
    assert rate > 0
    # Redis is asked for each look, too.
    assert abs(p99 - mine) < 0.0001 + mine / (
        20 if STORE == "redis" else 1000)


def test_history(nginx):
    """A sample every ten seconds, also while nobody looks."""
    server = nginx(workers=2, server=STATUS)
    begin = time.monotonic()
    before = look(server.port, "view=history")
    run_load(server.port, messages=640, kinds=("response",))
    wait_until(lambda: len(look(server.port, "view=history")["samples"]) >= 2,
               40, "no samples")
    picture = look(server.port, "view=history")
    rows = [dict(zip(picture["columns"], row)) for row in picture["samples"]]
    assert before["samples"] == []
    assert time.monotonic() - begin > 18
    assert sum(row["delivered"] for row in rows) <= 704
    assert all(9 <= row["seconds"] <= 11 + PATIENCE for row in rows)
    assert rows[-1]["mailboxes"] == 64
    assert rows[-1]["queued"] == 0
    assert counted(look(server.port))["totals.delivered"] == 704
