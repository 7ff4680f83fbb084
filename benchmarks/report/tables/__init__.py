"""The tables of the report, a module for each section that has its own."""
