"""The store's schema, version by version (Alembic), and the step from any to the newest."""
