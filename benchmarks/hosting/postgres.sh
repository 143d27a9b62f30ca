# What the official image's entry point does on the first start, as far as docker/compose.yaml uses it.
set -e
if [ "$(id -u)" = 0 ]; then
    chmod 03775 /run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --clear-groups sh "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --encoding=UTF8 --locale=C.UTF-8 --auth-local="$POSTGRES_HOST_AUTH_METHOD" --auth-host=reject > /dev/null
    pg_ctl -w start -o "-c listen_addresses=''" > /dev/null
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -w stop > /dev/null
fi
exec "$@"
