# API and keeper: no torch, no OpenCV, about 300 MB. Build from the repository's root:
#   docker build -f deploy/api.Dockerfile -t photomend-api .
# With a bill of materials and the build's provenance attached, for a registry (docker scout or syft read them):
#   docker buildx build --sbom=true --provenance=mode=max -f deploy/api.Dockerfile -t REGISTRY/photomend-api --push .
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm@sha256:593bd06efe90efa80dc4eee3948be7c0fde4134606dd40d8dd8dbcade98e669c
FROM ${PYTHON_IMAGE} AS base

FROM base AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY deploy/requirements deploy/requirements
# The build's own tools stay behind in this stage. Everything that goes on is checked by hash.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: --no-deps -r deploy/requirements/build.txt \
 && python -m venv /opt/photomend \
 && /opt/photomend/bin/pip install --require-hashes --only-binary :all: --no-deps -r deploy/requirements/api.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY photomend photomend
COPY api api
COPY jobs jobs
COPY worker worker
COPY pipeline pipeline
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index -w /dist . \
 && /opt/photomend/bin/pip install --no-deps --no-index /dist/*.whl

FROM base
RUN useradd --system --uid 10001 --no-create-home photomend
COPY --from=build /opt/photomend /opt/photomend
ENV PATH=/opt/photomend/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /
EXPOSE 8080
STOPSIGNAL SIGTERM
# Of the API; a keeper listens nowhere, and whoever runs one switches this off.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/livez', timeout=3)"]
CMD ["photomend", "api", "--host", "0.0.0.0"]
