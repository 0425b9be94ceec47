"""The whole scene again, with the exchange mounted elsewhere."""

import os

import pytest
from process import SCENE
from stage import proxy


def play(processes, settings):
    return processes.user(settings, processes.cast(settings))


def test_prefix(exchange, processes):
    mounted = exchange(prefix="/v1/")
    assert mounted.url.endswith("/v1")
    assert play(processes, mounted.url) == SCENE


def test_tls(exchange, processes, monkeypatch):
    secure = exchange(tls=True)
    # The agents' and the user's processes check the certificate.
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.certificate))
    assert secure.url.startswith("https:")
    assert play(processes, secure.url) == SCENE


def test_tls_with_another_certificate_is_refused(
        exchange, processes, monkeypatch):
    secure = exchange(tls=True)
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    process = processes._start("agent", secure.url, "Adder", "1.0.0")
    assert process.wait(60) != 0
    assert "CERTIFICATE_VERIFY_FAILED" in processes.errors()


def test_behind_a_reverse_proxy(exchange, nginx, processes):
    behind = exchange(workers=2)
    front = nginx(exchange=False, location=proxy(behind.port, {}))
    assert play(processes, front.url) == SCENE


@pytest.mark.nginx_only
def test_behind_a_reverse_proxy_that_knows_nothing_of_streams(
        exchange, nginx, processes):
    """proxy_pass and no word more: HTTP/1.0 to the exchange, and buffering,
    which X-Accel-Buffering turns off. (The reference needs HTTP/1.1.)"""
    behind = exchange(workers=2)
    front = nginx(exchange=False,
                  location=f"proxy_pass http://127.0.0.1:{behind.port};")
    assert play(processes, front.url) == SCENE
