"""Looks at a zone's memory from outside, through /proc: what nginx's slab pool
says of itself, page by page. Only while nothing changes the zone."""

from __future__ import annotations

import re
import struct
from collections import Counter
from pathlib import Path

from academy_redis import STORE, keys_of

PAGE = 4096
WORD = 8
BITS = 64
START = 1 << (BITS - 1)
BUSY = (1 << BITS) - 1
DESCRIPTOR = 3 * WORD

RUN, BIG, EXACT, SMALL = range(4)
SHIFTS = range(3, 12)


def bytes_of(size: str) -> int:
    """2m, as nginx reads it."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    return int(size[:-1]) * units[size[-1]]


class Pool:
    """A copy of a zone, and where it was."""

    def __init__(self, pid: int, size: int) -> None:
        maps = Path(f"/proc/{pid}/maps").read_text()
        found = [
            int(start, 16) for start, end in
            re.findall(r"(?m)^(\w+)-(\w+) rw-s .*/dev/zero", maps)
            if int(end, 16) - int(start, 16) == size]
        assert len(found) == 1, maps
        self.base = found[0]
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.base)
            self.memory = memory.read(size)
        assert len(self.memory) == size
        # min_size and min_shift come behind the lock, of one or two words
        at = 0
        while self.words(self.base + at, 2) != (8, 3):
            at += WORD
            assert at < 8 * WORD, "not a pool as this nginx makes them"
        (_, _, self.pages, self.last, _, self.free, _, self.stats, self.pfree,
         self.start, self.end) = self.words(self.base + at, 11)
        self.head = self.base + at + 4 * WORD

    def words(self, address: int, n: int = 1) -> tuple[int, ...]:
        return struct.unpack_from(f"={n}Q", self.memory, address - self.base)


def used_of(pool: Pool, page: int, slab: int, kind: int) -> tuple[int, int]:
    """The shift of a page's blocks, and how many of them are in use."""
    if kind == EXACT:
        return 6, slab.bit_count()
    shift = slab & 0xf
    if kind == BIG:
        return shift, (slab >> (BITS // 2)).bit_count()
    blocks = PAGE >> shift
    words = max(blocks // BITS, 1)
    bits = sum(word.bit_count() for word in pool.words(page, words))
    # blocks that hold the map count as used in it
    return shift, bits - max(blocks // ((1 << shift) * 8), 1)


def census(pid: int, size: str) -> dict[str, int]:
    """What is in use in a zone: pages, and blocks by size. Fails when the
    pool's lists, maps and counts do not agree. On Redis: keys by kind."""
    if STORE == "redis":
        return keys_of(pid)
    pool = Pool(pid, bytes_of(size))
    count = Counter()
    used = Counter()
    runs = {}
    total = (pool.last - pool.pages) // DESCRIPTOR
    n = 0
    while n < total:
        at = pool.pages + n * DESCRIPTOR
        slab, _, prev = pool.words(at, 3)
        kind = prev & 3
        if kind == RUN:
            length = slab & ~START
            assert 0 < length <= total - n, (n, hex(slab))
            if slab & START:
                for other in range(n + 1, n + length):
                    assert pool.words(
                        pool.pages + other * DESCRIPTOR)[0] == BUSY
                count["pages"] += length
            else:
                runs[at] = length
            n += length
            continue
        shift, blocks = used_of(pool, pool.start + n * PAGE, slab, kind)
        assert blocks > 0, "an empty page that is not free"
        used[shift] += blocks
        count["divided"] += 1
        n += 1

    free, at, before = 0, pool.free, pool.head
    while at != pool.head:
        length, after, prev = pool.words(at, 3)
        assert prev == before and runs.pop(at) == length
        free += length
        before, at = at, after
    assert not runs, "free pages that are in no list"
    assert free == pool.pfree, (free, pool.pfree)
    assert free + count["pages"] + count["divided"] == total

    for shift in SHIFTS:
        stats = pool.words(pool.stats + (shift - 3) * 4 * WORD, 4)
        assert stats[1] == used[shift], (1 << shift, stats, used[shift])
        count[str(1 << shift)] = used[shift]
    count["free"] = free
    return dict(count)
