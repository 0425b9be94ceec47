# The directives: what they take, what they refuse, and that they say then which
# directive it is, what was wrong and what would be right.
#
# A zone whose size changes on a reload takes a reload: t/workers.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

our $gone = json('{"status":"MISSING"}');

run_tests();

__DATA__

=== TEST 1: the least that there can be
--- http_config
academy_zone zone=x:2m;
--- config
location / { academy_exchange x; }
--- request eval
::status(1)
--- response_body_like eval: $::gone


=== TEST 2: everything that there can be
--- zone_only: the example names a zone and redelivers
--- http_config
academy_zone zone=x:2m;
academy_zone zone=a-longer_name.7:3000k;
academy_message_expiry 1s;
academy_gravestone_expiry 3650d;
academy_listen_timeout 1d;
academy_message_size 64m;
academy_mailbox_messages 1000000;
academy_mailbox_bytes 1024m;
academy_client_mailboxes 0;
academy_ping_interval 0;
academy_peer_timeout 0;
academy_retry 1h;
academy_deduplicate 1h;
academy_redeliver on;
academy_agent_timeout 1d;
academy_auth variables;
academy_client_id $remote_addr;
academy_client_groups $http_x_groups;
academy_verify_source off;
--- config
academy_listen_timeout 1ms;
academy_message_size 1k;
academy_mailbox_messages 0;
academy_mailbox_bytes 0;
academy_client_mailboxes 1;
academy_ping_interval 1d;
academy_peer_timeout 1h;
academy_retry 0;
academy_deduplicate 0;
academy_redeliver off;
academy_agent_timeout 1ms;
academy_auth off;
academy_client_id "${http_x_client}@$host";
academy_client_groups "a,b,$http_x_groups";
academy_verify_source on;
academy_log_deliveries off;
location / {
    academy_exchange x;
    academy_listen_timeout 1m30s;
    academy_message_size 512k;
    academy_mailbox_messages 1;
    academy_mailbox_bytes 512k;
    academy_client_mailboxes 1000;
    academy_ping_interval 1500ms;
    academy_peer_timeout 20s;
    academy_retry 20ms;
    academy_deduplicate 1500ms;
    academy_redeliver on;
    academy_agent_timeout 1m30s;
    academy_auth variables;
    academy_client_id fixed;
    academy_client_groups "";
    academy_verify_source off;
    academy_log_deliveries on;
}
location /other/ { academy_exchange a-longer_name.7; }
--- calls eval
[::status(1)                      => 200, $::gone],
[::status(1) =~ s{/}{/other/}r    => 200, $::gone],
[::get(1, 91)                     => 400, qr/less than 90 /],


=== TEST 3: each level has its own settings, or those of the level above
--- http_config
academy_zone zone=x:2m;
academy_listen_timeout 11s;
academy_message_size 2k;
server {
    listen $TEST_NGINX_SERVER_PORT;
    server_name second;
    location / { academy_exchange x; }
}
--- config
academy_listen_timeout 22s;
location / { academy_exchange x; }
location /a/ {
    academy_exchange x;
    academy_listen_timeout 33s;
    academy_message_size 1k;
}
location /b/ {
    academy_listen_timeout 44s;
    location /b/c/ { academy_exchange x; }
}
--- request eval
my $long = ::put(::message(2, 1, body => '"' . 'x' x 3000 . '"'));
[::get(1, 99), (map { ::get(1, 99) =~ s{/}{$_}r } '/', '/a/', '/b/c/'),
 $long, $long =~ s{/}{/a/}r]
--- more_headers eval
["Host: second", ("") x 5]
--- error_code eval
[400, 400, 400, 400, 413, 413]
--- response_body_like eval
[map({ qr/less than $_ / } 11, 22, 33, 44), qr/limit 2048/, qr/limit 1024/]


=== TEST 4: zones without an exchange, and settings without one
--- http_config
academy_zone zone=x:2m;
academy_zone zone=y:2m;
--- config
academy_auth variables;
location / { return 204; }
--- request
GET /
--- error_code: 204


=== TEST 5: an exchange may come before its zone
--- http_config
server {
    listen $TEST_NGINX_SERVER_PORT;
    server_name before;
    location / { academy_exchange x; }
}
academy_zone zone=x:2m;
--- request eval
::status(1)
--- more_headers
Host: before
--- response_body_like eval: $::gone


=== TEST 6: a message that agents cannot receive is warned of
--- config
location / { academy_exchange x; academy_message_size 513k; }
--- request eval
::status(1)
--- response_body_like eval: $::gone
--- error_log eval
qr/\[warn\](?=.*academy_message_size)(?=.*"513k")(?=.*512k)/


=== TEST 7: one that they can is not
--- config
location / { academy_exchange x; academy_message_size 512k; }
--- request eval
::status(1)
--- response_body_like eval: $::gone
--- no_error_log
[warn]
[error]
[alert]
[crit]
[emerg]


=== TEST 8: access by address alone is warned of, where an id is needed
--- config eval
$::auth =~ s/^    \}/    satisfy any; allow all; }/mr
--- request eval
::status(1)
--- more_headers
X-Client: ann
--- response_body_like eval: $::gone
--- error_log eval
qr/\[warn\](?=.*satisfy any)(?=.*academy_client_id)/


=== TEST 9: a zone needs its name and size
--- http_config
academy_zone;
--- must_die
--- error_log eval: ::emerg('academy_zone', 'invalid number of arguments')


=== TEST 10: a zone without "zone="
--- http_config
academy_zone x:2m;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"x:2m"', 'zone=name:size')


=== TEST 10b: sizes in gigabytes
--- http_config
academy_zone zone=x:1g;
academy_auth_cache 60s size=1g;
--- config
location / { academy_exchange x; }
--- request
GET /none
--- error_code: 404


=== TEST 11: a zone without a size
--- http_config
academy_zone zone=x;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"zone=x"', 'zone=name:size')


=== TEST 12: a zone without a name
--- http_config
academy_zone zone=:2m;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"zone=:2m"', 'zone=name:size')


=== TEST 13: a zone with an empty size
--- zone_only: about a zone's own parameters
--- http_config
academy_zone zone=x:;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"zone=x:"', 'zone=name:size')


=== TEST 14: a zone with another parameter
--- http_config
academy_zone size=2m;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"size=2m"', 'zone=name:size')


=== TEST 15: a zone of nonsense
--- zone_only: about a zone's own parameters
--- http_config
academy_zone zone=x:big;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"zone=x:big"', 'zone=name:size', '2m')


=== TEST 16: a zone too small to be of use
--- zone_only: about a zone's own parameters
--- http_config
academy_zone zone=x:1m;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"zone=x:1m"', 'zone=name:size', '2m')


=== TEST 17: a zone of nothing
--- zone_only: about a zone's own parameters
--- http_config
academy_zone zone=x:0;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"zone=x:0"', 'zone=name:size', '2m')


=== TEST 18: a zone of less than nothing
--- zone_only: about a zone's own parameters
--- http_config
academy_zone zone=x:-2m;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"zone=x:-2m"', 'zone=name:size', '2m')


=== TEST 19: a zone given twice
--- zone_only: about a zone's own parameters
--- http_config
academy_zone zone=x:2m;
academy_zone zone=x:2m;
--- must_die
--- error_log eval: ::emerg('academy_zone', '"x"', 'duplicate')


=== TEST 20: a zone given twice, with another size
--- zone_only: about a zone's own parameters
--- http_config
academy_zone zone=x:2m;
academy_zone zone=x:3m;
--- must_die
--- error_log eval: ::emerg('"x"')


=== TEST 21: a zone of another module
--- zone_only: about a zone's own parameters
--- http_config
limit_req_zone $remote_addr zone=x:2m rate=1r/s;
academy_zone zone=x:2m;
--- must_die
--- error_log eval: ::emerg('"x"')


=== TEST 22: a zone in a server
--- config
academy_zone zone=y:2m;
location / { academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('"academy_zone" directive is not allowed here')


=== TEST 23: an exchange in an unknown zone
--- config
location / { academy_exchange y; }
--- must_die
--- error_log eval: ::emerg('academy_exchange', '"y"', 'academy_zone')


=== TEST 24: where there is no zone at all
--- http_config

--- config
location / { academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('academy_exchange', '"x"', 'academy_zone')


=== TEST 25: an exchange without a name
--- config
location / { academy_exchange; }
--- must_die
--- error_log eval: ::emerg('academy_exchange', 'invalid number of arguments')


=== TEST 26: an exchange with an empty name
--- config
location / { academy_exchange ""; }
--- must_die
--- error_log eval: ::emerg('academy_exchange', '""', 'name')


=== TEST 27: two exchanges in one location
--- config
location / { academy_exchange x; academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('"academy_exchange" directive is duplicate')


=== TEST 28: an exchange in the location of a regular expression
--- config
location ~ ^/v1/ { academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('academy_exchange', '"^/v1/"', 'prefix location')


=== TEST 29: an exchange in the location of a regular expression in any case
--- config
location ~* /V1/ { academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('academy_exchange', '"/V1/"', 'prefix location')


=== TEST 30: an exchange in the location of one exact path
--- config
location = /mailbox { academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('academy_exchange', '"/mailbox"', 'prefix location')


=== TEST 31: an exchange in the location of a name
--- config
location @exchange { academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('academy_exchange', '"@exchange"', 'prefix location')


=== TEST 32: an exchange in a server
--- config
academy_exchange x;
--- must_die
--- error_log eval: ::emerg('"academy_exchange" directive is not allowed here')


=== TEST 33: academy_listen_timeout 0
--- config
location / { academy_exchange x; academy_listen_timeout 0; }
--- must_die
--- error_log eval: ::emerg('academy_listen_timeout', '"0"', 'from 1ms to 1d')


=== TEST 34: academy_listen_timeout -1s
--- config
location / { academy_exchange x; academy_listen_timeout -1s; }
--- must_die
--- error_log eval: ::emerg('academy_listen_timeout', '"-1s"', 'from 1ms to 1d')


=== TEST 35: academy_listen_timeout soon
--- config
location / { academy_exchange x; academy_listen_timeout soon; }
--- must_die
--- error_log eval: ::emerg('academy_listen_timeout', '"soon"', 'from 1ms to 1d')


=== TEST 36: academy_listen_timeout 2d
--- config
location / { academy_exchange x; academy_listen_timeout 2d; }
--- must_die
--- error_log eval: ::emerg('academy_listen_timeout', '"2d"', 'from 1ms to 1d')


=== TEST 37: academy_listen_timeout 1.5s
--- config
location / { academy_exchange x; academy_listen_timeout 1.5s; }
--- must_die
--- error_log eval: ::emerg('academy_listen_timeout', '"1.5s"', 'from 1ms to 1d')


=== TEST 38: academy_listen_timeout 86400001ms
--- config
location / { academy_exchange x; academy_listen_timeout 86400001ms; }
--- must_die
--- error_log eval: ::emerg('academy_listen_timeout', '"86400001ms"', 'from 1ms to 1d')


=== TEST 39: academy_listen_timeout 99999999999999999999s
--- config
location / { academy_exchange x; academy_listen_timeout 99999999999999999999s; }
--- must_die
--- error_log eval: ::emerg('academy_listen_timeout', '"99999999999999999999s"', 'from 1ms to 1d')


=== TEST 40: academy_ping_interval -1s
--- config
location / { academy_exchange x; academy_ping_interval -1s; }
--- must_die
--- error_log eval: ::emerg('academy_ping_interval', '"-1s"', 'up to 1d, or 0')


=== TEST 41: academy_ping_interval never
--- config
location / { academy_exchange x; academy_ping_interval never; }
--- must_die
--- error_log eval: ::emerg('academy_ping_interval', '"never"', 'up to 1d, or 0')


=== TEST 42: academy_ping_interval 25h
--- config
location / { academy_exchange x; academy_ping_interval 25h; }
--- must_die
--- error_log eval: ::emerg('academy_ping_interval', '"25h"', 'up to 1d, or 0')


=== TEST 43: academy_ping_interval 1.5s
--- config
location / { academy_exchange x; academy_ping_interval 1.5s; }
--- must_die
--- error_log eval: ::emerg('academy_ping_interval', '"1.5s"', 'up to 1d, or 0')


=== TEST 44: academy_retry -1
--- config
location / { academy_exchange x; academy_retry -1; }
--- must_die
--- error_log eval: ::emerg('academy_retry', '"-1"', 'up to 1h')


=== TEST 45: academy_retry later
--- config
location / { academy_exchange x; academy_retry later; }
--- must_die
--- error_log eval: ::emerg('academy_retry', '"later"', 'up to 1h')


=== TEST 46: academy_retry 2h
--- config
location / { academy_exchange x; academy_retry 2h; }
--- must_die
--- error_log eval: ::emerg('academy_retry', '"2h"', 'up to 1h')


=== TEST 47: academy_retry 61m
--- config
location / { academy_exchange x; academy_retry 61m; }
--- must_die
--- error_log eval: ::emerg('academy_retry', '"61m"', 'up to 1h')


=== TEST 48: academy_message_size 0
--- config
location / { academy_exchange x; academy_message_size 0; }
--- must_die
--- error_log eval: ::emerg('academy_message_size', '"0"', 'from 1k to 64m')


=== TEST 49: academy_message_size 1023
--- config
location / { academy_exchange x; academy_message_size 1023; }
--- must_die
--- error_log eval: ::emerg('academy_message_size', '"1023"', 'from 1k to 64m')


=== TEST 50: academy_message_size 65m
--- config
location / { academy_exchange x; academy_message_size 65m; }
--- must_die
--- error_log eval: ::emerg('academy_message_size', '"65m"', 'from 1k to 64m')


=== TEST 51: academy_message_size large
--- config
location / { academy_exchange x; academy_message_size large; }
--- must_die
--- error_log eval: ::emerg('academy_message_size', '"large"', 'from 1k to 64m')


=== TEST 52: academy_message_size -1k
--- config
location / { academy_exchange x; academy_message_size -1k; }
--- must_die
--- error_log eval: ::emerg('academy_message_size', '"-1k"', 'from 1k to 64m')


=== TEST 53: academy_message_size 1g
--- config
location / { academy_exchange x; academy_message_size 1g; }
--- must_die
--- error_log eval: ::emerg('academy_message_size', '"1g"', 'from 1k to 64m')


=== TEST 54: academy_message_size 1k1
--- config
location / { academy_exchange x; academy_message_size 1k1; }
--- must_die
--- error_log eval: ::emerg('academy_message_size', '"1k1"', 'from 1k to 64m')


=== TEST 55: academy_auth on
--- config
location / { academy_exchange x; academy_auth on; }
--- must_die
--- error_log eval: ::emerg('academy_auth', '"on"', '"off", "variables", "jwt", "introspection" or "globus"')


=== TEST 56: academy_auth maybe
--- config
location / { academy_exchange x; academy_auth maybe; }
--- must_die
--- error_log eval: ::emerg('academy_auth', '"maybe"', '"off", "variables", "jwt", "introspection" or "globus"')


=== TEST 57: academy_auth Variables
--- config
location / { academy_exchange x; academy_auth Variables; }
--- must_die
--- error_log eval: ::emerg('academy_auth', '"Variables"', '"off", "variables", "jwt", "introspection" or "globus"')


=== TEST 58: academy_auth Globus
--- config
location / { academy_exchange x; academy_auth Globus; }
--- must_die
--- error_log eval: ::emerg('academy_auth', '"Globus"', '"off", "variables", "jwt", "introspection" or "globus"')


=== TEST 59: academy_verify_source maybe
--- config
location / { academy_exchange x; academy_verify_source maybe; }
--- must_die
--- error_log eval: ::emerg('academy_verify_source', '"maybe"', '"on" or "off"')


=== TEST 60: academy_listen_timeout twice
--- config
location / { academy_exchange x; academy_listen_timeout 1s; academy_listen_timeout 1s; }
--- must_die
--- error_log eval: ::emerg('"academy_listen_timeout" directive is duplicate')


=== TEST 61: academy_listen_timeout without a value
--- config
location / { academy_exchange x; academy_listen_timeout; }
--- must_die
--- error_log eval: ::emerg('"academy_listen_timeout"', 'invalid number of arguments')


=== TEST 62: academy_ping_interval twice
--- config
location / { academy_exchange x; academy_ping_interval 1s; academy_ping_interval 1s; }
--- must_die
--- error_log eval: ::emerg('"academy_ping_interval" directive is duplicate')


=== TEST 63: academy_ping_interval without a value
--- config
location / { academy_exchange x; academy_ping_interval; }
--- must_die
--- error_log eval: ::emerg('"academy_ping_interval"', 'invalid number of arguments')


=== TEST 64: academy_retry twice
--- config
location / { academy_exchange x; academy_retry 1s; academy_retry 1s; }
--- must_die
--- error_log eval: ::emerg('"academy_retry" directive is duplicate')


=== TEST 65: academy_retry without a value
--- config
location / { academy_exchange x; academy_retry; }
--- must_die
--- error_log eval: ::emerg('"academy_retry"', 'invalid number of arguments')


=== TEST 66: academy_message_size twice
--- config
location / { academy_exchange x; academy_message_size 1k; academy_message_size 1k; }
--- must_die
--- error_log eval: ::emerg('"academy_message_size" directive is duplicate')


=== TEST 67: academy_message_size without a value
--- config
location / { academy_exchange x; academy_message_size; }
--- must_die
--- error_log eval: ::emerg('"academy_message_size"', 'invalid number of arguments')


=== TEST 68: academy_auth twice
--- config
location / { academy_exchange x; academy_auth off; academy_auth off; }
--- must_die
--- error_log eval: ::emerg('"academy_auth" directive is duplicate')


=== TEST 69: academy_auth without a value
--- config
location / { academy_exchange x; academy_auth; }
--- must_die
--- error_log eval: ::emerg('"academy_auth"', 'invalid number of arguments')


=== TEST 70: academy_client_id twice
--- config
location / { academy_exchange x; academy_client_id 1s; academy_client_id 1s; }
--- must_die
--- error_log eval: ::emerg('"academy_client_id" directive is duplicate')


=== TEST 71: academy_client_id without a value
--- config
location / { academy_exchange x; academy_client_id; }
--- must_die
--- error_log eval: ::emerg('"academy_client_id"', 'invalid number of arguments')


=== TEST 72: academy_client_groups twice
--- config
location / { academy_exchange x; academy_client_groups 1s; academy_client_groups 1s; }
--- must_die
--- error_log eval: ::emerg('"academy_client_groups" directive is duplicate')


=== TEST 73: academy_client_groups without a value
--- config
location / { academy_exchange x; academy_client_groups; }
--- must_die
--- error_log eval: ::emerg('"academy_client_groups"', 'invalid number of arguments')


=== TEST 74: academy_verify_source twice
--- config
location / { academy_exchange x; academy_verify_source on; academy_verify_source on; }
--- must_die
--- error_log eval: ::emerg('"academy_verify_source" directive is duplicate')


=== TEST 75: academy_verify_source without a value
--- config
location / { academy_exchange x; academy_verify_source; }
--- must_die
--- error_log eval: ::emerg('"academy_verify_source"', 'invalid number of arguments')


=== TEST 76: academy_auth variables without an id
--- config
location / { academy_exchange x; academy_auth variables; }
--- must_die
--- error_log eval: ::emerg('academy_auth variables', 'academy_client_id')


=== TEST 77: academy_client_id of a variable that there is not
--- config
location / { academy_exchange x; academy_client_id $nobody; }
--- must_die
--- error_log eval: ::emerg('"nobody" variable')


=== TEST 78: academy_client_groups of a variable that there is not
--- config
location / { academy_exchange x; academy_client_groups $nobody; }
--- must_die
--- error_log eval: ::emerg('"nobody" variable')


=== TEST 79: academy_auth_leeway 2h
--- config
location / { academy_exchange x; academy_auth_leeway 2h; }
--- must_die
--- error_log eval: ::emerg('academy_auth_leeway', '"2h"', 'up to 1h')


=== TEST 80: academy_auth_leeway -1s
--- config
location / { academy_exchange x; academy_auth_leeway -1s; }
--- must_die
--- error_log eval: ::emerg('academy_auth_leeway', '"-1s"', 'up to 1h')


=== TEST 81: academy_auth_leeway 1ms
--- config
location / { academy_exchange x; academy_auth_leeway 1ms; }
--- must_die
--- error_log eval: ::emerg('academy_auth_leeway', '"1ms"', 'up to 1h')


=== TEST 82: academy_jwt_key_cache 0
--- config
location / { academy_exchange x; academy_jwt_key_cache 0; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_key_cache', '"0"', 'from 1s to 1d')


=== TEST 83: academy_jwt_key_cache 2d
--- config
location / { academy_exchange x; academy_jwt_key_cache 2d; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_key_cache', '"2d"', 'from 1s to 1d')


=== TEST 84: academy_auth_cache 0
--- config
location / { academy_exchange x; academy_auth_cache 0; }
--- must_die
--- error_log eval: ::emerg('academy_auth_cache', '"0"', 'from 1s to 1d, or "off"')


=== TEST 85: academy_auth_cache on
--- config
location / { academy_exchange x; academy_auth_cache on; }
--- must_die
--- error_log eval: ::emerg('academy_auth_cache', '"on"', 'from 1s to 1d, or "off"')


=== TEST 86: academy_auth_cache 1m 4m
--- config
location / { academy_exchange x; academy_auth_cache 1m 4m; }
--- must_die
--- error_log eval: ::emerg('academy_auth_cache', '"4m"', 'size=size')


=== TEST 87: academy_auth_cache 1m size=1k
--- config
location / { academy_exchange x; academy_auth_cache 1m size=1k; }
--- must_die
--- error_log eval: ::emerg('academy_auth_cache', '"size=1k"', 'from 256k to 1g')


=== TEST 88: academy_auth_cache 1m size=many
--- config
location / { academy_exchange x; academy_auth_cache 1m size=many; }
--- must_die
--- error_log eval: ::emerg('academy_auth_cache', '"size=many"', 'from 256k to 1g')


=== TEST 89: academy_auth_cache off size=1m
--- config
location / { academy_exchange x; academy_auth_cache off size=1m; }
--- must_die
--- error_log eval: ::emerg('academy_auth_cache', '"off"', 'from 1s to 1d')


=== TEST 90: academy_jwt_algorithms none
--- config
location / { academy_exchange x; academy_jwt_algorithms none; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_algorithms', '"none"', 'one or more of RS256')


=== TEST 91: academy_jwt_algorithms RS256 rs384
--- config
location / { academy_exchange x; academy_jwt_algorithms RS256 rs384; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_algorithms', '"rs384"', 'one or more of RS256')


=== TEST 92: academy_auth_audience ''
--- config
location / { academy_exchange x; academy_auth_audience ""; }
--- must_die
--- error_log eval: ::emerg('academy_auth_audience', '""', 'none of them empty')


=== TEST 93: academy_auth_issuer a ''
--- config
location / { academy_exchange x; academy_auth_issuer a ""; }
--- must_die
--- error_log eval: ::emerg('academy_auth_issuer', '""', 'none of them empty')


=== TEST 94: academy_jwt_key_file nowhere
--- config
location / { academy_exchange x; academy_jwt_key_file nowhere; }
--- must_die
--- error_log eval: ::emerg('nowhere', 'failed')


=== TEST 95: academy_jwt_key_file .
--- config
location / { academy_exchange x; academy_jwt_key_file .; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_key_file', 'file of 1 byte to 1m')


=== TEST 96: academy_jwt_key_file ''
--- config
location / { academy_exchange x; academy_jwt_key_file ""; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_key_file', '""', 'the name of a file')


=== TEST 97: academy_jwt_key_request http://x/
--- config
location / { academy_exchange x; academy_jwt_key_request http://x/; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_key_request', '"http://x/"', 'begins with "/"')


=== TEST 98: academy_introspection x
--- config
location / { academy_exchange x; academy_introspection x; }
--- must_die
--- error_log eval: ::emerg('academy_introspection', '"x"', 'begins with "/"')


=== TEST 99: academy_introspection /x?y=z
--- config
location / { academy_exchange x; academy_introspection /x?y=z; }
--- must_die
--- error_log eval: ::emerg('academy_introspection', '"/x?y=z"', 'no arguments')


=== TEST 100: academy_globus_groups ''
--- config
location / { academy_exchange x; academy_globus_groups ""; }
--- must_die
--- error_log eval: ::emerg('academy_globus_groups', '""', 'begins with "/"')


=== TEST 101: academy_claim_set x y
--- config
location / { academy_exchange x; academy_claim_set x y; }
--- must_die
--- error_log eval: ::emerg('academy_claim_set', '"x"', 'the name of a variable')


=== TEST 102: academy_claim_set $ y
--- config
location / { academy_exchange x; academy_claim_set $ y; }
--- must_die
--- error_log eval: ::emerg('academy_claim_set', '"$"', 'the name of a variable')


=== TEST 103: academy_claim_set $x y ''
--- config
location / { academy_exchange x; academy_claim_set $x y ""; }
--- must_die
--- error_log eval: ::emerg('academy_claim_set', '""', 'the name of a claim')


=== TEST 104: academy_claim_set $host y
--- config
location / { academy_exchange x; academy_claim_set $host y; }
--- must_die
--- error_log eval: ::emerg('host')


=== TEST 105: academy_claim_set $x
--- config
location / { academy_exchange x; academy_claim_set $x; }
--- must_die
--- error_log eval: ::emerg('academy_claim_set', 'invalid number of arguments')


=== TEST 106: academy_auth_audience twice
--- config
location / { academy_exchange x; academy_auth_audience a; academy_auth_audience a; }
--- must_die
--- error_log eval: ::emerg('"academy_auth_audience" directive is duplicate')


=== TEST 107: academy_auth_issuer twice
--- config
location / { academy_exchange x; academy_auth_issuer a; academy_auth_issuer a; }
--- must_die
--- error_log eval: ::emerg('"academy_auth_issuer" directive is duplicate')


=== TEST 108: academy_auth_leeway twice
--- config
location / { academy_exchange x; academy_auth_leeway 1s; academy_auth_leeway 1s; }
--- must_die
--- error_log eval: ::emerg('"academy_auth_leeway" directive is duplicate')


=== TEST 109: academy_auth_cache twice
--- config
location / { academy_exchange x; academy_auth_cache 1m; academy_auth_cache 1m; }
--- must_die
--- error_log eval: ::emerg('"academy_auth_cache" directive is duplicate')


=== TEST 110: academy_jwt_algorithms twice
--- config
location / { academy_exchange x; academy_jwt_algorithms ES256; academy_jwt_algorithms ES256; }
--- must_die
--- error_log eval: ::emerg('"academy_jwt_algorithms" directive is duplicate')


=== TEST 111: academy_jwt_key_request twice
--- config
location / { academy_exchange x; academy_jwt_key_request /a; academy_jwt_key_request /a; }
--- must_die
--- error_log eval: ::emerg('"academy_jwt_key_request" directive is duplicate')


=== TEST 112: academy_introspection twice
--- config
location / { academy_exchange x; academy_introspection /a; academy_introspection /a; }
--- must_die
--- error_log eval: ::emerg('"academy_introspection" directive is duplicate')


=== TEST 113: academy_auth jwt without keys
--- config
location / { academy_exchange x; academy_auth jwt; }
--- must_die
--- error_log eval: ::emerg('academy_auth jwt', 'academy_jwt_key_file')


=== TEST 114: academy_auth introspection without a location
--- config
location / { academy_exchange x; academy_auth introspection; }
--- must_die
--- error_log eval: ::emerg('academy_auth introspection', 'academy_introspection')


=== TEST 115: academy_auth globus without academy_globus_dependent_tokens
--- config
location / { academy_exchange x; academy_auth globus;  }
--- must_die
--- error_log eval: ::emerg('academy_auth globus', 'academy_globus_dependent_tokens')


=== TEST 116: academy_auth globus without academy_globus_groups
--- config
location / { academy_exchange x; academy_auth globus; academy_globus_dependent_tokens /a; }
--- must_die
--- error_log eval: ::emerg('academy_auth globus', 'academy_globus_groups')


=== TEST 117: academy_auth globus without academy_introspection
--- config
location / { academy_exchange x; academy_auth globus; academy_globus_dependent_tokens /a; academy_globus_groups /b; academy_auth_audience c; }
--- must_die
--- error_log eval: ::emerg('academy_auth globus', 'academy_introspection')


=== TEST 117b: academy_auth globus without academy_auth_audience: a token for any other service would do
--- config
location / { academy_exchange x; academy_auth globus; academy_globus_dependent_tokens /a; academy_globus_groups /b; academy_introspection /c; }
--- must_die
--- error_log eval: ::emerg('academy_auth globus', 'academy_auth_audience')


=== TEST 118: what is needed may be said further out, and where there is no exchange nothing is
--- config
academy_auth jwt;
location / { return 404; }
--- request
GET /none
--- error_code: 404


=== TEST 118b: everything that tokens can have, on each level
--- http_config
academy_zone zone=x:2m;
academy_auth globus;
academy_introspection /a;
academy_globus_dependent_tokens /b;
academy_globus_groups /c;
academy_auth_audience a "b c";
academy_auth_issuer a b;
academy_auth_leeway 1h;
academy_auth_cache 1d size=256k;
academy_claim_set $one two three;
--- config
academy_auth introspection;
academy_introspection /d;
academy_auth_leeway 0;
academy_auth_cache off;
academy_jwt_key_request /e;
academy_jwt_key_cache 1s;
academy_jwt_algorithms ES256;
location / {
    academy_exchange x;
    academy_auth jwt;
    academy_jwt_key_request /f;
    academy_jwt_key_cache 1d;
    academy_auth_cache 1s;
}
location /a/ { academy_exchange x; }
location /b/ { academy_exchange x; academy_auth globus; }
--- request eval
["GET /discover", "GET /a/discover", "GET /b/discover"]
--- error_code eval
[401, 401, 401]
--- response_headers eval
[("WWW-Authenticate: Bearer") x 3]


=== TEST 118c: academy_globus_dependent_tokens https://auth.globus.org/
--- config
location / { academy_exchange x; academy_globus_dependent_tokens https://auth.globus.org/; }
--- must_die
--- error_log eval: ::emerg('academy_globus_dependent_tokens', '"https://auth.globus.org/"', 'begins with "/"')


=== TEST 118d: academy_jwt_key_request /x?
--- config
location / { academy_exchange x; academy_jwt_key_request /x?; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_key_request', '"/x?"', 'no arguments')


=== TEST 118e: academy_globus_dependent_tokens twice
--- config
location / { academy_exchange x; academy_globus_dependent_tokens /a; academy_globus_dependent_tokens /a; }
--- must_die
--- error_log eval: ::emerg('"academy_globus_dependent_tokens" directive is duplicate')


=== TEST 118f: academy_globus_groups twice
--- config
location / { academy_exchange x; academy_globus_groups /a; academy_globus_groups /a; }
--- must_die
--- error_log eval: ::emerg('"academy_globus_groups" directive is duplicate')


=== TEST 118g: academy_jwt_key_cache twice
--- config
location / { academy_exchange x; academy_jwt_key_cache 1m; academy_jwt_key_cache 1m; }
--- must_die
--- error_log eval: ::emerg('"academy_jwt_key_cache" directive is duplicate')


=== TEST 118h: academy_jwt_key_cache 1ms
--- config
location / { academy_exchange x; academy_jwt_key_cache 1ms; }
--- must_die
--- error_log eval: ::emerg('academy_jwt_key_cache', '"1ms"', 'from 1s to 1d')


=== TEST 118i: academy_introspection without a value
--- config
location / { academy_exchange x; academy_introspection; }
--- must_die
--- error_log eval: ::emerg('"academy_introspection"', 'invalid number of arguments')


=== TEST 119: academy_peer_timeout 61m
--- config
location / { academy_exchange x; academy_peer_timeout 61m; }
--- must_die
--- error_log eval: ::emerg('academy_peer_timeout', '"61m"', 'up to 1h, or 0')


=== TEST 120: academy_peer_timeout soon
--- config
location / { academy_exchange x; academy_peer_timeout soon; }
--- must_die
--- error_log eval: ::emerg('academy_peer_timeout', '"soon"', 'up to 1h, or 0')


=== TEST 121: academy_mailbox_messages -1
--- config
location / { academy_exchange x; academy_mailbox_messages -1; }
--- must_die
--- error_log eval: ::emerg('academy_mailbox_messages', '"-1"', 'a number, or 0 for no bound')


=== TEST 122: academy_mailbox_messages many
--- config
location / { academy_exchange x; academy_mailbox_messages many; }
--- must_die
--- error_log eval: ::emerg('academy_mailbox_messages', '"many"', 'a number, or 0 for no bound')


=== TEST 123: academy_mailbox_messages 10k
--- config
location / { academy_exchange x; academy_mailbox_messages 10k; }
--- must_die
--- error_log eval: ::emerg('academy_mailbox_messages', '"10k"', 'a number, or 0 for no bound')


=== TEST 124: academy_mailbox_messages given twice
--- config
location / { academy_exchange x; academy_mailbox_messages 1; academy_mailbox_messages 1; }
--- must_die
--- error_log eval: ::emerg('"academy_mailbox_messages" directive is duplicate')


=== TEST 125: academy_mailbox_messages without a value
--- config
location / { academy_exchange x; academy_mailbox_messages; }
--- must_die
--- error_log eval: ::emerg('academy_mailbox_messages', 'invalid number of arguments')


=== TEST 126: academy_client_mailboxes -1
--- config
location / { academy_exchange x; academy_client_mailboxes -1; }
--- must_die
--- error_log eval: ::emerg('academy_client_mailboxes', '"-1"', 'a number, or 0 for no bound')


=== TEST 127: academy_client_mailboxes many
--- config
location / { academy_exchange x; academy_client_mailboxes many; }
--- must_die
--- error_log eval: ::emerg('academy_client_mailboxes', '"many"', 'a number, or 0 for no bound')


=== TEST 128: academy_client_mailboxes 10k
--- config
location / { academy_exchange x; academy_client_mailboxes 10k; }
--- must_die
--- error_log eval: ::emerg('academy_client_mailboxes', '"10k"', 'a number, or 0 for no bound')


=== TEST 129: academy_client_mailboxes given twice
--- config
location / { academy_exchange x; academy_client_mailboxes 1; academy_client_mailboxes 1; }
--- must_die
--- error_log eval: ::emerg('"academy_client_mailboxes" directive is duplicate')


=== TEST 130: academy_client_mailboxes without a value
--- config
location / { academy_exchange x; academy_client_mailboxes; }
--- must_die
--- error_log eval: ::emerg('academy_client_mailboxes', 'invalid number of arguments')


=== TEST 131: academy_mailbox_bytes -1
--- config
location / { academy_exchange x; academy_mailbox_bytes -1; }
--- must_die
--- error_log eval: ::emerg('academy_mailbox_bytes', '"-1"', 'a size, or 0 for no bound')


=== TEST 132: academy_mailbox_bytes much
--- config
location / { academy_exchange x; academy_mailbox_bytes much; }
--- must_die
--- error_log eval: ::emerg('academy_mailbox_bytes', '"much"', 'a size, or 0 for no bound')


=== TEST 133: academy_mailbox_bytes given twice
--- config
location / { academy_exchange x; academy_mailbox_bytes 1m; academy_mailbox_bytes 1m; }
--- must_die
--- error_log eval: ::emerg('"academy_mailbox_bytes" directive is duplicate')


=== TEST 134: academy_mailbox_bytes less than a message
--- config
location / { academy_exchange x; academy_mailbox_bytes 511k; }
--- must_die
--- error_log eval: ::emerg('academy_mailbox_bytes', '523264', 'academy_message_size', '524288')


=== TEST 135: academy_mailbox_bytes that one message fills
--- config
academy_mailbox_bytes 1k;
location / { academy_exchange x; academy_message_size 1k; }
--- request eval
::status(1)
--- response_body_like eval: $::gone


=== TEST 136: academy_deduplicate 61m
--- config
location / { academy_exchange x; academy_deduplicate 61m; }
--- must_die
--- error_log eval: ::emerg('academy_deduplicate', '"61m"', 'up to 1h, or 0')


=== TEST 137: academy_deduplicate off
--- config
location / { academy_exchange x; academy_deduplicate off; }
--- must_die
--- error_log eval: ::emerg('academy_deduplicate', '"off"', 'up to 1h, or 0')


=== TEST 138: academy_deduplicate twice
--- config
location / { academy_exchange x; academy_deduplicate 1s; academy_deduplicate 1s; }
--- must_die
--- error_log eval: ::emerg('"academy_deduplicate" directive is duplicate')


=== TEST 139: academy_redeliver yes
--- config
location / { academy_exchange x; academy_redeliver yes; }
--- must_die
--- error_log eval: ::emerg('academy_redeliver', '"yes"', '"on" or "off"')


=== TEST 140: academy_redeliver twice
--- config
location / { academy_exchange x; academy_redeliver on; academy_redeliver on; }
--- must_die
--- error_log eval: ::emerg('"academy_redeliver" directive is duplicate')


=== TEST 141: academy_agent_timeout 0
--- config
location / { academy_exchange x; academy_agent_timeout 0; }
--- must_die
--- error_log eval: ::emerg('academy_agent_timeout', '"0"', '1ms to 1d')


=== TEST 142: academy_agent_timeout 25h
--- config
location / { academy_exchange x; academy_agent_timeout 25h; }
--- must_die
--- error_log eval: ::emerg('academy_agent_timeout', '"25h"', '1ms to 1d')


=== TEST 143: academy_agent_timeout twice
--- config
location / { academy_exchange x; academy_agent_timeout 1s; academy_agent_timeout 1s; }
--- must_die
--- error_log eval: ::emerg('"academy_agent_timeout" directive is duplicate')


=== TEST 144: academy_message_expiry soon
--- http_config
academy_zone zone=x:2m;
academy_message_expiry soon;
--- must_die
--- error_log eval: ::emerg('academy_message_expiry', '"soon"', 'a time up to 3650d, or 0 for no end')


=== TEST 145: academy_message_expiry -1
--- http_config
academy_zone zone=x:2m;
academy_message_expiry -1;
--- must_die
--- error_log eval: ::emerg('academy_message_expiry', '"-1"', 'a time up to 3650d, or 0 for no end')


=== TEST 146: academy_message_expiry 3651d
--- http_config
academy_zone zone=x:2m;
academy_message_expiry 3651d;
--- must_die
--- error_log eval: ::emerg('academy_message_expiry', '"3651d"', 'a time up to 3650d, or 0 for no end')


=== TEST 147: academy_message_expiry 500ms
--- http_config
academy_zone zone=x:2m;
academy_message_expiry 500ms;
--- must_die
--- error_log eval: ::emerg('academy_message_expiry', '"500ms"', 'a time up to 3650d, or 0 for no end')


=== TEST 148: academy_message_expiry given twice
--- http_config
academy_zone zone=x:2m;
academy_message_expiry 1d;
academy_message_expiry 1d;
--- must_die
--- error_log eval: ::emerg('"academy_message_expiry" directive is duplicate')


=== TEST 149: academy_message_expiry in a location, where there is no timer
--- config
location / { academy_exchange x; academy_message_expiry 1d; }
--- must_die
--- error_log eval: ::emerg('"academy_message_expiry" directive is not allowed here')


=== TEST 150: academy_gravestone_expiry soon
--- http_config
academy_zone zone=x:2m;
academy_gravestone_expiry soon;
--- must_die
--- error_log eval: ::emerg('academy_gravestone_expiry', '"soon"', 'a time up to 3650d, or 0 for no end')


=== TEST 151: academy_gravestone_expiry -1
--- http_config
academy_zone zone=x:2m;
academy_gravestone_expiry -1;
--- must_die
--- error_log eval: ::emerg('academy_gravestone_expiry', '"-1"', 'a time up to 3650d, or 0 for no end')


=== TEST 152: academy_gravestone_expiry 3651d
--- http_config
academy_zone zone=x:2m;
academy_gravestone_expiry 3651d;
--- must_die
--- error_log eval: ::emerg('academy_gravestone_expiry', '"3651d"', 'a time up to 3650d, or 0 for no end')


=== TEST 153: academy_gravestone_expiry 500ms
--- http_config
academy_zone zone=x:2m;
academy_gravestone_expiry 500ms;
--- must_die
--- error_log eval: ::emerg('academy_gravestone_expiry', '"500ms"', 'a time up to 3650d, or 0 for no end')


=== TEST 154: academy_gravestone_expiry given twice
--- http_config
academy_zone zone=x:2m;
academy_gravestone_expiry 1d;
academy_gravestone_expiry 1d;
--- must_die
--- error_log eval: ::emerg('"academy_gravestone_expiry" directive is duplicate')


=== TEST 155: academy_gravestone_expiry in a location, where there is no timer
--- config
location / { academy_exchange x; academy_gravestone_expiry 1d; }
--- must_die
--- error_log eval: ::emerg('"academy_gravestone_expiry" directive is not allowed here')


=== TEST 156: academy_redis with all that there can be
--- zone_only: about a zone's own parameters
--- http_config
academy_redis name=x server=127.0.0.1:1 db=65535 user=ann
              password_file=nginx.conf "prefix=[a*?]:{}"
              connect_timeout=1h timeout=1ms;
academy_redis name=y server=unix:nowhere db=0 timeout=100ms;
academy_redis name=z server=localhost connect_timeout=1ms timeout=1h;
academy_zone zone=u:2m;
--- config
location / { academy_exchange y; academy_redeliver off; }
location /x/ { academy_exchange x; }
location /z/ { academy_exchange z; }
location /u/ { academy_exchange u; academy_redeliver on; }
--- request eval
::status(1)
--- error_code: 503
--- response_headers
Retry-After: 1
--- response_body chomp
The exchange's store does not answer, try again
--- no_error_log
[error]


=== TEST 157: academy_redis without a name
--- http_config
academy_redis server=127.0.0.1 db=1;
--- must_die
--- error_log eval: ::emerg('academy_redis', 'no "name="', 'name= and server=')


=== TEST 158: academy_redis without a server
--- http_config
academy_redis name=x db=1;
--- must_die
--- error_log eval: ::emerg('academy_redis', 'no "server="', 'name= and server=')


=== TEST 159: academy_redis with one parameter
--- http_config
academy_redis name=x;
--- must_die
--- error_log eval: ::emerg('invalid number of arguments in "academy_redis" directive')


=== TEST 160: academy_redis with an empty name
--- http_config
academy_redis name= server=127.0.0.1;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"name="', 'one with a value')


=== TEST 161: academy_redis with something else
--- http_config
academy_redis name=x server=127.0.0.1:1 host=y;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"host=y"', 'allowed are name=, server=, db=')


=== TEST 162: academy_redis with a word
--- http_config
academy_redis name=x server=127.0.0.1:1 quickly;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"quickly"', 'allowed are name=')


=== TEST 163: academy_redis with two servers
--- http_config
academy_redis name=x server=127.0.0.1:1 server=127.0.0.2;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"server=127.0.0.2"', 'it must be given once')


=== TEST 164: academy_redis on port 0
--- http_config
academy_redis name=x server=127.0.0.1:0;
--- must_die
--- error_log eval: ::emerg('academy_redis', 'invalid port', '"server=127.0.0.1:0"', 'server=HOST[:PORT] or server=unix:PATH')


=== TEST 165: academy_redis on port 65536
--- http_config
academy_redis name=x server=127.0.0.1:65536;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"server=127.0.0.1:65536"', 'server=HOST[:PORT]')


=== TEST 166: academy_redis on a path
--- http_config
academy_redis name=x server=127.0.0.1:6379/2;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"server=127.0.0.1:6379/2"', 'server=HOST[:PORT]')


=== TEST 167: academy_redis on a UNIX socket without a name
--- http_config
academy_redis name=x server=unix:;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"server=unix:"', 'server=unix:PATH')


=== TEST 168: academy_redis on an unknown host
--- http_config
academy_redis name=x server=nowhere.invalid;
--- must_die
--- error_log eval: ::emerg('academy_redis', 'host not found', '"server=nowhere.invalid"')


=== TEST 169: academy_redis db=-1
--- http_config
academy_redis name=x server=127.0.0.1:1 db=-1;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"db=-1"', 'a number from 0 to 65535')


=== TEST 170: academy_redis db=65536
--- http_config
academy_redis name=x server=127.0.0.1:1 db=65536;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"db=65536"', 'a number from 0 to 65535')


=== TEST 171: academy_redis db=first
--- http_config
academy_redis name=x server=127.0.0.1:1 db=first;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"db=first"', 'a number from 0 to 65535')


=== TEST 172: academy_redis connect_timeout=0
--- http_config
academy_redis name=x server=127.0.0.1:1 connect_timeout=0;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"connect_timeout=0"', 'a time from 1ms to 1h')


=== TEST 173: academy_redis connect_timeout=61m
--- http_config
academy_redis name=x server=127.0.0.1:1 connect_timeout=61m;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"connect_timeout=61m"', 'a time from 1ms to 1h')


=== TEST 174: academy_redis connect_timeout=soon
--- http_config
academy_redis name=x server=127.0.0.1:1 connect_timeout=soon;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"connect_timeout=soon"', 'a time from 1ms to 1h')


=== TEST 175: academy_redis connect_timeout=-1
--- http_config
academy_redis name=x server=127.0.0.1:1 connect_timeout=-1;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"connect_timeout=-1"', 'a time from 1ms to 1h')


=== TEST 176: academy_redis timeout=0
--- http_config
academy_redis name=x server=127.0.0.1:1 timeout=0;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"timeout=0"', 'a time from 1ms to 1h')


=== TEST 177: academy_redis timeout=61m
--- http_config
academy_redis name=x server=127.0.0.1:1 timeout=61m;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"timeout=61m"', 'a time from 1ms to 1h')


=== TEST 178: academy_redis timeout=soon
--- http_config
academy_redis name=x server=127.0.0.1:1 timeout=soon;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"timeout=soon"', 'a time from 1ms to 1h')


=== TEST 179: academy_redis timeout=-1
--- http_config
academy_redis name=x server=127.0.0.1:1 timeout=-1;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"timeout=-1"', 'a time from 1ms to 1h')


=== TEST 180: academy_redis with a long prefix
--- http_config
academy_redis name=x server=127.0.0.1:1 prefix=ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"prefix=ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp"', 'at most 128 characters')


=== TEST 181: academy_redis with a user and no password
--- http_config
academy_redis name=x server=127.0.0.1:1 user=ann;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"ann"', 'no "password_file="')


=== TEST 182: academy_redis with a password file that is not there
--- http_config
academy_redis name=x server=127.0.0.1:1 password_file=nowhere;
--- must_die
--- error_log eval: ::emerg('academy_redis', 'nowhere', 'No such file')


=== TEST 183: academy_redis with a password file that is a directory
--- http_config
academy_redis name=x server=127.0.0.1:1 password_file=.;
--- must_die
--- error_log eval: ::emerg('academy_redis', 'password_file=', 'Is a directory')


=== TEST 184: academy_redis with an empty password file
--- http_config
academy_redis name=x server=127.0.0.1:1 password_file=/dev/null;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"password_file=/dev/null"', 'a password of 1 to 1023 bytes')


=== TEST 185: academy_redis with a password file of no end
--- http_config
academy_redis name=x server=127.0.0.1:1 password_file=/dev/zero;
--- must_die
--- error_log eval: ::emerg('academy_redis', '"password_file=/dev/zero"', 'a password of 1 to 1023 bytes')


=== TEST 186: academy_redis twice with one name
--- http_config
academy_redis name=x server=127.0.0.1:1 ;
academy_redis name=x server=127.0.0.1:2;
--- must_die
--- error_log eval: ::emerg('academy_redis', 'duplicate name "x"', 'no other "academy_zone" or "academy_redis" has')


=== TEST 187: academy_redis with a zone's name
--- zone_only: about a zone's own parameters
--- http_config
academy_zone zone=x:2m;
academy_redis name=x server=127.0.0.1:1 ;
--- must_die
--- error_log eval: ::emerg('academy_redis', 'duplicate name "x"', 'no other "academy_zone" or "academy_redis" has')


=== TEST 188: a zone with academy_redis's name
--- zone_only: about a zone's own parameters
--- http_config
academy_redis name=x server=127.0.0.1:1 ;
academy_zone zone=x:2m;
--- must_die
--- error_log eval: ::emerg('academy_zone', 'duplicate name "x"', 'no other "academy_zone" or "academy_redis" has')


=== TEST 189: academy_redeliver on Redis
--- http_config
academy_redis name=x server=127.0.0.1:1 ;
--- config
location / { academy_exchange x; academy_redeliver on; }
--- must_die
--- error_log eval: ::emerg('academy_redeliver on', 'in a zone only', 'redis "x"')


=== TEST 190: academy_redis in a server
--- http_config
academy_zone zone=x:2m;
--- config
academy_redis name=x server=127.0.0.1:1 ;
location / { academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('"academy_redis" directive is not allowed here')


=== TEST 191: academy_log_deliveries maybe
--- config
location / { academy_exchange x; academy_log_deliveries maybe; }
--- must_die
--- error_log eval: ::emerg('academy_log_deliveries', '"maybe"', '"on" or "off"')


=== TEST 157: academy_status of an unknown zone
--- config
location / { academy_exchange x; }
location = /status { academy_status y; }
--- must_die
--- error_log eval: ::emerg('unknown zone "y"', '"academy_status"', 'academy_zone')


=== TEST 158: academy_status without a name
--- config
location = /status { academy_status ""; }
--- must_die
--- error_log eval: ::emerg('academy_status', '""', 'the name of a zone')


=== TEST 159: academy_status twice
--- config
location = /status { academy_status x; academy_status x; }
--- must_die
--- error_log eval: ::emerg('"academy_status" directive is duplicate')


=== TEST 160: academy_status where the exchange is
--- config
location / { academy_exchange x; academy_status x; }
--- must_die
--- error_log eval: ::emerg('"academy_status" directive is in a location with "academy_exchange"')


=== TEST 161: academy_exchange where the status is
--- config
location / { academy_status x; academy_exchange x; }
--- must_die
--- error_log eval: ::emerg('"academy_exchange" directive is in a location with "academy_status"')


=== TEST 162: academy_status outside of a location
--- http_config
academy_zone zone=x:2m;
academy_status x;
--- must_die
--- error_log eval: ::emerg('"academy_status" directive is not allowed here')


=== TEST 163: academy_status_write maybe
--- config
location = /status { academy_status x; academy_status_write maybe; }
--- must_die
--- error_log eval: ::emerg('academy_status_write', '"maybe"', '"on" or "off"')


=== TEST 164: academy_status_write twice
--- config
location = /status { academy_status x; academy_status_write on; academy_status_write on; }
--- must_die
--- error_log eval: ::emerg('"academy_status_write" directive is duplicate')


=== TEST 165: academy_status_admin twice
--- config
location = /status { academy_status x; academy_status_admin 1; academy_status_admin 1; }
--- must_die
--- error_log eval: ::emerg('"academy_status_admin" directive is duplicate')


=== TEST 166: academy_status_admin with an unknown variable
--- config
location = /status { academy_status x; academy_status_admin $nobody; }
--- must_die
--- error_log eval: ::emerg('unknown "nobody" variable')


=== TEST 167: academy_auth of a status location without what it needs
--- config
location = /status { academy_status x; academy_auth variables; }
--- must_die
--- error_log eval: ::emerg('academy_client_id')
