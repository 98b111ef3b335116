"""A night on CIFAR-10, or any table of images with its classes: `python -m bench.images cifar10.parquet --out DIR`.

The table has a label and a JPEG or PNG file a row. The stages run as they do at night, up to the verdict; it prints of
each model the test error, bytes, weights and the time of a call with one image and with 64, what compression took for
what, and the processor's minutes, and keeps them as record.json in the folder. `--images` and `--epochs` make a short
trial of it, which the record says.
"""

from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from bench.files import write
from bench.images.record import measured
from bench.images.table import tables
from bench.log import say
from bench.rows.nights import night_of_section
from tasks.config.workload import Workload
from tasks.core.documents import read_mapping
from tasks.core.errors import UsageError

SETTINGS = Path(__file__).with_name("settings.yaml")


def section_of(
    name: str, data: Path, images: int | None, epochs: int | None, seed: int, folder: Path
) -> dict[str, Any]:
    """Write the night's table into `folder`, the first `images` of each class alike, and return the section.

    Raises UsageError on a name without settings.
    """
    sections = read_mapping(SETTINGS.read_text(), str(SETTINGS))["workloads"]
    if name not in sections:
        raise UsageError(f"--set {name}: {SETTINGS} has no such workload; there are: {', '.join(sections)}")
    table = pl.read_parquet(data)
    (label,) = [name for name, dtype in table.schema.items() if dtype != pl.Binary]
    (image,) = [name for name, dtype in table.schema.items() if dtype == pl.Binary]
    rows = table.select(pl.col(label).cast(pl.String).alias("label"), pl.col(image).alias("image"))
    if images is not None:
        rows = rows.filter(pl.int_range(pl.len()).over("label") < images // rows["label"].n_unique())
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / "labels.parquet")
    section = Workload.model_validate(sections[name]).model_dump(mode="json")
    section["source"]["path"] = str((folder / "labels.parquet").resolve())
    section["seed"] = seed
    for part in ("teachers", "students"):
        for model in section[part].values():
            if epochs is not None:
                model["training"]["epochs"] = epochs
    return section


def main(
    data: Annotated[Path, typer.Argument(help="Parquet file with a label and an image file a row.")],
    out: Annotated[Path, typer.Option(help="Folder of the night, which goes on where it ended.")],
    name: Annotated[str, typer.Option("--set", help="Whose settings, of bench/images/settings.yaml.")] = "cifar10",
    images: Annotated[int | None, typer.Option(help="So many of the table's images; default: all.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each training; default: those of the settings.")] = None,
    seed: Annotated[int, typer.Option()] = 7,
) -> None:
    """Run the night, print its tables and keep its record."""
    say()
    night = night_of_section(name, section_of(name, data, images, epochs, seed, out), out)
    record = {"set": name, "images": images, "epochs": epochs, **measured(night)}
    write(out / "record.json", record)
    print("\n\n".join(tables(record)))


if __name__ == "__main__":
    typer.run(main)
