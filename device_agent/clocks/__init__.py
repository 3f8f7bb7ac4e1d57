"""Clocks pinned for a run, under a lease that undoes it whatever becomes of host, link and agent.

``domains`` finds what has a clock, ``plan`` says what would be written, ``undo`` puts back what
was; ``journal`` holds the former values on the disk and keeps others out; ``guardian`` is the
process that writes, waits and restores; ``lease`` is the agent's hold on it; ``verbs`` are what a
host may ask. What is restored when, and why so, is told in ``docs/clocks.md``.
"""
