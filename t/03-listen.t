# GET /mailbox/listen: the event stream.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

run_tests();

__DATA__

=== TEST 1: the header of a stream
--- calls eval
[::create(1)      => 200],
[::stream(1, 0.1) => 200, ::events()]
--- response_headers eval
["Content-Length: 0",
 "Content-Type: text/event-stream
Cache-Control: no-cache
X-Accel-Buffering: no
Connection: close
! Content-Length
! Transfer-Encoding"]


=== TEST 2: messages that wait are sent at once, in order
--- calls eval
my @messages = map { ::message(2, 1, tag => $_) } 1 .. 20;
[::create(1)      => 200],
(map { [::put($_) => 200] } @messages),
[::stream(1, 0.2) => 200, ::events(@messages)],
[::get(1, 0.1)    => 408],
[::stats(1)       => 200, ::stat_line(20, 0, 0, 20, 0)],


=== TEST 3: a stream that nothing came on is empty but for its beginning
--- calls eval
[::create(1)                 => 200],
[::stream(1, 0.2)            => 200, ::events()],
[::put(::message(2, 1))      => 200],
[::stream(1, 0.2)            => 200, ::events(::message(2, 1))],
[::stream(1, 0.2)            => 200, ::events()],


=== TEST 4: a message is one line, whatever it holds
--- calls eval
my $message = ::message(2, 1, tag => 5, body => "{\n\t\"a\":\r\n\"\\r\\n\"}");
my $flat = ::message(2, 1, tag => 5, body => "{  \"a\":  \"\\r\\n\"}");
[::create(1)      => 200],
[::put($message)  => 200],
[::stream(1, 0.1) => 200, ::events($flat)],


=== TEST 5: the receiver gets the sender's JSON
--- calls eval
my $message = '{"body":{"n":123456789012345678901234567890,"t":"\u0000\\\\'
    . "\xc3\xa9" . '\ud83d\ude00"}, "header": '
    . ::header(2, 1, more => '"later":[ ]') . ' ,"more":1e400}';
[::create(1)      => 200],
[::put($message)  => 200],
[::stream(1, 0.1) => 200, ::events($message)],


=== TEST 6: clients are told to come back soon
--- calls eval
my $retry = qr/\Aretry: (?:1\d\d|200)\n/;
[::create(1) => 200],
map { [::stream(1, 0.02) => 200, $retry] } 1 .. 8


=== TEST 7: how soon can be set
--- config
location / { academy_exchange x; academy_retry 3s; }
--- calls eval
my $retry = qr/\Aretry: (?:[345]\d\d\d|6000)\n/;
[::create(1) => 200],
map { [::stream(1, 0.02) => 200, $retry] } 1 .. 8


=== TEST 8: pings
--- config
location / { academy_exchange x; academy_ping_interval 100ms; }
--- calls eval
[::create(1)            => 200],
[::put(::message(2, 1)) => 200],
[::stream(1, 0.75)      => 200, qr/\n\n(?:: ping\n\n){5,7}\z/],


=== TEST 9: no ping in a stream that is shorter than their interval
--- calls eval
[::create(1)      => 200],
[::stream(1, 0.3) => 200, qr/\A(?!.*ping)/s],


=== TEST 10: a stream ends when nothing came for its timeout
--- timeout: 0.9
--- calls eval
[::create(1)      => 200],
[::stream(1, 0.5) => 200, ::events()],


=== TEST 11: the configured timeout is what is used without one
--- config
location / { academy_exchange x; academy_listen_timeout 1s; }
--- timeout: 1.5
--- calls eval
[::create(1)                                       => 200],
[::call('GET /mailbox/listen', mailbox => ::id(1)) => 200, ::events()],


=== TEST 12: what is wrong is told before the stream starts
--- calls eval
my $timeout = qr/\AInvalid timeout \(must be less than 60 and greater than 0\)/;
[::stream(1)                    => 404],
[::stream(1, 0)                 => 400, $timeout],
["GET /mailbox/listen"          => 400],
["GET /mailbox/listen\n{}"      => 400, ::bad('mailbox')],
[::stream('{"uid":"nonsense"}') => 400, ::bad('uid')],
[::create(1)                    => 200],
(map { [::stream(1, $_)         => 400, $timeout] } '0', '-1', '60.5', '1e99'),
(map { [::stream(1, $_)         => 400] } 'null', '"1"', 'true', '[]'),
[::terminate(1)                 => 200],
[::stream(1)                    => 419],
[::stream(1, 0)                 => 400, $timeout],


=== TEST 13: the configured timeout is the limit
--- config
location / { academy_exchange x; academy_listen_timeout 2s; }
--- calls eval
[::create(1)       => 200],
[::stream(1, 2.01) => 400,
    qr/\AInvalid timeout \(must be less than 2 and greater than 0\)/],


=== TEST 14: only who may use the mailbox may listen
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))                   => 200],
[::as('bob', 'g', ::stream(1))                   => 403],
[::as('ann', 'g', ::put(::message(2, 1)))        => 200],
[::as('ann', 'g', ::share(1, 'g'))               => 200],
[::as('bob', 'g', ::stream(1, 0.1))              => 200,
                                           ::events(::message(2, 1))],
[::as('ann', 'g', ::terminate(1))                => 200],
[::as('eve', '', ::stream(1))                    => 403],


=== TEST 15: a large message, behind and before small ones
--- http_config
academy_zone zone=x:2m;
--- calls eval
my @messages = map { ::message(2, 1, body => '"' . $_ . '"') }
               'a', 'bc' x 200_000, 'd';
[::create(1)      => 200],
(map { [::put($_) => 200] } @messages),
[::stream(1, 0.2) => 200, ::events(@messages)],


=== TEST 16: more messages than fit one packet
--- http_config
academy_zone zone=x:4m;
--- calls eval
my @messages = map { ::message(2, 1, tag => $_, body => '"' . 'z' x 1000 . '"')
                   } 1 .. 300;
[::create(1)      => 200],
(map { [::put($_) => 200] } @messages),
[::stream(1, 0.2) => 200, ::events(@messages)],
[::get(1, 0.05)   => 408],


=== TEST 17: HTTP/1.0, where everything ends with the connection
--- calls eval
my $request = ::stream(1, 0.1) =~ s/listen\n/listen HTTP\/1.0\n/r;
[::create(1)            => 200],
[::put(::message(2, 1)) => 200],
[$request               => 200, ::events(::message(2, 1))],


=== TEST 18: a stream is the end of its connection
--- request eval
[::create(1), ::put(::message(2, 1)), ::stream(1, 0.1)]
--- more_headers eval
["", "", "Connection: keep-alive\nLast-Event-Id: 17"]
--- timeout: 0.9
--- error_code eval
[200, 200, 200]
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, ::events(::message(2, 1))]
--- raw_response_headers_like eval
[qr/^HTTP/, qr/^HTTP/, qr/^Connection: close\r$/m]


=== TEST 19: the stream of a HEAD request there is not
--- request eval
::stream(1) =~ s/^GET/HEAD/r
--- error_code: 405
--- response_headers
Allow: GET
