# A message that comes again, because its sender did not see the answer.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $message = ::message(2, 1);
our $large = ::message(2, 1, body => '"' . 'x' x 100_000 . '"');

# so that no answer is taken for another one

sub off { "location / { academy_exchange x; academy_deduplicate $_[0]; }\n" }

run_tests();

__DATA__

=== TEST 1: it is stored once
--- keepalive
--- calls eval
[::create(1) => 200],
(map { [::put($::message) => 200] } 1 .. 5),
[::get(1)       => 200, ::got($::message)],
[::get(1, 0.05) => 408],


=== TEST 2: also when the first was received already
--- keepalive
--- calls eval
[::create(1)       => 200],
[::put($::message) => 200],
[::get(1)          => 200, ::got($::message)],
[::get(1, 0.05)    => 408],
[::put($::message) => 200],
[::get(1, 0.05)    => 408],


=== TEST 3: one that is larger than what is copied at once
--- keepalive
--- calls eval
[::create(1)     => 200],
[::put($::large) => 200],
[::put($::large) => 200],
[::get(1)        => 200, ::got($::large)],
[::put($::large) => 200],
[::get(1, 0.05)  => 408],


=== TEST 4: it is told by src, dest, tag and kind, not by what it says
--- zone_only: Redis knows a uid, and no role
--- keepalive
--- calls eval
my @one = (tag => 5, body => '1');
my @messages = (::message(2, 1, @one), ::message(3, 1, @one),
                ::message(::id(2, 'user'), 1, @one),
                ::message(2, 1, tag => 6, body => '1'),
                ::message(2, 1, @one, kind => 'response'));
my @elsewhere = (::message(2, 3, @one), ::message(2, ::id(1, 'user'), @one));
[::create(1) => 200], [::create(3) => 200], [::create(::id(1, 'user')) => 200],
(map { [::put($_) => 200] } @messages, @elsewhere),
[::put(::message(2, 1, tag => 5, body => '2')) => 200],
[::put(::message('{"uid":"' . ::uid(2) . '","name":"ann"}', 1, @one)) => 200],
(map { [::get(1) => 200, ::got($_)] } @messages),
[::get(3)               => 200, ::got($elsewhere[0])],
[::get(::id(1, 'user')) => 200, ::got($elsewhere[1])],
[::get(1, 0.05)         => 408],


=== TEST 5: ids are one in whatever form
--- calls eval
my $id = '{"uid":"' . uc(::uid(2)) =~ s/-//gr . '","role":"agent"}';
[::create(1) => 200],
[::put(::message(2, 1, tag => 5))   => 200],
[::put(::message($id, 1, tag => 5)) => 200],
[::stats(1) => 200, ::stat_line(1, 0, 0, 0, 1)],


=== TEST 6: figures count it once
--- calls eval
my $request = ::message(1, 2, tag => 5);
my $response = ::message(2, 1, tag => 5, kind => 'response');
[::create(1) => 200], [::create(2) => 200],
(map { [::put($request) => 200] } 1 .. 3),
[::stats(1) => 200, ::stat_line(0, 1, 0, 0, 0)],
[::stats(2) => 200, ::stat_line(1, 0, 0, 0, 1)],
[::get(2)   => 200, ::got($request)],
[::stats(2) => 200, ::stat_line(1, 0, 0, 1, 0)],
(map { [::put($response) => 200] } 1 .. 3),
[::put($request) => 200],
[::stats(1) => 200, ::stat_line(0, 1, 0, 0, 1)],
[::stats(2) => 200, ::stat_line(1, 0, 1, 0, 0)],


=== TEST 7: to send it again is a sign of life
--- calls eval
[::create(1)            => 200],
[::create(2)            => 200],
[::put(::message(1, 2)) => 200],
[::get(2, 0.1)          => 200, ::got(::message(1, 2))],
[::get(2, 1.3)          => 408],
[::heartbeat(1)         => 200, qr/\A\{"heartbeat":\s*[1-9]/],
[::put(::message(1, 2)) => 200],
[::heartbeat(1)         => 200, qr/\A\{"heartbeat":\s*0/],


=== TEST 8: who may not send it is told so, as the first time
--- config eval: $::auth
--- calls eval
[::as('ann', '', ::create(1))       => 200],
[::as('ann', '', ::put($::message)) => 200],
[::as('bob', '', ::put($::message)) => 403],
[::as('ann', '', ::put($::message)) => 200],
[::as('ann', '', ::get(1))          => 200, ::got($::message)],
[::as('ann', '', ::get(1, 0.05))    => 408],


=== TEST 9: what was refused is not known
--- config eval: $::auth
--- calls eval
[::as('ann', '', ::put($::message))     => 404],
[::as('ann', '', ::create(1))           => 200],
[::as('bob', '', ::put($::message))     => 403],
[::as('ann', '', ::put("$::message,"))  => 400],
[::as('ann', '', ::put($::message))     => 200],
[::as('ann', '', ::get(1))              => 200, ::got($::message)],


=== TEST 10: nor is what found no room
--- zone_only: about a zone's memory
--- http_config
academy_zone zone=x:2m;
--- keepalive
--- calls eval
my $filler = sub { ::message(3, 2, tag => $_[0],
                             body => '"' . 'y' x 200_000 . '"') };
[::create(1) => 200],
[::create(2) => 200],
(map { [::put($filler->($_)) => qr/200|503/] } 1 .. 10),
[::put($::large) => 503],
[::terminate(2)  => 200],
[::get(1, 0.1)   => 408],
[::put($::large) => 200],
[::put($::large) => 200],
[::get(1)        => 200, ::got($::large)],
[::get(1, 0.05)  => 408],


=== TEST 11: a mailbox that was closed meanwhile says so
--- calls eval
[::create(1)       => 200],
[::put($::message) => 200],
[::terminate(1)    => 200],
[::put($::message) => 419],


=== TEST 12: for as long as it is remembered
--- config eval: ::off('300ms')
--- keepalive
--- calls eval
[::create(1)       => 200],
[::put($::message) => 200],
[::put($::message) => 200],
[::get(1)          => 200, ::got($::message)],
[::get(1, 0.6)     => 408],
[::put($::message) => 200],
[::put($::message) => 200],
[::get(1)          => 200, ::got($::message)],
[::get(1, 0.05)    => 408],


=== TEST 13: turned off
--- config eval: ::off(0)
--- calls eval
[::create(1)       => 200],
[::put($::message) => 200],
[::put($::message) => 200],
[::put($::large)   => 200],
[::put($::large)   => 200],
[::get(1)          => 200, ::got($::message)],
[::get(1)          => 200, ::got($::message)],
[::get(1)          => 200, ::got($::large)],
[::get(1)          => 200, ::got($::large)],


=== TEST 14: turned off in one of two locations
--- config
location / { academy_exchange x; }
location /off/ { academy_exchange x; academy_deduplicate 0; }
--- calls eval
my $off = sub { $_[0] =~ s{/}{/off/}r };
[::create(1)              => 200],
[$off->(::put($::message)) => 200],
[::put($::message)        => 200],
[$off->(::put($::message)) => 200],
[::put($::message)        => 200],
[::stats(1)               => 200, ::stat_line(1, 0, 0, 0, 3)],


=== TEST 15: what is in a full mailbox is there, and what was refused is not
--- config
location / { academy_exchange x; academy_mailbox_messages 2; }
--- calls eval
my @messages = map { ::message(2, 1, tag => $_) } 1 .. 3;
[::create(1) => 200],
[::put($messages[0]) => 200],
[::put($messages[1]) => 200],
[::put($messages[2]) => 429, qr/\AToo many/],
[::put($messages[1]) => 200],
[::get(1, 0.1)       => 200, ::got($messages[0])],
[::get(1, 0.1)       => 200, ::got($messages[1])],
[::put($messages[2]) => 200],
[::get(1)            => 200, ::got($messages[2])],
[::get(1, 0.05)      => 408],
