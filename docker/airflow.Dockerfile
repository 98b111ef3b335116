# Airflow's scheduler, API server, DAG processor and triggerer, with the DAGs. Build it with `make images`.
FROM python:3.11-slim-bookworm AS build
ENV PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NATIVE_TLS=1 UV_LINK_MODE=copy \
    UV_INDEX_STRATEGY=unsafe-best-match
ARG UV_DEFAULT_INDEX
COPY requirements/bootstrap.lock /locks/
RUN --mount=type=cache,target=/root/.cache python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install -qq --require-hashes -r /locks/bootstrap.lock
COPY requirements/airflow.lock /locks/
RUN --mount=type=cache,target=/root/.cache python3 -m venv --without-pip /opt/airflow \
    && /opt/uv/bin/uv --quiet pip sync --python /opt/airflow --require-hashes /locks/airflow.lock
COPY docker/slim.sh /locks/
RUN sh /locks/slim.sh /opt/airflow

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 50000 --gid 0 --no-create-home --home-dir /airflow airflow && install -d -m 1777 /airflow /airflow/logs
COPY --from=build /opt/airflow /opt/airflow
WORKDIR /app
COPY dvc.yaml params.yaml ./
COPY workloads workloads
COPY dags dags
# What the DAGs read of a project, and of its package; no library of the stages comes with it.
COPY tasks/__init__.py tasks/
COPY tasks/core/__init__.py tasks/core/approval.py tasks/core/config.py tasks/core/documents.py tasks/core/errors.py tasks/core/machine.py tasks/core/params.py tasks/core/reason.py tasks/core/redaction.py tasks/core/storage.py tasks/core/
COPY tasks/pipeline/__init__.py tasks/pipeline/graph.py tasks/pipeline/resources.py tasks/pipeline/
COPY tasks/pipeline/handover/__init__.py tasks/pipeline/handover/manifest.py tasks/pipeline/handover/surroundings.py tasks/pipeline/handover/
COPY tasks/releases/__init__.py tasks/releases/ledger.py tasks/releases/manifest.py tasks/releases/standing.py tasks/releases/
RUN python3 -m compileall -q dags tasks
COPY --chmod=755 docker/healthcheck.py docker/
ARG COMMIT=unknown
ARG LOCK=unknown
ENV PATH=/opt/airflow/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/airflow AIRFLOW_HOME=/airflow AIRFLOW__CORE__DAGS_FOLDER=/app/dags AIRFLOW__CORE__PLUGINS_FOLDER=/app/dags/plugins AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK=True \
    NIGHTSTILL_PROJECT=/app NIGHTSTILL_HOME=/airflow/nightstill NIGHTSTILL_RUNNER=docker
LABEL org.opencontainers.image.title="nightstill-airflow" \
      org.opencontainers.image.description="Airflow with the nightly DAGs" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm" \
      org.opencontainers.image.revision=$COMMIT \
      io.nightstill.lock.sha256=$LOCK
USER 50000:0
WORKDIR /airflow
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=5 CMD ["/app/docker/healthcheck.py"]
ENTRYPOINT ["airflow"]
CMD ["api-server"]
