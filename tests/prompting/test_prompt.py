"""Personas and prompts: the words that a model reads."""

from tasks.prompting.persona import persona_of, places_of
from tasks.prompting.prompt import INSTRUCTION, LEAD, Question, answer_text, messages, render_prompt
from tasks.study import DimensionSection

DIMENSIONS = {
    "sex": DimensionSection(column="Q260", persona="You are {level}.", phrases={"Female": "You are a woman."}),
    "age_group": DimensionSection(column="Q262", persona="You are {level} years old.", phrases={"65+": "You are 65 or older."}),
    "religion": DimensionSection(column="Q289", persona="Your religion is {level}, and {level} it stays.", phrases={"None": "You have no religion."}),
}
QUESTION = Question("How important is family?", (4, 1, 2), ("Very, very important", "Rather; important", "Not at all"))
OPTIONS = "4. Very, very important\n1. Rather; important\n2. Not at all"
PERSONA = "You live in Singapore. You are a woman."


def persona(traits: dict[str, str]) -> str:
    return persona_of(traits, places=places_of([{"country": "SGP", "country_name": "Singapore", "wave": 7, "year": 2020}]), dimensions=DIMENSIONS)


def test_a_persona_is_the_country_and_one_sentence_for_each_trait() -> None:
    assert persona({"age_group": "25-34"}) == "You live in Singapore. You are 25-34 years old."


def test_traits_are_told_in_the_study_s_order_whatever_order_they_come_in() -> None:
    told = "You live in Singapore. You are a woman. You have no religion."
    assert persona({"religion": "None", "sex": "Female"}) == persona({"sex": "Female", "religion": "None"}) == told


def test_a_phrase_replaces_the_template_for_its_level_alone() -> None:
    assert persona({"age_group": "65+", "sex": "Male"}) == "You live in Singapore. You are Male. You are 65 or older."


def test_a_level_is_put_wherever_the_template_says_and_braces_in_it_are_left_alone() -> None:
    assert persona({"religion": "{Other}"}) == "You live in Singapore. Your religion is {Other}, and {Other} it stays."


def test_without_traits_the_persona_is_the_blank_one_everybody_in_the_country() -> None:
    assert persona({}) == "You live in Singapore."


def test_the_question_comes_first_and_the_persona_last() -> None:
    prompt = render_prompt(QUESTION, persona=PERSONA, order="question_first")
    assert prompt == f"{INSTRUCTION}\n\nHow important is family?\n{OPTIONS}\n\n{PERSONA}"


def test_persona_first_turns_the_parts_round_and_changes_none() -> None:
    prompt = render_prompt(QUESTION, persona=PERSONA, order="persona_first")
    assert prompt == f"{PERSONA}\n\nHow important is family?\n{OPTIONS}\n\n{INSTRUCTION}"


def test_an_answer_is_what_the_instruction_asks_for() -> None:
    assert answer_text(10) == f"{LEAD}10" == "Answer: 10"
    assert '"Answer: N"' in INSTRUCTION


def test_a_chat_is_a_system_message_and_the_prompt() -> None:
    assert [message["role"] for message in messages("Trust?")] == ["system", "user"]
    assert messages("Trust?")[1]["content"] == "Trust?"


def test_of_several_countries_and_waves_a_persona_says_which_where_it_is_of_one() -> None:
    populations = [
        {"country": "SGP", "country_name": "Singapore", "wave": 6, "year": 2012},
        {"country": "SGP", "country_name": "Singapore", "wave": 7, "year": 2020},
        {"country": "USA", "country_name": "the United States", "wave": 7, "year": 2017},
    ]

    def said(**traits: str) -> str:
        return persona_of(traits, places=places_of(populations), dimensions=DIMENSIONS)

    assert said() == "You live in one of these countries: Singapore, the United States."
    assert said(country="USA", wave="7") == "You live in the United States. The year is 2017."
    assert said(wave="7").endswith("The year is between 2017 and 2020.")
    assert said(wave="6", sex="Male").startswith("You live in one of these countries: Singapore, the United States. The year is 2012. ")
    unseen = places_of(populations, held_out=["USA"])
    assert persona_of({"sex": "Male"}, places=unseen, dimensions=DIMENSIONS).startswith("You live in Singapore. ")
    later = places_of(populations, held_out=["6"])
    assert persona_of({"country": "SGP"}, places=later, dimensions=DIMENSIONS) == "You live in Singapore. The year is 2020."
    assert persona_of({"country": "SGP", "wave": "6"}, places=later, dimensions=DIMENSIONS) == "You live in Singapore. The year is 2012."
    many = [population | {"country": str(number), "country_name": str(number)} for number, population in enumerate(populations * 4)]
    assert persona_of({}, places=places_of(many), dimensions=DIMENSIONS) == "You live in one of 12 countries."


def test_a_level_of_one_country_s_own_says_which_country_and_is_told_without_it() -> None:
    populations = [{"country": country, "country_name": country.title(), "wave": 7, "year": 2020} for country in ("SGP", "USA")]
    group = DimensionSection(
        column="ethnicity", persona="Your ethnic group is {level}.", phrases={"Other": "You are of another group."}, national=True
    )

    def said(level: str, **more: str) -> str:
        return persona_of({"ethnicity": level, **more}, places=places_of(populations), dimensions={"ethnicity": group})

    assert said("Malay (SGP)") == "You live in Sgp. Your ethnic group is Malay."
    assert said("Other (USA)", country="USA") == "You live in Usa. You are of another group."


def test_trap_3_options_that_hold_commas_and_semicolons_stay_whole() -> None:
    lines = render_prompt(QUESTION, persona=PERSONA, order="question_first").splitlines()
    assert [line for line in lines if line[:2] in ("4.", "1.", "2.")] == OPTIONS.splitlines()
