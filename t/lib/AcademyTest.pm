package AcademyTest;

# What the suites have in common: the requests of the protocol, and a section
# for blocks that are a conversation.  To be used after Test::Nginx::Socket.
#
#     --- calls eval
#     [::create(1)                        => 200],
#     [::as('bob', 'staff', ::status(1))  => 403],
#     [::get(7)                           => 404],
#     [::status(1)                        => 200, ::json('{"status":"ACTIVE"}')],
#
# Each row is a request, the status of its answer (or a regular expression for
# it) and, where the protocol does not fix it, the body: a regular expression,
# or a string to be met exactly.  Without one, the body must be what the
# protocol says for that status, and for 200 it must be empty.  A fourth value
# is a regular expression for the header.  Rows go over a connection each, or
# all over one with "--- keepalive".
#
# Blocks that say nothing else run with a zone "x" of two megabytes which is
# mounted at /, and with $auth for a configuration, callers are known by the
# request headers that ::as() sets.
#
# Functions are called as ::name(): sections are not evaluated in package main.

use strict;
use warnings;

use Exporter 'import';
use Digest::MD5 ();
use Test::More ();

our @EXPORT = qw(
    uid id js body call as create terminate status share shares unshare beat
    heartbeat stats stream put get discover message header got events json
    bad stat_line chunked emerg $auth
);

our $auth = <<'END';
    location / {
        academy_exchange x;
        academy_auth variables;
        academy_client_id $http_x_client;
        academy_client_groups $http_x_groups;
    }
END


Test::Nginx::Socket::no_root_location();
Test::Nginx::Socket::no_long_string();
Test::Nginx::Socket::master_on();
Test::Nginx::Socket::add_block_preprocessor(\&prepare);


sub prepare {
    my ($block) = @_;

    # with another store, the reason why the block is left out
    my $reason = $block->zone_only;

    if (!defined $block->http_config) {
        $block->set_value(http_config => "academy_zone zone=x:2m;\n");
    }

    if (!defined $block->config) {
        $block->set_value(config => "location / { academy_exchange x; }\n");
    }

    if (defined $block->must_die) {
        $block->set_value(suppress_stderr => '');
        return;
    }

    # said here too, for the real Test::Nginx only warns of such lines

    if (!grep { defined } $block->no_error_log, $block->error_log) {
        $block->set_value(no_error_log => qr/\[(alert|crit|emerg)\]/);
    }

    if (my @calls = $block->calls) {
        converse($block, @calls);
    }

    return;
}


sub converse {
    my ($block, @calls) = @_;

    my (@requests, @headers, @codes, @bodies, @answer_headers);

    for my $call (@calls) {
        die $block->name . ": not a row: $call\n" if ref $call ne 'ARRAY';

        my ($request, $code, $body, $header) = @$call;
        my $said = ref $request eq 'HASH' ? $request->{headers} : '';

        push @requests, ref $request eq 'HASH' ? $request->{request}
                                               : $request;
        push @headers, $said;
        push @codes, $code;
        push @bodies, expected_body($code, $body);
        push @answer_headers, $header // expected_header($code, $body);
    }

    $block->set_value(defined $block->keepalive ? 'pipelined_requests'
                                                : 'request', \@requests);
    $block->set_value(more_headers => \@headers) if grep { $_ } @headers;
    if (grep { ref } @codes) {
        $block->set_value(error_code_like =>
                          [map { ref $_ ? $_ : qr/^$_$/ } @codes]);
    } else {
        $block->set_value(error_code => \@codes);
    }

    $block->set_value(response_body_like => \@bodies);
    $block->set_value(raw_response_headers_like => \@answer_headers);

    return;
}


my %text = (
    200 => qr/\A\z/,
    400 => qr/\A(?:Missing or invalid field: \S|Invalid timeout)/,
    401 => qr/\AMissing required headers\.\z/,
    403 => qr/\AIncorrect permissions\z/,
    404 => qr/\AUnknown mailbox ID\z/,
    408 => qr/\ARequest timeout\z/,
    413 => qr/\AMessage of size \d+ larger than limit \d+\.\z/,
    419 => qr/\AMailbox was closed\z/,
    429 => qr/\AToo many \w+: a \w+ (?:holds|has) at most \d+\z/,
);

my %field = (
    401 => qr/^WWW-Authenticate: Bearer\r$/m,
    405 => qr/^Allow: /m,
    429 => qr/^Retry-After: \d+\r$/m,
    503 => qr/^Retry-After: \d+\r$/m,
);


sub expected_body {
    my ($code, $body) = @_;

    return $body if ref $body;
    return qr/\A\Q$body\E\z/ if defined $body;
    return $text{$code} // qr/\A/;
}


sub expected_header {
    my ($code, $body) = @_;

    return $field{$code} if $field{$code};
    return qr/^Content-Type: text\/plain/m if $text{$code} && $code != 200;

    if ($code == 200 && defined $body) {
        return qr/^Content-Type: application\/json/m if "$body" =~ /\\A\\\{/;
        return qr/^Content-Type: text\/event-stream/m if "$body" =~ /\\Aretry/;
    }

    return qr/^HTTP/;
}


# Identities.  A number stands for an agent's mailbox; any other mailbox is
# given as the text of its entity id.

sub uid {
    my ($n) = @_;
    return sprintf '00000000-0000-4000-8000-%012d', $n;
}


sub id {
    my ($n, $role) = @_;

    return $n if $n !~ /\A\d+\z/;
    return sprintf '{"uid":"%s","name":null,"role":"%s"}', uid($n),
                   $role // 'agent';
}


# JSON.  A plain value becomes a JSON string, a reference's text is taken as
# JSON already.

sub js {
    my ($value) = @_;

    return $$value if ref $value;

    $value =~ s/(["\\])/\\$1/g;
    $value =~ s/([\x00-\x1f])/sprintf '\\u%04x', ord $1/ge;

    return qq("$value");
}


sub body {
    my (@pairs) = @_;
    my @members;

    while (my ($key, $value) = splice @pairs, 0, 2) {
        push @members, js($key) . ':' . js($value);
    }

    return '{' . join(',', @members) . '}';
}


sub call { "$_[0]\n" . body(@_[1 .. $#_]) }

sub mailbox { mailbox => id($_[0]) }


# The routes

sub create    { my ($n, $agent) = @_;
                call('POST /mailbox', mailbox($n),
                     defined $agent ? (agent => $agent) : ()) }
sub terminate { call('DELETE /mailbox', mailbox(@_)) }
sub status    { call('GET /mailbox', mailbox(@_)) }
sub share     { call('POST /mailbox/share', mailbox(@_), group_id => $_[1]) }
sub shares    { call('GET /mailbox/share', mailbox(@_)) }
sub unshare   { call('DELETE /mailbox/share', mailbox(@_),
                     group_id => $_[1]) }
sub beat      { call('POST /mailbox/heartbeat', mailbox(@_)) }
sub heartbeat { call('GET /mailbox/heartbeat', mailbox(@_)) }
sub stats     { call('GET /mailbox/stats', mailbox(@_)) }
sub stream    { call('GET /mailbox/listen', mailbox(@_),
                     timeout => \($_[1] // 0.3)) }
sub put       { call('PUT /message', message => $_[0]) }
sub get       { call('GET /message', mailbox(@_),
                     timeout => \($_[1] // 0.3)) }
sub discover  { call('GET /discover', agent => $_[0],
                     allow_subclasses => \($_[1] ? 'true' : 'false')) }


# who calls: a client id, its groups, the request

sub as {
    my ($client, $groups, $request) = @_;
    return { request => $request,
             headers => "X-Client: $client\nX-Groups: $groups" };
}


# The JSON of a message from one mailbox to another.  Options, in JSON: kind,
# tag (a number, as in uid), label, body, more (members of the header).  Without
# a tag, other messages have another one: the exchange takes two that have the
# same for one that was repeated.

sub message {
    my ($src, $dest, %o) = @_;

    my $body = $o{body} // '{"kind":"ping-request"}';

    return sprintf '{"header":%s,"body":%s}',
                   header($src, $dest, %o, said => $body), $body;
}


sub header {
    my ($src, $dest, %o) = @_;

    my $ids = sprintf '"src":%s,"dest":%s', id($src), id($dest);
    my $rest = sprintf '"label":%s,"kind":"%s","protocol_version":"1.1"%s',
                       $o{label} // 'null', $o{kind} // 'request',
                       $o{more} ? ",$o{more}" : '';
    my $tag = defined $o{tag} ? $o{tag}
                              : hex substr Digest::MD5::md5_hex(
                                           $rest . ($o{said} // '')), 0, 8;

    return sprintf '{%s,"tag":"%s",%s}', $ids, uid($tag), $rest;
}


# What comes back.  Blanks after ":" and "," are nobody's business.

sub json {
    my ($text) = @_;

    my $pattern = join '', map {
        /\A"/ ? "\Q$_\E" : /\A[,:]/ ? substr($_, 0, 1) . '\s*' : "\Q$_\E"
    } $text =~ /"(?:[^"\\]|\\.)*"|[,:]\s*|[^",:]+/g;

    return qr/\A$pattern\s*\z/;
}


sub got {
    my ($message) = @_;

    my $text = $message =~ s/(["\\])/\\$1/gr;

    return qr/\A\{"message":\s*"\Q$text\E"\}\s*\z/;
}


# a whole event stream that carried these messages, with pings in between

sub events {
    my (@messages) = @_;

    my $pause = '(?:: ping\n\n|:\n\n)*';
    my $events = join $pause,
                 map { '(?:id: \d+\n)?data: ' . "\Q$_\E" . '\n\n' } @messages;

    return qr/\Aretry: \d+\n\n?$pause$events$pause\z/;
}


sub bad {
    my ($field, $why) = @_;

    $why //= '';

    return qr/\AMissing or invalid field: [^\n]*\b$field\b[^\n]*$why/;
}


sub stat_line {
    my ($incoming, $outgoing, $completed, $in_progress, $queued) = @_;

    return json(qq({"incoming":$incoming,"outgoing":$outgoing,)
                . qq("completed":$completed,"in_progress":$in_progress,)
                . qq("queued":$queued}));
}


sub chunked {
    my ($text, $size) = @_;

    return join('', map { sprintf "%x\r\n%s\r\n", length, $_ }
                        $text =~ /.{1,$size}/gs) . "0\r\n\r\n";
}


# a configuration error that mentions all of these

sub emerg {
    my (@words) = @_;

    my $pattern = join '', map { "(?=.*\Q$_\E)" } @words;

    return qr/\[emerg\]$pattern/;
}


1;
