# Tokens: one of each algorithm, and how each kind of bad one is answered.  The
# large table is t/auth/test_jwt.py, which makes its own keys; these here were
# made once, and are good until the year 2100.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $config = <<'END';
    location / {
        academy_exchange x;
        academy_auth jwt;
        academy_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys;
        academy_jwt_algorithms RS256 PS512 ES256 ES384 ES512 EdDSA HS256;
        academy_client_groups $academy_claim_groups;
    }
END

our $keys = <<'END';
>>> keys
{"keys": [{"kty": "RSA", "n": "pa7iFCafOHZH3oY0aIXBMQwiyVMP8WhEJVwI-C8dfoVvYvDrgTO1kYYUBXgLjmWPC_qbArw-cWKCalAUXSrZLRrX47nI9bf848Iv7hQTZ9TcW2Cfbg9vurNEwU_BQG74EJEw_IGKzQM94R8GAPHuk5MkcqkonCf5Tn2dI78lvWr0kBKOjFjkGveBStPQrofxNqMRuxFrGU1uvJr5ZYAPWe5l5hyqY4YDMdGTQ2a-JmB84nnjGeLUwkn25tHBjRui5RizQbpM2L8M4HqlHKWLePjsS9isDM7j3vLnNiBXQ1q1souAQ56iAJwMw8VjQefvLBWBj-cF4YNI8ga5nkEgXQ", "e": "AQAB", "kid": "RS256"},
{"kty": "RSA", "n": "pa7iFCafOHZH3oY0aIXBMQwiyVMP8WhEJVwI-C8dfoVvYvDrgTO1kYYUBXgLjmWPC_qbArw-cWKCalAUXSrZLRrX47nI9bf848Iv7hQTZ9TcW2Cfbg9vurNEwU_BQG74EJEw_IGKzQM94R8GAPHuk5MkcqkonCf5Tn2dI78lvWr0kBKOjFjkGveBStPQrofxNqMRuxFrGU1uvJr5ZYAPWe5l5hyqY4YDMdGTQ2a-JmB84nnjGeLUwkn25tHBjRui5RizQbpM2L8M4HqlHKWLePjsS9isDM7j3vLnNiBXQ1q1souAQ56iAJwMw8VjQefvLBWBj-cF4YNI8ga5nkEgXQ", "e": "AQAB", "kid": "PS512"},
{"kty": "EC", "crv": "P-256", "x": "WdlIp5qAwdvSjcFWoMmgTS6A-5RutsbeKPLkj_UMAb4", "y": "rCXj0AuNd0t8c11uxCpj0s79MDSKnoQdqRNTZNWvuEc", "kid": "ES256"},
{"kty": "EC", "crv": "P-384", "x": "krT_j9Ma5zjc2SMxyAK2LQV_97BUJWMT6jRiV-Sfl_ELAEYdgK2fqHTZuaDSbsv3", "y": "cZoktsn5FgQPX7TylqyR1-V-QUvAY8oJI3yfwwTunqh7s1Q6zW9W6KtgBsEbx5sy", "kid": "ES384"},
{"kty": "EC", "crv": "P-521", "x": "AHCKkQXC33zuZZ2RGcJFxxOlWYrIbFdo-OVA5AbJ_RL0PnzA8ZgO9XwinsKtA6nOwgmTqCu_QOthOoiXUvvFJ-32", "y": "ABDlLa5N1V7Rv1Uyz4Dct2FuP9zyjRKppEBks1oshKhuLAHE_kN10BXJZ9l1LtipqiQ2-gNXHmEJgQrZpFreTfaA", "kid": "ES512"},
{"kty": "OKP", "crv": "Ed25519", "x": "ow-CfF_D2aYFwilhs4bO1ZmdBAUC8bu83FpwbDcnQrM", "kid": "EdDSA"},
{"kty": "oct", "k": "Y7bpHL5j5mPP3K86v7agrIRpMQZrbhXcx448lLpJLXbcIqZit-4eeSsj_Yp0zDSCrebGWuFgGOs8FuRPLNZ2jw", "kid": "HS256"}]}
END

my %token = (
    RS256 =>
        join('',
            'eyJhbGciOiAiUlMyNTYiLCAia2lkIjogIlJTMjU2In0.eyJzdWIiOiAiYW5u',
            'IiwgImV4cCI6IDQxMDI0NDQ4MDAsICJncm91cHMiOiBbImciLCAiaCJdfQ.Z',
            'A8G1MiTI5kkhL6WV2kE6AI9UlSize6gF9q_F1RFryL7WaTr0Gpq5YHubRv-L',
            'Czkajf5Hs2J1yiozE8sd09_lNRyMe22Qiwj40eC2q6ZU5nSrE9RuqQkv_Y7-',
            'h5_mZFBDY6c0KfYBXuGHfeEIaVEKFiKgWqiBSEjW0TMp8cqjkpDMI11dm8XN',
            'MpcENaDx7xyXD8cuxCWgX2fsKX0TPwgbw0f6nPs9dDTdaVPopa3UjumvMbPP',
            'tXey42cNzKTn5WQbYkHsVQUWSzrt_Ke67DzCW_iD_-lny3-Lq8TlwDH_M3F4',
            'IkVGpH1I9RoMSQViC_6seEJfeH1STa-ZQARBQcOsQ',
        ),
    PS512 =>
        join('',
            'eyJhbGciOiAiUFM1MTIiLCAia2lkIjogIlBTNTEyIn0.eyJzdWIiOiAiYW5u',
            'IiwgImV4cCI6IDQxMDI0NDQ4MDAsICJncm91cHMiOiBbImciLCAiaCJdfQ.Y',
            'VvGhLzVop5U2zMx8gIts1AqHASHZjV2-nrohXDlwfWPUVBRiIRhoTi6ssIkO',
            'mO2NJnnYO_uVdwKrMPlCz6wiKsNNjSZ6KMztyen7BbhkZzleGYEI7uK52OAv',
            'Qfq4h_QXi7h4B-qCbYNrLwUhs_5fkN0Z7BBNJNY2i-AirsY4j7iqoVTkfAZV',
            '9AhGwpoBaIrFUd5ZjC8W4w1k_IFHeaE0yh3X7Ah3w1UYX7r3bvTGtC0_Bde-',
            'PaKDzABl4d_gEn8urjzJ73-SPoM1qaWeodoKCPvuAKUw-ZQDKTOZvsrvntka',
            'sjEftXCdHmoGqZ9oEgEEidszZF-IJNwC4wSXvDDGw',
        ),
    ES256 =>
        join('',
            'eyJhbGciOiAiRVMyNTYiLCAia2lkIjogIkVTMjU2In0.eyJzdWIiOiAiYW5u',
            'IiwgImV4cCI6IDQxMDI0NDQ4MDAsICJncm91cHMiOiBbImciLCAiaCJdfQ.N',
            'IXsTav6vVCDGTtPCUHEaAyNO1hXKZKHmU4jKxMrp9KTc-f7LZ4FB8I54nF3y',
            'nWEcqtX2JkLT4Jjtn0vcHlg_w',
        ),
    ES384 =>
        join('',
            'eyJhbGciOiAiRVMzODQiLCAia2lkIjogIkVTMzg0In0.eyJzdWIiOiAiYW5u',
            'IiwgImV4cCI6IDQxMDI0NDQ4MDAsICJncm91cHMiOiBbImciLCAiaCJdfQ.t',
            'XXSEiM9dXO7JCI9lVRnJJ16wUaZLY5WFRxY9Yp9wbZ_tzWX5tMxsxw1Q3678',
            'orxxxNRWQO8iHJ135vRsVF-TBO42GlwOTMSQJEo6WS2gbbFsUWlKW2aSPSp4',
            'fnQgCTJ',
        ),
    ES512 =>
        join('',
            'eyJhbGciOiAiRVM1MTIiLCAia2lkIjogIkVTNTEyIn0.eyJzdWIiOiAiYW5u',
            'IiwgImV4cCI6IDQxMDI0NDQ4MDAsICJncm91cHMiOiBbImciLCAiaCJdfQ.A',
            'MYLx0_G_ZI9w7UPEmfo6e7lsv7BDZOVEg8x6YKVr5WRoo2IZtbSKS5py7aXk',
            'f-yQfVY6QFa0Vjs_NWekMKNtHKiADwxeTwrXx28NlDANy9yD1-68jJh6apqD',
            '8OH8X84KkEv73_Ib5ESrrTn40bce03ELdKmmYAqSjnitGWpsQSDYbRv',
        ),
    EdDSA =>
        join('',
            'eyJhbGciOiAiRWREU0EiLCAia2lkIjogIkVkRFNBIn0.eyJzdWIiOiAiYW5u',
            'IiwgImV4cCI6IDQxMDI0NDQ4MDAsICJncm91cHMiOiBbImciLCAiaCJdfQ.x',
            'ZsqyQ-m57A9kZ4vlbrmlXIXw2Plmr4OyOIvtrHH3nDp3HQgooPyEtKJ0ViVU',
            'k3IO4vGvApS5O7MgOM_CY9lAQ',
        ),
    HS256 =>
        join('',
            'eyJhbGciOiAiSFMyNTYiLCAia2lkIjogIkhTMjU2In0.eyJzdWIiOiAiYW5u',
            'IiwgImV4cCI6IDQxMDI0NDQ4MDAsICJncm91cHMiOiBbImciLCAiaCJdfQ.z',
            'sjb7MYpqCWUnT_L54PE2WFh_pxaZc5p6MWWA--x6fE',
        ),
    bob =>
        join('',
            'eyJhbGciOiAiRWREU0EifQ.eyJzdWIiOiAiYm9iIiwgImV4cCI6IDQxMDI0N',
            'DQ4MDAsICJncm91cHMiOiBbImciXX0.W4UOSIeu4eikj_lvL2KsiW9FHiAts',
            'c2FNfdqW4SQGKq-eCB0_fQb2XF_xhCoM0F2Ac5bVb2QvgAgVpWJolvqAw',
        ),
    old =>
        join('',
            'eyJhbGciOiAiRWREU0EifQ.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDEwMDAwM',
            'DAwMDB9.OkNUuuG3niyZitKCB65kPifdUt1foQy1lDZUzkeinxHjr4ncktSM',
            'xvR8r9vsM3lkcMUOOofNPTObn9NKMm_nCg',
        ),
    forged =>
        join('',
            'eyJhbGciOiAiRVMyNTYifQ.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDQxMDI0N',
            'DQ4MDB9.U9DaHKpa2fv_phRpLmpg3IcBdqUoqM0x4wEQ1LjiCr78DluzKeKa',
            '4reyEh2_FIhDMQro6B15-PZjqLeYwELFlA',
        ),
);

sub with {
    my ($token, $request) = @_;
    return { request => $request,
             headers => 'Authorization: Bearer ' . ($token{$token} // $token) };
}

our @algorithms = qw(RS256 PS512 ES256 ES384 ES512 EdDSA HS256);

our $expired = qr/\AToken expired or revoked\.\z/;
our $invalid = qr/^WWW-Authenticate: Bearer error="invalid_token"\r$/m;

run_tests();

__DATA__

=== TEST 1: each algorithm, seen for the first time and again
--- config eval: $::config
--- user_files eval: $::keys
--- calls eval
[::with('EdDSA', ::create(1)) => 200],
map { ([::with($_, ::status(1)) => 200, ::json('{"status":"ACTIVE"}')]) x 2 }
    @::algorithms


=== TEST 2: tokens that are not valid
--- config eval: $::config
--- user_files eval: $::keys
--- calls eval
map { ([::with($_, ::status(1)) => 403, $::expired, $::invalid]) x 2 }
    'old', 'forged', 'opaque', 'a.b.c', '..'


=== TEST 3: what is no token
--- config eval: $::config
--- user_files eval: $::keys
--- calls eval
my $bad = qr/^WWW-Authenticate: Bearer error="invalid_request"\r$/m;
[::status(1) => 401],
(map { [{ request => ::status(1), headers => "Authorization: $_" } => 401,
        undef, $bad] } 'Basic YTpi', 'Bearer', 'Bearer a,b', 'x')


=== TEST 4: owner, member, stranger
--- config eval: $::config
--- user_files eval: $::keys
--- calls eval
[::with('EdDSA', ::create(1))     => 200],
[::with('bob', ::status(1))       => 403],
[::with('EdDSA', ::share(1, 'g')) => 200],
[::with('bob', ::status(1))       => 200, ::json('{"status":"ACTIVE"}')],
[::with('bob', ::share(1, 'g'))   => 403],
[::with('bob', ::put(::message(2, 1))) => 200],
[::with('EdDSA', ::get(1))        => 200, ::got(::message(2, 1))],
[::with('EdDSA', ::get(1, 0.05))  => 408],


=== TEST 5: over one connection, refused and not
--- config eval: $::config
--- user_files eval: $::keys
--- keepalive
--- calls eval
map { ([::with('old', ::create(1)) => 403, $::expired, $::invalid],
       [::status(1) => 401],
       [::with('ES256', ::create(1)) => 200]) } 1 .. 3


=== TEST 6: without the cache
--- config eval: $::config =~ s/academy_auth jwt;/$& academy_auth_cache off;/r
--- user_files eval: $::keys
--- calls eval
[::with('EdDSA', ::create(1)) => 200],
(map { ([::with($_, ::status(1)) => 200, ::json('{"status":"ACTIVE"}')]) x 2 }
    @::algorithms),
map { [::with($_, ::status(1)) => 403, $::expired, $::invalid] } 'old', 'forged'


=== TEST 7: the page of a status location, which asks for a token, needs none
--- config eval
$::config . <<'END'
    location = /status {
        academy_status x;
        academy_auth jwt;
        academy_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys;
        academy_jwt_algorithms EdDSA;
    }
    location = /off {
        academy_status x;
        academy_auth variables;
        academy_client_id $http_x_client;
    }
    location = /satisfied {
        academy_status x;
        academy_auth jwt;
        academy_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys;
        satisfy any;
        allow all;
    }
    location = /denied {
        academy_status x;
        academy_auth jwt;
        academy_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys;
        deny all;
    }
END
--- user_files eval: $::keys
--- calls eval
my $page = qr/\A<!doctype html>/;
my $browser = 'Accept: text/html,*/*';
['GET /status?format=html'              => 200, $page],
[{ request => 'GET /status', headers => $browser } => 200, $page],
['HEAD /status?format=html'             => 200, qr/\A\z/],
['GET /satisfied?format=html'           => 200, $page],
['GET /denied?format=html'              => 403, qr/403 Forbidden/, qr/^Content-Type: text\/html/m],
['GET /off?format=html'                 => 401],
['POST /status?format=html'             => 401],
['GET /status'                          => 401],
['GET /satisfied'                       => 401],
(map { ["GET /status?$_" => 401] } qw(format=json format=prometheus
    format=openmetrics format=health format=x format= view=history
    view=mailboxes view=events view=mailbox view= view=html
    view=history&format=html format=json&format=html)),
[{ request => 'GET /status?view=history', headers => $browser } => 401],
[::with('old', 'GET /status?format=html')   => 403, $::expired],
[{ request => 'GET /status?format=html', headers => 'Authorization: Basic YTpi' } => 401, undef, qr/invalid_request/],
[::with('EdDSA', 'GET /status?format=html') => 200, $page],
[::with('EdDSA', 'GET /status') => 200, qr/"viewer":\{"id":"ann"/],
[{ request => 'GET /', headers => $browser } => 401],
['GET /?format=html' => 401]
