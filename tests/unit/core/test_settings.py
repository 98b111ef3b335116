"""Where an installation may lie."""

import pytest

from tasks.core.errors import ConfigError
from tasks.core.settings import Settings


@pytest.mark.parametrize("sign", ["#", ",", "%", "?", '"', "'", "\n", "\x1b"])
@pytest.mark.parametrize("setting", ["HOME", "DVC_REMOTE"])
def test_a_place_that_others_would_read_otherwise_is_refused(
    sign: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"NIGHTSTILL_{setting}", f"/data/a{sign}b")
    with pytest.raises(ConfigError, match=rf"^NIGHTSTILL_{setting}=.*: holds .*; name another folder$") as caught:
        Settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["/data/night still", "/data/näch-te_1.2", "s3://bucket/prefix"])
def test_other_places_are_taken(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_DVC_REMOTE", place)
    assert Settings().dvc_remote == place
