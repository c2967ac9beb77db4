"""What every format reader returns, and values as the text that a survey's own Csv would have.

Table(header, [block])                      # the header row as it stands; Arrow blocks, one text column per header cell
texts(np.array([1.0, -2.0, 0.25, np.nan]))  # ['1', '-2', '0.25', '']
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.intake.raw import Cells

ROWS_PER_BLOCK = 10_000


class Table(NamedTuple):
    """`cells`: Arrow blocks of rows, or a query that DuckDB answers without Python seeing a cell; `encoding` and, for each column in the order of
    the header, `value_labels` where the file has them."""

    header: list[str]
    cells: Iterable[pa.Table] | Cells
    encoding: str = ""
    value_labels: tuple[dict[int, str], ...] = ()


def block(columns: Iterable[pa.Array]) -> pa.Table:
    """Rows for the table; the columns are named later, when the header is understood."""
    arrays = list(columns)
    return pa.Table.from_arrays(arrays, names=[str(number) for number in range(len(arrays))])


def texts(values: npt.NDArray[Any] | list[Any]) -> pa.Array:
    """Numbers or strings as text: 7.0 is the code 7, and nothing (NaN, None) is ''."""
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers among strings
        return pa.array([as_text(value) for value in values], pa.string())
    if pa.types.is_floating(array.type):
        return _texts_of_numbers(array.to_numpy(zero_copy_only=False).astype(np.float64))
    return pc.fill_null(pc.cast(array, pa.string()), "")


def _texts_of_numbers(numbers: npt.NDArray[np.float64]) -> pa.Array:
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(numbers) & (np.abs(numbers) < 2**53) & (numbers == np.trunc(numbers))
    codes = pc.cast(pa.array(np.where(whole, numbers, 0).astype(np.int64)), pa.string())
    if whole.all():
        return codes
    fractions = pc.fill_null(pc.cast(pa.array(numbers, from_pandas=True), pa.string()), "")
    return pc.if_else(pa.array(whole), codes, fractions)


def as_text(value: Any) -> str:
    """One value as text; a float that is whole is a code."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
