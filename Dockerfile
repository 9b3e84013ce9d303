# syntax=docker/dockerfile:1
# Two images: `worker` (workers and the command line; the default) and `trial` (sets up a trial chain).
FROM python:3.11.13-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 10001 --create-home app && install --directory --owner=app /keys
WORKDIR /app

# All packages of the lock, each checked against its hash: builds the wheel, and is the trial image's environment.
FROM base AS build
COPY requirements-dev.lock ./
RUN python -m venv /opt/dev && /opt/dev/bin/pip install --require-hashes --requirement requirements-dev.lock
COPY . .
RUN /opt/dev/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /dist .

FROM base AS packages
COPY requirements.lock ./
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --require-hashes --requirement requirements.lock
COPY --from=build /dist /dist
RUN /opt/venv/bin/pip install --no-deps --no-index /dist/*.whl

FROM build AS trial
USER app
ENTRYPOINT ["/opt/dev/bin/python", "-m", "devstack.trial"]

FROM base AS worker
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
USER app
ENTRYPOINT ["python", "-m", "worker"]
