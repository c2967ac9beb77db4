-- one row per item that was put to every country and wave of the survey, with one card: what all say together must be of one question
-- Each gave $minimum_respondents valid answers. An option that nobody of a wave chose was not on its card, where chance is no explanation:
-- so many answers without it have a probability under $surprise, at the option's smallest share in another wave. (Scales of which only the
-- ends are labelled are no exception: all of their points are chosen by somebody.)
with answers as (
    select
        stg_answers.item,
        stg_respondents.country,
        stg_respondents.wave,
        stg_answers.code,
        count(*) as respondents,
    from stg_answers
    join stg_respondents on stg_answers.respondent_id = stg_respondents.respondent_id
    where stg_answers.code is not null
    group by all
),

populations as (
    select distinct
        country,
        wave,
    from stg_respondents
),

asked as (
    select
        item,
        country,
        wave,
    from answers
    group by all
    having sum(respondents) >= $minimum_respondents
),

everywhere as (
    select item
    from asked
    group by item
    having count(*) = (select count(*) from populations)
),

chosen as (
    select
        item,
        wave,
        code,
        sum(respondents) as respondents,
        sum(respondents) / sum(sum(respondents)) over (partition by item, wave) as share,
    from answers
    group by item, wave, code
),

cards as (
    select
        item,
        wave,
        sum(respondents) as respondents,
        list(code) as codes,
    from chosen
    group by all
),

unchosen as (
    select
        cards.item,
        cards.wave,
        cards.respondents,
        chosen.code,
        min(chosen.share) as share,
    from cards
    join chosen on cards.item = chosen.item
    where not list_contains(cards.codes, chosen.code)
    group by all
),

other_cards as (
    select item
    from unchosen
    where (1 - share) ^ respondents < $surprise
)

select items.*
from items
semi join everywhere on items.item = everywhere.item
anti join other_cards on items.item = other_cards.item
order by items.item_order
