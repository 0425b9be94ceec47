"""What a token costs: put and get with JSON Web Tokens and without."""

from __future__ import annotations

import json
import statistics
import subprocess

import pytest
from academy_nginx import ASAN, ROOT

from tokens import claims, jwk, jwks, token

LOAD = ROOT / "build" / "bench-load"
ROUNDS = 11

# as long as those of an OpenID provider
CLAIMS = claims(
    iss="https://id.example.org/realms/lab", aud=["academy", "account"],
    iat=1, jti="0d4a2e2a-6a7e-4b8f-9a57-2f5ce1f0b0a9", azp="academy",
    scope="openid profile email", email="ann@example.org",
    preferred_username="ann", groups=["physics", "chemistry"],
    realm_access={"roles": ["offline_access", "uma_authorization"]})


@pytest.fixture(scope="module")
def load():
    subprocess.run(["make", "-s", "-C", ROOT / "t" / "bench",
                    "../../build/bench-load"], check=True, timeout=120)

    def run(server, base, seed, header="", seconds=0.5):
        done = subprocess.run(
            [LOAD, "putget", "-p", str(server.port), "-b", base, "-n", "16",
             "-s", str(seconds), "-w", "0.1", "-S", str(seed), "-H", header,
             *(x for pid in server.workers() for x in ("-P", str(pid)))],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["errors"] == 0
        return said["rate"], said["cpu"]

    return run


@pytest.mark.skipif(bool(ASAN), reason="a sanitizer's figures are no figures")
@pytest.mark.parametrize("more", [
    "", "academy_client_groups $academy_claim_groups;"],
    ids=["sub", "groups"])
def test_put_and_get(nginx, tmp_path, load, figures, more):
    """The same machine, the same minute: rounds that alternate."""
    tmp_path.chmod(0o755)
    (tmp_path / "keys").write_text(jwks(jwk("RS256", kid="1")))
    header = "Authorization: Bearer " + token(
        "RS256", CLAIMS, header={"kid": "1", "typ": "JWT"})
    server = nginx(
        workers=2, log_level="warn", location="academy_auth off;",
        server="location /jwt/ { academy_exchange exchange; academy_auth jwt;"
               f"academy_jwt_key_file {tmp_path}/keys;"
               f"academy_auth_audience academy; {more} }}")
    # without a token; with one that nobody looks at; with one
    series = [("", 1, ""), ("", 3, header), ("/jwt", 2, header)]
    seen = [[], [], []]
    for i in range(ROUNDS):
        for k in (0, 1, 2) if i % 2 else (2, 1, 0):
            seen[k].append(load(server, *series[k]))
    rate, cost = ([statistics.median(s[n] for s in row) for row in seen]
                  for n in (0, 1))
    ratios = [statistics.median(b[0] / a[0] for a, b in zip(seen[k], seen[2]))
              for k in (0, 1)]
    figures("put+get/s with a token of %d bytes %.0f; with the same bytes and "
            "academy_auth off %.0f: %.2f; without a token %.0f: %.2f; worker "
            "CPU %.1f, %.1f, %.1f us" % (
                len(header) - 22, rate[2], rate[1], ratios[1], rate[0],
                ratios[0], cost[2], cost[1], cost[0]))
    # 0.85 of the rate is to hold, which a machine that others use too cannot
    # tell.  CPU time is steadier: without the cache it would be four times
    # as much, and with claims read anew for each request, twice.
    assert cost[1] / cost[2] >= 0.7
