"""What every test file may use."""

from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: two shared cores make timing meaningless. The same examples in every run.
settings.register_profile("diascope", deadline=None, derandomize=True, database=None)
settings.load_profile("diascope")

REPO_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout's root folder."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The read-only folder of documents and photographs beside the project."""
    folder = REPO_ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no shared/ folder beside the project")
    return folder
