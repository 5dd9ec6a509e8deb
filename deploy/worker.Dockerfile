# Worker. Build from the repository's root, for GPUs (driver 580 or later) or, far smaller, for machines without:
#   docker build -f deploy/worker.Dockerfile -t photomend-worker .
#   docker build -f deploy/worker.Dockerfile -t photomend-worker-cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
# With a bill of materials and the build's provenance attached, for a registry (docker scout or syft read them):
#   docker buildx build --sbom=true --provenance=mode=max -f deploy/worker.Dockerfile -t REGISTRY/photomend-worker --push .
# CUDA as torch's wheels bring it (13.0); the base adds what tells the container runtime which driver that needs.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04@sha256:2ab6381d970b211fb93853796dc6707eb8a72575a375c422b17cf4d8b2641701
FROM ${CUDA_IMAGE} AS base
# What opencv-python expects of the system, and who waits for decoders whose parent was killed.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
    libgl1 libglib2.0-0t64 libsm6 libxcb1 libxext6 python3.12 tini \
 && rm -rf /var/lib/apt/lists/*

FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3.12-venv \
 && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt ./
COPY deploy/requirements deploy/requirements
# torch for the CPU has another index, whose files PyPI knows no hashes of: its version is pinned, its hash is not.
ARG TORCH_INDEX=
RUN python3.12 -m venv /opt/photomend \
 && if [ -n "$TORCH_INDEX" ]; then \
      /opt/photomend/bin/pip install --no-deps --index-url "$TORCH_INDEX" \
        "$(grep '^torch==' constraints.txt)" "$(grep '^torchvision==' constraints.txt)"; \
    else \
      /opt/photomend/bin/pip install --require-hashes --only-binary :all: --no-deps \
        -r deploy/requirements/torch-cuda.txt; \
    fi
# Two of these come as sources and are built here, by nothing but what build.txt has.
RUN python3.12 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: --no-deps -r deploy/requirements/build.txt \
 && /opt/build/bin/pip wheel --require-hashes --no-deps --no-build-isolation --use-pep517 -w /dist \
      -r deploy/requirements/worker.txt \
 && /opt/photomend/bin/pip install --no-deps --no-index /dist/*.whl \
 && rm -r /dist
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY photomend photomend
COPY api api
COPY jobs jobs
COPY worker worker
COPY pipeline pipeline
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index -w /dist . \
 && /opt/photomend/bin/pip install --no-deps --no-index /dist/*.whl

FROM base
# All that a worker writes: exported networks and measurements, and scratch, which must be a disk. Volumes in their
# places take over this owner, so that the rest can be read-only.
RUN useradd --system --uid 10001 --home-dir /cache photomend \
 && mkdir /weights /cache /scratch \
 && chown photomend /weights /cache /scratch
COPY --from=build /opt/photomend /opt/photomend
ENV PATH=/opt/photomend/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    PHOTOMEND_WEIGHTS_DIR=/weights PHOTOMEND_CACHE_DIR=/cache TMPDIR=/scratch \
    HOME=/cache NUMBA_CACHE_DIR=/cache/numba MPLCONFIGDIR=/cache/matplotlib \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
WORKDIR /cache
VOLUME ["/weights", "/cache", "/scratch"]
# SIGTERM drains: what fits into PHOTOMEND_DRAIN_S is finished, the rest goes back uncharged. Allow a little more.
STOPSIGNAL SIGTERM
# A process that takes jobs lives; the supervisor starts those that died again, later and later.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["/bin/sh", "-c", "grep -qsxz 'cel[e]ry' /proc/[0-9]*/cmdline"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["photomend", "worker"]
