"""Fixtures of the tests of training."""

import pytest

from benchmarks.demo.data import camvid_root as find


@pytest.fixture
def camvid_root():
    """The folder of CamVid; a test that asks for it is marked ``camvid``."""
    root = find()
    if root is None:
        pytest.skip("CamVid is not present (shared/camvid beside the repository, or SCRN_CAMVID)")
    return root
