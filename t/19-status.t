# academy_status with one client: what it counts, and who gets in.  What takes
# several clients, and what is seen of mailboxes, is in t/status.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $both = <<'END';
    location / { academy_exchange x; }
    location = /status { academy_status x; }
END

run_tests();

__DATA__

=== TEST 1: a message comes and goes
--- config eval: $::both
--- calls eval
[::create(1)               => 200],
[::put(::message(1, 1))    => 200],
[::get(1) => 200, ::got(::message(1, 1))],
[::get(1, 0.01)            => 408],
['GET /status'             => 200, qr/"totals":\{"accepted":1,"notices":0,"sent":1,/],
['GET /status'             => 200, qr/"polls":\{"delivered":1,"timeout":1,"closed":0,"gone":0\}/],
['GET /status?format=json' => 200, qr/"create":1,.*"put":1,"get":2,"listen":0/],
['GET /status?format=prometheus' => 200, qr/^academy_messages_accepted_total\{exchange="x"\} 1$/m],
['GET /status?format=openmetrics' => 200, qr/^# TYPE academy_messages_accepted counter\n.*# EOF\n\z/ms],
['GET /status?format=health' => 200, "ok\n"],


=== TEST 2: methods and arguments
--- config eval: $::both
--- calls eval
['PUT /status'                 => 405, qr/./],
['POST /status'                => 405, qr/./],
['DELETE /status'              => 405, qr/./],
['HEAD /status'                => 200, qr/\A\z/],
['GET /status?format=xml'      => 400, "There is no such format"],
['GET /status?format='         => 400, "There is no such format"],
['GET /status?view=x'          => 400, "There is no such view"],
['GET /status?view=mailbox'    => 400, qr/agent:UUID/],
['GET /status?view=mailboxes&limit=201' => 400, qr/limit must be/],
['GET /status?view=mailboxes&sort=x'    => 400, qr/sort must be/],
['GET /status?view=mailboxes&after=12'  => 400, qr/after must be/],
['GET /status?view=events&interval=0'   => 400, qr/interval must be/],
['GET /status?view=history'    => 200, qr/"samples":\[\]/],
[{request => 'GET /status', headers => 'Accept: application/json, text/plain, */*'} => 200, qr/\A\{/],
[{request => 'GET /status', headers => 'Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1'} => 200, qr/\A# HELP/],


=== TEST 3: in a prefix location, an "if", and another exchange's
--- http_config
academy_zone zone=x:2m;
academy_zone zone=y:2m;
--- config
location / { academy_exchange x; }
location /see/ { academy_status y; if ($arg_debug) { set $x 1; } }
--- calls eval
[::create(1)              => 200],
['GET /see/'              => 200, qr/\A\{"exchange":"y".*"created":0/],
['GET /see/any?debug=1'   => 200, qr/\A\{"exchange":"y"/],


=== TEST 4: nobody ends anything unless that is allowed
--- config eval: $::both
--- calls eval
[::create(1) => 200],
[{request => 'POST /status?view=mailbox&id=agent:' . ::uid(1) . '&action=terminate', headers => 'X-Academy-Status: 1'} => 403, qr/academy_status_write is off/],
[::status(1) => 200, ::json('{"status":"ACTIVE"}')],


=== TEST 5: who is not known does not get in
--- config
location / { academy_exchange x; }
location = /status { academy_status x; academy_auth variables; academy_client_id $http_x_client; }
--- calls eval
['GET /status' => 401],
['GET /status?format=health' => 401],
[::as('ann', '', 'GET /status') => 200, qr/"viewer":\{"id":"ann","admin":false,"write":false\}/],


=== TEST 6: a table without rows
--- config eval: $::both
--- calls eval
['GET /status?view=mailboxes'  => 200, qr/\A\{"total":0,"mailboxes":\[\],"next":null\}/],


=== TEST 7: a browser gets the page, and nobody else who does not ask for it
--- config eval: $::both
--- calls eval
[{request => 'GET /status', headers => 'Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8'} => 200, qr/\A<!doctype html>.*<\/html>\n\z/s],
[{request => 'GET /status', headers => 'Accept: */*'} => 200, qr/\A\{"exchange":"x"/],
[{request => 'GET /status?format=html', headers => 'Accept: application/json'} => 200, qr/\A<!doctype html>/],
[{request => 'GET /status?format=json', headers => 'Accept: text/html'} => 200, qr/\A\{"exchange":"x"/],
[{request => 'GET /status?view=history', headers => 'Accept: text/html'} => 200, qr/\A\{"interval"/],
['POST /status?format=html' => 405, qr/./],


=== TEST 8: the page asks for nothing elsewhere and lets nothing in
--- config eval: $::both
--- request
GET /status?format=html
--- response_body_like: <style>.*</style>.*<script>.*</script>
--- response_headers
Content-Type: text/html; charset=utf-8
Cache-Control: no-cache
Vary: Accept
X-Content-Type-Options: nosniff
Referrer-Policy: no-referrer
Cross-Origin-Opener-Policy: same-origin
Cross-Origin-Resource-Policy: same-origin
! Transfer-Encoding
--- response_headers_like
Content-Security-Policy: default-src 'none'; script-src 'sha256-[A-Za-z0-9+/]{43}='; style-src 'sha256-[A-Za-z0-9+/]{43}='; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'
ETag: "[0-9a-f]{32}"
Content-Length: \d{5}


=== TEST 9: its head alone
--- config eval: $::both
--- request
HEAD /status?format=html
--- response_body
--- response_headers_like
Content-Type: text/html; charset=utf-8
Content-Length: \d{5}
Content-Security-Policy: default-src 'none'; .*


=== TEST 10: who has it is told that it is the same
--- config eval: $::both
--- request
GET /status?format=html
--- more_headers
If-None-Match: *
--- response_body
--- error_code: 304
--- response_headers_like
ETag: "[0-9a-f]{32}"


=== TEST 11: and who has another one is not
--- config eval: $::both
--- request
GET /status?format=html
--- more_headers
If-None-Match: "00000000000000000000000000000000"
--- response_body_like: doctype


=== TEST 12: who looks has no route, whatever the location is called
--- config
location /x/ { academy_exchange x; }
location = /message { academy_status x; add_header X-Said "[$academy_route]"; }
--- calls eval
['GET /message' => 200, qr/./, qr/^X-Said: \[\]\r$/m],


=== TEST 13: rather no metrics than half of them
--- zone_only: the name is too long for a prefix
--- http_config eval
'academy_zone zone=' . 'x' x 1100 . ':2m;'
--- config eval
'location /x/ { academy_exchange ' . 'x' x 1100 . '; }'
. ' location = /status { academy_status ' . 'x' x 1100 . '; }'
--- calls eval
['GET /status'                   => 200, qr/\}\n\z/],
['GET /status?format=prometheus' => 500],
