"""Run by Alembic, in the transaction that server/exemplars/database.py has begun."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
