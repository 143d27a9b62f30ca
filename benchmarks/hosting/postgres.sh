# What the official image's entry point does on the first start, as far as docker/compose.yaml uses it.
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --auth-local="$POSTGRES_HOST_AUTH_METHOD" --auth-host=reject > /dev/null
    pg_ctl -w start -o "-c listen_addresses=''" > /dev/null
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -w stop > /dev/null
fi
exec "$@"
