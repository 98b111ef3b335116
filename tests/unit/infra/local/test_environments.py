"""Environments: what is done beside their making."""

from infra.local import environments


def test_the_libraries_that_are_compiled_meanwhile_are_imported_by_a_statement() -> None:
    compile(environments.warming(), "warming", "exec")
    assert environments.warming().startswith("import dvc.repo, ")
