# Requests that outlive their agent.  An agent is silent here when it has not
# been heard of for 500 ms; a mailbox that nobody asks waits for that long.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $on = "academy_redeliver on; academy_agent_timeout 500ms;";

sub with { "location / { academy_exchange x; @_ }\n" }

# takes 800 ms, and is about another mailbox

our @silence = ([get(9, 0.8) => 408]);

sub request { message(1, 2, tag => $_[0], body => qq("$_[0]"), @_[1 .. $#_]) }
sub response { message(2, 1, tag => $_[0], kind => 'response') }

our @boxes = map { [create($_) => 200] } 1, 2, 9;

run_tests();

__DATA__

=== TEST 1: what was received and not answered comes again, after silence
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- keepalive
--- calls eval
@::boxes,
[::put(::request(1)) => 200],
[::get(2)            => 200, ::got(::request(1))],
[::get(2, 0.05)      => 408],
@::silence,
[::stats(2)          => 200, ::stat_line(1, 0, 0, 1, 0)],
[::get(2)            => 200, ::got(::request(1))],
[::stats(2)          => 200, ::stat_line(1, 0, 0, 1, 0)],
[::get(2, 0.05)      => 408],
@::silence,
[::get(2)            => 200, ::got(::request(1))],
[::put(::response(1)) => 200],
[::stats(2)          => 200, ::stat_line(1, 0, 1, 0, 0)],
@::silence,
[::get(2, 0.05)      => 408],
[::get(1)            => 200, ::got(::response(1))],


=== TEST 2: not without silence
--- zone_only: requests are put back in a zone only
--- config eval: ::with('academy_redeliver on; academy_agent_timeout 1500ms;')
--- keepalive
--- calls eval
@::boxes,
[::put(::request(1)) => 200],
[::get(2)            => 200, ::got(::request(1))],
(map { [::get(2, 0.1) => 408], [::get(9, 0.2) => 408], [::beat(2) => 200],
       [::get(9, 0.2) => 408]
     } 1 .. 5),
[::get(2, 0.05)      => 408],


=== TEST 3: nor unless it is asked for
--- config eval: ::with('academy_agent_timeout 500ms;')
--- keepalive
--- calls eval
@::boxes,
[::put(::request(1)) => 200],
[::get(2)            => 200, ::got(::request(1))],
[::get(2, 0.05)      => 408],
@::silence,
[::get(2, 0.05)      => 408],


=== TEST 4: before all that came later, in its old order
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- keepalive
--- calls eval
@::boxes,
(map { [::put(::request($_)) => 200], [::get(2) => 200, ::got(::request($_))]
     } 1 .. 200),
[::put(::response(50)) => 200],
[::get(2, 0.05)        => 408],
(map { [::put(::request($_)) => 200] } 201 .. 203),
@::silence,
(map { [::get(2) => 200, ::got(::request($_))] } 1 .. 49, 51 .. 203),
[::get(2, 0.05) => 408],


=== TEST 5: a stream in its place
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- calls eval
@::boxes,
(map { [::put(::request($_)) => 200] } 1 .. 3),
[::stream(2, 0.05) => 200, ::events(map { ::request($_) } 1 .. 3)],
[::put(::response(2)) => 200],
[::stream(2, 0.05) => 200, ::events()],
@::silence,
[::put(::request(4)) => 200],
[::stream(2, 0.05) => 200, ::events(map { ::request($_) } 1, 3, 4)],
[::stream(2, 0.05) => 200, ::events()],


=== TEST 6: a heartbeat that comes first does not hide the silence
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- keepalive
--- calls eval
@::boxes,
[::put(::request(1)) => 200],
[::get(2)            => 200, ::got(::request(1))],
[::get(2, 0.05)      => 408],
@::silence,
[::beat(2)           => 200],
[::beat(2)           => 200],
[::get(2)            => 200, ::got(::request(1))],
[::get(2, 0.05)      => 408],
@::silence,
[::put(::message(2, 1)) => 200],
[::get(2)            => 200, ::got(::request(1))],
[::get(2, 0.05)      => 408],


=== TEST 7: who answers one of them was there, though silent
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- keepalive
--- calls eval
@::boxes,
(map { [::put(::request($_)) => 200], [::get(2) => 200, ::got(::request($_))]
     } 1 .. 3),
[::get(2, 0.05)       => 408],
@::silence,
[::put(::response(2)) => 200],
[::get(2, 0.05)       => 408],
@::silence,
[::get(2)             => 200, ::got(::request(1))],
[::get(2)             => 200, ::got(::request(3))],
[::get(2, 0.05)       => 408],


=== TEST 8: responses are gone when they are received
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- keepalive
--- calls eval
@::boxes,
[::put(::response(1)) => 200],
[::get(1)             => 200, ::got(::response(1))],
[::get(1, 0.05)       => 408],
@::silence,
[::get(1, 0.05)       => 408],


=== TEST 9: large ones, and what they take is free when they are answered
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- keepalive
--- calls eval
my @large = map { ::request($_, body => '"' . $_ x 250_000 . '"') } 1 .. 9;
@::boxes,
(map {
    my $n = $_;
    (map { [::put($large[$_]) => 200], [::get(2) => 200, ::got($large[$_])]
         } $n, $n + 1, $n + 2),
    [::get(2, 0.05) => 408],
    @::silence,
    (map { [::get(2) => 200, ::got($large[$_])] } $n, $n + 1, $n + 2),
    (map { [::put(::response($_ + 1)) => 200] } $n, $n + 1, $n + 2),
} 0, 3, 6),


=== TEST 10: and when their agent is terminated
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- keepalive
--- calls eval
my $large = sub { ::message(1, $_[1], tag => $_[0],
                            body => '"' . 'x' x 400_000 . '"') };
@::boxes,
(map {
    my $box = $_;
    [::create($box) => 200],
    (map { [::put($large->($_, $box)) => 200],
           [::get($box)               => 200, ::got($large->($_, $box))]
         } 1 .. 3),
    [::get($box, 0.05) => 408],
    [::terminate($box) => 200],
    (map { [::get(1) => 200, qr/academy-error-response/] } 1 .. 3),
    # What was dropped is freed step by step, in a moment.
    [::get(1, 0.1) => 408],
} 3 .. 8),


=== TEST 11: what is kept takes memory, and who answers needs no more
--- zone_only: requests are put back in a zone only
--- config eval: ::with($::on)
--- calls eval
my @large = map { ::request($_, body => '"' . 'x' x 200_000 . '"') } 1 .. 12;
my $answer = sub { ::message(2, 1, tag => $_[0], kind => 'response',
                             body => '"' . 'y' x 190_000 . '"') };
@::boxes,
(map { [::put($_) => 200], [::get(2) => 200, ::got($_)] } @large[0 .. 6]),
[::get(2, 0.1)         => 408],
(map { [::put(::request($_, body => '"' . 'z' x 6000 . '"')) => qr/200|503/]
     } 20 .. 140),
[::put($large[11])     => 503],
[::put(::request(200, body => '"' . 'z' x 6000 . '"')) => 503],
(map { [::put($answer->($_)) => 200] } 1 .. 7),
[::put($large[11])     => 503],
(map { [::get(1) => 200, ::got($answer->($_))] } 1 .. 7),
# The last one is gone when it is acknowledged.
[::get(1, 0.1)         => 408],
[::put($large[11])     => 200],


=== TEST 12: two locations, of which one keeps
--- zone_only: requests are put back in a zone only
--- config
location / { academy_exchange x; academy_agent_timeout 500ms; }
location /on/ {
    academy_exchange x;
    academy_redeliver on;
    academy_agent_timeout 500ms;
}
--- keepalive
--- calls eval
my $on = sub { $_[0] =~ s{/}{/on/}r };
@::boxes,
(map { [::put(::request($_)) => 200] } 1 .. 2),
[::get(2)             => 200, ::got(::request(1))],
[$on->(::get(2))      => 200, ::got(::request(2))],
[::get(2, 0.05)       => 408],
@::silence,
[::get(2, 0.05)       => 408],
@::silence,
[$on->(::get(2))      => 200, ::got(::request(2))],
[$on->(::get(2, 0.05)) => 408],


=== TEST 13: only for who may use the mailbox
--- zone_only: requests are put back in a zone only
--- config eval
$::auth =~ s/academy_auth/$::on academy_auth/r
--- keepalive
--- calls eval
(map { [::as('ann', '', $_->[0]) => @$_[1 .. $#$_]] }
    @::boxes,
    [::put(::request(1)) => 200],
    [::get(2)            => 200, ::got(::request(1))],
    [::get(2, 0.05)      => 408],
    @::silence),
[::as('bob', '', ::get(2))       => 403],
[::as('bob', '', ::beat(2))      => 403],
[::as('ann', '', ::get(2))       => 200, ::got(::request(1))],
