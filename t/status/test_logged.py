"""The variables of the exchange say nothing of who only looks."""

from academy_nginx import run, wait_until
from exchange import Client
from look import STATUS, fetch

NAMES = ["route", "client_id", "mailbox", "peer", "message_tag",
         "message_size", "wait_time", "result", "auth"]


def test_variables_where_one_looks(nginx):
    server = nginx(
        server=STATUS + "access_log access.log all;",
        http="log_format all '%s';" % "|".join(
            f"$academy_{name}" for name in NAMES))

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        client.close()
        uid = box.split('"')[3]
        for query in ("format=json", "format=health", "view=mailboxes",
                      f"view=mailbox&id=agent:{uid}", "view=history",
                      "view=nothing"):
            fetch(server.port, query)
        fetch(server.port, f"view=mailbox&id=agent:{uid}&action=terminate",
              {"X-Academy-Status": "1"}, method="POST")

    def lines():
        return (server.dir / "access.log").read_text().splitlines()

    run(test())
    # An answer is with its client before it is in the log.
    wait_until(lambda: len(lines()) >= 8, 10, "not all is in the log")
    assert len(lines()) == 8 and lines()[0].startswith("POST /mailbox|")
    assert set(lines()[1:]) == {"-|-|-|-|-|-|-|-|off"}
