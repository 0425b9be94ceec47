"""The provider of these tests: what the reference takes for Globus."""

from __future__ import annotations

import uuid

import pytest
import requests
from academy.exception import ForbiddenError
from academy.exchange.cloud import authenticate
from academy_nginx import run

from provider import CLIENT, GROUPS_SCOPE, PATHS, SECRET, status

RED, BLUE, GREEN = (str(uuid.uuid4()) for _ in range(3))


@pytest.fixture
def reference(provider, monkeypatch):
    """The reference's authenticator, led to the provider."""
    here = f"http://127.0.0.1:{provider.port}"
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", here + "/")
    get = requests.get
    monkeypatch.setattr(authenticate.requests, "get", lambda url, **more: get(
        url.replace("https://groups.api.globus.org", here), **more))
    return authenticate.GlobusAuthenticator(CLIENT, SECRET)


def ask(reference, token):
    return run(reference.authenticate_user(
        {"Authorization": f"Bearer {token}"}))


def test_who_is_calling(provider, reference):
    provider.join("ann", RED, BLUE)
    provider.join("ann", GREEN, memberships=["invited"])
    who = ask(reference, provider.issue(username="ann", aud=[CLIENT, "x"]))
    assert who.client_id == "ann"
    assert set(who.group_memberships) == {RED, BLUE}
    for text in (provider.issue(username="ann", aud=["x"]),
                 provider.issue(active=False), "unknown"):
        with pytest.raises(ForbiddenError):
            ask(reference, text)


def test_what_is_asked(provider, reference):
    """Which is what test_globus.py holds the module against."""
    text = provider.issue(username="ann", aud=[CLIENT])
    ask(reference, text)
    introspect, grant, groups = provider.asked()
    assert (introspect.method, introspect.target) == (
        "POST", PATHS["introspect"])
    assert introspect.form == [("token", text)]
    assert (grant.method, grant.target) == ("POST", PATHS["token"])
    assert grant.form == [
        ("grant_type", "urn:globus:auth:grant_type:dependent_token"),
        ("token", text), ("scope", GROUPS_SCOPE)]
    assert (groups.method, groups.target) == ("GET", PATHS["groups"])
    assert groups.header("Authorization").startswith("Bearer dependent-")
    for call in (introspect, grant):
        assert call.header("Content-Type") == (
            "application/x-www-form-urlencoded")


def test_down_and_up(provider):
    url = f"http://127.0.0.1:{provider.port}{PATHS['keys']}"
    provider.keys = [{"kid": "a"}]
    session = requests.Session()
    assert session.get(url).json() == {"keys": [{"kid": "a"}]}
    provider.stop()
    with pytest.raises(requests.ConnectionError):
        session.get(url)
    provider.start()
    provider.does["keys"] = [status(500), status(201)]
    assert [session.get(url).status_code for _ in range(3)] == [500, 201, 201]
