# What is accepted and what is refused, to the letter.  Of each form that is
# refused, nothing may be left behind; each that is accepted arrives as it was
# sent.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

# a request for a mailbox that has this text for an outer object, or for an
# entity id

sub outer { "GET /mailbox\n$_[0]" }

sub inner { outer(body(mailbox => $_[0])) }

sub uid_of { inner(qq({"uid":"$_[0]"})) }

our $here = json('{"status":"ACTIVE"}');
our $gone = json('{"status":"MISSING"}');
our $u = uid(1);

# the entity id 1 as the inside of a JSON string

our $one = qq({\\"uid\\":\\"$u\\"});

# rows for a message that is accepted and arrives; for one that is refused

sub passes {
    return map { [put($_) => 200], [get(1) => 200, got($_)] } @_;
}

sub refused {
    my ($field, @texts) = @_;
    return map { [put($_) => 400, defined $field ? bad($field) : undef] }
               @texts;
}

# the header of a message, with something in it replaced

sub headed {
    my ($from, $to) = @_;

    my $header = header(2, 1, tag => 900, label => '"' . uid(3) . '"');
    my $changed = $header =~ s/\Q$from\E/$to/r;

    die "nothing to replace: $from\n" if $changed eq $header;

    return qq({"header":$changed,"body":null});
}

sub bodied { message(2, 1, body => $_[0]) }

run_tests();

__DATA__

=== TEST 1: white space around and in either JSON
--- calls eval
[::create(1) => 200],
[::outer(qq({ "mailbox"\r\n:\t"$::one"  \n}))                  => 200, $::here],
[::inner(" \t\r\n{ \"uid\" :\n\"$::u\" , \"role\":\t\"agent\" } \r\n") => 200, $::here],


=== TEST 2: white space before and behind the request's JSON
--- raw_request eval
my $body = qq(\t \n\r{"mailbox":"$::one"} \r\n\t );
"GET /mailbox HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
. 'Content-Length: ' . length($body) . "\r\n\r\n$body"
--- response_body_like eval: $::gone


=== TEST 3: escaped keys and values
--- calls eval
[::create(1) => 200],
[::outer(qq({"\\u006dailbox":"$::one"}))                  => 200, $::here],
[::outer(qq({"m\\u0061\\u0069lbo\\u0078":"$::one"}))      => 200, $::here],
[::outer(qq({"mailbox":"\\u007b\\u0022uid\\u0022:\\u0022$::u\\"\\u007D"}))
                                                          => 200, $::here],
[::inner(qq({"\\u0075id":"$::u"}))                        => 200, $::here],
[::inner(qq({"uid":"\\u0030) . substr($::u, 1) . '"}')    => 200, $::here],
[::inner(qq({"uid":"$::u","r\\u006fle":"a\\u0067ent"}))   => 200, $::here],


=== TEST 4: keys that nobody knows in the outer object
--- calls eval
[::create(1) => 200],
map { [::outer(qq({$_,"mailbox":"$::one"}))               => 200, $::here],
      [::outer(qq({"mailbox":"$::one",$_}))               => 200, $::here] }
    '"x":1', '"":{}', '"mailboX":null', '"message":"{}"', '"x":[[{}],1e9,null]',
    '"caf' . "\xc3\xa9" . '":"\\ud83d\\ude00"',
    '"x":{"mailbox":"{}"}'


=== TEST 5: any Content-Type, or none
--- request eval
[(::status(1)) x 5]
--- more_headers eval
["Content-Type: application/json", "Content-Type: text/plain; charset=latin1",
 "Content-Type: application/x-www-form-urlencoded", "Content-Type:", ""]
--- response_body_like eval
[($::gone) x 5]
--- error_code eval
[(200) x 5]


=== TEST 6: UUIDs in all the forms that Python takes
--- calls eval
my $bare = $::u =~ s/-//gr;
[::create(1) => 200],
(map { [::uid_of($_) => 200, $::here] }
     $::u, $bare, "{$::u}", "urn:uuid:$::u"),
[::create('{"uid":"abcdef01-2345-6789-abcd-ef0123456789"}') => 200],
(map { [::uid_of($_) => 200, $::here] }
     'ABCDEF01-2345-6789-ABCD-EF0123456789', 'AbCdEf0123456789aBcDeF0123456789',
     '{ABCDEF01-2345-6789-abcd-ef0123456789}',
     'urn:uuid:ABCDEF01-2345-6789-ABCD-EF0123456789'),


=== TEST 7: UUIDs of any version, the nil one too
--- calls eval
map { [::uid_of($_) => 200, $::gone] }
    '00000000-0000-0000-0000-000000000000',
    'ffffffff-ffff-ffff-ffff-ffffffffffff',
    '12345678-1234-1234-1234-123456789abc',
    '12345678-1234-7234-f234-123456789abc'


=== TEST 8: what is no UUID
--- calls eval
my $bare = $::u =~ s/-//gr;
map { [::uid_of($_) => 400, ::bad('uid')] }
    '', ' ', 'nonsense', substr($::u, 1), "${main::u}0", " $::u", "$::u ",
    "$::u\\n", $::u =~ s/-/ /r, $::u =~ s/-//r, $::u =~ s/-/--/r,
    $::u =~ s/0/g/r, $::u =~ s/0/\\u0000/r, "{$::u", "$::u}", "{{$::u}}",
    "($::u)", "[$::u]", "{$bare}", "urn:uuid:$bare", "urn:uuid:{$::u}",
    "urn:$::u", "uuid:$::u", "urn:uuid: $::u",
    '0x' . substr($bare, 2), "-$bare-", substr($bare, 0, 31),
    "${bare}0", '0-' . substr($bare, 1), $bare =~ s/^(.{4})/$1-/r,
    $::u =~ s/0000-4000/00004-000/r, "0" x 4096, "\xef\xbc\x90" x 32


=== TEST 9: a uid is a string
--- calls eval
map { [::inner(qq({"uid":$_})) => 400, ::bad('uid')] }
    'null', '1', 'true', '{}', '[]', qq(["$::u"]), '0', '1e9'


=== TEST 10: entity ids: role is agent, user, or not there
--- zone_only: Redis knows a uid, and no role
--- calls eval
[::create(1) => 200],
[::inner(qq({"uid":"$::u"}))                     => 200, $::here],
[::inner(qq({"uid":"$::u","role":"agent"}))      => 200, $::here],
[::inner(qq({"uid":"$::u","role":"user"}))       => 200, $::gone],
map { [::inner(qq({"uid":"$::u","role":$_}))     => 400, ::bad('role')] }
    '"Agent"', '"AGENT"', '"admin"', '""', 'null', '1', 'true', '["agent"]',
    '"agent "', '"agent\\u0000"', '{}'


=== TEST 11: entity ids: name is a string, null, or not there
--- calls eval
[::create(1) => 200],
(map { [::inner(qq({"uid":"$::u","name":$_}))    => 200, $::here] }
     'null', '""', '"ada"', '"\\u0000"', '"\\ud83d\\ude00"', "\"\xc3\xa9\"",
     '"' . 'x' x 2000 . '"'),
map { [::inner(qq({"uid":"$::u","name":$_}))     => 400, ::bad('name')] }
    '1', 'true', 'false', '{}', '[]', '["ada"]'


=== TEST 12: entity ids: no other key, and uid at least
--- calls eval
(map { [::inner(qq({"uid":"$::u",$_}))           => 400] }
     '"x":1', '"Uid":"1"', '"":null', '"uid\\u0000":1', '"kind":"agent"'),
(map { [::inner($_)                              => 400, ::bad('uid')] }
     '{}', '{"role":"agent"}', '{"name":null}', '{"role":"agent","name":"x"}'),
map { [::inner($_)                               => 400, ::bad('mailbox')] }
    '', ' ', 'null', '[]', '"x"', '17', "\"$::u\"", "[{\"uid\":\"$::u\"}]", 'true'


=== TEST 13: a key given twice is read by nobody in two ways
--- calls eval
my $other = ::uid(2);
my $two = qq({\\"uid\\":\\"$other\\"});
[::create(1) => 200],
[::outer(qq({"mailbox":"$::one","mailbox":"$two"}))               => 400],
[::outer(qq({"mailbox":"$::one","mailbox":"$::one"}))             => 400],
[::outer(qq({"mailbox":"$::one","m\\u0061ilbox":"$two"}))         => 400],
[::inner(qq({"uid":"$::u","uid":"$other"}))                       => 400],
[::inner(qq({"uid":"$::u","\\u0075id":"$other"}))                 => 400],
[::inner(qq({"uid":"$::u","role":"agent","role":"user"}))         => 400],
[::inner(qq({"uid":"$::u","name":null,"name":null}))              => 400],
[qq(POST /mailbox\n{"mailbox":"$two","agent":"a","agent":"b"})    => 400],
[qq(GET /discover\n{"agent":"a","agent":"b","allow_subclasses":true}) => 400],
[qq(GET /message\n{"mailbox":"$::one","timeout":1,"timeout":0.1}) => 400],
[qq(GET /mailbox/listen\n{"mailbox":"$::one","timeout":1,"timeout":0.1}) => 400],
[::outer(qq({"x":1,"mailbox":"$::one","x":1}))                    => 400],
[qq(PUT /message\n{"x":1,"message":) . ::js(::message(2, 1)) . ',"x":1}' => 400],
[::get(1, 0.05)                                                   => 408],
[::status(2)                                                      => 200, $::gone],


=== TEST 14: the same for messages
--- calls eval
my $good = ::js(::message(2, 1));
my $more = ::message(2, 1, tag => 5);
[::create(1) => 200],
[qq(PUT /message\n{"message":$good,"message":$good})              => 400],
[qq(PUT /message\n{"message":$good,"\\u006dessage":"{}"})         => 400],
::refused(undef,
    ::message(2, 1, more => '"tag":"' . ::uid(6) . '"'),
    ::message(2, 1, more => '"kind":"response"'),
    ::message(2, 1, more => '"d\\u0065st":' . ::id(3)),
    ::message(2, 1, more => '"src":' . ::id(3)),
    ::message(2, 1, more => '"label":null'),
    ::message(2, 1, more => '"protocol_version":"1.1"'),
    ::message(2, 1, more => '"academy_version":"1","academy_version":"1"'),
    $more =~ s/"header"/"header":{},"header"/r,
    $more =~ s/"body"/"body":1,"body"/r,
    $more =~ s/"uid"/"uid":"x","uid"/r,
    $more =~ s/"role"/"role":"user","role"/r),
[::get(1, 0.05)                                                   => 408],


=== TEST 15: a key twice where the exchange does not look is the sender's affair
--- calls eval
[::create(1) => 200],
::passes(::bodied('{"a":1,"a":2}'), ::bodied('{"kind":"x","kind":"y"}'),
         ::bodied('[{"uid":1,"uid":2}]'))


=== TEST 16: messages: unknown keys anywhere but in an entity id
--- config
location / { academy_exchange x; academy_deduplicate 0; }
--- calls eval
[::create(1) => 200],
::passes(
    ::message(2, 1, more => '"x":1'),
    ::message(2, 1, more => '"":null,"y":{"src":1}'),
    ::message(2, 1, more => '"Tag":"not a tag"'),
    ::message(2, 1, more => '"tag\\u0000":17'),
    ::message(2, 1) =~ s/\A\{/{"x":[],/r,
    ::message(2, 1) =~ s/\}\z/,"tag":1}/r,
    ::message(2, 1) =~ s/\}\z/,"\\ud83d\\ude00":{"header":1}}/r),
::refused('src', ::headed('{"src":{', '{"src":{"x":1,')),
::refused('dest', ::headed('"dest":{', '"dest":{"":null,')),
[::get(1, 0.05) => 408],


=== TEST 17: messages: keys in any order, escaped, with blanks between
--- config
location / { academy_exchange x; academy_deduplicate 0; }
--- calls eval
my ($src, $dest, $tag) = (::id(2), ::id(1), ::uid(5));
[::create(1) => 200],
::passes(
    qq({"body":null,"header":{"kind":"request","tag":"$tag","dest":$dest,"src":$src}}),
    qq({ "body" : [ ] , "header" : { "kind" : "response" , "tag" : "$tag" , )
        . qq("dest" : $dest , "src" : $src } }),
    qq({"\\u0062ody":{},"h\\u0065ader":{"\\u006bind":"r\\u0065quest",)
        . qq("t\\u0061g":"$tag","des\\u0074":$dest,"s\\u0072c":$src}}))


=== TEST 18: messages: tags and labels
--- config
location / { academy_exchange x; academy_deduplicate 0; }
--- calls eval
my $uuid = ::uid(3);
my $bare = $uuid =~ s/-//gr;
[::create(1) => 200],
::passes(
    (map { ::headed('"label":"' . $uuid . '"', "\"label\":$_") }
         'null', "\"$bare\"", "\"{$uuid}\"", "\"urn:uuid:$uuid\""),
    ::headed(',"label":"' . $uuid . '"', ''),
    (map { ::headed(::uid(900), $_) } $bare, "{$uuid}", "urn:uuid:$uuid"),
),
::refused('label', map { ::headed("\"$uuid\"", $_) }
    '""', '1', 'true', '{}', '[]', '"x"', "\" $uuid\"", "\"$uuid \"", '"null"'),
::refused('tag', map { ::headed('"' . ::uid(900) . '"', $_) }
    '""', '1', 'null', '{}', '[]', '"x"', "\" $uuid\"", "\"$uuid-\"",
    "\"{$bare}\"", "\"urn:uuid:$bare\""),
::refused('tag', ::headed('"tag":"' . ::uid(900) . '",', '')),
[::get(1, 0.05) => 408],


=== TEST 19: messages: kind is one of two
--- calls eval
[::create(1) => 200],
::passes(::headed('"request"', '"response"'),
         ::headed('"request"', '"re\\u0071uest"')),
::refused('kind', map { ::headed('"request"', $_) }
    '""', 'null', '1', 'true', '"Request"', '"requests"', '"reques"',
    '["request"]', '"request "', '"request\\u0000"', '"ping-request"'),
::refused('kind', ::headed('"kind":"request",', '')),
[::get(1, 0.05) => 408],


=== TEST 20: messages: protocol_version is a string, null, or not there
--- config
location / { academy_exchange x; academy_deduplicate 0; }
--- calls eval
[::create(1) => 200],
::passes((map { ::headed('"1.1"', $_) } 'null', '""', '"1"', '"99.x"',
          '"\\u0000"'), ::headed(',"protocol_version":"1.1"', '')),
::refused('protocol_version', map { ::headed('"1.1"', $_) }
    '1.1', '1', 'true', '{}', '[]', '["1.1"]'),
[::get(1, 0.05) => 408],


=== TEST 21: messages: academy_version is a string, or not there
--- calls eval
[::create(1) => 200],
::passes(map { ::message(2, 1, more => "\"academy_version\":$_") }
    '""', '"1.0.0"', '"0.5.0"', '"next"', '"\\u0000"'),
::refused('academy_version',
    map { ::message(2, 1, more => "\"academy_version\":$_") }
    'null', '1', '1.0', 'true', '{}', '[]', '["1.0.0"]'),
[::get(1, 0.05) => 408],


=== TEST 22: messages: header and body are there, and header is an object
--- calls eval
my $header = ::header(2, 1);
[::create(1) => 200],
::refused('body', qq({"header":$header}), qq({"header":$header,"Body":1})),
::refused('header', '{"body":null}',
    map { qq({"header":$_,"body":null}) } 'null', '1', '"x"', '[]', 'true'),
::refused('header', qq({"header":[$header],"body":null})),
::refused(undef, '', ' ', '{}', '[]', 'null', '17', '"x"', 'true',
          "[{\"header\":$header,\"body\":null}]", $header),
[::get(1, 0.05) => 408],


=== TEST 23: messages: src and dest are there, and entity ids
--- calls eval
my ($src, $dest) = map { ::id($_) } 2, 1;
[::create(1) => 200],
::refused('src', ::headed("\"src\":$src,", ''),
    map { ::headed("\"src\":$src", "\"src\":$_") } 'null', '1', '[]', '{}',
        '"x"', ::js($src), "[$src]", '{"uid":"x"}'),
::refused('dest', ::headed("\"dest\":$dest,", ''),
    map { ::headed("\"dest\":$dest", "\"dest\":$_") } 'null', '1', '[]', '{}',
        '"x"', ::js($dest), "[$dest]", '{"uid":"x"}'),
[::get(1, 0.05) => 408],


=== TEST 24: messages: the body is any JSON
--- calls eval
[::create(1) => 200],
::passes(map { ::bodied($_) }
    'null', 'true', 'false', '0', '-0', '17', '-1.5e-10', '1E+5', '""', '"x"',
    '[]', '{}', '[[],{}]', '[null,true,false,1,"x",[],{}]', '{"":{"":""}}')


=== TEST 25: messages: numbers of any size and precision
--- calls eval
[::create(1) => 200],
::passes(map { ::bodied($_) }
    '123456789012345678901234567890', '-123456789012345678901234567890',
    '1' . '0' x 400, '1e400', '-1E400', '1e-400',
    '3.14159265358979323846264338327950288', '0.' . '1' x 500,
    '18446744073709551616', '-9223372036854775809', '1e99999')


=== TEST 26: messages: strings that need care
--- calls eval
[::create(1) => 200],
::passes(map { ::bodied("\"$_\"") }
    '\\u0000', 'a\\u0000b', '\\"\\\\\\/\\b\\f\\n\\r\\t', '\\u00e9', '\\ud83d\\ude00',
    '\\uD83D\\uDE00', "\xc3\xa9", "\xf0\x9f\x98\x80", "\x7f", '\\u2028',
    "\xe2\x80\xa8", "\xef\xbf\xbf", '\\uffff', "\xf4\x8f\xbf\xbf", '\\u000a',
    "\xef\xbb\xbf", '\\ufeff', '\\\\u0000', '\\\\', '/', "data: x")


=== TEST 27: no byte-order mark, and no other encoding
--- calls eval
my $message = ::message(2, 1);
my $wide = sub { join '', map { "\0$_" } split //, $_[0] };
my $low = sub { join '', map { "$_\0" } split //, $_[0] };
[::create(1)                                                 => 200],
[::outer("\xef\xbb\xbf" . qq({"mailbox":"$::one"}))          => 400],
[::inner("\xef\xbb\xbf" . qq({"uid":"$::u"}))                => 400],
[::outer(qq({"mailbox":"\\ufeff$::one"}))                    => 400],
[::outer("\xfe\xff" . $wide->(qq({"mailbox":"$::one"})))     => 400],
[::outer("\xff\xfe" . $low->(qq({"mailbox":"$::one"})))      => 400],
[::outer($wide->(qq({"mailbox":"$::one"})))                  => 400],
[::outer($low->(qq({"mailbox":"$::one"})) . ' ')             => 400],
::refused(undef, "\xef\xbb\xbf$message", $wide->($message),
          "\xfe\xff$message"),
["PUT /message\n\xef\xbb\xbf" . ::body(message => $message)  => 400],
[::get(1, 0.05)                                              => 408],


=== TEST 28: bad UTF-8
--- calls eval
my @bad = ("\x80", "\xff", "\xc3", "\xc3(", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80",
    "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80",
    "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82",
    "\xf0\x9f\x98", "\xfe");
[::create(1) => 200],
(map { [::outer(qq({"mailbox":"$::one","x":"$_"})) => 400] } @bad),
(map { [::inner(qq({"uid":"$::u","name":"$_"})) => 400] } @bad),
(map { [::discover($_) => 400] } @bad),
::refused(undef, map { ::bodied("\"$_\"") } @bad),
::refused(undef, ::bodied("{\"\xff\":1}"), ::bodied("null\xff")),
[::get(1, 0.05) => 408],


=== TEST 29: control characters in strings
--- calls eval
my @bad = map { chr } 0 .. 31;
[::create(1) => 200],
(map { [::outer(qq({"mailbox":"$::one","x":"$_"})) => 400] } @bad),
::refused(undef, map { ::bodied("\"$_\"") } @bad),
::refused(undef, ::bodied("{\"\n\":1}"), ::bodied("\0null")),
[::get(1, 0.05) => 408],


=== TEST 30: lone surrogates, and escapes that are none
--- calls eval
my @bad = ('\\ud800', '\\udc00', '\\ud83dx', '\\ud83d\\n', '\\ud83d\\ud83d',
    '\\ude00\\ud83d', '\\ud83d\\u0041', '\\x41', '\\u12', '\\u12g4', '\\', '\\U0041',
    '\\u', '\\a', '\\\'', '\\0', '\\u 041', '\\u+041');
[::create(1) => 200],
(map { [::outer(qq({"mailbox":"$::one","x":"$_"})) => 400] } @bad),
(map { [::inner(qq({"uid":"$::u","name":"$_"})) => 400] } @bad),
::refused(undef, map { ::bodied("\"$_\"") } @bad),
[::get(1, 0.05) => 408],


=== TEST 31: values that are no JSON
--- calls eval
my @bad = ('NaN', 'Infinity', '-Infinity', 'nan', 'inf', '01', '-', '+1', '.5',
    '1.', '1e', '1e+', '0x10', '1_000', 'True', 'None', 'nul', 'nulll', 'undefined',
    "'x'", '"x', 'x"', '[1,]', '[,1]', '[1 2]', '[', ']', '{', '}', '{"a"}',
    '{"a":}', '{"a":1,}', '{,"a":1}', '{a:1}', '{1:1}', '{"a":1 "b":2}', '[1}',
    '{"a":1]', '// x', '/**/1', '1;', '-a', '--1', '1..2', '1e1.5', '');
[::create(1) => 200],
(map { [::outer(qq({"mailbox":"$::one","x":$_})) => 400] } @bad),
::refused(undef, map { ::bodied($_) } @bad),
[::get(1, 0.05) => 408],


=== TEST 32: text behind the JSON, and JSON that ends too soon
--- calls eval
my $message = ::message(2, 1);
[::create(1) => 200],
(map { [::outer(qq({"mailbox":"$::one"}$_)) => 400] }
     ',', '}', '{}', 'x', '""', "\0", ' 1', "\xa0"),
(map { [::inner(qq({"uid":"$::u"}$_)) => 400] }
     ',', '}', '{}', 'x', '""', "\0", ' 1', "\xc2\xa0", "\x0c"),
::refused(undef, map { "$message$_" } ',', '}', '{}', 'x', '""', "\0", ' 1',
          "\xc2\xa0", "\x0c", "\x0b"),
::refused(undef, map { substr $message, 0, -$_ } 1, 2, 10, 30, 100),
::refused(undef, ",$message", "x$message", "\0$message", "\xc2\xa0$message"),
(map { ["PUT /message\n" . substr(::body(message => $message), 0, -$_) => 400]
     } 1, 2, 3, 20),
[::get(1, 0.05) => 408],


=== TEST 33: mailbox and message are strings, not objects
--- calls eval
[::create(1)                                                   => 200],
[::outer(::body(mailbox => \::id(1)))                          => 400, ::bad('mailbox')],
["PUT /message\n" . ::body(message => \::message(2, 1))        => 400, ::bad('message')],
["PUT /message\n" . ::body(message => \('[' . ::js(::message(2, 1)) . ']'))
                                                               => 400, ::bad('message')],
["PUT /message\n" . ::body(message => ::js(::message(2, 1)))   => 400],
["PUT /message\n" . ::js(::message(2, 1))                      => 400],
["PUT /message\n" . ::message(2, 1)                            => 400, ::bad('message')],
[::inner(::js(::id(1)))                                        => 400],
[::get(1, 0.05)                                                => 408],


=== TEST 34: two hundred levels, and no more
--- calls eval
my $deep = sub { '[' x $_[0] . ']' x $_[0] };
my $deeper = sub { '{"a":' x $_[0] . '1' . '}' x $_[0] };
[::create(1) => 200],
::passes(::bodied($deep->(199)), ::bodied($deeper->(199))),
::refused(undef, ::bodied($deep->(200)), ::bodied($deeper->(200)),
          ::bodied($deep->(10_000)), ::bodied('[' x 100_000)),
[::get(1, 0.05) => 408],


=== TEST 35: nesting in the outer object is no way to hurt anyone
--- calls eval
[::create(1) => 200],
[::outer('{"x":' x 50_000)                                  => 400],
[::outer('[' x 100_000)                                     => 400],
["PUT /message\n" . '{"x":' x 50_000                        => 400],
[::discover('[' x 50_000)                => 200, ::json('{"agent_ids":""}')],


=== TEST 36: many keys in the outer object, the header, an entity id
--- calls eval
my $many = join ',', map { "\"k$_\":$_" } 1 .. 50;
my $names = join ',', ('"name":null') x 100;
[::create(1) => 200],
[::outer(qq({$many,"mailbox":"$::one"})) => 200, $::here],
::passes(::message(2, 1, more => $many)),
::passes(::bodied('{' . join(',', map { "\"k$_\":$_" } 1 .. 5000) . '}')),
[::inner(qq({"uid":"$::u",$names})) => 400],


=== TEST 37: the same checks with authentication
--- config eval: $::auth
--- calls eval
[::as('ann', '', ::create(1))                                => 200],
[::as('ann', '', ::put(::message(2, 1, kind => 'rumour')))   => 400, ::bad('kind')],
[::as('ann', '', ::put(::message(2, 1, more => '"tag":1')))  => 400],
[::as('bob', '', ::put(::message(2, 1, kind => 'rumour')))   => 400, ::bad('kind')],
[::as('ann', '', ::get(1, 0.05))                             => 408],


=== TEST 38: a zero byte behind a number or a literal
--- calls eval
my @bad = map { ("$_\0", "[$_\0]", "[$_\0,1]", "$_ \0") }
    '0', '17', '-1', '1.5', '1e5', 'true', 'false', 'null';
[::create(1) => 200],
(map { [::outer(qq({"mailbox":"$::one","x":$_})) => 400] } @bad),
(map { [qq(GET /discover\n{"agent":"a","allow_subclasses":$_}) => 400] }
     "true\0", "false\0"),
(map { [qq(POST /mailbox\n{"mailbox":"$::one","agent":$_}) => 400] }
     "null\0", "null\0\0"),
[qq(POST /mailbox/share\n{"x":1\0,"mailbox":"$::one","group_id":"g"}) => 400],
[qq(GET /mailbox/share\n{"x":1\0,"mailbox":"$::one"}) => 400],
[qq(GET /message\n{"mailbox":"$::one","timeout":0.1\0}) => 400],
[qq(GET /mailbox/listen\n{"mailbox":"$::one","timeout":0.1\0}) => 400],
["PUT /message\n{\"x\":1\0,\"message\":" . ::js(::message(2, 1)) . '}' => 400],
::refused(undef, map { ::bodied($_) } @bad),
[::get(1, 0.05) => 408],
