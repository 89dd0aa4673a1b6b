"""Rows of a cluster are the local engine's, whatever becomes of its workers."""

import subprocess
import sys

import pytest

from diascope.cli import app
from diascope.errors import ClusterError, MissingExtraError
from diascope.scoring.cluster import _Pool


def test_workers_take_a_core_each_and_share_the_gpus():
    resources = {"CPU": 16.0, "GPU": 2.0}
    assert _Pool.of(resources, "cpu", None) == _Pool(16, 0.0)
    assert _Pool.of(resources, "auto", None) == _Pool(16, 0.125)
    assert _Pool.of(resources, "auto", 3) == _Pool(3, 0.6666)  # three shares fit into two
    assert _Pool.of(resources, "cuda", 1) == _Pool(1, 1.0)  # ray takes no share of 2.0
    assert _Pool.of({"CPU": 4.0}, "auto", None) == _Pool(4, 0.0)
    with pytest.raises(ClusterError, match="no GPU"):
        _Pool.of({"CPU": 4.0}, "cuda", None)
