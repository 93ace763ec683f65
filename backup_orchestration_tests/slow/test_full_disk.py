"""A full disk, in the source's staging, the lab and the store."""

import pytest
from full_disks import CASES, look

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("restic")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_full_disk(case, proven, tmp_path, dagster_home, matrix):
    look(case, proven, tmp_path, dagster_home, matrix)
