# The scoring service of one workload. Build it with `make serving-image`.
FROM python:3.11-slim-bookworm AS build
ENV PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NATIVE_TLS=1 UV_LINK_MODE=copy \
    UV_INDEX_STRATEGY=unsafe-best-match
ARG UV_DEFAULT_INDEX
# strip, for the libraries; it stays behind in this stage.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils >/dev/null
COPY requirements/bootstrap.lock /locks/
RUN --mount=type=cache,target=/root/.cache python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install -qq --require-hashes -r /locks/bootstrap.lock
COPY requirements/serving.lock docker/slim.sh /locks/
RUN --mount=type=cache,target=/root/.cache python3 -m venv --without-pip /opt/nightstill \
    && /opt/uv/bin/uv --quiet pip sync --python /opt/nightstill --require-hashes /locks/serving.lock \
    && sh /locks/slim.sh /opt/nightstill
COPY serving /app/serving
# Features of raw tables are made by the code of training.
COPY tasks/__init__.py /app/tasks/
COPY tasks/core /app/tasks/core
COPY tasks/tables /app/tasks/tables
COPY tasks/problems /app/tasks/problems
COPY tasks/scoring /app/tasks/scoring
# Bytecode, as nothing can be written here later; and everything that is needed can be loaded.
RUN python3 -m compileall -q /app/serving /app/tasks \
    && cd /app && /opt/nightstill/bin/python -B -c "import httptools, uvloop, boto3, holidays, serving.service.app; import tasks.problems.forecasting.problem, tasks.problems.ranking.problem, tasks.problems.tabular.problem, tasks.problems.text.problem, tasks.problems.vision.problem, PIL.Image"

FROM python:3.11-slim-bookworm
# Whatever is mounted at /cache takes its mode from here.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /cache nightstill \
    && install -d -m 1777 /cache
COPY --from=build /opt/nightstill /opt/nightstill
COPY --from=build /app /app
ARG COMMIT=unknown
ARG LOCK=unknown
ENV PATH=/opt/nightstill/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/cache TMPDIR=/cache \
    NIGHTSTILL_SERVING_HOST=0.0.0.0 NIGHTSTILL_SERVING_PORT=8081 NIGHTSTILL_SERVING_CACHE=/cache/releases
LABEL org.opencontainers.image.title="nightstill-serving" \
      org.opencontainers.image.description="HTTP scoring with the champion of one workload" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm" \
      org.opencontainers.image.revision=$COMMIT \
      io.nightstill.lock.sha256=$LOCK
USER 10001:10001
WORKDIR /app
EXPOSE 8081
ENTRYPOINT ["python", "-m", "serving"]
