# Worker. torch's wheels bring their own CUDA libraries, so the base needs none; run it with the NVIDIA runtime for GPUs.
# Build from the repository's root; for machines without a GPU, name torch's CPU index and the image is far smaller:
#   docker build -f deploy/worker.Dockerfile -t photomend-worker .
#   docker build -f deploy/worker.Dockerfile -t photomend-worker --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
FROM python:3.12-slim-bookworm

# What opencv-python expects of the system.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libxcb1 libsm6 libxext6 \
 && rm -rf /var/lib/apt/lists/*

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
ARG TORCH_INDEX=
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
    "$(grep '^torch==' constraints.txt)" "$(grep '^torchvision==' constraints.txt)"
# These two come as sources. Without the flags pip builds basicsr beside a second torch of its own choice.
RUN pip install 'setuptools>=77' \
 && pip install --no-build-isolation --use-pep517 --no-deps -c constraints.txt basicsr filterpy
COPY photomend photomend
COPY api api
COPY jobs jobs
COPY worker worker
COPY pipeline pipeline
RUN pip install -c constraints.txt '.[worker]' && rm -rf /src/*

# facexlib and numba want to write caches somewhere.
RUN useradd --system --uid 10001 --create-home photomend && mkdir /weights && chown photomend /weights
USER photomend
WORKDIR /home/photomend
ENV PHOTOMEND_WEIGHTS_DIR=/weights
VOLUME /weights
# SIGTERM drains: what fits into PHOTOMEND_DRAIN_S is finished, the rest goes back uncharged. Allow a little more.
STOPSIGNAL SIGTERM
CMD ["photomend", "worker"]
