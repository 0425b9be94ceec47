# DELETE /mailbox: what becomes of the messages, and of those who ask.
#
# That everyone who waits on the mailbox is woken takes two clients at once:
# t/workers.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

# What the exchange answers to a request for the mailbox $from, which has been
# terminated: the pattern of the JSON, with $q for a quotation mark.

sub farewell {
    my ($q, $from, $to, $tag, $label) = @_;

    my $src = id($from);
    my $dest = id($to);
    my $text = qq({"header":{"src":$src,"dest":$dest,"tag":") . uid($tag)
               . '","label":' . ($label // 'null') . ',"kind":"response"';
    my $pattern = quotemeta($text) =~ s/\\([:,])/$1\\s*/gr;
    my $kind = '"kind":\s*"academy-error-response"';
    my $rest = '"error_code":\s*0,\s*"mailbox_id":\s*'
               . quotemeta($src) =~ s/\\([:,])/$1\\s*/gr;

    $pattern .= '(?:,[^{}]*)?\},\s*"body":\s*\{'
                . "(?:$kind,\\s*$rest|$rest,\\s*$kind)\\}\\}";

    return $pattern =~ s/\\?"/$q/gr;
}

sub closed  { my $m = farewell('\\\\"', @_); qr/\A\{"message":\s*"$m"\}\s*\z/ }
sub closing { my $m = farewell('"', @_);
              qr/\Aretry: \d+\n\n?(?:id: \d+\n)?data: $m\n\n\z/ }

run_tests();

__DATA__

=== TEST 1: whoever has asked is told
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::terminate(2)                   => 200],
[::get(1)                         => 200, ::closed(2, 1, 5)],
[::get(1, 0.05)                   => 408],
[::stats(1)                       => 200, ::stat_line(0, 1, 0, 0, 0)],


=== TEST 2: in a stream too
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::terminate(2)                   => 200],
[::stream(1, 0.1)                 => 200, ::closing(2, 1, 5)],


=== TEST 3: the label comes back
--- calls eval
my $label = '"' . ::uid(77) . '"';
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5, label => $label)) => 200],
[::terminate(2)                                    => 200],
[::get(1) => 200, ::closed(2, 1, 5, $label)],


=== TEST 4: users ask, and are asked
--- calls eval
my ($user, $other) = map { ::id($_, 'user') } 1, 2;
[::create($user) => 200], [::create($other) => 200],
[::put(::message($user, $other, tag => 5)) => 200],
[::terminate($other)                       => 200],
[::get($user)                      => 200, ::closed($other, $user, 5)],


=== TEST 5: names come back
--- calls eval
my $named = sprintf '{"uid":"%s","name":"ada \\"l\\"","role":"agent"}', ::uid(1);
[::create(1) => 200], [::create(2) => 200],
[::put(::message($named, 2, tag => 5)) => 200],
[::terminate(2)                        => 200],
[::get(1) => 200, qr/\\"name\\":\s*\\"ada \\\\\\"l\\\\\\"\\"/],


=== TEST 6: also when the request has been taken already
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::get(2)       => 200, ::got(::message(1, 2, tag => 5))],
[::terminate(2) => 200],
[::get(1)       => 200, ::closed(2, 1, 5)],


=== TEST 7: what has been answered is not answered again
--- calls eval
my $response = ::message(2, 1, tag => 5, kind => 'response');
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::put($response)                 => 200],
[::terminate(2)                   => 200],
[::get(1)                         => 200, ::got($response)],
[::get(1, 0.05)                   => 408],


=== TEST 8: responses in the queue are dropped, and nobody is told
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5, kind => 'response')) => 200],
[::terminate(2) => 200],
[::get(1, 0.05) => 408],
[::get(2)       => 419],


=== TEST 9: each request of each of them
--- keepalive
--- calls eval
[::create(1) => 200], [::create(2) => 200], [::create(3) => 200],
(map { my $tag = $_;
       map { [::put(::message($_, 3, tag => 10 * $tag + $_)) => 200] } 1, 2
     } 1 .. 5),
[::terminate(3) => 200],
(map { my $who = $_;
       map { [::get($who) => 200,
              qr/\\"dest\\":\s*\{\\"uid\\":\s*\\"[-0]+4000-8000-0+$who\\"/]
           } 1 .. 5
     } 1, 2),
[::get(1, 0.05) => 408],
[::get(2, 0.05) => 408],


=== TEST 10: the answer does not overtake what is there already
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::put(::message(3, 1, tag => 6)) => 200],
[::terminate(2)                   => 200],
[::put(::message(3, 1, tag => 7)) => 200],
[::get(1) => 200, ::got(::message(3, 1, tag => 6))],
[::get(1) => 200, ::closed(2, 1, 5)],
[::get(1) => 200, ::got(::message(3, 1, tag => 7))],


=== TEST 11: requesters that are terminated or unknown are skipped
--- calls eval
[::create(1) => 200], [::create(2) => 200], [::create(3) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::put(::message(9, 2, tag => 6)) => 200],
[::put(::message(3, 2, tag => 7)) => 200],
[::terminate(1)                   => 200],
[::terminate(2)                   => 200],
[::get(1)                         => 419],
[::get(9)                         => 404],
[::get(3)                         => 200, ::closed(2, 3, 7)],


=== TEST 12: one that has asked itself
--- calls eval
[::create(1)                      => 200],
[::put(::message(1, 1, tag => 5)) => 200],
[::terminate(1)                   => 200],
[::get(1)                         => 419],
[::stats(1)                       => 200, ::stat_line(0, 0, 0, 0, 0)],


=== TEST 13: two that have asked one another
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::put(::message(2, 1, tag => 6)) => 200],
[::terminate(2)                   => 200],
[::stats(1)                       => 200, ::stat_line(1, 1, 0, 0, 2)],
[::get(1) => 200, ::got(::message(2, 1, tag => 6))],
[::get(1) => 200, ::closed(2, 1, 5)],
[::terminate(1)                   => 200],


=== TEST 14: terminated twice, told once
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::terminate(2)                   => 200],
[::terminate(2)                   => 200],
[::get(1)                         => 200, ::closed(2, 1, 5)],
[::get(1, 0.05)                   => 408],


=== TEST 15: a request that came too late is refused, not remembered
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::terminate(2)                   => 200],
[::put(::message(1, 2, tag => 5)) => 419],
[::terminate(2)                   => 200],
[::get(1, 0.05)                   => 408],


=== TEST 16: an answer to one that is terminated
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5))                     => 200],
[::terminate(1)                                       => 200],
[::put(::message(2, 1, tag => 5, kind => 'response')) => 419],
[::terminate(2)                                       => 200],
[::get(1)                                             => 419],


=== TEST 17: one request in two messages is answered once
--- calls eval
[::create(1) => 200], [::create(2) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::put(::message(1, 2, tag => 5)) => 200],
[::terminate(2)                   => 200],
[::get(1)                         => 200, ::closed(2, 1, 5)],
[::get(1, 0.05)                   => 408],


=== TEST 18: the exchange needs nobody's permission to tell
--- config eval: $::auth
--- calls eval
[::as('ann', '', ::create(1))                      => 200],
[::as('bob', 'g', ::create(2))                     => 200],
[::as('eve', '', ::create(3))                      => 200],
[::as('bob', 'g', ::share(2, 'g'))                 => 200],
[::as('ann', 'g', ::put(::message(1, 2, tag => 5))) => 200],
[::as('eve', 'g', ::put(::message(3, 2, tag => 6))) => 200],
[::as('bob', '', ::terminate(2))                   => 200],
[::as('ann', '', ::get(1))                         => 200, ::closed(2, 1, 5)],
[::as('eve', '', ::get(3))                         => 200, ::closed(2, 3, 6)],


=== TEST 19: who may not terminate, does not
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))                      => 200],
[::as('bob', 'g', ::create(2))                      => 200],
[::as('bob', 'g', ::share(2, 'g'))                  => 200],
[::as('ann', 'g', ::put(::message(1, 2, tag => 5))) => 200],
[::as('ann', '', ::terminate(2))                    => 403],
[::as('ann', '', ::get(1, 0.05))                    => 408],
[::as('bob', '', ::get(2))          => 200, ::got(::message(1, 2, tag => 5))],


=== TEST 20: a long queue, and everyone is told
--- keepalive
--- http_config
academy_zone zone=x:4m;
--- calls eval
[::create(1) => 200], [::create(2) => 200],
(map { [::put(::message(1, 2, tag => $_, body => '"' . 'z' x 3000 . '"'))
        => 200] } 1 .. 300),
[::terminate(2) => 200],
(map { [::get(1) => 200, qr/\A.*academy-error-response/] } 1 .. 300),
[::get(1, 0.05) => 408],


=== TEST 21: long names come back, or none where they are too long
--- calls eval
my $named = sub { sprintf '{"uid":"%s","name":"%s"}', ::uid($_[0]), $_[1] };
my @ends = map { my $n = $_; map { $named->($_, 'n' x $n) } 1, 2 } 253, 254, 5000;
[::create(1) => 200], [::create(2) => 200],
(map { [::put(::message(@ends[2 * $_ - 2, 2 * $_ - 1], tag => $_)) => 200]
     } 1 .. 3),
[::terminate(2) => 200],
[::get(1) => 200, qr/(?:[^n]n{253}[^n].*){3}/],
[::get(1) => 200, qr/\A\{.*\\"name\\":null.*\\"name\\":null.*\\"name\\":null/],
[::get(1) => 200, qr/\A\{.*\\"name\\":null.*\\"name\\":null.*\\"name\\":null/],
[::get(1, 0.05) => 408],
