"""Months in files of their own, and what stays of their records."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FORBID = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}{when}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
UNLESS_ARCHIVED = {
    "usage_records": "WHEN NOT EXISTS (SELECT 1 FROM archived WHERE record_id = OLD.record_id)",
    "charges": """WHEN NOT EXISTS (
  SELECT 1 FROM usage_records AS r JOIN archived AS a ON a.record_id = r.record_id WHERE r.seq = OLD.record_seq
)""",
}
REFERENCE = "FOREIGN KEY(corrects) REFERENCES usage_records (record_id)"


def upgrade() -> None:
    """Add the tables, and let what is archived go."""
    op.create_table(
        "archives",
        sa.Column("month", sa.Text, primary_key=True),
        sa.Column("archive_id", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("copy_until", "until_seq", "records", "cost_nanos")
        ),
        sa.Column("first_at", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "archived",
        sa.Column("record_id", sa.Text, primary_key=True),
        sa.Column("month", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=True),
        sa.Column("once_key", sa.Text, nullable=True),
        sqlite_with_rowid=False,
    )
    keyed = sa.text("once_key IS NOT NULL")
    op.create_index("archived_once", "archived", ["once_key"], unique=True, sqlite_where=keyed, postgresql_where=keyed)
    for verb in ("UPDATE", "DELETE"):
        op.execute(FORBID.format(table="archived", verb=verb, when=""))
    for table, when in UNLESS_ARCHIVED.items():
        op.execute(f"DROP TRIGGER {table}_no_DELETE")
        op.execute(FORBID.format(table=table, verb="DELETE", when="\n" + when))
    _let_corrections_outlive_what_they_correct()


def _let_corrections_outlive_what_they_correct() -> None:
    """
    Drop a foreign key without writing the table anew, which would take minutes and twice the disk.

    By SQLite's own recipe for it: https://www.sqlite.org/lang_altertable.html#otheralter.
    """
    connection = op.get_bind()
    find = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'usage_records'"
    before, reference, after = str(connection.exec_driver_sql(find).scalar_one()).partition(REFERENCE)
    head, comma, space = before.rpartition(",")
    if not reference or not comma or space.strip():
        raise RuntimeError("usage_records is not as the first migrations made it")
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    change = "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'usage_records'"
    connection.exec_driver_sql(change, (head + after,))
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")
    left = connection.exec_driver_sql("PRAGMA foreign_key_list(usage_records)").fetchall()
    if any(row[3] == "corrects" for row in left):
        raise RuntimeError("SQLite does not let its schema be changed here")
