"""Results as files and as tables. Pure of any terminal."""
