# GET /discover.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

# an answer with these mailboxes, in whatever order

sub found {
    my @uids = map { ::uid($_) } @_;
    my $all = join '', map { "(?=.*$_)" } @uids;
    my $list = join ',', ('[-0-9a-f]{36}') x @uids;

    return qr/\A$all\{"agent_ids":\s*"$list"\}\z/;
}

run_tests();

__DATA__

=== TEST 1: nobody there
--- calls eval
[::discover('x.Agent')    => 200, ::found()],
[::discover('x.Agent', 1) => 200, ::found()],


=== TEST 2: by the class itself, or by one of its bases
--- calls eval
[::create(1, 'x.Dog,x.Animal,x.Agent') => 200],
[::create(2, 'x.Cat,x.Animal,x.Agent') => 200],
[::create(3, 'x.Animal,x.Agent')       => 200],
[::create(4, 'x.Agent')                => 200],
[::create(5)                           => 200],
[::discover('x.Dog')       => 200, ::found(1)],
[::discover('x.Dog', 1)    => 200, ::found(1)],
[::discover('x.Animal')    => 200, ::found(3)],
[::discover('x.Animal', 1) => 200, ::found(1, 2, 3)],
[::discover('x.Agent')     => 200, ::found(4)],
[::discover('x.Agent', 1)  => 200, ::found(1, 2, 3, 4)],
[::discover('x.Fish', 1)   => 200, ::found()],


=== TEST 3: names are met whole, and as they are written
--- calls eval
[::create(1, 'x.Agent,y.Base')  => 200],
[::create(2, 'x.Agents,y.Base') => 200],
[::create(3, 'X.AGENT')         => 200],
(map { [::discover($_, 1) => 200, ::found()] }
     'x.Agen', 'gent', 'Agent', 'x.Agent,y.Base', 'x.Agent,', 'Base', '*'),
[::discover('x.Agent', 1)  => 200, ::found(1)],
[::discover('x.Agents', 1) => 200, ::found(2)],
[::discover('y.Base', 1)   => 200, ::found(1, 2)],
[::discover('y.Base')      => 200, ::found()],


=== TEST 4: names that need care
--- calls eval
my @names = ("caf\xc3\xa9.\xe6\x97\xa5", 'quo"te', 'back\\slash', 'a b',
             '<locals>.f', 'n' x 300);
(map { [::create($_, "$names[$_ - 1],x.Base") => 200] } 1 .. @names),
(map { [::discover($names[$_ - 1]) => 200, ::found($_)] } 1 .. @names),
[::discover('x.Base', 1) => 200, ::found(1 .. @names)],


=== TEST 5: an escaped name is the same name
--- calls eval
[::create(1, 'x.Agent') => 200],
[qq(GET /discover\n{"\\u0061gent":"\\u0078.Agent","allow_subclasses":false})
                        => 200, ::found(1)],


=== TEST 6: a terminated agent is not found
--- calls eval
[::create(1, 'x.Agent')   => 200],
[::create(2, 'x.Agent')   => 200],
[::terminate(1)           => 200],
[::discover('x.Agent')    => 200, ::found(2)],
[::create(1, 'x.Agent')   => 200],
[::discover('x.Agent', 1) => 200, ::found(2)],
[::terminate(2)           => 200],
[::discover('x.Agent', 1) => 200, ::found()],


=== TEST 7: classes are those of the first creation
--- calls eval
[::create(1, 'x.Old')   => 200],
[::create(1, 'x.New')   => 200],
[::create(1)            => 200],
[::discover('x.Old', 1) => 200, ::found(1)],
[::discover('x.New', 1) => 200, ::found()],


=== TEST 8: users are not agents
--- calls eval
[::create(::id(1, 'user'), 'x.Agent') => 200],
[::discover('x.Agent', 1)             => 200, ::found()],


=== TEST 9: only those that the caller may use
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1, 'x.Agent'))   => 200],
[::as('bob', 'h', ::create(2, 'x.Agent'))   => 200],
[::as('ann', 'g', ::discover('x.Agent'))    => 200, ::found(1)],
[::as('bob', 'h', ::discover('x.Agent', 1)) => 200, ::found(2)],
[::as('eve', '', ::discover('x.Agent', 1))  => 200, ::found()],
[::as('ann', 'g', ::share(1, 'g'))          => 200],
[::as('eve', 'f,g', ::discover('x.Agent'))  => 200, ::found(1)],
[::as('bob', 'h', ::discover('x.Agent'))    => 200, ::found(2)],
[::as('bob', 'g', ::discover('x.Agent'))    => 200, ::found(1, 2)],
[::as('ann', 'g', ::unshare(1, 'g'))        => 200],
[::as('bob', 'g', ::discover('x.Agent'))    => 200, ::found(2)],


=== TEST 10: more agents than fit one buffer
--- keepalive
--- calls eval
(map { [::create($_, 'x.Agent' . $_ % 2 . ',x.Base') => 200] } 1 .. 400),
[::discover('x.Base', 1) => 200, ::found(1 .. 400)],
[::discover('x.Agent0')  => 200, ::found(grep { $_ % 2 == 0 } 1 .. 400)],
[::discover('x.Base')    => 200, ::found()],


=== TEST 11: a caller with many mailboxes of others between its own
--- keepalive
--- config eval: $::auth
--- calls eval
(map { [::as($_ % 50 ? 'bob' : 'ann', '', ::create($_, 'x.A')) => 200] }
     1 .. 300),
[::as('ann', '', ::discover('x.A')) => 200,
                                    ::found(grep { $_ % 50 == 0 } 1 .. 300)],


=== TEST 12: bodies that are no use
--- calls eval
["GET /discover"                                         => 400],
["GET /discover\n{}"                                     => 400],
["GET /discover\n[]"                                     => 400],
[::call('GET /discover', agent => 'x')          => 400, ::bad('allow_subclasses')],
[::call('GET /discover', allow_subclasses => \'true')    => 400, ::bad('agent')],
(map { [::call('GET /discover', agent => $_, allow_subclasses => \'true')
            => 400, ::bad('agent')] } \'null', \'1', \'["x"]', \'{}'),
(map { [::call('GET /discover', agent => 'x', allow_subclasses => $_)
            => 400, ::bad('allow_subclasses')] }
     \'null', \'1', \'0', \'"true"', \'[]'),


=== TEST 13: a class given twice is found once, and blanks are of its name
--- calls eval
[::create(1, 'x.A,x.B,x.A,x.B') => 200],
[::create(4, ' x.E , x.F')      => 200],
[::discover('x.A', 1)           => 200, ::found(1)],
[::discover('x.B', 1)           => 200, ::found(1)],
[::discover('x.E', 1)           => 200, ::found()],
[::discover(' x.E ')            => 200, ::found(4)],


=== TEST 13: empty names are names
--- zone_only: there is no index of them in Redis
--- calls eval
[::create(2, '')                => 200],
[::create(3, 'x.C,,x.D')        => 200],
[::discover('')                 => 200, ::found(2)],
[::discover('', 1)              => 200, ::found(2, 3)],
[::discover('x.D', 1)           => 200, ::found(3)],


=== TEST 14: as many bases, and as long a name, as there may be
--- calls eval
my $many = sub { join ',', map { "x.C$_" } 1 .. $_[0] };
[::create(1, $many->(128))  => 200],
[::create(2, $many->(129))  => 400, ::bad('agent')],
[::create(3, 'x' x 1024)    => 200],
[::create(4, 'x' x 1025)    => 400, ::bad('agent')],
[::discover('x.C128', 1)    => 200, ::found(1)],
[::discover('x' x 1024)     => 200, ::found(3)],
[::discover('x' x 1025)     => 200, ::found()],
[::status(2)                => 200, ::json('{"status":"MISSING"}')],
