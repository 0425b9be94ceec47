# Who calls: academy_auth, academy_client_id, academy_client_groups,
# academy_verify_source, and nginx's own access control beside them.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

# Configurations with something added to the usual one, and one in which the
# user of HTTP basic authentication is the client

sub also {
    my ($more) = @_;
    return $auth =~ s/^    \}/        $more\n    }/mr;
}

our $basic = <<'END';
    location / {
        academy_exchange x;
        academy_auth variables;
        academy_client_id $remote_user;
        auth_basic exchange;
        auth_basic_user_file $TEST_NGINX_SERVER_ROOT/html/users;
    }
END

our $users = <<'END';
>>> users
ann:{PLAIN}secret
bob:{PLAIN}hidden
END

my %basic = (ann => 'YW5uOnNlY3JldA==', bob => 'Ym9iOmhpZGRlbg==',
             eve => 'ZXZlOmd1ZXNz');

sub basic {
    my ($who, $request) = @_;
    return { request => $request, headers => "Authorization: Basic $basic{$who}" };
}

# one request to each route, that would be answered with something else

our @all = (
    create(1), status(1), terminate(1), share(1, 'g'), shares(1),
    unshare(1, 'g'), heartbeat(1), beat(1), stats(1), stream(1),
    put(message(2, 1)), get(1), discover('x.Agent', 1)
);

run_tests();

__DATA__

=== TEST 1: without authentication everyone is the same client
--- config
location / {
    academy_exchange x;
    academy_auth off;
    academy_client_id $http_x_client;
    academy_client_groups $http_x_groups;
}
--- calls eval
[::as('ann', 'g', ::create(1))     => 200],
[::as('bob', '', ::status(1))      => 200, ::json('{"status":"ACTIVE"}')],
[::as('ann', 'g', ::share(1, 'g')) => 403],
[::status(1)                       => 200, ::json('{"status":"ACTIVE"}')],
[::terminate(1)                    => 200],


=== TEST 2: nobody is let in without an id, on any route
--- config eval: $::auth
--- calls eval
map { [$_ => 401] } @::all


=== TEST 3: an empty id is no id
--- config eval: $::auth
--- calls eval
(map { [::as('', 'g', $_) => 401] } @::all),
[::as('ann', '', ::status(1)) => 200, ::json('{"status":"MISSING"}')],


=== TEST 4: on one connection, that stays usable
--- config eval: $::auth
--- keepalive
--- calls eval
(map { [$_ => 401] } @::all),
[::as('ann', '', ::create(1)) => 200],
(map { [$_ => 401] } @::all),
[::as('ann', '', ::status(1)) => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 5: the answer says how to do better
--- config eval: $::auth
--- request eval
::status(1)
--- error_code: 401
--- response_headers_like
WWW-Authenticate: Bearer
Content-Type: text/plain(?:; charset=utf-8)?
--- response_body chomp
Missing required headers.


=== TEST 6: authentication comes before anything else that is wrong
--- config eval: $::auth
--- calls eval
["GET /nowhere"                      => 401],
["GET /mailbox/"                     => 401],
["PUT /mailbox"                      => 401],
["PATCH /message"                    => 401],
["GET /mailbox"                      => 401],
["POST /mailbox\nnonsense"           => 401],
["GET /mailbox/listen\n{}"           => 401],
[::get(1, 0)                         => 401],
[::as('ann', '', "GET /nowhere")     => 404, qr/\A/],
[::as('ann', '', "PUT /mailbox")     => 405],
[::as('ann', '', "GET /mailbox")     => 400],
[::as('ann', '', ::get(1, 0))        => 400],


=== TEST 7: a HEAD request is not let in either
--- config eval: $::auth
--- request
HEAD /mailbox
--- error_code: 401
--- response_headers
WWW-Authenticate: Bearer


=== TEST 8: each route keeps out whoever may not use the mailbox
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1)) => 200],
(map { [::as('bob', 'g', $_) => 403] } grep { !/discover/ } @::all),
[::as('bob', 'g', ::discover('x.Agent', 1)) => 200,
                                          ::json('{"agent_ids":""}')],
[::as('ann', 'g', ::stats(1)) => 200, ::stat_line(0, 0, 0, 0, 0)],
[::as('ann', 'g', ::heartbeat(1)) => 200, ::json('{"heartbeat":null}')],


=== TEST 9: ids are compared whole, and as they are written
--- config eval: $::auth
--- calls eval
[::as('ann', '', ::create(1)) => 200],
(map { [::as($_, '', ::status(1)) => 403] }
     'an', 'anna', 'Ann', 'ann_', 'ann,bob', "ann\xc3\xa9", 'x' x 300),
[::as('ann', '', ::status(1)) => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 10: ids of up to 1024 bytes, with whatever a header may have in it
--- config eval: $::auth
--- calls eval
my ($one, $other) = ('i' x 1023 . 'a', 'i' x 1023 . 'b');
my $dn = 'CN=Ada Lovelace,O="Analytical, Engines",C=GB';
[::as($one, '', ::create(1))   => 200],
[::as($other, '', ::status(1)) => 403],
[::as($one, '', ::status(1))   => 200, ::json('{"status":"ACTIVE"}')],
[::as($dn, '', ::create(2))    => 200],
[::as($dn, '', ::status(2))    => 200, ::json('{"status":"ACTIVE"}')],
[::as('i', '', ::status(2))    => 403],
[::as('i' x 1025, '', ::status(2)) => 401],
[::as("a\tb", '', ::status(3)) => 401],


=== TEST 11: groups are compared whole, and as they are written
--- config eval: $::auth
--- calls eval
[::as('ann', 'staff', ::create(1))         => 200],
[::as('ann', 'staff', ::share(1, 'staff')) => 200],
(map { [::as('bob', $_, ::status(1)) => 403] }
     '', 'staf', 'staffs', 'Staff', 'st,aff', ',', 'my-staff', 'staff-x,'),
(map { [::as('bob', $_, ::status(1)) => 200, ::json('{"status":"ACTIVE"}')] }
     'staff', 'a,staff', 'staff,b', 'a,staff,b', ',staff,', ',,staff'),


=== TEST 12: the id may be put together of several variables, or be fixed
--- config
location / {
    academy_exchange x;
    academy_auth variables;
    academy_client_id "$remote_addr/$arg_who";
}
location /fixed/ {
    academy_exchange x;
    academy_auth variables;
    academy_client_id 127.0.0.1/ann;
}
--- calls eval
[::create(1) =~ s/ox\n/ox?who=ann\n/r       => 200],
[::status(1) =~ s/ox\n/ox?who=bob\n/r       => 403],
[::status(1) =~ s/ox\n/ox?who=ann\n/r       => 200, ::json('{"status":"ACTIVE"}')],
[::status(1) =~ s{/mailbox}{/fixed/mailbox}r => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 13: without academy_client_groups nobody is in a group
--- config
location / {
    academy_exchange x;
    academy_auth variables;
    academy_client_id $http_x_client;
}
--- calls eval
[::as('ann', 'g', ::create(1))     => 200],
[::as('ann', 'g', ::share(1, 'g')) => 403],


=== TEST 14: a map makes ids of whatever there is
--- http_config
academy_zone zone=x:2m;
map $http_authorization $who {
    "Bearer 1234" ann;
    "Bearer 5678" bob;
    default "";
}
--- config
location / {
    academy_exchange x;
    academy_auth variables;
    academy_client_id $who;
}
--- request eval
[(::create(1)) x 2, (::status(1)) x 3]
--- more_headers eval
["", "Authorization: Bearer 1234", "Authorization: Bearer 1234",
 "Authorization: Bearer 5678", "Authorization: Bearer 123"]
--- error_code eval
[401, 200, 200, 403, 401]


=== TEST 15: the settings are inherited
--- config
academy_auth variables;
academy_client_id $http_x_client;
location / { academy_exchange x; }
location /open/ { academy_exchange x; academy_auth off; }
location /bob/ { academy_exchange x; academy_client_id bob; }
--- calls eval
[::create(1)                                            => 401],
[::as('ann', '', ::create(1))                           => 200],
[::status(1) =~ s{/}{/bob/}r                            => 403],
[::status(1) =~ s{/}{/open/}r                           => 403],
[::create(2) =~ s{/}{/open/}r                           => 200],
[::as('ann', '', ::status(2))                           => 403],


=== TEST 16: nobody speaks as someone else
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))              => 200],
[::as('bob', 'g', ::create(2))              => 200],
[::as('bob', 'g', ::share(2, 'g'))          => 200],
[::as('ann', 'g', ::put(::message(1, 2)))   => 200],
[::as('eve', 'g', ::put(::message(1, 2)))   => 403],
[::as('bob', 'g', ::put(::message(1, 2)))   => 403],
[::as('eve', 'g', ::put(::message(1, 2, kind => 'response'))) => 403],
[::as('bob', 'g', ::get(2))                 => 200, ::got(::message(1, 2))],
[::as('bob', 'g', ::get(2, 0.05))           => 408],
[::as('ann', 'g', ::stats(1))               => 200, ::stat_line(0, 1, 0, 0, 0)],


=== TEST 17: nor as a mailbox that is terminated
--- config eval: $::auth
--- calls eval
[::as('ann', '', ::create(1))             => 200],
[::as('bob', 'g', ::create(2))            => 200],
[::as('bob', 'g', ::share(2, 'g'))        => 200],
[::as('ann', '', ::terminate(1))          => 200],
[::as('eve', 'g', ::put(::message(1, 2))) => 403],
[::as('bob', 'g', ::get(2, 0.05))         => 408],


=== TEST 18: whoever shares the sender's mailbox may speak for it
--- config eval: $::auth
--- calls eval
[::as('ann', 'g', ::create(1))            => 200],
[::as('ann', 'g', ::share(1, 'g'))        => 200],
[::as('bob', 'g', ::create(2))            => 200],
[::as('bob', 'g', ::put(::message(1, 2))) => 200],


=== TEST 19: a sender that this exchange does not know may be anyone
--- config eval: $::auth
--- calls eval
[::as('bob', '', ::create(2))            => 200],
[::as('bob', '', ::put(::message(1, 2))) => 200],
[::as('bob', '', ::get(2))               => 200, ::got(::message(1, 2))],


=== TEST 20: academy_verify_source off
--- config eval: ::also('academy_verify_source off;')
--- calls eval
[::as('ann', 'g', ::create(1))            => 200],
[::as('bob', 'g', ::create(2))            => 200],
[::as('bob', 'g', ::share(2, 'g'))        => 200],
[::as('eve', 'g', ::put(::message(1, 2))) => 200],
[::as('eve', '', ::put(::message(1, 2)))  => 403],
[::as('bob', 'g', ::get(2))               => 200, ::got(::message(1, 2))],


=== TEST 21: HTTP basic authentication: its user is the client
--- config eval: $::basic
--- user_files eval: $::users
--- calls eval
[::basic('ann', ::create(1)) => 200],
[::basic('ann', ::status(1)) => 200, ::json('{"status":"ACTIVE"}')],
[::basic('bob', ::status(1)) => 403],


=== TEST 22: HTTP basic authentication: wrong user, and none
--- config eval: $::basic
--- user_files eval: $::users
--- request eval
[::create(1), ::create(1), "GET /nowhere"]
--- more_headers eval
["Authorization: Basic ZXZlOmd1ZXNz", "", ""]
--- error_code eval
[401, 401, 401]
--- response_headers_like eval
[("WWW-Authenticate: Basic.*") x 3]


=== TEST 23: deny
--- config eval: ::also('deny all;')
--- request eval
[::create(1), ::create(1)]
--- more_headers eval
["X-Client: ann", ""]
--- error_code eval
[403, 403]


=== TEST 24: allow does not make an id
--- config eval: ::also('allow all;')
--- calls eval
[::create(1)                  => 401],
[::as('ann', '', ::create(1)) => 200],
[::as('bob', '', ::status(1)) => 403],


=== TEST 25: satisfy any: an id alone is no credential
--- config eval: ::also('satisfy any; deny all;')
--- request eval
::create(1)
--- more_headers
X-Client: ann
--- error_code: 403


=== TEST 26: satisfy any: an address that is enough leaves everyone who they are
--- config eval: ::also('satisfy any; allow 127.0.0.1; deny all;')
--- calls eval
[::as('ann', '', ::create(1)) => 200],
[::as('bob', '', ::status(1)) => 403],
[::as('ann', '', ::status(1)) => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 27: a variable of auth_request
--- http_config
academy_zone zone=x:2m;
server {
    listen $TEST_NGINX_SERVER_PORT;
    server_name checker;
    location / {
        add_header X-Who $arg_who;
        add_header X-In $arg_in;
        return 204;
    }
}
--- config
location / {
    academy_exchange x;
    auth_request /check;
    auth_request_set $who $upstream_http_x_who;
    auth_request_set $in $upstream_http_x_in;
    academy_auth variables;
    academy_client_id $who;
    academy_client_groups $in;
}
location = /check {
    internal;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/?who=$http_x_client&in=$http_x_groups;
    proxy_set_header Host checker;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
}
--- calls eval
[::as('ann', 'g', ::create(1))     => 200],
[::as('bob', 'g', ::status(1))     => 403],
[::as('ann', 'g', ::share(1, 'g')) => 200],
[::as('bob', 'g', ::status(1))     => 200, ::json('{"status":"ACTIVE"}')],
[::as('bob', 'h', ::status(1))     => 403],
[::status(1)                       => 401],
[::as('ann', 'g', ::put(::message(2, 1))) => 200],
[::as('bob', 'g', ::get(1))        => 200, ::got(::message(2, 1))],


=== TEST 28: auth_request that refuses
--- http_config
academy_zone zone=x:2m;
--- config
location / {
    academy_exchange x;
    auth_request /check;
    academy_auth variables;
    academy_client_id $http_x_client;
}
location = /check { internal; return 403; }
--- request eval
::create(1)
--- more_headers
X-Client: ann
--- error_code: 403
