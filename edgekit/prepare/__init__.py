"""From a published model file to edgekit's normal form, its frames and its float reference."""
