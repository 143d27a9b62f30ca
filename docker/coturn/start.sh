#!/bin/sh
# Starts coturn with Caddy's certificate, and has it read the certificate again when Caddy has renewed it.
set -eu

certificate() { # of Let's Encrypt or Caddy's own CA, whichever is there
    find /certificates/caddy/certificates -path "*/$HIME_SITE/$HIME_SITE.crt" 2> /dev/null | head -n 1
}

waited=0
until crt="$(certificate)" && [ -n "$crt" ] && [ -s "${crt%.crt}.key" ]; do
    [ "$waited" -lt 120 ] || { echo "Caddy has no certificate for $HIME_SITE" >&2; exit 1; }
    waited=$((waited + 1))
    sleep 1
done

umask 077
{
    cat /etc/coturn/turnserver.conf
    echo "realm=$HIME_SITE"
    echo "static-auth-secret=$HIME_TURN_SECRET"
    echo "relay-ip=${HIME_LOCAL_ADDRESS:-$HIME_ADDRESS}"
    echo "allowed-peer-ip=$HIME_ADDRESS"
    [ -z "$HIME_LOCAL_ADDRESS" ] || echo "allowed-peer-ip=$HIME_LOCAL_ADDRESS"
    echo "cert=$crt"
    echo "pkey=${crt%.crt}.key"
} > /tmp/turnserver.conf

known="$(stat -c %Y "$crt")"
while sleep 60; do
    now="$(stat -c %Y "$crt" 2> /dev/null || echo "$known")"
    [ "$now" = "$known" ] || kill -USR2 $$ || true
    known="$now"
done &
exec turnserver -c /tmp/turnserver.conf
