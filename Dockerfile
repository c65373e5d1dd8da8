# syntax=docker/dockerfile:1
# docker build --target cpu .    or    docker build --target cuda .        docs/hosting.md has the rest.
ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm
# Its CUDA has to be the one that the pinned torch was built for; the build says so where it is not.
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu24.04

# What both images hold of this repository, and nothing else of it.
FROM scratch AS app
COPY app.py requirements.txt README.md LICENSE /app/
COPY fixmap /app/fixmap
COPY assets /app/assets
COPY wfgy_triage /app/wfgy_triage

FROM ${PYTHON_IMAGE} AS cpu
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Where pip finds a CPU build of torch; without it the CUDA build comes, which is gigabytes larger.
ARG PIP_EXTRA_INDEX_URL=""
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m venv /opt/venv && pip install --requirement /tmp/requirements.txt
COPY --from=app /app /app
WORKDIR /app
# Gradio writes stubs beside its modules when it is first imported; the user below could not.
RUN python -m compileall -q wfgy_triage && python -c "import gradio" \
    && useradd --system --uid 10001 --home-dir /data triage && mkdir /data && chown triage /data
ENV WFGY_TRIAGE_HOME=/data WFGY_TRIAGE_HOST=0.0.0.0 WFGY_TRIAGE_PORT=7860 WFGY_TRIAGE_LOG=json WFGY_TRIAGE_LOG_FILES=0 \
    GRADIO_TEMP_DIR=/tmp/gradio GRADIO_ANALYTICS_ENABLED=False
USER 10001
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["python", "app.py"]

# exllamav2 compiles its kernels when it is first imported, so this image has the compilers.
FROM ${CUDA_IMAGE} AS cuda
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv build-essential ninja-build \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m venv /opt/venv && pip install --requirement /tmp/requirements.txt
RUN built=$(python -c "import torch; print(torch.version.cuda.split('.')[0])") \
    && if [ "$built" != "${CUDA_VERSION%%.*}" ]; then \
    echo "torch was built for CUDA $built, this image has $CUDA_VERSION: choose another CUDA_IMAGE" >&2; exit 1; fi
COPY --from=app /app /app
WORKDIR /app
# Gradio writes stubs beside its modules when it is first imported; the user below could not.
RUN python -m compileall -q wfgy_triage && python -c "import gradio" \
    && useradd --system --uid 10001 --home-dir /data triage && mkdir /data && chown triage /data
ENV WFGY_TRIAGE_HOME=/data WFGY_TRIAGE_HOST=0.0.0.0 WFGY_TRIAGE_PORT=7860 WFGY_TRIAGE_LOG=json WFGY_TRIAGE_LOG_FILES=0 \
    GRADIO_TEMP_DIR=/tmp/gradio GRADIO_ANALYTICS_ENABLED=False
# The compiled kernels go into the volume, so that they are there after the next start.
ENV TORCH_EXTENSIONS_DIR=/data/torch-extensions
USER 10001
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["python", "app.py"]
