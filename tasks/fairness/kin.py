"""How near an unseen subgroup is to what is trained: whose respondents count in both, and its distance to the nearest trained subgroup.

    kin = kin_of(pairs, subgroups, kinship, section=study.split)

The distance is that of respondents, 1 - |shared| / |either| (Jaccard 1912; a metric: Levandowsky and Winter 1971, Nature 234): it looks at no answer,
so it holds none of the targets' noise, which would make small subgroups look far away. Where whole countries or waves are held out it is 1 for all.
"""

import numpy as np
import pandas as pd

from tasks.study_split import SplitSection

THIRDS = ("near", "middle", "far")
COLUMNS = ["subgroup_id", "respondents", "pairs", "in_trained_parents", "part_of_parent", "in_another", "nearest", "distance", "third"]


def kin_of(asked: pd.DataFrame, subgroups: pd.DataFrame, kinship: pd.DataFrame, *, section: SplitSection) -> pd.DataFrame:
    """One row per subgroup in ood_test, by distance.

    `in_trained_parents`: of its valid answers there, the share by respondents who count in a trained cell of a parent for the same question.
    `part_of_parent`: the largest share that its respondents are of one of those parents. `in_another`: the largest share of its respondents who are
    in one trained subgroup that is no ancestor. `nearest`: the trained subgroup at the least `distance`. `third`: near, middle or far among these
    subgroups; null where all are equally far. `asked`: the pairs. `kinship`: the mart.
    """
    test = asked[asked["split"] == "ood_test"]
    rows = test.groupby("subgroup_id", as_index=False).agg(pairs=("item", "size"))
    rows = rows.merge(subgroups[["subgroup_id", "respondents"]], on="subgroup_id").merge(_parents(test, asked, subgroups, kinship), on="subgroup_id")
    if section.overlap == "disjoint":
        rows["in_trained_parents"] = 0.0  # one half of the respondents is trained, the other is tested
    trained = asked.loc[(asked["split"] == "train") & (asked["subgroup_order"] > 0), "subgroup_id"].unique()
    near = kinship[kinship["subgroup_id"].isin(rows["subgroup_id"]) & kinship["other_id"].isin(trained) & (kinship["other_id"] != "all")]
    itself = pd.DataFrame({"subgroup_id": trained, "other_id": trained, "part": 1.0, "jaccard": 1.0})
    near = pd.concat([near, itself[itself["subgroup_id"].isin(rows["subgroup_id"])]], ignore_index=True)
    rows = rows.merge(_nearest(near), on="subgroup_id", how="left").merge(_in_another(near), on="subgroup_id", how="left")
    rows = rows.assign(distance=rows["distance"].fillna(1.0), in_another=rows["in_another"].fillna(0.0))
    return rows.assign(third=_thirds(rows["distance"]))[COLUMNS].sort_values(["distance", "subgroup_id"], ignore_index=True)


def _parents(test: pd.DataFrame, asked: pd.DataFrame, subgroups: pd.DataFrame, kinship: pd.DataFrame) -> pd.DataFrame:
    """subgroup_id, in_trained_parents, part_of_parent."""
    named = subgroups[["subgroup_id", "parents"]].explode("parents").rename(columns={"parents": "other_id"}).dropna()
    named = named[named["other_id"] != "all"].merge(kinship, on=["subgroup_id", "other_id"])
    back = kinship.rename(columns={"subgroup_id": "other_id", "other_id": "subgroup_id", "part": "of_parent"})
    named = named.merge(back[["subgroup_id", "other_id", "of_parent"]], on=["subgroup_id", "other_id"])
    trained = asked.loc[asked["split"] == "train", ["item", "subgroup_id"]].rename(columns={"subgroup_id": "other_id"})
    known = test[["item", "subgroup_id"]].merge(named, on="subgroup_id").merge(trained, on=["item", "other_id"])
    cells = known.groupby(["item", "subgroup_id"], as_index=False).agg(part=("part", "max"), of_parent=("of_parent", "max"))
    cells = test[["item", "subgroup_id", "respondents"]].merge(cells, on=["item", "subgroup_id"], how="left").fillna({"part": 0.0, "of_parent": 0.0})
    cells["counted"] = cells["part"] * cells["respondents"]
    sums = cells.groupby("subgroup_id").agg({"counted": "sum", "respondents": "sum", "of_parent": "max"}).reset_index()
    found = {"in_trained_parents": sums["counted"] / sums["respondents"], "part_of_parent": sums["of_parent"]}
    return sums[["subgroup_id"]].assign(**found)


def _nearest(near: pd.DataFrame) -> pd.DataFrame:
    ordered = near.sort_values(["jaccard", "other_id"], ascending=[False, True]).drop_duplicates("subgroup_id")
    return pd.DataFrame({"subgroup_id": ordered["subgroup_id"], "nearest": ordered["other_id"], "distance": (1 - ordered["jaccard"]).round(2)})


def _in_another(near: pd.DataFrame) -> pd.DataFrame:
    """Trained subgroups that hold the subgroup by their traits are its ancestors, and hold it whole."""
    traits = {name: set(name.split("|")) for name in {*near["subgroup_id"], *near["other_id"]}}
    strange = [not traits[other] <= traits[name] for name, other in zip(near["subgroup_id"], near["other_id"], strict=True)]
    return near[np.array(strange, dtype=bool)].groupby("subgroup_id", as_index=False).agg(in_another=("part", "max"))


def _thirds(distances: pd.Series) -> pd.Series:
    """Equal distances stay together, so that thirds may differ in size."""
    if distances.nunique() < len(THIRDS):
        return pd.Series(None, index=distances.index, dtype=object)
    rank = (distances.rank(method="average") - 0.5) / len(distances)
    return pd.Series(np.array(THIRDS, dtype=object)[np.minimum((rank * len(THIRDS)).astype(int), len(THIRDS) - 1)], index=distances.index)
