# What a configuration lets a mailbox and a client have: 429 with Retry-After,
# of which nothing is stored.  A zone without room for more is 13.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $messages = qr/\AToo many messages: a mailbox holds at most 3\z/;
our $bytes = qr/\AToo many bytes: a mailbox holds at most 2000\z/;
our $mailboxes = qr/\AToo many mailboxes: a client has at most 2\z/;

# a message of so many bytes

sub sized {
    my ($length, %o) = @_;
    my $rest = length message(2, 1, %o, body => '""');

    return message(2, 1, %o, body => '"' . 'x' x ($length - $rest) . '"');
}

sub mine { as('ann', 'lab', @_) }
sub his { as('bob', 'lab', @_) }

run_tests();

__DATA__

=== TEST 1: so many messages, and no more
--- config
location / { academy_exchange x; academy_mailbox_messages 3; }
--- calls eval
[::create(1) => 200], [::create(2) => 200],
(map { [::put(::message(2, 1, tag => $_)) => 200] } 1 .. 3),
(map { [::put(::message(2, 1, tag => $_)) => 429, $::messages] } 4 .. 6),
[::stats(1) => 200, ::stat_line(3, 0, 0, 0, 3)],
[::stats(2) => 200, ::stat_line(0, 3, 0, 0, 0)],
[::get(1)   => 200, ::got(::message(2, 1, tag => 1))],
[::put(::message(2, 1, tag => 7)) => 200],
[::put(::message(2, 1, tag => 8)) => 429, $::messages],
(map { [::get(1) => 200, ::got(::message(2, 1, tag => $_))] } 2, 3, 7),
[::get(1, 0.05) => 408],


=== TEST 2: it is each mailbox's own, and comes behind 404 and 419
--- config
location / { academy_exchange x; academy_mailbox_messages 3; }
--- calls eval
[::create(1) => 200], [::create(2) => 200],
(map { [::put(::message(2, 1, tag => $_)) => 200] } 1 .. 3),
[::put(::message(2, 1)) => 429, $::messages],
(map { [::put(::message(1, 2, tag => $_)) => 200] } 1 .. 3),
[::put(::message(1, 2)) => 429, $::messages],
[::put(::message(2, 3)) => 404],
[::terminate(1) => 200],
[::put(::message(2, 1)) => 419],


=== TEST 3: what the exchange says itself is never refused, but counts
--- config
location / { academy_exchange x; academy_mailbox_messages 3; }
--- calls eval
[::create(1) => 200], [::create(2) => 200],
(map { [::put(::message(1, 2, tag => $_)) => 200] } 1 .. 2),
(map { [::put(::message(2, 1, tag => $_, kind => 'response')) => 200] } 7 .. 9),
[::terminate(2) => 200],
[::stats(1) => 200, ::stat_line(0, 2, 0, 0, 5)],
(map { [::get(1) => 200, qr/"body/] } 1 .. 2),
[::put(::message(3, 1, kind => 'response')) => 429, $::messages],
(map { [::get(1) => 200, $_] } qr/000009/, qr/academy-error-response/),
[::put(::message(3, 1, kind => 'response')) => 200],


=== TEST 4: so many bytes, and no more
--- config
location / {
    academy_exchange x;
    academy_message_size 1k;
    academy_mailbox_bytes 2000;
}
--- calls eval
[::create(1) => 200],
[::put(::sized(1000, tag => 1)) => 200],
[::put(::sized(501, tag => 2))  => 200],
[::put(::sized(500, tag => 3))  => 429, $::bytes],
[::put(::sized(499, tag => 4))  => 200],
[::put(::sized(400, tag => 5))  => 429, $::bytes],
[::get(1) => 200, ::got(::sized(1000, tag => 1))],
[::put(::sized(1001, tag => 6)) => 429, $::bytes],
[::put(::sized(1000, tag => 7)) => 200],
(map { [::get(1) => 200, ::got(::sized(@$_))] }
    [501, tag => 2], [499, tag => 4], [1000, tag => 7]),
(map { [::put(::sized(1000, tag => $_)) => 200] } 8, 9),
[::put(::sized(1025)) => 413],


=== TEST 5: messages of many pieces
--- config
location / {
    academy_exchange x;
    academy_message_size 300k;
    academy_mailbox_bytes 1000k;
}
--- calls eval
[::create(1) => 200],
(map { [::put(::sized(300_000, tag => $_)) => 200] } 1 .. 3),
[::put(::sized(300_000)) => 429, qr/bytes.* 1024000\z/],
(map { [::get(1) => 200, ::got(::sized(300_000, tag => $_))] } 1 .. 3),
(map { [::put(::sized(250_000, tag => $_)) => 200] } 4 .. 7),
[::put(::sized(250_000)) => 429],
[::get(1) => 200, ::got(::sized(250_000, tag => 4))],
[::put(::sized(250_000)) => 200],


=== TEST 6: messages and bytes
--- config
location / {
    academy_exchange x;
    academy_message_size 1k;
    academy_mailbox_bytes 2000;
    academy_mailbox_messages 3;
}
--- calls eval
[::create(1) => 200],
(map { [::put(::sized(400, tag => $_)) => 200] } 1 .. 3),
[::put(::sized(400)) => 429, $::messages],
[::get(1) => 200, ::got(::sized(400, tag => 1))],
[::get(1) => 200, ::got(::sized(400, tag => 2))],
[::put(::sized(1000, tag => 4)) => 200],
[::put(::sized(1000, tag => 5)) => 429, $::bytes],


=== TEST 7: none, unless there is one; the place decides that a sender uses
--- config
location / { academy_exchange x; academy_mailbox_messages 0; }
location /few/ {
    academy_exchange x;
    academy_mailbox_messages 3;
    academy_client_mailboxes 2;
}
--- keepalive
--- calls eval
my $few = sub { $_[0] =~ s{/}{/few/}r };
[::create(1) => 200],
(map { [::put(::message(2, 1, tag => $_)) => 200] } 1 .. 100),
[$few->(::put(::message(2, 1))) => 429, $::messages],
(map { [::create($_) => 200] } 2 .. 30),
[$few->(::create(31)) => 429, $::mailboxes],
[$few->(::create(30)) => 200],


=== TEST 8: so many mailboxes of a client, and no more
--- config eval
$::auth =~ s/^    \}/    academy_client_mailboxes 2; }/mr
--- calls eval
[::mine(::create(1)) => 200],
[::mine(::create(2)) => 200],
[::mine(::create(3)) => 429, $::mailboxes],
[::mine(::status(3)) => 200, ::json('{"status":"MISSING"}')],
[::mine(::create(1)) => 200],
[::his(::create(3))  => 200],
[::his(::create(2))  => 403],
[::his(::share(3, 'lab')) => 200],
[::mine(::create(3)) => 200],
[::his(::create(4))  => 200],
[::his(::create(5))  => 429, $::mailboxes],
[::as('eve', '', ::create(5)) => 200],


=== TEST 9: a terminated one counts, since its id stays taken
--- config eval
$::auth =~ s/^    \}/    academy_client_mailboxes 2; }/mr
--- calls eval
[::mine(::create(1)) => 200],
[::mine(::create(2)) => 200],
[::mine(::terminate(2)) => 200],
[::mine(::create(3)) => 429, $::mailboxes],
[::mine(::create(2)) => 200],
[::mine(::status(2)) => 200, ::json('{"status":"TERMINATED"}')],


=== TEST 10: without authentication all are one client
--- config
location / { academy_exchange x; academy_client_mailboxes 2; }
--- calls eval
[::create(1) => 200],
[::create(2) => 200],
[::create(3) => 429, $::mailboxes],


=== TEST 11: many clients, whose ids are alike and long
--- keepalive
--- config eval
$::auth =~ s/^    \}/    academy_client_mailboxes 2; }/mr
--- calls eval
my $call = sub { ::as('c' x 900 . $_[0], '', ::create($_[1])) };
(map { my $n = $_;
       [$call->($n, 3 * $n) => 200], [$call->($n, 3 * $n + 1) => 200],
       [$call->($n, 3 * $n + 2) => 429] } 1 .. 40),
