"""The audit database: everything a data team asks about in one DuckDB file, as tables, views and macros that say what they hold."""
