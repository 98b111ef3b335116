"""Files as newcomers have them, for which nothing was tuned: daily, hourly and monthly."""

from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl

DAILY_LAST, HOURLY_LAST, MONTHLY_LAST = date(2026, 2, 28), date(2025, 11, 30), date(2025, 12, 31)


def daily(path: Path, first: date = date(2025, 3, 1)) -> Path:
    """Sales of three shops with semicolons and decimal commas; promotions are known for two weeks more."""
    rng = np.random.default_rng(3)
    lines = ["Datum;Filiale;Region;Sales;Aktion;Kunden"]
    for shop, region, level in (("Mitte", "Nord", 120.0), ("Hafen", "Nord", 60.0), ("Alm", "Süd", 200.0)):
        for day in pl.date_range(first, date(2026, 3, 14), "1d", eager=True):
            promoted = int(rng.random() < 0.15)
            sold = level * (1 + 0.3 * (day.weekday() > 3)) * (1 + 0.5 * promoted) * rng.lognormal(0, 0.15)
            known = f"{sold:.2f}".replace(".", ","), int(sold / 7)
            told, guests = known if day <= DAILY_LAST else ("", "")
            lines.append(f"{day};{shop};{region};{told};{promoted};{guests}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def hourly(path: Path) -> Path:
    """Temperatures of two sensors in the time of Berlin, over the clock change of autumn, also below zero."""
    moments = pl.datetime_range(
        datetime(2025, 9, 15), datetime(2025, 11, 30, 23), "1h", eager=True, time_zone="Europe/Berlin"  # noqa: DTZ001
    )  # fmt: skip
    rng, hours = np.random.default_rng(4), np.arange(len(moments))
    frames = [
        pl.DataFrame(
            {
                "timestamp": moments,
                "sensor_id": [sensor] * len(hours),
                "temperature": 2 + 6 * np.sin((hours - 8) * np.pi / 12) + rng.normal(0, 1, len(hours)),
                "humidity": 60 + rng.normal(0, 8, len(hours)),
                "firmware": ["v1"] * len(hours),
            }
        )
        for sensor in (11, 12)
    ]
    pl.concat(frames).write_parquet(path)
    return path


def monthly(path: Path) -> Path:
    """Visitors of one museum by month."""
    rng = np.random.default_rng(5)
    lines = ["month,visitors"]
    for at in range(12 * 11):
        year, month = 2015 + at // 12, at % 12 + 1
        visitors = (900 + 3 * at) * (1 + 0.3 * np.cos(month * np.pi / 6)) * rng.lognormal(0, 0.05)
        lines.append(f"{year}-{month:02d},{int(visitors)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def customers(path: Path, count: int = 1200) -> Path:
    """Customers of whom some leave, by how long they were there and how often they complain; of ten nobody knows."""
    rng = np.random.default_rng(6)
    lines = ["CustomerId,Surname,Plan,Months,Balance,Complaints,Card,Bank,churned"]
    for at in range(count):
        months, complaints = int(rng.integers(1, 72)), int(rng.poisson(1.2))
        plan = ("basic", "plus", "pro")[int(rng.integers(3))]
        balance = "" if at % 9 == 0 else f"{rng.gamma(3, 400):.2f}"
        left = rng.random() < 1 / (1 + np.exp(2.2 + 0.06 * months - 1.4 * complaints - 1.5 * (plan == "basic")))
        told = "" if at < 10 else ("No", "Yes")[int(left)]
        card = ("false", "true")[int(rng.integers(2))]
        lines.append(f"{15_000_000 + 7 * at},S{at * 37 % 911},{plan},{months},{balance},{complaints},{card},1,{told}")
    path.write_text("\n".join(lines) + "\n")
    return path
