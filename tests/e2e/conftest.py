import pytest

from tests.e2e.workplace import Workplace


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which one run of the smoke profile has gone through; tests go on from it."""
    place = Workplace(tmp_path_factory.mktemp("smoke"))
    place.first = place.run()
    return place
