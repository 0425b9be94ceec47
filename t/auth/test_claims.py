"""Claims as variables, who the caller is by them, and "satisfy any"."""

from __future__ import annotations

import http.client
import json
import time

import pytest

from tokens import ask, bearer, claims, jwk, jwks, token

BOX = '{"uid":"00000000-0000-4000-8000-000000000001","role":"agent"}'


@pytest.fixture
def exchange(nginx, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "keys").write_text(jwks(jwk("ES256")))

    def start(more="", server="", **pieces):
        return nginx(
            location=more, **pieces,
            server=f"academy_auth jwt; academy_jwt_key_file {tmp_path}/keys;"
                   + server)

    return start


def shown(server, **more) -> dict[str, str]:
    """The headers that a configuration makes of claims."""
    answer = bearer(server.port, token(payload=claims(**more)))
    assert answer.status == 200, answer
    return {k[2:]: v.encode("latin-1").decode()
            for k, v in answer.headers.items() if k.startswith("x-")}


VALUES = [
    ("text", "text"), ("a b, c", "a b, c"), ("\u00e4\u20ac", "\u00e4\u20ac"),
    (["a", "b"], "a,b"), (["a"], "a"), ([], ""),
    (["a,b", "c"], "c"), (["c", "a,b"], "c"), (["a,b"], ""),
    ([" admin", "x"], "x"), (["admin\t", "x"], "x"), (["", "x", ""], "x"),
    (["a b", "c"], "a b,c"),
    (["a", 1], ""), (["a", None], ""), ([["a"]], ""),
    (2**64, "1.8446744073709552e19"), (7, "7"), (-7, "-7"), (0, "0"), (2**63 - 1, "9223372036854775807"),
    (1.5, "1.5"), (0.1, "0.1"), (1e100, "1e100"), (-0.25, "-0.25"),
    (1 / 3, "0.3333333333333333"),
    (True, ""), (False, ""), (None, ""), ({"a": "b"}, ""), ("", ""),
]


def test_values(exchange):
    server = exchange('add_header X-V "<$academy_claim_v>" always;')
    for value, expected in VALUES:
        assert shown(server, v=value) == {"v": f"<{expected}>"}, value
    assert shown(server) == {"v": "<>"}


def test_names(exchange):
    """nginx knows no capital letters in the names of variables."""
    server = exchange('add_header X-V "<$academy_claim_My_Name>" always;')
    assert shown(server, my_name="a", My_Name="b") == {"v": "<a>"}
    assert shown(server, My_Name="b") == {"v": "<>"}


def test_nested(exchange):
    server = exchange(
        "academy_claim_set $roles realm_access roles;"
        " academy_claim_set $Deep A b C d; academy_claim_set $top Given;"
        ' academy_claim_set $odd "https://x/y" "a.b";'
        ' add_header X-Roles "<$roles>" always;'
        ' add_header X-Deep "<$deep>" always;'
        ' add_header X-Top "<$top>" always;'
        ' add_header X-Odd "<$odd>" always;')
    empty = {"roles": "<>", "deep": "<>", "top": "<>", "odd": "<>"}
    assert shown(server, realm_access={"roles": ["a", "b"]}) == empty | {
        "roles": "<a,b>"}
    assert shown(server, A={"b": {"C": {"d": 7}}}) == empty | {"deep": "<7>"}
    assert shown(server, Given="x") == empty | {"top": "<x>"}
    assert shown(server, **{"https://x/y": {"a.b": "z"}}) == empty | {
        "odd": "<z>"}
    for bad in ("roles", ["roles"], None, {"roles": {"roles": "a"}},
                [{"roles": "a"}]):
        assert shown(server, realm_access=bad) == empty, bad


def test_one_variable_in_two_locations(exchange):
    server = exchange(
        'academy_claim_set $v one; add_header X-V "<$v>" always;',
        server="academy_claim_set $v zero; location /two/ {"
        " academy_exchange exchange; academy_claim_set $v two;"
        ' add_header X-V "<$v>" always; }'
        " location /zero/ { academy_exchange exchange;"
        ' add_header X-V "<$v>" always; }')
    text = token(payload=claims(one="1", two="2", zero="0"))
    for path, expected in [("", "<1>"), ("/two", "<2>"), ("/zero", "<0>")]:
        answer = bearer(server.port, text, path=path + "/discover")
        assert answer.headers["x-v"] == expected


def test_nothing_before_the_token_is_good(exchange):
    """Neither what a refused token says, nor, in a variable that was asked
    for too early, nothing for ever."""
    server = exchange(
        'set $early "$academy_claim_sub"; add_header X-Early "<$early>" always;'
        ' add_header X-Late "<$academy_claim_sub>" always;')
    assert shown(server) == {"early": "<>", "late": "<ann>"}
    answer = bearer(server.port, token(payload=claims(exp=1)))
    assert answer.status == 403 and answer.headers["x-late"] == "<>"
    answer = ask(server.port)
    assert answer.status == 401 and answer.headers["x-late"] == "<>"


def as_(server, method, route, body, path="", **more):
    return bearer(server.port, token(payload=claims(**more)), method=method,
                  path=path + route, body={"mailbox": BOX} | body).status


def test_the_id_and_the_groups(exchange):
    server = exchange("academy_client_id $academy_claim_oid;"
                      " academy_client_groups $academy_claim_groups;")
    assert as_(server, "POST", "/mailbox", {}, oid="1", groups=["g"]) == 200
    assert as_(server, "GET", "/mailbox", {}, oid="1", sub="x") == 200
    assert as_(server, "GET", "/mailbox", {}, oid="2") == 403
    assert as_(server, "GET", "/mailbox", {}) == 401
    group = {"group_id": "g"}
    assert as_(server, "POST", "/mailbox/share", group, oid="1") == 403
    assert as_(server, "POST", "/mailbox/share", group, oid="1",
               groups=["f", "g"]) == 200
    assert as_(server, "GET", "/mailbox", {}, oid="2", groups=["g"]) == 200
    assert as_(server, "GET", "/mailbox", {}, oid="2", groups=["g,h"]) == 403
    assert as_(server, "GET", "/mailbox", {}, oid="2", groups=[" g"]) == 403


def test_no_groups_unless_configured(exchange):
    server = exchange()
    assert as_(server, "POST", "/mailbox", {}, groups=["g"]) == 200
    assert as_(server, "POST", "/mailbox/share", {"group_id": "g"},
               groups=["g"]) == 403


def test_an_id_that_is_empty_or_has_control_characters(exchange):
    server = exchange("academy_client_id $academy_claim_x;")
    for value in ("", "a\x01", "a\x7f", "\t", ["a\n"], None, {}):
        answer = bearer(server.port, token(payload=claims(x=value)))
        assert (answer.status, answer.challenge) == (401, "Bearer"), value


def test_before_404_and_405(exchange):
    server = exchange()
    bad = token(payload=claims(exp=1))
    for method, path, status in [("GET", "/nowhere", 404),
                                 ("PATCH", "/message", 405),
                                 ("GET", "/mailbox/", 404)]:
        assert ask(server.port, method=method, path=path).status == 401
        assert bearer(server.port, bad, method=method,
                      path=path).status == 403
        assert bearer(server.port, token(), method=method,
                      path=path).status == status


SATISFIED = "satisfy any; allow 127.0.0.1; deny all;"


@pytest.mark.parametrize("more,nobody", [
    (SATISFIED, 401), ("satisfy any; deny all;", 401),
    ("satisfy all; allow 127.0.0.1; deny all;", 401)])
def test_satisfy(exchange, more, nobody):
    """An address is never a name: with it, and without, it is the token that
    says who is calling, and a token that is good lets in by itself."""
    server = exchange(more)
    assert ask(server.port).status == nobody
    assert bearer(server.port, token(payload=claims(exp=1))).status == 403
    assert ask(server.port, "Basic YTpi").challenge == (
        'Bearer error="invalid_request"')
    assert as_(server, "POST", "/mailbox", {}) == 200
    assert as_(server, "GET", "/mailbox", {}, sub="bob") == 403
    assert as_(server, "GET", "/mailbox", {}) == 200


def test_denied_all_the_same(exchange):
    server = exchange("deny all;")
    assert bearer(server.port, token()).status == 403
    assert bearer(server.port, token()).challenge is None
    assert ask(server.port).status == 403


def test_locations_differ(exchange):
    """The same token at an exchange for one audience and for another."""
    server = exchange(
        "academy_auth_audience a;",
        server="location /b/ { academy_exchange exchange;"
               " academy_auth_audience b; }"
               "location /off/ { academy_exchange exchange; academy_auth off; }"
               "location /leeway/ { academy_exchange exchange;"
               " academy_auth_leeway 1h; }")
    a, b = (token(payload=claims(aud=x)) for x in "ab")
    for _ in range(3):
        assert bearer(server.port, a).status == 200
        assert bearer(server.port, a, path="/b/discover").status == 403
        assert bearer(server.port, b, path="/b/discover").status == 200
        assert bearer(server.port, b).status == 403
        assert ask(server.port, path="/off/discover").status == 200
    late = token(payload=claims(aud="a", exp=int(time.time()) - 5))
    for _ in range(3):
        assert bearer(server.port, late, path="/leeway/discover").status == 200
        assert bearer(server.port, late).status == 403


def test_a_body_that_is_refused_leaves_the_connection_good(exchange):
    server = exchange()
    conn = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for text, status in [(None, 401), (token(payload=claims(exp=1)), 403),
                         (token(), 200)] * 3:
        conn.request("GET", "/discover", json.dumps(
            {"agent": "a", "allow_subclasses": False, "x": "y" * 20000}),
            {"Authorization": f"Bearer {text}"} if text else {})
        answer = conn.getresponse()
        answer.read()
        assert answer.status == status
    conn.close()
