# Everything that people and CI do here. Needs python3.11, git and make; all state lies below .nightstill.
PYTHON   ?= python3.11
WORKLOAD ?= sales
HOME_DIR := $(or $(NIGHTSTILL_HOME),.nightstill)
TASK     := $(HOME_DIR)/envs/task/bin
AIRFLOW  := $(HOME_DIR)/envs/airflow/bin
KUBEFLOW := $(HOME_DIR)/envs/kubeflow/bin
BENCH    := $(HOME_DIR)/envs/bench/bin
RANKING  := $(HOME_DIR)/envs/bench-ranking/bin
SERVING  := $(HOME_DIR)/envs/serving/bin
RESULTS  := $(HOME_DIR)/bench
SIZES    := $(HOME_DIR)/bench-scale
SETS     ?=
SEEDS    ?= 0 1 2
NIGHTS   ?= 6
JOBS     ?= 3
CHOSEN    = $(addprefix --set ,$(SETS)) $(addprefix --seed ,$(SEEDS))
# The DAGs' tests run where Airflow is, those of Kubeflow's pipelines where Kubeflow is, the others where the stages run.
DAG_TESTS := tests/unit/dags
KUBEFLOW_TESTS := tests/unit/infra/kubeflow
CONTAINER_TESTS := tests/e2e/containers
# Trouble, attacks and long stories: folders that no other target of the tests goes into.
AIRFLOW_SCENARIOS := tests/e2e/scenarios
SERVING_SCENARIOS := tests/unit/serving/scenarios
SCENARIOS := tests/integration/scenarios
NIGHT_TESTS := $(wildcard tests/integration/test_*night*.py)
LATENCY_TESTS := tests/integration/test_gate_latency.py
# In this order and JOBS at a time: the tests under Airflow mostly wait, and the others fill both cores beside them.
TESTS := test-e2e test-parts test-unit-tasks serving-test test-nights test-unit-dags test-kubeflow
SERVING_TESTS := tests/unit/serving $(wildcard tests/integration/test_serving_*.py)
SERVING_CODE := serving infra/testing/load.py infra/testing/attacks.py tests/serving_releases.py $(SERVING_TESTS)
PYTEST_AIRFLOW := AIRFLOW_HOME=$(abspath $(HOME_DIR))/test-airflow PYTHONPATH=. $(AIRFLOW)/python -m pytest

# A stage is a process of its own and imports torch or DVC: without kept bytecode each compiles them anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run up down status airflow repro images kubeflow k8s-test test test-unit test-unit-tasks test-unit-dags test-integration test-nights test-parts test-latency test-e2e test-kubeflow soak sizes stack-test serving-setup serving-test serving-image serve load-test attack-test bench bench-scale bench-setup bench-test bench-ranking bench-ranking-setup bench-ranking-test bench-texts bench-texts-setup lint format type check lock clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup:  ## make both environments from their locks (nothing to do: instant)
	@$(PYTHON) -m infra.local.environments

setup-dev:
	@$(PYTHON) -m infra.local.environments --dev

run:  ## run a workload's DAG once under Airflow: WORKLOAD=sales [AS_OF=YYYY-MM-DD] [FORCE=1] [DRY_RUN=1]
	@$(PYTHON) -m infra.local.night $(WORKLOAD) $(if $(AS_OF),--as-of $(AS_OF)) $(if $(FORCE),--force) $(if $(DRY_RUN),--dry-run)

up: setup  ## start Airflow and the MLflow page in the background
	@$(PYTHON) -m infra.local.services up

down:  ## stop what `up` started
	@$(PYTHON) -m infra.local.services down

status:  ## say what runs where
	@$(PYTHON) -m infra.local.services status

airflow: setup  ## Airflow's own program for this installation: ARGS="backfill create --dag-id nightly_sales …"
	@$(PYTHON) -m infra.local.services airflow $(ARGS)

repro: setup  ## run a workload with plain `dvc repro`, without Airflow: WORKLOAD=sales [AS_OF=YYYY-MM-DD]
	@$(TASK)/nightstill select $(WORKLOAD) $(if $(AS_OF),--as-of $(AS_OF))
	@PATH="$(abspath $(TASK)):$$PATH" $(TASK)/dvc repro

images:  ## build the images of stages and Airflow (Docker with BuildKit) and say their sizes
	@$(PYTHON) -m infra.local.images

kubeflow:  ## compile Kubeflow pipelines of all workloads, or of one: WORKLOAD=sales
	@$(PYTHON) -m infra.local.environments kubeflow
	@$(KUBEFLOW)/python -m infra.kubeflow.compile $(if $(filter command environment,$(origin WORKLOAD)),$(WORKLOAD))

test: setup-dev  ## a night of every kind of learning, the DAG under Airflow, gates, client and service, all parts
	@failed=0; $(MAKE) --no-print-directory --keep-going -j$(JOBS) --output-sync $(TESTS) || failed=$$?; \
		$(MAKE) --no-print-directory test-latency || failed=$$?; exit $$failed

test-unit: setup-dev  ## fast tests of single parts
	@$(MAKE) --no-print-directory -j2 --output-sync test-unit-tasks test-unit-dags

test-unit-tasks:
	$(TASK)/python -m pytest tests/unit tests/kinds --ignore $(DAG_TESTS) --ignore $(KUBEFLOW_TESTS) --ignore tests/unit/serving

test-unit-dags:
	$(PYTEST_AIRFLOW) $(DAG_TESTS)

test-integration: setup-dev  ## with real DVC, MLflow, Great Expectations, ONNX Runtime, and S3 where there is one
	@$(MAKE) --no-print-directory -j2 --output-sync test-nights test-parts
	@$(MAKE) --no-print-directory test-latency

test-nights:
	$(TASK)/python -m pytest $(NIGHT_TESTS)

test-parts:
	$(TASK)/python -m pytest tests/integration --ignore-glob 'tests/integration/test_serving_*' $(addprefix --ignore ,$(NIGHT_TESTS) $(LATENCY_TESTS) $(SCENARIOS))

test-latency:  # verdicts on measured times, beside no other test
	$(TASK)/python -m pytest $(LATENCY_TESTS)

test-e2e:  ## whole runs under real Airflow
	@$(PYTHON) -m infra.local.environments --dev
	$(TASK)/python -m pytest tests/e2e --ignore $(CONTAINER_TESTS) --ignore $(AIRFLOW_SCENARIOS)

.PHONY: test-scenarios test-scenarios-airflow test-scenarios-serving test-scenarios-others
test-scenarios: setup-dev  ## late and bad data, outages, races, fuzzing, changed packages, releases built again
	@$(MAKE) --no-print-directory --keep-going -j2 --output-sync test-scenarios-airflow test-scenarios-others test-scenarios-serving

test-scenarios-airflow:
	$(TASK)/python -m pytest $(AIRFLOW_SCENARIOS)

test-scenarios-serving:
	@$(PYTHON) -m infra.local.environments --dev serving client
	$(SERVING)/python -m pytest $(SERVING_SCENARIOS)

test-scenarios-others:
	$(TASK)/python -m pytest $(SCENARIOS)

soak: setup-dev  ## nights in a row under Airflow with planned trouble, in real S3: NIGHTS=6, or 30 (an hour)
	NIGHTSTILL_SOAK_NIGHTS=$(NIGHTS) $(TASK)/python -m pytest tests/soak -s

sizes: setup-dev  ## peak memory of stages on 50,000 images and a table of 10 million rows, below 8 GiB; ten minutes
	$(TASK)/python -m tests.sizes

stack-test: images serving-image setup-dev  ## nights and faults with stages in containers; needs Docker, PostgreSQL's programs and S3
	$(TASK)/python -m pytest $(CONTAINER_TESTS)

bench: setup-dev bench-setup  ## compare with peers on the sets below NIGHTSTILL_BENCH_DATA, hours: SETS="m5 etth1" SEEDS="0 1 2"
	$(BENCH)/python -m bench.peers --out $(RESULTS) $(CHOSEN)
	$(TASK)/python -m bench.ours --out $(RESULTS) $(CHOSEN)
	$(TASK)/python -m bench.ours.speed --out $(RESULTS)
	$(TASK)/python -m bench.report --results $(RESULTS) --scale $(SIZES)

bench-scale: setup  ## nights and scoring of 100 to 30,490 series of M5, an hour or two
	OMP_WAIT_POLICY=passive $(TASK)/python -m bench.scale --out $(SIZES)

bench-ranking: setup bench-ranking-setup  ## recommenders side by side, an hour or two: SETS="movielens journey" SEEDS="0 1 2"
	OMP_WAIT_POLICY=passive $(TASK)/python -m bench.ranking $(CHOSEN)

bench-texts: setup bench-texts-setup  ## labels of texts side by side, half an hour: DATA=folder SETS="phrasebank" PARTS="0 1"
	OMP_WAIT_POLICY=passive $(TASK)/python -m bench.texts --data $(or $(DATA),$(error DATA names the folder of the sets: make bench-texts DATA=folder)) $(addprefix --set=,$(SETS)) $(addprefix --part=,$(PARTS))

bench-texts-setup:  ## make the environment of fastText (100 MB)
	@$(PYTHON) -m infra.local.environments bench-texts

bench-ranking-setup:  ## make the environment of other libraries' recommenders and of an index (1.5 GB)
	@$(PYTHON) -m infra.local.environments bench-ranking

bench-ranking-test: bench-ranking-setup  ## the tests where those libraries are
	$(RANKING)/python -m pytest tests/unit/bench/ranking/peers

bench-setup:  ## make the environment of the benchmark's peers (1.7 GB)
	@$(PYTHON) -m infra.local.environments bench

bench-test: bench-setup  ## the benchmark's tests where its peers' libraries are
	$(HOME_DIR)/envs/bench/bin/python -m pytest tests/unit/bench/peers

test-kubeflow:  ## of the compiled Kubeflow pipelines, in an environment of their own
	@$(PYTHON) -m infra.local.environments --dev kubeflow
	$(KUBEFLOW)/python -m pytest $(KUBEFLOW_TESTS)

serving-setup:  ## make the environments of the scoring service and of consumers
	@$(PYTHON) -m infra.local.environments serving client

serving-test:  ## of the consumers' client and the scoring service, in environments of their own
	@$(PYTHON) -m infra.local.environments --dev serving client
	$(SERVING)/python -m pytest $(SERVING_TESTS) --ignore $(SERVING_SCENARIOS)

serving-image:  ## build the image of the scoring service
	@$(PYTHON) -m infra.local.images serving

serve: serving-setup  ## answer over HTTP with a workload's champion: WORKLOAD=sales; settings are NIGHTSTILL_SERVING_…
	@NIGHTSTILL_RELEASE_STORE=$${NIGHTSTILL_RELEASE_STORE:-$(HOME_DIR)/releases} NIGHTSTILL_SERVING_WORKLOAD=$(WORKLOAD) \
		$(SERVING)/python -m serving

load-test:  ## p50, p99 and throughput of the scoring service here: ARGS="--connections 1 64 --seconds 10 --out load.json"
	@$(PYTHON) -m infra.local.environments --dev serving
	@$(SERVING)/python -m infra.testing.load $(ARGS)

attack-test:  ## an honest client's p99 and the service's memory under attacks, two minutes: ARGS="--out attacks.json"
	@$(PYTHON) -m infra.local.environments --dev serving
	@$(SERVING)/python -m infra.testing.attacks $(ARGS)

k8s-test: setup  ## one night in pods of KUBECONFIG's cluster, one of them lost: see infra/testing/kubernetes.py
	@NIGHTSTILL_HOME=$(abspath $(HOME_DIR))/kubernetes $(TASK)/python -m infra.testing.kubernetes

lint: setup-dev  ## ruff
	$(TASK)/ruff check .
	$(TASK)/ruff format --check .

format: setup-dev  ## let ruff mend what it can
	$(TASK)/ruff check --fix .
	$(TASK)/ruff format .

type: setup-dev  ## mypy, in the environment that each part runs in
	$(TASK)/python -m mypy tasks infra bench tests/unit tests/kinds tests/plugins tests/integration tests/e2e tests/soak --exclude '$(DAG_TESTS)|infra/kubeflow|infra/testing/load|infra/testing/attacks|tests/unit/serving|test_serving_'
	PYTHONPATH=. $(AIRFLOW)/python -m mypy dags $(DAG_TESTS)
	@$(PYTHON) -m infra.local.environments --dev serving kubeflow
	$(SERVING)/python -m mypy $(SERVING_CODE)
	$(KUBEFLOW)/python -m mypy infra/kubeflow $(KUBEFLOW_TESTS)

check: lint type test  ## what must hold before a merge; CI runs test-scenarios, stack-test and soak, too

lock:  ## resolve requirements/*.in anew
	@infra/local/lock.sh

clean: down  ## remove everything that was made here, releases included
	@[ ! -d $(HOME_DIR)/releases ] || chmod -R u+w $(HOME_DIR)/releases  # their files and folders are read-only
	rm -rf $(HOME_DIR) artifacts run.yaml dvc.lock .dvc/cache .dvc/tmp .pytest_cache .mypy_cache .ruff_cache
