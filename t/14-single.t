# One process and no master, as nginx runs under a debugger.

use Test::Nginx::Socket 'no_plan';
use lib 't/lib';
use AcademyTest;

master_off();

run_tests();

__DATA__

=== TEST 1: sending, receiving, waiting
--- calls eval
[::create(1)            => 200],
[::put(::message(2, 1)) => 200],
[::get(1)               => 200, ::got(::message(2, 1))],
[::get(1, 0.1)          => 408],
[::terminate(1)         => 200],
[::get(1)               => 419],


=== TEST 2: listening
--- calls eval
[::create(1)            => 200],
[::put(::message(2, 1)) => 200],
[::stream(1, 0.1)       => 200, ::events(::message(2, 1))],
