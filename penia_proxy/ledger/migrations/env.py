"""
Run the migrations on the connection that `ledger.file` hands over.

Rule: the caller has begun the transaction and ends it, so that a file has the old schema or the new one, never between.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
