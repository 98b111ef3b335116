# The image in which every stage runs, and the MLflow server. Build it with `make images`.
FROM python:3.11-slim-bookworm AS build
ENV PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NATIVE_TLS=1 UV_LINK_MODE=copy \
    UV_INDEX_STRATEGY=unsafe-best-match
ARG UV_DEFAULT_INDEX
# Where the CPU build of torch comes from if the wheelhouse has none: uv knows PyTorch's own indexes by name, a mirror
# is named by its address.
ARG TORCH_BACKEND=cpu
ARG TORCH_INDEX
# strip, for the libraries; it stays behind in this stage. OpenMP, which LightGBM takes from the system, does not.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils libgomp1 >/dev/null
COPY requirements/bootstrap.lock /locks/
RUN --mount=type=cache,target=/root/.cache python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install -qq --require-hashes -r /locks/bootstrap.lock
# Copies what lies in the wheelhouse, and does without one.
COPY requirements/task.lock requirements/torch-cpu.lock wheelhous[e] /locks/
RUN --mount=type=cache,target=/root/.cache python3 -m venv --without-pip /opt/nightstill \
    && /opt/uv/bin/uv --quiet pip sync --python /opt/nightstill --require-hashes --find-links /locks /locks/task.lock
RUN --mount=type=cache,target=/root/.cache \
    if ls /locks/torch-*.whl >/dev/null 2>&1; then from="--no-index --find-links /locks"; \
    elif [ -n "$TORCH_INDEX" ]; then from="--index $TORCH_INDEX"; \
    else from="--torch-backend $TORCH_BACKEND"; fi \
    && /opt/uv/bin/uv --quiet pip install --python /opt/nightstill --no-deps --require-hashes $from -r /locks/torch-cpu.lock
COPY docker/slim.sh /locks/
RUN sh /locks/slim.sh /opt/nightstill && /opt/nightstill/bin/python -B -c "import dvc.cli, great_expectations, \
    lightgbm, mlflow, onnxruntime, onnxscript, optuna, pandas, polars, psycopg2, pyarrow.dataset, scipy.stats, sklearn.ensemble, torch.onnx"

FROM python:3.11-slim-bookworm
# Whatever is mounted at /workspace takes its mode from here.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /workspace nightstill \
    && install -d -m 1777 /workspace
COPY --from=build /usr/lib/x86_64-linux-gnu/libgomp.so.1 /usr/lib/x86_64-linux-gnu/
COPY --from=build /opt/nightstill /opt/nightstill
WORKDIR /app
COPY dvc.yaml params.yaml ./
COPY workloads workloads
COPY requirements/task.lock requirements/
COPY tasks tasks
COPY serving/__init__.py serving/
COPY serving/contract serving/contract
# Bytecode, as nothing can be written here later, and the program by its name.
RUN python3 -m compileall -q tasks serving && ln -s /app/docker/nightstill /opt/nightstill/bin/nightstill
COPY --chmod=755 docker/nightstill docker/
ARG COMMIT=unknown
ARG LOCK=unknown
ENV PATH=/opt/nightstill/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/workspace TMPDIR=/workspace MPLCONFIGDIR=/workspace/matplotlib \
    NIGHTSTILL_PROJECT=/app NIGHTSTILL_HOME=/workspace/home NIGHTSTILL_GIT_COMMIT=$COMMIT
LABEL org.opencontainers.image.title="nightstill-task" \
      org.opencontainers.image.description="Stages of the nightly pipeline, and its MLflow server" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm" \
      org.opencontainers.image.revision=$COMMIT \
      io.nightstill.lock.sha256=$LOCK
USER 10001:10001
WORKDIR /workspace
ENTRYPOINT ["nightstill"]
