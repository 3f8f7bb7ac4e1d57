"""Use cases: the only place where the rooms meet. Nothing here prints or exits."""
