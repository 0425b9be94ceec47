# GET /mailbox/stats.  The columns of ::stat_line() are incoming, outgoing,
# completed, in_progress, queued.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

run_tests();

__DATA__

=== TEST 1: zeros where there is nothing
--- calls eval
[::stats(1)     => 200, ::stat_line(0, 0, 0, 0, 0)],
[::create(1)    => 200],
[::stats(1)     => 200, ::stat_line(0, 0, 0, 0, 0)],


=== TEST 2: a request, taken, answered, and the answer taken
--- calls eval
[::create(1)                                          => 200],
[::create(2)                                          => 200],
[::put(::message(1, 2, tag => 5))                     => 200],
[::stats(1)                       => 200, ::stat_line(0, 1, 0, 0, 0)],
[::stats(2)                       => 200, ::stat_line(1, 0, 0, 0, 1)],
[::get(2) => 200, ::got(::message(1, 2, tag => 5))],
[::stats(2)                       => 200, ::stat_line(1, 0, 0, 1, 0)],
[::put(::message(2, 1, tag => 5, kind => 'response')) => 200],
[::stats(1)                       => 200, ::stat_line(0, 1, 0, 0, 1)],
[::stats(2)                       => 200, ::stat_line(1, 0, 1, 0, 0)],
[::get(1) => 200, ::got(::message(2, 1, tag => 5, kind => 'response'))],
[::stats(1)                       => 200, ::stat_line(0, 1, 0, 0, 0)],
[::stats(2)                       => 200, ::stat_line(1, 0, 1, 0, 0)],


=== TEST 3: taken from a stream
--- calls eval
[::create(1)                                          => 200],
[::create(2)                                          => 200],
(map { [::put(::message(1, 2, tag => $_)) => 200] } 1 .. 3),
[::stats(2)                       => 200, ::stat_line(3, 0, 0, 0, 3)],
[::stream(2, 0.05) => 200, ::events(map { ::message(1, 2, tag => $_) } 1 .. 3)],
[::stats(2)                       => 200, ::stat_line(3, 0, 0, 3, 0)],
[::put(::message(2, 1, tag => 2, kind => 'response')) => 200],
[::stats(2)                       => 200, ::stat_line(3, 0, 1, 2, 0)],


=== TEST 4: answered before it was taken
--- calls eval
[::create(1)                                          => 200],
[::create(2)                                          => 200],
[::put(::message(1, 2, tag => 5))                     => 200],
[::put(::message(2, 1, tag => 5, kind => 'response')) => 200],
[::stats(2)                       => 200, ::stat_line(1, 0, 1, 0, 1)],


=== TEST 5: responses that nobody asked for count only while they wait
--- calls eval
my $response = ::message(2, 1, tag => 5, kind => 'response');
[::create(1)      => 200],
[::create(2)      => 200],
[::put($response) => 200],
[::stats(1)       => 200, ::stat_line(0, 0, 0, 0, 1)],
[::stats(2)       => 200, ::stat_line(0, 0, 0, 0, 0)],
[::get(1)         => 200, ::got($response)],
[::stats(1)       => 200, ::stat_line(0, 0, 0, 0, 0)],


=== TEST 6: an answer counts once
--- config
location / { academy_exchange x; academy_deduplicate 0; }
--- calls eval
my $response = ::message(2, 1, tag => 5, kind => 'response');
[::create(1)                      => 200],
[::create(2)                      => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::put($response)                 => 200],
[::put($response)                 => 200],
[::stats(2)                       => 200, ::stat_line(1, 0, 1, 0, 1)],
[::stats(1)                       => 200, ::stat_line(0, 1, 0, 0, 2)],


=== TEST 7: an answer counts for the mailbox that was asked
--- calls eval
[::create(1) => 200], [::create(2) => 200], [::create(3) => 200],
[::put(::message(1, 2, tag => 5))                     => 200],
[::put(::message(3, 1, tag => 5, kind => 'response')) => 200],
[::stats(2) => 200, ::stat_line(1, 0, 0, 0, 1)],
[::stats(3) => 200, ::stat_line(0, 0, 0, 0, 0)],
[::put(::message(2, 3, tag => 5, kind => 'response')) => 200],
[::stats(2) => 200, ::stat_line(1, 0, 1, 0, 1)],


=== TEST 8: one tag at two mailboxes is two requests
--- calls eval
[::create(1) => 200], [::create(2) => 200], [::create(3) => 200],
[::put(::message(1, 2, tag => 5))                     => 200],
[::put(::message(1, 3, tag => 5))                     => 200],
[::stats(1) => 200, ::stat_line(0, 2, 0, 0, 0)],
[::put(::message(3, 1, tag => 5, kind => 'response')) => 200],
[::stats(2) => 200, ::stat_line(1, 0, 0, 0, 1)],
[::stats(3) => 200, ::stat_line(1, 0, 1, 0, 1)],


=== TEST 9: one tag twice at one mailbox is one request, in two messages
--- config
location / { academy_exchange x; academy_deduplicate 0; }
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5))                     => 200],
[::put(::message(1, 2, tag => 5))                     => 200],
[::stats(1) => 200, ::stat_line(0, 2, 0, 0, 0)],
[::stats(2) => 200, ::stat_line(1, 0, 0, 0, 2)],
[::put(::message(2, 1, tag => 5, kind => 'response')) => 200],
[::stats(2) => 200, ::stat_line(1, 0, 1, 0, 2)],


=== TEST 10: a mailbox that asks itself
--- calls eval
[::create(1) => 200],
[::put(::message(1, 1, tag => 5))                     => 200],
[::stats(1) => 200, ::stat_line(1, 1, 0, 0, 1)],
[::get(1)   => 200, ::got(::message(1, 1, tag => 5))],
[::stats(1) => 200, ::stat_line(1, 1, 0, 1, 0)],
[::put(::message(1, 1, tag => 5, kind => 'response')) => 200],
[::stats(1) => 200, ::stat_line(1, 1, 1, 0, 1)],


=== TEST 11: requests of a mailbox that is not there
--- calls eval
[::create(2)                      => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::stats(1) => 200, ::stat_line(0, 0, 0, 0, 0)],
[::stats(2) => 200, ::stat_line(1, 0, 0, 0, 1)],


=== TEST 12: a request that was refused counts nowhere
--- calls eval
[::create(1)                        => 200],
[::put(::message(1, 2))             => 404],
[::create(2)                        => 200],
[::terminate(2)                     => 200],
[::put(::message(1, 2))             => 419],
[::stats(1) => 200, ::stat_line(0, 0, 0, 0, 0)],
[::stats(2) => 200, ::stat_line(0, 0, 0, 0, 0)],


=== TEST 13: zeros for what is terminated
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5))                     => 200],
[::put(::message(2, 1, tag => 5, kind => 'response')) => 200],
[::put(::message(2, 1, tag => 6))                     => 200],
[::terminate(2)                                       => 200],
[::stats(2) => 200, ::stat_line(0, 0, 0, 0, 0)],
[::create(2)                                          => 200],
[::stats(2) => 200, ::stat_line(0, 0, 0, 0, 0)],
[::stats(1) => 200, ::stat_line(1, 1, 0, 0, 2)],


=== TEST 14: many requests in flight, answered from the last to the first
--- keepalive
--- calls eval
[::create(1) => 200], [::create(2) => 200],
(map { [::put(::message(1, 2, tag => $_)) => 200], [::get(2) => 200,
        ::got(::message(1, 2, tag => $_))] } 1 .. 100),
[::stats(2) => 200, ::stat_line(100, 0, 0, 100, 0)],
(map { [::put(::message(2, 1, tag => $_, kind => 'response')) => 200]
     } reverse 51 .. 100),
[::stats(2) => 200, ::stat_line(100, 0, 50, 50, 0)],
[::stats(1) => 200, ::stat_line(0, 100, 0, 0, 50)],


=== TEST 15: only for who may use the mailbox
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))     => 200],
[::as('bob', 'g', ::stats(1))      => 403],
[::as('ann', 'g', ::share(1, 'g')) => 200],
[::as('bob', 'g', ::stats(1))      => 200, ::stat_line(0, 0, 0, 0, 0)],
[::as('ann', 'g', ::terminate(1))  => 200],
[::as('eve', '', ::stats(1))       => 403],
[::as('eve', '', ::stats(2))       => 200, ::stat_line(0, 0, 0, 0, 0)],


=== TEST 16: bodies that are no use
--- calls eval
["GET /mailbox/stats"                     => 400],
["GET /mailbox/stats\n{}"                 => 400, ::bad('mailbox')],
["GET /mailbox/stats\n[1]"                => 400],
[qq(GET /mailbox/stats\n{"mailbox":[]})   => 400, ::bad('mailbox')],
[qq(GET /mailbox/stats\n{"mailbox":"{}"}) => 400, ::bad('uid')],
