"""The shape of a prediction: one row per model, reader, prompt variant and pair."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.files import FileSet, file_set, write_table

COLUMNS = ["model", "reader", "variant", "item", "subgroup_id", "split", "codes", "probabilities", "choice", "outside", "precision"]
NO_ANSWER = -1  # the choice where none could be read: no option has a probability, and all of it is outside


def predictions_frame(
    pairs: pd.DataFrame, probabilities: Sequence[np.ndarray], *, model: str, reader: str, precision: str | None = None
) -> pd.DataFrame:
    """One row per row of `pairs` (item, subgroup_id, split, codes, and variant unless plain).

    `probabilities`: for each pair, those of its options, in the order of its codes; what is missing to 1 is the mass outside the options.
    The choice is the likeliest option, the first of equals; NO_ANSWER where no option has any. `precision`: what the model computed in, null where
    none did here.
    """
    rows = pd.DataFrame({name: pairs[name].to_numpy() for name in ("item", "subgroup_id", "split", "codes")})
    variants = pairs["variant"].to_numpy() if "variant" in pairs else "plain"
    rows = rows.assign(model=model, reader=reader, variant=variants, probabilities=pd.Series(list(probabilities), dtype=object))
    rows["choice"] = [_choice(codes, shares) for codes, shares in zip(rows["codes"], rows["probabilities"], strict=True)]
    rows["outside"] = [float(np.clip(1 - shares.sum(), 0, 1)) for shares in rows["probabilities"]]
    rows["precision"] = pd.Series([precision] * len(rows), index=rows.index, dtype="str")
    return rows[COLUMNS]


def write_predictions(predictions: pd.DataFrame, *, name: str, folder: Path) -> FileSet:
    """<folder>/predictions/<name>.parquet."""
    path = f"predictions/{name}.parquet"
    write_table(predictions, folder / path)
    return file_set(folder, [path], rows={"predictions": len(predictions)})


def _choice(codes: Sequence[int], shares: np.ndarray) -> int:
    return int(codes[int(np.argmax(shares))]) if shares.any() else NO_ANSWER
