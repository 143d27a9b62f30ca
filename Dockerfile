# Built from the repository's root: docker build .

FROM node:22-slim AS client
WORKDIR /client
COPY client_web/package.json client_web/package-lock.json ./
RUN npm install --no-save
COPY client_web ./
RUN npm run build

FROM python:3.12-slim AS packages
# torch and torchvision must come from one index: name another for both, such as the CPU-only one, in TORCH_INDEX.
ARG TORCH_INDEX=
RUN python -m venv /opt/hime
ENV PATH=/opt/hime/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY docker/constraints.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --index-url "$TORCH_INDEX" --no-deps --constraint constraints.txt torch torchvision; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY hime_core hime_core
COPY server server
RUN pip install --constraint constraints.txt .

FROM python:3.12-slim
# What OpenCV's wheel links to.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home hime && install -d -m 0700 -o hime -g hime /data
COPY --from=packages /opt/hime /opt/hime
COPY --from=client /client/dist /srv/client
ENV PATH=/opt/hime/bin:$PATH PYTHONUNBUFFERED=1 \
    HIME_HOST=0.0.0.0 HIME_PORT=8080 HIME_DATA=/data HIME_CLIENT=/srv/client
USER hime
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['HIME_PORT']}/healthz\", timeout=2)"]
ENTRYPOINT ["hime"]
CMD ["serve"]
