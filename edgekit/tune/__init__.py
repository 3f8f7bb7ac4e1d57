"""Budgeted search over what can be turned."""
