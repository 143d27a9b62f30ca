#!/bin/sh
# Makes what is missing of the secrets that compose.yaml hands to its services, each readable for its service alone.
# Run as root, in the folder of compose.yaml; what is there stays as it is.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

random() { # 256 bits in URL-safe base64, as the relay's keys are written
    head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'
}
keep() { # FILE UID: takes the content from standard input
    cat > "secrets/$1.new"
    chown "$2" "secrets/$1.new"
    chmod 400 "secrets/$1.new"
    mv "secrets/$1.new" "secrets/$1"
    echo "made secrets/$1"
}

[ -s secrets/prometheus-key ] || random | keep prometheus-key 65534 # Prometheus' user
if [ ! -s secrets/api-keys ]; then
    { printf 'admin:%s\n' "$(random)"; printf 'prometheus:%s:observe\n' "$(cat secrets/prometheus-key)"; } |
        keep api-keys 10001 # the relay's user
fi
[ -s secrets/data-key ] || random | keep data-key 10001
[ -s secrets/grafana-password ] || random | keep grafana-password 472 # Grafana's user
if [ -f .env ] && grep -q '^HIME_TURN_SECRET=$' .env; then
    secret="$(random)"
    sed -i "s/^HIME_TURN_SECRET=\$/HIME_TURN_SECRET=$secret/" .env
    echo "made HIME_TURN_SECRET in .env"
fi
