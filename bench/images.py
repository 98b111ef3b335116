"""A night on CIFAR-10, or any table of images with its classes: `python -m bench.images cifar10.parquet --out DIR`.

The table has a label and a JPEG or PNG file a row. The stages run as they do at night, up to the verdict; of each model
it prints the test error, bytes, weights and the time of a call with one image and with 64, and in all the processor's
minutes. `--images` and `--epochs` make a short trial of it, which the printed line says.
"""

import logging
import time
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from bench.rows.nights import Night, night_of_section
from tasks.config.workload import load_workload
from tasks.core.files import read_json

SETTINGS = Path(__file__).with_suffix(".yaml")
WORKLOAD = "cifar10"
HEAD = "| model | error rate | log loss | bytes | weights | p50 of 1 image, µs | p50 of 64, µs |\n" + "|---" * 7 + "|"
BATCHES = (1, 64)


def section_of(data: Path, images: int | None, epochs: int | None, seed: int, folder: Path) -> dict[str, Any]:
    """Write the night's table into `folder`, the first `images` of each class alike, and return the section."""
    table = pl.read_parquet(data)
    (label,) = [name for name, dtype in table.schema.items() if dtype != pl.Binary]
    (image,) = [name for name, dtype in table.schema.items() if dtype == pl.Binary]
    rows = table.select(pl.col(label).cast(pl.String).alias("label"), pl.col(image).alias("image"))
    if images is not None:
        rows = rows.filter(pl.int_range(pl.len()).over("label") < images // rows["label"].n_unique())
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / "labels.parquet")
    section = load_workload(SETTINGS, WORKLOAD).model_dump(mode="json")
    section["source"]["path"] = str((folder / "labels.parquet").resolve())
    section["seed"] = seed
    for part in ("teachers", "students"):
        for model in section[part].values():
            if epochs is not None:
                model["training"]["epochs"] = epochs
    return section


def times(night: Night, model: Path) -> list[float]:
    """Return the median microseconds of a call with one image, and with 64."""
    from tasks.compression.timing import measure

    dataset = night.dataset()
    inputs = dataset.inputs(dataset.splits["test"][: max(BATCHES)])
    found = [measure(model.read_bytes(), inputs, batch=batch, threads=1, rounds=10, least=1) for batch in BATCHES]
    return [float(each.to_json()["p50_us"]) for each in found]


def main(
    data: Annotated[Path, typer.Argument(help="Parquet file with a label and an image file a row.")],
    out: Annotated[Path, typer.Option(help="Folder of the night, which goes on where it ended.")],
    images: Annotated[int | None, typer.Option(help="So many of the table's images; default: all.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each training; default: those of bench/images.yaml.")] = None,
    seed: Annotated[int, typer.Option()] = 7,
) -> None:
    """Run the night, and print a line a model."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    began = time.process_time()
    night = night_of_section(WORKLOAD, section_of(data, images, epochs, seed, out), out)
    verdict = night.judge()
    minutes = (time.process_time() - began) / 60
    artifacts = night.context.artifacts
    files = {name: artifacts / "teachers" / name / "teacher.onnx" for name in night.context.run.teachers}
    files |= {name: artifacts / "students" / name / "student.onnx" for name in night.context.run.students}
    files |= {name: artifacts / "candidates" / name / "model.onnx" for name in night.context.run.recipes}
    lines = [HEAD]
    for model in verdict["models"]:
        name = next(iter(night.context.run.teachers)) if model["role"] == "teacher" else model["name"]
        measured = times(night, files[name]) if name in files else []
        numbers = [model["error"], model["metrics"].get("log_loss")]
        cells = [f"{value:.4f}" for value in numbers] + [
            "" if value is None else f"{value:,.0f}" for value in (model.get("bytes"), model.get("parameters"))
        ]
        cells += [f"{value:,.0f}" for value in measured] or ["", ""]
        lines.append("| " + " | ".join([f"{model['role']} {model['name']}", *cells]) + " |")
    about = read_json(artifacts / "snapshot" / "about.json")["tables"]["labels"]
    lines.append(
        f"{about['rows']:,} images, {epochs or 'all'} epochs, seed {seed}: {verdict['verdict']} {verdict['winner']}; "
        f"{minutes:.1f} minutes of a processor"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
