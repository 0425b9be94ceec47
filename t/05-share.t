# POST, GET and DELETE /mailbox/share.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

# an answer with these groups, in whatever order

sub groups {
    my $all = join '', map { '(?=.*' . quotemeta(js($_)) . ')' } @_;
    my $list = join ',\s*', ('"(?:[^"\\\\]|\\\\.)*"') x @_;

    return qr/\A$all\{"group_ids":\s*\[$list\]\}\z/;
}

run_tests();

__DATA__

=== TEST 1: shared, listed, and no more
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))       => 200],
[::as('ann', 'g', ::shares(1))       => 200, ::groups()],
[::as('bob', 'g', ::status(1))       => 403],
[::as('ann', 'g', ::share(1, 'g'))   => 200],
[::as('ann', 'g', ::shares(1))       => 200, ::groups('g')],
[::as('bob', 'g', ::status(1))       => 200, ::json('{"status":"ACTIVE"}')],
[::as('ann', 'g', ::unshare(1, 'g')) => 200],
[::as('ann', 'g', ::shares(1))       => 200, ::groups()],
[::as('bob', 'g', ::status(1))       => 403],


=== TEST 2: several groups, each once
--- config eval: $::auth
--- calls eval
[::as('ann', 'f,g,h', ::create(1))       => 200],
[::as('ann', 'f,g,h', ::share(1, 'f'))   => 200],
[::as('ann', 'f,g,h', ::share(1, 'h'))   => 200],
[::as('ann', 'f,g,h', ::share(1, 'f'))   => 200],
[::as('ann', 'f,g,h', ::share(1, 'g'))   => 200],
[::as('ann', 'f,g,h', ::shares(1))       => 200, ::groups('f', 'g', 'h')],
[::as('ann', 'f,g,h', ::unshare(1, 'g')) => 200],
[::as('ann', 'f,g,h', ::shares(1))       => 200, ::groups('f', 'h')],
[::as('bob', 'g', ::status(1))           => 403],
[::as('bob', 'a,h', ::status(1))         => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 3: to stop sharing what is not shared is fine
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))       => 200],
[::as('ann', 'g', ::unshare(1, 'g')) => 200],
[::as('ann', 'g', ::share(1, 'g'))   => 200],
[::as('ann', 'g', ::unshare(1, 'x')) => 200],
[::as('ann', 'g', ::shares(1))       => 200, ::groups('g')],


=== TEST 4: only with a group that the owner is in
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))      => 200],
[::as('ann', 'g', ::share(1, 'h'))  => 403],
[::as('ann', 'gh', ::share(1, 'g')) => 403],
[::as('ann', 'g', ::share(1, 'gh')) => 403],
[::as('ann', '', ::share(1, 'g'))   => 403],
[::as('ann', 'g', ::share(1, 'G'))  => 403],
[::as('ann', 'g', ::shares(1))      => 200, ::groups()],


=== TEST 5: only the owner, whoever else may use the mailbox
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))         => 200],
[::as('ann', 'g', ::share(1, 'g'))     => 200],
[::as('bob', 'g,h', ::share(1, 'h'))   => 403],
[::as('bob', 'g,h', ::shares(1))       => 403],
[::as('bob', 'g,h', ::unshare(1, 'g')) => 403],
[::as('eve', '', ::share(1, 'g'))      => 403],
[::as('eve', '', ::shares(1))          => 403],
[::as('eve', '', ::unshare(1, 'g'))    => 403],
[::as('ann', '', ::shares(1))          => 200, ::groups('g')],


=== TEST 6: an owner who has left the group may still see and end it
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))      => 200],
[::as('ann', 'g', ::share(1, 'g'))  => 200],
[::as('ann', '', ::shares(1))       => 200, ::groups('g')],
[::as('ann', '', ::unshare(1, 'g')) => 200],
[::as('ann', '', ::shares(1))       => 200, ::groups()],


=== TEST 7: mailboxes that are not there
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::share(1, 'g'))   => 404],
[::as('ann', 'g', ::shares(1))       => 404],
[::as('ann', 'g', ::unshare(1, 'g')) => 404],
[::as('ann', '', ::share(1, 'g'))    => 404],
[::as('ann', 'g', ::create(1))       => 200],
[::as('ann', 'g', ::terminate(1))    => 200],
[::as('ann', 'g', ::share(1, 'g'))   => 419],
[::as('ann', 'g', ::shares(1))       => 419],
[::as('ann', 'g', ::unshare(1, 'g')) => 419],


=== TEST 8: what is not allowed comes before what is closed
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))       => 200],
[::as('ann', 'g', ::share(1, 'g'))   => 200],
[::as('ann', 'g', ::terminate(1))    => 200],
[::as('eve', 'g', ::share(1, 'g'))   => 403],
[::as('eve', 'g', ::shares(1))       => 403],
[::as('eve', 'g', ::unshare(1, 'g')) => 403],
[::as('ann', 'g', ::share(1, 'h'))   => 403],


=== TEST 9: without authentication nobody is in a group
--- calls eval
[::create(1)       => 200],
[::share(1, 'g')   => 403],
[::shares(1)       => 200, ::groups()],
[::unshare(1, 'g') => 200],
[::share(2, 'g')   => 404],
[::terminate(1)    => 200],
[::shares(1)       => 419],
[::unshare(1, 'g') => 419],
[::share(1, 'g')   => 403],


=== TEST 10: group names that need care
--- config eval: $::auth
--- calls eval
my @names = ('two words', 'quo"te', 'back\\slash', "\xc3\xa9", 'x' x 200);
my $mine = join ',', @names;
[::as('ann', $mine, ::create(1)) => 200],
(map { [::as('ann', $mine, ::share(1, $_)) => 200] } @names),
[::as('ann', $mine, ::shares(1)) => 200, ::groups(@names)],
(map { [::as('bob', $_, ::status(1)) => 200, ::json('{"status":"ACTIVE"}')]
     } @names),
(map { [::as('ann', '', ::unshare(1, $_)) => 200] } @names),
[::as('ann', '', ::shares(1)) => 200, ::groups()],


=== TEST 11: group_id is a string, not empty, and one group
--- config eval: $::auth
--- calls eval
my @bad = (\'""', \'"g,h"', \'","', \'"g,"', \'null', \'1', \'true',
           \'["g"]', \'{}');
[::as('ann', 'g,h', ::create(1)) => 200],
(map {
    my $method = $_;
    (map { [::as('ann', 'g,h', ::call("$method /mailbox/share",
                 mailbox => ::id(1), group_id => $_))
                 => 400, ::bad('group_id')] } @bad),
    [::as('ann', 'g,h', ::call("$method /mailbox/share",
             mailbox => ::id(1))) => 400, ::bad('group_id')],
} 'POST', 'DELETE'),
[::as('ann', 'g,h', ::shares(1)) => 200, ::groups()],


=== TEST 12: bodies that are no use
--- config eval: $::auth
--- calls eval
map {
    my $method = $_;
    map { [::as('ann', 'g', "$method /mailbox/share$_") => 400] }
        '', "\n{}", "\n[]", "\n{\"group_id\":\"g\"}",
        "\n{\"group_id\":\"g\",\"mailbox\":null}",
        "\n{\"group_id\":\"g\",\"mailbox\":\"{}\"}", "\n{\"group_id\":"
} qw(POST GET DELETE)


=== TEST 13: a group's name may have 256 bytes
--- config eval: $::auth
--- calls eval
my ($long, $over) = ('g' x 256, 'g' x 257);
[::as('ann', "$long,$over", ::create(1))       => 200],
[::as('ann', "$long,$over", ::share(1, $over)) => 400, ::bad('group_id')],
[::as('ann', "$long,$over", ::share(1, $long)) => 200],
[::as('bob', $over, ::status(1))               => 403],
[::as('bob', $long, ::status(1))               => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 14: with no more groups than a lookup can bear
--- config eval: $::auth
--- calls eval
my $all = join ',', map { "g$_" } 1 .. 257;

[::as('ann', $all, ::create(1))             => 200],
(map { [::as('ann', $all, ::share(1, "g$_")) => 200] } 1 .. 256),
[::as('ann', $all, ::share(1, 'g7'))        => 200],
[::as('ann', $all, ::share(1, 'g257'))      => 400, qr/256 groups/],
[::as('bob', 'x,g256,y', ::status(1))       => 200,
    ::json('{"status":"ACTIVE"}')],
[::as('bob', 'x,g257,y', ::status(1))       => 403],
[::as('ann', $all, ::unshare(1, 'g7'))      => 200],
[::as('ann', $all, ::share(1, 'g257'))      => 200],
[::as('bob', 'x,g257,y', ::status(1))       => 200,
    ::json('{"status":"ACTIVE"}')],
