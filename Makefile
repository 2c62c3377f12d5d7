# make run    try it: a demonstration in ./run, on loopback, until Ctrl-C
# make test   install what the tests need (as root), then vet, staticcheck, unit tests with the race detector, end-to-end tests, tests of the pages in a browser
# make check  vet, staticcheck and the rules of the house alone
# make screenshots   pictures of the pages, for the README
# make bench [BEFORE=PROGRAM]   the hook against the same path without it, the least that such a hook can be, and an earlier build, as ratios
# make compare BEFORE=PROGRAM   the same before smtp-sink only
# make imaptest IMAPTEST=PROGRAM TESTS=FOLDER [SECONDS=600]   Dovecot's imaptest and its scripts against the IMAP server, then its random dialogues
# make vulnerabilities   known vulnerabilities of the libraries and of Go; asks the Internet
# make soak   the long tests: 300 kills, a month of ten million entries, more than an hour of fuzzing
# make build  bin/copialettere

VERSION     := $(shell git describe --always --dirty 2>/dev/null || echo unversioned)
GO_BUILD    := go build -trimpath -ldflags "-X main.version=$(VERSION)"
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
# What the tests run, and the Debian package that has it.
NEEDS        = postfix:postfix smtp-source:postfix smtp-sink:postfix dovecot:dovecot-core /usr/lib/dovecot/imap:dovecot-imapd /usr/lib/dovecot/lmtp:dovecot-lmtpd \
               /usr/lib/dovecot/modules/lib90_sieve_plugin.so:dovecot-sieve /usr/lib/dovecot/pop3:dovecot-pop3d /usr/lib/dovecot/managesieve:dovecot-managesieved \
               /usr/lib/dovecot/submission:dovecot-submissiond swaks:swaks perl:perl curl:curl mbsync:isync python3:python3 unzip:unzip openssl:openssl zbarimg:zbar-tools \
               chromium-headless-shell:chromium-headless-shell npm:npm cyrmaster:cyrus-common db5.3_load:db5.3-util $(COURIER)
# What Courier's imapd is linked with, and the packages that cannot be installed beside dovecot-imapd: these are only unpacked.
COURIER     := /lib/libcourierauth.so.0:courier-authlib $(or $(wildcard /usr/lib/*/libfam.so.0),libfam.so.0):libgamin0 \
               $(or $(wildcard /usr/lib/*/libcourier-unicode.so.4),libcourier-unicode.so.4):libcourier-unicode4 \
               $(or $(wildcard /usr/lib/*/libidn.so.12),libidn.so.12):libidn12
UNPACK      := courier-imap cyrus-imapd
UNPACKED    := /var/lib/copialettere-test
# What only reads and writes text or files has no goroutines of its own, and is tested without the race detector, several times as fast. So are the commands, each of
# which is one goroutine: what they are made of is tested with it, and so is what the daemon does beside them (BESIDE).
RACELESS    := /journal/httpd/pages$$|/journal/httpd/body$$|/journal/part$$|/policy/pec$$|/policy/pec/practice$$|/policy/pec/pectest$$|/journal/sealing$$|/journal/export/(bundle|intake|sincro)$$|/cmd/copialettere$$
BESIDE      := Test(DaemonEnds|Demo|Reload|Ready[A-Za-z]*|Notice[A-Za-z]*|SpooledGaps|GapsAreTold|OperatorToldOfRefusal|[A-Za-z]*UnderTheDaemon|HouseWhileStopping|VerifyInBackground|MetricsListener|AnswerBrokenOff|OneProcess|StaleSocket|Confirm|Quota[A-Za-z]*|DoctorTells|SecurityIsTold)|.*(Scan|Large).*
# So are tests that fill memory, files or months and count what that takes, and those that kill processes. Smaller ones of the same acts run with it.
MEASURING   := TestSixtyMonths|TestManyLargeDrafts|TestDraftMemory|TestPurge|TestManyOpenMonths|TestIdleMemory|TestAppendLarge|Test[A-Za-z]*Kill(s|ed)?|TestMany|TestManyMailboxes|TestManyReaders|TestProvisionMany|TestScanTooLarge|TestThrottleStaysSmall
# So are those that would meet races of LevelDB's own (see there), and those in which one goroutine does the same many times over, with one thing different
# each time.
ALONE       := TestFaultsWithSmallBuffers|TestRoomIsMadeWhereItWasLast|TestVerifyFindsDamage(OfSelections)?|TestPassResumes|TestSelectionFails|TestExpireLogsFaults|TestWritesFail|TestZIPResumed|TestZIPParts|TestCuts|TestHashes|TestContractSealed|TestMend(Random|Interrupted)?|TestDamageOf|TestReadDamagedTable
RACEFREE    := $(MEASURING)|$(ALONE)
MEASURED     = $$(grep -rlE '^func ($(RACEFREE))\(' --include=*_test.go --exclude-dir=e2e cmd journal lmtp policy | xargs -n1 dirname | sort -u | sed 's|^|./|')
E2E         := ./cmd/copialettere/e2e/...
BROWSER     := cmd/copialettere/e2e/browser
PICTURES    := $(notdir $(wildcard contrib/screenshots/*.png))
FUZZTIME    := 95s
# Vet has run before. Without the tables of a debugger, which nothing here reads, a test is linked in half the time.
GO_TEST     := go test -vet=off -ldflags=-w
# The unit tests sync many small files. That they do is tested; that a disk takes its time to do it is left to the other tests, where memory has room.
MEMORY      := $(shell free=$$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $$4 }'); [ "$${free:-0}" -gt 4000000 ] && [ -w /dev/shm ] && echo TMPDIR=/dev/shm)

export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: build run test needs unpacked check vet staticcheck house vulnerabilities unit raced alone raceless memory served e2e browser screenshots bench compare imaptest soak clean

build:
	$(GO_BUILD) -o bin/copialettere ./cmd/copialettere

run: build
	rm -rf run
	bin/copialettere demo run

# Vet comes first: what it compiles serves the others. Staticcheck takes what processor time is left over. The end-to-end tests and those in the browser wait
# more than they compute, so they run side by side; the unit tests have the machine for themselves.
test: needs vet
	$(MAKE) -j3 -Otarget staticcheck served

served: unit
	$(MAKE) -Otarget e2e browser

# They are unpacked under another name first: a folder that is there is whole.
unpacked:
	@for p in $(UNPACK); do \
	  if [ -d $(UNPACKED)/$$p ]; then continue; fi; \
	  if [ "$$(id -u)" != 0 ]; then echo "make test needs $$p in $(UNPACKED): run it as root once" >&2; exit 1; fi; \
	  folder=$$(mktemp -d) && chmod 755 $$folder && mkdir -p $(UNPACKED) && rm -rf $(UNPACKED)/$$p.new && \
	  apt-get update -q && (cd $$folder && apt-get download -q $$p && dpkg-deb -x $$p*.deb $(UNPACKED)/$$p.new) && mv $(UNPACKED)/$$p.new $(UNPACKED)/$$p && \
	  rm -rf $$folder || exit 1; \
	done

# Debian's packages must not start their own servers: the tests start what they need on loopback.
needs: unpacked
	@missing=; for n in $(NEEDS); do p=$${n%:*}; [ -e "$$p" ] || command -v "$$p" >/dev/null || missing="$$missing $${n##*:}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then \
	  echo "make test needs what is not installed: apt-get install$$missing" >&2; exit 1; \
	fi; \
	policy=/usr/sbin/policy-rc.d; made=; \
	if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; made=1; fi; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; \
	status=$$?; [ -z "$$made" ] || rm -f $$policy; exit $$status

check: vet staticcheck house

vet:
	@unformatted=$$(gofmt -l cmd lmtp journal policy); if [ -n "$$unformatted" ]; then echo "gofmt: $$unformatted"; exit 1; fi
	go vet -tags bench ./...

staticcheck:
	nice -n 19 go run $(STATICCHECK) -checks inherit,ST1000,ST1020,ST1021,ST1022 -tags bench ./...
	cd $(BROWSER) && nice -n 19 go vet . && nice -n 19 go run $(STATICCHECK) -checks inherit,ST1000,ST1020,ST1021,ST1022 .

# The unit tests have this one too.
house:
	$(GO_TEST) -run TestHouse ./cmd/copialettere

vulnerabilities:
	go run $(GOVULNCHECK) ./...

unit: raced
	$(MAKE) -j2 -Otarget alone raceless memory

raced:
	$(MEMORY) $(GO_TEST) -race -p 3 -timeout 20m -skip '^($(RACEFREE))$$' $$(go list ./... | grep -v /e2e | grep -vE '$(RACELESS)')
	$(MEMORY) $(GO_TEST) -race -timeout 20m -run '^($(BESIDE))$$' -skip '^($(RACEFREE))$$' ./cmd/copialettere ./journal/httpd/pages

alone:
	$(GO_TEST) -count=1 -p 1 -run '^($(RACEFREE))$$' $(MEASURED)

raceless:
	$(MEMORY) $(GO_TEST) -p 1 -skip '^($(RACEFREE))$$' $$(go list ./... | grep -E '$(RACELESS)')

# The tests of the journal run once more on an engine in memory that replicates and has several clients.
memory:
	COPIALETTERE_ENGINE=memory $(GO_TEST) -count=1 ./journal

e2e:
	$(GO_TEST) -count=1 -timeout 20m -parallel 3 $(E2E)

# The tests of the pages are a module of their own.
browser:
	cd $(BROWSER) && $(GO_TEST) -count=1 -timeout 30m .

# All pictures in bin/screenshots, and those of the README in their place.
screenshots: needs
	cd $(BROWSER) && go test -count=1 -timeout 30m -run TestSite/pages . -screenshots $(abspath bin/screenshots)
	cd bin/screenshots && cp $(PICTURES) ../../contrib/screenshots/

bench: needs
	COPIALETTERE_BEFORE=$(abspath $(BEFORE)) go test -tags bench -count=1 -timeout 180m -v -run TestBench ./cmd/copialettere/e2e/bench ./policy/auth ./journal ./journal/search ./journal/httpd/pages

compare: needs
	@[ -n "$(BEFORE)" ] || { echo 'usage: make compare BEFORE=PROGRAM' >&2; exit 1; }
	COPIALETTERE_BEFORE=$(abspath $(BEFORE)) go test -tags bench -count=1 -timeout 60m -v -run 'TestBench$$/smtp-sink' ./cmd/copialettere/e2e/bench

imaptest:
	@if [ -z "$(IMAPTEST)" ] || [ -z "$(TESTS)" ]; then echo "usage: make imaptest IMAPTEST=PROGRAM TESTS=FOLDER" >&2; exit 1; fi
	COPIALETTERE_IMAPTEST=$(abspath $(IMAPTEST)) COPIALETTERE_IMAPTEST_SCRIPTS=$(abspath $(TESTS)) COPIALETTERE_IMAPTEST_SECONDS=$(SECONDS) \
	  go test -tags bench -count=1 -timeout 60m -v -run TestImaptest ./journal/imapd

soak: needs
	COPIALETTERE_KILLS=300 go test -count=1 -timeout 60m -run Kill -v $(E2E)
	COPIALETTERE_GROWTH_ENTRIES=10000000 go test -tags bench -count=1 -timeout 120m -run TestBenchGrowth -v ./journal
	@for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$package || exit 1; \
	  done; \
	done

clean:
	rm -rf bin run
