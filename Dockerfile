# syntax=docker/dockerfile:1
# Built from the repository's root: docker build . (PyPI's torch, with CUDA), or, without CUDA and far smaller:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .

FROM node:22-bookworm-slim AS client
WORKDIR /client
COPY client_web/package.json client_web/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm install --no-save --no-audit --no-fund
COPY client_web ./
RUN npm run build

FROM python:3.12-slim-bookworm AS packages
# torch and torchvision must come from one index: PyPI where none is named.
ARG TORCH_INDEX=
# Of pyproject.toml: postgres,s3,cluster for one node of several machines.
ARG EXTRAS=postgres
RUN python -m venv /opt/hime
ENV PATH=/opt/hime/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY docker/constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -n "$TORCH_INDEX" ]; then \
      pip install --index-url "$TORCH_INDEX" --no-deps --constraint constraints.txt torch torchvision; \
    fi
# The dependencies without the code, so that a change in it does not install them anew.
COPY pyproject.toml README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir hime_core server && pip install --constraint constraints.txt ".[$EXTRAS]"
# The same OpenCV without windows needs no Qt, X11 and OpenGL; PyTorch's own tests and headers are for its developers.
# hadolint ignore=SC2046
RUN --mount=type=cache,target=/root/.cache/pip \
    pip uninstall --yes opencv-python && \
    pip install --no-deps $(sed -n 's/^opencv-python==/opencv-python-headless==/p' constraints.txt) && \
    torch="$(python -c 'import torch; print(torch.__path__[0])')" && \
    rm -rf "$torch/include" "$torch/test" && find "$torch/bin" -type f ! -name torch_shm_manager -delete
COPY hime_core hime_core
COPY server server
RUN pip install --no-cache-dir --no-deps --force-reinstall . && pip uninstall --yes pip

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --create-home hime && install -d -m 0700 -o hime -g hime /data
COPY --from=packages /opt/hime /opt/hime
COPY --from=client /client/dist /srv/client
ENV PATH=/opt/hime/bin:$PATH PYTHONUNBUFFERED=1 \
    HIME_HOST=0.0.0.0 HIME_PORT=8080 HIME_DATA=/data HIME_CLIENT=/srv/client
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
# On the address that the relay listens on; one that listens on all of them is asked on loopback.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; h = os.environ['HIME_HOST'].replace('0.0.0.0', '127.0.0.1'); u.urlopen(f\"http://{h}:{os.environ['HIME_PORT']}/healthz\", timeout=2)"]
ENTRYPOINT ["hime"]
CMD ["serve"]
