"""What people could take instead, and nginx itself in other roles."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import subprocess

import servers
from servers import Module
from servers import Nginx
from servers import Redis
from servers import Server

NATS = os.path.join(servers.BUILD, 'bench-nats')
CERTIFICATE = (
    'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes '
    '-days 1 -subj /CN=localhost -keyout key.pem -out cert.pem'
)


class Nchan(Nginx):
    """nchan with its defaults: a channel for each mailbox."""

    name = 'nchan'
    # Debian's module is for Debian's nginx
    binary = '/usr/sbin/nginx'
    head = 'load_module /usr/lib/nginx/modules/ngx_nchan_module.so;'
    places = '''
        location = /pub { nchan_publisher; nchan_channel_id $arg_id; }
        location = /sub {
            nchan_subscriber eventsource;
            nchan_channel_id $arg_id;
        }
    '''


class Nats(Server):
    """nats-server with its defaults; Go gives it a thread for each core."""

    name = 'NATS'
    log = 'stdout'

    def command(self) -> list[str]:
        return [f'{NATS}-server', '-a', '127.0.0.1', '-p', str(self.port)]


def messages() -> str:
    """The two messages of an action, a line each."""
    return subprocess.run(
        [servers.LOAD, 'messages'],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def nats_go(server: Nats, *args: object) -> dict:
    """As load(), by clients that use nats.go."""
    return servers.Load(
        server,
        '',
        *args,
        command=[NATS, '-P', ' '.join(str(pid) for pid in server.working())],
        text=messages(),
    ).result()


def redis_lists(server: Redis, *args: object) -> dict:
    """As load(), by redis-benchmark: so many LPUSH, then as many LPOP.

    An operation is one of each: what it took is what both took.
    """
    option = dict(zip(args[::2], args[1::2]))
    # about as long as the others
    count = int(30_000 * option['-s'])
    size = len(messages().split('\n')[0])
    cpu, own = server.cpu(), children()
    done = subprocess.run(
        [
            *('redis-benchmark', '-p', str(server.port), '--csv'),
            *('-t', 'lpush,lpop', '-c', str(option['-n'])),
            *('-n', str(count), '-d', str(size)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=servers.child,
        timeout=120,
    )
    push, pop = csv.DictReader(done.stdout.splitlines())
    each = 1 / float(push['rps']) + 1 / float(pop['rps'])
    return {
        'rate': 1 / each,
        'cpu': (server.cpu() - cpu) / count * 1e6,
        'own': (children() - own) / count * 1e6,
    } | {
        key: sum(float(x[f'{key}_latency_ms']) for x in (push, pop)) * 1000
        for key in ('p50', 'p99')
    }


def children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Listened(Module):
    """A worker has 20,000 files, so there are four, each with a queue of new
    connections of its own."""

    workers = 4
    listen = ' reuseport'


# over TLS


def certify(server: Nginx) -> None:
    subprocess.run(
        CERTIFICATE.split(),
        check=True,
        cwd=server.dir,
        stderr=subprocess.DEVNULL,
    )
    server.tls = True
    server.listen = ' ssl'
    server.http += f'''
    ssl_certificate {server.dir}/cert.pem;
    ssl_certificate_key {server.dir}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    '''


class ModuleTLS(Module):
    name = 'this module, TLS'

    def __init__(self) -> None:
        super().__init__()
        certify(self)


class NginxTLS(Nginx):
    name = 'return 200, TLS'

    def __init__(self) -> None:
        super().__init__()
        certify(self)


# the same bytes from memory


class Memory(Nginx):
    """nginx that serves some bytes: written into its configuration, read from
    a file in memory, or sent from there by the kernel, which copies nothing."""

    name = 'nginx, from memory'
    PIECE = 3000

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.files = f'{self.dir.replace("/tmp", "/dev/shm", 1)}-files'
        os.makedirs(self.files)
        os.chmod(self.files, 0o755)
        for name in ('read', 'sent'):
            with open(os.path.join(self.files, name), 'wb') as f:
                f.write(body)
        self.places = f'''
        root {self.files};
        open_file_cache max=10;
        open_file_cache_valid 600s;
        location = /read {{ sendfile off; output_buffers 1 512k; }}
        location = /sent {{ sendfile on; }}
        location = /returned {{ return 200 "{self.pieces(body)}"; }}
        '''

    def pieces(self, body: bytes) -> str:
        """Variables: nginx takes no word of more than 4k."""
        text = body.decode()
        names = []
        for i in range(0, len(text), self.PIECE):
            name = f'p{i // self.PIECE:x}'
            names.append(f'${{{name}}}')
            piece = text[i:i + self.PIECE].replace('\\', '\\\\')
            piece = piece.replace('"', '\\"')
            self.http += f'map "" ${name} {{ default "{piece}"; }}\n'
        return ''.join(names)

    def remove(self) -> None:
        super().remove()
        shutil.rmtree(self.files, ignore_errors=True)
