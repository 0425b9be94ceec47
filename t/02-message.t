# PUT and GET /message.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $message = ::message(2, 1);

run_tests();

__DATA__

=== TEST 1: what is put can be got, once
--- calls eval
[::create(1)      => 200],
[::put($::message) => 200],
[::get(1)         => 200, ::got($::message)],
[::get(1, 0.1)    => 408],


=== TEST 2: an answer with a message is JSON with a length
--- request eval
[::create(1), ::put($::message), ::get(1)]
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, ::got($::message)]
--- response_headers eval
["Content-Length: 0", "Content-Length: 0", "Content-Type: application/json"]


=== TEST 3: in the order in which they were put
--- keepalive
--- calls eval
[::create(1) => 200],
(map { [::put(::message(2, 1, tag => $_)) => 200] } 1 .. 50),
(map { [::get(1) => 200, ::got(::message(2, 1, tag => $_))] } 1 .. 50),
[::get(1, 0.1) => 408],


=== TEST 4: a mailbox gets its own messages only
--- zone_only: Redis knows a uid, and no role
--- calls eval
[::create(1)                                           => 200],
[::create(2)                                           => 200],
[::create(::id(1, 'user'))                             => 200],
[::put(::message(3, 2, tag => 2))                      => 200],
[::put(::message(3, 1, tag => 1))                      => 200],
[::put(::message(3, ::id(1, 'user'), tag => 3))        => 200],
[::get(1)              => 200, ::got(::message(3, 1, tag => 1))],
[::get(1, 0.1)         => 408],
[::get(::id(1, 'user')) => 200,
                         ::got(::message(3, ::id(1, 'user'), tag => 3))],
[::get(2)              => 200, ::got(::message(3, 2, tag => 2))],


=== TEST 5: the receiver gets the sender's JSON, unknown fields too
--- calls eval
my $message = '{"x":[1,2.50,1E3,-0,{"a":{"b":null}}],'
    . '"body":{"kind":"news","n":123456789012345678901234567890},'
    . '"header":' . ::header(2, 1, more => '"later":{"deep":[true]}') . ','
    . '"z": "\u00e9\ud83d\ude00 \\/ \\\\ \u0000 ' . "\xc3\xa9" . '"}';
[::create(1)     => 200],
[::put($message) => 200],
[::get(1)        => 200, ::got($message)],


=== TEST 6: line ends outside strings become blanks
--- calls eval
my $message = ::message(2, 1, tag => 5, body => "[1,\n2,\r\n\t3]");
my $flat = ::message(2, 1, tag => 5, body => "[1, 2,   3]");
[::create(1)     => 200],
[::put($message) => 200],
[::get(1)        => 200, ::got($flat)],


=== TEST 7: responses that nobody asked for are delivered all the same
--- calls eval
my $message = ::message(2, 1, kind => 'response', tag => 5);
[::create(1)     => 200],
[::put($message) => 200],
[::get(1)        => 200, ::got($message)],


=== TEST 8: mailboxes that are not there
--- calls eval
[::put($::message) => 404],
[::get(1)          => 404],
[::create(1)       => 200],
[::terminate(1)    => 200],
[::put($::message) => 419],
[::get(1)          => 419],


=== TEST 9: bodies that are no use
--- calls eval
map {
    my $line = $_;
    map { ["$line /message$_" => 400] } '', "\n{}", "\n[]", "\n\"{}\"",
        "\n{\"message\":{}}", "\n{\"message\":null}", "\n{\"message\":\"\"}",
        "\n{\"mailbox\":{}}", "\n{\"mailbox\":null}", "\n{\"mailbox\":\"\"}",
        "\nnull", "\n{"
} qw(PUT GET)


=== TEST 10: the field that is wrong is named
--- calls eval
["PUT /message\n{}"                       => 400, ::bad('message')],
[::put('{"header":{},"body":null}')       => 400, ::bad('header')],
[::put('{"header":' . ::header(1, 2) . '}') => 400, ::bad('body')],
[::put('{"body":null}')                   => 400, ::bad('header')],
[::put(::message('{"uid":"1"}', 2))       => 400, ::bad('src')],
[::put(::message(1, '{"uid":"2"}'))       => 400, ::bad('dest')],
[::put(::message(1, 2, label => '"x"'))   => 400, ::bad('label')],
[::put(::message(1, 2, kind => 'rumour')) => 400, ::bad('kind')],
["GET /message\n{}"                       => 400, ::bad('mailbox')],


=== TEST 11: nothing of a refused message is stored
--- calls eval
[::create(1)                                => 200],
[::put(::message(2, 1, kind => 'rumour'))   => 400],
[::put(::message(2, 1, label => '"x"'))     => 400],
[::put(::message(2, 1) . ',')               => 400],
[::stats(1) => 200, ::stat_line(0, 0, 0, 0, 0)],
[::stats(2) => 200, ::stat_line(0, 0, 0, 0, 0)],
[::get(1, 0.1)                              => 408],


=== TEST 12: timeouts that are no use
--- calls eval
my $text = qr/\AInvalid timeout \(must be less than 60 and greater than 0\)/;
my $type = qr/\A(?:Missing or invalid field|Invalid timeout).*timeout/;
[::create(1) => 200],
(map { [::get(1, $_) => 400, $text] } '0', '-1', '60.001', '1e9', '61', '-0.0',
                                      '1e308', '1e-400'),
(map { [::get(1, $_) => 400, $type] } 'null', '"1"', 'true', '[1]', '{}')


=== TEST 13: timeouts that are of use
--- calls eval
[::create(1) => 200],
map { my $message = ::message(2, 1, body => '"' . $_ . '"');
      [::put($message) => 200], [::get(1, $_) => 200, ::got($message)] }
    '60', '60.0', '6e1', '59.999', '5E-1', '1', '1.5', '6000e-2'


=== TEST 14: short ones
--- calls eval
[::create(1) => 200],
map { [::get(1, $_) => 408] } '0.001', '1E-3', '1e-9', '0.05'


=== TEST 15: the configured timeout is the limit, and what is used without one
--- config
location / { academy_exchange x; academy_listen_timeout 1s; }
--- calls eval
[::create(1)       => 200],
[::get(1, '1.001') => 400,
    qr/\AInvalid timeout \(must be less than 1 and greater than 0\)/],
[::get(1, '60')    => 400],
[::put($::message) => 200],
[::get(1, '1')     => 200, ::got($::message)],
[::call('GET /message', mailbox => ::id(1)) => 408],


=== TEST 16: a bad timeout is told before anything about the mailbox
--- calls eval
[::get(1, 0)    => 400, qr/\AInvalid timeout/],
[::create(1)    => 200],
[::terminate(1) => 200],
[::get(1, 0)    => 400, qr/\AInvalid timeout/],
[::get(1, 1)    => 419],


=== TEST 17: as many bytes as are allowed, and one more
--- config
location / { academy_exchange x; academy_message_size 1k; }
--- calls eval
my $empty = length ::message(2, 1, body => '""');
my $fits = ::message(2, 1, body => '"' . 'x' x (1024 - $empty) . '"');
my $over = ::message(2, 1, body => '"' . 'x' x (1025 - $empty) . '"');
[::create(1)   => 200],
[::put($fits)  => 200],
[::put($over)  => 413, 'Message of size 1025 larger than limit 1024.'],
[::get(1)      => 200, ::got($fits)],
[::get(1, 0.1) => 408],


=== TEST 18: bytes are counted after unescaping
--- config
location / { academy_exchange x; academy_message_size 1k; }
--- calls eval
my $empty = length ::message(2, 1, body => '""');

# each pair of bytes is one quotation mark with its backslash in the message,
# and four in the request; each \u0078 is one byte in the message

my $quotes = ::message(2, 1, body => '"' . '\\"' x 150 . 'x'
                                     x (1024 - $empty - 300) . '"');
my $letter = ::message(2, 1, body => '"' . 'x' x (1024 - $empty) . '"');
my $spelt = ::put($letter) =~ s/x/\\u0078/gr;
my $accents = ::message(2, 1, body => '"' . "\xc3\xa9" x 300 . 'x'
                                      x (1025 - $empty - 600) . '"');
[::create(1)     => 200],
[::put($quotes)  => 200],
[::get(1)        => 200, ::got($quotes)],
[$spelt          => 200],
[::get(1)        => 200, ::got($letter)],
[::put($accents) => 413, 'Message of size 1025 larger than limit 1024.'],


=== TEST 19: the size comes before what is known of the mailbox
--- config
location / { academy_exchange x; academy_message_size 1k; }
--- calls eval
my $over = ::message(2, 1, body => '"' . 'x' x 1024 . '"');
[::put($over)   => 413],
[::create(1)    => 200],
[::terminate(1) => 200],
[::put($over)   => 413],
[::put(::message(2, 1)) => 419],


=== TEST 20: the limit is half a megabyte unless set
--- calls eval
my $empty = length ::message(2, 1, body => '""');
my $fits = ::message(2, 1, body => '"' . 'x' x (524288 - $empty) . '"');
my $over = ::message(2, 1, body => '"' . 'x' x (524289 - $empty) . '"');
[::create(1)   => 200],
[::put($fits)  => 200],
[::put($over)  => 413, 'Message of size 524289 larger than limit 524288.'],
[::get(1)      => 200, ::got($fits)],


=== TEST 21: messages of every size around the store's pages
--- keepalive
--- http_config
academy_zone zone=x:2m;
--- calls eval
my $empty = length ::message(2, 1, body => '""');
my @messages = map { ::message(2, 1, body => '"' . 'y' x ($_ - $empty) . '"') }
               map { my $n = $_; map { $n + $_ } -2 .. 2 }
               400, 512, 1024, 2048, 4000, 4096, 6144, 8192, 12288, 65536;
[::create(1) => 200],
map { [::put($_) => 200], [::get(1) => 200, ::got($_)] } @messages


=== TEST 22: only who may use the mailbox may send to it and receive from it
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))       => 200],
[::as('bob', '', ::put($::message))  => 403],
[::as('bob', '', ::get(1))           => 403],
[::as('ann', '', ::put($::message))  => 200],
[::as('bob', '', ::get(1))           => 403],
[::as('ann', 'g', ::share(1, 'g'))   => 200],
[::as('bob', 'g', ::put(::message(3, 1))) => 200],
[::as('bob', 'g', ::get(1))          => 200, ::got($::message)],
[::as('ann', '', ::get(1))           => 200, ::got(::message(3, 1))],
[::as('ann', '', ::terminate(1))     => 200],
[::as('bob', '', ::put($::message))  => 403],
[::as('bob', '', ::get(1))           => 403],
[::as('bob', 'g', ::put($::message)) => 419],
[::as('bob', 'g', ::get(1))          => 419],


=== TEST 23: waiting takes as long as was asked for, and no longer
--- timeout: 1.2
--- calls eval
[::create(1)   => 200],
[::get(1, 0.9) => 408],


=== TEST 24: one message after another on one connection, between timeouts
--- keepalive
--- calls eval
[::create(1)       => 200],
[::get(1, 0.05)    => 408],
[::put($::message) => 200],
[::get(1)          => 200, ::got($::message)],
[::get(1, 0.05)    => 408],
[::put(::message(3, 1)) => 200],
[::put(::message(4, 1)) => 200],
[::get(1)          => 200, ::got(::message(3, 1))],
[::get(1)          => 200, ::got(::message(4, 1))],
[::get(1, 0.05)    => 408],


=== TEST 25: what messages say is not logged, whatever becomes of them
--- config
location / { academy_exchange x; academy_message_size 1k; }
--- calls eval
[::create(1)                                                     => 200],
[::put(::message(2, 1, body => '"hush-hush"'))                   => 200],
[::put(::message(2, 1, body => '"hush-hush"', kind => 'rumour')) => 400],
[::put(::message(2, 1, body => '"hush-hush"') . ' and more')     => 400],
[::put(::message(2, 1, body => '"hush-hush' . 'x' x 1024 . '"')) => 413],
[::put(::message(2, 3, body => '"hush-hush"'))                   => 404],
[::get(1) => 200, ::got(::message(2, 1, body => '"hush-hush"'))],
--- no_error_log
hush-hush
[alert]
[crit]
[emerg]


=== TEST 25: what comes when a waiting client has gone is for the next one
--- request eval
[::create(1), ::get(1, 20), ::stream(1, 20), ::get(1, 20), ::put($::message),
 ::get(1), ::get(1, 0.05)]
--- timeout: 0.3
--- abort
--- error_code_like eval
['^200$', '^$', '^200$', '^$', '^200$', '^200$', '^408$']
--- response_body_like eval
[qr/\A\z/, qr/\A\z/, qr/\Aretry/, qr/\A\z/, qr/\A\z/, ::got($::message),
 qr/timeout/]
