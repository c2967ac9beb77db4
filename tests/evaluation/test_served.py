"""A served model's predictions: read by its first token where there are log-probabilities, and as generated always."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tasks.evaluation.asking import asked_pairs
from tasks.evaluation.backends.cache import AnswerCache
from tasks.evaluation.backends.ledger import Ledger
from tasks.evaluation.backends.openai_server import ServedModel
from tasks.evaluation.comparison import agreement_of, robustness_of
from tasks.evaluation.predictions import COLUMNS, NO_ANSWER
from tasks.evaluation.served import (
    Asked,
    ask_server,
    ask_within,
    compare,
    everything_asked,
    headline,
    headline_reader,
    read_answers,
    served_of,
    write_answers,
)  # fmt: skip
from tasks.registry import REGISTRY
from tasks.study import Study, load_study
from tasks.study_evaluation import BudgetSection, ServerSection
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


def ask(server: FlawedServer, folder: Path) -> Asked:
    model = ServedModel("tiny", server.access, ServerSection(attempts=2, deadline=2.0, pause=0.01))
    with AnswerCache(folder / "registry.sqlite") as cache:
        return ask_server(asked(), model, cache=cache, ledger=Ledger(BudgetSection(), prices=None))


def test_both_readers_give_every_pair_of_every_variant_one_prediction(server: FlawedServer, tmp_path: Path) -> None:
    read = read_answers(asked(), ask(server, tmp_path).answers, model="base")
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
    assert len(made.answers) == asked()["prompt"].nunique() < len(asked())
    assert set(made.answers["prompt"]) == set(asked()["prompt"])


def test_a_server_without_log_probabilities_is_read_as_generated(server: FlawedServer, tmp_path: Path) -> None:
    server.logprobs = False
    made = ask(server, tmp_path)
    read = read_answers(asked(), made.answers, model="base")
    assert (list(read), headline_reader(read)) == (["generated"], "generated")
    assert made.usage["without_log_probabilities"] == len(made.answers)


def test_what_asking_took_is_left_in_the_run_without_key_or_address(server: FlawedServer, tmp_path: Path) -> None:
    made = ask(server, tmp_path)
    prompts = len(made.answers)
    assert made.usage["answers"] == {
        "requests": prompts, "prompt_tokens": prompts * PROMPT_TOKENS, "completion_tokens": prompts * COMPLETION_TOKENS, "cost": None
    }  # fmt: skip
    assert made.usage["spent"]["requests"] == prompts + 2
    assert made.usage["failed_attempts"] == {"HTTP 500": 2}
    files = write_answers(made, folder=tmp_path / "run")
    assert files.rows == {"server_answers": prompts}
    text = (tmp_path / "run" / "server.json").read_text(encoding="utf-8")
    assert KEY not in text
    assert str(server.server_port) not in text


def test_a_model_that_is_not_served_is_not_asked_for_on_a_server(sample_study: Study, server: FlawedServer) -> None:
    with pytest.raises(ValueError, match="model sample is on no server"):
        served_of(sample_study, server.access)


def test_a_study_of_a_served_model_has_every_prediction_and_both_comparisons(server: FlawedServer, tmp_path: Path) -> None:
    choices = ["model.name=openai:tiny", "training.objective=none", "evaluation.variants=[letters, persona_framed]", "evaluation.compared_pairs=6"]
    study, pairs = load_study("sample", overrides=choices), made_up_pairs()
    asked = everything_asked(pairs, made_up_marts(), study)
    made = ask_within(asked, served_of(study, server.access), registry=tmp_path / REGISTRY, budget=study.evaluation.budget)
    assert len(made.answers) == asked["prompt"].nunique() == server.requests.total()
    predictions = headline(pairs, made.answers, study)
    tested = int(pairs["split"].isin(["id_test", "ood_test"]).sum())
    assert predictions.groupby(["reader", "variant"]).size().to_dict() == {
        ("first_token", variant): tested for variant in ("plain", "blank_persona", "permuted_persona")
    }
    together = pd.concat([predictions, compare(pairs, made_up_marts(), made.answers, study)])
    assert agreement_of(together, pairs)[["reader", "other", "pairs"]].to_numpy().tolist() == [["first_token", "generated", 6]]
    robust = robustness_of(together, pairs, seed=1)
    assert robust[["reader", "variant", "pairs"]].to_numpy().tolist() == [["first_token", "letters", 6], ["first_token", "persona_framed", 6]]
