"""No cell of few respondents can be read off the report, nor computed from it."""

import pandas as pd

from tasks.reporting.privacy import families_of, shown_cells

RELIGIONS = ("Muslim", "Hindu", "None")


def subgroups() -> pd.DataFrame:
    traits = [[], [("sex", "Female")], [("sex", "Male")], *([("religion", name)] for name in RELIGIONS)]
    traits += [[("sex", sex), ("religion", name)] for sex in ("Female", "Male") for name in RELIGIONS]
    names = ["|".join(f"{dimension}={level}" for dimension, level in held) or "all" for held in traits]
    frame = {
        "subgroup_id": names,
        "dimensions": [[one for one, _ in held] for held in traits],
        "levels": [[one for _, one in held] for held in traits],
    }
    return pd.DataFrame(frame)


def shown(cells: dict[tuple[str, str], int]) -> set[str]:
    """Of crossed cells and all that they add up to."""
    sizes = {"all": sum(cells.values())}
    for (sex, religion), respondents in cells.items():
        sizes[f"sex={sex}|religion={religion}"] = respondents
        for part in (f"sex={sex}", f"religion={religion}"):
            sizes[part] = sizes.get(part, 0) + respondents
    return shown_cells(sizes, families_of(subgroups()), least=30)


def crossed(*sizes: int) -> dict[tuple[str, str], int]:
    return dict(zip([(sex, name) for sex in ("Female", "Male") for name in RELIGIONS], sizes, strict=True))


def test_large_cells_are_all_shown():
    assert len(shown(crossed(100, 60, 200, 90, 70, 180))) == 12


def test_a_small_cell_takes_others_with_it_so_that_no_subtraction_finds_it():
    found = shown(crossed(100, 12, 200, 90, 70, 180))
    assert "sex=Female|religion=Hindu" not in found
    assert "sex=Female|religion=Muslim" not in found  # Female less the other religions would leave 12
    assert "sex=Male|religion=Hindu" not in found  # Hindu less its men would leave 12
    assert "sex=Male|religion=Muslim" not in found  # it would give away the Muslim women, and they the Hindu ones
    assert {"all", "sex=Female", "religion=Hindu", "sex=Female|religion=None", "sex=Male|religion=None"} <= found


def test_what_is_left_out_of_a_family_counts_enough():
    cells = crossed(100, 12, 200, 90, 7, 180)
    found = shown(cells)
    for family in families_of(subgroups()):
        if family.whole not in found:
            continue
        hidden = [part for part in family.parts if part not in found]
        assert len(hidden) != 1


def test_a_survey_of_one_subgroup_has_nothing_to_hide():
    assert shown_cells({"all": 40}, families_of(subgroups()), least=30) == {"all"}
