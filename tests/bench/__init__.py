"""Benchmarks: the engine beside its peers, in one run, on one broker, each result checked.

`python -m tests.bench NAME` (or `gridwatch bench NAME`). A contender is a process of its own
under `contenders/`; peers whose pins conflict with ours live in environments of their own,
built from the locked lists under `peers/`.
"""
