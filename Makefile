# Run make without a target for a list. Go compiles as the calling user, whose caches are kept; only
# what was built runs as root.

SHELL         := /bin/bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-builtin-rules

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := build/golangci-lint-$(GOLANGCI_VERSION)

FUZZTIME ?= 30s
ARGS     ?=
SUBSET   ?=

DATAPLANE ?= nftables
WIRING    ?= bridge
# Set: the demonstration's router is distributed.
DISTRIBUTED ?=

ifeq ($(shell id -u),0)
AS_ROOT :=
else
AS_ROOT := sudo --preserve-env=CI,GORACE
endif

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build/threetier $(if $(DISTRIBUTED),build/server build/agent,build/allinone) ## a three-tier application by the API, behind a real router: checked, broken, mended (DATAPLANE=iptables, WIRING=ovs, DISTRIBUTED=1, ARGS=--keep)
	@.ci/need $(if $(filter iptables,$(DATAPLANE)),iptables=iptables) $(if $(filter ovs,$(WIRING)),ovs-vswitchd=openvswitch-switch)
	@$(AS_ROOT) build/threetier --dataplane=$(DATAPLANE) --wiring=$(WIRING) $(if $(DISTRIBUTED),--distributed) $(ARGS)

# The longest first, so that none of them is left alone at the end, and each that is busy with the
# kernel beside one that is not.
LONGEST := ./ovs ./l3/rest ./iptables ./l3/natsbus ./nftables ./l3/service ./examples/internal/trial

# The race detector would sleep for a second before each process ends, and tests start hundreds; and
# it sees nothing of SQLite's C code, translated to Go, whose memory is not Go's, but makes it slow.
.PHONY: test
test: ## every test, with the race detector; installs by apt what the tests need and this machine lacks
	@.ci/need gcc=gcc,libc6-dev nft=nftables iptables=iptables ovs-vswitchd=openvswitch-switch \
		pg_ctlcluster=postgresql openstack=python3-openstackclient sudo=sudo ip=iproute2 ping=iputils-ping zsh=zsh fish=fish systemctl=systemd
	@GORACE=atexit_sleep_ms=0 go test -race -gcflags=modernc.org/sqlite/lib=-race=false -vet=off -timeout 20m \
		$(if $(AS_ROOT),-exec='$(AS_ROOT)') $(LONGEST) ./dataplane ./internal/... ./...

.PHONY: trial
trial: ## distributed routers on six hosts, with every backend and wiring, and forty of them amid faults; in ten to twenty minutes
	@.ci/need gcc=gcc,libc6-dev nft=nftables iptables=iptables ovs-vswitchd=openvswitch-switch pg_ctlcluster=postgresql ip=iproute2
	@TRIAL_FULL=1 go test -race -vet=off -count=1 -timeout 40m $(if $(AS_ROOT),-exec='$(AS_ROOT),TRIAL_FULL') -run '^TestDistributed' -v ./examples/internal/trial

# Packages whose tests run as any user.
CHECKED := ./dataplane ./dataplane/agent ./scheduler ./l3 ./l3/service ./l3/rest ./l3/sqlstore ./l3/membus ./l3/server ./l3/l3test \
	./internal/backoff ./internal/nlmsg ./internal/test/shape

.PHONY: check
check: $(GOLANGCI) ## what needs neither root nor other programs nor a network, in about a minute: lint, and tests on fakes and SQLite
	@$(GOLANGCI) run
	@CI= go test -short -vet=off $(CHECKED)

.PHONY: try
try: ## the commands of README, as they are printed, in namespaces of their own: to a first packet and back to nothing
	@.ci/need nft=nftables ovs-vswitchd=openvswitch-switch openstack=python3-openstackclient sudo=sudo ip=iproute2 ping=iputils-ping
	@go test -count=1 -v $(if $(AS_ROOT),-exec='$(AS_ROOT)') -run '^TestReadme' ./examples/allinone

.PHONY: picture
picture: ## draw the picture of README again
	@go run ./internal/tool/picture

.PHONY: test-kernel
test-kernel: ## what depends on the kernel, under Debian's, in a virtual machine (SUBSET=quick: a part, in minutes)
	@.ci/kernel $(SUBSET)

.PHONY: lint
lint: $(GOLANGCI) ## golangci-lint, pinned; its first build takes minutes
	@$(GOLANGCI) run

.PHONY: api
api: ## how the exported API differs from the newest release, or from the commit before, for CHANGELOG
	@.ci/api

.PHONY: bench
bench: ## speed, as a table with medians beside the floor of the same run; build/bench.json and internal/tool/bench/RESULTS.md keep it
	@.ci/need nft=nftables iptables=iptables ovs-vswitchd=openvswitch-switch pg_ctlcluster=postgresql
	@go build -o build/ ./internal/tool/bench ./examples/server ./examples/agent
	@$(AS_ROOT) build/bench -o build/bench.json -report internal/tool/bench/RESULTS.md $(ARGS)

.PHONY: fuzz
fuzz: ## every fuzz test, and random packets through every backend, each for FUZZTIME (30s)
	@.ci/need iptables=iptables
	@.ci/fuzz $(FUZZTIME)

.PHONY: clean
clean: ## remove what the other targets built
	@rm -rf build

build/%: FORCE
	@go build -o $@ ./examples/$*

$(GOLANGCI):
	@echo "building golangci-lint $(GOLANGCI_VERSION), once"
	@GOBIN=$(CURDIR)/build go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv build/golangci-lint $@

.PHONY: FORCE
FORCE:
