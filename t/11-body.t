# How a request's body comes: in pieces, chunked, through a temporary file, too
# large, encoded, or not at all; and what becomes of the connection after it.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $here = json('{"status":"ACTIVE"}');
our $gone = json('{"status":"MISSING"}');

# a request in pieces of some bytes, that are sent one after the other

sub pieces {
    my ($request, $size) = @_;

    my ($line, $body) = $request =~ /\A(.*?\n)(.*)\z/s;

    return [$line, map { { value => $_, delay_before => 0.02 } }
                       $body =~ /.{1,$size}/gs];
}

sub sized {
    my ($size) = @_;
    my $empty = length message(2, 1, body => '""');
    return message(2, 1, body => '"' . 'x' x ($size - $empty) . '"');
}

run_tests();

__DATA__

=== TEST 1: GET and DELETE have bodies like any other
--- request eval
[::create(1), ::status(1), ::terminate(1), ::status(1)]
--- response_body_like eval
[qr/\A\z/, $::here, qr/\A\z/, ::json('{"status":"TERMINATED"}')]


=== TEST 2: no body, on any route
--- calls eval
map { [$_ => 400] }
    'POST /mailbox', 'GET /mailbox', 'DELETE /mailbox', 'POST /mailbox/share',
    'GET /mailbox/share', 'DELETE /mailbox/share', 'GET /mailbox/heartbeat',
    'POST /mailbox/heartbeat', 'GET /mailbox/stats', 'GET /mailbox/listen',
    'PUT /message', 'GET /message', 'GET /discover'


=== TEST 3: an empty body, counted and chunked
--- raw_request eval
"GET /mailbox HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
. "Content-Length: 0\r\n\r\n"
--- error_code: 400


=== TEST 4: an empty body, chunked
--- request eval
"GET /mailbox\n0\r\n\r\n"
--- more_headers
Transfer-Encoding: chunked
--- error_code: 400


=== TEST 5: chunked
--- request eval
my $chunked = sub {
    my ($line, $body) = split /\n/, $_[0], 2;
    return "$line\n" . ::chunked($body, $_[1]);
};
[$chunked->(::create(1), 1000), $chunked->(::status(1), 1),
 $chunked->(::put(::message(2, 1)), 7), $chunked->(::get(1), 16)]
--- more_headers
Transfer-Encoding: chunked
--- response_body_like eval
[qr/\A\z/, $::here, qr/\A\z/, ::got(::message(2, 1))]


=== TEST 6: in pieces
--- request eval
[::pieces(::create(1), 20), ::pieces(::put(::message(2, 1)), 60), ::get(1)]
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, ::got(::message(2, 1))]


=== TEST 7: chunked and in pieces, with the chunks' borders in the middle
--- request eval
my ($line, $body) = split /\n/, ::put(::message(2, 1)), 2;
[::create(1), ::pieces("$line\n" . ::chunked($body, 100), 90), ::get(1)]
--- more_headers eval
["", "Transfer-Encoding: chunked", ""]
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, ::got(::message(2, 1))]


=== TEST 8: a header in pieces
--- raw_request eval
my $body = ::body(mailbox => ::id(1));
["GET /mai", "lbox HTTP/1.1\r\nHos", "t: localhost\r\nConnection: close\r\nCont",
 'ent-Length: ' . length($body) . "\r", "\n\r", "\n" . substr($body, 0, 1),
 substr($body, 1)]
--- raw_request_middle_delay: 0.02
--- response_body_like eval: $::gone


=== TEST 9: bodies larger than nginx's buffer
--- calls eval
my @messages = map { ::sized($_) } 8000, 8192, 9000, 20_000, 100_000, 300_000;
[::create(1) => 200],
map { [::put($_) => 200], [::get(1) => 200, ::got($_)] } @messages


=== TEST 10: a buffer that the user has made small
--- config
location / { academy_exchange x; client_body_buffer_size 1k; }
--- calls eval
my @messages = map { ::sized($_) } 500, 900, 1000, 1024, 1100, 2000, 5000,
                                   100_000, 300_000;
[::create(1) => 200],
(map { [::put($_) => 200], [::get(1) => 200, ::got($_)] } @messages),
[::create(2, 'x.Agent,' . join ',', map { "$_" x 900 } 1 .. 5) => 200],
[::discover('x.Agent')                => 200, qr/00002"\}/],
[::put(::message(2, 1) . ' ' x 3000 . 'x') => 400],


=== TEST 11: the same, chunked
--- config
location / { academy_exchange x; client_body_buffer_size 1k; }
--- request eval
my ($line, $body) = split /\n/, ::put(::sized(50_000)), 2;
[::create(1), "$line\n" . ::chunked($body, 700), ::get(1)]
--- more_headers eval
["", "Transfer-Encoding: chunked", ""]
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, ::got(::sized(50_000))]


=== TEST 12: always in a file, because the user wants it
--- config
client_body_buffer_size 1k;
client_body_in_file_only clean;
location / { academy_exchange x; }
--- calls eval
[::create(1)             => 200],
[::put(::sized(400))     => 200],
[::put(::sized(3000))    => 200],
[::put(::sized(524_288)) => 200],
[::get(1)                => 200, ::got(::sized(400))],
[::get(1)                => 200, ::got(::sized(3000))],
[::get(1)                => 200, ::got(::sized(524_288))],
[::status(1)             => 200, $::here],


=== TEST 13: in a single buffer, as a user may have it
--- config
client_body_buffer_size 16k;
client_body_in_single_buffer on;
location / { academy_exchange x; }
--- request eval
my ($line, $body) = split /\n/, ::put(::sized(9000)), 2;
[::create(1), "$line\n" . ::chunked($body, 700), ::put(::sized(9001)), ::get(1),
 ::get(1)]
--- more_headers eval
["", "Transfer-Encoding: chunked", "", "", ""]
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, qr/\A\z/, ::got(::sized(9000)), ::got(::sized(9001))]


=== TEST 14: passed on by nginx unbuffered
--- http_config
academy_zone zone=x:2m;
server {
    listen $TEST_NGINX_SERVER_PORT;
    server_name behind;
    location / { academy_exchange x; }
}
--- config
location / {
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT;
    proxy_set_header Host behind;
    proxy_http_version 1.1;
    proxy_request_buffering off;
}
--- request eval
my ($line, $body) = split /\n/, ::put(::sized(9000)), 2;
[::create(1), ::pieces("$line\n" . ::chunked($body, 3000), 2500), ::get(1),
 ::put(::message(2, 1)), ::stream(1, 0.1)]
--- more_headers eval
["", "Transfer-Encoding: chunked", "", "", ""]
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, ::got(::sized(9000)), qr/\A\z/,
 ::events(::message(2, 1))]


=== TEST 15: the largest message, whatever it holds
--- http_config
academy_zone zone=x:4m;
--- calls eval
my $empty = length ::message(2, 1, body => '""');
my $room = 524_288 - $empty;

# where everything in a message must be escaped, the request is twice as long

my @bodies = ('"' . 'x' x $room . '"',
              '"' . '\\\\' x int($room / 2) . '"',
              '"' . '\\"' x int($room / 2) . '"',
              '"' . "\xc3\xa9" x int($room / 2) . '"',
              '[' . join(',', ('"a"') x int($room / 4)) . ']',
              '[' . join(',', ('{}') x int($room / 3)) . ']',
              '[' . join(',', ('0.1234567') x int($room / 11)) . ']');
[::create(1) => 200],
map { my $message = ::message(2, 1, body => $_);
      [::put($message) => 200], [::get(1) => 200, ::got($message)] } @bodies


=== TEST 16: the largest message, where nginx has its own limit on bodies
--- http_config
academy_zone zone=x:4m;
server {
    listen $TEST_NGINX_SERVER_PORT;
    server_name default-limits;
    location / { academy_exchange x; }
}
--- config
location / { return 500; }
--- request eval
my $room = 524_288 - length ::message(2, 1, body => '""');
my $message = ::message(2, 1, body => '"' . '\\"' x int($room / 2) . '"');
[::create(1), ::put($message), ::get(1)]
--- more_headers
Host: default-limits
--- response_body_like eval
my $room = 524_288 - length ::message(2, 1, body => '""');
my $message = ::message(2, 1, body => '"' . '\\"' x int($room / 2) . '"');
[qr/\A\z/, qr/\A\z/, ::got($message)]


=== TEST 17: too large, by little and by much
--- http_config
academy_zone zone=x:4m;
--- request eval
[::create(1), ::put(::sized(524_289)), ::put(::sized(700_000)),
 ::put(::sized(5_000_000)), ::get(1, 0.05), ::status(1)]
--- error_code eval
[200, 413, 413, 413, 408, 200]
--- response_body_like eval
[qr/\A\z/, qr/\AMessage of size 524289 larger than limit 524288\.\z/,
 qr/\AMessage of size 700000 larger than limit 524288\.\z/, qr/\A/,
 qr/\ARequest timeout\z/, $::here]


=== TEST 18: too large, chunked, so that nobody is told beforehand
--- http_config
academy_zone zone=x:4m;
--- request eval
my $chunked = sub {
    my ($line, $body) = split /\n/, ::put(::sized($_[0])), 2;
    return "$line\n" . ::chunked($body, 30_000);
};
[$chunked->(524_289), $chunked->(5_000_000)]
--- more_headers
Transfer-Encoding: chunked
--- error_code eval
[413, 413]


=== TEST 19: the other routes take no larger bodies than they have use for
--- calls eval
[::create(1, join ',', map { 'x' x 900 } 1 .. 20)              => 200],
["GET /mailbox\n" . ::body(x => 'y' x 65_000, mailbox => ::id(1)) => 200, $::here],
["GET /mailbox\n" . ::body(x => 'y' x 66_000, mailbox => ::id(1))
                                                    => 400, ::bad('body')],
["DELETE /mailbox\n" . ::body(x => 'y' x 2_000_000, mailbox => ::id(1))
                                                    => 400, ::bad('body')],
[::status(1)                                                   => 200, $::here],


=== TEST 20: a message limit that is raised takes the body's limit with it
--- http_config
academy_zone zone=x:16m;
server {
    listen $TEST_NGINX_SERVER_PORT;
    server_name default-limits;
    location / { academy_exchange x; academy_message_size 3m; }
}
--- config
location / { return 500; }
--- request eval
[::create(1), ::put(::sized(3 * 1024 * 1024)), ::get(1),
 ::put(::sized(3 * 1024 * 1024 + 1))]
--- more_headers
Host: default-limits
--- error_code eval
[200, 200, 200, 413]
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, ::got(::sized(3 * 1024 * 1024)),
 qr/\AMessage of size 3145729 larger than limit 3145728\.\z/]


=== TEST 21: an encoded body is not read, on any route
--- request eval
[::create(1), ::status(1), ::terminate(1), ::share(1, 'g'), ::shares(1),
 ::unshare(1, 'g'), ::heartbeat(1), ::beat(1), ::stats(1), ::stream(1),
 ::put(::message(2, 1)), ::get(1), ::discover('x.Agent'), "GET /discover"]
--- more_headers eval
[("Content-Encoding: gzip") x 10, "Content-Encoding: deflate",
 "Content-Encoding: br", "content-encoding: GZIP",
 "Content-Encoding: gzip, gzip"]
--- error_code eval
[(415) x 14]


=== TEST 22: and leaves nothing behind; "identity" is no encoding
--- request eval
[::create(1), ::status(1), ::create(1), ::status(1)]
--- more_headers eval
["Content-Encoding: gzip", "", "Content-Encoding: identity", ""]
--- error_code eval
[415, 200, 200, 200]
--- response_body_like eval
[qr/\A/, $::gone, qr/\A\z/, $::here]


=== TEST 23: the connection stays, after every answer but those of a stream
--- config
location / { academy_exchange x; academy_message_size 1k; }
--- keepalive
--- calls eval
my $over = ::message(2, 1, body => '"' . 'x' x 1024 . '"');
[::create(1)                => 200],
["GET /mailbox\nnonsense"   => 400],
[::status(1)                => 200, $::here],
["GET /mailbox"             => 400],
["GET /nowhere\nnonsense"   => 404, qr/\A/],
["GET /nowhere"             => 404, qr/\A/],
["PUT /mailbox\n{}"         => 405],
["PATCH /message\n" . 'x' x 3000 => 405],
[::get(2)                   => 404],
[::get(1, 0.05)             => 408],
[::put($over)               => 413],
[::status(1)                => 200, $::here],
[::get(1, 0)                => 400],
[::stream(2)                => 404],
[::stream(1, 0)             => 400],
[::share(1, 'g')            => 403],
[::terminate(1)             => 200],
[::get(1)                   => 419],
[::stream(1)                => 419],
[::put(::message(2, 1))     => 419],
[::status(1)                => 200, ::json('{"status":"TERMINATED"}')],


=== TEST 24: the connection stays, after encoded bodies
--- pipelined_requests eval
[::create(1), ::status(1), "GET /nowhere\nx", ::status(1)]
--- more_headers eval
["Content-Encoding: gzip", "", "Content-Encoding: gzip", ""]
--- error_code_like eval
[415, 200, '404|415', 200]
--- response_body_like eval
[qr/\A/, $::gone, qr/\A/, $::gone]


=== TEST 25: the connection stays, after bodies in a file
--- config
location / { academy_exchange x; client_body_buffer_size 1k; }
--- keepalive
--- calls eval
[::create(1)                                      => 200],
[::put(::sized(20_000))                           => 200],
[::put(::sized(20_000) . 'x')                     => 400],
["GET /mailbox\n" . '[' x 20_000                  => 400],
["PUT /mailbox\n" . '[' x 20_000                  => 405],
["GET /nowhere\n" . '[' x 20_000                  => 404, qr/\A/],
[::get(1)                                         => 200, ::got(::sized(20_000))],
[::status(1)                                      => 200, $::here],


=== TEST 26: many requests at once on one connection
--- keepalive
--- calls eval
[::create(1) => 200],
(map { [::put(::message(2, 1, tag => $_)) => 200],
       [::status(1) => 200, $::here],
       [::get(1) => 200, ::got(::message(2, 1, tag => $_))],
       ["GET /mailbox\n{" => 400] } 1 .. 100),


=== TEST 27: large ones too
--- keepalive
--- calls eval
[::create(1) => 200],
(map { [::put(::sized($_)) => 200], [::get(1) => 200, ::got(::sized($_))] }
     map { $_ * 3000 } 1 .. 30),


=== TEST 28: a request behind one that waits, waits
--- keepalive
--- calls eval
[::create(1)   => 200],
[::get(1, 0.3) => 408],
[::get(1, 0.1) => 408],
[::status(1)   => 200, $::here],


=== TEST 29: HTTP/1.0
--- calls eval
my $old = sub { $_[0] =~ s/\n/ HTTP\/1.0\n/r };
[$old->(::create(1))            => 200],
[$old->(::put(::message(2, 1))) => 200],
[$old->(::get(1))               => 200, ::got(::message(2, 1))],
[$old->(::get(1, 0.05))         => 408],
[$old->(::status(1))            => 200, $::here],
["GET /mailbox HTTP/1.0"        => 400],


=== TEST 30: a body that never comes
--- config
client_body_timeout 300ms;
location / { academy_exchange x; }
--- request eval
::status(1) =~ s/\n.*/\n{"mailbox"/r
--- more_headers
Content-Length: 1000
--- ignore_response


=== TEST 31: a client that goes in the middle of a body
--- raw_request eval
"PUT /message HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
--- shutdown: 1
--- ignore_response


=== TEST 32: chunks that are none
--- request eval
"GET /mailbox\nnonsense\r\n\r\n"
--- more_headers
Transfer-Encoding: chunked
--- error_code: 400


=== TEST 33: a temporary file, where there is much around a small message
--- config
location / {
    academy_exchange x;
    academy_message_size 1k;
    academy_deduplicate 0;
}
--- calls eval
my $message = ::message(2, 1);
my $padded = sub { "PUT /message\n" . ::body(x => 'y' x $_[0], message => $message) };
[::create(1) => 200],
(map { [$padded->($_) => 200], [::get(1) => 200, ::got($message)] }
     15_000, 19_000, 19_400, 23_000, 24_000, 24_300, 24_500, 40_000, 60_000),
[$padded->(40_000) . 'x' => 400],


=== TEST 34: the same, chunked, and on a connection that stays
--- config
location / {
    academy_exchange x;
    academy_message_size 1k;
    academy_deduplicate 0;
}
--- pipelined_requests eval
my $body = ::body(x => 'y' x 40_000, message => ::message(2, 1));
my $chunked = "PUT /message\n" . ::chunked($body, 5000);
[::create(1), $chunked, $chunked, ::get(1), ::get(1), ::get(1, 0.05)]
--- more_headers eval
["", ("Transfer-Encoding: chunked") x 2, ("") x 3]
--- error_code eval
[200, 200, 200, 200, 200, 408]
--- response_body_like eval
[(qr/\A\z/) x 3, (::got(::message(2, 1))) x 2, qr/timeout/]


=== TEST 35: that there was one
--- config
location / { academy_exchange x; academy_message_size 1k; }
--- request eval
"PUT /message\n" . ::body(x => 'y' x 40_000, message => ::message(2, 1))
--- error_code: 404
--- error_log
a client request body is buffered to a temporary file


=== TEST 36: a mirror gets the body as it came
--- http_config
academy_zone zone=x:2m;
academy_zone zone=copy:2m;
--- config
location / {
    academy_exchange x;
    mirror /.mirror;
}
location = /.mirror {
    internal;
    proxy_pass http://127.0.0.1:$server_port/copy$request_uri;
}
location /copy/ { academy_exchange copy; }
--- keepalive
--- calls eval
my $get = { request => "GET /message\n" . ::chunked(::body(mailbox => ::id(1)), 20),
            headers => 'Transfer-Encoding: chunked' };
my $stats = sub { ::call("GET $_[0]/mailbox/stats", mailbox => ::id(1)) };
[::create(1) => 200],
[::put(::message(2, 1, tag => 5)) => 200],
[$stats->('')      => 200, ::stat_line(1, 0, 0, 0, 1)],
[$stats->('/copy') => 200, ::stat_line(1, 0, 0, 0, 1)],
[$get => 200, ::got(::message(2, 1, tag => 5))],
[$stats->('/copy') => 200, ::stat_line(1, 0, 0, 1, 0)],
