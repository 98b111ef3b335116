"""What stages' containers are given of the environment."""

import pytest

from tasks.core.errors import ConfigError
from tasks.pipeline.handover.surroundings import SECRETS, SHARED, plain_variables

GIVEN = {name: f"{schemes[0]}://somewhere" for name, schemes in SHARED.items()}


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"),
        ("OPENLINEAGE_URL", "OPENLINEAGE_API_KEY"),
    ],
)
def test_an_address_with_a_password_is_passed_to_nobody(name: str, instead: str) -> None:
    assert plain_variables({**GIVEN, name: "http://there:4318"})[name] == "http://there:4318"
    with pytest.raises(ConfigError, match=f"{name}: names a user, .* set {instead}") as found:
        plain_variables({**GIVEN, name: "http://user:planted-secret@there:4318"})
    assert "planted-secret" not in str(found.value)
    assert instead in SECRETS


def test_what_is_said_of_lineage_is_passed_on_and_a_name_may_have_an_at_sign() -> None:
    told = {"OPENLINEAGE_NAMESPACE": "sales@night", "OPENLINEAGE_DISABLED": "true"}
    assert told.items() <= plain_variables({**GIVEN, **told}).items()
