"""The scripts of src/store/redis/scripts, and a redis-server to run them."""

import collections
import contextlib
import functools
import hashlib
import os
import pathlib
import subprocess
import tempfile
import time
import uuid

import redis

# 6.2 or newer, or Valkey; the reference's own back end asks for 7
BINARY = os.environ.get("ACADEMY_REDIS_SERVER", "redis-server")

SCRIPTS = pathlib.Path(__file__).parents[2] / "src/store/redis/scripts"

(OK, MISSING, TERMINATED, FORBIDDEN, FULL, SHARED, MANY_MESSAGES, MANY_BYTES,
 MANY_MAILBOXES) = range(9)

WEEK, YEAR = 7 * 86400, 365 * 86400


def names():
    return sorted(path.stem for path in SCRIPTS.glob("*.lua")
                  if not path.stem.startswith("common"))


@functools.cache
def text(name):
    """A script as the build embeds it."""
    return subprocess.run(["sh", SCRIPTS / "assemble.sh", name], check=True,
                          capture_output=True, text=True).stdout


@contextlib.contextmanager
def server(*options, path=None):
    """A redis-server with nothing on disk unless the options say so; yields
    its socket."""
    with contextlib.ExitStack() as stack:
        path = path or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="academy-redis-"))
        socket = os.path.join(path, "redis.sock")
        process = subprocess.Popen(
            [BINARY, "--port", "0", "--unixsocket", socket,
             "--dir", path, "--save", "", "--notify-keyspace-events", "Kgl$x",
             *options], stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(unix_socket_path=socket) as client:
                for _ in range(500):
                    with contextlib.suppress(redis.ConnectionError):
                        client.ping()
                        break
                    time.sleep(0.02)
                else:
                    raise RuntimeError("no redis-server")
            yield socket
        finally:
            process.kill()
            process.wait()


def new():
    return str(uuid.uuid4())


class Exchange:
    """Calls the scripts as the module does, with what it is configured to.

    A method answers what the script does: the code, where that is all.
    """

    def __init__(self, client, prefix="", messages=WEEK, mailboxes=YEAR):
        self.db = client
        self.prefix = prefix
        self.msgexp = messages
        self.grave = mailboxes
        self.node = uuid.uuid4().hex
        self.seq = 0
        self.shas = {name: client.script_load(text(name)) for name in names()}

    def run(self, name, *args):
        answer = self.db.evalsha(self.shas[name], 0, self.prefix, *args)
        return answer[0] if len(answer) == 1 else answer

    def create(self, uid, client="alice", groups="", mro="", limit=0,
               role="agent", name=""):
        """The code; `made` says whether there was none before."""
        answer = self.run("create", uid, client, groups, mro, limit,
                          self.grave, role, name)
        self.made = answer == [OK, 1]
        return answer[0] if isinstance(answer, list) else answer

    def terminate(self, uid, client="alice", groups="", admin=False):
        """The code, and whether there is more; `ended` says whether it was
        terminated now, and how many messages were dropped."""
        code, more, *self.ended = self.run(
            "terminate", uid, client, groups, self.grave, self.msgexp,
            int(admin))
        return [code, more]

    def close(self, uid, n=25):
        return self.run("close", uid, n, self.grave, self.msgexp)[:2]

    def terminate_all(self, uid, **who):
        """The termination, and its rest; how many scripts that took."""
        code, more = self.terminate(uid, **who)
        assert code == OK
        steps = 0
        while more:
            _, more = self.close(uid)
            steps += 1
        return steps

    def status(self, uid, client="alice", groups=""):
        return self.run("status", uid, client, groups)

    def share(self, uid, group, client="alice", member=True):
        return self.run("share", uid, client, group, int(member), self.grave)

    def unshare(self, uid, group, client="alice"):
        return self.run("unshare", uid, client, group)

    def shares(self, uid, client="alice"):
        return self.run("shares", uid, client)

    def heartbeat(self, uid, client="alice", groups=""):
        return self.run("heartbeat", uid, client, groups)

    def beat(self, uid, client="alice", groups=""):
        return self.run("beat", uid, client, groups, self.grave)

    def stats(self, uid, client="alice", groups=""):
        return self.run("stats", uid, client, groups)

    def discover_page(self, name, subclasses=True, client="alice", groups="",
                      after="", n=100):
        _, after, uids = self.run("discover", name, int(subclasses), client,
                                  groups, after, n)
        return after, [uids[i:i + 36] for i in range(0, len(uids), 36)]

    def discover(self, name, subclasses=True, client="alice", groups="", n=100):
        after, found = self.discover_page(name, subclasses, client, groups,
                                          "", n)
        while after:
            after, more = self.discover_page(name, subclasses, client, groups,
                                             after, n)
            found += more
        return found

    def put(self, src, dest, tag=None, response=False, client="alice",
            groups="", verify=True, header="", json="{}", dedupe=0,
            messages=0, size=0, tidy=False):
        """The code; `repeated` says whether it was not stored again."""
        limits = f"{messages} {size}" if messages or size else ""
        answer = self.run(
            "put", client, groups,
            f"{verify + 2 * tidy}{'r' if response else 'q'}"
            f"{src}{dest}{tag or new()}",
            header, json, dedupe, self.msgexp, self.grave, limits,
            *self.times())
        self.repeated = answer == [OK, 1]
        return OK if isinstance(answer, list) else answer

    def times(self):
        """Between which a sign of life is one of a moment ago, and when a
        request expires."""
        now = self.db.time()[0]
        return now - 1, now + 1, now + self.msgexp if self.msgexp else "+inf"

    def take(self, uid, n=1, asked=False, client="alice", groups="",
             channel=""):
        """The code if it is not OK, else [(seq, json), ...]."""
        answer = self.db.evalsha(
            self.shas["take"], 0, self.prefix, uid, client, groups, self.node,
            self.seq + 1, n, int(asked), self.msgexp, self.grave, channel)
        if answer[0] != OK:
            return answer[0]
        self.more = answer[1]
        leases = [(self.seq + i, json)
                  for i, json in enumerate(answer[2:], 1)]
        self.seq += len(leases)
        return leases

    def settle(self, *leases):
        """Leases as (uid, seq, size)."""
        return self.run("settle", self.node, *sum(leases, ()))

    def give_back(self, *leases, before=False, after=False):
        """Leases as (uid, seq), or (uid, seq, json)."""
        args = sum(((*lease, "")[:3] for lease in leases), ())
        return self.run("give_back", self.node, int(before), int(after),
                        self.msgexp, *args)

    def stop(self, channel, *uids, node=None):
        """How many were told."""
        return self.run("stop", node or self.node, channel, *uids)[1]

    def sweep(self, channel, start="", last="", node=None):
        """Pairs of an id and a mailbox."""
        answer = self.run("sweep", node or self.node, channel, start, last)
        found = answer[1:] if isinstance(answer, list) else []
        return list(zip(found[::2], found[1::2]))

    def restore(self, uid, old, new, age, json):
        return self.run("restore", self.node, uid, old, new, age, json,
                        self.msgexp)

    def leave(self, n=100, node=None, dead=False):
        return self.run("leave", node or self.node, n, int(dead))

    def tick(self, ttl=10000, leader_ttl=5000, node=None):
        return self.run("tick", node or self.node, ttl, leader_ttl, self.grave)

    def index(self, *uids):
        return self.run("index", self.grave, *uids)

    def requests(self, *pairs):
        return self.run("requests", self.msgexp, *sum(pairs, ()))

    def survey(self):
        return self.run("survey")[1:]

    def sum(self, role="agent", n=100, pages=10000):
        """Of all pages: messages, open requests, and of which mailbox for how
        long nothing was asked."""
        after, queued, pending, oldest = "", 0, 0, []
        for _ in range(pages):
            _, last, messages, requests, uid, age = self.run(
                "sum", role, after, n, self.msgexp)
            queued, pending = queued + messages, pending + requests
            oldest += [(age, uid)] if uid else []
            if not last:
                break
            after = last
        return queued, pending, max(oldest, default=None)

    def walk(self, state="active", role="agent", n=64, order="id",
             reverse=False, client="alice", groups="", admin=False, search="",
             pages=10000):
        """(uid, what it is ordered by) of all pages."""
        after, rows = "", []
        for _ in range(pages):
            _, after, *found = self.run(
                "walk", state, role, after, n, order, int(reverse), client,
                groups, int(admin), search)
            rows += zip(found[::2], found[1::2])
            if not after:
                break
        return rows

    def rows(self, *uids):
        return self.run("rows", self.msgexp, *uids)[1:]

    def inspect(self, uid, client="alice", groups="", admin=False, first=0,
                n=100, length=2048):
        return self.run("inspect", uid, client, groups, int(admin),
                        self.msgexp, first, n, length)

    def queue(self, uid):
        return self.db.lrange(f"{self.prefix}queue:{uid}", 0, -1)


# for which there are no commands, and one script a thousand
FILL = """
for i = 2, #ARGV do
    local uid = ARGV[i]
    redis.call('MSET', 'active:' .. uid, 'ACTIVE', 'owner:' .. uid, 'alice_',
               'agent:' .. uid, ARGV[1], 'heartbeat:' .. uid, '1700000000.5')
    redis.call('ZADD', 'academy:owned:alice', i, uid)
    redis.call('ZADD', 'academy:all:active:agent', 0, uid)
    redis.call('HSET', 'academy:names', uid, '"Agent ' .. i .. '"')
    redis.call('ZADD', 'academy:first:' .. string.match(ARGV[1], '[^,]+'), 0,
               uid)
    for name in string.gmatch(ARGV[1], '[^,]+') do
        redis.call('ZADD', 'academy:class:' .. name, 0, uid)
    end
end
"""


def fill(db, uids, mro):
    """Makes many mailboxes, without an expiry."""
    script = db.register_script(FILL)
    for i in range(0, len(uids), 1000):
        script(args=[mro, *uids[i:i + 1000]])


class Watch:
    """How long Redis was held, in microseconds, by each script that was run
    while this was entered: `took`, by the script's name."""

    def __init__(self, db, shas=None):
        self.db = db
        shas = shas or {name: hashlib.sha1(text(name).encode()).hexdigest()
                        for name in names()}
        self.names = {sha: name for name, sha in shas.items()}
        self.took = collections.defaultdict(list)

    def __enter__(self):
        self.db.config_set("slowlog-max-len", 200000)
        self.db.slowlog_reset()
        self.db.config_set("slowlog-log-slower-than", 0)
        return self

    def __exit__(self, *_):
        self.db.config_set("slowlog-log-slower-than", 10000)
        for entry in self.db.slowlog_get(200000):
            word, sha, *_ = entry["command"].decode().split() + [""]
            if word.upper() == "EVALSHA":
                self.took[self.names[sha]].append(entry["duration"])
        self.db.slowlog_reset()
