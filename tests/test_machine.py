import os
import subprocess
import sys

import pytest

from diascope.machine import available_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_that_are_not_ours_are_not_counted():
    code = (
        "import os; from diascope.machine import available_cores\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(available_cores())"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "1\n"


def test_there_is_one_at_least_and_never_more_than_the_machine_has():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
