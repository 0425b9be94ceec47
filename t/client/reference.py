"""The Python reference exchange, for ACADEMY_REFERENCE=1.

    reference.py PORT LISTEN_TIMEOUT identity|nobody [REDIS_PORT]

With `identity`, callers that send X-Client and X-Groups are who they say, as in
the module's configuration of these tests; the reference itself knows Globus or
nobody. With a port its mailboxes are in the Redis there.
"""

import sys

from academy.exception import UnauthorizedError
from academy.exchange.cloud import app
from academy.exchange.cloud.client_info import ClientInfo
from academy.exchange.cloud.config import (
    ExchangeServingConfig, PythonBackendConfig, RedisBackendConfig)


class HeaderAuthenticator:
    async def authenticate_user(self, headers):
        if "X-Client" not in headers:
            raise UnauthorizedError("who?")
        return ClientInfo(
            client_id=headers["X-Client"],
            group_memberships=set(headers.get("X-Groups", "").split(",")))


if __name__ == "__main__":
    port, timeout, identity, *redis = sys.argv[1:]
    if identity == "identity":
        app.get_authenticator = lambda config: HeaderAuthenticator()
    app._run(ExchangeServingConfig(
        host="127.0.0.1", port=int(port), listen_timeout_s=int(timeout),
        backend=RedisBackendConfig(hostname="127.0.0.1", port=int(redis[0]))
        if redis else PythonBackendConfig()))
