# Paths and methods that there are not.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $here = json('{"status":"ACTIVE"}');
our $gone = json('{"status":"MISSING"}');

our %methods = (
    '/mailbox'           => [qw(POST GET DELETE)],
    '/mailbox/share'     => [qw(POST GET DELETE)],
    '/mailbox/heartbeat' => [qw(POST GET)],
    '/mailbox/stats'     => [qw(GET)],
    '/mailbox/listen'    => [qw(GET)],
    '/message'           => [qw(PUT GET)],
    '/discover'          => [qw(GET)],
);

# a request with a header more

sub with {
    my ($header, $request) = @_;
    return { request => $request, headers => $header };
}


# rows for all the methods that a path has not got: each tells those it has

sub others {
    my ($path) = @_;

    my @has = @{ $methods{$path} };
    my %has = map { $_ => 1 } @has;
    my $allow = join '', map { "(?=[^\\r]*\\b$_\\b)" } @has;
    my $only = join '|', @has;

    return map { ["$_ $path\n{}" => 405, qr/\A/,
                  qr/^Allow: $allow(?:(?:$only)(?:, ?)?)+\r$/m] }
           grep { !$has{$_} }
                qw(GET POST PUT DELETE PATCH OPTIONS MKCOL PROPFIND);
}

run_tests();

__DATA__

=== TEST 1: a known path with another method
--- calls eval
map { ::others($_) } sort keys %::methods


=== TEST 2: the same without a body, on one connection
--- keepalive
--- calls eval
map { [$_->[0] =~ s/\n.*//r, @$_[1 .. 3]] }
map { ::others($_) } sort keys %::methods


=== TEST 3: HEAD is another method, too
--- request
HEAD /mailbox
--- error_code: 405
--- response_body
--- response_headers_like
Allow: .*GET.*


=== TEST 4: unknown paths, with all methods
--- calls eval
map { my $path = $_; map { ["$_ $path" => 404, qr/\A/] } qw(GET POST PUT DELETE) }
    '/', '/x', '/mailbo', '/mailboxes', '/mailbox/shares', '/mailbox/1',
    '/mailbox/share/g', '/messages', '/message/1', '/discover/x', '/share',
    '/stats', '/MAILBOX', '/Mailbox/share', '/mailbox.', '/mailbox;x'


=== TEST 5: a slash at the end is another path
--- calls eval
map { ["GET $_/" => 404, qr/\A/], ["GET $_/\n{}" => 404, qr/\A/] }
    sort keys %::methods


=== TEST 6: paths are what nginx makes of them
--- calls eval
my $to = sub { my $path = $_[1] // $_[0]; ::status(1) =~ s{/mailbox}{$path}r };
[::create(1) => 200],
map { [$to->($_) => 200, $::here] }
    '/%6Dailbox', '/%6d%61%69%6c%62%6f%78', '//mailbox', '/./mailbox', '/x/../mailbox',
    '/mailbox?', '/mailbox?x=1&mailbox=2', '/mailbox#x', '/%2e/mailbox'


=== TEST 7: an encoded slash is one
--- calls eval
[::create(1) => 200],
[::heartbeat(1) =~ s{/heart}{%2Fheart}r => 200, ::json('{"heartbeat":null}')],


=== TEST 8: below a prefix, that ends in a slash
--- config
location /v1/ { academy_exchange x; }
location / { return 418; }
--- calls eval
my $to = sub { my ($path, $request) = @_; $request =~ s{/}{$path}r };
[$to->('/v1/', ::create(1))               => 200],
[$to->('/v1/', ::put(::message(2, 1)))    => 200],
[$to->('/v1/', ::get(1))                  => 200, ::got(::message(2, 1))],
[$to->('/v1/', ::heartbeat(1))            => 200, qr/heartbeat/],
[$to->('/v1/', ::put(::message(3, 1)))    => 200],
[$to->('/v1/', ::stream(1, 0.1))          => 200, ::events(::message(3, 1))],
[$to->('/v1/', "PUT /mailbox")            => 405],
[$to->('/v1/', "GET /nowhere")            => 404, qr/\A/],
[$to->('/v1/', ::status(1)) =~ s{ }{ /}r  => 200, $::here],
[$to->('/v1/v1/', ::status(1))            => 404, qr/\A/],
["GET /v1/"                               => 404, qr/\A/],
["GET /v1/mailbox/"                       => 404, qr/\A/],
[$to->('/v1', ::status(1))                => 418],
[::status(1)                              => 418],


=== TEST 9: below a prefix that does not
--- config
location /v1 { academy_exchange x; }
location / { return 418; }
--- calls eval
my $to = sub { my ($path, $request) = @_; $request =~ s{/}{$path}r };
[$to->('/v1/', ::create(1))               => 200],
[$to->('/v1/', ::status(1))               => 200, $::here],
[$to->('/v1', ::status(1))                => 404, qr/\A/],
[$to->('/v12/', ::status(1))              => 404, qr/\A/],
["GET /v1"                                => 404, qr/\A/],
["GET /v1/"                               => 404, qr/\A/],
["PUT /v1/mailbox"                        => 405],
[::status(1)                              => 418],


=== TEST 10: below a long prefix, within another location
--- config
location /a/ {
    return 418;
    location /a/b/c/ { academy_exchange x; }
}
--- calls eval
my $to = sub { my ($path, $request) = @_; $request =~ s{/}{$path}r };
[$to->('/a/b/c/', ::create(1))            => 200],
[$to->('/a/b/c/', ::status(1))            => 200, $::here],
[$to->('/a/b/', ::status(1))              => 418],


=== TEST 11: a prefix that wins over regular expressions
--- config
location ^~ /v1/ { academy_exchange x; }
location ~ box$ { return 418; }
--- calls eval
my $to = sub { my ($path, $request) = @_; $request =~ s{/}{$path}r };
[$to->('/v1/', ::create(1))               => 200],
[$to->('/v1/', ::status(1))               => 200, $::here],
[::status(1)                              => 418],


=== TEST 12: a prefix that looks like a route
--- config
location /mailbox { academy_exchange x; }
--- calls eval
my $to = sub { my ($path, $request) = @_; $request =~ s{/}{$path}r };
[$to->('/mailbox/', ::create(1))          => 200],
[$to->('/mailbox/', ::status(1))          => 200, $::here],
["GET /mailbox"                           => 404, qr/\A/],
["GET /mailbox/share"                     => 404, qr/\A/],


=== TEST 13: one exchange at two places, and another beside it
--- http_config
academy_zone zone=x:2m;
academy_zone zone=y:2m;
--- config
location /one/ { academy_exchange x; }
location /two/ { academy_exchange x; }
location /other/ { academy_exchange y; }
--- calls eval
my $to = sub { my ($path, $request) = @_; $request =~ s{/}{$path}r };
[$to->('/one/', ::create(1))              => 200],
[$to->('/two/', ::status(1))              => 200, $::here],
[$to->('/other/', ::status(1))            => 200, $::gone],
[$to->('/two/', ::put(::message(2, 1)))   => 200],
[$to->('/other/', ::put(::message(2, 1))) => 404],
[$to->('/one/', ::get(1))                 => 200, ::got(::message(2, 1))],


=== TEST 14: a rewritten path
--- config
rewrite ^/api/(.*)$ /$1 last;
location / { academy_exchange x; }
--- calls eval
my $to = sub { my ($path, $request) = @_; $request =~ s{/}{$path}r };
[$to->('/api/', ::create(1))              => 200],
[::status(1)                              => 200, $::here],


=== TEST 15: what the exchange answers is not replaced by an error_page
--- config
location / {
    academy_exchange x;
    error_page 400 404 405 408 = @nothing;
}
location @nothing { return 200 "nothing here"; }
--- calls eval
[::get(1)       => 404],
[::create(1)    => 200],
[::get(1, 0.05) => 408],
[::get(1, 0)    => 400],


=== TEST 16: what is answered is not changed by a default type
--- config
default_type image/png;
location / { academy_exchange x; }
--- calls eval
[::status(1) => 200, $::gone],
[::get(1)    => 404],


=== TEST 17: methods that are no methods
--- raw_request eval
"get /mailbox HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
--- error_code_like: ^40[05]$


=== TEST 18: within "if" and "limit_except" it is the same exchange
--- config
location /v1/ {
    academy_exchange x;

    if ($arg_tag) {
        set $tag 1;
    }

    limit_except GET PUT {
        deny all;
    }
}
--- request eval
my $to = sub { $_[0] =~ s{/}{/v1/}r };
[$to->(::status(1)), $to->(::status(1)) =~ s/box/box?tag=1/r,
 $to->(::get(1)), $to->(::create(1)), $to->("PUT /mailbox")]
--- error_code eval
[200, 200, 404, 403, 405]


=== TEST 19: an exchange does not serve subrequests
--- config
location / { academy_exchange x; }
location = /page.html {
    mirror /mailbox;
    root html;
}
--- user_files
>>> page.html
a page
--- request
GET /page.html
--- response_body
a page
--- error_log
does not serve subrequests


=== TEST 20: conditions change nothing: what was done is said
--- calls eval
[::create(1)                                   => 200],
[::with('If-Match: "x"', ::put(::message(2, 1))) => 200],
[::with('If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT',
        ::put(::message(3, 1)))                => 200],
[::with('If-None-Match: *', ::put(::message(4, 1))) => 200],
[::with('If-None-Match: *', ::stats(1))        => 200, qr/"queued"/],
[::with('If-None-Match: *', ::get(1))          => 200, ::got(::message(2, 1))],
[::with('If-Match: "x"', ::get(1))             => 200, ::got(::message(3, 1))],
[::with('If-Modified-Since: Thu, 01 Jan 2970 00:00:00 GMT', ::get(1))
                                               => 200, ::got(::message(4, 1))],
[::with('If-Match: "x"', ::stream(1, 0.05))    => 200, ::events()],
[::with('If-None-Match: *', ::status(2))       => 200, $::gone],


=== TEST 21: an "if" in which something else answers is not the exchange
--- config
location / {
    academy_exchange x;
    academy_auth variables;
    academy_client_id $http_x_client;

    if ($arg_other) {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT;
    }
    proxy_set_header Host other;
}
--- http_config
academy_zone zone=x:2m;
server {
    listen $TEST_NGINX_SERVER_PORT;
    server_name other;
    location / { return 200 "the other"; }
}
--- request eval
["GET /mailbox?other=1", "GET /mailbox"]
--- error_code eval
[200, 401]
