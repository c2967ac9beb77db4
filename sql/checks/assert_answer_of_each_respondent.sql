-- one row per item that does not have exactly one answer, given or missing, of each respondent
with answers as (
    select
        items.item,
        count(stg_answers.respondent_id) as answers,
        count(distinct stg_answers.respondent_id) as answering,
    from items
    left join stg_answers on items.item = stg_answers.item
    group by items.item
)

select
    item,
    answers,
    answering,
from answers
where
    answers <> answering
    or answering <> (select count(*) from stg_respondents)
order by item
