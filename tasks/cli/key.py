"""`nightstill release keygen` and `nightstill release sign` handle the keys that releases are signed with."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.core.errors import ConfigError
from tasks.core.settings import Settings


def keygen(
    out: Annotated[Path, typer.Option(help="Folder for the two files; made if it is not there.")],
) -> None:
    """Make a pair of keys: one that signs releases, kept secret, and one that consumers trust."""
    from tasks.releases.signing import generate

    private, public, identity = generate(out)
    typer.echo(f"key {identity}\n{private}: for promotions, NIGHTSTILL_SIGNING_KEY; keep it secret")
    typer.echo(f"{public}: for consumers, NIGHTSTILL_TRUSTED_KEYS; append it to the keys that they trust already")


def sign(
    workload: Annotated[str, typer.Argument(help="A section of params.yaml or workloads/.")],
    number: Annotated[int, typer.Argument(help="The release's number.")],
) -> None:
    """Sign an existing release, after checking its digests: an unsigned one, or one signed by an older key."""
    from tasks.releases import signing
    from tasks.releases.store import ReleaseStore

    settings = Settings()
    keys = signing.load_keys(settings.signing_key, settings.trusted_keys)
    if keys.private is None:
        raise ConfigError("NIGHTSTILL_SIGNING_KEY is not set: name the private key that `release keygen` made")
    releases = ReleaseStore(settings.releases(), workload)  # an older signature need not hold
    entry = releases.release(number)
    releases.verify(entry)
    releases.sign(entry, keys)
    typer.echo(f"{workload}: release {number} is signed by key {signing.identity(keys.private.public_key())}")
