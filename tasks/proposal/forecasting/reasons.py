"""What was guessed of a table and why, in lines for people."""

from collections.abc import Iterator

from tasks.proposal.forecasting.seen import Seen


def reasons_of(seen: Seen) -> list[str]:
    """A line each for time, series, target, lengths, covariates, and whatever may surprise."""
    time, roles, plan, ours, as_of = seen.time, seen.roles, seen.plan, seen.ours, seen.as_of
    steps, series = seen.steps, seen.series
    lengths, noun = plan.lengths, time.step.noun
    first = time.axis.value(0)
    said = [
        f"time: {', '.join(seen.times)}, in steps of {time.step.name} ({noun}s); {steps:,} of them, {first} to {as_of}",
        f"series: {series:,} by {', '.join(roles.series)} (change: --series)" if roles.series else "series: one",
        f"target: {roles.target}, {roles.why_target} (change: --target)",
        f"horizon {lengths.horizon}, season {lengths.season}, {plan.windows:,} windows to train on "
        "(change: --horizon, --season)",
    ]
    if seen.least < 0:
        said.append(f"{roles.target} has values below 0: positive: false, normalise: standard, metric: mae")
    elif seen.often_zero:
        said.append(f"{roles.target} is often 0: normalise: scale, in multiples of a series' mean")
        if seen.mostly_zero:
            said.append(
                f"{roles.target} is 0 in most rows, so that its median tells nothing: metric: wql, of all quantiles"
            )
    else:
        said.append(
            f"{roles.target} is hardly ever 0: normalise: standard, so that a gap is read as the mean, not as 0"
        )
    for known_as, words in (("ahead", "known ahead"), ("past", "known of the past alone")):
        columns = [
            column
            for column in (*roles.covariates, *roles.categories)
            if seen.is_ahead(column) == (known_as == "ahead")
        ]
        if columns:
            until = "over the horizon" if known_as == "ahead" else f"by less than {lengths.horizon} {noun}s, if at all"
            said.append(f"{words}: {', '.join(columns)} (values go on after the last {roles.target} {until})")
    if fixed := [column for column in (*roles.static, *roles.numbers) if column not in roles.series]:
        said.append(f"fixed by series: {', '.join(fixed)}")
    said += [f"left out: {column} ({why})" for column, why in roles.left_out.items()]
    if changed := [f"{theirs} is {mine}" for theirs, mine in ours.items() if mine not in (theirs, "date", "units")]:
        said.append(f"renamed, as the name is taken or is no word: {', '.join(changed)}")
    if time.unread:
        said.append(f"beware: {time.unread} rows have no readable {time.column}; validation will refuse them")
    said += seen.look.said(time.column)
    return [*said, *_left_out(seen)]


def _left_out(seen: Seen) -> Iterator[str]:
    """Yield a line for rows without a target, and for those that are there twice."""
    target, same = seen.roles.target, " and ".join((seen.time.column, *seen.roles.series))
    if seen.observed:
        yield f"left out: {seen.lost:,} rows without {target}, as gaps (source.shape.observed)"
    elif seen.lost:
        yield f"beware: {seen.lost:,} rows before the last {target} have none, which validation refuses; drop them"
    if seen.repeated:
        count = f"{seen.repeated:,} of {seen.look.rows.height:,} rows"
        yield f"beware: {count} have the {same} of another: the first stays (source.shape.distinct)"


def comments_of(seen: Seen) -> dict[str, str]:
    """Dotted fields of the section -> what to write behind them."""
    return {
        "schedule": "every day at 5; write another cron expression",
        "timezone": "of the schedule, of moments and of holidays",
        "source.until_as_of": "the file holds later days too",
        "problem.horizon": f"{seen.time.step.noun}s ahead",
        "problem.series": "columns that together name a series" if seen.roles.series else "one series",
        "problem.season": "steps until it repeats",
        "problem.naive": "what no forecast may be worse than: the last value, here better than the last season",
        "gates.accuracy": "limit: twice the error of repeating the last season, or the last value if that is better",
    }
