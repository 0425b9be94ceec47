# Everything a person needs; `make help` prints the list.
#
# All of it happens in build/.  The module is compiled by nginx's own build
# system in a tree of links to nginx's sources, so that neither the
# distribution's tree nor $(NGX_SRC) is ever written to.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:

MODULE := ngx_http_academy_module

# normal; asan: address and undefined behaviour sanitizers; defer: the test
# store that completes each call from a later event; debug: -O0; faults: with
# places where a worker kills itself, see t/faults; sections: how long the lock
# is held, see t/bench/sections.py
VARIANT ?= $(if $(FAULTS),faults,normal)
VARIANTS := normal asan defer debug faults sections

# an nginx source tree to build against, instead of the distribution's
NGX_SRC ?= $(NGINX_SRC)

# what `make run` serves
CONF ?= conf-examples/minimal.conf

# V=1 shows the compiler's command lines and the tests' output
V ?=

PYTHON ?= python3
CC ?= cc

ifeq ($(filter $(VARIANT),$(VARIANTS)),)
$(error VARIANT is one of: $(VARIANTS))
endif

ifneq ($(words $(CURDIR)),1)
$(error nginx's build system cannot cope with blanks in a path: $(CURDIR))
endif


# ----------------------------------------------------------------- the build

WARNINGS := -Wshadow -Wvla -Wmissing-prototypes -Wstrict-prototypes \
	-Wold-style-definition -Wdeclaration-after-statement

# nginx compiles with -W -Wall -Werror already.  What stands in WARNINGS is
# not for nginx's own sources, so only a dynamic build, in which no other
# source takes part, gets it.

CC_normal := -O2 -fPIC -fstack-protector-strong -D_FORTIFY_SOURCE=2
CC_defer := $(CC_normal)
CC_faults := $(CC_normal)
CC_sections := $(CC_normal)
CC_debug := -O0 -g3 -fPIC
CC_asan := -O1 -fPIC -fno-omit-frame-pointer \
	-fsanitize=address,undefined
LD_normal := -fPIC -Wl,-z,relro -Wl,-z,now
LD_defer := $(LD_normal)
LD_faults := $(LD_normal)
LD_sections := $(LD_normal)
LD_debug := $(LD_normal)
LD_asan := $(LD_normal) -fsanitize=address,undefined

ifeq ($(NGX_SRC),)

NGX_TREE := /usr/share/nginx/src
NGX_MARK := $(NGX_TREE)/conf_flags
NGX_NAME := dist
NGINX := $(or $(shell PATH=$$PATH:/usr/local/sbin:/usr/sbin command -v nginx),\
	/usr/sbin/nginx)
OUT := build
NGX_FLAGS = $(shell . $(NGX_TREE)/conf_flags; echo "$${NGX_CONF_FLAGS[*]}")

else

NGX_TREE := $(abspath $(NGX_SRC))
NGX_MARK := $(NGX_TREE)/src/core/nginx.h
NGX_NAME := nginx-$(shell sed -n 's/^\#define NGINX_VERSION  *"\(.*\)"/\1/p' \
	$(NGX_MARK) 2>/dev/null)
NGINX := build/$(NGX_NAME)/nginx
OUT := build/$(NGX_NAME)

# what the tests use; with --with-compat the module fits every nginx of the
# same version that was configured with --with-compat too
NGX_FLAGS := --with-compat --with-debug --with-threads \
	--with-http_ssl_module --with-http_v2_module \
	--with-http_auth_request_module --with-http_realip_module \
	--with-http_stub_status_module $(NGX_CONFIGURE)

ifeq ($(NGX_NAME),nginx-)
$(error NGX_SRC=$(NGX_SRC) is not an nginx source tree)
endif

endif

# $(call so,VARIANT): the module's file; $(call tree,VARIANT): where it is made
so = $(if $(filter normal,$(1)),$(OUT),$(OUT)/$(1))/$(MODULE).so
tree = build/obj/$(NGX_NAME)-$(1)

SO := $(call so,$(VARIANT))
STATIC := $(if $(filter normal,$(VARIANT)),build,build/$(VARIANT))/nginx-static

SAY := $(if $(V),,-s)
SOURCES := $(shell find src -name '*.[ch]')
SCRIPTS := $(wildcard src/store/redis/scripts/*) \
	$(filter-out %.png,$(wildcard src/status/page/*))

.PHONY: all static nginx
all: $(SO)

static: $(STATIC)

nginx: $(NGINX)

# nginx's configure looks for headers by name: a new one means a new run of it
build/.sources: FORCE
	@mkdir -p build
	@echo '$(sort $(SOURCES))' > $@.new
	cmp -s $@.new $@ || cp $@.new $@
	rm $@.new

# two runs of make at once in one tree
alone = mkdir -p $(1); exec 9> $(1).lock; flock 9

# The leaks that the sanitizers see in configure's own probes would be taken
# for missing features.
#
# $(call configure,TREE,--add-…,VARIANT,WARNINGS)
define configure
	$(call alone,$(1))
	echo "configuring $(1)"
	rm -rf $(1)
	mkdir -p $(1)
	ln -s $(NGX_TREE)/* $(1)/
	rm -f $(1)/Makefile $(1)/objs
	cd $(1)
	configure=./configure
	[ -e $$configure ] || configure=auto/configure
	export ACADEMY_DEFER=$(if $(filter defer,$(3)),YES)
	export ACADEMY_FAULTS=$(if $(filter faults,$(3)),YES)
	export ACADEMY_SECTIONS=$(if $(filter sections,$(3)),YES)
	export ASAN_OPTIONS=detect_leaks=0
	$$configure $(NGX_FLAGS) --with-cc='$(CC)' \
		--with-cc-opt='$(CC_$(3)) $(4)' --with-ld-opt='$(LD_$(3))' \
		$(2)=$(CURDIR) --builddir=objs > configure.log 2>&1 \
		|| { tail -n 15 configure.log; exit 1; }
endef

# a file that a running nginx has mapped is replaced, never written to
define publish
	mkdir -p $(dir $(2))
	cmp -s $(1) $(2) || { cp $(1) $(2).new; mv $(2).new $(2); }
	touch $(2)
endef

.ONESHELL:

define variant
$(call tree,$(1))/objs/Makefile: config Makefile build/.sources $(SCRIPTS) \
		$(NGX_MARK) | build/.ready
	@$$(call configure,$(call tree,$(1)),--add-dynamic-module,$(1),$(WARNINGS))

$(call so,$(1)): $(call tree,$(1))/objs/Makefile $(SOURCES)
	@$$(call alone,$(call tree,$(1)))
	echo "building $$@"
	$$(MAKE) $(SAY) --no-print-directory -C $(call tree,$(1)) \
		-f objs/Makefile modules
	$$(call publish,$(call tree,$(1))/objs/$(MODULE).so,$$@)
endef

$(foreach v,$(VARIANTS),$(eval $(call variant,$(v))))

ifeq ($(NGX_SRC),)

# the distribution's tree has nginx's headers only
static:
	@echo "make static needs an nginx source tree: make NGX_SRC=DIR static"
	exit 1

.PHONY: $(STATIC)

build/.ready: | build
	@missing=
	for package in $(PACKAGES_BUILD); do
		$(call installed,$$package) || missing="$$missing $$package"
	done
	if [ -n "$$missing" ]; then
		echo "missing packages:$$missing"
		echo "make deps installs them"
		exit 1
	fi
	touch $@

$(NGX_MARK): | build/.ready
	@echo "the package nginx-dev is not here, and $@ with it;"
	echo "build against nginx's sources: make NGX_SRC=DIR"
	exit 1

else

static_tree := build/obj/$(NGX_NAME)-static-$(VARIANT)

$(static_tree)/objs/Makefile: config Makefile build/.sources $(SCRIPTS) \
		$(NGX_MARK)
	@$(call configure,$(static_tree),--add-module,$(VARIANT))

$(STATIC): $(static_tree)/objs/Makefile $(SOURCES) FORCE
	@$(call alone,$(static_tree))
	echo "building $@ ($(NGX_NAME))"
	$(MAKE) $(SAY) --no-print-directory -C $(static_tree) \
		-f objs/Makefile binary
	$(call publish,$(static_tree)/objs/nginx,$@)

# the server that the dynamic module of this tree is for
$(NGINX): $(call tree,normal)/objs/Makefile
	@$(call alone,$(call tree,normal))
	echo "building $@"
	$(MAKE) $(SAY) --no-print-directory -C $(call tree,normal) \
		-f objs/Makefile binary
	$(call publish,$(call tree,normal)/objs/nginx,$@)

build/.ready: | build
	@touch $@

endif

build:
	@mkdir -p build


# ------------------------------------------------------- what must be there

PACKAGES_BUILD := gcc libc6-dev libjansson-dev libssl-dev libhiredis-dev \
	zlib1g-dev libpcre2-dev $(if $(NGX_SRC),,nginx nginx-dev)
PACKAGES_RUN := $(PACKAGES_BUILD) openssl curl
PACKAGES_AGENT := python3 python3-venv
PACKAGES_TEST := $(PACKAGES_RUN) $(PACKAGES_AGENT) perl valgrind iproute2 \
	redis-server libnginx-mod-stream prometheus chromium-headless-shell
PACKAGES_PROFILE := strace
# a go that is there already need not be Debian's
PACKAGES_BENCH := $(PACKAGES_TEST) nginx libnginx-mod-nchan redis-tools \
	ca-certificates $(if $(shell command -v go),,golang-go)
PACKAGES_PICTURES := fonts-inter optipng pngquant
PACKAGES_FUZZ := $(PACKAGES_BUILD) clang libclang-rt-14-dev

# true where there is no dpkg: the compiler will say what it misses
installed = { ! command -v dpkg-query > /dev/null \
	|| dpkg-query -W -f '$${db:Status-Abbrev}' $(1) 2>/dev/null \
	| grep -q '^.i'; }

# Run as root, with the packages as arguments.  Debian starts an nginx on port
# 80, and a Redis on port 6379, when the package is installed, and again at each
# boot: servers that nobody asked for, so both are prevented where this makefile
# brings them.

define APT
set -eu
export DEBIAN_FRONTEND=noninteractive

policy=/usr/sbin/policy-rc.d
fresh=
for package; do
    case $$package in nginx|redis-server) fresh="$$fresh $$package" ;; esac
done

if [ -n "$$fresh" ] && [ ! -e $$policy ]; then
    trap "rm -f $$policy" EXIT
    trap "exit 1" HUP INT TERM
    printf "#!/bin/sh\ncase \$$1 in nginx|redis-server) exit 101; esac\n" \
        > $$policy
    chmod 755 $$policy
fi

install="apt-get -q -y -o DPkg::Lock::Timeout=300 install"
install="$$install --no-install-recommends"

for package; do
    if ! apt-cache show "$$package" > /dev/null 2>&1; then
        apt-get -q update
        break
    fi
done

$$install "$$@" || { apt-get -q update && $$install "$$@"; }

for service in $$fresh; do
    if [ -d /run/systemd/system ]; then
        systemctl disable $$service
    elif command -v update-rc.d > /dev/null; then
        update-rc.d $$service disable
    fi
done
endef
export APT

# $(call install,PACKAGES)
define install
	missing=
	for package in $(1); do
		$(call installed,$$package) || missing="$$missing $$package"
	done
	if [ -n "$$missing" ]; then
		become=
		if [ "$$(id -u)" != 0 ]; then
			become=sudo
			command -v sudo > /dev/null || {
				echo "not root, and no sudo; as root run:"
				echo "apt-get install$$missing"
				exit 1
			}
		fi
		echo "installing with apt-get:$$missing"
		echo "(its output is in build/apt.log)"
		$$become sh -c "$$APT" apt $$missing > build/apt.log 2>&1 \
			|| { tail -n 20 build/apt.log; exit 1; }
	fi
	rm -f build/.ready
	touch $@
endef

# Packages can go again; the stamps are renewed when this file changes.

.PHONY: deps
deps: build/.deps-build

build/.deps-build: Makefile | build
	@$(call install,$(PACKAGES_BUILD))

build/.deps-run: Makefile | build
	@$(call install,$(PACKAGES_RUN))

build/.deps-agent: Makefile | build build/.deps-run
	@$(call install,$(PACKAGES_AGENT))

build/.deps-test: Makefile | build build/.deps-agent
	@$(call install,$(PACKAGES_TEST))

build/.deps-profile: Makefile | build build/.deps-test
	@$(call install,$(PACKAGES_PROFILE))

build/.deps-bench: Makefile | build build/.deps-test
	@$(call install,$(PACKAGES_BENCH))

build/.deps-pictures: Makefile | build
	@$(call install,$(PACKAGES_PICTURES))

build/.deps-fuzz: Makefile | build
	@$(call install,$(PACKAGES_FUZZ))

build/venv/.done: t/requirements.txt | build/.deps-agent
	@$(call venv,build/venv,$<)

build/venv-0.5.0/.done: t/requirements-0.5.0.txt | build/.deps-agent
	@$(call venv,build/venv-0.5.0,$<)

define venv
	echo "installing with pip into $(1): $(2)"
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/pip install -q --disable-pip-version-check -r $(2)
	touch $@
endef


# ----------------------------------------------------------------- to use it

ASAN_ENV := LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
environment = $(if $(filter asan,$(VARIANT)),env $(ASAN_ENV))

# The prefix is laid out as an installation is: nginx.conf, modules/ and what
# the configuration says how to make, certificates for example, stand in one
# directory.
#
# $(call prefix,DIR,CONF)
define prefix
	mkdir -p $(1)/modules
	ln -sf $(CURDIR)/$(SO) $(1)/modules/$(MODULE).so
	ln -sf $(abspath $(2)) $(1)/nginx.conf
	made=$(1)/.made-$$(basename $(2))
	if [ ! -e $$made ]; then
		sed -n 's/^#     //p' $(2) > $$made.sh
		(cd $(1); sh -e $(CURDIR)/$$made.sh 2> /dev/null)
		touch $$made
	fi
endef

# make would report ctrl-C as a failure, had it seen it; so nginx gets the
# terminal for itself.  What reaches make's own process group (a hang-up, a
# kill without a terminal) is passed on.

define FOREGROUND
use strict;
use POSIX qw(WNOHANG tcgetpgrp tcsetpgrp);

my $$tty;
$$tty = undef if !open($$tty, '+<', '/dev/tty')
                || tcgetpgrp(fileno $$tty) != getpgrp;
$$SIG{TTOU} = 'IGNORE';

my $$pid = fork // die "fork: $$!\n";

if ($$pid == 0) {
    setpgrp(0, 0);
    tcsetpgrp(fileno $$tty, $$$$) if $$tty;
    $$SIG{TTOU} = 'DEFAULT';
    exec @ARGV or die "$$ARGV[0]: $$!\n";
}

setpgrp($$pid, $$pid);
$$SIG{$$_} = sub { kill TERM => $$pid } for qw(INT TERM HUP QUIT);
$$SIG{CHLD} = sub {};

# a terminal that is closed tells its foreground group, and nobody else

until (waitpid($$pid, WNOHANG)) {
    kill TERM => $$pid if $$tty && !(tcgetpgrp(fileno $$tty) > 0);
    sleep 1;
}

my $$status = $$?;

tcsetpgrp(fileno $$tty, getpgrp) if $$tty;
print STDERR "\nThe exchange has ended.\n" if $$status == 0;
exit($$status & 127 ? 128 + ($$status & 127) : $$status >> 8);
endef
export FOREGROUND

comma := ,
URL_tls := --cacert build/run/cert.pem https://localhost:8700
URL_basic := -u ann:secret $(URL_tls)
URL_mtls := --cert build/run/ann.pem --key build/run/ann-key.pem $(URL_tls)
URL_reverse-proxy := http://127.0.0.1:8700/exchange
URL := $(or $(URL_$(basename $(notdir $(CONF)))),http://127.0.0.1:8700)

define TRY

Serving $(CONF) on 127.0.0.1:8700; ctrl-C ends it.
Try in a second terminal:

  curl -X GET -d '{"agent": "any", "allow_subclasses": true}' $(URL)/discover
$(if $(filter %minimal.conf,$(CONF)),
  make agent          (first_agent.py$(comma) the ten lines from README.md)
)
Warnings and errors follow here; requests are in build/run/access.log.

endef
export TRY

.PHONY: run agent install
run: build/.deps-run
	@$(MAKE) --no-print-directory $(SO) $(if $(NGX_SRC),$(NGINX))
	$(call prefix,build/run,$(CONF))
	echo "$$TRY"
	exec $(environment) perl -e "$$FOREGROUND" \
		$(NGINX) -p build/run/ -c nginx.conf -e stderr -g 'daemon off;'

# as it stands in README.md, run against the exchange of `make run`
build/first_agent.py: README.md | build
	@sed -n '/^# first_agent\.py/,/^```/{/^```/!p}' $< > $@

agent: build/first_agent.py build/venv/.done
	@if ! (exec 3<> /dev/tcp/127.0.0.1/8700) 2> /dev/null; then
		echo "nothing listens on 127.0.0.1:8700;" \
			"run this beside make run, in a second terminal"
		exit 1
	fi
	build/venv/bin/python $<

MODULES_PATH = $(shell $(NGINX) -V 2>&1 | tr ' ' '\n' \
	| sed -n 's/^--modules-path=//p')

install: $(SO)
	@path='$(or $(MODULES_PATH),/usr/lib/nginx/modules)'
	install -d "$(DESTDIR)$$path"
	install -m 644 $(SO) "$(DESTDIR)$$path/"
	echo "installed $(DESTDIR)$$path/$(MODULE).so"
	echo "The first line of nginx.conf is to be:"
	echo "load_module $$path/$(MODULE).so;"


# ------------------------------------------------------------------- to test

# Each step is a target of its own; what it says goes to build/test/STEP.log,
# how it ended to build/test/results.

#
# Two lanes run side by side, for two cores: what of the second waits, mostly.

ifeq ($(NGX_SRC),)
LANE_1 := check budget fuzz poison prove prove-asan prove-defer prove-redis \
	prove-valgrind client client-redis redis-faults status-redis-part
LANE_2 := workers workers-asan auth auth-asan status page status-asan \
	faults redis
else
LANE_1 := check prove prove-static client
LANE_2 := workers auth status page redis
endif

STEPS := $(LANE_1) $(LANE_2)

# a step that is run only when it is asked for
ALONE := workers-redis status-redis

# what one step may take, in seconds
STEP_LIMIT ?= 600

# The real Test::Nginx, where it is installed, is not for this: it knows no
# ACADEMY_MODULE and no sanitizer, and takes longer than STEP_LIMIT.
PROVE = prove $(if $(V),-v,-Q) -j 2 -I t/lib
PYTEST = build/venv/bin/python -m pytest -q -p no:cacheprovider

export TEST_NGINX_BINARY = $(abspath $(NGINX))

# valgrind makes everything twenty times slower
VALGRIND_TESTS ?= t/02-message.t t/03-listen.t t/13-memory.t t/18-provider.t

run_check = $(MAKE) --no-print-directory check
run_budget = $(PYTHON) t/bench/rooms.py --budget $(abspath $(SO))
run_fuzz = $(MAKE) --no-print-directory -C t/fuzz replay tokens
run_poison = $(MAKE) --no-print-directory -C t/fuzz poison
run_prove = $(PROVE) t/
run_prove-asan = ACADEMY_MODULE=$(abspath $(call so,asan)) $(PROVE) t/
run_prove-defer = ACADEMY_MODULE=$(abspath $(call so,defer)) $(PROVE) t/
run_prove-valgrind = TEST_NGINX_USE_VALGRIND=1 $(PROVE) $(VALGRIND_TESTS)
run_prove-static = TEST_NGINX_BINARY=$(abspath $(STATIC)) \
	ACADEMY_MODULE= $(PROVE) t/
run_client = $(PYTEST) -n 2 t/client
run_workers = $(PYTEST) -n 3 t/workers
run_workers-asan = ACADEMY_MODULE=$(abspath $(call so,asan)) $(PYTEST) -n 3 \
	t/workers
run_auth = $(PYTEST) -n 4 t/auth
run_auth-asan = ACADEMY_MODULE=$(abspath $(call so,asan)) $(PYTEST) -n 4 t/auth

run_redis = $(PYTEST) -n 2 t/redis --ignore t/redis/test_faults.py
run_redis-faults = $(PYTEST) -n 4 t/redis/test_faults.py
run_prove-redis = ACADEMY_STORE=redis $(PROVE) t/
run_client-redis = ACADEMY_STORE=redis $(PYTEST) -n 2 t/client
run_workers-redis = ACADEMY_STORE=redis $(PYTEST) -n 3 t/workers

run_status = $(PYTEST) t/status --ignore t/status/test_page.py
run_page = $(PYTEST) -n 2 t/status/test_page.py
run_status-asan = ACADEMY_MODULE=$(abspath $(call so,asan)) $(PYTEST) t/status
run_status-redis = ACADEMY_STORE=redis $(PYTEST) -n 2 t/status
run_status-redis-part = $(run_status-redis)/test_figures.py \
	t/status/test_mailboxes.py t/status/test_viewers.py \
	-k "not kills and not thousand and not goes"

run_faults = ACADEMY_MODULE=$(abspath $(call so,faults)) $(PYTEST) -n 4 t/faults

# the module that a step uses unless it says otherwise
export ACADEMY_MODULE = $(abspath $(SO))
unexport TEST_NGINX_LOAD_MODULES

.PHONY: test $(STEPS:%=test-%) $(ALONE:%=test-%) test-builds test-summary
test: build/.deps-test
	@rm -rf build/test
	mkdir -p build/test
	$(MAKE) -j 2 --no-print-directory test-builds
	begin=$$SECONDS
	for lane in '$(LANE_1)' '$(LANE_2)'; do
		for step in $$lane; do
			$(MAKE) --no-print-directory test-$$step || true
		done &
	done
	wait
	$(MAKE) --no-print-directory test-summary \
		TOOK=", in $$((SECONDS - begin)) s"

ifeq ($(NGX_SRC),)
test-builds: $(call so,normal) $(call so,asan) $(call so,defer) \
	$(call so,faults) \
	build/venv/.done build/venv-0.5.0/.done
else
test-builds: $(call so,normal) $(NGINX) $(STATIC) \
	build/venv/.done build/venv-0.5.0/.done
endif

$(STEPS:%=test-%) $(ALONE:%=test-%): test-%: | build
	@mkdir -p build/test
	log=build/test/$*.log
	echo "-- $*"
	begin=$$SECONDS
	status=0
	timeout -k 20 $(STEP_LIMIT) bash -c '$(run_$*)' \
		$(if $(V),2>&1 | tee $$log,> $$log 2>&1) || status=$$?
	took=$$((SECONDS - begin))
	case $$status in
		0) word=ok ;;
		124|137) word="FAILED (not done in $(STEP_LIMIT) s)" ;;
		*) word=FAILED ;;
	esac
	[ $$status = 0 ] || [ -n "$(V)" ] || tail -n 40 $$log
	printf '%-16s %4d s  %s\n' $* $$took "$$word" >> build/test/results
	[ $$status = 0 ]

test-summary:
	@echo
	echo "$$(cat build/test/results)"
	echo
	failed=$$(grep -c FAILED build/test/results || true)
	if [ "$$(grep -c ' ok$$' build/test/results)" != $(words $(STEPS)) ]; then
		echo "$$failed of $(words $(STEPS)) steps failed$(TOOK);" \
			"logs are in build/test"
		exit 1
	fi
	echo "all $(words $(STEPS)) steps passed$(TOOK)"

# quick: every example is a valid configuration, and src/ keeps the house's
# style
.PHONY: check check-conf check-style
# the distribution's stream module is for the distribution's nginx
EXAMPLES = $(filter-out $(if $(NGX_SRC),%/redis-tls.conf),\
	$(wildcard conf-examples/*.conf))

check: check-conf check-style

check-conf: $(SO)
	@for conf in $(EXAMPLES); do
		$(call prefix,build/check,$$conf)
		$(environment) $(NGINX) -p build/check/ -c nginx.conf -e stderr \
			-q -t
		echo "$$conf is valid"
	done

check-style:
	@bad=0
	say() { if [ -n "$$2" ]; then echo "$$1:"; echo "$$2"; bad=1; fi; }
	long() { awk 'length > 80 { print FILENAME ":" FNR }' "$$@"; }
	find_all() { grep -nE "$$@" $(SOURCES) || true; }
	say "longer than 80 columns" \
		"$$(long $(SOURCES) config Makefile conf-examples/*.conf \
			src/store/redis/scripts/*)"
	say "tabs, or blanks at a line's end" "$$(find_all $$'\t|[ \t]+$$')"
	say "not of this house" \
		"$$(find_all '(^|[^:"])//|\<(assert|abort)\(|TODO|FIXME')"
	[ $$bad = 0 ] && echo "the style is kept"

# The figures of "What was accepted is delivered": the full counts of what
# `make test` has less of.  Each ends by itself, some after minutes.
.PHONY: deaf kills reloads soak together redis-faults
LONG_DEPS := build/.deps-test build/venv/.done

deaf: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(SO)
	ACADEMY_DEAF=10000/500 $(PYTEST) t/workers/test_delivery.py

kills: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(SO)
	export ACADEMY_KILLS=300
	$(PYTEST) t/workers/test_kills.py
	$(PYTEST) t/client/test_upheaval.py -k kills

reloads: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(SO)
	ACADEMY_RELOADS=200 ACADEMY_UPGRADES=20 \
		$(PYTEST) t/client/test_upheaval.py -k 'reloads or upgrades'

together: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(SO)
	ACADEMY_TOGETHER=10000 $(PYTEST) t/redis/test_together.py

redis-faults: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(SO)
	ACADEMY_REDIS_FAULTS=20 $(PYTEST) t/redis/test_faults.py

# SECONDS is bash's own, and counts: make's variable has to be named
soak: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(call so,normal) $(call so,asan)
	ACADEMY_SOAK=$(or $(SECONDS),3600) \
		nice build/venv/bin/python t/soak/soak.py

.PHONY: fuzz bench growth figures status-rate status-cost
fuzz: build/.deps-fuzz
	@$(MAKE) --no-print-directory -C t/fuzz fuzz

bench: build/.deps-bench
	@$(MAKE) --no-print-directory $(SO) build/venv/.done
	$(MAKE) --no-print-directory -C t/bench

growth: build/.deps-test
	@$(MAKE) --no-print-directory $(SO) build/venv/.done
	$(MAKE) --no-print-directory -C t/bench growth

figures:
	@$(PYTHON) t/bench/figures.py

# What looking costs, and what counting does: against a module without, such
# as one that an older commit was built to.
status-rate: build/.deps-test
	@$(MAKE) --no-print-directory $(SO) build/venv/.done
	$(MAKE) --no-print-directory -C t/bench ../../build/bench-load
	build/venv/bin/python t/bench/status.py

status-cost: build/.deps-test
	@$(MAKE) --no-print-directory $(SO)
	$(PYTHON) t/bench/rooms.py --without $(or $(WITHOUT),$(error \
		WITHOUT=FILE is the module to compare with)) $(SO)

# Event streams that wait, of each kind; what mailboxes, waiting and messages
# take of a zone; how long its lock is held, by what is done within.
.PHONY: streams memory sections
streams: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(SO)
	build/venv/bin/python t/bench/streams.py

memory: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(SO)
	ACADEMY_FOOTPRINT=64m $(PYTEST) t/workers/test_footprint.py

sections: $(LONG_DEPS)
	@$(MAKE) --no-print-directory $(call so,sections)
	$(MAKE) --no-print-directory -C t/bench ../../build/bench-load
	build/venv/bin/python t/bench/sections.py

# What one operation takes: a table in build/profile.md; and what of it is to be
# held against from now on, by `make test-budget`.
.PHONY: profile budget
profile: build/.deps-test build/.deps-profile
	@$(MAKE) --no-print-directory $(SO)
	$(PYTHON) t/bench/rooms.py $(SO)

budget: build/.deps-test
	@$(MAKE) --no-print-directory $(SO)
	$(PYTHON) t/bench/rooms.py --record $(SO)


# The page as it looks, of an exchange in which agents are at work: after some
# minutes there is more to be seen.
.PHONY: screenshots
screenshots: build/.deps-test build/.deps-pictures
	@$(MAKE) --no-print-directory $(SO) build/venv/.done
	build/venv/bin/python t/status/screenshots.py $(or $(MINUTES),2) \
		build/screenshots


# -------------------------------------------------------------------- others

.PHONY: clean help FORCE
clean:
	@rm -rf build t/servroot*

define HELP
make              build build/$(MODULE).so
make run          install what is missing, build, serve conf-examples/
                  minimal.conf on 127.0.0.1:8700; CONF=FILE serves another
make agent        run the README's first agent against `make run`
make test         everything: several builds, all suites (a quarter of an hour)
make test-STEP    one step of it: $(wordlist 1,5,$(STEPS))
                  $(wordlist 6,11,$(STEPS))
                  $(wordlist 12,17,$(STEPS))
                  $(wordlist 18,30,$(STEPS)); and $(ALONE)
make check        quick checks: the example configurations, style
make fuzz         the scanner against jansson, by a coverage-guided fuzzer
make bench        rates and latencies, beside nginx alone, the Python server,
                  nchan, NATS and Redis: build/bench.md, build/bench.svg
make growth       both against mailboxes, listeners, sizes, queues, workers:
                  build/growth.md, build/growth.svg
make figures      what both have found goes into README.md, the plots into
                  t/bench
make streams      memory of 50,000 event streams, with TLS, on HTTP/2, and
                  what it takes to wake and to end them
make memory       what mailboxes, waiting and messages take of a zone
make sections     how long a zone's lock is held, by what is done within, and
                  what that means for many workers
make profile      instructions and system calls of an operation, by room of
                  the code: build/profile.md
make budget       records the instructions: more is a failure of make test
make status-rate  what 1,000 looks a second at the status location cost
make status-cost  instructions of put+get; WITHOUT=FILE is another module
make screenshots  the status page, light, dark and narrow, in
                  build/screenshots; MINUTES=60 for an hour of life in it
make deaf         10,000 messages, 500 listeners that die deaf, of each kind
make kills        300 workers killed under load
make reloads      200 reloads and 20 upgrades of the binary, with real agents
make together     10,000 calls between agents on two nginx and a Python
                  exchange that share a Redis
make redis-faults Redis killed, replaced, cut off, asleep and full, and nginx
                  killed, twenty times each
make soak         all of it at once for an hour; SECONDS=N for another time
make install      copy the module to nginx's modules (DESTDIR=DIR before it)
make deps         only install what a build needs, with apt-get
make clean        remove build/

VARIANT=asan|defer|debug   with sanitizers; with the test store whose calls
                           end later; not optimized: build/VARIANT/
FAULTS=1                   with places where a worker kills itself, for
                           t/faults: build/faults/
NGX_SRC=DIR                against an nginx source tree (1.22 or newer):
                           build/nginx-VERSION/
make NGX_SRC=DIR static    nginx itself with the module in it:
                           build/nginx-static
make NGX_SRC=DIR nginx     nginx without it, to load the module into
V=1                        show compiler commands and test output
endef
export HELP

help:
	@echo "$$HELP"

FORCE:
