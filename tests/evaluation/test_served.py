"""A served model's predictions: read by its first token where there are log-probabilities, and as generated always."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.errors import BudgetError
from tasks.evaluation.asking import asked_pairs
from tasks.evaluation.backends.answers import Usage
from tasks.evaluation.backends.ledger import NOTHING
from tasks.evaluation.backends.openai_server import ServedModel
from tasks.evaluation.comparison import agreement_of, robustness_of
from tasks.evaluation.predictions import COLUMNS, NO_ANSWER
from tasks.evaluation.served import (
    Till,
    compare,
    everything_asked,
    headline,
    headline_reader,
    judging,
    read_answers,
    respond,
    served_of,
    spent_by,
    write_answers,
)  # fmt: skip
from tasks.files import file_set
from tasks.prompting.prompt import Question
from tasks.registry import REGISTRY
from tasks.study import Study, load_study
from tasks.study_evaluation import ServerSection
from tests.evaluation.flawed_server import COMPLETION_TOKENS, KEY, PROMPT_TOKENS, FlawedServer, flawed_server
from tests.evaluation.test_asking import made_up_marts
from tests.training.tiny import made_up_pairs

FLAWS = {"sex=Male|age=old": "[out of range]", "sex=Male|age=young": "[HTTP 500 x1]"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlawedServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with flawed_server() as server:
        yield server


def asked() -> pd.DataFrame:
    """Each persona chooses option 1; the answer of one subgroup is no option, and of another comes at the second attempt."""
    pairs = made_up_pairs(("Q1", "Q2"))
    pairs["prompt"] = [f"choose 1 {item} {name} {FLAWS.get(name, '')}" for item, name in zip(pairs["item"], pairs["subgroup_id"], strict=True)]
    return asked_pairs(pairs, ("plain", "blank_persona"), seed=1)


def till_of(folder: Path, *choices: str, taken: Usage = NOTHING) -> Till:
    return Till(folder / REGISTRY, load_study("sample", overrides=list(choices)), taken=taken)


def ask(server: FlawedServer, folder: Path, *, till: Till | None = None) -> pd.DataFrame:
    model = ServedModel("tiny", server.access, ServerSection(attempts=2, deadline=2.0, pause=0.01))
    return (till or till_of(folder)).ask(asked(), model)


def usage_of(till: Till, folder: Path) -> dict[str, Any]:
    (name,) = till.leave("test_pairs", folder)
    usage: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return usage


def test_both_readers_give_every_pair_of_every_variant_one_prediction(server: FlawedServer, tmp_path: Path) -> None:
    read = read_answers(asked(), ask(server, tmp_path), model="base")
    assert headline_reader(read) == "first_token"
    for reader, predictions in read.items():
        assert list(predictions.columns) == COLUMNS
        assert set(predictions["reader"]) == {reader}
        assert predictions[["variant", "item", "subgroup_id"]].equals(asked()[["variant", "item", "subgroup_id"]])
        unread = predictions[(predictions["subgroup_id"] == "sex=Male|age=old") & (predictions["variant"] == "plain")]
        others = predictions.drop(unread.index)
        assert set(others["choice"]) == {1}
        assert reader == "first_token" or (set(unread["choice"]), set(unread["outside"])) == ({NO_ANSWER}, {1.0})
    plain = read["first_token"].query("variant == 'plain' and item == 'Q2' and subgroup_id == 'sex=Male|age=young'").iloc[0]
    assert plain["probabilities"][1:3] == pytest.approx([0.2, 0.05], abs=1e-4)


def test_a_prompt_of_several_rows_is_asked_once(server: FlawedServer, tmp_path: Path) -> None:
    made = ask(server, tmp_path)
    assert len(made) == asked()["prompt"].nunique() < len(asked())
    assert set(made["prompt"]) == set(asked()["prompt"])


def test_a_server_without_log_probabilities_is_read_as_generated(server: FlawedServer, tmp_path: Path) -> None:
    server.logprobs = False
    till = till_of(tmp_path)
    made = ask(server, tmp_path, till=till)
    read = read_answers(asked(), made, model="base")
    assert (list(read), headline_reader(read)) == (["generated"], "generated")
    assert usage_of(till, tmp_path)["without_log_probabilities"] == len(made)


def test_what_asking_took_is_left_in_the_run_without_key_or_address(server: FlawedServer, tmp_path: Path) -> None:
    till = till_of(tmp_path)
    made = ask(server, tmp_path, till=till)
    prompts = len(made)
    files = write_answers(made, till, folder=tmp_path / "run")
    text = files.path("server/test_pairs.json").read_text(encoding="utf-8")
    usage = json.loads(text)
    assert usage["answers"] == {
        "requests": prompts, "prompt_tokens": prompts * PROMPT_TOKENS, "completion_tokens": prompts * COMPLETION_TOKENS, "cost": None
    }  # fmt: skip
    assert usage["spent"]["requests"] == prompts + 2
    assert usage["failed_attempts"] == {"HTTP 500": 2}
    assert files.rows == {"server_answers": prompts}
    assert spent_by([files]).requests == prompts + 2
    assert KEY not in text
    assert str(server.server_port) not in text


def test_one_budget_holds_for_all_steps_of_a_study(server: FlawedServer, tmp_path: Path) -> None:
    """What the free answers took is not there for the judge."""
    model = ServedModel("tiny", server.access, ServerSection(concurrency=1))
    rows = asked().drop_duplicates("prompt")
    rows = rows[~rows["prompt"].str.contains("[", regex=False)].head(3)
    rows["question"] = pd.Series([Question("What?", (1, 2), ("One", "Two"))] * 3, index=rows.index, dtype=object)
    first = till_of(tmp_path)
    respond(rows, model, first)
    left = first.leave("free_answers_base", tmp_path)
    taken = spent_by([file_set(tmp_path, left)])
    assert taken.requests == server.requests.total() == 3
    rest = till_of(tmp_path, "evaluation.budget.requests=5", taken=taken)
    with pytest.raises(BudgetError, match="budget.requests is 5, 5 are taken"):
        judging(model, rest)(rows)
    assert server.requests.total() == 5
    assert till_of(tmp_path).leave("nothing", tmp_path) == []


def test_a_model_that_is_not_served_is_not_asked_for_on_a_server(sample_study: Study, server: FlawedServer) -> None:
    with pytest.raises(ValueError, match="model sample is on no server"):
        served_of(sample_study, server.access)


def test_a_study_of_a_served_model_has_every_prediction_and_both_comparisons(server: FlawedServer, tmp_path: Path) -> None:
    choices = ["model.name=openai:tiny", "training.objective=none", "evaluation.variants=[letters, persona_framed]", "evaluation.compared_pairs=6"]
    study, pairs = load_study("sample", overrides=choices), made_up_pairs()
    asked = everything_asked(pairs, made_up_marts(), study)
    made = till_of(tmp_path).ask(asked, served_of(study, server.access))
    assert len(made) == asked["prompt"].nunique() == server.requests.total()
    predictions = headline(pairs, made, study)
    tested = int(pairs["split"].isin(["id_test", "ood_test"]).sum())
    assert predictions.groupby(["reader", "variant"]).size().to_dict() == {
        ("first_token", variant): tested for variant in ("plain", "blank_persona", "permuted_persona")
    }
    together = pd.concat([predictions, compare(pairs, made_up_marts(), made, study)])
    assert agreement_of(together, pairs)[["reader", "other", "pairs"]].to_numpy().tolist() == [["first_token", "generated", 6]]
    robust = robustness_of(together, pairs, seed=1)
    assert robust[["reader", "variant", "pairs"]].to_numpy().tolist() == [["first_token", "letters", 6], ["first_token", "persona_framed", 6]]
