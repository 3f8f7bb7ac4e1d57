"""One isolated, hash-locked environment per engine, and what is built and fetched with it."""
