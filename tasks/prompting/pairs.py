"""From marts to pairs: the split, the persona and the prompt of every cell that is asked of a model (sql/marts/pairs.sql).

    pairs = build_pairs(marts, study, populations=report["populations"], folder=run_folder)

Beside tables/pairs.parquet it writes dataset/<split>.jsonl: the same pairs as chats, for other trainers.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.files import FileSet, file_set, write_atomically
from tasks.prompting.persona import Places, persona_of, places_of
from tasks.prompting.prompt import Question, answer_text, messages, render_prompt
from tasks.study import Study
from tasks.study_split import SplitSection
from tasks.subgroups.splits import assign_splits, held_out_levels, levels_of_places
from tasks.warehouse import database

MARTS = ["subgroups", "distributions", "targets", "items", "options"]


def build_pairs(marts: FileSet, study: Study, *, populations: list[dict[str, Any]], folder: Path) -> FileSet:
    """Write tables/pairs.parquet and dataset/*.jsonl. `populations`: country, country_name, wave and year of each that the survey has."""
    tables = {name: marts.read(name) for name in MARTS}
    tables |= _split(marts, tables, study)
    tables["personas"] = _personas(tables["subgroups"], study, places=places_in(populations, study))
    tables["prompts"] = _prompts(tables, study)
    with database.connect(folder=folder) as connection:
        connection.execute("set threads = 1")
        for name, rows in tables.items():
            database.load(connection, name, rows)
        database.build(connection, "marts/pairs")
        pairs = database.frame(connection, "pairs")
        exported = database.export(connection, ["pairs"], folder=folder)
    names = _write_dataset(pairs, folder=folder)
    return file_set(folder, [*exported.files, *names], rows=exported.rows)


def _split(marts: FileSet, tables: dict[str, pd.DataFrame], study: Study) -> dict[str, pd.DataFrame]:
    """splits; and with disjoint halves distributions and targets of the half that is trained, or tested, as the cell's split has it."""
    topics = dict(zip(tables["items"]["item"], tables["items"]["topic"], strict=True))
    if study.split.overlap == "keep":
        return {"splits": assign_splits(tables["targets"], tables["subgroups"], section=study.split, seed=study.seed, topics=topics)}
    halves = {name: marts.read(f"half_{name}", under="halves") for name in ("distributions", "targets")}
    cells = halves["targets"][["item", "subgroup_id"]].drop_duplicates()
    known = tables["subgroups"][tables["subgroups"]["subgroup_id"].isin(cells["subgroup_id"])]
    splits = assign_splits(cells, known, section=study.split, seed=study.seed, topics=topics)
    return {"splits": splits} | {name: _of_its_half(rows, splits, section=study.split) for name, rows in halves.items()}


def _of_its_half(rows: pd.DataFrame, splits: pd.DataFrame, *, section: SplitSection) -> pd.DataFrame:
    """The rows of each cell's half. Everybody's answers to a held-out question have no split: they only tell where a target differs from them."""
    split = rows[["item", "subgroup_id"]].merge(splits, on=["item", "subgroup_id"], how="left")["split"]
    half = np.where(split.isin(("id_test", "ood_test")), section.tested_half, section.trained_half)
    chosen: pd.DataFrame = rows[rows["half"].to_numpy() == half].drop(columns="half")
    return chosen


def places_in(populations: list[dict[str, Any]], study: Study) -> Places:
    """What is trained of everybody says nothing of a held-out country, and its persona does not name it."""
    levels = levels_of_places([(population["country"], population["wave"]) for population in populations])
    return places_of(populations, held_out=held_out_levels(levels, section=study.split, seed=study.seed))


def _personas(subgroups: pd.DataFrame, study: Study, *, places: Places) -> pd.DataFrame:
    """subgroup_id, persona."""
    personas = [
        persona_of(dict(zip(row["dimensions"], row["levels"], strict=True)), places=places, dimensions=study.dimensions)
        for row in subgroups.to_dict("records")
    ]
    return pd.DataFrame({"subgroup_id": subgroups["subgroup_id"], "persona": personas})


def _prompts(tables: dict[str, pd.DataFrame], study: Study) -> pd.DataFrame:
    """item, subgroup_id, prompt."""
    questions = read_questions(tables["items"], tables["options"])
    cells = tables["targets"][["item", "subgroup_id"]].merge(tables["personas"], on="subgroup_id")
    cells["prompt"] = [
        render_prompt(questions[item], persona=persona, order=study.prompt.order)
        for item, persona in zip(cells["item"], cells["persona"], strict=True)
    ]
    return cells[["item", "subgroup_id", "prompt"]]


def read_questions(items: pd.DataFrame, options: pd.DataFrame) -> dict[str, Question]:
    """Wordings and fielded options by item."""
    ordered = options.sort_values(["item", "position"])
    by_item = {str(item): group for item, group in ordered.groupby("item")}
    return {
        item: Question(wording, tuple(int(code) for code in by_item[item]["code"]), tuple(by_item[item]["wording"]))
        for item, wording in zip(items["item"], items["question"], strict=True)
    }


def _write_dataset(pairs: pd.DataFrame, *, folder: Path) -> list[str]:
    names = []
    for split, rows in pairs.groupby("split"):
        names.append(f"dataset/{split}.jsonl")
        with write_atomically(folder / names[-1]) as temporary, temporary.open("w", encoding="utf-8") as lines:
            lines.writelines(f"{json.dumps(_chat(row), ensure_ascii=False)}\n" for row in rows.to_dict("records"))
    return names


def _chat(pair: dict[Any, Any]) -> dict[str, Any]:
    """The modal answer as a chat, and the weighted shares (three decimals) for trainers that take soft targets."""
    shares = {str(code): round(float(share), 3) for code, share in zip(pair["codes"], pair["shares"], strict=True)}
    chat = [*messages(pair["prompt"]), {"role": "assistant", "content": answer_text(int(pair["code"]))}]
    return {"item": pair["item"], "subgroup_id": pair["subgroup_id"], "messages": chat, "shares": shares}
