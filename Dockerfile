# syntax=docker/dockerfile:1
# Three images from one file: `api` (service and janitor, no torch), `worker` (torch for CPU) and `worker-gpu` (CUDA).
#     docker build --target api .
ARG PYTHON=3.11-slim-trixie

FROM python:${PYTHON} AS build
ENV PATH=/opt/minirec/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/minirec && pip install -c constraints.txt setuptools

FROM build AS build-api
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-build-isolation '.[service]'

# torch has a layer of its own, before the sources, so that a change of ours does not install it again.
FROM build AS build-worker
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-deps --extra-index-url "${TORCH_INDEX}" torch
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-build-isolation '.[worker]'

FROM build AS build-worker-gpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt torch
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt --no-build-isolation '.[worker]'

# Volumes take over the owner of the folder that they cover: these exist so that an unprivileged process can write.
FROM python:${PYTHON} AS base
RUN groupadd --gid 10001 minirec \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/minirec --no-create-home minirec \
    && install -d -o 10001 -g 10001 /var/lib/minirec /var/lib/minirec/blobs /var/lib/minirec/hub /var/lib/minirec/spool
ENV PATH=/opt/minirec/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/minirec
USER 10001:10001

FROM base AS api
COPY --from=build-api /opt/minirec /opt/minirec
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
CMD ["uvicorn", "service.app:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "5"]

# The worker's event loop touches the heartbeat file every few seconds, also while its child computes.
FROM base AS worker
COPY --from=build-worker /opt/minirec /opt/minirec
ENV MINIREC_HEARTBEAT_FILE=/tmp/alive
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["sh", "-c", "test -n \"$(find \"$MINIREC_HEARTBEAT_FILE\" -mmin -1)\""]
CMD ["celery", "-A", "worker.app", "worker", "-Q", "gpu,train", "-c", "1", "-n", "gpu@%h"]

FROM base AS worker-gpu
COPY --from=build-worker-gpu /opt/minirec /opt/minirec
ENV MINIREC_HEARTBEAT_FILE=/tmp/alive NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["sh", "-c", "test -n \"$(find \"$MINIREC_HEARTBEAT_FILE\" -mmin -1)\""]
CMD ["celery", "-A", "worker.app", "worker", "-Q", "gpu,train", "-c", "1", "-n", "gpu@%h"]
