"""The test of the tests: small mistakes are planted in the kernels' sources, one at a time, and the
suite must fail for each.

``python -m tests.planted_bugs`` plants every one of them and goes on where it was interrupted;
``--report`` writes the table of the docs. A suite (`suites`) says which sources, which mistakes
and which tests belong together; `engine` plants, runs and reports, and knows none of them.
"""
