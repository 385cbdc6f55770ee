# Three images from one file: `api` (service and janitor, no torch), `worker` (torch for CPU) and `worker-gpu` (CUDA).
#     docker build --target api .
# Needs BuildKit, for the cache mounts. It uses BuildKit's built-in Dockerfile front end: a `# syntax=` line would make every
# build ask a public registry. BASE can name a digest or a mirror: --build-arg BASE=registry.example/python@sha256:...
ARG PYTHON=3.11-slim-trixie
ARG BASE=python:${PYTHON}

# What changes least comes first. Dependencies are installed beside an empty package, so that a change of a source file
# installs that file and nothing else.
# hadolint ignore=DL3006
FROM ${BASE} AS build
ENV PATH=/opt/minirec/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/minirec && pip install -c constraints.txt setuptools

FROM build AS build-api
COPY pyproject.toml README.md LICENSE NOTICE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-build-isolation '.[service,otel]'
COPY . .
RUN pip install --no-cache-dir --no-build-isolation --no-deps --force-reinstall .

# torch comes alone and from one index only: where that index is away, the build fails instead of taking a CUDA build.
FROM build AS build-worker
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-deps --index-url "${TORCH_INDEX}" torch
COPY pyproject.toml README.md LICENSE NOTICE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-build-isolation '.[worker,otel]'
COPY . .
RUN pip install --no-cache-dir --no-build-isolation --no-deps --force-reinstall .

FROM build AS build-worker-gpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt torch
COPY pyproject.toml README.md LICENSE NOTICE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-build-isolation '.[worker,otel]'
COPY . .
RUN pip install --no-cache-dir --no-build-isolation --no-deps --force-reinstall .

# Volumes take over the owner of the folder that they cover: these exist so that an unprivileged process can write.
# hadolint ignore=DL3006
FROM ${BASE} AS base
ARG VERSION=dev
LABEL org.opencontainers.image.title=MiniRec \
      org.opencontainers.image.description="Data selection for reinforcement-learned LLM recommenders" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=${VERSION}
RUN groupadd --gid 10001 minirec \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/minirec --no-create-home minirec \
    && install -d -o 10001 -g 10001 /var/lib/minirec /var/lib/minirec/blobs /var/lib/minirec/hub /var/lib/minirec/spool \
               /var/lib/minirec/scratch
ENV PATH=/opt/minirec/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/minirec
USER 10001:10001

FROM base AS api
COPY --from=build-api /opt/minirec /opt/minirec
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
CMD ["uvicorn", "minirec.service.app:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "5", "--http", "minirec.service.protocol:ImpatientProtocol"]

# The worker's event loop touches the heartbeat file every few seconds, also while its child computes.
FROM base AS worker
COPY --from=build-worker /opt/minirec /opt/minirec
ENV MINIREC_HEARTBEAT_FILE=/tmp/alive
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["sh", "-c", "test -n \"$(find \"$MINIREC_HEARTBEAT_FILE\" -mmin -1)\""]
CMD ["celery", "-A", "minirec.worker.app", "worker", "-Q", "gpu,train", "-c", "1", "-n", "gpu@%h"]

FROM base AS worker-gpu
COPY --from=build-worker-gpu /opt/minirec /opt/minirec
ENV MINIREC_HEARTBEAT_FILE=/tmp/alive NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["sh", "-c", "test -n \"$(find \"$MINIREC_HEARTBEAT_FILE\" -mmin -1)\""]
CMD ["celery", "-A", "minirec.worker.app", "worker", "-Q", "gpu,train", "-c", "1", "-n", "gpu@%h"]
