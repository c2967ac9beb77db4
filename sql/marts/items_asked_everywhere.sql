-- one row per item that has answers of every country and wave of the survey: what all of them say together must be of one question
with answered as (
    select distinct
        stg_answers.item,
        stg_respondents.country,
        stg_respondents.wave,
    from stg_answers
    join stg_respondents on stg_answers.respondent_id = stg_respondents.respondent_id
    where stg_answers.code is not null
),

populations as (
    select distinct
        country,
        wave,
    from stg_respondents
),

everywhere as (
    select item
    from answered
    group by item
    having count(*) = (select count(*) from populations)
)

select items.*
from items
semi join everywhere on items.item = everywhere.item
order by items.item_order
