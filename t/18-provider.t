# Tokens that a provider is asked about, and keys that are fetched, from one
# client.  The provider is the same nginx.  What can go wrong between them, and
# many clients, is in t/auth.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $http = <<'END';
    academy_zone zone=x:2m;

    map $request_body $who {
        ~^token=([a-z]+)(?:&|$) $1;
        default none;
    }
END

my $provider = <<'END';
    location = /introspect {
        internal;
        proxy_set_header Authorization "Basic c2VjcmV0";
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/provider/$who;
    }
    location /provider/ {
        if ($http_authorization != "Basic c2VjcmV0") { return 401; }
        location = /provider/ann {
            return 200 '{"active":true,"username":"ann","groups":["g","h"],
                         "aud":["x","us"],"exp":4102444800}';
        }
        location = /provider/bob {
            return 200 '{"active":true,"sub":"bob","groups":["g"],"aud":"us"}';
        }
        location = /provider/old {
            return 200 '{"active":true,"sub":"ann","exp":1000000000}';
        }
        location = /provider/other {
            return 200 '{"active":true,"sub":"ann","aud":"them"}';
        }
        location = /provider/none { return 200 '{"active":false}'; }
        location = /provider/odd { return 200 '{"active":"true"}'; }
        location = /provider/half { return 200 '{"active":true,'; }
        location = /provider/made { return 201 '{"active":true,"sub":"ann"}'; }
        location = /provider/moved { return 302 http://127.0.0.1/; }
        location = /provider/down { return 500; }
        location = /provider/nothing { return 204; }
        location = /provider/cut { return 444; }
        return 404;
    }
END

our $config = <<"END";
    location / {
        academy_exchange x;
        academy_auth introspection;
        academy_introspection /introspect;
        academy_auth_audience us;
        academy_client_groups \$academy_claim_groups;
    }
    $provider
END

our $globus = <<"END";
    location / {
        academy_exchange x;
        academy_auth globus;
        academy_introspection /introspect;
        academy_globus_dependent_tokens /dependent;
        academy_globus_groups /groups;
        academy_auth_audience us;
    }
    location = /dependent {
        internal;
        return 200 '[{"access_token":"other","scope":"another"},
                     {"access_token":"for-groups","resource_server":
                      "groups.api.globus.org", "scope":
                      "urn:globus:auth:scope:groups.api.globus.org:view_my_groups_and_memberships"}]';
    }
    location = /groups {
        internal;
        if (\$http_authorization != "Bearer for-groups") { return 401; }
        return 200 '[{"id":"i","my_memberships":[{"status":"invited"}]},
                     {"id":"g","my_memberships":[{"status":"invited"},
                                                 {"status":"active"}]}]';
    }
    $provider
END

our $keys = <<'END';
    location / {
        academy_exchange x;
        academy_auth jwt;
        academy_jwt_key_request /keys;
    }
    location = /keys {
        internal;
        return 200 '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA",
            "x": "ow-CfF_D2aYFwilhs4bO1ZmdBAUC8bu83FpwbDcnQrM"}]}';
    }
END

# of 15-token.t: good until the year 2100

our $jwt = join '',
    'eyJhbGciOiAiRWREU0EiLCAia2lkIjogIkVkRFNBIn0.eyJzdWIiOiAiYW5u',
    'IiwgImV4cCI6IDQxMDI0NDQ4MDAsICJncm91cHMiOiBbImciLCAiaCJdfQ.x',
    'ZsqyQ-m57A9kZ4vlbrmlXIXw2Plmr4OyOIvtrHH3nDp3HQgooPyEtKJ0ViVU',
    'k3IO4vGvApS5O7MgOM_CY9lAQ';

sub with {
    my ($token, $request) = @_;
    return { request => $request, headers => "Authorization: Bearer $token" };
}

our $expired = qr/\AToken expired or revoked\.\z/;
our $invalid = qr/^WWW-Authenticate: Bearer error="invalid_token"\r$/m;
our $cannot = qr/\ATokens cannot be verified at present\z/;
our $later = qr/^Retry-After: \d+\r$/m;
our @unanswered = qw(odd half made moved down nothing cut);

run_tests();

__DATA__

=== TEST 1: good ones, seen for the first time and again
--- http_config eval: $::http
--- config eval: $::config
--- calls eval
[::with('ann', ::create(1)) => 200],
map { [::with('ann', ::status(1)) => 200, ::json('{"status":"ACTIVE"}')] } 1 .. 3


=== TEST 2: owner, member, stranger, nobody
--- http_config eval: $::http
--- config eval: $::config
--- calls eval
[::with('ann', ::create(1))      => 200],
[::with('bob', ::status(1))      => 403],
[::with('ann', ::share(1, 'g'))  => 200],
[::with('ann', ::share(1, 'x'))  => 403],
[::with('bob', ::status(1))      => 200, ::json('{"status":"ACTIVE"}')],
[::with('bob', ::put(::message(2, 1))) => 200],
[::with('ann', ::get(1))         => 200, ::got(::message(2, 1))],
[::status(1)                     => 401]


=== TEST 3: refused
--- http_config eval: $::http
--- config eval: $::config
--- calls eval
map { ([::with($_, ::status(1)) => 403, $::expired, $::invalid]) x 2 }
    'none', 'old', 'other', 'unknown-to-all', 'a.b.c'


=== TEST 4: no answer that can be one
--- http_config eval: $::http
--- config eval: $::config
--- calls eval
(map { ([::with($_, ::status(1)) => 503, $::cannot, $::later]) x 2 }
    @::unanswered),
[::with('ann', ::create(1)) => 200]


=== TEST 5: over one connection
--- http_config eval: $::http
--- config eval: $::config
--- keepalive
--- calls eval
map { ([::with('none', ::create(1)) => 403, $::expired, $::invalid],
       [::with('down', ::create(1)) => 503, $::cannot, $::later],
       [::status(1) => 401],
       [::with('ann', ::create(1)) => 200]) } 1 .. 3


=== TEST 6: without the cache
--- http_config eval: $::http
--- config eval: $::config =~ s/academy_auth i/academy_auth_cache off; $&/r
--- calls eval
[::with('ann', ::create(1)) => 200],
(map { ([::with('ann', ::status(1)) => 200, ::json('{"status":"ACTIVE"}')],
        [::with('none', ::status(1)) => 403, $::expired, $::invalid],
        [::with('half', ::status(1)) => 503, $::cannot, $::later]) } 1 .. 3)


=== TEST 7: satisfy any: only a token says who it is
--- http_config eval: $::http
--- config eval: $::config =~ s/academy_auth i/satisfy any; allow all; $&/r
--- calls eval
[::with('ann', ::create(1)) => 200],
[::with('bob', ::status(1)) => 403],
[::with('none', ::status(1)) => 403, $::expired, $::invalid],
[::with('down', ::status(1)) => 503, $::cannot, $::later],
[::status(1) => 401]


=== TEST 8: Globus: groups are those in which the caller is active
--- http_config eval: $::http
--- config eval: $::globus
--- calls eval
[::with('ann', ::create(1))      => 200],
[::with('ann', ::share(1, 'h'))  => 403],
[::with('ann', ::share(1, 'i'))  => 403],
[::with('bob', ::status(1))      => 403],
[::with('ann', ::share(1, 'g'))  => 200],
(map { [::with('bob', ::status(1)) => 200, ::json('{"status":"ACTIVE"}')] }
    1 .. 3),
[::with('other', ::status(1))    => 403, $::expired, $::invalid],
[::with('none', ::status(1))     => 403, $::expired, $::invalid],
[::with('down', ::status(1))     => 503, $::cannot, $::later]


=== TEST 9: Globus: groups that are not to be had cost nothing else
--- http_config eval: $::http
--- config eval
$::globus =~ s/"Bearer for-groups"/"Bearer another"/r
--- calls eval
[::with('ann', ::create(1))      => 200],
[::with('ann', ::share(1, 'g'))  => 403],
[::with('ann', ::status(1))      => 200, ::json('{"status":"ACTIVE"}')],
[::with('bob', ::status(1))      => 403]


=== TEST 10: Globus: neither is a token for them
--- http_config eval: $::http
--- config eval
$::globus =~ s/view_my_groups_and_memberships/view/r
--- calls eval
[::with('ann', ::create(1))      => 200],
[::with('ann', ::share(1, 'g'))  => 403],
[::with('bob', ::status(1))      => 403]


=== TEST 11: keys that are fetched
--- config eval: $::keys
--- calls eval
[::with($::jwt, ::create(1)) => 200],
(map { [::with($::jwt, ::status(1)) => 200, ::json('{"status":"ACTIVE"}')] }
    1 .. 3),
[::with($::jwt =~ s/.$/g/r, ::status(1)) => 403, $::expired, $::invalid]


=== TEST 12: keys that are not to be had
--- config eval: $::keys =~ s/"keys"/"key"/r
--- calls eval
([::with($::jwt, ::create(1)) => 503, $::cannot, $::later]) x 3


=== TEST 13: a key of another kid
--- config eval: $::keys =~ s/"EdDSA"/"other"/r
--- calls eval
([::with($::jwt, ::create(1)) => 403, $::expired, $::invalid]) x 3
