"""Readers of tables, whose columns have names and are decoded by pyarrow: Parquet, Arrow, text."""
