"""Values, contracts, errors and events: standard library only, no input or output."""
