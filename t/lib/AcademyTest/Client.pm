package AcademyTest::Client;

# The HTTP client of the suites: requests made from a block's sections, sent
# in the pieces and with the pauses that it asks for, and answers taken apart.

use strict;
use warnings;

use Errno qw(EAGAIN EINTR);
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(sleep time);


# A list of exchanges, each { packets => [ { value, delay_before } ],
# answers => [ method, … ] }: one connection, on which as many answers are
# expected as there are methods.

sub exchanges {
    my ($block, $server_name) = @_;

    if (defined(my $raw = $block->raw_request)) {
        my @values = ref $raw ? @$raw : ($raw);
        my $delay = $block->raw_request_middle_delay;
        my @packets = map { { value => $_, delay_before => $delay } } @values;

        delete $packets[0]{delay_before};

        return { packets => \@packets,
                 answers => [join('', @values) =~ /^\s*(\S+)/] };
    }

    my $headers = $block->more_headers // '';

    if (my $list = $block->pipelined_requests) {
        my ($text, @methods) = '';

        for my $i (0 .. $#$list) {
            my $last = $i == $#$list;
            my ($method, @packets) = request([$list->[$i]],
                pick($headers, $i), $last ? 'close' : 'keep-alive',
                $server_name);

            $text .= join '', map { $_->{value} } @packets;
            push @methods, $method;
        }

        return { packets => [{ value => $text }], answers => \@methods };
    }

    my $request = $block->request // die $block->name . ": no request\n";
    my @list = ref $request ? @$request : ($request =~ s/\A\s+//r);
    my @exchanges;

    for my $i (0 .. $#list) {
        my $packets = ref $list[$i] ? $list[$i] : [$list[$i]];
        my ($method, @packets) = request($packets, pick($headers, $i),
                                         'close', $server_name);

        push @exchanges, { packets => \@packets, answers => [$method] };
    }

    return @exchanges;
}


sub pick {
    my ($value, $i) = @_;

    return $value if ref $value ne 'ARRAY';
    return $value->[$i] // die "no more_headers for request $i\n";
}


# One request: a line "METHOD uri", and below it the body.  The line gets its
# protocol and headers; the body goes as it is, but for white space around it
# where its length is counted here.

sub request {
    my ($packets, $more, $connection, $server_name) = @_;

    my @packets = map { ref $_ ? { %$_ } : { value => $_ } } @$packets;

    my $first = shift @packets;
    my ($line, $body) = $first->{value} =~ /\A\s*([^\n]*)\n?(.*)\z/s;
    my ($method, $uri, $version) = split ' ', $line;

    $more = join '', map { "$_\r\n" } grep { length && !/^\s*#/ }
                                           split /[\r\n]+/, $more;

    my $whole = join '', $body, map { $_->{value} } @packets;
    my $head = join ' ', $method, $uri // '/', $version // 'HTTP/1.1';

    $head .= "\r\n";
    $head .= "Host: $server_name\r\n" if $more !~ /^Host:/mi;
    $head .= "Connection: $connection\r\n" if $more !~ /^Connection:/mi;
    $head .= $more;

    if (length $whole && $more !~ /^(?:Content-Length|Transfer-Encoding):/mi)
    {
        my $trimmed = $whole =~ s/\A\s+|\s+\z//gr;

        if (!@packets) {
            $body = $trimmed;

        } elsif ($trimmed ne $whole) {
            die "white space around a body that is sent in pieces\n";
        }

        $head .= 'Content-Length: ' . length($trimmed) . "\r\n";
    }

    $first->{value} = "$head\r\n$body";

    return $method, $first, @packets;
}


# Sends the packets and reads to the end of the connection.  Returns what
# came, and a text if that end did not come in time.

sub talk {
    my ($packets, %o) = @_;

    my $deadline = time + $o{limit};
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                     PeerPort => $o{port}, Proto => 'tcp')
        or return '', "no connection to port $o{port}: $!";

    $sock->blocking(0);

    my @packets = @$packets;
    my ($out, $in, $shut) = ('', '', 0);
    my $select = IO::Select->new($sock);

    while (1) {

        if ($out eq '' && @packets) {
            my $packet = shift @packets;
            sleep $packet->{delay_before} if $packet->{delay_before};
            $out = $packet->{value};
        }

        if ($out eq '' && !@packets && $o{shutdown} && !$shut++) {
            shutdown $sock, 1;
        }

        my $writer = $out eq '' ? undef : $select;
        my ($readable, $writable) =
            IO::Select::select($select, $writer, undef, $o{timeout});

        if (!$readable || time > $deadline) {
            return $in, "no end of the answer within $o{timeout} s";
        }

        if (@$writable) {
            my $n = syswrite $sock, $out;

            if (defined $n) {
                substr($out, 0, $n) = '';

            } elsif ($! != EAGAIN && $! != EINTR) {

                # the server has had enough of us; its answer may be here

                ($out, @packets) = ('');
            }
        }

        if (@$readable) {
            my $n = sysread $sock, $in, 65536, length $in;

            return $in if defined $n ? $n == 0 : $! != EAGAIN && $! != EINTR;
        }
    }
}


# Takes the first answer off the text, which may be long.

sub answer {
    my ($text, $method) = @_;

    my %answer = (code => '', raw_headers => '', headers => {}, body => '');
    my $end = index $$text, "\r\n\r\n";

    if ($end < 0) {
        $$text = '';
        return { %answer, error => 'no complete header' };
    }

    my $head = substr $$text, 0, $end + 2, '';
    my ($status, @lines) = split /\r\n/, $head;

    substr $$text, 0, 2, '';

    $answer{raw_headers} = $head;
    ($answer{code}) = $status =~ m{\AHTTP/\d\.\d (\d{3})\b}
        or $answer{error} = "bad status line \"$status\"";

    for my $line (@lines) {
        my ($name, $value) = split /:\s*/, $line, 2;
        my $old = $answer{headers}{lc $name};
        $answer{headers}{lc $name} = defined $old ? "$old, $value" : $value;
    }

    my $length = $answer{headers}{'content-length'};

    if ($method eq 'HEAD' || $answer{code} =~ /\A(?:1..|204|304)\z/) {
        return \%answer;
    }

    if (($answer{headers}{'transfer-encoding'} // '') =~ /chunked/i) {
        $answer{body} = unchunked($text)
            // ($answer{error} = 'chunked body without an end');

    } else {
        $length //= length $$text;
        $answer{error} = "body truncated, $length bytes were promised"
            if length $$text < $length;
        $answer{body} = substr $$text, 0, $length, '';
    }

    return \%answer;
}


sub unchunked {
    my ($text) = @_;

    my $body = '';

    while ($$text =~ /\A([0-9A-Fa-f]+)[^\r\n]*\r\n/) {
        my ($size, $start) = (hex $1, $+[0]);

        return if length($$text) < $start + $size + 2;

        $body .= substr $$text, $start, $size;
        substr $$text, 0, $start + $size + 2, '';

        return $body if $size == 0;
    }

    return;
}


1;
