# API and keeper: no torch, no OpenCV, about 200 MB. Build from the repository's root:
#   docker build -f deploy/api.Dockerfile -t photomend-api .
FROM python:3.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY photomend photomend
COPY api api
COPY jobs jobs
COPY worker worker
COPY pipeline pipeline
RUN pip install -c constraints.txt '.[api]' && rm -rf /src/*

RUN useradd --system --uid 10001 --no-create-home photomend
USER photomend
WORKDIR /
EXPOSE 8080
CMD ["photomend", "api", "--host", "0.0.0.0"]
