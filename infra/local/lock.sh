#!/usr/bin/env bash
# Resolve requirements/*.in into locks with hashes (make lock). Locks name no index and no path.
set -euo pipefail
cd "$(dirname "$0")/../../requirements"
uv=${NIGHTSTILL_HOME:-../.nightstill}/envs/bootstrap/bin/uv
compile() {
    "$uv" pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 "$@"
}

compile bootstrap.in -o bootstrap.lock
compile airflow.in -o airflow.lock
compile dev-airflow.in -o dev-airflow.lock
compile task.in -o task.lock
compile dev.in -o dev.lock
compile kubeflow.in -o kubeflow.lock
compile dev-kubeflow.in -o dev-kubeflow.lock
compile client.in -o client.lock
compile serving.in -o serving.lock
compile dev-serving.in -o dev-serving.lock
# shellcheck disable=SC2046
compile torch-cuda.in -o torch-cuda.lock $(grep -oE '^[a-z0-9._-]+' task.lock | sed 's/^/--no-emit-package /')
compile ../bench/requirements/texts.in -o ../bench/requirements/texts.lock
for name in peers ranking; do
    # shellcheck disable=SC2046
    compile "../bench/requirements/$name.in" -o "../bench/requirements/$name.lock" \
        $(grep -oE '^[a-z0-9._-]+' torch-cuda.lock | sed 's/^/--no-emit-package /')
done
