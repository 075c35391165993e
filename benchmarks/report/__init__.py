"""The report: its fields, tables, warnings, page and plots."""
