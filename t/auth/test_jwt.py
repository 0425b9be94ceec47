"""Tokens that are verified here: what is taken, what is refused, and how."""

from __future__ import annotations

import base64
import json
import re
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import tokens
from tokens import (BY_DEFAULT, SECRET, ask, b64, bearer, claims, jwk, jwks,
                    pem, private, token)

OK = (200, None)
MISSING = (401, "Bearer")
BAD_REQUEST = (401, 'Bearer error="invalid_request"')
INVALID = (403, 'Bearer error="invalid_token"')

ALL = " ".join(BY_DEFAULT + SECRET)


@pytest.fixture
def exchange(nginx, tmp_path):
    """A function that starts an exchange for tokens of some keys."""
    tmp_path.chmod(0o755)

    def start(keys, more="", **pieces):
        names = []
        for i, text in enumerate([keys] if isinstance(keys, str) else keys):
            file = tmp_path / f"keys{i}"
            file.write_text(text)
            names.append(f"academy_jwt_key_file {file};")
        return nginx(location=f"academy_auth jwt; {' '.join(names)} {more}",
                     http="large_client_header_buffers 4 64k;", **pieces)

    return start


def look(answer):
    assert answer.text.replace(" ", "") == {
        200: '{"agent_ids":""}', 401: "Missingrequiredheaders.",
        403: "Tokenexpiredorrevoked."}[answer.status]
    return answer.status, answer.challenge


def every_key(**more):
    return jwks(*(jwk(a, **more) for a in
                  ("RS256", "ES256", "ES384", "ES512", "EdDSA", "HS512")))


# ------------------------------------------------------------------ algorithms


@pytest.mark.parametrize("form", ["jwks", "pem"])
def test_each_algorithm(exchange, form):
    keys = every_key() if form == "jwks" else "".join(
        pem(private(a)) for a in ("RS256", "ES256", "ES384", "ES512", "EdDSA"))
    server = exchange(keys)
    for alg in BY_DEFAULT:
        assert look(bearer(server.port, token(alg))) == OK, alg
        assert look(bearer(server.port, token(
            alg, key=private(alg, "other")))) == INVALID, alg
    for alg in SECRET:
        assert look(bearer(server.port, token(alg))) == INVALID, alg


def test_secrets_must_be_named(exchange):
    server = exchange(every_key(), f"academy_jwt_algorithms {ALL};")
    for alg in BY_DEFAULT + SECRET:
        assert look(bearer(server.port, token(alg))) == OK, alg
    for alg in SECRET:
        assert look(bearer(server.port, token(
            alg, key=private(alg, "other")))) == INVALID, alg


def test_only_the_algorithms_that_are_named(exchange):
    server = exchange(every_key(), "academy_jwt_algorithms ES256 PS256;")
    for alg in BY_DEFAULT + SECRET:
        expected = OK if alg in ("ES256", "PS256") else INVALID
        assert look(bearer(server.port, token(alg))) == expected, alg


def test_a_keys_own_algorithm_and_use(exchange):
    def serve(**more):
        return exchange(jwks(jwk("RS256", kid="k") | more,
                             jwk("EdDSA", kid="spare")))

    server = serve(alg="RS256")
    for alg in ("RS256", "RS384", "PS256"):
        expected = OK if alg == "RS256" else INVALID
        assert look(bearer(server.port, token(
            alg, header={"kid": "k"}))) == expected, alg

    for more, expected in [
            ({"use": "sig"}, OK), ({"use": "enc"}, INVALID),
            ({"key_ops": ["verify"]}, OK), ({"key_ops": ["sign"]}, INVALID),
            ({"alg": "RSA-OAEP"}, INVALID)]:
        server = serve(**more)
        assert look(bearer(server.port, token(
            "RS256", header={"kid": "k"}))) == expected, more


# ---------------------------------------------------------------- the big table


def swap_last(text: str) -> str:
    """The same bytes with another last character, which nothing decodes to."""
    order = ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
             "0123456789-_")
    return text[:-1] + order[order.index(text[-1]) ^ 1]


def part(text: str, n: int, change) -> str:
    parts = text.split(".")
    parts[n] = change(parts[n])
    return ".".join(parts)


def flip(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


def table():
    now = int(time.time())
    good = token(header={"kid": "e"})
    public = pem(private("RS256")).encode()
    modulus = base64.urlsafe_b64decode(jwk("RS256")["n"] + "==")
    none = b64(b'{"alg":"none"}') + "." + good.split(".")[1] + "."

    def es(payload=None, **more):
        return token("ES256", payload, **more)

    def raw(text):
        return es(text.encode())

    far = now + 600

    return [
        # the header of the request
        ("nothing", [], MISSING),
        ("good", [f"Bearer {good}"], OK),
        ("small letters", [f"bearer {good}"], OK),
        ("capital letters", [f"BEARER {good}"], OK),
        ("two blanks", [f"Bearer  {good}"], OK),
        ("empty", [""], BAD_REQUEST),
        ("no token", ["Bearer"], BAD_REQUEST),
        ("only a blank", ["Bearer "], BAD_REQUEST),
        ("no blank", [f"Bearer{good}"], BAD_REQUEST),
        ("a tab", [f"Bearer\t{good}"], BAD_REQUEST),
        ("another scheme", ["Basic YW5uOnNlY3JldA=="], BAD_REQUEST),
        ("DPoP", [f"DPoP {good}"], BAD_REQUEST),
        ("a prefix of the scheme", [f"Bear {good}"], BAD_REQUEST),
        ("the token alone", [good], BAD_REQUEST),
        ("a list", [f"Bearer {good}, Bearer {good}"], BAD_REQUEST),
        ("a parameter", [f"Bearer token={good}"], BAD_REQUEST),
        ("two tokens", [f"Bearer {good} {good}"], BAD_REQUEST),
        ("quotes", [f'Bearer "{good}"'], BAD_REQUEST),
        ("not ASCII", [f"Bearer {good}\xe9"], BAD_REQUEST),
        ("only padding", ["Bearer =="], BAD_REQUEST),
        ("padding inside", [f"Bearer a=b{good}"], BAD_REQUEST),
        # the form of the token
        ("opaque", ["Bearer 2YotnFZFEjr1zCsicMWpAA"], INVALID),
        ("one dot", ["Bearer " + good.rsplit(".", 1)[0]], INVALID),
        ("three dots", [f"Bearer {good}.AAAA"], INVALID),
        ("a dot at the end", [f"Bearer {good}."], INVALID),
        ("a dot at the front", [f"Bearer .{good}"], INVALID),
        ("only dots", ["Bearer .."], INVALID),
        ("five parts", ["Bearer a.b.c.d.e"], INVALID),
        ("oversized", [f"Bearer {token(payload=claims(x='y' * 16000))}"],
         INVALID),
        ("large", [f"Bearer {token(payload=claims(x='y' * 9000))}"], OK),
        ("padding at the end", [f"Bearer {good}="], INVALID),
        *[(f"bad base64url in part {n}",
           ["Bearer " + part(good, n, lambda p, c=c: p[:5] + c + p[6:])],
           INVALID) for n in range(3) for c in "+/~"],
        *[(f"part {n} too short by one",
           ["Bearer " + part(good, n, lambda p: p[:-1])], INVALID)
          for n in range(3)],
        *[(f"part {n} with a character alone",
           ["Bearer " + part(good, n, lambda p: p + "A" * (5 - len(p) % 4
                                                           if len(p) % 4 else
                                                           1))], INVALID)
          for n in range(3)],
        *[(f"part {n} empty", ["Bearer " + part(good, n, lambda p: "")],
           INVALID) for n in range(3)],
        ("bits in the signature that mean nothing",
         ["Bearer " + part(good, 2, swap_last)], INVALID),
        *[(f"part {n} changed", ["Bearer " + part(good, n, flip)], INVALID)
          for n in range(3)],
        # the header of the token
        ("header: no JSON", [f"Bearer {es(header=b'{alg:ES256}')}"], INVALID),
        ("header: an array",
         ["Bearer " + es(header=b'["ES256"]')], INVALID),
        ("header: a string", ["Bearer " + es(header=b'"ES256"')], INVALID),
        ("header: text behind",
         ["Bearer " + es(header=b'{"alg":"ES256"} x')], INVALID),
        ("header: bad UTF-8",
         ["Bearer " + es(header=b'{"alg":"ES256","x":"\xff"}')], INVALID),
        ("header: duplicate alg",
         ["Bearer " + es(header=b'{"alg":"none","alg":"ES256"}')], INVALID),
        ("header: duplicate kid",
         ["Bearer " + es(header=b'{"alg":"ES256","kid":"e","kid":"e"}')],
         INVALID),
        ("header: NUL in alg",
         ["Bearer " + es(header=b'{"alg":"ES256\\u0000"}')], INVALID),
        ("no alg", ["Bearer " + es(header=b'{"kid":"e"}')], INVALID),
        ("alg a number", ["Bearer " + es(header=b'{"alg":256}')], INVALID),
        ("alg null", ["Bearer " + es(header=b'{"alg":null}')], INVALID),
        ("alg in small letters",
         ["Bearer " + es(header=b'{"alg":"es256"}')], INVALID),
        ("alg unknown", ["Bearer " + es(header=b'{"alg":"ES256K"}')], INVALID),
        ("crit", ["Bearer " + es(header={"crit": ["exp"]})], INVALID),
        ("crit, empty", ["Bearer " + es(header={"crit": []})], INVALID),
        ("b64 in crit",
         ["Bearer " + es(header={"b64": False, "crit": ["b64"]})], INVALID),
        ("unknown members",
         ["Bearer " + es(header={"typ": "JWT", "x": {"y": [1]}})], OK),
        ("own key in jwk", ["Bearer " + es(
            key=private("ES256", "other"),
            header={"jwk": jwk("ES256", private("ES256", "other"))})],
         INVALID),
        ("jku, x5u, jwk are not looked at", ["Bearer " + es(header={
            "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/",
            "jwk": jwk("ES256", private("ES256", "other"))})], OK),
        # keys
        ("kid", [f"Bearer {es(header={'kid': 'e'})}"], OK),
        ("no kid", [f"Bearer {es()}"], OK),
        ("unknown kid", ["Bearer " + es(header={"kid": "f"})], INVALID),
        ("empty kid", ["Bearer " + es(header={"kid": ""})], INVALID),
        ("kid of another key", ["Bearer " + es(header={"kid": "r"})],
         INVALID),
        ("kid a number", ["Bearer " + es(header={"kid": 1})], INVALID),
        ("kid null", ["Bearer " + es(header={"kid": None})], INVALID),
        ("wrong key", ["Bearer " + es(key=private("ES256", "other"))],
         INVALID),
        ("wrong key with the kid", ["Bearer " + es(
            key=private("ES256", "other"), header={"kid": "e"})], INVALID),
        # algorithms
        ("none", [f"Bearer {none}"], INVALID),
        ("none, with a signature",
         ["Bearer " + es(header=b'{"alg":"none"}')], INVALID),
        ("None", ["Bearer " + none.replace(b64(b'{"alg":"none"}'),
                                           b64(b'{"alg":"None"}'))], INVALID),
        ("no signature", ["Bearer " + good.rsplit(".", 1)[0] + "."], INVALID),
        ("RSA key as a secret: PEM",
         ["Bearer " + token("HS256", key=public)], INVALID),
        ("RSA key as a secret: PEM without the last line's end",
         ["Bearer " + token("HS256", key=public.rstrip())], INVALID),
        ("RSA key as a secret: modulus",
         ["Bearer " + token("HS256", key=modulus, header={"kid": "r"})],
         INVALID),
        ("secret of no bytes", ["Bearer " + token("HS256", key=b"")],
         INVALID),
        ("RS256 said, PS256 done",
         ["Bearer " + token("RS256", sign_as="PS256")], INVALID),
        ("PS256 said, RS256 done",
         ["Bearer " + token("PS256", sign_as="RS256")], INVALID),
        ("RS512 said, RS256 done",
         ["Bearer " + token("RS512", sign_as="RS256")], INVALID),
        ("RS256 said, ES256 done",
         ["Bearer " + token("RS256", sign_as="ES256")], INVALID),
        ("ES256 said, EdDSA done",
         ["Bearer " + token("ES256", sign_as="EdDSA")], INVALID),
        ("EdDSA said, ES256 done",
         ["Bearer " + token("EdDSA", sign_as="ES256")], INVALID),
        ("ES256 by a key of P-384", ["Bearer " + token(
            "ES256", key=private("ES384"), sign_as="ES384")], INVALID),
        ("PSS with no salt", ["Bearer " + token("PS256", salt=0)], INVALID),
        ("PSS with a short salt", ["Bearer " + token("PS256", salt=20)],
         INVALID),
        ("PSS with a long salt", ["Bearer " + token("PS256", salt=64)],
         INVALID),
        # signatures of ECDSA
        *[(f"{alg}: all zero", ["Bearer " + part(
            token(alg), 2, lambda p, n=n: b64(bytes(2 * n)))], INVALID)
          for alg, (_, _, n) in tokens.CURVE.items()],
        *[(f"{alg}: DER", ["Bearer " + token(alg, der=True)], INVALID)
          for alg in tokens.CURVE],
        ("ECDSA: r is zero", ["Bearer " + part(
            good, 2, lambda p: b64(bytes(32) + base64.urlsafe_b64decode(
                p + "==")[32:]))], INVALID),
        ("ECDSA: s is the group's order", ["Bearer " + part(
            good, 2, lambda p: b64(base64.urlsafe_b64decode(
                p + "==")[:32] + bytes.fromhex(
                "ffffffff00000000ffffffffffffffff"
                "bce6faada7179e84f3b9cac2fc632551")))], INVALID),
        ("ECDSA: a byte more", ["Bearer " + part(
            good, 2, lambda p: b64(base64.urlsafe_b64decode(
                p + "==") + b"\0"))], INVALID),
        ("Ed25519: all zero", ["Bearer " + part(
            token("EdDSA"), 2, lambda p: b64(bytes(64)))], INVALID),
        ("RSA: all zero", ["Bearer " + part(
            token("RS256"), 2, lambda p: b64(bytes(256)))], INVALID),
        ("RSA: a byte less", ["Bearer " + part(
            token("RS256"), 2, lambda p: b64(base64.urlsafe_b64decode(
                p + "==")[1:]))], INVALID),
        # claims
        ("claims: no JSON", ["Bearer " + raw("sub=ann")], INVALID),
        ("claims: an array", ["Bearer " + raw("[1]")], INVALID),
        ("claims: empty", ["Bearer " + raw("{}")], INVALID),
        ("claims: text behind",
         ["Bearer " + raw(json.dumps(claims()) + "{}")], INVALID),
        ("claims: a comma too much",
         ["Bearer " + raw('{"sub":"ann","exp":%d,}' % far)], INVALID),
        ("claims: byte-order mark",
         ["Bearer " + raw("\ufeff" + json.dumps(claims()))], INVALID),
        ("claims: bad UTF-8", ["Bearer " + es(
            b'{"sub":"\xff","exp":%d}' % far)], INVALID),
        ("claims: duplicate sub",
         ["Bearer " + raw('{"sub":"a","sub":"ann","exp":%d}' % far)],
         INVALID),
        ("claims: duplicate exp",
         ["Bearer " + raw('{"sub":"ann","exp":1,"exp":%d}' % far)], INVALID),
        ("claims: duplicates within",
         ["Bearer " + raw('{"sub":"ann","exp":%d,"x":{"y":1,"y":2}}' % far)],
         INVALID),
        ("claims: deep",
         ["Bearer " + raw('{"sub":"ann","exp":%d,"x":%s}'
                          % (far, "[" * 3000 + "]" * 3000))], INVALID),
        ("no exp", ["Bearer " + es({"sub": "ann"})], INVALID),
        ("exp null", ["Bearer " + es(claims(exp=None))], INVALID),
        ("exp a string", ["Bearer " + es(claims(exp=str(far)))], INVALID),
        ("exp true", ["Bearer " + es(claims(exp=True))], INVALID),
        ("exp a fraction", ["Bearer " + es(claims(exp=far + 0.5))], OK),
        ("exp huge", ["Bearer " + es(claims(exp=1e300))], OK),
        ("exp beyond a number",
         ["Bearer " + raw('{"sub":"ann","exp":1e999}')], INVALID),
        ("exp beyond 64 bits",
         ["Bearer " + raw('{"sub":"ann","exp":99999999999999999999}')],
         OK),
        ("exp negative", ["Bearer " + es(claims(exp=-1))], INVALID),
        ("exp zero", ["Bearer " + es(claims(exp=0))], INVALID),
        ("expired", ["Bearer " + es(claims(exp=now - 1))], INVALID),
        ("nbf past", ["Bearer " + es(claims(nbf=now - 1))], OK),
        ("not yet valid", ["Bearer " + es(claims(nbf=now + 300))], INVALID),
        ("nbf a string", ["Bearer " + es(claims(nbf="0"))], INVALID),
        ("nbf null", ["Bearer " + es(claims(nbf=None))], INVALID),
        # who it is
        ("no sub", ["Bearer " + es({"exp": far})], MISSING),
        ("sub empty", ["Bearer " + es(claims(sub=""))], MISSING),
        ("sub a number", ["Bearer " + es(claims(sub=7))], MISSING),
        ("sub a list", ["Bearer " + es(claims(sub=["ann"]))], MISSING),
        ("sub with a line's end", ["Bearer " + es(claims(sub="a\nb"))],
         MISSING),
        ("sub with DEL", ["Bearer " + es(claims(sub="a\x7f"))], MISSING),
        ("sub with NUL", ["Bearer " + es(claims(sub="a\0"))], MISSING),
        ("NUL in another claim", ["Bearer " + es(claims(x="a\0b"))], OK),
        ("an integer of 30 digits", ["Bearer " + es(claims(x=10**30))], OK),
        ("zero byte in JSON",
         ["Bearer " + es(b'{"sub":"ann","exp":%d,"x":1\0}' % far)], INVALID),
        ("sub of 1024 bytes", ["Bearer " + es(claims(sub="a" * 1024))], OK),
        ("sub of 1025 bytes", ["Bearer " + es(claims(sub="a" * 1025))],
         MISSING),
        ("sub not ASCII", ["Bearer " + es(claims(sub="\u00e4nn"))], OK),
    ]


def test_table(exchange):
    server = exchange(jwks(
        jwk("RS256", kid="r"), jwk("ES256", kid="e"), jwk("ES384", kid="e3"),
        jwk("ES512", kid="e5"), jwk("EdDSA", kid="ed")))
    rows = table()
    wrong = []
    for name, headers, expected in rows:
        answer = look(ask(server.port, *headers))
        if answer != expected:
            wrong.append(f"{name}: {answer}, not {expected}")
    assert not wrong, "\n".join(wrong)
    assert len(rows) > 120


def test_doubled(exchange):
    server = exchange(every_key())
    good = f"Bearer {token()}"
    # nginx itself refuses doubles from 1.23 on, before anybody is asked
    answer = ask(server.port, good, good)
    assert (answer.status, answer.challenge) == BAD_REQUEST or (
        answer.status == 400)
    answer = ask(server.port, good, "Basic YW5uOnNlY3JldA==")
    assert (answer.status, answer.challenge) == BAD_REQUEST or (
        answer.status == 400)


def test_eight_keys_are_tried(exchange):
    keys = [private("ES256", f"key {i}") for i in range(9)]
    server = exchange(jwks(*(jwk("ES256", k, kid=str(i))
                             for i, k in enumerate(keys))))
    for i, key in enumerate(keys):
        assert look(bearer(server.port, token(key=key))) == (
            OK if i < 8 else INVALID), i
        assert look(bearer(server.port, token(
            key=key, header={"kid": str(i)}))) == OK, i


def test_keys_of_other_types_do_not_count_as_tries(exchange):
    others = [jwk("EdDSA", private("EdDSA", str(i))) for i in range(20)]
    server = exchange(jwks(*others, jwk("ES256")))
    assert look(bearer(server.port, token())) == OK


def test_a_pem_key_has_no_kid(exchange):
    server = exchange([pem(private("ES256")), jwks(jwk("EdDSA", kid="d"))])
    assert look(bearer(server.port, token())) == OK
    assert look(bearer(server.port, token(header={"kid": "new"}))) == OK
    # the key of a kid decides alone
    assert look(bearer(server.port, token(
        "EdDSA", key=private("EdDSA", "other"),
        header={"kid": "d"}))) == INVALID


# ---------------------------------------------- audience, issuer, leeway, time


def test_audience_and_issuer(exchange):
    server = exchange(every_key(), 'academy_auth_audience a "b c";'
                                   " academy_auth_issuer https://i https://j;")
    good = {"aud": "a", "iss": "https://i"}
    for more, expected in [
            (good, OK),
            (good | {"aud": "b c"}, OK),
            (good | {"aud": ["x", "a"]}, OK),
            (good | {"iss": "https://j"}, OK),
            (good | {"aud": "x"}, INVALID),
            (good | {"aud": "A"}, INVALID),
            (good | {"aud": "a "}, INVALID),
            (good | {"aud": ""}, INVALID),
            (good | {"aud": []}, INVALID),
            (good | {"aud": ["x", "aa"]}, INVALID),
            (good | {"aud": [["a"]]}, INVALID),
            (good | {"aud": {"a": "a"}}, INVALID),
            (good | {"aud": "a,b c"}, INVALID),
            (good | {"aud": None}, INVALID),
            ({"iss": "https://i"}, INVALID),
            (good | {"iss": "https://i/"}, INVALID),
            (good | {"iss": ["https://i"]}, INVALID),
            (good | {"iss": 7}, INVALID),
            ({"aud": "a"}, INVALID)]:
        assert look(bearer(server.port, token(
            payload=claims(**more)))) == expected, more


def test_leeway(exchange):
    server = exchange(every_key(), "academy_auth_leeway 60s;")
    now = int(time.time())
    for more, expected in [
            ({"exp": now - 30}, OK), ({"exp": now - 61}, INVALID),
            ({"nbf": now + 30}, OK), ({"nbf": now + 120}, INVALID)]:
        assert look(bearer(server.port, token(
            payload=claims(**more)))) == expected, more




# ------------------------------------------------------------- the RFCs' vectors


RFC = [
    # RFC 7515, A.1, which is the example of RFC 7519, 3.1
    ({"kty": "oct",
      "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0i"
           "PS4hcgUuTwjAzZr1Z9CAow"},
     "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
     "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"
     "NvbS9pc19yb290Ijp0cnVlfQ",
     "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
     "it has expired"),
    # A.2
    ({"kty": "RSA", "e": "AQAB",
      "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp"
           "-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOW"
           "vG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs"
           "LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9k"
           "G4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2"
           "PAcDTW9gb54h4FRWyuXpoQ"},
     "eyJhbGciOiJSUzI1NiJ9",
     "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"
     "NvbS9pc19yb290Ijp0cnVlfQ",
     "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm"
     "4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--"
     "f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383Lc"
     "OLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUi"
     "pUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
     "it has expired"),
    # A.3
    ({"kty": "EC", "crv": "P-256",
      "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
      "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
     "eyJhbGciOiJFUzI1NiJ9",
     "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"
     "NvbS9pc19yb290Ijp0cnVlfQ",
     "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxf"
     "KTUJqPP3-Kg6NU1Q",
     "it has expired"),
    # A.4, whose payload is the word "Payload"
    ({"kty": "EC", "crv": "P-521",
      "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvL"
           "FV1jSfS9tsz4qUxcWceqwQGk",
      "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4K"
           "kd0AZMaZmh9ubmf63e3kyMj2"},
     "eyJhbGciOiJFUzUxMiJ9", "UGF5bG9hZA",
     "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI"
     "-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO"
     "7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
     "its claims are not a JSON object"),
    # RFC 8037, A.4
    ({"kty": "OKP", "crv": "Ed25519",
      "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
     "eyJhbGciOiJFZERTQSJ9", "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
     "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9"
     "g7sVvpAr_MuM0KAg",
     "its claims are not a JSON object"),
]

# RFC 7515, A.5, which is the example of RFC 7519, 6.1
UNSECURED = ("eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAs"
             "DQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.")


def reasons(server) -> list[str]:
    return re.findall(r"token is refused: ([^,]*),", server.log())


def test_vectors_of_the_rfcs(exchange):
    """They are signed well, and are none of today's tokens: it is the reason
    for which they are refused that tells. With a bit changed in the signature
    it is another one."""
    server = exchange(jwks(*(row[0] for row in RFC)),
                      f"academy_jwt_algorithms {ALL};")
    expected = []
    for _, header, payload, made, reason in RFC:
        text = f"{header}.{payload}.{made}"
        assert look(bearer(server.port, text)) == INVALID
        assert look(bearer(server.port, part(text, 2, flip))) == INVALID
        expected += [reason, "no key fits it"]
    assert look(bearer(server.port, UNSECURED)) == INVALID
    expected += ["its algorithm is not allowed"]
    assert reasons(server) == expected


# --------------------------------------------------------------------- reloads


def test_a_key_that_is_gone_on_reload(exchange, tmp_path):
    """Though its token had been verified, and lies in the cache."""
    server = exchange(jwks(jwk("ES256"), jwk("EdDSA")))
    old, new = token(), token("EdDSA")
    for _ in range(3):
        assert look(bearer(server.port, old)) == OK
        assert look(bearer(server.port, new)) == OK
    (tmp_path / "keys0").write_text(jwks(jwk("EdDSA")))
    assert look(bearer(server.port, old)) == OK
    server.reload()
    assert look(bearer(server.port, old)) == INVALID
    assert look(bearer(server.port, new)) == OK


# ------------------------------------------------------------- what nginx -t says


BAD_FILES = [
    ("an RSA key of 1024 bits",
     lambda: jwks(jwk("RS256", private("RS256", "short", 1024))),
     "an RSA key must have from 2048 to 16384 bits"),
    ("the same in PEM", lambda: pem(private("RS256", "short", 1024)),
     "an RSA key must have from 2048 to 16384 bits"),
    ("an even exponent", lambda: jwks(jwk("RS256") | {"e": number(65536)}),
     "exponent must be an odd number"),
    ("an exponent of one", lambda: jwks(jwk("RS256") | {"e": number(1)}),
     "exponent must be an odd number"),
    ("padding in n", lambda: jwks(jwk("RS256") | {"n": jwk("RS256")["n"] +
                                                  "="}),
     '"n" and "e" in base64url'),
    ("a point of no curve",
     lambda: jwks(jwk("ES256") | {"y": jwk("ES256")["x"]}),
     "not a point of its curve"),
    ("a coordinate too short",
     lambda: jwks(jwk("ES256") | {"y": b64(bytes(31))}),
     "of its curve's length"),
    ("a point of another curve",
     lambda: jwks(jwk("ES384") | {"crv": "P-256"}), "of its curve's length"),
    ("Ed25519 of 31 bytes", lambda: jwks(jwk("EdDSA") | {"x": b64(bytes(31))}),
     "needs \"x\" of 32 bytes"),
    ("a secret of 31 bytes", lambda: jwks(jwk("HS256", bytes(31))),
     "as long as the algorithm's hash"),
    ("a secret of 32 bytes for HS512",
     lambda: jwks(jwk("HS512", bytes(32)) | {"alg": "HS512"}),
     "as long as the algorithm's hash"),
    ("no JSON", lambda: "{", 'an array "keys"'),
    ("no keys", lambda: jwks(), "no key in it"),
    ("only keys for encryption", lambda: jwks(jwk("RS256", use="enc")),
     "no key in it"),
    ("a key without a set", lambda: json.dumps(jwk("ES256")),
     'an array "keys"'),
    ("a member twice", lambda: '{"keys":[],"keys":[]}', 'an array "keys"'),
    ("neither", lambda: "hello", "neither JWKS nor PEM"),
    ("a PEM that breaks off",
     lambda: pem(private("ES256"))[:-40], "neither JWKS nor PEM"),
    ("a second PEM that breaks off",
     lambda: pem(private("ES256")) + pem(private("ES256", "b"))[:-40],
     "neither JWKS nor PEM"),
    ("a private key", lambda: private("ES256").private_bytes(
        tokens.serialization.Encoding.PEM,
        tokens.serialization.PrivateFormat.PKCS8,
        tokens.serialization.NoEncryption()).decode(),
     "public keys and certificates only"),
    ("another curve", lambda: pem(ec.generate_private_key(ec.SECP256K1())),
     "P-256, P-384 and P-521"),
]


def number(n):
    return tokens.number(n)


@pytest.mark.parametrize("name,make,said", BAD_FILES,
                         ids=[row[0] for row in BAD_FILES])
def test_bad_key_files(nginx, exchange, tmp_path, name, make, said):
    server = exchange(every_key())
    (tmp_path / "keys0").write_text(make())
    code, text = server.test_config()
    assert code != 0
    server.expect(r"invalid key file")
    assert "[emerg]" in text and said in text, text
    assert f'"{tmp_path}/keys0"' in text
    assert "academy_jwt_key_file" in text


def test_a_certificate_is_a_key(exchange, tmp_path):
    from academy_nginx import make_certificate
    make_certificate(tmp_path)
    key = tokens.serialization.load_pem_private_key(
        (tmp_path / "key.pem").read_bytes(), None)
    server = exchange((tmp_path / "cert.pem").read_text())
    assert look(bearer(server.port, token(key=key))) == OK
    assert look(bearer(server.port, token())) == INVALID


# --------------------------------------------------------------------- silence


def test_no_token_in_the_log(exchange):
    """But for the lines of nginx's own that print the header at debug level."""
    server = exchange(every_key(), f"academy_jwt_algorithms {ALL};",
                      log_level="debug")
    for alg in BY_DEFAULT + SECRET:
        for key in (private(alg), private(alg, "other")):
            text = token(alg, payload=claims(sub="who-it-is"), key=key)
            bearer(server.port, text)
            for line in server.log().splitlines():
                for piece in text.split("."):
                    assert piece not in line or re.search(
                        r'http (?:header: "Authorization|script|header done)|'
                        r"posix_memalign", line), line
