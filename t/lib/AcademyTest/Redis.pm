package AcademyTest::Redis;

# The suites with Redis for a store: ACADEMY_STORE=redis.  One redis-server for
# all blocks, on a socket in a directory of its own, and another prefix of keys
# for each start of nginx.

use strict;
use warnings;

use File::Path qw(remove_tree);
use File::Temp ();
use IO::Socket::UNIX;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep);


my $store = $ENV{ACADEMY_STORE} || 'zone';
my ($owner, $pid, $dir);
my $starts = 0;


die "ACADEMY_STORE is zone or redis\n" if $store !~ /^(?:zone|redis)\z/;

sub wanted { $store eq 'redis' }


# a configuration with an exchange on Redis in place of each zone

sub stored {
    my ($config) = @_;

    return $config if !wanted();

    start() if !$pid;
    $starts++;

    return $config =~ s{academy_zone \s+ zone=(\w+):[^;]*;}
        {academy_redis name=$1 server=unix:$dir/redis.sock prefix=$$.$starts.$1:;}xgr;
}


sub start {
    $dir = File::Temp::tempdir('academy-redis-XXXXXX', TMPDIR => 1);
    chmod 0755, $dir;
    $owner = $$;
    $pid = fork // die "fork: $!\n";

    if (!$pid) {
        open STDOUT, '>', "$dir/out" or die;
        open STDERR, '>&', \*STDOUT or die;
        exec 'redis-server', '--port', 0, '--unixsocket', "$dir/redis.sock",
             '--unixsocketperm', 777, '--dir', $dir, '--save', '',
             '--appendonly', 'no' or POSIX::_exit(127);
    }

    for (1 .. 500) {
        return if IO::Socket::UNIX->new(Peer => "$dir/redis.sock");
        die "redis-server ended at once\n" if waitpid($pid, WNOHANG) == $pid;
        sleep 0.02;
    }

    die "redis-server does not listen\n";
}


END {
    if ($pid && $owner == $$) {
        my $status = $?;

        kill 'KILL', $pid;
        waitpid $pid, 0;
        remove_tree($dir);

        $? = $status;
    }
}


1;
