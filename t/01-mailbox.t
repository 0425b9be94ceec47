# POST, GET and DELETE /mailbox.
#
# Where each status of each route is tested: the numbers are those of suites.
#
#                             200    400    401  403  404  408  413  419  429  503
#   POST   /mailbox           01     01 10  09   01    -    -    -    -   16   13
#   GET    /mailbox           01     01 10  09   01    -    -    -    -    -    -
#   DELETE /mailbox           01 08  01     09   01    -    -    -    -    -    -
#   POST   /mailbox/share     05     05     09   05   05    -    -   05   -    13
#   GET    /mailbox/share     05     05     09   05   05    -    -   05    -    -
#   DELETE /mailbox/share     05     05     09   05   05    -    -   05    -    -
#   GET    /mailbox/heartbeat 06     06     09   06   06    -    -   06    -    -
#   POST   /mailbox/heartbeat 06     06     09   06   06    -    -   06    -    -
#   GET    /mailbox/stats     07     07     09   07    -    -    -    -    -    -
#   GET    /mailbox/listen    03     03     09   03   03    -    -   03    -    -
#   PUT    /message           02     02 10  09   02   02    -   02   02   16   13
#   GET    /message           02     02     09   02   02   02    -   02    -    -
#   GET    /discover          04     04     09    -    -    -    -    -    -    -
#
# 405 for other methods of these paths, and 404 for other paths: 12.  All
# thirteen routes at once: 401 and 403 in 09; no body (400) and an encoded one
# (415) in 11.  That the connection stays after each of them: 11, of 401: 09.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

run_tests();

__DATA__

=== TEST 1: a mailbox is missing, then active, then terminated
--- calls eval
[::status(1)    => 200, ::json('{"status": "MISSING"}')],
[::create(1)    => 200],
[::status(1)    => 200, ::json('{"status": "ACTIVE"}')],
[::terminate(1) => 200],
[::status(1)    => 200, ::json('{"status": "TERMINATED"}')],


=== TEST 2: the same over one connection
--- keepalive
--- calls eval
[::status(1)    => 200, ::json('{"status": "MISSING"}')],
[::create(1)    => 200],
[::status(1)    => 200, ::json('{"status": "ACTIVE"}')],
[::terminate(1) => 200],
[::status(1)    => 200, ::json('{"status": "TERMINATED"}')],


=== TEST 3: an empty answer says so
--- request eval
::create(1)
--- response_body
--- response_headers
Content-Length: 0
! Transfer-Encoding


=== TEST 4: JSON answers have their type and length
--- request eval
::status(1)
--- response_body_like eval
::json('{"status": "MISSING"}')
--- response_headers
Content-Type: application/json
! Transfer-Encoding
--- response_headers_like
Content-Length: \d+


=== TEST 5: creating again changes nothing
--- calls eval
[::create(1)                           => 200],
[::put(::message(2, 1))                => 200],
[::create(1, 'x.Agent')                => 200],
[::status(1)                           => 200, ::json('{"status":"ACTIVE"}')],
[::discover('x.Agent', 1)              => 200, ::json('{"agent_ids":""}')],
[::get(1)                              => 200, ::got(::message(2, 1))],


=== TEST 6: a terminated mailbox is never revived
--- calls eval
[::create(1)            => 200],
[::terminate(1)         => 200],
[::create(1)            => 200],
[::status(1)            => 200, ::json('{"status":"TERMINATED"}')],
[::put(::message(2, 1)) => 419],
[::get(1)               => 419],


=== TEST 7: terminating what is missing, or twice, is fine
--- calls eval
[::terminate(1) => 200],
[::status(1)    => 200, ::json('{"status":"MISSING"}')],
[::create(1)    => 200],
[::status(1)    => 200, ::json('{"status":"ACTIVE"}')],
[::terminate(1) => 200],
[::terminate(1) => 200],
[::status(1)    => 200, ::json('{"status":"TERMINATED"}')],


=== TEST 8: an agent and a user with one uid are two mailboxes
--- zone_only: Redis knows a uid, and no role
--- calls eval
[::create(::id(1, 'user'))    => 200],
[::status(1)                  => 200, ::json('{"status":"MISSING"}')],
[::status(::id(1, 'user'))    => 200, ::json('{"status":"ACTIVE"}')],
[::create(1)                  => 200],
[::terminate(::id(1, 'user')) => 200],
[::status(1)                  => 200, ::json('{"status":"ACTIVE"}')],
[::status(::id(1, 'user'))    => 200, ::json('{"status":"TERMINATED"}')],


=== TEST 9: the name is no part of the identity
--- calls eval
[::create(sprintf '{"uid":"%s","name":"ada","role":"agent"}', ::uid(1))
                    => 200],
[::status(1)        => 200, ::json('{"status":"ACTIVE"}')],
[::status(sprintf '{"role":"agent","uid":"%s"}', ::uid(1))
                    => 200, ::json('{"status":"ACTIVE"}')],
[::status(sprintf '{"name":"b\u0000b","uid":"%s"}', ::uid(1))
                    => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 10: bodies that are no use, on each method
--- calls eval
map {
    (["$_ /mailbox"                     => 400],
     ["$_ /mailbox\n{}"                 => 400, ::bad('mailbox')],
     ["$_ /mailbox\n[]"                 => 400],
     ["$_ /mailbox\nnot json"           => 400],
     [qq($_ /mailbox\n{"mailbox":null}) => 400, ::bad('mailbox')],
     [qq($_ /mailbox\n{"mailbox":17})   => 400, ::bad('mailbox')],
     [qq($_ /mailbox\n{"mailbox":""})   => 400, ::bad('mailbox')],
     [qq($_ /mailbox\n{"mailbox":"{}"}) => 400, ::bad('uid')])
} qw(POST GET DELETE)


=== TEST 11: agent is a string, and left out or null is none
--- calls eval
(map { [::call('POST /mailbox', mailbox => ::id(1), agent => $_)
             => 400, ::bad('agent')] } \'17', \'["a"]', \'true', \'{}'),
[::status(1) => 200, ::json('{"status":"MISSING"}')],
[::call('POST /mailbox', mailbox => ::id(1), agent => \'null') => 200],
[::status(1) => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 12: nothing is created by a refused request
--- calls eval
[qq(POST /mailbox\n{"mailbox":"{\\"uid\\":\\"nonsense\\"}"})
             => 400, ::bad('uid')],
[::create(1) . ' trailing' => 400],
[::status(1) => 200, ::json('{"status":"MISSING"}')],


=== TEST 13: a mailbox belongs to whoever created it
--- config eval: $::auth
--- calls eval
[::as('ann', '', ::create(1))    => 200],
[::as('bob', '', ::create(1))    => 403],
[::as('bob', '', ::status(1))    => 403],
[::as('bob', '', ::terminate(1)) => 403],
[::as('ann', '', ::status(1))    => 200, ::json('{"status":"ACTIVE"}')],
[::as('ann', '', ::create(1))    => 200],
[::as('ann', '', ::terminate(1)) => 200],
[::as('ann', '', ::status(1))    => 200, ::json('{"status":"TERMINATED"}')],


=== TEST 14: whoever it is shared with may use it, and does not take it over
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1, 'x.A'))     => 200],
[::as('ann', 'g', ::share(1, 'g'))        => 200],
[::as('bob', 'f,g', ::create(1, 'x.B'))   => 200],
[::as('bob', 'f,g', ::status(1))          => 200, ::json('{"status":"ACTIVE"}')],
[::as('bob', 'f,g', ::shares(1))          => 403],
[::as('ann', 'g', ::shares(1))            => 200, ::json('{"group_ids":["g"]}')],
[::as('ann', 'g', ::discover('x.B', 1))   => 200, ::json('{"agent_ids":""}')],
[::as('bob', 'f,g', ::terminate(1))       => 200],
[::as('ann', 'g', ::status(1))            => 200, ::json('{"status":"TERMINATED"}')],


=== TEST 15: a gravestone keeps its owner and its shares
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))    => 200],
[::as('ann', 'g', ::share(1, 'g')) => 200],
[::as('ann', 'g', ::terminate(1)) => 200],
[::as('eve', '', ::status(1))     => 403],
[::as('eve', '', ::create(1))     => 403],
[::as('eve', '', ::terminate(1))  => 403],
[::as('bob', 'g', ::status(1))    => 200, ::json('{"status":"TERMINATED"}')],
[::as('bob', 'g', ::create(1))    => 200],
[::as('ann', '', ::status(1))     => 200, ::json('{"status":"TERMINATED"}')],


=== TEST 16: a missing mailbox is nobody's
--- config eval: $::auth
--- calls eval
[::as('ann', '', ::terminate(1)) => 200],
[::as('bob', '', ::status(1))    => 200, ::json('{"status":"MISSING"}')],
[::as('bob', '', ::create(1))    => 200],
[::as('ann', '', ::status(1))    => 403],


=== TEST 17: many mailboxes
--- keepalive
--- calls eval
(map { [::create($_, "x.Agent$_") => 200] } 1 .. 200),
(map { [::terminate($_) => 200] } grep { $_ % 2 } 1 .. 200),
(map { [::status($_) => 200, ::json($_ % 2 ? '{"status":"TERMINATED"}'
                                           : '{"status":"ACTIVE"}')]
     } 1 .. 200),
[::status(201) => 200, ::json('{"status":"MISSING"}')],
