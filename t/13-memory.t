# A zone that fills up: 503 with Retry-After, of which nothing is stored, while
# what gives room back goes on working; and then the exchange recovers.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $full = qr/^(?:200|503)$/;
our $here = json('{"status":"ACTIVE"}');
our $closed = json('{"status":"TERMINATED"}');

# large messages, of which a few dozen fill the zone of two megabytes

our $size = 60_000;
our $tries = 60;

sub sized {
    my ($tag, $bytes, $src, $dest) = @_;

    return message($src // 1, $dest // 1, tag => $tag,
                   body => '"' . 'x' x ($bytes // $size) . '"');
}

# A message makes room once its receiver's side has acknowledged it.  Requests in
# a row on one connection ("--- keepalive") may be faster than that.

# rows that fill the zone, to the last bit of room that there is for messages

sub fill {
    my $tag = 1000;

    return (map { [put(sized($_)) => $full] } 1 .. $tries),
           [put(sized($tries + 1)) => 503],
           map { my $bytes = $_;
                 (map { [put(sized($tag++, $bytes)) => $full] } 1 .. 40),
                 [put(sized($tag++, $bytes)) => 503] } 6000, 1500;
}

# What a mailbox that sends requests to itself must say of itself, however many
# of them found room: as many came in and went out as there are in the queue.

our $even = qr/\A\{"incoming":\s*([1-9]\d*),\s*"outgoing":\s*\1,
               \s*"completed":\s*0,\s*"in_progress":\s*0,\s*"queued":\s*\1\}/x;

run_tests();

__DATA__

=== TEST 1: messages fill the zone, and everything but storing goes on
--- zone_only: about a zone's memory
--- keepalive
--- calls eval
[::create(1) => 200],
::fill(),
[::stats(1)      => 200, $::even],
[::status(1)     => 200, $::here],
[::beat(1)       => 200],
[::heartbeat(1)  => 200, qr/heartbeat/],
[::discover('x') => 200, ::json('{"agent_ids":""}')],
[::shares(1)     => 200, ::json('{"group_ids":[]}')],
[::create(1)     => 200],
[::get(1)        => 200, ::got(::sized(1))],
[::get(1)        => 200, ::got(::sized(2))],
[::get(1)        => 200, ::got(::sized(3))],


=== TEST 2: what is taken makes room
--- zone_only: about a zone's memory
--- calls eval
[::create(1) => 200],
(map { [::put(::sized($_)) => $::full] } 1 .. $::tries),
[::put(::sized(101)) => 503],
(map { [::get(1) => 200, ::got(::sized($_))] } 1 .. 10),
(map { [::put(::sized($_)) => 200] } 102 .. 109),
(map { [::get(1) => 200, ::got(::sized($_))] } 11 .. 20),


=== TEST 3: what is terminated makes room
--- zone_only: about a zone's memory
--- keepalive
--- calls eval
[::create(1) => 200],
[::create(2) => 200],
(map { [::put(::sized($_)) => $::full] } 1 .. $::tries),
[::put(::sized(101, $::size, 1, 2)) => 503],
[::terminate(1) => 200],
[::status(1)    => 200, $::closed],
[::get(2, 0.1)  => 408],
(map { [::put(::sized($_, $::size, 3, 2)) => 200] } 1 .. 20),
(map { [::get(2) => 200, ::got(::sized($_, $::size, 3, 2))] } 1 .. 20),


=== TEST 4: nothing of a refused message is there
--- zone_only: about a zone's memory
--- keepalive
--- calls eval
[::create(1) => 200],
[::create(2) => 200],
::fill(),
(map { [::put(::sized($_, 6000, 1, 2)) => 503] } 1 .. 20),
[::stats(1)     => 200, $::even],
[::stats(2)     => 200, ::stat_line(0, 0, 0, 0, 0)],
[::terminate(2) => 200],
[::get(1)       => 200, ::got(::sized(1))],


=== TEST 5: one that is larger than the zone
--- zone_only: about a zone's memory
--- config
location / { academy_exchange x; academy_message_size 3m; }
--- calls eval
[::create(1)                   => 200],
[::put(::sized(1, 2_500_000))  => 503],
[::stats(1)                    => 200, ::stat_line(0, 0, 0, 0, 0)],
[::put(::sized(2))             => 200],
[::get(1)                      => 200, ::got(::sized(2))],


=== TEST 6: filled and emptied, again and again, it does not shrink
--- zone_only: about a zone's memory
--- calls eval
my $tag;
[::create(1) => 200],
map {
    my $bytes = $_;
    my @messages = map { ::message(2, 1, kind => 'response', tag => ++$tag,
                                   body => '"' . 'x' x $bytes . '"')
                       } 1 .. int(1_200_000 / ($bytes + 400));

    (map { [::put($_) => 200] } @messages),
    (map { [::get(1) => 200, ::got($_)] } @messages)
} 60_000, 30_000, 5000, 100_000, 17_000, 400_000, 60_000, 500_000


=== TEST 7: agents fill the zone
--- zone_only: about a zone's memory
--- keepalive
--- calls eval
my $classes = sub { join ',', map { "$_[0].$_." . 'c' x 900 } 1 .. 30 };
(map { [::create($_, $classes->($_)) => $::full] } 1 .. 150),
[::create(151, $classes->(151)) => 503],
[::status(151)   => 200, ::json('{"status":"MISSING"}')],
[::status(1)     => 200, $::here],
[::create(1)     => 200],
[::beat(1)       => 200],
[::discover('151.2.' . 'c' x 900, 1) => 200, ::json('{"agent_ids":""}')],
[::discover('1.2.' . 'c' x 900, 1)   => 200, qr/000001"/],
(map { [::terminate($_) => 200] } 1 .. 20),
[::status(1)     => 200, $::closed],
[::get(30, 0.1)  => 408],
[::create(151, $classes->(151))      => 200],
[::discover('151.2.' . 'c' x 900, 1) => 200, qr/000151"/],


=== TEST 8: shares fill the zone
--- zone_only: about a zone's memory
--- config eval: $::auth
--- calls eval
my $group = sub { "$_[0]-" . 'g' x 240 };
my @rows = map { ref $_->[0] ? $_ : [::as('ann', '', $_->[0]), @$_[1 .. $#$_]] }
           [::create(1) => 200], ::fill();
@rows,
(map { [::as('ann', $group->($_), ::share(1, $group->($_))) => $::full]
     } 1 .. 300),
[::as('ann', $group->(301), ::share(1, $group->(301))) => 503],
[::as('bob', $group->(301), ::status(1)) => 403],
[::as('ann', '', ::get(1))               => 200, ::got(::sized(1))],
[::as('ann', $group->(301), ::share(1, $group->(301))) => 200],
[::as('bob', $group->(301), ::status(1)) => 200, $::here],
[::as('ann', '', ::unshare(1, $group->(301))) => 200],
[::as('bob', $group->(301), ::status(1)) => 403],


=== TEST 9: a full zone leaves others alone
--- zone_only: about a zone's memory
--- http_config
academy_zone zone=x:2m;
academy_zone zone=y:2m;
--- config
location / { academy_exchange x; }
location /y/ { academy_exchange y; }
--- keepalive
--- calls eval
[::create(1) => 200],
::fill(),
[::create(1) =~ s{/}{/y/}r => 200],
[::put(::sized(1)) =~ s{/}{/y/}r => 200],
[::get(1) =~ s{/}{/y/}r => 200, ::got(::sized(1))],


=== TEST 10: to terminate takes no room, and requesters are told
--- zone_only: about a zone's memory
--- calls eval
[::create(1) => 200],
[::create(2) => 200],
(map { [::put(::message(1, 2, tag => $_)) => 200] } 1 .. 30),
::fill(),
[::terminate(2) => 200],
(map { [::get(1) => 200, ::got(::sized($_))] } 1 .. 5),
[::put(::sized(2000)) => 200],


=== TEST 11: the same, where those who are told were not told of anything else
--- zone_only: about a zone's memory
--- keepalive
--- calls eval
[::create(1) => 200], [::create(2) => 200], [::create(3) => 200],
(map { [::put(::message(3, 2, tag => $_)) => 200] } 1 .. 30),
::fill(),
[::terminate(2) => 200],
(map { [::get(3) => 200, qr/\A.*academy-error-response/] } 1 .. 30),
[::get(3, 0.05) => 408],


=== TEST 12: a stream out of a full zone
--- zone_only: about a zone's memory
--- calls eval
[::create(1) => 200],
::fill(),
[::stream(1, 0.2) => 200, qr/\Aretry.*-000000000001".*-000000000002".*\n\n\z/s],
[::get(1, 0.05)   => 408],
(map { [::put(::sized($_)) => 200] } 1 .. 20),


=== TEST 13: of what one that is terminated has asked, nothing stays
--- zone_only: about a zone's memory
--- keepalive
--- config
keepalive_requests 10000;
location / { academy_exchange x; }
--- calls eval
[::create(1) => 200], [::create(2) => 200], [::create(3) => 200],
(map { [::put(::message(1, 2, tag => $_)) => 200] } 1 .. 2400),
[::terminate(1) => 200],
[::terminate(2) => 200],
[::get(3, 1.5)  => 408],
(map { [::put(::sized($_, $::size, 9, 3)) => 200] } 1 .. 27),
