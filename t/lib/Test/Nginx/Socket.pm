package Test::Nginx::Socket;

# A small stand-in for the Test::Nginx::Socket of CPAN, for machines that have
# not got it: it reads the same suites, and knows the sections and functions
# that those of this project use.  Where the real module is installed, the
# suites run with that.  What this one adds is strictness: a section that it
# does not know, an [alert], [crit] or [emerg] in the error log that the block
# did not announce in its error_log or no_error_log, a report of a sanitizer
# or of valgrind, a worker that does not end, each fail the block.
#
# Environment: TEST_NGINX_BINARY, TEST_NGINX_LOAD_MODULES (otherwise
# ACADEMY_MODULE, otherwise what make has built; either is empty where nginx
# has the module built in), TEST_NGINX_SERVER_PORT,
# TEST_NGINX_SERVROOT, TEST_NGINX_RANDOMIZE, TEST_NGINX_USE_VALGRIND,
# TEST_NGINX_LOG_LEVEL, TEST_NGINX_TIMEOUT, TEST_NGINX_MASTER_PROCESS,
# TEST_NGINX_VERBOSE.

use strict;
use warnings;

use Test::More ();
use Time::HiRes qw(sleep);

use AcademyTest::Client;
use AcademyTest::Server;
use AcademyTest::Spec;

our $VERSION = '0.01';

my @own = qw(
    run_tests blocks repeat_each plan timeout workers worker_connections
    master_on master_off log_level server_name server_port server_root
    no_root_location no_shuffle no_long_string add_block_preprocessor bail_out
);

my %set = (
    repeat_each => 1,
    timeout     => $ENV{TEST_NGINX_TIMEOUT} || 3,
    workers     => 1,
    connections => 64,
    master      => $ENV{TEST_NGINX_MASTER_PROCESS} || 'off',
    log_level   => $ENV{TEST_NGINX_LOG_LEVEL} || 'debug',
    server_name => 'localhost',
    root_location => 1,
);

my (@preprocessors, $blocks, $main);


sub import {
    my ($class, @plan) = @_;

    my $caller = caller;

    strict->import;
    warnings->import;

    AcademyTest::Server::port();
    AcademyTest::Server::root();

    Test::More->builder->plan(@plan) if @plan;

    no strict 'refs';

    *{"${caller}::$_"} = \&$_ for @own;
    *{"${caller}::$_"} = \&{"Test::More::$_"}
        for qw(ok is isnt like unlike is_deeply pass fail diag skip);

    $main = $caller;

    return;
}


sub setting {
    my ($name, @value) = @_;

    $set{$name} = $value[0] if @value;

    return $set{$name};
}


sub repeat_each        { setting('repeat_each', @_) }
sub timeout            { setting('timeout', @_) }
sub workers            { setting('workers', @_) }
sub worker_connections { setting('connections', @_) }
sub log_level          { setting('log_level', @_) }
sub server_name        { setting('server_name', @_) }
sub master_on          { setting('master', 'on') }
sub master_off         { setting('master', 'off') }
sub no_root_location   { setting('root_location', 0) }
sub no_shuffle         { }
sub no_long_string     { }
sub server_port        { AcademyTest::Server::port() }
sub server_root        { AcademyTest::Server::root() }
sub plan               { Test::More->builder->plan(@_) }
sub bail_out           { Test::More::BAIL_OUT(@_) }

sub add_block_preprocessor(&) { unshift @preprocessors, $_[0] }


sub blocks {
    if (!$blocks) {
        no strict 'refs';
        local $/;
        my $handle = *{"${main}::DATA"}{IO} or die "no __DATA__\n";
        $blocks = [AcademyTest::Spec::blocks_of(scalar <$handle>)];
    }

    return @$blocks;
}


sub run_tests {
    Test::More::pass("$0 has nothing for this store") if !blocks();

    for my $block (blocks()) {
        $block->run_filters;
        $_->($block) for @preprocessors;
        $block->set_value(name => "$0 " . $block->name);
        run_block($block);
    }

    return;
}


sub fail_block {
    my ($block, @why) = @_;

    Test::More::fail($block->name . ' - ' . shift @why);
    Test::More::diag($_) for @why;

    return;
}


sub run_block {
    my ($block) = @_;

    my $server = AcademyTest::Server->new(
        %set,
        log_level   => scalar $block->log_level || $set{log_level},
        main_config => scalar $block->main_config,
        http_config => scalar $block->http_config,
        config      => scalar $block->config
                       // bail_out($block->name . ' - no config'),
        user_files  => scalar $block->user_files,
    );

    $server->start;

    if (defined $block->must_die) {
        check_death($block, $server);

    } elsif (!$server->listens) {
        fail_block($block, 'nginx did not start', $server->log_lines);
        $server->kill_now;
        return;

    } else {
        for (1 .. $set{repeat_each}) {
            if (!talk_to($block, $server)) {
                last;
            }
        }

        fail_block($block, $_) for $server->stop;
    }

    check_log($block, $server);

    if (my @unread = $block->unread) {
        fail_block($block, "unknown section \"$_\"") for @unread;
    }

    return;
}


sub check_death {
    my ($block, $server) = @_;

    my $must = $block->must_die;
    my $name = $block->name;

    $block->suppress_stderr;

    if (!$server->wait_end(5 * AcademyTest::Server::slowness())) {
        fail_block($block, 'nginx started, where it must not');
        $server->kill_now;

    } elsif ($server->{status} & 127) {
        fail_block($block, 'nginx died: ' . $server->end);

    } elsif ($must =~ /\d/) {
        Test::More::is($server->{status} >> 8, $must + 0, "$name - exit code");

    } else {
        Test::More::isnt($server->{status}, 0, "$name - refuses to start");
    }

    return;
}


# Sends a block's requests one after the other and checks each answer.
# Returns false where going on makes no sense.

sub talk_to {
    my ($block, $server) = @_;

    my @exchanges = AcademyTest::Client::exchanges($block, $set{server_name});
    my $many = @exchanges > 1 || $block->pipelined_requests;
    my $timeout = ($block->timeout || $set{timeout})
                  =~ s/ms\s*\z/e-3/r =~ s/s?\s*\z//r;
    my $i = 0;

    $timeout *= AcademyTest::Server::slowness();

    for my $exchange (@exchanges) {
        my ($text, $error) = AcademyTest::Client::talk(
            $exchange->{packets},
            port     => AcademyTest::Server::port(),
            timeout  => $timeout,
            limit    => $timeout + 20 * AcademyTest::Server::slowness(),
            shutdown => defined $block->shutdown,
        );

        Test::More::diag("answer: $text") if $ENV{TEST_NGINX_VERBOSE};

        if ($error && !defined $block->abort) {
            fail_block($block, $error, 'so far: ' . shown($text));
            return if $text eq '';
        }

        if (defined $block->ignore_response) {
            next;
        }

        for my $method (@{ $exchange->{answers} }) {
            my $answer = AcademyTest::Client::answer(\$text, $method);
            check_answer($block, $answer, $i++, $many, $error);
        }

        if ($text ne '') {
            fail_block($block, 'more came than was expected: '
                               . shown($text));
        }

        sleep $block->wait if $block->wait;
    }

    return 1;
}


sub shown {
    my ($text) = @_;

    $text = substr($text, 0, 300) . '…' if length $text > 300;

    return $text =~ s/([^\x20-\x7e])/sprintf '\\x%02x', ord $1/ger;
}


# What a section expects of answer number $i

sub expected {
    my ($block, $section, $i, $many) = @_;

    my $value = $block->$section;

    if (ref $value eq 'ARRAY') {
        return $value->[$i]
               // bail_out($block->name . " - no $section for request $i");
    }

    if ($many && defined $value) {
        bail_out($block->name . " - $section must be an array");
    }

    return $value;
}


sub check_answer {
    my ($block, $answer, $i, $many, $timed_out) = @_;

    my $name = $block->name . ($many ? " - request $i" : '');
    my $want = sub { expected($block, $_[0], $i, $many) };

    if ($answer->{error} && !$timed_out) {
        fail_block($block, "request $i: $answer->{error}");
    }

    if (defined(my $like = $want->('error_code_like'))) {
        Test::More::like($answer->{code}, qr/$like/sm, "$name - status");

    } else {
        Test::More::is($answer->{code},
                       ($want->('error_code') // 200) =~ s/\s+\z//r,
                       "$name - status");
    }

    if (defined(my $like = $want->('raw_response_headers_like'))) {
        Test::More::like($answer->{raw_headers}, qr/$like/s,
                         "$name - header");
    }

    if (defined(my $unlike = $want->('raw_response_headers_unlike'))) {
        Test::More::unlike($answer->{raw_headers}, qr/$unlike/s,
                           "$name - header without");
    }

    check_headers($answer, $name, scalar $want->('response_headers'), 0);
    check_headers($answer, $name, scalar $want->('response_headers_like'), 1);
    check_body($answer, $name, $want);

    return;
}


sub check_headers {
    my ($answer, $name, $list, $regex) = @_;

    for my $line (grep { /\S/ } split /\n/, $list // '') {

        if ($line =~ /^\s*!\s*(\S+)/) {
            Test::More::is($answer->{headers}{lc $1}, undef,
                           "$name - no header $1");
            next;
        }

        my ($key, $want) = $line =~ /^\s*(.*?)\s*:\s*(.*?)\s*$/
            or bail_out("$name - not a header: $line");
        my $got = $answer->{headers}{lc $key} // '';

        if ($regex) {
            Test::More::like($got, qr/^(?:$want)$/, "$name - header $key");

        } else {
            Test::More::is($got, $want, "$name - header $key");
        }
    }

    return;
}


sub check_body {
    my ($answer, $name, $want) = @_;

    if (defined(my $body = $want->('response_body'))) {
        if (ref $body) {
            Test::More::like($answer->{body}, $body, "$name - body");

        } elsif (length $body > 2000) {

            # a failure should not print half a megabyte twice

            Test::More::ok($answer->{body} eq $body, "$name - body")
                or Test::More::diag('got ' . shown($answer->{body}),
                                    "\nexpected " . shown($body));

        } else {
            Test::More::is($answer->{body}, AcademyTest::Server::expand($body),
                           "$name - body");
        }
    }

    if (defined(my $like = $want->('response_body_like'))) {

        # to make one of half a megabyte anew takes time

        $like = qr/$like/s if ref $like ne 'Regexp';

        Test::More::ok($answer->{body} =~ $like, "$name - body like")
            or Test::More::diag('got ' . shown($answer->{body}),
                                "\nexpected " . shown("$like"));
    }

    if (defined(my $unlike = $want->('response_body_unlike'))) {
        Test::More::unlike($answer->{body}, qr/$unlike/s,
                           "$name - body unlike");
    }

    return;
}


# The log is looked at when nginx has ended, and so is complete.

sub check_log {
    my ($block, $server) = @_;

    my $name = $block->name;
    my @lines = $server->log_lines;
    my @wanted = patterns(scalar $block->error_log);
    my @unwanted = patterns(scalar $block->no_error_log);

    for my $pattern (@wanted) {
        Test::More::ok(scalar(grep { $_ =~ $pattern } @lines),
                       "$name - logged: $pattern")
            or Test::More::diag(grep { !/\[debug\]/ } @lines);
    }

    for my $pattern (@unwanted) {
        Test::More::is((grep { $_ =~ $pattern } @lines)[0], undef,
                       "$name - not logged: $pattern");
    }

    for my $level (qw(alert crit emerg)) {
        next if grep { index($_, "[$level") >= 0
                       || index($_, "\\[$level") >= 0 } @wanted, @unwanted;

        fail_block($block, "unannounced in the log: $_")
            for grep { /\[$level\]/ } @lines;
    }

    if (my @report = $server->report) {
        fail_block($block, 'a sanitizer or valgrind has spoken', @report);
    }

    return;
}


# lines are plain text, a regular expression stands for itself

sub patterns {
    my ($value) = @_;

    return if !defined $value;
    return map { ref $_ ? $_ : qr/\Q$_\E/ } grep { length }
           ref $value eq 'ARRAY' ? @$value
           : ref $value ? $value
           : split /\n+/, $value;
}


1;
