package AcademyTest::Server;

# One nginx: its directory, its configuration, its start and its end, and what
# it said meanwhile.  It runs as a child in the foreground, so that its end
# and its exit code are seen; nothing it leaves behind outlives the suite.

use strict;
use warnings;

use Cwd qw(abs_path);
use Fcntl qw(:flock);
use File::Path qw(make_path remove_tree);
use File::Spec;
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

use AcademyTest::Redis;


my $addr = '127.0.0.1';
my $valgrind = $ENV{TEST_NGINX_USE_VALGRIND} || '';
my $modules = modules();
my $asan = grep { asan_module($_) } @$modules;
my ($port, $root, $lock, $current);


# how much longer than usual everything may take

sub slowness { $valgrind ? 20 : $asan ? 4 : 1 }


sub modules {
    if (defined $ENV{TEST_NGINX_LOAD_MODULES}) {
        return [split ' ', $ENV{TEST_NGINX_LOAD_MODULES}];
    }

    my $file = $ENV{ACADEMY_MODULE};

    if (!defined $file) {
        $file = 'build/ngx_http_academy_module.so';
        return [] if !-e $file;             # perhaps nginx has it built in
    }

    return [] if $file eq '';               # nginx has it built in

    die "ACADEMY_MODULE=$file: no such file\n" if !-e $file;

    return [abs_path($file)];
}


sub asan_module {
    my ($file) = @_;

    open my $in, '<:raw', $file or die "$file: $!\n";
    local $/;
    return <$in> =~ /\0libasan\.so/;
}


# The port is outside the range from which the kernel serves connecting
# sockets: one of those would now and then sit on it between two blocks.

sub port {
    return $port if $port;

    $port = $ENV{TEST_NGINX_SERVER_PORT} || $ENV{TEST_NGINX_PORT}
            || free_port();
    $ENV{TEST_NGINX_SERVER_PORT} = $port;

    return $port;
}


sub free_port {
    for (1 .. 1000) {
        my $try = 20000 + int rand 12000;
        my $sock = IO::Socket::INET->new(
            LocalAddr => $addr, LocalPort => $try, Listen => 1,
            Proto => 'tcp',
        );

        return $try if $sock;
    }

    die "no free port found\n";
}


# Two runs at once in one tree must not share a directory: the second takes
# one that has its port in the name, and is removed in the end.

sub root {
    return $root if $root;

    my $dir = $ENV{TEST_NGINX_SERVROOT} || File::Spec->rel2abs('t/servroot');

    my $mine = !$ENV{TEST_NGINX_RANDOMIZE}
               && open($lock, '>', "$dir.lock")
               && flock($lock, LOCK_EX | LOCK_NB);

    $root = $mine ? $dir : $dir . '_' . port();
    $ENV{TEST_NGINX_SERVER_ROOT} = $root;

    return $root;
}


sub new {
    my ($class, %o) = @_;

    my $self = bless { %o, log => root() . '/logs/error.log' }, $class;

    remove_tree($root);
    make_path(map { "$root/$_" } qw(logs html conf));
    $self->write_files;
    $self->write_conf;

    return $self;
}


sub write_files {
    my ($self) = @_;

    my $files = $self->{user_files} // '';

    while ($files =~ /^>>> (\S+).*\n((?:(?!>>> ).*\n?)*)/mg) {
        my ($name, $text) = ($1, $2);
        my $path = $name =~ m{^/} ? $name : "$root/html/$name";

        make_path($path =~ s{/[^/]*\z}{}r);
        spew($path, expand($text));
    }

    return;
}


sub spew {
    my ($path, $text) = @_;

    open my $out, '>:raw', $path or die "$path: $!\n";
    print {$out} $text;
    close $out or die "$path: $!\n";

    return;
}


sub expand {
    my ($text) = @_;

    return ($text // '') =~ s{\$(TEST_NGINX_\w+)}
        { $ENV{$1} // die "no environment variable $1\n" }ger;
}


sub write_conf {
    my ($self) = @_;

    my $listen = port();
    my $load = join '', map { "load_module $_;\n" } @$modules;
    my $user = $> == 0 ? "user root;\n" : '';
    my $temp = join '', map { "    ${_}_temp_path $root/${_}_temp;\n" }
               qw(client_body proxy fastcgi uwsgi scgi);

    # as the real Test::Nginx has it: a generous client_max_body_size, and
    # a document root where the suite did not say no_root_location()

    my $docs = $self->{root_location} ? <<"END" : '';
        location / {
            root $root/html;
        }
END

    my %part = map { $_ => expand($self->{$_}) }
               qw(main_config http_config config);

    $part{http_config} = AcademyTest::Redis::stored($part{http_config});

    spew("$root/conf/nginx.conf", <<"END");
${user}worker_processes $self->{workers};
daemon off;
master_process $self->{master};
error_log $self->{log} $self->{log_level};
pid $root/logs/nginx.pid;
$load
$part{main_config}
events {
    worker_connections $self->{connections};
    accept_mutex off;
}

http {
    access_log $root/logs/access.log;
$temp
    default_type text/plain;
    keepalive_timeout 68s;

$part{http_config}
    server {
        listen $listen;
        server_name localhost;
        client_max_body_size 30m;

$part{config}
$docs
    }
}
END

    return;
}


sub command {
    my @command = ($ENV{TEST_NGINX_BINARY} || 'nginx',
                   '-e', "$root/logs/error.log", '-p', "$root/",
                   '-c', "$root/conf/nginx.conf");

    return @command if !$valgrind;

    my @options = $valgrind =~ /^\d+$/
                  ? qw(--num-callers=40 --leak-check=no)
                  : split ' ', $valgrind;

    return ('valgrind', '-q', "--log-file=$root/logs/valgrind.%p", @options,
            @command);
}


sub start {
    my ($self) = @_;

    $self->{pid} = fork // die "fork: $!\n";
    $current = $self;

    return if $self->{pid};

    # the child, which must never come back into the suite's code

    $ENV{PATH} .= ':/usr/sbin:/usr/local/sbin';

    if ($asan) {
        chomp(my $lib = `gcc -print-file-name=libasan.so`);
        $ENV{LD_PRELOAD} = abs_path($lib);
        $ENV{ASAN_OPTIONS} //= 'detect_leaks=0';
        $ENV{UBSAN_OPTIONS} //= 'print_stacktrace=1';
    }

    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', "$root/logs/stderr.log";

    { exec command() };
    warn "cannot run nginx: $!\n";
    POSIX::_exit(127);
}


sub running {
    my ($self) = @_;

    return if !$self->{pid};

    if (waitpid($self->{pid}, WNOHANG) == $self->{pid}) {
        $self->{status} = $?;
        $self->{pid} = 0;
    }

    return $self->{pid};
}


# Waits until nginx has begun to listen: its pid file is written behind that,
# and telling it by a connection would be one more for nginx to serve.

sub listens {
    my ($self) = @_;

    my $deadline = time + 5 * slowness();

    while ($self->running && time < $deadline) {
        return 1 if -s "$root/logs/nginx.pid";
        sleep 0.002;
    }

    return;
}


# waits for the end; returns false if it did not come in time

sub wait_end {
    my ($self, $seconds) = @_;

    my $deadline = time + $seconds;
    my $pause = 0.001;

    while ($self->running) {
        return if time > $deadline;
        sleep $pause;
        $pause *= 1.5 if $pause < 0.02;
    }

    return 1;
}


# Ends nginx as an administrator would, gracefully, and returns what was
# wrong with its end, or nothing.

sub stop {
    my ($self) = @_;

    if (!$self->running) {
        return sprintf 'nginx ended on its own (%s)', $self->end;
    }

    kill QUIT => $self->{pid};

    if (!$self->wait_end(5 * slowness())) {
        $self->kill_now;
        return 'nginx did not end after a QUIT';
    }

    return $self->{status} ? sprintf('nginx ended badly (%s)', $self->end)
                           : ();
}


sub end {
    my ($self) = @_;

    my $status = $self->{status} // 0;
    return $status & 127 ? 'signal ' . ($status & 127)
                         : 'exit code ' . ($status >> 8);
}


sub kill_now {
    my ($self) = @_;

    return if !$self->running;

    # the master's TERM takes its workers with it; KILL would leave them

    kill TERM => $self->{pid};

    if (!$self->wait_end(5)) {
        kill KILL => children($self->{pid}), $self->{pid};
        $self->wait_end(5);
    }

    return;
}


sub children {
    my ($pid) = @_;

    open my $in, '<', "/proc/$pid/task/$pid/children" or return;
    my $list = <$in> // '';

    return split ' ', $list;
}


sub slurp {
    my ($path) = @_;

    open my $in, '<:raw', $path or return '';
    local $/;
    return <$in> // '';
}


# The log, and what came on the standard error before nginx turned that into
# the log too; its own messages are in both.

sub log_lines {
    my ($self) = @_;

    return grep({ !/^nginx: \[/ } split /^/, slurp("$root/logs/stderr.log")),
           split /^/, slurp($self->{log});
}


# what a sanitizer or valgrind has to say, from where it begins

sub report {
    my ($self) = @_;

    my @lines = grep { !/\[debug\]/ } $self->log_lines;

    while (@lines && $lines[0] !~ /runtime error:|ERROR: \w+Sanitizer/) {
        shift @lines;
    }

    push @lines, split /^/, slurp($_) for glob "$root/logs/valgrind.*";

    return @lines > 80 ? @lines[0 .. 79] : @lines;
}


END {
    my $status = $?;

    $current->kill_now if $current;

    remove_tree($root) if $root && $root =~ /_\d+\z/;

    $? = $status;
}

$SIG{$_} = sub { exit 130 } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';


1;
