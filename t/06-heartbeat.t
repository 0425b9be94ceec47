# GET and POST /mailbox/heartbeat.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $none = ::json('{"heartbeat":null}');
our $now = qr/\A\{"heartbeat":\s*[0-2](?:\.\d+)?(?:[eE]-\d+)?\}\z/;

run_tests();

__DATA__

=== TEST 1: none at first, then the time since
--- calls eval
[::create(1)    => 200],
[::heartbeat(1) => 200, $::none],
[::beat(1)      => 200],
[::heartbeat(1) => 200, $::now],
[::beat(1)      => 200],
[::heartbeat(1) => 200, $::now],


=== TEST 2: it grows with time
--- calls eval
[::create(1)    => 200],
[::beat(1)      => 200],
[::get(1, 1.1)  => 408],
[::create(2)    => 200],
[::beat(2)      => 200],
[::get(1, 1.1)  => 408],
[::heartbeat(2) => 200, qr/\A\{"heartbeat":\s*(?:1\.[0-9]|[23]\b)/],


=== TEST 3: mailboxes have their own
--- zone_only: Redis knows a uid, and no role
--- calls eval
[::create(1)    => 200],
[::create(2)    => 200],
[::create(::id(1, 'user')) => 200],
[::beat(1)      => 200],
[::heartbeat(1) => 200, $::now],
[::heartbeat(2) => 200, $::none],
[::heartbeat(::id(1, 'user')) => 200, $::none],


=== TEST 4: creating again does not touch it
--- calls eval
[::create(1)    => 200],
[::create(1)    => 200],
[::heartbeat(1) => 200, $::none],
[::beat(1)      => 200],
[::create(1)    => 200],
[::heartbeat(1) => 200, $::now],


=== TEST 5: to receive is a sign of life, with a message and without
--- calls eval
[::create(1)            => 200],
[::create(2)            => 200],
[::get(1, 0.05)         => 408],
[::heartbeat(1)         => 200, $::now],
[::put(::message(3, 2)) => 200],
[::heartbeat(2)         => 200, $::none],
[::get(2)               => 200, ::got(::message(3, 2))],
[::heartbeat(2)         => 200, $::now],


=== TEST 6: to listen is one
--- calls eval
[::create(1)       => 200],
[::stream(1, 0.05) => 200, ::events()],
[::heartbeat(1)    => 200, $::now],


=== TEST 7: to send is one, for the sender
--- calls eval
[::create(1)            => 200],
[::create(2)            => 200],
[::put(::message(1, 2)) => 200],
[::heartbeat(1)         => 200, $::now],
[::heartbeat(2)         => 200, $::none],


=== TEST 8: looking is none
--- calls eval
[::create(1, 'x.Agent')   => 200],
[::status(1)              => 200, ::json('{"status":"ACTIVE"}')],
[::stats(1)               => 200, ::stat_line(0, 0, 0, 0, 0)],
[::discover('x.Agent', 1) => 200, qr/00001/],
[::heartbeat(1)           => 200, $::none],


=== TEST 9: what is refused is none
--- calls eval
[::create(1)                              => 200],
[::get(1, 0)                              => 400],
[::stream(1, 0)                           => 400],
[::put(::message(1, 2))                   => 404],
[::put(::message(1, 2, kind => 'rumour')) => 400],
["POST /mailbox/heartbeat\n{}"            => 400],
[::heartbeat(1)                           => 200, $::none],


=== TEST 10: mailboxes that are not there
--- calls eval
[::heartbeat(1) => 404],
[::beat(1)      => 404],
[::create(1)    => 200],
[::heartbeat(1) => 200, $::none],
[::beat(1)      => 200],
[::terminate(1) => 200],
[::heartbeat(1) => 419],
[::beat(1)      => 419],


=== TEST 11: only for who may use the mailbox
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))     => 200],
[::as('bob', 'g', ::beat(1))       => 403],
[::as('bob', 'g', ::heartbeat(1))  => 403],
[::as('ann', 'g', ::heartbeat(1))  => 200, $::none],
[::as('ann', 'g', ::share(1, 'g')) => 200],
[::as('bob', 'g', ::beat(1))       => 200],
[::as('bob', 'g', ::heartbeat(1))  => 200, $::now],
[::as('ann', 'g', ::terminate(1))  => 200],
[::as('eve', '', ::beat(1))        => 403],
[::as('eve', '', ::heartbeat(1))   => 403],
[::as('bob', 'g', ::beat(1))       => 419],
[::as('bob', 'g', ::heartbeat(1))  => 419],


=== TEST 12: bodies that are no use
--- calls eval
map {
    (["$_ /mailbox/heartbeat"                     => 400],
     ["$_ /mailbox/heartbeat\n{}"                 => 400, ::bad('mailbox')],
     ["$_ /mailbox/heartbeat\n17"                 => 400],
     [qq($_ /mailbox/heartbeat\n{"mailbox":"1"})  => 400],
     [qq($_ /mailbox/heartbeat\n{"mailbox":"{}"}) => 400, ::bad('uid')])
} qw(GET POST)
