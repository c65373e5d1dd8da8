"""Sessions on disk: SQLAlchemy models, migrations, repositories."""
