#!/usr/bin/env python3
"""The poison rule: whatever is accepted here, the clients can read.

A message that a client's parser refuses ends the agent that gets it.  This
makes odd messages from valid ones, gives each to the scanner (scan_driver, in
a PUT /message body) and to the real `academy.message.Message`, and fails if
the scanner accepted one that the client refuses, as it came or as it would be
delivered, or if the two read another source, destination, tag, label, kind or
name in it.

What the client accepts and the scanner refuses is reported by its cause: only
causes that are meant are known by name, all others count as "other".

    poison.py DRIVER [COUNT [SEED]]

It is run by the Python in which `academy` is installed.
"""

from __future__ import annotations

import collections
import json
import random
import re
import struct
import subprocess
import sys

from academy.message import Message

LEAST = 20000
LEAST_ACCEPTED = 0.20

UIDS = [
    '11111111-2222-3333-4444-aabbccddeeff',
    '01234567-89ab-cdef-0123-456789abcdef',
    '00000000-0000-0000-0000-000000000000',
    'ffffffff-ffff-ffff-ffff-ffffffffffff',
]

BLANKS = ['', '', '', '', ' ', '\n', '\t', '\r\n', ' ' * 17, '\n\t\t' * 7]
NO_BLANKS = ['\x0b', '\x0c', '\xa0', '\ufeff', '\u2028', '\0', '//x\n', '#']

CHARACTERS = [
    'a', 'Z', ' ', '/', '\x7f', '\x80', 'é', 'ß', '€', '中', '\u2028',
    '\ud7ff', '\ue000', '\ufdd0', '\ufffd', '\uffff', '😀', '\U0010ffff',
    '\u0301', '\u202e',
]

ESCAPES = [
    r'\"', r'\\', r'\/', r'\b', r'\f', r'\n', r'\r', r'\t', r'\u0000',
    r'\u001f', r'\u0041', r'\u005c', r'\u0022', r'\u00e9', r'\u20AC',
    r'\ud83d\ude00', r'\uD83D\uDE00', r'\uffff', r'\ufeff',
]

BAD_IN_STRINGS = [
    '\\x41', "\\'", '\\U0041', '\\u12', '\\u12G4', '\\ud800', '\\udc00',
    '\\ud83d\\u0041', '\\ud83d\\ud83d', '\\ud83d\\n', '\\', '\x00', '\x1f',
    '\n', '\t', '"',
]

NUMBERS = [
    '0', '-0', '1', '-1', '10', '0.0', '-0.0', '1.5', '1e5', '1E5', '1e+5',
    '1e-5', '0e0', '-0e-0', '1e308', '1e309', '-1e999999', '1e-999999',
    '9007199254740993', '9223372036854775808', '-9223372036854775809',
    '123456789012345678901234567890', '0.1234567890123456789012345678901',
    '9' * 400, '9' * 4299, '9' * 4300, '-' + '9' * 4300, '9' * 4300 + '.5',
    '9' * 4300 + 'e5', '0.' + '3' * 5000, '1e' + '9' * 5000,
]

BAD_NUMBERS = [
    '-', '+1', '01', '-01', '1.', '.5', '1.e5', '1e', '1e+', '0x10', '1_000',
    '1,5', '1e5.5', '--1', '00', '1a', '٣', '1 2', 'NaN', 'Infinity',
    '-Infinity', '-NaN', 'nan', 'inf', '9' * 4301, '-' + '9' * 4301,
    '9' * 4301 + '.5', '9' * 4301 + 'e5', '9' * 20000,
]

BAD_VALUES = [
    '', 'undefined', 'None', 'True', 'nul', 'tru', 'fals', 'nulll', "'a'",
    '[1,]', '[,1]', '[1 2]', '[1', '1]', '{"a"}', '{"a":}', '{"a":1,}',
    '{,}', '{a:1}', '{1:1}', '{"a" 1}', '{"a":1]', '[1}', '{"a":1', '}',
]

BODIES = [
    '{"kind":"ping-request"}',
    '{"kind":"action-request","action":"f","serialization":"pickle",'
    '"pargs":"gASVBQAAAAAAAABLA4WULg==","kargs":"gAR9lC4="}',
    '{"kind":"action-response","result":["__serialized__","gARLKi4="],'
    '"serialization":"pickle"}',
    '{"kind":"shutdown-request","terminate":null}',
    '{"kind":"cancel-request","target_tag":"%s"}' % UIDS[0],
    '{"kind":"success-response"}',
    '{"kind":"academy-error-response","error_code":0,"mailbox_id":null}',
    '{"kind":"zzz"}', '{"kind":3}', '{}', '[]', 'null', 'true', '0', '""',
    '"{\\"kind\\":\\"ping-request\\"}"',
]


class Generator:
    """Odd messages; the same ones from the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        # how often something is wrong where something can be: set anew for
        # each message, so that many have one fault and some have none
        self.fault = 0.0
        self.notes: list[str] = []

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def faulty(self, note: str) -> bool:
        if self.chance(self.fault):
            self.notes.append(note)
            return True
        return False

    def odd(self, p: float = 0.15) -> bool:
        return self.chance(p)

    def pick(self, options):
        return self.random.choice(options)

    def blank(self) -> str:
        if self.faulty('blank'):
            return self.pick(NO_BLANKS)
        return self.pick(BLANKS) if self.odd(0.2) else ''

    def escaped(self, text: str) -> str:
        """The same text, some of its characters written as escapes."""
        out = []
        for c in text:
            if self.odd(0.3):
                for unit in struct.unpack(
                    '<%dH' % (len(c.encode('utf-16-le')) // 2),
                    c.encode('utf-16-le'),
                ):
                    form = self.pick(['\\u%04x', '\\u%04X'])
                    out.append(form % unit)
            else:
                out.append(json.dumps(c, ensure_ascii=False)[1:-1])
        return ''.join(out)

    def quoted(self, text: str) -> str:
        if self.odd(0.2):
            return '"%s"' % self.escaped(text)
        return json.dumps(text, ensure_ascii=self.chance(0.5))

    def string(self) -> str:
        out = []
        n = self.pick([0, 1, 2, 5, 14, 15, 16, 17, 18, 31, 33, 40])
        for _ in range(n):
            r = self.random.random()
            if r < 0.5:
                out.append(self.pick('abcdefghij 0123'))
            elif r < 0.75:
                out.append(self.pick(CHARACTERS))
            else:
                out.append(self.pick(ESCAPES))
        if self.faulty('string'):
            out.insert(self.random.randint(0, n), self.pick(BAD_IN_STRINGS))
        return '"%s"' % ''.join(out)

    def number(self) -> str:
        if self.faulty('number'):
            return self.pick(BAD_NUMBERS)
        if self.odd(0.5):
            return self.pick(NUMBERS)
        return str(self.random.randint(-(10**6), 10**6))

    def nested(self, deep: int) -> str:
        """About as deep as is allowed; deep levels are around it already."""
        n = self.pick(range(195, 206)) - deep
        inner = self.pick(['', '', '1', '""', '{}'])
        if self.chance(0.5):
            return '[' * n + inner + ']' * n
        if self.chance(0.5):
            return '{"a":' * n + (inner or '1') + '}' * n
        opened = [self.pick(['[', '{"a":']) for _ in range(n - 1)] + ['[']
        closed = [']' if o == '[' else '}' for o in reversed(opened)]
        return ''.join(opened) + inner + ''.join(closed)

    def value(self, depth: int = 0, deep: int = 2) -> str:
        if self.faulty('value'):
            return self.pick(BAD_VALUES)
        r = self.random.random()
        if depth == 0 and r < 0.04:
            return self.nested(deep)
        if r < 0.25:
            return self.string()
        if r < 0.5:
            return self.number()
        if r < 0.65 or depth > 3:
            return self.pick(['null', 'true', 'false', '[]', '{}'])
        n = self.random.randint(0, 5)
        if r < 0.82:
            items = [self.value(depth + 1) for _ in range(n)]
            return self.list('[', items, ']')
        keys = [self.string() for _ in range(n)]
        if keys and self.odd(0.1):
            keys.append(keys[0])
        return self.object(
            [(key, self.value(depth + 1)) for key in keys],
        )

    def list(self, before: str, items: list[str], after: str) -> str:
        comma = ','
        text = before + self.blank()
        for i, item in enumerate(items):
            if i:
                if self.faulty('comma'):
                    comma = self.pick(['', ',,', ';', ':'])
                text += comma + self.blank()
                comma = ','
            text += item + self.blank()
        if self.faulty('trailing comma'):
            text += ','
        if self.faulty('bracket'):
            after = self.pick(['', after * 2, ']', '}'])
        return text + after

    def object(self, members: list[tuple[str, str]]) -> str:
        """Of members whose names are JSON already."""
        items = []
        for key, value in members:
            colon = ':'
            if self.faulty('colon'):
                colon = self.pick(['', '=', '::', ','])
            items.append(
                key + self.blank() + colon + self.blank() + value,
            )
        return self.list('{', items, '}')

    def uuid(self) -> str:
        u = self.pick(UIDS)
        if self.faulty('uuid'):
            simple = u.replace('-', '')
            return self.pick([
                '{' + simple + '}', 'urn:uuid:' + simple, 'URN:UUID:' + u,
                'urn:uuid:{' + u + '}', '{urn:uuid:' + u + '}', 'uuid:' + u,
                'urn:uuid:' + u + '0', 'urn:uuid:' + u[:-1], u + '\0',
                ' ' + u, u + ' ', u + '\n', u[:-1], u + '0', '(' + u + ')',
                '{' + u, u + '}', '[' + u + ']', u[:-1] + 'g', '', 'x',
                simple[:4] + '-' + simple[4:], simple + '-', '-' + simple,
                u.replace('-', '_'), u.replace('-', ''), u.replace('-', '--'),
                '１' * 32, '\0' * 36, simple[:16], '0x' + simple[:30],
                u[:8] + u[9:13] + '-' + u[13:] + '0',
            ])
        form = self.random.randint(0, 9)
        if form == 0:
            u = u.upper()
        elif form == 1:
            u = u.replace('-', '')
        elif form == 2:
            u = '{' + u + '}'
        elif form == 3:
            u = 'urn:uuid:' + u
        elif form == 4:
            u = ''.join(self.pick([c, c.upper()]) for c in u)
        return u

    def wrong(self, right: str, note: str) -> str:
        """The value as it should be, or one of another type."""
        if self.faulty(note):
            return self.pick([
                'null', 'true', '0', '1.5', '""', '"x"', '[]', '{}',
                '[%s]' % right, '{"a":%s}' % right, '"\\u0000"',
                self.value(2),
            ])
        return right

    def members(
        self,
        members: list[tuple[str, str]],
        optional: set[str],
        note: str,
        unknown: bool,
        deep: int,
    ) -> str:
        """An object, its members in any order, some twice or not at all."""
        out = []
        for key, value in members:
            if key in optional and self.odd(0.3):
                continue
            if self.faulty(note + ' without ' + key):
                continue
            out.append((self.quoted(key), value))
            if self.faulty(note + ' with two ' + key):
                again = self.pick([value, 'null', self.quoted(self.uuid())])
                out.append((self.quoted(key), again))
        if self.odd(0.5):
            self.random.shuffle(out)
        if unknown and self.odd(0.15) or self.faulty(note + ' with more'):
            names = ['x', 'later', '', 'é', 'UID', 'Header', 'uid ', 'a"b']
            self.random.shuffle(names)
            for name in names[: self.random.randint(1, 4)]:
                where = self.random.randint(0, len(out))
                out.insert(where, (self.quoted(name), self.value(0, deep)))
            if self.faulty(note + ' with two others'):
                out.append((self.quoted(names[0]), self.value(2)))
        if unknown and self.odd(0.01):
            # around the number of members that is allowed
            many = self.random.randint(50, 70)
            out += [('"m%d"' % i, self.pick('123')) for i in range(many)]
        return self.object(out)

    def entity(self) -> str:
        name = self.pick(['null', self.string(), self.string()])
        role = self.pick(['agent', 'user'])
        if self.faulty('role'):
            role = self.pick(['Agent', 'USER', 'agent ', '', 'admin', 'user\0'])
        return self.members(
            [
                ('uid', self.wrong(self.quoted(self.uuid()), 'uid type')),
                ('name', self.wrong(name, 'name type')),
                ('role', self.wrong(self.quoted(role), 'role type')),
            ],
            {'name', 'role'},
            'entity',
            False,
            3,
        )

    def header(self) -> str:
        kind = self.pick(['request', 'response'])
        if self.faulty('kind'):
            kind = self.pick(['Request', 'RESPONSE', '', 'request ', 'x'])
        label = 'null' if self.chance(0.5) else self.quoted(self.uuid())
        return self.members(
            [
                ('src', self.wrong(self.entity(), 'src type')),
                ('dest', self.wrong(self.entity(), 'dest type')),
                ('tag', self.wrong(self.quoted(self.uuid()), 'tag type')),
                ('label', self.wrong(label, 'label type')),
                ('kind', self.wrong(self.quoted(kind), 'kind type')),
                (
                    'protocol_version',
                    self.wrong(
                        self.pick(['"1"', '"1.1"', '"2.0"', 'null',
                                   self.string()]),
                        'protocol_version type',
                    ),
                ),
                (
                    'academy_version',
                    self.wrong(
                        self.pick(['"1.0.0"', '"0.5.0"', self.string()]),
                        'academy_version type',
                    ),
                ),
            ],
            {'label', 'protocol_version', 'academy_version'},
            'header',
            True,
            2,
        )

    def message(self) -> str:
        """A message: mostly valid, with no fault, one, or several."""
        self.notes = []
        self.fault = self.pick([0.0, 0.0, 0.003, 0.01, 0.03])
        body = self.pick(BODIES) if self.chance(0.4) else self.value(0, 1)
        text = self.blank() + self.members(
            [
                ('header', self.wrong(self.header(), 'header type')),
                ('body', body),
            ],
            set(),
            'message',
            True,
            1,
        ) + self.blank()
        if self.faulty('end'):
            text += self.pick(['x', '\0', '{}', ',', ']', '}', text])
        if self.faulty('beginning'):
            text = self.pick(['\ufeff', 'x', '[', '{', ',', '\0']) + text
        if self.faulty('edit'):
            text = self.edit(text)
        return text

    def edit(self, text: str) -> str:
        """Some characters go, come, or come twice."""
        for _ in range(self.random.randint(1, 3)):
            i = self.random.randint(0, len(text))
            j = min(len(text), i + self.random.randint(1, 8))
            text = self.pick([
                text[:i] + text[j:],
                text[:i] + self.pick('"\\{}[]:,0-eEu \n\t\0aé') + text[i:],
                text[:i] + self.pick('"\\{}[]:,0-eEu \n\t\0aé') + text[i + 1:],
                text[:j] + text[i:],
                text[:i],
            ])
        return text

    def put(self, message: str) -> bytes:
        """The request body with the message in it."""
        form = self.random.randint(0, 9)
        if form < 6:
            string = json.dumps(message)
        elif form < 8:
            string = json.dumps(message, ensure_ascii=False)
        else:
            string = '"%s"' % self.escaped(message)
        members = [('"message"', string)]
        if self.odd(0.05):
            members = [(self.quoted('message'), string)]
        if self.odd(0.05):
            members.append((self.quoted(self.pick(['x', 'Message', ''])),
                            self.value(1)))
            self.random.shuffle(members)
        if self.faulty('message twice'):
            members.append((self.quoted('message'), string))
        if self.faulty('message type'):
            members = [('"message"', self.pick([message, 'null', '[]', '1']))]
        text = self.object(members)
        if self.faulty('edit of the request'):
            text = self.edit(text)
        body = text.encode('utf-8', 'surrogatepass')
        if self.faulty('bytes'):
            i = self.random.randint(0, len(body))
            body = body[:i] + self.pick([
                b'\x80', b'\xc3', b'\xc0\x80', b'\xed\xa0\x80', b'\xff',
                b'\xe0\x80\x80', b'\xf4\x90\x80\x80', b'\xef\xbb\xbf',
            ]) + body[i:]
        return body


class Driver:
    """The scanner, in a process of its own."""

    def __init__(self, path: str) -> None:
        self.process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )

    def scan(self, body: bytes) -> bytes:
        stdin, stdout = self.process.stdin, self.process.stdout
        stdin.write(struct.pack('<I', len(body)) + body)
        stdin.flush()
        head = stdout.read(4)
        if len(head) != 4:
            raise SystemExit('the driver is gone; it was given %r' % body)
        return stdout.read(struct.unpack('<I', head)[0])

    def close(self) -> None:
        self.process.stdin.close()
        if self.process.wait(timeout=10) != 0:
            raise SystemExit('the driver failed when it ended')


def sent(body: bytes) -> str | None:
    """The message as the reference's server takes it from the request."""
    try:
        message = json.loads(body.decode('utf-8'))['message']
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return message if isinstance(message, str) else None


def read(text: str | None) -> Message | None:
    """What the client makes of a message; None if it refuses it."""
    if text is None:
        return None
    try:
        return Message.model_validate_json(text)
    except ValueError:
        return None


def facts(message: Message) -> list[str]:
    header = message.header
    return [
        '%s:%s' % (header.src.role, header.src.uid),
        '%s:%s' % (header.dest.role, header.dest.uid),
        str(header.tag),
        str(header.label) if header.label else '-',
        header.kind,
    ]


def same(a, b) -> bool:
    """Equal, where a NaN may stand for a NaN."""
    return a == b or repr(a) == repr(b)


def judge(body: bytes, answer: bytes, there: Message) -> str | None:
    """What is wrong with a message that was accepted, if something is."""
    head, src_name, dest_name, text = answer.split(b'\n', 3)
    try:
        line = text.decode('utf-8')
    except UnicodeDecodeError:
        return 'what is delivered is not UTF-8'
    if re.search('[\x00-\x1f]', line):
        return 'what is delivered has control characters'
    # as an event stream brings it, and as a GET does
    delivered = read(line + '\n')
    if there is None or delivered is None or read(line) is None:
        return 'accepted here, refused there'
    if head.decode().split(' ')[1:] != facts(there):
        return 'read as %r' % head
    if facts(delivered) != facts(there):
        return 'delivered with another header'
    if (json.loads(src_name) != there.src.name
            or json.loads(dest_name) != there.dest.name):
        return 'read with another name'
    if not same(delivered.body, there.body):
        return 'delivered with another body'
    return None


def cause(answer: bytes, body: bytes) -> str:
    """Why the client takes what is refused here, if that is meant."""
    field, why = answer.decode().split(': ', 1)
    text = sent(body)
    if why == 'more than 64 members':
        return why
    if doubled(body.decode('utf-8'), text):
        # also where the first of the two was wrong in another way
        return 'a member given twice'
    if why == 'nested too deeply':
        # pydantic does not count an innermost empty array
        return 'nested one level deeper'
    if field == 'header.academy_version' and why == 'not a string':
        # a field that 0.5.0 does not know
        return 'academy_version is not a string'
    if field == 'request body' and why == 'a number too long':
        return 'a number too long beside the message'
    if field == 'request body' and why == 'an invalid escape':
        # Python's json takes it, in what is not the message
        return 'a lone surrogate beside the message'
    if why == 'not valid JSON' and (
        constant(text) or constant(body.decode('utf-8', 'replace'))
    ):
        return 'NaN or Infinity'
    return 'other: %s: %s' % (field, why)


def doubled(body: str, message: str) -> bool:
    """Whether an object with a meaning has a member twice."""
    def first(pairs: list) -> dict:
        result = {}
        for key, value in pairs:
            if key in result:
                result[None] = True
            result[key] = value
        return result

    outer = json.loads(body, object_pairs_hook=first)
    top = json.loads(message, object_pairs_hook=first)
    header = top.get('header', {})
    objects = [outer, top, header, header.get('src'), header.get('dest')]
    return any(isinstance(o, dict) and None in o for o in objects)


def constant(text: str) -> bool:
    """Whether the text would be JSON but for NaN and Infinity."""
    def refuse(name: str):
        raise LookupError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except LookupError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def main() -> int:
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 25000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1

    if count < LEAST:
        print('poison: %d messages are fewer than %d' % (count, LEAST))
        return 1

    generator = Generator(seed)
    driver = Driver(sys.argv[1])
    here = there = both = wrong = 0
    refused: collections.Counter[str] = collections.Counter()
    faults: collections.Counter[str] = collections.Counter()
    examples: dict[str, bytes] = {}

    for _ in range(count):
        message = generator.message()
        body = generator.put(message)
        faults.update(set(generator.notes) or {'none'})

        answer = driver.scan(body)
        known = read(sent(body))
        there += known is not None

        if answer.startswith(b'+'):
            here += 1
            both += known is not None
            error = judge(body, answer, known)
            if error:
                wrong += 1
                if wrong <= 10:
                    print('poison: %s:\n  %r' % (error, body[:1500]))
        elif known is not None:
            why = cause(answer, body)
            refused[why] += 1
            examples.setdefault(why, body)

    driver.close()

    print('poison: seed %d: %d messages, %d kinds of faults; accepted here '
          '%d (%.0f %%), there %d (%.0f %%), refused by both %d'
          % (seed, count, len(faults), here, 100 * here / count, there,
             100 * there / count, count - here - there + both))
    for why, n in refused.most_common():
        print('  accepted there, refused here: %5d (%.2f %%) %s'
              % (n, 100 * n / count, why))
        if why.startswith('other'):
            print('    %r' % examples[why][:600])

    if wrong:
        print('poison: %d messages would have been poison' % wrong)
        return 1
    if here < LEAST_ACCEPTED * count:
        print('poison: too few were accepted to show anything')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
