# Variables: what a request was about and what became of it, as each route and
# each result leaves them.  A header of the answer tells them, so that they are
# asked for when the answer is made; the log is in t/client/test_examples.py.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our @names = qw(route client_id auth mailbox peer message_tag message_kind
                message_size wait_time result);

our $said = 'add_header X-Said "'
    . join('|', map { "\${academy_$_}" } @names) . '" always;';

sub location {
    my ($more, $path) = @_;
    return "location " . ($path // '/')
           . " { academy_exchange x; $said " . ($more // '') . " }\n";
}

our $named = 'academy_auth variables; academy_client_id $http_x_client;'
             . 'academy_client_groups $http_x_groups;';

# A row whose answer has these values.  Without authentication "auth" is off;
# a poll that does not say how long waited not at all.

sub says {
    my ($request, $code, $body, %is) = @_;

    $is{auth} //= 'off';
    $is{wait_time} //= qr/0\.[01]\d\d/ if ($is{result} // '') eq 'delivered';

    my $line = join '\|', map { ref $is{$_} ? $is{$_}
                                     : quotemeta($is{$_} // '') } @names;

    return [$request, $code, $body, qr/^X-Said: $line\r$/m];
}

our $m = ::message(2, 1, tag => 7);
our $size = length $m;
our %sent = (mailbox => ::uid(1), peer => ::uid(2), message_tag => ::uid(7),
             message_kind => 'request', message_size => $size);

run_tests();

__DATA__

=== TEST 1: each route, when all is well
--- config eval: ::location($::named)
--- calls eval
my $one = ::uid(1);
sub ann {
    my ($request, @rest) = @_;
    return ::says(::as('ann', 'g', $request), @rest, auth => 'variables',
                  client_id => 'ann');
}
my @mailbox = (mailbox => $one, result => 'done');
ann(::create(1, 'x.A'), 200, undef, route => 'POST /mailbox', @mailbox),
ann(::status(1), 200, qr/ACTIVE/, route => 'GET /mailbox', @mailbox),
ann(::share(1, 'g'), 200, undef, route => 'POST /mailbox/share', @mailbox),
ann(::shares(1), 200, qr/"g"/, route => 'GET /mailbox/share', @mailbox),
ann(::unshare(1, 'g'), 200, undef, route => 'DELETE /mailbox/share',
       @mailbox),
ann(::beat(1), 200, undef, route => 'POST /mailbox/heartbeat', @mailbox),
ann(::heartbeat(1), 200, qr/\d/, route => 'GET /mailbox/heartbeat',
       @mailbox),
ann(::stats(1), 200, qr/queued/, route => 'GET /mailbox/stats', @mailbox),
ann(::discover('x.A', 0), 200, qr/$one/, route => 'GET /discover',
       result => 'done'),
ann(::stream(1), 200, ::events(), route => 'GET /mailbox/listen',
       mailbox => $one, result => 'stream'),
ann(::put($::m), 200, undef, route => 'PUT /message', %::sent,
       result => 'accepted'),
ann(::get(1), 200, ::got($::m), route => 'GET /message', %::sent,
       result => 'delivered'),
ann(::terminate(1), 200, undef, route => 'DELETE /mailbox', @mailbox),
ann(::status(1), 200, qr/TERMINATED/, route => 'GET /mailbox', @mailbox),
ann(::status(3), 200, qr/MISSING/, route => 'GET /mailbox',
       mailbox => ::uid(3), result => 'done'),


=== TEST 2: a message that came before
--- config eval: ::location()
--- calls eval
[::create(1) => 200],
::says(::put($::m), 200, undef, route => 'PUT /message', %::sent,
       result => 'accepted'),
::says(::put($::m), 200, undef, route => 'PUT /message', %::sent,
       result => 'repeated'),


=== TEST 3: responses, and mailboxes of users
--- config eval: ::location()
--- calls eval
my $user = ::id(1, 'user');
my $response = ::message(2, $user, kind => 'response', tag => 9);
my %is = (%::sent, message_tag => ::uid(9), message_kind => 'response',
          message_size => length $response);
[::create($user) => 200],
::says(::put($response), 200, undef, route => 'PUT /message', %is,
       result => 'accepted'),
::says(::get($user), 200, ::got($response), route => 'GET /message', %is,
       result => 'delivered'),


=== TEST 4: who waits, and for how long
--- config eval: ::location()
--- calls eval
my @get = (route => 'GET /message', mailbox => ::uid(1));
[::create(1) => 200],
::says(::get(1, 0.2), 408, undef, @get, result => 'timeout',
       wait_time => qr/0\.(?:19\d|[2-9]\d\d)/),
::says(::get(1, 0.001), 408, undef, @get, result => 'timeout',
       wait_time => qr/0\.\d{3}/),
--- no_error_log eval
[qr/refused with|\[error\]|\[warn\]|\[(?:alert|crit|emerg)\]/]


=== TEST 5: quotes and backslashes, and a header behind the body
--- config eval: ::location()
--- calls eval
my $header = ::header(2, 1, tag => 7, more => '"x":"\\"\\\\\\u0022}"');
my $text = qq({"body":{"a":"\\"header\\":{\\\\"},"header":$header});
my %is = (%::sent, message_size => length $text);
[::create(1) => 200],
::says(::put($text), 200, undef, route => 'PUT /message', %is,
       result => 'accepted'),
::says(::get(1), 200, ::got($text), route => 'GET /message', %is,
       result => 'delivered'),


=== TEST 6: a long message, and one whose header comes after a long body
--- config eval: ::location('academy_deduplicate 0;')
--- calls eval
my $header = ::header(2, 1, tag => 7);
[::create(1) => 200],
map { my $text = $_;
      my %is = (%::sent, message_size => length $text);
      ::says(::put($text), 200, undef, route => 'PUT /message', %is,
             result => 'accepted'),
      ::says(::get(1), 200, ::got($text), route => 'GET /message', %is,
             result => 'delivered')
} qq({"header":$header,"body":") . 'x' x 20000 . '"}',
  '{"body":"' . '\\\\' x 10000 . qq(","header":$header})


=== TEST 7: refused, each reason
--- config eval
::location() . ::location('academy_mailbox_messages 1;', '/one/')
. ::location('academy_mailbox_bytes 1k; academy_message_size 1k;', '/short/')
. ::location('academy_client_mailboxes 1;', '/few/')
--- calls eval
my @put = (route => 'PUT /message');
my @get = (route => 'GET /message');
sub at { my ($path, $request) = @_; return $request =~ s{ /}{ /$path/}r }
[::create(1) => 200],
::says(::put(::message(2, 5, tag => 7)), 404, undef, @put, %::sent,
       mailbox => ::uid(5), result => 'refused: mailbox'),
::says(::get(5), 404, undef, @get, mailbox => ::uid(5),
       wait_time => qr/0\.[01]\d\d/, result => 'refused: mailbox'),
::says(at('few', ::create(4)), 429, undef, route => 'POST /mailbox',
       mailbox => ::uid(4), result => 'refused: mailboxes'),
::says(at('short', ::put(::message(2, 1, body => '"' . 'x' x 2000 . '"'))),
       413, undef, @put, message_size => qr/2\d\d\d/,
       result => 'refused: size'),
[at('short', ::put($::m)) => 200],
::says(at('one', ::put(::message(2, 1, tag => 8))), 429, undef, @put,
       %::sent, message_tag => ::uid(8), result => 'refused: messages'),
::says(at('short', ::put(::message(2, 1, tag => 9,
                                   body => '"' . 'x' x 600 . '"'))),
       429, undef, @put, %::sent, message_tag => ::uid(9),
       message_size => qr/\d+/, result => 'refused: bytes'),
::says("PUT /message\n{}", 400, undef, @put, result => 'refused: request'),
::says("GET /message\n{}", 400, undef, @get, result => 'refused: request'),
::says("GET /mailbox\n{}", 400, undef, route => 'GET /mailbox',
       result => 'refused: request'),
::says("GET /nothing\n", 404, qr/Not found/, result => 'refused: route'),
::says("POST /message\n", 405, qr/not allowed/, result => 'refused: method'),
::says({ request => ::status(1), headers => 'Content-Encoding: gzip' }, 415,
       qr/Content-Encoding/, route => 'GET /mailbox',
       result => 'refused: encoding'),
[::terminate(1) => 200],
::says(::put(::message(2, 1, tag => 30)), 419, undef, @put, %::sent,
       message_tag => ::uid(30), result => 'closed'),
::says(::get(1), 419, undef, @get, mailbox => ::uid(1),
       wait_time => qr/0\.[01]\d\d/, result => 'closed'),


=== TEST 8: a mailbox that is shared with as many groups as it may
--- config eval: ::location($::named)
--- calls eval
my $all = join ',', 'more', map { "g$_" } 1 .. 256;
[::as('ann', $all, ::create(1)) => 200],
(map { [::as('ann', $all, ::share(1, "g$_")) => 200] } 1 .. 256),
::says(::as('ann', $all, ::share(1, 'more')), 400, qr/256 groups/,
       route => 'POST /mailbox/share', mailbox => ::uid(1),
       auth => 'variables', client_id => 'ann', result => 'refused: shares'),


=== TEST 9: with authentication, who it was; and who may not
--- config eval: ::location($::named)
--- calls eval
my @who = (auth => 'variables', client_id => 'ann');
::says(::as('ann', '', ::create(1)), 200, undef, @who,
       route => 'POST /mailbox', mailbox => ::uid(1), result => 'done'),
::says(::as('bob', '', ::get(1)), 403, undef, auth => 'variables',
       client_id => 'bob', route => 'GET /message', mailbox => ::uid(1),
       wait_time => qr/0\.[01]\d\d/, result => 'refused: permission'),
::says(::get(1), 401, undef, auth => 'none', route => 'GET /message',
       result => 'refused: unauthorized'),


=== TEST 10: tokens that nobody believes
--- config eval
::location('academy_auth jwt; academy_jwt_algorithms HS256;'
           . 'academy_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys;')
--- user_files
>>> keys
{"keys": [{"kty": "oct", "k": "Y7bpHL5j5mPP3K86v7agrIRpMQZrbhXcx448lLpJLXbcIqZit-4eeSsj_Yp0zDSCrebGWuFgGOs8FuRPLNZ2jw", "kid": "HS256"}]}
--- calls eval
sub token { return { request => ::get(1), headers => "Authorization: $_[0]" } }
::says(token('Bearer x.y.z'), 403, qr/expired/, auth => 'refused',
       route => 'GET /message', result => 'refused: token'),
::says(token('Bearer'), 401, undef, auth => qr/none|refused/,
       route => 'GET /message', result => qr/refused: (?:token|unauthorized)/),
::says(::get(1), 401, undef, auth => 'none', route => 'GET /message',
       result => 'refused: unauthorized'),


=== TEST 11: what nginx refuses by itself, and what is no exchange's
--- config eval
::location('deny all;') . "location = /here { $::said return 200 here; }\n"
--- calls eval
::says(::get(1), 403, qr/nginx/, auth => '', route => 'GET /message',
       result => 'refused'),
::says("GET /here", 200, qr/here/, auth => ''),


=== TEST 12: before the answer: routes for maps and keys of limits
--- http_config
academy_zone zone=x:2m;
map $academy_route $limited {
    "POST /mailbox"  $binary_remote_addr;
}
limit_req_zone $limited zone=creations:1m rate=1r/m;
--- config
location / {
    academy_exchange x;
    limit_req zone=creations;
    limit_req_status 429;
    if ($academy_result = nothing) { return 500; }
    add_header X-Said "$academy_route|$academy_result" always;
}
--- calls eval
[::create(1) => 200, undef, qr/^X-Said: POST \/mailbox\|done\r$/m],
[::status(1) => 200, qr/ACTIVE/, qr/^X-Said: GET \/mailbox\|done\r$/m],
[::create(2) => 429, qr/nginx/, qr/^X-Said: POST \/mailbox\|refused\r$/m],
[::status(2) => 200, qr/MISSING/, qr/^X-Said: GET \/mailbox\|done\r$/m],


=== TEST 13: below a prefix the route is the same
--- config eval: ::location(undef, '/v1/')
--- calls eval
::says(::create(1) =~ s{ /}{ /v1/}r, 200, undef, route => 'POST /mailbox',
       mailbox => ::uid(1), result => 'done'),
