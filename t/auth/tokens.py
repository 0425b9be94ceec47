"""Keys and tokens, good ones and bad ones.

A token is made of what it is to say, not by a library that knows how tokens
ought to be: only so can it be wrong in one place and right in all others.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import http.client
import json
import time
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as asym

HASH = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
CURVE = {"ES256": ("P-256", ec.SECP256R1, 32),
         "ES384": ("P-384", ec.SECP384R1, 48),
         "ES512": ("P-521", ec.SECP521R1, 66)}
BY_DEFAULT = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
              "ES256", "ES384", "ES512", "EdDSA"]
SECRET = ["HS256", "HS384", "HS512"]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n: int, size: int | None = None) -> str:
    return b64(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


@functools.cache
def private(alg: str, name: str = "", bits: int = 2048):
    """A key for an algorithm; another name is another key."""
    if alg[:2] in ("RS", "PS"):
        return _rsa(name, bits)
    if alg in CURVE:
        return _ec(CURVE[alg][0], name)
    if alg == "EdDSA":
        return _ed(name)
    return hashlib.sha512(f"secret {name}".encode()).digest()


@functools.cache
def _rsa(name: str, bits: int):
    return rsa.generate_private_key(65537, bits)


@functools.cache
def _ec(curve: str, name: str):
    return ec.generate_private_key(
        next(c for n, c, _ in CURVE.values() if n == curve)())


@functools.cache
def _ed(name: str):
    return ed25519.Ed25519PrivateKey.generate()


def jwk(alg: str, key=None, **more) -> dict:
    key = key if key is not None else private(alg)
    if alg[:2] in ("RS", "PS"):
        n = key.public_key().public_numbers()
        return {"kty": "RSA", "n": number(n.n), "e": number(n.e), **more}
    if alg in CURVE:
        curve, _, size = CURVE[alg]
        n = key.public_key().public_numbers()
        return {"kty": "EC", "crv": curve, "x": number(n.x, size),
                "y": number(n.y, size), **more}
    if alg == "EdDSA":
        return {"kty": "OKP", "crv": "Ed25519",
                "x": b64(key.public_key().public_bytes_raw()), **more}
    return {"kty": "oct", "k": b64(key), **more}


def jwks(*keys: dict) -> str:
    return json.dumps({"keys": list(keys)})


def pem(key) -> str:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def signature(alg: str, key, data: bytes, *, der: bool = False,
              salt: int | None = None) -> bytes:
    size = HASH.get(alg[2:])
    if alg.startswith("RS"):
        return key.sign(data, padding.PKCS1v15(), size())
    if alg.startswith("PS"):
        return key.sign(data, padding.PSS(
            padding.MGF1(size()),
            size.digest_size if salt is None else salt), size())
    if alg in CURVE:
        made = key.sign(data, ec.ECDSA(size()))
        if der:
            return made
        n = CURVE[alg][2]
        r, s = asym.decode_dss_signature(made)
        return r.to_bytes(n, "big") + s.to_bytes(n, "big")
    if alg == "EdDSA":
        return key.sign(data)
    return hmac.digest(key, data, "sha" + alg[2:])


def claims(**more) -> dict:
    return {"sub": "ann", "exp": int(time.time()) + 600} | more


def token(alg: str = "ES256", payload=None, *, key=None, header=None,
          sign_as: str | None = None, **how) -> str:
    """`header` adds to the header, or is all of it as bytes; `sign_as` signs
    by another algorithm than the header says."""
    if not isinstance(header, bytes):
        header = json.dumps({"alg": alg} | (header or {})).encode()
    if payload is None:
        payload = claims()
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    alg = sign_as or alg
    text = f"{b64(header)}.{b64(payload)}"
    made = signature(alg, key if key is not None else private(alg),
                     text.encode(), **how)
    return f"{text}.{b64(made)}"


class Answer(NamedTuple):
    status: int
    challenge: str | None
    text: str
    headers: dict[str, str]


def ask(port: int, *authorization: str, method: str = "GET",
        path: str = "/discover", body: dict | None = None,
        headers: dict[str, str] | None = None) -> Answer:
    """One request, with as many Authorization headers as are given."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = json.dumps(
            body or {"agent": "a", "allow_subclasses": False}).encode()
        conn.putrequest(method, path)
        for value in authorization:
            conn.putheader("Authorization", value)
        for name, value in (headers or {}).items():
            conn.putheader(name, value)
        conn.putheader("Content-Length", str(len(data)))
        conn.endheaders(data)
        answer = conn.getresponse()
        return Answer(answer.status, answer.getheader("WWW-Authenticate"),
                      answer.read().decode(),
                      {k.lower(): v for k, v in answer.getheaders()})
    finally:
        conn.close()


def bearer(port: int, text: str, **more) -> Answer:
    return ask(port, f"Bearer {text}", **more)
